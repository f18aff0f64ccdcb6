//! Latencies, counted in buckets that are at most 0.8 % wide.

use std::time::Duration;

/// Counts of latencies up to an hour, to the microsecond below 256 µs and to 0.8 % above.
#[derive(Clone, Debug)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    sum: f64,
    least: f64,
    most: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: Vec::new(),
            total: 0,
            sum: 0.0,
            least: f64::INFINITY,
            most: 0.0,
        }
    }
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let index = index(micros.min(LONGEST));
        if index >= self.counts.len() {
            self.counts.resize(index + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(index) {
            *count += 1;
        }
        self.total += 1;
        let seconds = latency.as_secs_f64();
        self.sum += seconds;
        self.least = self.least.min(seconds);
        self.most = self.most.max(seconds);
    }

    /// Adds what another counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// How many were counted.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Seconds that `share` of all (0 to 1) took at most; 0 if none were counted.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.total as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return (middle(index) / 1e6).clamp(self.least.min(self.most), self.most);
            }
        }
        self.most
    }

    /// Seconds, on average; 0 if none were counted.
    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.total.max(1) as f64
    }

    /// Seconds of the quickest; 0 if none were counted.
    pub(crate) fn least(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.least }
    }

    /// Seconds of the slowest.
    pub(crate) fn most(&self) -> f64 {
        self.most
    }
}

/// Below 2 × HALF each microsecond has its bucket; above, each doubling has HALF of them.
fn index(micros: u64) -> usize {
    let exact = 2 * HALF;
    let index = if micros < exact {
        micros
    } else {
        let doublings = u64::from(micros.ilog2() - exact.ilog2()) + 1;
        exact + (doublings - 1) * HALF + (micros >> doublings) - HALF
    };
    usize::try_from(index).unwrap_or(usize::MAX)
}

/// The middle of a bucket, in microseconds.
fn middle(index: usize) -> f64 {
    let (index, exact) = (index as u64, 2 * HALF);
    if index < exact {
        return index as f64;
    }
    let doublings = (index - exact) / HALF + 1;
    let place = (index - exact) % HALF + HALF;
    let width = (1u64 << doublings) as f64;
    place as f64 * width + width / 2.0
}

const HALF: u64 = 128;
/// Microseconds of an hour.
const LONGEST: u64 = 3_600_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_s_middle_is_near_all_that_it_holds() {
        let mut micros = 1u64;
        while micros < LONGEST {
            let middle = middle(index(micros));
            let off = (middle - micros as f64).abs() / micros as f64;
            assert!(
                off < 0.005 || (middle - micros as f64).abs() < 1.0,
                "{micros}: {middle}"
            );
            assert!(index(micros + 1) >= index(micros));
            micros += micros / 77 + 1;
        }
    }

    #[test]
    fn quantiles_are_those_of_the_values() {
        let mut histogram = Histogram::default();
        for millis in 1..=1000 {
            histogram.record(Duration::from_millis(millis));
        }
        for (share, expected) in [(0.5, 0.5), (0.95, 0.95), (0.999, 0.999), (1.0, 1.0)] {
            let found = histogram.quantile(share);
            assert!((found / expected - 1.0).abs() < 0.005, "{share}: {found}");
        }
        assert!((histogram.mean() - 0.5005).abs() < 1e-9);
        assert_eq!((histogram.least(), histogram.most()), (0.001, 1.0));
    }

    #[test]
    fn merging_is_counting_together() {
        let (mut left, mut right, mut both) = (
            Histogram::default(),
            Histogram::default(),
            Histogram::default(),
        );
        for value in 0..500u64 {
            let latency = Duration::from_micros(value * value);
            if value % 3 == 0 {
                left.record(latency)
            } else {
                right.record(latency)
            }
            both.record(latency);
        }
        left.merge(&right);
        assert_eq!(left.total(), both.total());
        for share in [0.0, 0.1, 0.5, 0.9, 0.99, 1.0] {
            assert_eq!(left.quantile(share), both.quantile(share));
        }
        assert_eq!(Histogram::default().quantile(0.5), 0.0);
    }
}
