//! Counters and latency of everything that was decided, sharded per core and merged on read.
//!
//! A core owns a [`LocalMetrics`] and records into it once a response has ended; [`Metrics::snapshot`] adds the shards up.
//! Counters of a shard are plain integers behind one lock that nobody else wants but a reader, so that a request pays
//! for one uncontended lock in place of an atomic operation per counter. Everything is bounded: reasons and outcomes are
//! closed lists, routes are at most [`ROUTES_MAX`], latencies fall into a fixed number of cells.
//! Takes a [`Decision`] and a [`ResponseEnd`]; asks nobody. Deliberately absent: axum, the store, the origin, and what a figure
//! is called outside (that is `admin`'s).

mod counts;
mod latency;
mod personalised;
mod shadow;
mod sizes;
mod urls;

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::analytics::UrlSummary;
use crate::outcome::{Decision, ResponseEnd};
use crate::stored::DifferingCredentials;

pub use counts::{OutcomeCounts, RequestCounters, used_origin};
pub use latency::{Latencies, Latency, LatencyClass};
pub use personalised::{DifferingUrlRow, PersonalisedSnapshot};
pub use shadow::ShadowSnapshot;
pub use sizes::{Sizes, size_bounds};
pub use urls::ResponseStart;

/// The most routes with figures of their own. Those beyond it are counted with [`NO_ROUTE`], so that a long
/// configuration cannot grow the label sets without end.
pub const ROUTES_MAX: usize = 256;

/// The name under which requests are counted that no route matched.
pub const NO_ROUTE: &str = "(none)";

/// Significant digits of the latencies of all requests: quantiles are exact to 1 %.
const DIGITS: u8 = 2;

/// Significant digits of a route's latencies: exact to 10 %, in 3 KiB in place of 24.
const ROUTE_DIGITS: u8 = 1;

/// The figures of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Guards the lists, which grow when a core starts and when a reload brings routes. Nothing awaits under it.
    lists: Mutex<MetricsLists>,
    personalised: Arc<personalised::PersonalisedRegister>,
    shadow: Arc<shadow::ShadowRegister>,
}

/// What grows.
#[derive(Debug)]
struct MetricsLists {
    /// The names of the rows. They stay when a reload takes their route away: counters never go back.
    names: Vec<String>,
    /// The rows of the configuration in force.
    rows: RouteRows,
    shards: Vec<Arc<CoreMetrics>>,
}

/// Which row each route of a configuration counts in; those that found no room count with [`NO_ROUTE`].
#[derive(Clone, Debug, Default)]
pub struct RouteRows(Arc<[Option<usize>]>);

/// One core's share of the figures, as one configuration counts into it.
#[derive(Debug)]
pub struct LocalMetrics {
    counted: Arc<CoreMetrics>,
    rows: RouteRows,
    personalised: Arc<personalised::PersonalisedRegister>,
    shadow: Arc<shadow::ShadowRegister>,
}

/// What one core has counted, under whichever configuration.
///
/// Aligned to two cache lines, so that the shards of two cores never share one.
#[derive(Debug)]
#[repr(align(128))]
struct CoreMetrics {
    /// Guards the core's counters against a reader that adds them up. Held for some nanoseconds by the core, and by a
    /// reader for one row at a time. Nothing awaits under it.
    shard: Mutex<MetricsShard>,
    urls: urls::UrlTables,
}

/// What a core has counted.
#[derive(Debug)]
struct MetricsShard {
    totals: RequestCounters,
    latency: Latencies,
    /// Of requests that the origin was asked for.
    origin_wait: Latency,
    /// One for each name.
    routes: Vec<RouteCounters>,
    /// Of requests without a route.
    unrouted: RouteCounters,
}

/// What a core has counted of one route.
#[derive(Debug)]
struct RouteCounters {
    requests: OutcomeCounts,
    body_bytes: OutcomeCounts,
    latency: Latencies,
}

