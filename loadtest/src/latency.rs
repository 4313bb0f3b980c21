//! Latencies: one kind of histogram for all processes of a run.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

const LATENCY_US_MAX: u64 = 600_000_000;
const SIGNIFICANT_DIGITS: u8 = 3;
/// The percentiles of the curve go up to one in ten million.
const CURVE_DECADES: i32 = 7;

/// A histogram of microseconds with three significant digits.
#[derive(Clone)]
pub(crate) struct Latencies(Histogram<u64>);

/// The figures that people ask for, in microseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p999: u64,
    pub(crate) max: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        // The bounds are constants that the constructor takes; a second histogram would be as good.
        let made = Histogram::new_with_bounds(1, LATENCY_US_MAX, SIGNIFICANT_DIGITS);
        Self(made.unwrap_or_else(|_| unreachable!("constant bounds are valid")))
    }

    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// Empties the histogram into pairs of value and count.
    pub(crate) fn take_pairs(&mut self) -> Vec<(u64, u64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let pairs =
            self.0.iter_recorded().map(|v| (v.value_iterated_to(), v.count_at_value())).collect();
        self.0.reset();
        pairs
    }

    pub(crate) fn add_pairs(&mut self, pairs: &[(u64, u64)]) {
        for (us, count) in pairs {
            self.0.saturating_record_n(*us, *count);
        }
    }

    /// The histogram so far, leaving an empty one.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new())
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        // Both have the same bounds, so this cannot fail.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn summary(&self) -> Summary {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Summary {
            count: self.0.len(),
            mean: self.0.mean(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: self.0.max(),
        }
    }

    /// Points of the percentile curve: quantile and microseconds, denser towards the end.
    pub(crate) fn curve(&self) -> Vec<(f64, u64)> {
        const POINTS_PER_DECADE: i32 = 10;
        let len = self.0.len() as f64;
        (0..=CURVE_DECADES * POINTS_PER_DECADE)
            .map(|step| 1.0 - 10f64.powf(-f64::from(step) / f64::from(POINTS_PER_DECADE)))
            .take_while(|quantile| (1.0 - quantile) * len >= 1.0)
            .map(|quantile| (quantile, self.0.value_at_quantile(quantile)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_carry_a_histogram_to_another_process() {
        let (mut here, mut there) = (Latencies::new(), Latencies::new());
        for us in [0, 5, 5, 900, 12_345, 700_000_000] {
            here.record(us);
        }
        let before = here.summary();
        there.add_pairs(&here.take_pairs());
        assert_eq!(there.summary(), before);
        assert_eq!(here.summary().count, 0);
        assert_eq!((before.count, before.p50), (6, 5));
    }

    #[test]
    fn the_curve_ends_where_the_samples_do() {
        let mut latencies = Latencies::new();
        (1..=1_000).for_each(|us| latencies.record(us));
        let curve = latencies.curve();
        assert_eq!(curve.len(), 31);
        assert!(curve.windows(2).all(|pair| pair[0].1 <= pair[1].1));
        assert!(Latencies::new().curve().is_empty());
    }
}
