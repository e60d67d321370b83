//! What slices of time under load say of two proxies.

use serde::{Deserialize, Serialize};

use crate::stats::Summary;

/// What was counted in one window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Answers that were read to their end.
    pub requests: u64,
    /// The same since the first client began, so with those of the warm-up.
    pub answered: u64,
    /// Lines that were read.
    pub lines: u64,
    /// Reads in which a line ended.
    pub reads: u64,
    /// CPU time of the proxy, all its threads and processes, in nanoseconds.
    pub proxy_ns: u64,
    /// Share of the window that the core of the proxy was busy, 0 to 1.
    pub proxy_core: f64,
    /// The same of the core of node and load.
    pub load_core: f64,
    /// The greater share of the window that either core was with another virtual machine.
    pub stolen: f64,
}

/// A slice, and what follows from it.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Measured {
    /// CPU time of the proxy for a unit of work, in microseconds.
    pub us: f64,
    /// Units of work in a second.
    pub rate: f64,
    /// Share of the window that the core of the proxy was busy with other programs, 0 to 1.
    pub strangers: f64,
    /// Lines that the requests left in the access log, those of the warm-up too.
    pub logged: u64,
    /// What was counted.
    #[serde(flatten)]
    pub slice: Slice,
}

impl Measured {
    /// A slice in which the proxy did `units` of work.
    pub fn of(slice: Slice, units: u64, logged: u64) -> Measured {
        Measured {
            us: slice.proxy_ns as f64 / 1e3 / units as f64,
            rate: units as f64 / slice.seconds,
            strangers: (slice.proxy_core - slice.proxy_ns as f64 / 1e9 / slice.seconds).max(0.0),
            logged,
            slice,
        }
    }
}

/// Three slices in a row.
#[derive(Debug, Serialize)]
pub struct Round {
    /// Before and after the data plane's.
    pub nginx: [Measured; 2],
    /// Between nginx's.
    pub aivonx: Measured,
}

/// One kind of work, measured in rounds.
#[derive(Debug, Serialize)]
pub struct Work {
    /// What is counted: `request` or `line`.
    pub unit: &'static str,
    /// Clients at once.
    pub clients: u64,
    /// CPU time of nginx for a unit of work, in microseconds, over all its slices.
    pub nginx_us: Summary,
    /// The same of the data plane.
    pub aivonx_us: Summary,
    /// The data plane's over the mean of the two of nginx around it, round by round.
    pub ratio: Summary,
    /// The second of nginx over the first: by how much the same program differs from itself.
    pub control: Summary,
    /// All that was measured.
    pub rounds: Vec<Round>,
}

impl Work {
    /// Sums up `rounds`.
    pub fn of(unit: &'static str, clients: u64, rounds: Vec<Round>) -> Work {
        let each = |value: fn(&Round) -> f64| Summary::of(&rounds.iter().map(value).collect::<Vec<_>>());
        let nginx: Vec<f64> = rounds.iter().flat_map(|round| round.nginx.map(|slice| slice.us)).collect();
        Work {
            unit,
            clients,
            nginx_us: Summary::of(&nginx),
            aivonx_us: each(|round| round.aivonx.us),
            ratio: each(|round| 2.0 * round.aivonx.us / (round.nginx[0].us + round.nginx[1].us)),
            control: each(|round| round.nginx[1].us / round.nginx[0].us),
            rounds,
        }
    }

    /// A value of each slice of nginx.
    pub fn nginx(&self, value: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.rounds.iter().flat_map(|round| &round.nginx).map(value).collect()
    }

    /// A value of each slice of the data plane.
    pub fn aivonx(&self, value: impl Fn(&Measured) -> f64) -> Vec<f64> {
        self.rounds.iter().map(|round| value(&round.aivonx)).collect()
    }

    /// A value of each slice.
    pub fn all(&self, value: impl Fn(&Measured) -> f64) -> Vec<f64> {
        [self.nginx(&value), self.aivonx(&value)].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_to_the_two_slices_around() {
        let measured = |us| Measured { us, ..Measured::default() };
        let round = |slow: f64| Round {
            nginx: [10.0, 12.0].map(|us| measured(us * slow)),
            aivonx: measured(16.5 * slow),
        };
        let work = Work::of("request", 1, vec![round(1.0), round(1.5), round(1.0)]);
        assert_eq!((work.ratio.median, work.ratio.max, work.control.median), (1.5, 1.5, 1.2));
        assert_eq!((work.aivonx_us.median, work.nginx_us.max), (16.5, 18.0));
    }

    #[test]
    fn what_the_proxy_did_not_use_of_its_core_others_did() {
        let slice = Slice { seconds: 2.0, proxy_ns: 1_000_000_000, proxy_core: 0.75, ..Slice::default() };
        let measured = Measured::of(slice, 100_000, 0);
        assert_eq!((measured.us, measured.rate, measured.strangers), (10.0, 50_000.0, 0.25));
    }
}
