//! One core's shard of the metrics, and how a request is recorded in it.

use std::sync::Arc;

use parking_lot::Mutex;

use super::counts::{OutcomeCounts, RequestCounters, used_origin};
use super::latency::{self, Latencies, Latency, LatencyClass};
use super::personalised::PersonalisedRegister;
use super::shadow::ShadowRegister;
use super::urls::{ResponseStart, UrlTables};
use crate::analytics::NonHitRequest;
use crate::analytics::shadow::ShadowTables;
use crate::outcome::{Decision, Outcome, ResponseEnd};
use crate::stored::DifferingCredentials;

/// Significant digits of the latencies of all requests: quantiles are exact to 1 %.
pub(super) const DIGITS: u8 = 2;

/// Significant digits of a route's latencies: exact to 10 %, in 3 KiB in place of 24.
const ROUTE_DIGITS: u8 = 1;

/// The row in which each route of a configuration is counted; `None` for routes beyond
/// [`ROUTES_MAX`](super::ROUTES_MAX), which are counted as [`NO_ROUTE`](super::NO_ROUTE).
#[derive(Clone, Debug, Default)]
pub struct RouteRows(pub(super) Arc<[Option<usize>]>);

/// One core's shard of the metrics, as seen by one configuration: its routes map to rows.
#[derive(Debug)]
pub struct LocalMetrics {
    core: Arc<CoreMetrics>,
    rows: RouteRows,
    personalised: Arc<PersonalisedRegister>,
    shadow: Arc<ShadowRegister>,
}

/// The counters of one core, under all configurations.
///
/// Aligned to two cache lines, so that the shards of two cores never share one.
#[derive(Debug)]
#[repr(align(128))]
pub(super) struct CoreMetrics {
    /// Guards the core's counters against a reader that adds them up. The core holds the lock for
    /// some nanoseconds, a reader for one row at a time. Nothing awaits under it.
    pub(super) shard: Mutex<MetricsShard>,
    pub(super) urls: UrlTables,
}

/// The counters of one core.
#[derive(Debug)]
pub(super) struct MetricsShard {
    pub(super) totals: RequestCounters,
    pub(super) latency: Latencies,
    /// The wait for the origin, of requests that were sent to it.
    pub(super) origin_wait: Latency,
    /// One row for each route name.
    pub(super) routes: Vec<RouteCounters>,
    /// The row of requests without a route.
    pub(super) unrouted: RouteCounters,
}

/// The counters of one route on one core.
#[derive(Debug)]
pub(super) struct RouteCounters {
    pub(super) requests: OutcomeCounts,
    pub(super) body_bytes: OutcomeCounts,
    pub(super) latency: Latencies,
}

impl LocalMetrics {
    /// Makes a shard that counts into `core`.
    pub(super) fn new(
        core: Arc<CoreMetrics>,
        rows: RouteRows,
        personalised: Arc<PersonalisedRegister>,
        shadow: Arc<ShadowRegister>,
    ) -> Self {
        Self { core, rows, personalised, shadow }
    }

    /// Returns the same shard under a configuration whose routes have these rows.
    pub fn with_rows(&self, rows: &RouteRows) -> Arc<Self> {
        let (personalised, shadow) = (Arc::clone(&self.personalised), Arc::clone(&self.shadow));
        Arc::new(Self::new(Arc::clone(&self.core), rows.clone(), personalised, shadow))
    }

    /// Returns the row in which a route is counted; `None` is the row of requests without a route.
    pub fn row(&self, route: Option<u16>) -> Option<usize> {
        route.and_then(|route| *self.rows.0.get(usize::from(route))?)
    }

    /// Counts a request whose response has ended. On the path of every hit: one uncontended lock
    /// and some additions.
    pub fn record(&self, decision: &Decision, end: &ResponseEnd) {
        let class = LatencyClass::of(decision);
        let micros = latency::micros(end.elapsed);
        let mut guard = self.core.shard.lock();
        let shard = &mut *guard;
        shard.totals.count(decision, end);
        shard.latency.record(class, micros);
        let index = self.row(decision.route);
        let row = match index.and_then(|index| shard.routes.get_mut(index)) {
            Some(row) => row,
            None => &mut shard.unrouted,
        };
        row.requests.count(decision.outcome, 1);
        row.body_bytes.count(decision.outcome, end.body_bytes);
        row.latency.record(class, micros);
    }

    /// Counts the URL of a hit when its head goes out. For any other response, returns the value
    /// that [`LocalMetrics::record_non_hit`] takes once the response has ended.
    pub fn record_start(&self, decision: &Decision, start: &ResponseStart<'_>) -> Option<Box<NonHitRequest>> {
        let from_store = matches!(decision.outcome, Outcome::Hit | Outcome::Stale) && !decision.collapsed;
        let used_origin = used_origin(decision);
        if from_store && !used_origin {
            self.core.urls.hit(start.url, start.body_bytes);
            return None;
        }
        let origin_time = used_origin.then(|| start.started.elapsed());
        Some(Box::new(NonHitRequest { url: start.url.into(), status: start.status, origin_time, at: start.at }))
    }

    /// Counts the URL and the origin time of a request that was not a plain hit and whose response
    /// has ended.
    pub fn record_non_hit(&self, request: &NonHitRequest, decision: &Decision, end: &ResponseEnd) {
        if let Some(origin_time) = request.origin_time {
            self.core.shard.lock().origin_wait.record(DIGITS, latency::micros(origin_time));
        }
        self.core.urls.non_hit(request, decision, end);
    }

    /// Counts an origin request that Larder made on its own: a refresh in the background
    /// (RFC 5861 §3), or a check of a stored body.
    pub fn record_refresh(&self) {
        self.core.shard.lock().totals.refreshes += 1;
    }

    /// Counts a response that is stored together with the cookie that it sets.
    pub fn record_stored_cookie(&self) {
        self.core.shard.lock().totals.stored_cookies += 1;
    }

    /// Records that a stored response for `url` was found to differ by user. Takes a lock that all
    /// cores share, so it is kept off the path of hits.
    pub fn record_personalised(&self, url: &str, differing: DifferingCredentials) {
        self.personalised.record(url, differing);
    }

    /// Calls `act` with the tables of shadow mode, under their lock.
    pub fn shadow<T>(&self, act: impl FnOnce(&mut ShadowTables) -> T) -> T {
        self.shadow.with_tables(act)
    }
}

impl MetricsShard {
    /// Makes a shard with a row for each of `routes` names.
    pub(super) fn new(routes: usize) -> Self {
        Self {
            totals: RequestCounters::default(),
            latency: Latencies::new(DIGITS),
            origin_wait: Latency::default(),
            routes: (0..routes).map(|_| RouteCounters::new()).collect(),
            unrouted: RouteCounters::new(),
        }
    }
}

impl RouteCounters {
    pub(super) fn new() -> Self {
        Self {
            requests: OutcomeCounts::default(),
            body_bytes: OutcomeCounts::default(),
            latency: Latencies::new(ROUTE_DIGITS),
        }
    }
}
