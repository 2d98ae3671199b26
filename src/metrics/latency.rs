//! Latencies from a request's head to its response's end, in four classes, as histograms of bounded
//! size.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::counts::used_origin;
use crate::outcome::{Decision, Outcome};

/// The shortest latency that is distinguished: one microsecond.
const MICROS_MIN: u64 = 1;

/// The longest latency that is distinguished: ten minutes. Longer ones are counted as this.
const MICROS_MAX: u64 = 600_000_000;

/// The classes of requests whose latencies are recorded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum LatencyClass {
    /// Answered from the store without waiting for the origin: hits and most stale responses.
    Hit,
    /// A cacheable request that went to the origin: misses, revalidations, and stale responses
    /// after the origin failed.
    Miss,
    /// Passed to the origin. Apart from misses, which uploads and open-ended streams would distort.
    Pass,
    /// Refused here, or failed at the origin.
    Error,
}

impl LatencyClass {
    /// Every class.
    pub const ALL: &'static [LatencyClass] = &[Self::Hit, Self::Miss, Self::Pass, Self::Error];

    /// Returns the stable token: lower case.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Error => "error",
        }
    }

    /// Returns the class of a decision.
    pub fn of(decision: &Decision) -> Self {
        match decision.outcome {
            Outcome::Hit => Self::Hit,
            Outcome::Stale if !used_origin(decision) => Self::Hit,
            Outcome::Stale | Outcome::Revalidated | Outcome::Miss => Self::Miss,
            Outcome::Pass | Outcome::Own => Self::Pass,
            Outcome::Refused | Outcome::Failed => Self::Error,
        }
    }
}

/// Returns a duration in whole microseconds; saturates.
pub(super) fn micros(span: Duration) -> u64 {
    span.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(span.subsec_micros()))
}

/// Latencies by class.
#[derive(Clone, Debug)]
pub struct Latencies {
    classes: [Latency; LatencyClass::ALL.len()],
    /// Significant decimal digits of the histograms.
    digits: u8,
}

impl Latencies {
    pub(super) fn new(digits: u8) -> Self {
        Self { classes: std::array::from_fn(|_| Latency::default()), digits }
    }

    /// Returns the latencies of a class.
    pub fn of(&self, class: LatencyClass) -> &Latency {
        &self.classes[class as usize]
    }

    pub(super) fn record(&mut self, class: LatencyClass, micros: u64) {
        self.classes[class as usize].record(self.digits, micros);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (latency, more) in self.classes.iter_mut().zip(&other.classes) {
            latency.add(self.digits, more);
        }
    }
}

/// The latencies of one class.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// Made at the first record: most routes never use most classes.
    histogram: Option<Box<Histogram<u64>>>,
    sum_micros: u64,
}

impl Latency {
    pub(super) fn record(&mut self, digits: u8, micros: u64) {
        self.histogram(digits).saturating_record(micros.clamp(MICROS_MIN, MICROS_MAX));
        self.sum_micros = self.sum_micros.saturating_add(micros);
    }

    pub(super) fn add(&mut self, digits: u8, more: &Self) {
        let Some(histogram) = &more.histogram else { return };
        self.histogram(digits).add(&**histogram).expect("both histograms have the same constant bounds");
        self.sum_micros = self.sum_micros.saturating_add(more.sum_micros);
    }

    fn histogram(&mut self, digits: u8) -> &mut Histogram<u64> {
        self.histogram.get_or_insert_with(|| {
            Box::new(
                Histogram::new_with_bounds(MICROS_MIN, MICROS_MAX, digits)
                    .expect("the bounds are constants that a histogram accepts"),
            )
        })
    }

    /// Returns the number of recorded latencies.
    pub fn count(&self) -> u64 {
        self.histogram.as_ref().map_or(0, |histogram| histogram.len())
    }

    /// Returns the sum of all latencies in microseconds, without rounding.
    pub fn sum_micros(&self) -> u64 {
        self.sum_micros
    }

