//! The types of the conditions in a status, and the values of `status`.

/// The summary: the node takes requests.
pub const READY: &str = "Ready";
/// The spec is one that this version can serve.
pub const ACCEPTED: &str = "Accepted";
/// The node answers its health check.
pub const REACHABLE: &str = "Reachable";
/// The list of the node's models is that of its last successful reading.
pub const INVENTORY_SYNCED: &str = "InventorySynced";
/// A routing table that holds this node as it now is has reached the store.
pub const PUBLISHED: &str = "Published";

/// All conditions of an `OllamaNode`, in the order in which they are written.
pub const OF_A_NODE: [&str; 5] = [READY, ACCEPTED, REACHABLE, INVENTORY_SYNCED, PUBLISHED];

/// `status` of a condition that holds.
pub const TRUE: &str = "True";
/// `status` of a condition that does not hold.
pub const FALSE: &str = "False";
/// `status` of a condition of which nothing is known yet.
pub const UNKNOWN: &str = "Unknown";
