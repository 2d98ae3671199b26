//! The circuit breaker: while the origin cannot be connected to, no request waits for it.
//!
//! After a number of consecutive failures to connect, the breaker opens: requests fail at once, so
//! that stale responses are served instead and other clients are told to retry later. After the
//! interval, one request at a time passes as a probe. Its connection closes the breaker; its
//! failure opens the breaker for another interval. Only connections count: a response of any
//! status, slow or broken, comes from an origin that is there.
//!
//! One breaker serves the whole process, on atomics alone: every request to the origin passes it,
//! none waits in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::config::Config;
use super::error::Error;
use crate::outcome::Reason;

/// The breaker of the whole process.
#[derive(Debug)]
pub(super) struct Breaker {
    /// Consecutive failures to connect that open the breaker; zero never opens it.
    failures_max: u32,
    interval: Duration,
    start: Instant,
    /// [`CLOSED`], [`PROBING`], or the time in milliseconds since `start` from which a probe may
    /// pass.
    state: AtomicU64,
    /// Consecutive failures to connect.
    failures: AtomicU32,
    opened: AtomicU64,
    refused: AtomicU64,
}

/// Every request may pass.
const CLOSED: u64 = u64::MAX;
/// One request has passed to probe the origin. No other may.
const PROBING: u64 = u64::MAX - 1;

/// The state of the breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests go to the origin.
    #[default]
    Closed,
    /// Requests fail at once.
    Open,
    /// One request probes the origin; all others fail at once.
    HalfOpen,
}

impl BreakerState {
    /// Returns the stable token: lower case, words joined by `-`.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

impl Breaker {
    /// Makes a closed breaker.
    pub(super) fn new(config: &Config) -> Arc<Self> {
        Arc::new(Self {
            failures_max: config.breaker_failures,
            interval: config.breaker_interval,
            start: Instant::now(),
            state: CLOSED.into(),
            failures: 0.into(),
            opened: 0.into(),
            refused: 0.into(),
        })
    }

    /// Makes a closed breaker that continues the counters of `old`.
    pub(super) fn after(old: &Self, config: &Config) -> Arc<Self> {
        let (opened, refused) = (old.opened_count(), old.refused_count());
        let new = Self::new(config);
        new.opened.store(opened, Ordering::Relaxed);
        new.refused.store(refused, Ordering::Relaxed);
        new
    }

    /// Returns whether the breaker was made from these settings.
    pub(super) fn is_of(&self, config: &Config) -> bool {
        (self.failures_max, self.interval) == (config.breaker_failures, config.breaker_interval)
    }

    /// Lets a request pass, as a probe if one is due.
    ///
    /// # Errors
    /// [`Reason::DestinationUnavailable`] while the breaker is open.
    pub(super) fn pass(self: &Arc<Self>, now: Instant) -> Result<Attempt, Error> {
        // A failure of an attempt that began before the latest opening no longer counts.
        let generation = self.opened.load(Ordering::Acquire);
        let state = self.state.load(Ordering::Acquire);
        let is_probe = match state {
            CLOSED => false,
            PROBING => return Err(self.refuse(state, now)),
            due if self.millis(now) < due => return Err(self.refuse(state, now)),
            due => {
                let won = self.state.compare_exchange(due, PROBING, Ordering::AcqRel, Ordering::Relaxed);
                won.map_err(|state| self.refuse(state, now))?;
                true
            }
        };
        Ok(Attempt { breaker: Arc::clone(self), generation, is_probe, is_settled: AtomicBool::new(false) })
    }

    /// Checks whether a request would pass now, so that none waits for a permit in vain. Reads the
    /// time only while the breaker is not closed.
    ///
    /// # Errors
    /// The errors of [`Breaker::pass`].
    pub(super) fn check(&self, now: impl Fn() -> Instant) -> Result<(), Error> {
        self.blocking_state(&now).map_or(Ok(()), |state| Err(self.refuse(state, now())))
    }

    /// Returns whether a request would be refused now. Nothing is counted.
    pub(super) fn is_barred(&self, now: impl Fn() -> Instant) -> bool {
        self.blocking_state(&now).is_some()
    }

    /// Returns the state that keeps a request from passing now.
    fn blocking_state(&self, now: &impl Fn() -> Instant) -> Option<u64> {
        match self.state.load(Ordering::Relaxed) {
            CLOSED => None,
            PROBING => Some(PROBING),
            due => (self.millis(now()) < due).then_some(due),
        }
    }

    /// Returns the state.
    pub(super) fn state(&self) -> BreakerState {
        match self.state.load(Ordering::Relaxed) {
            CLOSED => BreakerState::Closed,
            PROBING => BreakerState::HalfOpen,
            _due => BreakerState::Open,
        }
    }

    /// Returns how often the breaker has opened; failed probes count too.
    pub(super) fn opened_count(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Returns the number of requests refused.
    pub(super) fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn refuse(&self, state: u64, now: Instant) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let (wait, what) = match state {
            CLOSED | PROBING => (self.interval, "a probe is under way".to_owned()),
            due => {
                let wait = Duration::from_millis(due.saturating_sub(self.millis(now)));
                (wait, format!("the next probe is in {wait:?}"))
            }
        };
        let detail = format!("the circuit breaker is open (`breaker_failures`): {what}");
        Error { retry_after: Some(wait), ..Error::unsent(Reason::DestinationUnavailable, detail) }
    }

    fn open(&self, from: u64, now: Instant) {
        let due = self.millis(now + self.interval).min(PROBING - 1);
        // Of several attempts that see the last failure at once, one opens the breaker. No request
        // passes from here on, so every later one finds this opening counted.
        if self.state.compare_exchange(from, due, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.opened.fetch_add(1, Ordering::AcqRel);
            self.failures.store(0, Ordering::Relaxed);
            tracing::warn!(interval = ?self.interval, "cannot connect to the origin; circuit breaker open");
        }
    }

