//! Which node a request goes to. Pure: no clock, no table, no randomness of its own.

mod latency;

pub(crate) use latency::{Latency, Sample};

use aivonx_state::table::Strategy;
use std::cmp::{Ordering, Reverse};
use std::time::Duration;

/// After this long without an observation, half of what sets a node apart from the others is forgotten, so that a node
/// that was slow once is tried again.
const HALF_LIFE: Duration = Duration::from_secs(30);

/// How far one request moves a node of weight 1 in the order of `round_robin`. Every weight up to 1000 divides it well.
const STRIDE: u64 = 1 << 20;

/// A node as a request finds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Standing {
    /// Requests that it serves now.
    pub in_flight: u32,
    /// It serves as many as it may.
    pub full: bool,
    /// This request was there already.
    pub tried: bool,
    /// It failed requests lately.
    pub suspect: bool,
    /// Higher ones go first.
    pub priority: i32,
    /// Its share; 0 is taken only when there is nothing else.
    pub weight: u32,
    /// How soon it began to answer.
    pub latency: Option<Sample>,
    /// How far it has got in the order of `round_robin`.
    pub pass: u64,
}

/// What came of a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The node at this place.
    Node(usize),
    /// There are nodes, and all of them are full.
    Full,
    /// There is no node that was not tried.
    Nothing,
}

/// Chooses among `nodes`. Equals are told apart by `random`.
pub(crate) fn choose(strategy: Strategy, nodes: &[Standing], random: u64) -> Choice {
    let untried = || nodes.iter().enumerate().filter(|(_, node)| !node.tried);
    let free = || untried().filter(|(_, node)| !node.full);
    let Some(class) = free().map(|(_, node)| class(node)).min() else {
        return if untried().next().is_some() { Choice::Full } else { Choice::Nothing };
    };
    let best = free().filter(|(_, node)| self::class(node) == class);
    let chosen = match strategy {
        Strategy::LeastActive => least(best, random, by_load),
        Strategy::RoundRobin => least(best, random, |a, b| a.pass.cmp(&b.pass)),
        Strategy::LowestLatency => {
            let usual = median(best.clone().filter_map(|(_, node)| Some(node.latency?.milliseconds)));
            least(best, random, |a, b| expected(a, usual).total_cmp(&expected(b, usual)))
        }
    };
    chosen.map_or(Choice::Nothing, Choice::Node)
}

/// Where a node of this weight stands in the order of `round_robin` after it was chosen. `turn` is where the last chosen
/// node stood: a node that was away does not get all at once what it missed.
pub(crate) fn advance(pass: u64, turn: u64, weight: u32) -> u64 {
    pass.max(turn).saturating_add(STRIDE / u64::from(weight.max(1)))
}

/// The lower class is used up before the next one is looked at.
fn class(node: &Standing) -> (bool, bool, Reverse<i32>) {
    (node.suspect, node.weight == 0, Reverse(node.priority))
}

fn by_load(a: &Standing, b: &Standing) -> Ordering {
    let load = |of: &Standing, per: &Standing| u64::from(of.in_flight) * u64::from(per.weight.max(1));
    load(a, b).cmp(&load(b, a))
}

/// The time to the first byte that one more request may expect, for the node's weight.
fn expected(node: &Standing, usual: f32) -> f32 {
    let alone = node.latency.map_or(usual, |sample| {
        let remembered = 0.5_f32.powf(sample.age.as_secs_f32() / HALF_LIFE.as_secs_f32());
        usual + (sample.milliseconds - usual) * remembered
    });
    alone * (node.in_flight as f32 + 1.0) / node.weight.max(1) as f32
}

/// What a node that nobody has measured is taken for: not the fastest, which would draw all requests to it.
fn median(latencies: impl Iterator<Item = f32>) -> f32 {
    let mut latencies: Vec<_> = latencies.collect();
    latencies.sort_by(f32::total_cmp);
    latencies.get(latencies.len() / 2).copied().unwrap_or(1.0)
}

fn least<'a>(
    nodes: impl Iterator<Item = (usize, &'a Standing)> + Clone,
    random: u64,
    order: impl Fn(&Standing, &Standing) -> Ordering,
) -> Option<usize> {
    let (_, least) = nodes.clone().min_by(|(_, a), (_, b)| order(a, b))?;
    let equals = || nodes.clone().filter(|(_, node)| order(node, least).is_eq());
    let turn = usize::try_from(random % equals().count() as u64).ok()?;
    equals().nth(turn).map(|(place, _)| place)
}

