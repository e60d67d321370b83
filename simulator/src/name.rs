//! Model names as Ollama reads them: defaults filled in, case ignored, `:cloud` and `:local` taken off.

/// Where a name asks to be run, told by its suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// No suffix.
    Unspecified,
    /// `:local`
    Local,
    /// `:cloud` or a tag ending in `-cloud`: would leave the node.
    Cloud,
}

/// A fully qualified model name. Parts keep the spelling they came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    host: String,
    namespace: String,
    model: String,
    tag: String,
}

/// A name out of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelRef {
    /// The name without its source suffix.
    pub name: Name,
    /// The source suffix.
    pub source: Source,
}

/// Why a string is no model name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Empty or blank.
    Required,
    /// Two source suffixes; holds the trimmed string.
    Conflict(String),
    /// Not a legal name.
    Unqualified,
}

const HOST: &str = "registry.ollama.ai";
const NAMESPACE: &str = "library";
const TAG: &str = "latest";

impl ModelRef {
    /// Reads a name as a request spells it.
    pub fn parse(raw: &str) -> Result<Self, NameError> {
        let raw = raw.trim();
        if raw.is_empty() {
            return Err(NameError::Required);
        }
        let (base, source) = split_source(raw);
        if source != Source::Unspecified && split_source(&base).1 != Source::Unspecified {
            return Err(NameError::Conflict(raw.to_owned()));
        }
        let name = Name::parse(&base).ok_or(NameError::Unqualified)?;
        Ok(Self { name, source })
    }
}

fn split_source(raw: &str) -> (String, Source) {
    let Some((before, after)) = raw.rsplit_once(':') else {
        return (raw.to_owned(), Source::Unspecified);
    };
    let after = after.trim();
    let lower = after.to_lowercase();
    match lower.as_str() {
        "cloud" => return (before.to_owned(), Source::Cloud),
        "local" => return (before.to_owned(), Source::Local),
        _ => {}
    }
    if !after.contains('/')
        && lower.ends_with("-cloud")
        && let Some(tag) = after.get(..after.len().saturating_sub("-cloud".len()))
    {
        return (format!("{before}:{tag}"), Source::Cloud);
    }
    (raw.to_owned(), Source::Unspecified)
}

impl Name {
    /// Reads a name with the defaults filled in; `None` when a part is not legal.
    pub fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut tag = TAG;
        let colon = rest.rfind(':');
        if let Some(colon) = colon
            && rest.rfind('/').is_none_or(|slash| slash < colon)
        {
            tag = &rest[colon + 1..];
            rest = &rest[..colon];
        }
        let (rest, model) = match rest.rsplit_once('/') {
            Some((before, model)) => (Some(before), model),
            None => (None, rest),
        };
        let (rest, namespace) = match rest {
            Some(rest) => match rest.rsplit_once('/') {
                Some((before, namespace)) => (Some(before), namespace),
                None => (None, rest),
            },
            None => (None, NAMESPACE),
        };
        let host = match rest {
            Some(rest) => rest.split_once("://").map_or(rest, |(_, host)| host),
            None => HOST,
        };
        let legal = legal_part(host, 350, |b| b == b'.' || b == b':')
            && legal_part(namespace, 80, |_| false)
            && legal_part(model, 80, |b| b == b'.')
            && legal_part(tag, 80, |b| b == b'.');
        legal.then(|| Self {
            host: host.to_owned(),
            namespace: namespace.to_owned(),
            model: model.to_owned(),
            tag: tag.to_owned(),
        })
    }

    /// Equal for all spellings of one model.
    pub fn key(&self) -> String {
        self.full().to_ascii_lowercase()
    }

    /// `registry.ollama.ai/library/llama3.2:latest`
    pub fn full(&self) -> String {
        format!("{}/{}/{}:{}", self.host, self.namespace, self.model, self.tag)
    }

    /// As lists show it: default host and namespace left out, the tag always there.
    pub fn shortest(&self) -> String {
        let Self { host, namespace, model, tag } = self;
        if !host.eq_ignore_ascii_case(HOST) {
            format!("{host}/{namespace}/{model}:{tag}")
        } else if !namespace.eq_ignore_ascii_case(NAMESPACE) {
            format!("{namespace}/{model}:{tag}")
        } else {
            format!("{model}:{tag}")
        }
    }

    /// `library` for models without a namespace of their own.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

fn legal_part(part: &str, longest: usize, also: impl Fn(u8) -> bool) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = part.as_bytes();
    (1..=longest).contains(&bytes.len())
        && bytes.iter().enumerate().all(|(at, &b)| word(b) || (at > 0 && (b == b'-' || also(b))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(raw: &str) -> String {
        ModelRef::parse(raw).unwrap().name.key()
    }

    #[test]
    fn spellings_of_one_model_share_a_key() {
        let want = "registry.ollama.ai/library/llama3.2:latest";
        for raw in [
            "llama3.2",
            "Llama3.2",
            " llama3.2:latest ",
            "library/llama3.2",
            "llama3.2:LATEST",
            "registry.ollama.ai/library/llama3.2:latest",
            "https://registry.ollama.ai/library/llama3.2",
            "llama3.2:local",
            "llama3.2:LOCAL",
        ] {
            assert_eq!(key(raw), want, "{raw}");
        }
        assert_ne!(key("llama3.2:1b"), want);
        assert_ne!(key("hf.co/library/llama3.2"), key("huggingface.co/library/llama3.2"));
    }

    #[test]
    fn lists_show_the_shortest_form() {
        for (raw, want) in [
            ("llama3.2", "llama3.2:latest"),
            ("library/Llama3.2:1B", "Llama3.2:1B"),
            ("user/m", "user/m:latest"),
            ("hf.co/u/m-GGUF:Q4_K_M", "hf.co/u/m-GGUF:Q4_K_M"),
            ("host:5000/u/m", "host:5000/u/m:latest"),
        ] {
            assert_eq!(Name::parse(raw).unwrap().shortest(), want);
        }
    }

    #[test]
    fn sources() {
        for (raw, source) in [
            ("a", Source::Unspecified),
            ("a:local", Source::Local),
            ("a:CLOUD", Source::Cloud),
            ("a:120b-cloud", Source::Cloud),
            ("a-cloud", Source::Unspecified),
        ] {
            assert_eq!(ModelRef::parse(raw).unwrap().source, source, "{raw}");
        }
        assert_eq!(key("gpt-oss:120b-cloud"), key("gpt-oss:120b"));
        assert_eq!(ModelRef::parse("a:local:cloud"), Err(NameError::Conflict("a:local:cloud".into())));
    }

    #[test]
    fn illegal_names() {
        for raw in ["a/b/c/d", "-x", "x:", "x@sha256:ab", "a b", "/x", "x/", "a<b", "é", ".x", "a:b/c:"] {
            assert_eq!(ModelRef::parse(raw), Err(NameError::Unqualified), "{raw}");
        }
        for raw in ["", "  ", "\n"] {
            assert_eq!(ModelRef::parse(raw), Err(NameError::Required));
        }
        assert!(ModelRef::parse(&"a".repeat(80)).is_ok());
        assert!(ModelRef::parse(&"a".repeat(81)).is_err());
        // Four parts: the host would hold a slash, except that a host may hold a colon.
        assert!(ModelRef::parse("a.b/c/d:e").is_ok());
    }
}
