//! The permits: a bound on concurrent requests to the origin, and a queue for requests beyond it.
//!
//! One set serves the whole process. Waiting requests are served in order. Queue and wait are both
//! bounded, so that a slow origin causes quick refusals and no memory growth. A reload changes the
//! bounds of this one set. If more permits are in use than the new bound, the next ones to be
//! returned are not given out again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::breaker::{Breaker, BreakerState};
use super::config::Config;
use super::error::Error;
use crate::outcome::Reason;

/// A reading of the origin side's counters, of the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginStats {
    /// The most permits at once.
    pub permits_max: usize,
    /// Permits in use now.
    pub permits_in_use: usize,
    /// Requests waiting for a permit now.
    pub permits_waiting: usize,
    /// Requests refused for lack of a permit.
    pub permits_refused: u64,
    /// The state of the circuit breaker.
    pub breaker: BreakerState,
    /// How often the breaker has opened.
    pub breaker_opened: u64,
    /// Requests refused by the breaker.
    pub breaker_refused: u64,
}

/// The permits of the whole process.
#[derive(Debug)]
pub struct Permits {
    free: Arc<Semaphore>,
    /// Permits in use that must not be given out again.
    surplus: Arc<AtomicUsize>,
    waiting: AtomicUsize,
    refused: AtomicU64,
    bounds: ArcSwap<PermitBounds>,
    /// Locked while the bounds change. Nothing awaits under it.
    adjusting: Mutex<()>,
}

/// The bounds from the configuration.
#[derive(Debug)]
struct PermitBounds {
    total: usize,
    timeout: Duration,
    waiting_max: usize,
    authority: String,
    breaker: Arc<Breaker>,
}

/// A permit for one request to the origin, held until the response's body has ended.
#[derive(Debug)]
pub struct Permit {
    /// `None` only during the drop.
    permit: Option<OwnedSemaphorePermit>,
    surplus: Arc<AtomicUsize>,
}

impl Drop for Permit {
    /// Returns the permit to the pool, or discards it while more permits exist than the current
    /// limit allows.
    fn drop(&mut self) {
        let one_less = |surplus: usize| surplus.checked_sub(1);
        if self.surplus.load(Ordering::Relaxed) > 0
            && self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
            && let Some(held) = self.permit.take()
        {
            held.forget();
        }
    }
}

impl PermitBounds {
    fn new(config: &Config, breaker: Arc<Breaker>) -> Self {
        Self {
            total: config.connections_max.min(Semaphore::MAX_PERMITS),
            timeout: config.permit_timeout,
            waiting_max: config.permit_queue_max,
            authority: config.authority.clone(),
            breaker,
        }
    }
}

impl Permits {
    /// Makes `connections_max` permits.
    pub fn new(config: &Config) -> Self {
        let bounds = PermitBounds::new(config, Breaker::new(config));
        Self {
            free: Arc::new(Semaphore::new(bounds.total)),
            surplus: Arc::default(),
            waiting: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            bounds: ArcSwap::from_pointee(bounds),
            adjusting: Mutex::new(()),
        }
    }