#[cfg(test)]
mod tests {
    use super::{Choice, STRIDE, Sample, Standing, Strategy, advance, choose, class};
    use proptest::prelude::{Strategy as Generator, any, prop_assert, proptest};
    use std::collections::HashSet;
    use std::time::Duration;

    const NODE: Standing = Standing {
        in_flight: 0,
        full: false,
        tried: false,
        suspect: false,
        priority: 0,
        weight: 1,
        latency: None,
        pass: 0,
    };

    fn measured(milliseconds: f32) -> Option<Sample> {
        Some(Sample { milliseconds, age: Duration::ZERO })
    }

    fn chosen(strategy: Strategy, nodes: &[Standing]) -> HashSet<usize> {
        (0..64)
            .map(|random| match choose(strategy, nodes, random) {
                Choice::Node(place) => place,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn least_active_counts_requests_for_weight_and_shuffles_equals() {
        let nodes = [
            Standing { in_flight: 2, weight: 2, ..NODE },
            Standing { in_flight: 1, ..NODE },
            Standing { in_flight: 3, weight: 2, ..NODE },
        ];
        assert_eq!(chosen(Strategy::LeastActive, &nodes), HashSet::from([0, 1]));
    }

    #[test]
    fn a_higher_tier_is_used_up_before_a_lower_one() {
        let low = Standing { priority: -1, ..NODE };
        let high = Standing { priority: 5, in_flight: 9, ..NODE };
        assert_eq!(chosen(Strategy::LeastActive, &[low, high]), HashSet::from([1]));
        let full = Standing { full: true, ..high };
        assert_eq!(chosen(Strategy::LeastActive, &[low, full]), HashSet::from([0]));
    }

    #[test]
    fn weight_zero_and_suspects_are_last_resorts() {
        let zero = Standing { weight: 0, priority: 9, ..NODE };
        let suspect = Standing { suspect: true, priority: 9, ..NODE };
        assert_eq!(chosen(Strategy::LeastActive, &[zero, NODE, suspect]), HashSet::from([1]));
        assert_eq!(chosen(Strategy::LeastActive, &[zero, suspect]), HashSet::from([0]));
        assert_eq!(chosen(Strategy::LeastActive, &[suspect]), HashSet::from([0]));
    }

    #[test]
    fn full_and_tried_are_told_apart() {
        let full = Standing { full: true, ..NODE };
        let tried = Standing { tried: true, ..NODE };
        assert_eq!(choose(Strategy::LeastActive, &[full, tried], 0), Choice::Full);
        assert_eq!(choose(Strategy::LeastActive, &[tried], 0), Choice::Nothing);
        assert_eq!(choose(Strategy::LeastActive, &[], 0), Choice::Nothing);
    }

    #[test]
    fn lowest_latency_prefers_the_sooner_node_but_does_not_flood_it() {
        let (fast, slow) =
            (Standing { latency: measured(100.0), ..NODE }, Standing { latency: measured(250.0), ..NODE });
        assert_eq!(chosen(Strategy::LowestLatency, &[slow, fast]), HashSet::from([1]));
        let busy = Standing { in_flight: 2, ..fast };
        assert_eq!(chosen(Strategy::LowestLatency, &[slow, busy]), HashSet::from([0]));
    }

    #[test]
    fn a_new_node_is_taken_for_an_average_one() {
        let nodes = [
            Standing { latency: measured(50.0), ..NODE },
            NODE,
            Standing { latency: measured(100.0), ..NODE },
            Standing { latency: measured(200.0), ..NODE },
        ];
        assert_eq!(chosen(Strategy::LowestLatency, &nodes), HashSet::from([0]));
        let first_busy = [Standing { in_flight: 3, ..nodes[0] }, nodes[1], nodes[3], nodes[3]];
        assert_eq!(chosen(Strategy::LowestLatency, &first_busy), HashSet::from([0, 1, 2, 3]));
    }

    #[test]
    fn a_node_that_was_slow_long_ago_is_tried_again() {
        let old = Some(Sample { milliseconds: 60_000.0, age: Duration::from_secs(600) });
        let nodes = [
            Standing { latency: old, ..NODE },
            Standing { latency: measured(100.0), in_flight: 1, ..NODE },
            Standing { latency: measured(110.0), in_flight: 1, ..NODE },
        ];
        assert_eq!(chosen(Strategy::LowestLatency, &nodes), HashSet::from([0]));
    }

    fn round_robin(weights: &[u32], requests: usize) -> Vec<u64> {
        let mut nodes: Vec<_> = weights.iter().map(|&weight| Standing { weight, ..NODE }).collect();
        let (mut counts, mut turn) = (vec![0; weights.len()], 0);
        for random in 0..requests {
            let Choice::Node(place) = choose(Strategy::RoundRobin, &nodes, random as u64) else { panic!() };
            let node = &mut nodes[place];
            let stood = node.pass.max(turn);
            node.pass = advance(node.pass, turn, node.weight);
            turn = stood;
            counts[place] += 1;
        }
        counts
    }

    #[test]
    fn a_node_that_comes_back_gets_its_share_and_not_what_it_missed() {
        let mut away = NODE;
        let mut other = Standing { pass: STRIDE * 100, ..NODE };
        let mut turn = STRIDE * 99;
        let mut taken = 0;
        for _ in 0..10 {
            match choose(Strategy::RoundRobin, &[away, other], 0) {
                Choice::Node(0) => {
                    let stood = away.pass.max(turn);
                    away.pass = advance(away.pass, turn, 1);
                    turn = stood;
                    taken += 1;
                }
                _ => {
                    let stood = other.pass.max(turn);
                    other.pass = advance(other.pass, turn, 1);
                    turn = stood;
                }
            }
        }
        assert!((5..=6).contains(&taken), "{taken}");
    }

    fn standing() -> impl Generator<Value = Standing> {
        (0_u32..4, any::<bool>(), any::<bool>(), any::<bool>(), -1_i32..2, 0_u32..4, 0_u64..4).prop_map(
            |(in_flight, full, tried, suspect, priority, weight, pass)| Standing {
                in_flight,
                full,
                tried,
                suspect,
                priority,
                weight,
                latency: (pass > 1).then_some(Sample { milliseconds: pass as f32, age: Duration::ZERO }),
                pass,
            },
        )
    }

    fn strategies() -> impl Generator<Value = Strategy> {
        proptest::sample::select(vec![Strategy::LeastActive, Strategy::LowestLatency, Strategy::RoundRobin])
    }

    proptest! {
        #[test]
        fn never_a_worse_class_while_a_better_one_is_free(
            nodes in proptest::collection::vec(standing(), 0..8), strategy in strategies(), random: u64,
        ) {
            let free = |node: &Standing| !node.tried && !node.full;
            match choose(strategy, &nodes, random) {
                Choice::Node(place) => {
                    prop_assert!(free(&nodes[place]));
                    if nodes[place].suspect {
                        prop_assert!(!nodes.iter().any(|node| free(node) && !node.suspect));
                    }
                    prop_assert!(nodes.iter().filter(|node| free(node)).all(|node| class(&nodes[place]) <= class(node)));
                }
                Choice::Full => prop_assert!(!nodes.iter().any(free) && nodes.iter().any(|node| !node.tried)),
                Choice::Nothing => prop_assert!(nodes.iter().all(|node| node.tried)),
            }
        }

        #[test]
        fn round_robin_gives_each_its_weight(weights in proptest::collection::vec(1_u32..20, 1..6)) {
            let rounds = 10;
            let total: u32 = weights.iter().sum();
            let counts = round_robin(&weights, total as usize * rounds);
            for (weight, count) in weights.iter().zip(counts) {
                let fair = u64::from(*weight) * rounds as u64;
                prop_assert!(count.abs_diff(fair) <= 2, "{weights:?}: {count} instead of {fair}");
            }
        }

        #[test]
        fn least_active_spreads_by_weight(weights in proptest::collection::vec(1_u32..8, 1..6), requests in 0_u32..100, random: u64) {
            let mut nodes: Vec<_> = weights.iter().map(|&weight| Standing { weight, ..NODE }).collect();
            for _ in 0..requests {
                let Choice::Node(place) = choose(Strategy::LeastActive, &nodes, random) else { panic!() };
                nodes[place].in_flight += 1;
            }
            // No node stands more than one request above what another has for its weight.
            for a in &nodes {
                for b in &nodes {
                    let above = f64::from(a.in_flight.saturating_sub(1)) / f64::from(a.weight);
                    prop_assert!(above <= f64::from(b.in_flight) / f64::from(b.weight) + 1e-9);
                }
            }
        }
    }
}
