//! The names of keys and channel.

/// The prefix unless another one is set.
pub(super) const DEFAULT: &str = "aivonx";

const MAX_PREFIX: usize = 64;

/// Names under one prefix. The braces are Redis Cluster's hash tag: what is in them decides the slot.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) head: String,
    pub(super) nodes: String,
    pub(super) channel: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        let named = |name| format!("{{{prefix}}}:table:{name}");
        Self { head: named("head"), nodes: named("nodes"), channel: named("changed") }
    }
}

/// Whether `prefix` can stand in a hash tag; if not, why.
pub(super) fn check(prefix: &str) -> Result<(), String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.bytes().all(legal) {
        return Err(format!(
            "key prefix {prefix:?}: write 1 to {MAX_PREFIX} letters, digits, '-', '_', '.' or ':', such as '{DEFAULT}'"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_share_one_hash_tag() {
        let keys = Keys::new(DEFAULT);
        assert_eq!(keys.head, "{aivonx}:table:head");
        assert_eq!(keys.nodes, "{aivonx}:table:nodes");
        assert_eq!(keys.channel, "{aivonx}:table:changed");
    }

    #[test]
    fn a_prefix_that_would_break_the_hash_tag_is_refused() {
        for prefix in ["", "a}b", "{a", "a b", "a\n", "ä"] {
            assert!(check(prefix).is_err(), "{prefix:?}");
        }
        assert!(check("team-a.prod:1").is_ok());
        assert!(check(&"a".repeat(MAX_PREFIX + 1)).is_err());
    }
}