/// All shards added up.
///
/// The shards are read one after the other while requests go on, so sums of rows may lag behind totals by what was
/// counted meanwhile.
#[derive(Clone, Debug)]
pub struct MetricsSnapshot {
    /// The counters of all requests.
    pub totals: RequestCounters,
    /// The latencies of all requests.
    pub latency: Latencies,
    /// From a request's head to its response's, where the origin was asked: the wait for a turn, the connection, and its
    /// own work.
    pub origin_wait: Latency,
    /// Figures per route in the order in which they first came up; the last is [`NO_ROUTE`]'s.
    pub routes: Vec<RouteSnapshot>,
    /// What was found to differ by user.
    pub personalised: PersonalisedSnapshot,
    /// What is asked for most, and what is not answered from the cache.
    pub summary: UrlSummary,
    /// What shadow mode has seen; `None` where nothing was ever passed in it.
    pub shadow: Option<ShadowSnapshot>,
}

/// The figures of one route.
#[derive(Clone, Debug)]
pub struct RouteSnapshot {
    /// Its name, distinct from all others.
    pub name: String,
    /// Requests by outcome.
    pub requests: OutcomeCounts,
    /// Body bytes handed to connections, by outcome.
    pub body_bytes: OutcomeCounts,
    /// Latencies, exact to 10 %.
    pub latency: Latencies,
}

impl Metrics {
    /// Makes figures for routes with these names (their index is [`Decision::route`]).
    pub fn new(routes: Vec<String>) -> Self {
        let lists = MetricsLists { names: Vec::new(), rows: RouteRows::default(), shards: Vec::new() };
        let metrics = Self { lists: Mutex::new(lists), personalised: Arc::default(), shadow: Arc::default() };
        metrics.adopt(routes);
        metrics
    }

    /// Makes room for the routes of a configuration that takes the place of the one before. A name that was there before
    /// counts on.
    pub fn adopt(&self, routes: Vec<String>) -> RouteRows {
        let mut lists = self.lists.lock();
        let mut wanted = distinct(routes);
        wanted.pop();
        let rows = wanted.into_iter().map(|name| lists.row(name)).collect();
        lists.rows = RouteRows(rows);
        lists.rows.clone()
    }

    /// Makes a core's share.
    pub fn local(self: &Arc<Self>) -> Arc<LocalMetrics> {
        let mut lists = self.lists.lock();
        let row = || RouteCounters::new(ROUTE_DIGITS);
        let routes = lists.names.iter().map(|_| row()).collect();
        let shard = MetricsShard {
            totals: RequestCounters::default(),
            latency: Latencies::new(DIGITS),
            origin_wait: Latency::default(),
            routes,
            unrouted: row(),
        };
        let counted = Arc::new(CoreMetrics { shard: Mutex::new(shard), urls: urls::UrlTables::default() });
        lists.shards.push(Arc::clone(&counted));
        Arc::new(LocalMetrics {
            counted,
            rows: lists.rows.clone(),
            personalised: Arc::clone(&self.personalised),
            shadow: Arc::clone(&self.shadow),
        })
    }

    /// Adds up all shards.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let (names, shards) = {
            let lists = self.lists.lock();
            (lists.names.clone(), lists.shards.clone())
        };
        let shadow = self.shadow.snapshot(&names, NO_ROUTE);
        let names = names.into_iter().chain([NO_ROUTE.to_owned()]);
        let mut snapshot = MetricsSnapshot {
            totals: RequestCounters::default(),
            latency: Latencies::new(DIGITS),
            origin_wait: Latency::default(),
            routes: names.map(RouteSnapshot::new).collect(),
            personalised: self.personalised.snapshot(),
            summary: urls::summary(shards.iter().map(|counted| &counted.urls)),
            shadow,
        };
        for counted in &shards {
            let shard = counted.shard.lock();
            snapshot.totals.add(&shard.totals);
            snapshot.latency.add(&shard.latency);
            snapshot.origin_wait.add(DIGITS, &shard.origin_wait);
            drop(shard);
            // A lock per row: a core never waits for longer than adding up one of them takes.
            let last = snapshot.routes.len() - 1;
            for (index, route) in snapshot.routes.iter_mut().enumerate() {
                let shard = counted.shard.lock();
                let row = if index == last { Some(&shard.unrouted) } else { shard.routes.get(index) };
                if let Some(row) = row {
                    route.add(row);
                }
            }
        }
        snapshot
    }
}

