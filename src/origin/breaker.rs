//! The breaker towards the origin: when nothing can be connected to, nobody waits for it.
//!
//! After some failures to connect in a row it opens: requests fail at once, so that what is stored stands in and the rest
//! is told to come back. When the interval has passed, one request goes through as a probe, one at a time; its connection
//! closes the breaker, its failure opens it for another interval. A connection is all that counts: answers of whatever
//! status, slow ones and broken ones come from an origin that is there.
//!
//! One for the whole process, on atomics alone: every request towards the origin passes it, none waits in it.

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
    /// So many failures to connect in a row open it; zero: it never opens.
    failures_max: u32,
    interval: Duration,
    start: Instant,
    /// [`CLOSED`], [`PROBING`], or the milliseconds since `start` from which on a probe may go.
    state: AtomicU64,
    /// Failures to connect in a row.
    failures: AtomicU32,
    opened: AtomicU64,
    refused: AtomicU64,
}

/// Everybody may pass.
const CLOSED: u64 = u64::MAX;
/// One request has passed to see whether the origin is back; nobody else may.
const PROBING: u64 = u64::MAX - 1;

/// How far the breaker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// Requests go to the origin.
    #[default]
    Closed,
    /// Requests fail at once.
    Open,
    /// One request sees whether the origin is back; the others fail at once.
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

    /// Makes a closed breaker that counts on from where `old` was.
    pub(super) fn after(old: &Self, config: &Config) -> Arc<Self> {
        let (opened, refused) = (old.opened_count(), old.refused_count());
        let new = Self::new(config);
        new.opened.store(opened, Ordering::Relaxed);
        new.refused.store(refused, Ordering::Relaxed);
        new
    }

    /// Tells whether it was made from such a configuration.
    pub(super) fn is_of(&self, config: &Config) -> bool {
        (self.failures_max, self.interval) == (config.breaker_failures, config.breaker_interval)
    }

    /// Lets a request pass, as a probe where it is time for one.
    ///
    /// # Errors
    /// [`Reason::DestinationUnavailable`] while it is open.
    pub(super) fn pass(self: &Arc<Self>, now: Instant) -> Result<Attempt, Error> {
        // A failure of an attempt that began before the latest opening is old news.
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

    /// Asks whether a request would pass now, so that none waits for its turn in vain. While it is closed, the time is not
    /// asked for.
    ///
    /// # Errors
    /// As [`Breaker::pass`].
    pub(super) fn check(&self, now: impl Fn() -> Instant) -> Result<(), Error> {
        self.blocking_state(&now).map_or(Ok(()), |state| Err(self.refuse(state, now())))
    }

    /// Tells whether a request would be refused now; nothing is counted.
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

    /// Returns how far it is.
    pub(super) fn state(&self) -> BreakerState {
        match self.state.load(Ordering::Relaxed) {
            CLOSED => BreakerState::Closed,
            PROBING => BreakerState::HalfOpen,
            _due => BreakerState::Open,
        }
    }

    /// Returns how often it has opened; a probe that failed counts too.
    pub(super) fn opened_count(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Returns how many requests it has refused.
    pub(super) fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn refuse(&self, state: u64, now: Instant) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        let (wait, what) = match state {
            CLOSED | PROBING => (self.interval, "a request is seeing whether it is back".to_owned()),
            due => {
                let wait = Duration::from_millis(due.saturating_sub(self.millis(now)));
                (wait, format!("the next attempt is in {wait:?}"))
            }
        };
        let detail = format!("the breaker is open (`breaker_failures`), and {what}");
        Error { retry_after: Some(wait), ..Error::unsent(Reason::DestinationUnavailable, detail) }
    }

    fn open(&self, from: u64, now: Instant) {
        let due = self.millis(now + self.interval).min(PROBING - 1);
        // Of several that see the last failure at once, one opens it. Nobody passes from here on, so whoever passes later
        // finds this opening counted.
        if self.state.compare_exchange(from, due, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.opened.fetch_add(1, Ordering::AcqRel);
            self.failures.store(0, Ordering::Relaxed);
            tracing::warn!(interval = ?self.interval, "the origin cannot be connected to: the breaker is open");
        }
    }

    fn close(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if self.state.load(Ordering::Relaxed) != CLOSED && self.state.swap(CLOSED, Ordering::AcqRel) != CLOSED {
            tracing::info!("the origin can be connected to again: the breaker is closed");
        }
    }

    fn millis(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.start).as_millis()).unwrap_or(PROBING - 1)
    }
}

/// A request that was let pass. Whoever lets go of it without telling how it went gives a probe's turn to the next.
#[derive(Debug)]
pub(super) struct Attempt {
    breaker: Arc<Breaker>,
    /// How often the breaker had opened when this began.
    generation: u64,
    is_probe: bool,
    is_settled: AtomicBool,
}

impl Attempt {
    /// Tells that there is a connection.
    pub(super) fn connect_succeeded(&self) {
        if !self.is_settled.swap(true, Ordering::Relaxed) {
            self.breaker.close();
        }
    }

    /// Tells that there is none.
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

    /// A breaker of three failures.
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
    fn it_opens_after_so_many_failures_in_a_row_and_not_before() {
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
        assert!(error.detail.contains("the breaker is open"), "{error}");
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
    fn a_probe_that_is_given_up_leaves_its_turn_to_the_next() {
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
    fn a_connection_closes_it_whoever_made_it() {
        let (breaker, now) = breaker();
        let slow = breaker.pass(now).unwrap();
        fail(&breaker, 3, now);
        slow.connect_succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn zero_failures_never_open_it() {
        let config = Config { breaker_failures: 0, ..config("unused:1") };
        let (breaker, now) = (Breaker::new(&config), Instant::now());
        fail(&breaker, 1000, now);
        assert_eq!((breaker.state(), breaker.opened_count()), (BreakerState::Closed, 0));
    }

    #[test]
    fn many_threads_open_it_once() {
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
