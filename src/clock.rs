//! Time as an argument: every other module receives a [`Timestamp`].
//!
//! [`Clock`] is the only reader of the machine's clock. It reads wall time on purpose, because RFC
//! 9111 compares ages and dates with the `Date` that origins write. Where wall time steps backward,
//! ages clamp at zero. Timeouts do not come from here: they belong to the runtime.

use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A point in wall time: milliseconds since the Unix epoch, negative before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Makes a timestamp from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Makes a timestamp from whole seconds since the Unix epoch; saturates.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Returns milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns whole seconds since the Unix epoch, rounded down.
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Returns the time from `earlier` to `self`, zero when `earlier` is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// The source of time: the machine, or a test that steps it.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's wall clock.
    #[default]
    System,
    /// A clock that stands still until [`Clock::step`] moves it. Clones share it.
    Stepped(Arc<AtomicI64>),
}

impl Clock {
    /// Makes a clock that stands at `start` until it is stepped.
    pub fn stepped(start: Timestamp) -> Self {
        Self::Stepped(Arc::new(AtomicI64::new(start.as_millis())))
    }

    /// Returns the time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp(i64::try_from(self.since_epoch().as_millis()).unwrap_or(i64::MAX)),
            Self::Stepped(millis) => Timestamp(millis.load(Ordering::SeqCst)),
        }
    }

    /// Returns the time since the Unix epoch at the machine's full resolution, for durations below
    /// a millisecond; zero before the epoch.
    pub fn since_epoch(&self) -> Duration {
        match self {
            Self::System => SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default(),
            Self::Stepped(_) => Duration::from_millis(u64::try_from(self.now().as_millis()).unwrap_or(0)),
        }
    }

    /// Moves a stepped clock forward by `duration`; the machine's clock stays as it is.
    pub fn step(&self, duration: Duration) {
        if let Self::Stepped(millis) = self {
            millis.fetch_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX), Ordering::SeqCst);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stepped_clock_moves_only_by_step_and_clones_share_it() {
        let clock = Clock::stepped(Timestamp::from_secs(100));
        let twin = clock.clone();
        assert_eq!(clock.now(), Timestamp::from_millis(100_000));
        twin.step(Duration::from_millis(1500));
        assert_eq!(clock.now().as_millis(), 101_500);
        assert_eq!(clock.now().as_secs(), 101);
    }

    #[test]
    fn durations_never_run_backward() {
        let (early, late) = (Timestamp::from_secs(5), Timestamp::from_secs(9));
        assert_eq!(late.saturating_since(early), Duration::from_secs(4));
        assert_eq!(early.saturating_since(late), Duration::ZERO);
        assert_eq!(Timestamp::from_millis(-1).as_secs(), -1);
    }
}
