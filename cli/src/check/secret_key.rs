//! Whether there is a secret key that can be used.

use super::report::Finding;
use crate::args::Subject;
use aivonx_process::settings::SecretKeyArgs;

/// Reads the key and judges it. It is not shown.
pub fn check(args: &SecretKeyArgs, needed: bool) -> Finding {
    match args.load() {
        Ok(_) => Finding::good(Subject::SecretKey, "set, and long enough"),
        Err(error) if args.secret_key.is_none() && args.secret_key_file.is_none() => {
            Finding::missing(needed, Subject::SecretKey, error)
        }
        Err(error) => Finding::refused(Subject::SecretKey, error.sentence),
    }
}

#[cfg(test)]
mod tests {
    use super::super::report::Verdict;
    use super::*;

    fn check(key: Option<&str>, needed: bool) -> Finding {
        super::check(&SecretKeyArgs { secret_key: key.map(Into::into), secret_key_file: None }, needed)
    }

    #[test]
    fn a_missing_key_is_wrong_where_it_is_needed() {
        let finding = check(None, true);
        assert_eq!(finding.verdict, Verdict::Wrong);
        assert_eq!(finding.message, "AIVONX_SECRET_KEY environment variable is required");
        assert_eq!(check(None, false).verdict, Verdict::NotSet);
    }

    #[test]
    fn a_short_key_is_wrong_everywhere_and_a_key_is_never_shown() {
        let finding = check(Some("hunter2"), false);
        assert_eq!(finding.verdict, Verdict::Wrong);
        let key = "0123456789abcdef0123456789abcdef";
        let good = check(Some(key), true);
        assert_eq!(good.verdict, Verdict::Good);
        assert!(!format!("{finding:?}{good:?}").contains(key) && !format!("{finding:?}").contains("hunter2"));
    }
}
