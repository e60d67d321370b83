//! Whether a session may be believed. The rules look at nginx, at the machine and at what arrived; what the data plane
//! costs is in none of them.

use crate::session::Session;
use crate::stats::{mean, median, quantile};
use crate::work::{Measured, Work};

/// nginx against itself, and its own cost within a session, may differ by this much.
const CONTROL: f64 = 0.03;
const DRIFT: f64 = 0.15;
/// Greatest share of a core's time that other virtual machines may take.
const STOLEN: f64 = 0.03;
/// Greatest share of the proxies' core that other programs may take.
const STRANGERS: f64 = 0.25;
/// Highest CPU pressure, in percent, before anything of this session runs. Afterwards it shows the session itself: node
/// and load wait for each other.
const PRESSURE: f64 = 60.0;
/// Where node and load keep their core busier than this, the proxy must be the bottleneck: it must use this much of its own.
const LOAD_CORE: f64 = 0.85;
const PROXY_BOUND: f64 = 0.9;
/// Lines in one read, in the middle slice of each proxy. More would mean that a proxy, or the load, puts several into one.
const LINES_A_READ: f64 = 1.05;
/// Share of the answers that must stand in the access log.
const LOGGED: f64 = 0.99;
/// Streams are paced, so each proxy must bring the same number of lines.
const SAME_LINES: f64 = 0.03;

/// The rules that the session breaks, each in a sentence; none if it is valid.
pub fn faults(session: &Session) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, sentence: String| {
        if !holds {
            faults.push(sentence);
        }
    };
    let pressure = session.machine.pressure_before.unwrap_or_default();
    must(pressure <= PRESSURE, format!("CPU pressure was {pressure:.0} % before the session began"));
    for work in [&session.request, &session.line] {
        let unit = work.unit;
        let control = work.control.median;
        must((control - 1.0).abs() <= CONTROL, format!("{unit}s: nginx costs {control:.3} of itself"));
        let drift = drift(work);
        must(drift <= DRIFT, format!("{unit}s: nginx's own cost moved by {:.0} %", drift * 100.0));
        let stolen = mean(&work.all(|slice| slice.slice.stolen));
        must(stolen <= STOLEN, format!("{unit}s: other machines took {:.1} % of a core", stolen * 100.0));
        let strangers = mean(&work.all(|slice| slice.strangers));
        must(
            strangers <= STRANGERS,
            format!("{unit}s: others took {:.0} % of the proxies' core", strangers * 100.0),
        );
        let late = |slice: &Measured| {
            let own = slice.slice.proxy_core - slice.strangers;
            f64::from(slice.slice.load_core > LOAD_CORE && own < PROXY_BOUND)
        };
        let late = mean(&work.all(late));
        must(
            late <= 0.5,
            format!(
                "{unit}s: node and load had no room on their core in {:.0} % of the slices",
                late * 100.0
            ),
        );
        let logged = least(&work.all(|slice| slice.logged as f64 / slice.slice.answered.max(1) as f64));
        must(
            logged >= LOGGED,
            format!("{unit}s: only {:.0} % of the answers are in the access log", logged * 100.0),
        );
    }
    let merged = |slice: &Measured| slice.slice.lines as f64 / slice.slice.reads.max(1) as f64;
    let merged = median(&session.line.nginx(merged)).max(median(&session.line.aivonx(merged)));
    must(merged <= LINES_A_READ, format!("lines: {merged:.2} came in one read"));
    let rates = [session.line.nginx(|slice| slice.rate), session.line.aivonx(|slice| slice.rate)];
    let more = median(&rates[0]) / median(&rates[1]) - 1.0;
    must(more.abs() <= SAME_LINES, format!("lines: nginx brought {:.0} % more of them", more * 100.0));
    faults
}

/// How far nginx's cost moves from its median, leaving out the lowest and the highest tenth.
fn drift(work: &Work) -> f64 {
    let (costs, middle) = (work.nginx(|slice| slice.us), work.nginx_us.median);
    (quantile(&costs, 0.9) - middle).max(middle - quantile(&costs, 0.1)) / middle
}

fn least(values: &[f64]) -> f64 {
    quantile(values, 0.0)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::latency::Added;
    use crate::session::Machine;
    use crate::work::{Round, Slice};

    fn session(change: impl Fn(&mut Measured, usize)) -> Session {
        let work = |unit, us: f64| {
            let measured = |place| {
                let slice =
                    Slice { seconds: 2.0, answered: 100, lines: 1000, reads: 1000, ..Slice::default() };
                let mut measured = Measured { us, rate: 500.0, logged: 100, slice, ..Measured::default() };
                change(&mut measured, place);
                measured
            };
            let round = |_| Round { nginx: [measured(0), measured(2)], aivonx: measured(1) };
            Work::of(unit, 1, (0..10).map(round).collect())
        };
        Session {
            at: jiff::Timestamp::UNIX_EPOCH,
            settings: crate::Cli::parse_from(["aivonx-bench"]).settings,
            machine: Machine::default(),
            request: work("request", 15.0),
            line: work("line", 12.0),
            added_latency_us: [Added { p50: 0.0, p99: 0.0 }; 3],
        }
    }

    fn only(said: &str, count: usize, change: impl Fn(&mut Measured, usize)) {
        let faults = faults(&session(change));
        assert!(
            faults.len() == count && faults.iter().all(|fault| fault.contains(said)),
            "{said}: {faults:?}"
        );
    }

    #[test]
    fn each_rule_is_applied() {
        only("", 0, |_, _| ());
        only("of itself", 2, |slice, place| slice.us *= if place == 2 { 1.04 } else { 1.0 });
        only("other machines", 2, |slice, _| slice.slice.stolen = 0.04);
        only("others took", 2, |slice, _| slice.strangers = 0.3);
        only("node and load", 2, |slice, _| slice.slice.load_core = 0.9);
        only("", 0, |slice, _| (slice.slice.load_core, slice.slice.proxy_core) = (0.9, 0.95));
        only("access log", 2, |slice, place| slice.logged -= if place == 1 { 2 } else { 0 });
        only("in one read", 1, |slice, place| slice.slice.reads -= if place == 1 { 60 } else { 0 });
        only("more of them", 1, |slice, place| slice.rate -= if place == 1 { 20.0 } else { 0.0 });
        let mut drifting = session(|_, _| ());
        for (number, round) in drifting.request.rounds.iter_mut().enumerate().skip(5) {
            round.nginx[0].us += number as f64;
        }
        assert!(faults(&drifting)[0].contains("moved by"));
        drifting = session(|_, _| ());
        drifting.machine.pressure_before = Some(61.0);
        assert!(faults(&drifting)[0].contains("pressure"));
    }

    #[test]
    fn the_cost_of_the_data_plane_is_nobodys_fault() {
        only("", 0, |slice, place| slice.us *= if place == 1 { 100.0 } else { 1.0 });
    }
}
