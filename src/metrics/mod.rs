//! Counters and latencies of every request, one shard per core, merged on read.
//!
//! A core owns a [`LocalMetrics`] and records each request into it once the response has ended;
//! [`Metrics::snapshot`] adds the shards up. The counters of a shard are plain integers behind one
//! lock that only a reader contends for, so that a request pays for one uncontended lock in place
//! of an atomic operation per counter. Everything is bounded: reasons and outcomes are closed
//! lists, routes are at most [`ROUTES_MAX`], latencies fall into a fixed number of cells.
//! Deliberately absent: axum, the store, the origin, and the names under which a figure is
//! published (those are `admin`'s).

mod counts;
mod latency;
mod local;
mod personalised;
mod shadow;
mod sizes;
mod urls;

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use self::local::{CoreMetrics, DIGITS, MetricsShard, RouteCounters};
use self::personalised::PersonalisedRegister;
use self::shadow::ShadowRegister;
use self::urls::UrlTables;
use crate::analytics::UrlSummary;

pub(crate) use counts::{OutcomeCounts, RequestCounters};
pub(crate) use latency::{Latencies, Latency, LatencyClass};
pub(crate) use local::{LocalMetrics, RouteRows};
pub(crate) use personalised::{DifferingUrlRow, PersonalisedSnapshot};
pub(crate) use shadow::ShadowSnapshot;
pub(crate) use sizes::size_bounds;
pub(crate) use urls::ResponseStart;

/// The most routes with counters of their own. Routes beyond it are counted as [`NO_ROUTE`], so
/// that a long configuration cannot grow the label sets without end.
pub(crate) const ROUTES_MAX: usize = 256;

/// The name under which requests that no route matched are counted.
pub(crate) const NO_ROUTE: &str = "(none)";

/// The metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Guards the lists, which grow when a core starts and when a reload brings routes. Nothing
    /// awaits under it.
    lists: Mutex<MetricsLists>,
    personalised: Arc<PersonalisedRegister>,
    shadow: Arc<ShadowRegister>,
}

/// The lists of [`Metrics`] that grow.
#[derive(Debug)]
struct MetricsLists {
    /// The names of the rows. A row stays when a reload removes its route: counters never go back.
    names: Vec<String>,
    /// The rows of the current configuration.
    rows: RouteRows,
    cores: Vec<Arc<CoreMetrics>>,
}

/// All shards added up.
///
/// The shards are read one after the other while requests go on, so the sum of the rows may lag
/// behind the totals by the requests that were counted meanwhile.
#[derive(Clone, Debug)]
pub struct MetricsSnapshot {
    /// The counters of all requests.
    pub totals: RequestCounters,
    /// The latencies of all requests.
    pub latency: Latencies,
    /// The time from a request's head to its response's head, of requests that were sent to the
    /// origin: the wait for a permit, the connection, and the origin's own work.
    pub origin_wait: Latency,
    /// The counters of each route, in the order in which the routes first appeared; the last row is
    /// [`NO_ROUTE`]'s.
    pub routes: Vec<RouteSnapshot>,
    /// The URLs that were found to differ by user.
    pub personalised: PersonalisedSnapshot,
    /// The most requested URLs, and the requests that were not answered from the cache.
    pub summary: UrlSummary,
    /// The counters of shadow mode; `None` if no request ever passed in shadow mode.
    pub shadow: Option<ShadowSnapshot>,
}

/// The counters of one route.
#[derive(Clone, Debug)]
pub struct RouteSnapshot {
    /// The route's name, distinct from all others.
    pub name: String,
    /// Requests by outcome.
    pub requests: OutcomeCounts,
    /// Body bytes handed to connections, by outcome.
    pub body_bytes: OutcomeCounts,
    /// Latencies, exact to 10 %.
    pub latency: Latencies,
}

impl Metrics {
    /// Makes metrics for routes with these names;
    /// [`Decision::route`](crate::outcome::Decision::route) is the index into them.
    pub fn new(routes: Vec<String>) -> Self {
        let lists = MetricsLists { names: Vec::new(), rows: RouteRows::default(), cores: Vec::new() };
        let metrics = Self { lists: Mutex::new(lists), personalised: Arc::default(), shadow: Arc::default() };
        metrics.adopt(routes);
        metrics
    }

    /// Makes rows for the routes of a new configuration. A name that had a row before keeps
    /// counting in that row.
    pub fn adopt(&self, routes: Vec<String>) -> RouteRows {
        let mut lists = self.lists.lock();
        let mut wanted = distinct(routes);
        wanted.pop();
        let rows = wanted.into_iter().map(|name| lists.row(name)).collect();
        lists.rows = RouteRows(rows);
        lists.rows.clone()
    }

