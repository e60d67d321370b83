//! The suffix of a model name that says where the model is to run.

use super::NameError;

/// Longest piece of a refused name that an error repeats, in characters.
const MAX_QUOTED: usize = 200;

/// Where a name says that the model is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// The name does not say.
    #[default]
    Unspecified,
    /// `:local`: on the node itself.
    Local,
    /// `:cloud` or a tag that ends in `-cloud`: the node sends the request away to ollama.com, at its owner's expense.
    Cloud,
}

/// Cuts the source suffix off `text`. Two of them contradict each other or are a mistake, even if they say the same.
pub(super) fn split(text: &str) -> Result<(&str, Source), NameError> {
    let (base, source) = split_once(text);
    if source != Source::Unspecified && split_once(base).1 != Source::Unspecified {
        return Err(NameError::TwoSources(text.chars().take(MAX_QUOTED).collect()));
    }
    Ok((base, source))
}

fn split_once(text: &str) -> (&str, Source) {
    const CLOUD_TAG: &str = "-cloud";
    let text = text.trim_end();
    let Some((before, suffix)) = text.rsplit_once(':') else { return (text, Source::Unspecified) };
    if suffix.trim_start().eq_ignore_ascii_case("cloud") {
        return (before, Source::Cloud);
    }
    if suffix.trim_start().eq_ignore_ascii_case("local") {
        return (before, Source::Local);
    }
    // After the colon of a port there is a path, not a tag.
    let cut = text.len().checked_sub(CLOUD_TAG.len());
    match cut.and_then(|cut| text.split_at_checked(cut)) {
        Some((base, end)) if end.eq_ignore_ascii_case(CLOUD_TAG) && !suffix.contains('/') => {
            (base, Source::Cloud)
        }
        _ => (text, Source::Unspecified),
    }
}
