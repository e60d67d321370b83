//! Which fault hits which request. Pure.

use serde::Serialize;
use tokio::time::Instant;

use super::{Fault, FaultKind};

/// Names a fault that was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct FaultId(u64);

/// A fault that was set, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ActiveFault {
    /// Its number.
    pub id: FaultId,
    /// Requests it has hit.
    pub hits: u64,
    /// Matching requests it has let pass.
    pub skipped: u64,
    /// The fault as it was set.
    #[serde(flatten)]
    pub fault: Fault,
    #[serde(skip)]
    ends: Option<Instant>,
}

impl ActiveFault {
    fn matches(&self, path: &str) -> bool {
        // A connection has no path yet when it is accepted.
        let listener = self.fault.kind == FaultKind::HangAccept;
        let prefix = self.fault.path.as_deref();
        self.fault.count.is_none_or(|count| self.hits < count)
            && (listener || prefix.is_none_or(|prefix| path.starts_with(prefix)))
    }
}

/// The faults of a node in the order they were set.
#[derive(Debug, Default)]
pub struct FaultTable {
    faults: Vec<ActiveFault>,
    last_id: u64,
}

impl FaultTable {
    pub fn add(&mut self, fault: Fault, now: Instant) -> FaultId {
        self.last_id += 1;
        let id = FaultId(self.last_id);
        let ends = fault.lasts.and_then(|lasts| now.checked_add(lasts));
        self.faults.push(ActiveFault { id, hits: 0, skipped: 0, fault, ends });
        id
    }

    pub fn remove(&mut self, id: FaultId) {
        self.faults.retain(|active| active.id != id);
    }

    pub fn clear(&mut self) {
        self.faults.clear();
    }

    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    pub fn list(&self) -> &[ActiveFault] {
        &self.faults
    }

    pub fn has(&self, id: FaultId) -> bool {
        self.faults.iter().any(|active| active.id == id)
    }

    /// The first fault that hits a request to `path` and is of the kind wanted; uses it up by one.
    pub fn take<T>(&mut self, path: &str, wanted: impl Fn(&FaultKind) -> Option<T>) -> Option<(FaultId, T)> {
        for active in &mut self.faults {
            if !active.matches(path) {
                continue;
            }
            let Some(found) = wanted(&active.fault.kind) else { continue };
            if active.skipped < active.fault.skip {
                active.skipped += 1;
                continue;
            }
            active.hits += 1;
            return Some((active.id, found));
        }
        None
    }

    /// Whether connections are refused now, and whether those in use are reset.
    pub fn refusing(&self) -> Option<bool> {
        self.faults.iter().find_map(|active| match active.fault.kind {
            FaultKind::Refuse { kill } => Some(kill),
            _ => None,
        })
    }

    /// When the next fault removes itself.
    pub fn next_end(&self) -> Option<Instant> {
        self.faults.iter().filter_map(|active| active.ends).min()
    }

    /// Removes what has ended; says whether anything had.
    pub fn remove_ended(&mut self, now: Instant) -> bool {
        let before = self.faults.len();
        self.faults.retain(|active| active.ends.is_none_or(|ends| ends > now));
        self.faults.len() != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn status(kind: &FaultKind) -> Option<u16> {
        match kind {
            FaultKind::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    #[test]
    fn the_first_that_matches_hits_until_it_is_used_up() {
        let (mut table, now) = (FaultTable::default(), Instant::now());
        table.add(Fault::hang(), now);
        let busy = table.add(Fault::busy().on("/api/chat").times(2), now);
        table.add(Fault::status(500).skipping(1), now);
        let mut take = |path: &str| table.take(path, status).map(|(_, status)| status);
        assert_eq!(take("/api/chat"), Some(503));
        assert_eq!(take("/api/tags"), None, "skipped once");
        assert_eq!(take("/api/tags"), Some(500));
        assert_eq!(take("/api/chat"), Some(503));
        assert_eq!(take("/api/chat"), Some(500), "used up, the next one hits");
        assert!(table.has(busy), "used up but still there");
        assert_eq!(table.list()[1].hits, 2);
        table.remove(busy);
        assert!(!table.has(busy) && !table.is_empty());
    }

    #[test]
    fn ends() {
        let (mut table, now) = (FaultTable::default(), Instant::now());
        assert_eq!((table.next_end(), table.refusing()), (None, None));
        table.add(Fault::kill().lasting(Duration::from_secs(1)), now);
        table.add(Fault::refuse(), now);
        assert_eq!((table.next_end(), table.refusing()), (Some(now + Duration::from_secs(1)), Some(true)));
        assert!(!table.remove_ended(now));
        assert!(table.remove_ended(now + Duration::from_secs(1)));
        assert_eq!((table.next_end(), table.refusing()), (None, Some(false)));
    }
}