    /// Puts another configuration in force. Another origin, or other breaker settings, get a closed
    /// breaker: the state of one address says nothing about another.
    pub fn adjust(&self, config: &Config) {
        let _lock = self.adjusting.lock();
        let old = self.bounds.load_full();
        let breaker = match old.authority == config.authority && old.breaker.is_of(config) {
            true => Arc::clone(&old.breaker),
            false => Breaker::after(&old.breaker, config),
        };
        let new = PermitBounds::new(config, breaker);
        let (old_total, new_total) = (old.total, new.total);
        self.bounds.store(Arc::new(new));
        if new_total < old_total {
            let forgotten = self.free.forget_permits(old_total - new_total);
            self.surplus.fetch_add(old_total - new_total - forgotten, Ordering::Relaxed);
        } else {
            let mut more = new_total - old_total;
            // Permits in use above the old bound count again before new ones are made.
            let _ = self.surplus.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |surplus| {
                more = (new_total - old_total).saturating_sub(surplus);
                Some(surplus.saturating_sub(new_total - old_total))
            });
            self.free.add_permits(more);
        }
    }

    fn permit(&self, held: OwnedSemaphorePermit) -> Permit {
        Permit { permit: Some(held), surplus: Arc::clone(&self.surplus) }
    }

    /// Waits for a permit, in order.
    ///
    /// # Errors
    /// [`Reason::Overloaded`] if the queue is full or the wait took too long.
    /// [`Reason::DestinationUnavailable`] at once while the breaker is open, because a permit would
    /// be of no use.
    pub async fn acquire(self: &Arc<Self>) -> Result<Permit, Error> {
        let timeout = {
            let bounds = self.bounds.load();
            bounds.breaker.check(Instant::now)?;
            bounds.timeout
        };
        // The semaphore hands returned permits to waiting requests first, so this cannot jump the
        // queue.
        if let Ok(permit) = Arc::clone(&self.free).try_acquire_owned() {
            return Ok(self.permit(permit));
        }
        let _place = self.queue()?;
        match tokio::time::timeout(timeout, Arc::clone(&self.free).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(self.permit(permit)),
            Ok(Err(_closed)) => Err(self.overloaded("no more permits are given out")),
            Err(_elapsed) => Err(self.overloaded("the wait took longer than `permit_timeout`")),
        }
    }

    /// Takes a permit for background work. `None` while any request waits, while no more than an
    /// eighth of the permits is free (reserved for requests that clients wait for), or while the
    /// breaker is open.
    pub fn spare(&self) -> Option<Permit> {
        let bounds = self.bounds.load();
        let reserved = bounds.total / 8;
        if self.waiting() > 0
            || self.free.available_permits() <= reserved
            || bounds.breaker.check(Instant::now).is_err()
        {
            return None;
        }
        Arc::clone(&self.free).try_acquire_owned().ok().map(|permit| self.permit(permit))
    }

    /// Returns how a request for a permit would fail immediately; `None` if the request would get a
    /// permit, or wait for one. Nothing is taken or counted.
    pub fn outlook(&self) -> Option<Reason> {
        let bounds = self.bounds.load();
        if bounds.breaker.is_barred(Instant::now) {
            return Some(Reason::DestinationUnavailable);
        }
        let is_full = self.free.available_permits() == 0 && self.waiting() >= bounds.waiting_max;
        is_full.then_some(Reason::Overloaded)
    }

    /// Returns the breaker.
    pub(super) fn breaker(&self) -> Arc<Breaker> {
        Arc::clone(&self.bounds.load().breaker)
    }

    /// Returns a reading of the counters.
    pub fn stats(&self) -> OriginStats {
        let breaker = self.breaker();
        OriginStats {
            permits_max: self.bounds.load().total,
            permits_in_use: self.in_use(),
            permits_waiting: self.waiting(),
            permits_refused: self.refused.load(Ordering::Relaxed),
            breaker: breaker.state(),
            breaker_opened: breaker.opened_count(),
            breaker_refused: breaker.refused_count(),
        }
    }

    /// Returns the number of permits in use.
    pub fn in_use(&self) -> usize {
        let given_out = self.bounds.load().total + self.surplus.load(Ordering::Relaxed);
        given_out.saturating_sub(self.free.available_permits())
    }

    /// Returns the number of requests waiting for a permit.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn queue(&self) -> Result<QueuePlace<'_>, Error> {
        let place = QueuePlace(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= self.bounds.load().waiting_max {
            return Err(self.overloaded("the queue is full (`permit_queue_max`)"));
        }
        Ok(place)
    }

    fn overloaded(&self, what: &str) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Error::unsent(Reason::Overloaded, format!("all {} permits are in use, and {what}", self.bounds.load().total))
    }
}

