//! What a loaded model remembers of earlier prompts: the longest common beginning need not be evaluated again.

use std::collections::VecDeque;

use crate::text::count_tokens;

/// The last prompts of one runner.
#[derive(Debug)]
pub struct PromptCache {
    prompts: VecDeque<String>,
    capacity: usize,
}

/// Of a long prompt only this much is kept.
const KEPT_BYTES: usize = 64 * 1024;

impl PromptCache {
    /// Keeps `capacity` prompts.
    pub fn new(capacity: usize) -> Self {
        Self { prompts: VecDeque::new(), capacity }
    }

    /// How many tokens of `prompt` must be evaluated; remembers it. At least one always must.
    pub fn evaluate(&mut self, prompt: &str) -> u64 {
        let total = count_tokens(prompt);
        let best = self
            .prompts
            .iter()
            .enumerate()
            .map(|(at, kept)| (common_prefix(kept, prompt), at))
            .max_by_key(|(length, _)| *length);
        let reused = best.map_or(0, |(length, _)| length as u64 / 4);
        // A conversation that grows replaces its shorter self.
        if let Some((length, at)) = best
            && self.prompts.get(at).is_some_and(|kept| kept.len() == length)
        {
            self.prompts.remove(at);
        }
        self.prompts.push_front(prompt.get(..floor_boundary(prompt)).unwrap_or_default().to_owned());
        self.prompts.truncate(self.capacity);
        total.saturating_sub(reused).max(1)
    }
}

fn floor_boundary(prompt: &str) -> usize {
    let mut end = prompt.len().min(KEPT_BYTES);
    while !prompt.is_char_boundary(end) {
        end -= 1;
    }
    end
}

fn common_prefix(a: &str, b: &str) -> usize {
    a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn returning_conversations_cost_only_what_is_new() {
        let mut cache = PromptCache::new(2);
        let a = "a".repeat(400);
        let b = "b".repeat(400);
        assert_eq!(cache.evaluate(&a), 101);
        assert_eq!(cache.evaluate(&b), 101);
        assert_eq!(cache.evaluate(&format!("{a} and more")), 101 + 3 - 100);
        assert_eq!(cache.evaluate(&b), 1);
        assert_eq!(cache.evaluate(&"c".repeat(400)), 101);
        assert_eq!(cache.evaluate(&format!("{a} and more")), 104, "the least recently used was dropped");
    }

    #[test]
    fn long_prompts_are_kept_in_part() {
        let mut cache = PromptCache::new(1);
        let long = "\u{e9}".repeat(KEPT_BYTES);
        cache.evaluate(&long);
        assert!(cache.prompts[0].len() <= KEPT_BYTES);
        assert!(cache.evaluate(&long) < count_tokens(&long));
        assert_eq!(PromptCache::new(0).evaluate("x"), 2);
    }
}
