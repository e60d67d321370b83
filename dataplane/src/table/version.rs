//! Ollama versions, as far as `/api/version` of a fleet needs them.

/// What a build says that does not know its version.
const UNKNOWN: &str = "0.0.0";

/// The lowest version: a client must not expect of the fleet what one of its nodes cannot do. Builds that do not know
/// their version are left out; `0.0.0` if no node says.
pub(super) fn lowest<'a>(versions: impl Iterator<Item = &'a str>) -> &'a str {
    versions.filter(|version| *version != UNKNOWN).min_by_key(|version| order(version)).unwrap_or(UNKNOWN)
}

/// Numbers in order; a pre-release comes before its release.
fn order(version: &str) -> (Vec<u64>, bool, &str) {
    let (numbers, pre) =
        version.split_once('-').map_or((version, None), |(numbers, pre)| (numbers, Some(pre)));
    let numbers = numbers.trim_start_matches('v').split('.').map(|part| part.parse().unwrap_or(0)).collect();
    (numbers, pre.is_none(), pre.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_known_version_speaks_for_the_fleet() {
        assert_eq!(lowest(["0.32.15", "0.9.6", "0.30.0"].into_iter()), "0.9.6");
        assert_eq!(lowest(["0.33.0", "0.33.0-rc2", "0.33.0-rc10"].into_iter()), "0.33.0-rc10");
        assert_eq!(lowest(["0.0.0", "0.32.15"].into_iter()), "0.32.15");
        assert_eq!(lowest(std::iter::empty()), "0.0.0");
    }
}