    /// Makes the shard of one more core.
    pub fn local(self: &Arc<Self>) -> Arc<LocalMetrics> {
        let mut lists = self.lists.lock();
        let shard = Mutex::new(MetricsShard::new(lists.names.len()));
        let core = Arc::new(CoreMetrics { shard, urls: UrlTables::default() });
        lists.cores.push(Arc::clone(&core));
        let (personalised, shadow) = (Arc::clone(&self.personalised), Arc::clone(&self.shadow));
        Arc::new(LocalMetrics::new(core, lists.rows.clone(), personalised, shadow))
    }

    /// Adds up all shards.
    pub fn snapshot(&self) -> MetricsSnapshot {
        let (names, cores) = {
            let lists = self.lists.lock();
            (lists.names.clone(), lists.cores.clone())
        };
        let shadow = self.shadow.snapshot(&names, NO_ROUTE);
        let names = names.into_iter().chain([NO_ROUTE.to_owned()]);
        let mut snapshot = MetricsSnapshot {
            totals: RequestCounters::default(),
            latency: Latencies::new(DIGITS),
            origin_wait: Latency::default(),
            routes: names.map(RouteSnapshot::new).collect(),
            personalised: self.personalised.snapshot(),
            summary: urls::summary(cores.iter().map(|core| &core.urls)),
            shadow,
        };
        for core in &cores {
            let shard = core.shard.lock();
            snapshot.totals.add(&shard.totals);
            snapshot.latency.add(&shard.latency);
            snapshot.origin_wait.add(DIGITS, &shard.origin_wait);
            drop(shard);
            // One lock per row: a core never waits for longer than adding up one row takes.
            let last = snapshot.routes.len() - 1;
            for (index, route) in snapshot.routes.iter_mut().enumerate() {
                let shard = core.shard.lock();
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
    /// Returns the row of `name`, and makes one where there is room.
    fn row(&mut self, name: String) -> Option<usize> {
        if let Some(index) = self.names.iter().position(|known| *known == name) {
            return Some(index);
        }
        if self.names.len() >= ROUTES_MAX {
            return None;
        }
        for core in &self.cores {
            core.shard.lock().routes.push(RouteCounters::new());
        }
        self.names.push(name);
        Some(self.names.len() - 1)
    }
}

impl RouteSnapshot {
    fn new(name: String) -> Self {
        let RouteCounters { requests, body_bytes, latency } = RouteCounters::new();
        Self { name, requests, body_bytes, latency }
    }

    fn add(&mut self, row: &RouteCounters) {
        self.requests.add(&row.requests);
        self.body_bytes.add(&row.body_bytes);
        self.latency.add(&row.latency);
    }
}

/// Bounds the route names, makes them distinct, and adds [`NO_ROUTE`] as the last.
///
/// Two routes may have one path but differ in host or method. Equal names would be equal label
/// sets, which Prometheus refuses.
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
    use crate::outcome::{Decision, Ending, Outcome, Reason, ResponseEnd};

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
        let counts: Vec<_> = snapshot.totals.request_counts().collect();
        let expected =
            [(Outcome::Hit, Reason::Fresh, THREADS * EACH), (Outcome::Miss, Reason::UriMiss, THREADS * EACH)];
        assert_eq!(counts, expected);
        assert_eq!(snapshot.totals.body_bytes().get(Outcome::Hit), 10 * THREADS * EACH);
        assert_eq!(snapshot.latency.of(LatencyClass::Hit).count(), THREADS * EACH);
        assert_eq!(snapshot.latency.of(LatencyClass::Miss).count(), THREADS * EACH);
        let rows: Vec<_> = snapshot.routes.iter().map(|row| (row.name.as_str(), row.requests.total())).collect();
        assert_eq!(rows, [("/a", THREADS * EACH / 2), ("/b", THREADS * EACH / 2), (NO_ROUTE, THREADS * EACH)]);
    }

    #[test]
    fn routes_are_bounded_and_the_rest_is_counted_without_a_route() {
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
    fn a_reload_keeps_counting_under_the_same_name_and_keeps_old_rows() {
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
        assert_eq!(metrics.snapshot().routes.len(), ROUTES_MAX + 1, "regardless of the number of reloads");
        assert_eq!(metrics.lists.lock().rows.0.as_ref(), [None]);
    }

    #[test]
    fn equal_route_names_become_distinct() {
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