    fn close(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.state.load(Ordering::Relaxed) != CLOSED && self.state.swap(CLOSED, Ordering::AcqRel) != CLOSED {
            tracing::info!("connected to the origin again; circuit breaker closed");
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(PROBING - 1)
    }
}

/// A request that was let pass. Dropped without a result, the attempt leaves a probe's turn to the
/// next request.
#[derive(Debug)]
pub(super) struct Attempt {
    breaker: Arc<Breaker>,
    /// How often the breaker had opened when the attempt began.
    generation: u64,
    is_probe: bool,
    is_settled: AtomicBool,
}

impl Attempt {
    /// Reports a connection.
    pub(super) fn connect_succeeded(&self) {
        if !self.is_settled.swap(true, Ordering::Relaxed) {
            self.breaker.close();
        }
    }

    /// Reports a failure to connect.
    pub(super) fn connect_failed(&self, now: Instant) {
        let breaker = &self.breaker;
        if self.is_settled.swap(true, Ordering::Relaxed) || breaker.failures_max == 0 {
            return;
        }
        if self.is_probe {
            breaker.open(PROBING, now);
        } else if breaker.opened.load(Ordering::Acquire) == self.generation
            && breaker.failures.fetch_add(1, Ordering::AcqRel) + 1 >= breaker.failures_max
        {
            breaker.open(CLOSED, now);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if self.is_probe && !*self.is_settled.get_mut() {
            let due = self.breaker.millis(Instant::now());
            let _ = self.breaker.state.compare_exchange(PROBING, due, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);

    /// Makes a breaker that three failures open.
    fn breaker() -> (Arc<Breaker>, Instant) {
        let config = Config { breaker_failures: 3, breaker_interval: INTERVAL, ..config("unused:1") };
        (Breaker::new(&config), Instant::now())
    }

    fn fail(breaker: &Arc<Breaker>, times: usize, now: Instant) {
        for _ in 0..times {
            breaker.pass(now).unwrap().connect_failed(now);
        }
    }

    #[test]
    fn the_breaker_opens_after_consecutive_failures_and_not_before() {
        let (breaker, now) = breaker();
        fail(&breaker, 2, now);
        breaker.pass(now).unwrap().connect_succeeded();
        fail(&breaker, 2, now);
        drop(breaker.pass(now).unwrap());
        assert_eq!(
            breaker.state(),
            BreakerState::Closed,
            "one success lies between, and one that was given up is neither"
        );
        fail(&breaker, 1, now);
        assert_eq!((breaker.state(), breaker.opened_count()), (BreakerState::Open, 1));
        let error = breaker.pass(now).unwrap_err();
        assert_eq!((error.reason, error.was_sent), (Reason::DestinationUnavailable, false));
        assert!(error.detail.contains("the circuit breaker is open"), "{error}");
        assert!(error.retry_after.unwrap() <= INTERVAL);
        assert!(breaker.check(|| now).is_err());
        assert_eq!(breaker.refused_count(), 2);
    }

    #[test]
    fn after_the_interval_one_probe_at_a_time_decides() {
        let (breaker, now) = breaker();
        fail(&breaker, 3, now);
        assert!(breaker.pass(now + INTERVAL - Duration::from_millis(1)).is_err());
        let later = now + INTERVAL + Duration::from_millis(1);
        assert!(breaker.check(|| later).is_ok(), "asking takes no turn");
        let probe = breaker.pass(later).unwrap();
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(breaker.pass(later).is_err() && breaker.check(|| later).is_err(), "one at a time");
        probe.connect_failed(later);
        assert_eq!((breaker.state(), breaker.opened_count()), (BreakerState::Open, 2));
        assert!(breaker.pass(later + INTERVAL - Duration::from_millis(1)).is_err());
        breaker.pass(later + INTERVAL).unwrap().connect_succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.pass(later + INTERVAL).is_ok());
    }

    #[test]
    fn a_cancelled_probe_leaves_its_turn_to_the_next() {
        let (breaker, now) = breaker();
        fail(&breaker, 3, now);
        let later = now + INTERVAL;
        drop(breaker.pass(later).unwrap());
        breaker.pass(later).unwrap().connect_succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn old_failures_do_not_open_it_again() {
        let (breaker, now) = breaker();
        let slow: Vec<_> = (0..9).map(|_| breaker.pass(now).unwrap()).collect();
        fail(&breaker, 3, now);
        breaker.pass(now + INTERVAL).unwrap().connect_succeeded();
        slow.iter().for_each(|attempt| attempt.connect_failed(now + INTERVAL));
        assert_eq!((breaker.state(), breaker.opened_count()), (BreakerState::Closed, 1));
    }

    #[test]
    fn any_connection_closes_the_breaker() {
        let (breaker, now) = breaker();
        let slow = breaker.pass(now).unwrap();
        fail(&breaker, 3, now);
        slow.connect_succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn zero_failures_never_open_the_breaker() {
        let config = Config { breaker_failures: 0, ..config("unused:1") };
        let (breaker, now) = (Breaker::new(&config), Instant::now());
        fail(&breaker, 1000, now);
        assert_eq!((breaker.state(), breaker.opened_count()), (BreakerState::Closed, 0));
    }

    #[test]
    fn many_threads_open_the_breaker_once() {
        let (breaker, now) = breaker();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        if let Ok(attempt) = breaker.pass(now) {
                            attempt.connect_failed(now);
                        }
                    }
                });
            }
        });
        assert_eq!((breaker.state(), breaker.opened_count()), (BreakerState::Open, 1));
    }
}
