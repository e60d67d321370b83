//! Which subjects are looked at, and which must be set up.

use crate::args::{CheckArgs, Subject};
use clap::ValueEnum as _;

/// What is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    only: Vec<Subject>,
    /// A store or the secret key is set: this is an installation of the controller and the data plane, which need all
    /// three. `aivonx run` needs none.
    installation: bool,
    /// Nodes are named.
    nodes: bool,
}

impl Plan {
    /// The plan for these arguments.
    pub fn new(args: &CheckArgs) -> Self {
        Self {
            only: args.only.clone(),
            installation: args.stores.redis_url.is_some()
                || args.stores.database_url.is_some()
                || args.secret_key.secret_key.is_some()
                || args.secret_key.secret_key_file.is_some(),
            nodes: !args.nodes.is_empty(),
        }
    }

    /// The subjects in the order of the result.
    pub fn subjects(&self) -> impl Iterator<Item = Subject> {
        Subject::value_variants().iter().copied().filter(|subject| self.looks_at(*subject))
    }

    /// Whether a subject that is not set up is wrong.
    pub fn needs(&self, subject: Subject) -> bool {
        let asked_for = self.only.contains(&subject);
        match subject {
            Subject::SecretKey | Subject::Redis | Subject::Postgres => asked_for || self.installation,
            Subject::ApiServer | Subject::Nodes => asked_for,
        }
    }

    /// Whether the node that `aivonx run` would serve without flags is checked.
    pub fn takes_default_node(&self) -> bool {
        !self.nodes && (self.needs(Subject::Nodes) || (self.only.is_empty() && !self.installation))
    }

    fn looks_at(&self, subject: Subject) -> bool {
        self.only.is_empty() || self.only.contains(&subject)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(only: &[Subject], installation: bool, nodes: bool) -> Plan {
        Plan { only: only.to_vec(), installation, nodes }
    }

    #[test]
    fn everything_is_looked_at_in_a_fixed_order_unless_some_are_named() {
        let all: Vec<_> = plan(&[], false, false).subjects().collect();
        assert_eq!(all, Subject::value_variants());
        let named: Vec<_> =
            plan(&[Subject::Nodes, Subject::Redis, Subject::Nodes], false, false).subjects().collect();
        assert_eq!(named, [Subject::Redis, Subject::Nodes]);
    }

    #[test]
    fn an_installation_needs_its_stores_and_its_key_and_a_standalone_gateway_does_not() {
        for subject in [Subject::SecretKey, Subject::Redis, Subject::Postgres] {
            assert!(plan(&[], true, false).needs(subject));
            assert!(!plan(&[], false, false).needs(subject));
            assert!(plan(&[subject], false, false).needs(subject));
        }
        assert!(!plan(&[], true, false).needs(Subject::ApiServer));
        assert!(plan(&[Subject::ApiServer], false, false).needs(Subject::ApiServer));
    }

    #[test]
    fn the_default_node_is_checked_where_aivonx_run_would_serve_it() {
        assert!(plan(&[], false, false).takes_default_node());
        assert!(plan(&[Subject::Nodes], true, false).takes_default_node());
        assert!(!plan(&[], true, false).takes_default_node());
        assert!(!plan(&[], false, true).takes_default_node());
        assert!(!plan(&[Subject::Redis], false, false).takes_default_node());
    }
}
