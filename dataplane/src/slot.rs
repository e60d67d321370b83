//! A node's slot for one request.

use crate::table::{Candidate, Endpoint};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Held from the choice of a node to the end of its response, by whatever way that comes. Dropping it frees the slot.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The node.
    pub endpoint: Arc<Endpoint>,
    in_flight_for_model: Arc<AtomicU32>,
}

impl Slot {
    /// Takes a slot of a node, unless it has none left.
    pub(crate) fn take(candidate: &Candidate) -> Option<Self> {
        let endpoint = &candidate.endpoint;
        if !raise(&endpoint.state.in_flight, endpoint.max_concurrent) {
            return None;
        }
        if !raise(&candidate.in_flight, endpoint.max_concurrent_per_model) {
            lower(&endpoint.state.in_flight);
            return None;
        }
        endpoint.state.in_flight_gauge.inc();
        Some(Self { endpoint: endpoint.clone(), in_flight_for_model: candidate.in_flight.clone() })
    }

    /// Whether a node has no slot left.
    pub(crate) fn none_left(candidate: &Candidate) -> bool {
        let full = |count: &AtomicU32, limit: u32| limit > 0 && count.load(Ordering::Relaxed) >= limit;
        full(&candidate.endpoint.state.in_flight, candidate.endpoint.max_concurrent)
            || full(&candidate.in_flight, candidate.endpoint.max_concurrent_per_model)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        lower(&self.in_flight_for_model);
        lower(&self.endpoint.state.in_flight);
        self.endpoint.state.in_flight_gauge.dec();
    }
}

/// Counts one more, unless that would be more than `limit`; 0 is no limit.
fn raise(count: &AtomicU32, limit: u32) -> bool {
    let more = |held: u32| (limit == 0 || held < limit).then(|| held.saturating_add(1));
    count.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
}

fn lower(count: &AtomicU32) {
    count.fetch_sub(1, Ordering::AcqRel);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_holds_against_many_at_once() {
        let count = AtomicU32::new(0);
        let taken: u32 = std::thread::scope(|scope| {
            let takers: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| (0..1_000).map(|_| u32::from(raise(&count, 17))).sum::<u32>()))
                .collect();
            takers.into_iter().map(|taker| taker.join().unwrap()).sum()
        });
        assert_eq!((taken, count.into_inner()), (17, 17));
    }

    #[test]
    fn no_limit_is_no_limit() {
        let count = AtomicU32::new(0);
        assert!((0..100).all(|_| raise(&count, 0)));
    }
}
