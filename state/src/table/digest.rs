//! The digest of a table's content.

use super::{NodeId, Strategy};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io;

/// SHA-256 over the strategy and the nodes, in the order of their ids, as 64 hexadecimal digits.
///
/// The nodes are entries, or the JSON texts of entries as a store keeps them. A reader takes the texts: an older one that
/// skips the fields it does not know still sees what the writer's digest covers.
pub(crate) fn of<N: Serialize>(strategy: Strategy, nodes: &BTreeMap<NodeId, N>) -> String {
    let mut hash = HashWriter(Sha256::new());
    // Writing JSON into a hash cannot fail: the writer never does, and every key is a string.
    let written = serde_json::to_writer(&mut hash, &(strategy, nodes));
    debug_assert!(written.is_ok(), "a routing table is always serialisable");
    hex::encode(hash.0.finalize())
}

struct HashWriter(Sha256);

impl io::Write for HashWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