impl MetricsLists {
    /// Returns the row of `name`; it is made where there is room.
    fn row(&mut self, name: String) -> Option<usize> {
        if let Some(index) = self.names.iter().position(|known| *known == name) {
            return Some(index);
        }
        if self.names.len() >= ROUTES_MAX {
            return None;
        }
        for counted in &self.shards {
            counted.shard.lock().routes.push(RouteCounters::new(ROUTE_DIGITS));
        }
        self.names.push(name);
        Some(self.names.len() - 1)
    }
}

impl LocalMetrics {
    /// Counts a request whose response has ended. On the way of every hit: one uncontended lock, some additions.
    pub fn record(&self, decision: &Decision, end: &ResponseEnd) {
        let class = LatencyClass::of(decision);
        let micros = latency::micros(end.elapsed);
        let mut guard = self.counted.shard.lock();
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

    /// Returns the same share, counted into by a configuration whose routes have these rows.
    pub fn with_rows(&self, rows: &RouteRows) -> Arc<Self> {
        Arc::new(Self {
            counted: Arc::clone(&self.counted),
            rows: rows.clone(),
            personalised: Arc::clone(&self.personalised),
            shadow: Arc::clone(&self.shadow),
        })
    }

    /// Counts an origin request that no client's request stands for: a refresh in the background (RFC 5861 §3), or a check
    /// of a stored body.
    pub fn record_refresh(&self) {
        self.counted.shard.lock().totals.refreshes += 1;
    }

    /// Counts a response that is stored together with the cookie that it sets.
    pub fn record_stored_cookie(&self) {
        self.counted.shard.lock().totals.stored_cookies += 1;
    }

    /// Records that a stored response for `url` was found to differ by user. Off the way of hits: it takes a lock of all.
    pub fn record_personalised(&self, url: &str, differing: DifferingCredentials) {
        self.personalised.record(url, differing);
    }
}

impl RouteCounters {
    fn new(digits: u8) -> Self {
        Self {
            requests: OutcomeCounts::default(),
            body_bytes: OutcomeCounts::default(),
            latency: Latencies::new(digits),
        }
    }
}

impl RouteSnapshot {
    fn new(name: String) -> Self {
        let RouteCounters { requests, body_bytes, latency } = RouteCounters::new(ROUTE_DIGITS);
        Self { name, requests, body_bytes, latency }
    }

