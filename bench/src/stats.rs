//! Figures from paired rounds.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Serialize;

/// Draws of the bootstrap.
const DRAWS: usize = 2000;

/// What a set of values says.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one.
    pub median: f64,
    /// 95 % confidence interval of the median, by bootstrap.
    pub ci95: [f64; 2],
    /// The least one.
    pub min: f64,
    /// The greatest one.
    pub max: f64,
}

impl Summary {
    /// Sums up `values`; all zero if there are none. The same values give the same summary.
    pub fn of(values: &[f64]) -> Summary {
        let sorted = sorted(values);
        let mut rng = StdRng::seed_from_u64(values.len() as u64);
        let mut draw = || sorted.get(rng.random_range(0..sorted.len().max(1))).copied().unwrap_or_default();
        let medians: Vec<f64> =
            (0..DRAWS).map(|_| median(&(0..sorted.len()).map(|_| draw()).collect::<Vec<_>>())).collect();
        Summary {
            median: median(&sorted),
            ci95: [quantile(&medians, 0.025), quantile(&medians, 0.975)],
            min: sorted.first().copied().unwrap_or_default(),
            max: sorted.last().copied().unwrap_or_default(),
        }
    }
}

/// The middle value; 0 if there are none.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The mean value; 0 if there are none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The value below which the share `q` of all lies, between neighbours in proportion; 0 if there are none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let sorted = sorted(values);
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    low + (high - low) * at.fract()
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_neighbours() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!((median(&values), quantile(&values, 0.0), quantile(&values, 1.0)), (2.5, 1.0, 4.0));
        assert_eq!(median(&[]), 0.0);
        assert_eq!(Summary::of(&[]).max, 0.0);
    }

    #[test]
    fn one_wild_round_moves_the_median_little() {
        let summary = Summary::of(&[1.49, 1.5, 1.51, 1.5, 9.0, 1.5, 1.49, 1.51, 1.5, 1.5]);
        assert_eq!((summary.median, summary.min, summary.max), (1.5, 1.49, 9.0));
        assert!(summary.ci95[0] >= 1.49 && summary.ci95[1] <= 1.51, "{summary:?}");
    }

    /// The figures' noise within a session is about 3 %; what 10 rounds must still tell apart is 5 %.
    #[test]
    fn ten_rounds_tell_five_percent_from_nothing() {
        let mut rng = StdRng::seed_from_u64(7);
        let mut told = 0;
        for _ in 0..100 {
            let mut rounds = |slower: f64| -> Vec<f64> {
                (0..10)
                    .map(|_| slower * rng.random_range(0.97..1.03) / rng.random_range(0.97..1.03))
                    .collect()
            };
            let (same, slower) = (Summary::of(&rounds(1.0)), Summary::of(&rounds(1.05)));
            told += u32::from(slower.ci95[0] > 1.0 && slower.median > same.median);
        }
        assert!(told >= 95, "told apart {told} times of 100");
    }
}