/// A place in the queue, freed on drop, so that a cancelled request leaves nothing behind.
struct QueuePlace<'a>(&'a AtomicUsize);

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::config;
    use super::*;

    fn permits(connections_max: usize, permit_queue_max: usize, permit_timeout: Duration) -> Arc<Permits> {
        let config = Config { connections_max, permit_queue_max, permit_timeout, ..config("unused:1") };
        Arc::new(Permits::new(&config))
    }

    #[tokio::test]
    async fn a_returned_permit_goes_to_the_first_request_that_waits() {
        let permits = permits(1, 2, Duration::from_secs(10));
        let first = permits.acquire().await.unwrap();
        assert_eq!((permits.in_use(), permits.waiting()), (1, 0));

        let mut second = Box::pin(permits.acquire());
        let mut third = Box::pin(permits.acquire());
        assert!(poll_once(&mut second).is_none() && poll_once(&mut third).is_none());
        assert_eq!((permits.in_use(), permits.waiting()), (1, 2));

        drop(first);
        assert!(poll_once(&mut third).is_none(), "the third came later");
        let second = poll_once(&mut second).expect("its turn").unwrap();
        assert_eq!((permits.in_use(), permits.waiting()), (1, 1));
        drop(second);
        let third = poll_once(&mut third).expect("its turn").unwrap();
        drop(third);
        assert_eq!((permits.in_use(), permits.waiting()), (0, 0));
    }

    #[tokio::test]
    async fn the_outlook_predicts_a_refusal_and_counts_nothing() {
        let permits = permits(1, 0, Duration::from_secs(10));
        assert_eq!(permits.outlook(), None);
        let permit_in_use = permits.acquire().await.unwrap();
        assert_eq!(permits.outlook(), Some(Reason::Overloaded));
        assert_eq!(permits.stats().permits_refused, 0);
        drop(permit_in_use);
        assert_eq!(permits.outlook(), None);
    }

    #[tokio::test]
    async fn the_queue_is_bounded_and_a_cancelled_request_frees_its_place() {
        let permits = permits(1, 1, Duration::from_secs(10));
        let _held = permits.acquire().await.unwrap();
        let mut waiting = Box::pin(permits.acquire());
        assert!(poll_once(&mut waiting).is_none());

        let error = permits.acquire().await.unwrap_err();
        assert_eq!((error.reason, error.was_sent), (Reason::Overloaded, false));
        assert_eq!(permits.waiting(), 1, "a refused request leaves no trace");

        drop(waiting);
        assert_eq!(permits.waiting(), 0);
    }

    #[tokio::test]
    async fn the_wait_is_bounded() {
        let permits = permits(1, 9, Duration::from_millis(5));
        let _held = permits.acquire().await.unwrap();
        let error = permits.acquire().await.unwrap_err();
        assert_eq!(error.reason, Reason::Overloaded);
        assert!(error.detail.contains("permit_timeout"), "{error}");
        assert_eq!(permits.waiting(), 0);
    }

    #[tokio::test]
    async fn a_spare_permit_is_taken_from_no_waiting_request() {
        let none_waits = permits(8, 9, Duration::from_secs(10));
        let held: Vec<_> = (0..7).map_while(|_| none_waits.spare()).collect();
        assert_eq!(held.len(), 7, "an eighth is reserved");
        assert!(none_waits.spare().is_none());
        assert!(none_waits.acquire().await.is_ok(), "reserved for requests that clients wait for");

        let few = permits(1, 9, Duration::from_secs(10));
        let only = few.spare().expect("of fewer than eight, none is reserved");
        let mut waiting = Box::pin(few.acquire());
        assert!(poll_once(&mut waiting).is_none());
        drop(only);
        assert!(few.spare().is_none(), "the permit goes to the request that waits");
        assert!(poll_once(&mut waiting).is_some());
    }

    #[tokio::test]
    async fn while_the_breaker_is_open_nobody_queues() {
        let permits = permits(1, 9, Duration::from_secs(10));
        let _held = permits.acquire().await.unwrap();
        for _ in 0..3 {
            permits.breaker().pass(Instant::now()).unwrap().connect_failed(Instant::now());
        }
        let error = permits.acquire().await.unwrap_err();
        assert_eq!((error.reason, permits.waiting()), (Reason::DestinationUnavailable, 0));
        assert!(permits.spare().is_none());
        let stats = permits.stats();
        assert_eq!((stats.breaker, stats.breaker_opened), (super::super::BreakerState::Open, 1));
    }

    #[tokio::test]
    async fn changed_bounds_apply_to_permits_in_use() {
        let with = |connections_max| Config { connections_max, permit_queue_max: 9, ..config("unused:1") };
        let permits = Arc::new(Permits::new(&with(3)));
        let mut held = vec![permits.acquire().await.unwrap(), permits.acquire().await.unwrap()];
        permits.adjust(&with(1));
        assert_eq!(permits.in_use(), 2, "what is given out stays");
        let mut waiting = Box::pin(permits.acquire());
        held.pop();
        assert!(poll_once(&mut waiting).is_none(), "the first that comes back is one too many");
        held.pop();
        let last = poll_once(&mut waiting).expect("its turn").unwrap();
        assert_eq!(permits.in_use(), 1);
        permits.adjust(&with(2));
        let other = permits.acquire().await.unwrap();
        permits.adjust(&with(1));
        permits.adjust(&with(2));
        drop((last, other));
        assert_eq!((permits.in_use(), permits.free.available_permits()), (0, 2));
    }

    #[tokio::test]
    async fn another_origin_gets_a_closed_breaker_and_the_same_one_keeps_its_own() {
        let first = Config { breaker_failures: 3, ..config("unused:1") };
        let permits = Permits::new(&first);
        for _ in 0..3 {
            permits.breaker().pass(Instant::now()).unwrap().connect_failed(Instant::now());
        }
        permits.adjust(&Config { connections_max: 7, ..first.clone() });
        assert_eq!(permits.stats().breaker, super::super::BreakerState::Open);
        permits.adjust(&Config { authority: "unused:2".into(), ..first });
        let stats = permits.stats();
        assert_eq!((stats.breaker, stats.breaker_opened), (super::super::BreakerState::Closed, 1));
    }

    /// Polls once; `None` if not ready.
    fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::Pin::new(future).poll(&mut context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}