    fn add(&mut self, row: &RouteCounters) {
        self.requests.add(&row.requests);
        self.body_bytes.add(&row.body_bytes);
        self.latency.add(&row.latency);
    }
}

/// Bounds the names, makes them distinct (two routes may have one path but differ in host or method), and adds the one
/// for requests without a route. Equal names would be equal label sets, which Prometheus refuses.
fn distinct(routes: Vec<String>) -> Vec<String> {
    let mut used = HashSet::from([NO_ROUTE.to_owned()]);
    let mut names = Vec::with_capacity(routes.len().min(ROUTES_MAX) + 1);
    for name in routes.into_iter().take(ROUTES_MAX) {
        let mut candidate = name.clone();
        let mut nth = 1_u32;
        while !used.insert(candidate.clone()) {
            nth += 1;
            candidate = format!("{name} #{nth}");
        }
        names.push(candidate);
    }
    names.push(NO_ROUTE.to_owned());
    names
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::{Ending, Outcome, Reason};

    fn end(body_bytes: u64, micros: u64) -> ResponseEnd {
        ResponseEnd { ending: Ending::Complete, body_bytes, elapsed: Duration::from_micros(micros) }
    }

    fn on_route(route: Option<u16>) -> Decision {
        Decision { route, ..Decision::new(Outcome::Hit, Reason::Fresh) }
    }

    #[test]
    fn shards_of_many_threads_add_up() {
        const THREADS: u64 = 4;
        const EACH: u64 = 5_000;
        let metrics = Arc::new(Metrics::new(vec!["/a".into(), "/b".into()]));
        let shared = metrics.local();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let own = metrics.local();
                let shared = &shared;
                let metrics = &metrics;
                scope.spawn(move || {
                    for nth in 0..EACH {
                        own.record(&on_route(Some((nth % 2) as u16)), &end(10, 100));
                        shared.record(&Decision::new(Outcome::Miss, Reason::UriMiss), &end(1, 1000));
                        if nth % 1000 == thread {
                            assert!(metrics.snapshot().totals.requests() <= 2 * THREADS * EACH);
                        }
                    }
                });
            }
        });
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.totals.requests(), 2 * THREADS * EACH);
        assert_eq!(snapshot.totals.requests_by(Outcome::Hit, Reason::Fresh), THREADS * EACH);
        assert_eq!(snapshot.totals.requests_by(Outcome::Miss, Reason::UriMiss), THREADS * EACH);
        assert_eq!(snapshot.totals.body_bytes().get(Outcome::Hit), 10 * THREADS * EACH);
        assert_eq!(snapshot.latency.of(LatencyClass::Hit).count(), THREADS * EACH);
        assert_eq!(snapshot.latency.of(LatencyClass::Miss).count(), THREADS * EACH);
        let rows: Vec<_> = snapshot.routes.iter().map(|row| (row.name.as_str(), row.requests.total())).collect();
        assert_eq!(rows, [("/a", THREADS * EACH / 2), ("/b", THREADS * EACH / 2), (NO_ROUTE, THREADS * EACH)]);
    }

    #[test]
    fn routes_are_bounded_and_what_is_beyond_counts_with_those_without() {
        let metrics = Arc::new(Metrics::new((0..ROUTES_MAX + 10).map(|nth| format!("/{nth}")).collect()));
        let local = metrics.local();
        for route in [Some(0), Some(255), Some(256), Some(u16::MAX), None] {
            local.record(&on_route(route), &end(0, 1));
        }
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.routes.len(), ROUTES_MAX + 1);
        let count = |index: usize| snapshot.routes[index].requests.total();
        assert_eq!((count(0), count(254), count(255), count(256)), (1, 0, 1, 3));
    }

    #[test]
    fn a_reload_counts_on_under_the_same_name_and_keeps_old_rows() {
        let metrics = Arc::new(Metrics::new(vec!["/a".into(), "/b".into()]));
        let old = metrics.local();
        old.record(&on_route(Some(1)), &end(0, 1));
        let new = old.with_rows(&metrics.adopt(vec!["/c".into(), "/b".into()]));
        new.record(&on_route(Some(1)), &end(0, 1));
        new.record(&on_route(Some(0)), &end(0, 1));
        old.record(&on_route(Some(0)), &end(0, 1));
        new.record(&on_route(Some(2)), &end(0, 1));
        let snapshot = metrics.snapshot();
        let rows: Vec<_> = snapshot.routes.iter().map(|row| (row.name.as_str(), row.requests.total())).collect();
        assert_eq!(rows, [("/a", 1), ("/b", 2), ("/c", 1), (NO_ROUTE, 1)]);
        for nth in 0..ROUTES_MAX {
            metrics.adopt(vec![format!("/{nth}")]);
        }
        assert_eq!(metrics.snapshot().routes.len(), ROUTES_MAX + 1, "however many reloads there are");
        assert_eq!(metrics.local().rows.0.as_ref(), [None]);
    }

    #[test]
    fn equal_names_of_routes_are_told_apart() {
        let names = distinct(vec!["/a".into(), "/a".into(), "/a #2".into(), NO_ROUTE.into()]);
        assert_eq!(names, ["/a", "/a #2", "/a #2 #2", "(none) #2", "(none)"]);
    }

    #[test]
    fn without_a_request_everything_is_zero() {
        let metrics = Arc::new(Metrics::new(Vec::new()));
        let snapshot = metrics.snapshot();
        assert_eq!(snapshot.totals.requests(), 0);
        assert_eq!(snapshot.routes.len(), 1);
        metrics.local().record_refresh();
        assert_eq!(metrics.snapshot().totals.refreshes, 1);
        assert_eq!(metrics.snapshot().totals.requests(), 0);
    }
}
