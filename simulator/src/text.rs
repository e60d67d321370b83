//! What a model says: words drawn by the model's name and the prompt alone, so that every node gives the same
//! text, token n costs the same as token 0, and a stream may be endless.

use sha2::{Digest, Sha256};

/// The words a reply is made of. Plain ASCII: nothing to escape in JSON.
const WORDS: [&str; 32] = [
    "amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "haven", "inlet", "jetty", "kelp",
    "larch", "maple", "north", "ocean", "pine", "quartz", "reef", "stone", "tide", "upland", "vale",
    "willow", "xylem", "yarrow", "zephyr", "brook", "cloud", "dune", "field", "glade", "harbor",
];

/// The reply of a model to a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    seed: u64,
}

impl Reply {
    /// `model` is the key of its name, equal for all spellings.
    pub fn new(model: &str, prompt: &str) -> Self {
        Self { seed: seed(&[model, "\0", prompt]) }
    }

    /// Token `at`: a word, from the second on with a blank before it.
    pub fn push_token(&self, at: u64, out: &mut String) {
        if at > 0 {
            out.push(' ');
        }
        out.push_str(WORDS[self.word(at)]);
    }

    /// The first `tokens` tokens as one text.
    pub fn text(&self, tokens: u64) -> String {
        let mut out = String::new();
        for at in 0..tokens {
            self.push_token(at, &mut out);
        }
        out
    }

    /// The token's number in the vocabulary.
    pub fn token_id(&self, at: u64) -> u32 {
        1000 + u32::try_from(self.word(at)).unwrap_or(0)
    }

    fn word(&self, at: u64) -> usize {
        let draw = mix(self.seed.wrapping_add(at)) % WORDS.len() as u64;
        usize::try_from(draw).unwrap_or(0)
    }
}

/// How many tokens a text has: one for four bytes, and one that starts it.
pub fn count_tokens(text: &str) -> u64 {
    1 + text.len().div_ceil(4) as u64
}

/// The numbers of a prompt's tokens.
pub fn prompt_token_ids(prompt: &str) -> impl Iterator<Item = u32> + '_ {
    let chunk_id = |chunk: &[u8]| {
        let sum = chunk.iter().fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(*byte)));
        2000 + sum % 30_000
    };
    std::iter::once(1).chain(prompt.as_bytes().chunks(4).map(chunk_id))
}

/// The embedding of a text: its direction depends on model and text, its length is 1 in any number of dimensions.
pub fn embedding(model: &str, text: &str, dimensions: usize) -> Vec<f32> {
    let seed = seed(&[model, "\0embedding\0", text]);
    let draw = |at: usize| (mix(seed.wrapping_add(at as u64)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    normalized((0..dimensions).map(draw).collect())
}

/// Scaled to length 1.
pub fn normalized(mut vector: Vec<f32>) -> Vec<f32> {
    let sum: f32 = vector.iter().map(|x| x * x).sum();
    let scale = 1.0 / sum.sqrt().max(1e-12);
    for x in &mut vector {
        *x *= scale;
    }
    vector
}

fn seed(parts: &[&str]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.as_bytes());
    }
    hash.finalize().iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
}

/// splitmix64
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_model_and_prompt_say_the_same() {
        let text = Reply::new("m", "hi").text(8);
        assert_eq!(text, Reply::new("m", "hi").text(8));
        assert_eq!(text.split(' ').count(), 8);
        assert_ne!(text, Reply::new("m", "ho").text(8));
        assert_ne!(text, Reply::new("n", "hi").text(8));
        assert!(Reply::new("m", "hi").text(9).starts_with(&text));
        // Written down: nodes of different builds in one fleet agree too.
        assert_eq!(Reply::new("m", "hi").text(4), "quartz zephyr glade reef");
    }

    #[test]
    fn tokens_are_counted() {
        assert_eq!(count_tokens(""), 1);
        assert_eq!(count_tokens("abcde"), 3);
        assert_eq!(prompt_token_ids("abcde").count(), 3);
    }

    #[test]
    fn embeddings_have_length_one() {
        let a = embedding("m", "a", 64);
        assert_eq!(a.len(), 64);
        assert!((a.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-4);
        assert_eq!(a, embedding("m", "a", 64));
        assert_ne!(a, embedding("m", "b", 64));
        assert!(a.iter().any(|x| *x < 0.0) && a.iter().any(|x| *x > 0.0));
        // Fewer dimensions keep the direction.
        let short = normalized(a[..8].to_vec());
        assert!((short[0] / short[1] - a[0] / a[1]).abs() < 1e-3);
    }
}
