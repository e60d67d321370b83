//! Admit and pick: a node with a slot for the request, taken in the same step as it is chosen.

use crate::error::ProxyError;
use crate::pick::{self, Choice, Standing};
use crate::slot::Slot;
use crate::table::{Candidate, ModelEntry};
use aivonx_state::table::Strategy;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Takes a slot of the best node that this request was not at yet. `now` is the time since the gateway began. Gives the
/// node's place among the candidates too.
pub(crate) fn take_slot(
    model: &ModelEntry,
    strategy: Strategy,
    tried: &[usize],
    now: Duration,
) -> Result<(usize, Slot), ProxyError> {
    // Between the choice and the taking another request may fill the node; then the choice is made again.
    for _ in 0..=model.candidates.len() {
        let standings: Vec<_> = model
            .candidates
            .iter()
            .enumerate()
            .map(|(place, candidate)| standing(candidate, tried.contains(&place), now))
            .collect();
        let place = match pick::choose(strategy, &standings, rand::random()) {
            Choice::Node(place) => place,
            Choice::Full => return Err(ProxyError::Busy),
            Choice::Nothing => return Err(ProxyError::NoHealthyNode),
        };
        let candidate = &model.candidates[place];
        if let Some(slot) = Slot::take(candidate) {
            if strategy == Strategy::RoundRobin {
                take_turn(model, candidate);
            }
            return Ok((place, slot));
        }
    }
    Err(ProxyError::Busy)
}

/// Whether there is a node that this request was not at yet.
pub(crate) fn is_another(model: &ModelEntry, tried: &[usize]) -> bool {
    tried.len() < model.candidates.len()
}

fn standing(candidate: &Candidate, tried: bool, now: Duration) -> Standing {
    let endpoint = &candidate.endpoint;
    Standing {
        in_flight: endpoint.state.in_flight.load(Ordering::Relaxed),
        full: Slot::none_left(candidate),
        tried,
        suspect: endpoint.state.suspicion.is_suspect(),
        priority: endpoint.priority,
        weight: endpoint.weight,
        latency: endpoint.state.latency.sample(now),
        pass: candidate.pass.load(Ordering::Relaxed),
    }
}

/// Requests at the same moment may read the same turn; that costs a little of the evenness and nothing else.
fn take_turn(model: &ModelEntry, chosen: &Candidate) {
    let (pass, turn) = (chosen.pass.load(Ordering::Relaxed), model.turn.load(Ordering::Relaxed));
    chosen.pass.store(pick::advance(pass, turn, chosen.endpoint.weight), Ordering::Relaxed);
    model.turn.store(pass.max(turn), Ordering::Relaxed);
}