    /// Returns the latency in microseconds that the given share (0 to 1) of all does not exceed.
    ///
    /// 1.0 returns the longest latency. `None` if nothing was recorded.
    pub fn quantile_micros(&self, share: f64) -> Option<u64> {
        let histogram = self.histogram.as_ref().filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_quantile(share).min(MICROS_MAX))
    }

    /// Returns the number of latencies between consecutive `bounds_micros`, which ascend.
    ///
    /// Each interval includes its upper bound; the last number is of latencies above all bounds. A
    /// latency is placed by its cell, so it may be off by the precision.
    pub fn spans(&self, bounds_micros: &[u64]) -> Vec<u64> {
        let mut spans = vec![0; bounds_micros.len() + 1];
        for value in self.histogram.iter().flat_map(|histogram| histogram.iter_recorded()) {
            // A cell is identified by its highest value. Its lowest decides, so that 1 ms itself is
            // counted under "up to 1 ms".
            let lowest =
                self.histogram.as_ref().map_or(0, |histogram| histogram.lowest_equivalent(value.value_iterated_to()));
            spans[bounds_micros.partition_point(|bound| *bound < lowest)] += value.count_at_value();
        }
        spans
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Reason;

    fn recorded(digits: u8, micros: &[u64]) -> Latencies {
        let mut latencies = Latencies::new(digits);
        micros.iter().for_each(|micros| latencies.record(LatencyClass::Hit, *micros));
        latencies
    }

    #[test]
    fn classes_of_decisions() {
        let check = |outcome, reason, class| assert_eq!(LatencyClass::of(&Decision::new(outcome, reason)), class);
        check(Outcome::Hit, Reason::Fresh, LatencyClass::Hit);
        check(Outcome::Stale, Reason::WhileRevalidate, LatencyClass::Hit);
        check(Outcome::Stale, Reason::IfError, LatencyClass::Miss);
        check(Outcome::Revalidated, Reason::Expired, LatencyClass::Miss);
        check(Outcome::Miss, Reason::UriMiss, LatencyClass::Miss);
        check(Outcome::Pass, Reason::Method, LatencyClass::Pass);
        check(Outcome::Refused, Reason::BadRequest, LatencyClass::Error);
        check(Outcome::Failed, Reason::DnsError, LatencyClass::Error);
        assert!(LatencyClass::ALL.iter().enumerate().all(|(index, class)| *class as usize == index));
    }

    #[test]
    fn quantiles_are_exact_to_the_digits() {
        for (digits, precision) in [(2, 0.01), (1, 0.1)] {
            let values: Vec<u64> = (1..=10_000).map(|nth| nth * 37).collect();
            let latencies = recorded(digits, &values);
            for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
                let exact = values[((share * 10_000.0) as usize).max(1) - 1] as f64;
                let quantile = latencies.of(LatencyClass::Hit).quantile_micros(share).unwrap() as f64;
                assert!(
                    (quantile - exact).abs() / exact <= precision,
                    "{digits} digits, {share}: {quantile} for {exact}"
                );
            }
        }
    }

    #[test]
    fn both_ends_are_clamped_and_the_sum_is_not() {
        let latencies = recorded(2, &[0, MICROS_MAX * 3]);
        let hits = latencies.of(LatencyClass::Hit);
        assert_eq!((hits.count(), hits.sum_micros()), (2, MICROS_MAX * 3));
        assert_eq!((hits.quantile_micros(0.0), hits.quantile_micros(1.0)), (Some(1), Some(MICROS_MAX)));
        assert_eq!(latencies.of(LatencyClass::Miss).quantile_micros(0.5), None);
        assert_eq!(micros(Duration::MAX), u64::MAX);
        assert_eq!(micros(Duration::new(2, 3_999)), 2_000_003);
    }

    #[test]
    fn spans_hold_every_value_once_with_bounds_included() {
        let latencies = recorded(2, &[1, 50, 1_000, 1_001, 5_000, 1_000_000, 999_999_999]);
        let spans = latencies.of(LatencyClass::Hit).spans(&[50, 1_000, 1_000_000]);
        assert_eq!(spans.iter().sum::<u64>(), 7);
        // 1,001 µs shares a cell with 1,000 µs.
        assert_eq!(spans, [2, 2, 2, 1]);
        assert_eq!(Latency::default().spans(&[1, 2]), [0, 0, 0]);
    }
}
