//! `/stats`: statistics of the process since start, as one JSON object.
//!
//! Counters count completed responses. A ratio with a denominator of zero is null, and so is a
//! quantile without values. Maps by reason contain the reasons that have occurred; the tokens are
//! those of [`crate::outcome`].
//!
//! The figures that stand by themselves are described in `admin/figures/table.rs`; the page
//! [`crate::docs::watching`] lists them. Each other field with its unit and meaning:
//!
//! - `requests.by_outcome.*`, requests: by outcome: `hit`, `stale`, `revalidated`, `miss`, `pass`,
//!   `refused`, `failed`, `own` (Larder's own response, to a PURGE); the sum is `requests.total`.
//! - `requests.by_reason.*`, requests: by reason, whatever the outcome; the sum is
//!   `requests.total`.
//! - `storing.not_stored.*`, responses: responses not stored, by reason.
//! - `endings.aborted.*`, responses: aborted before the end of their body, by reason.
//! - `bytes.by_outcome.*`, bytes: by outcome; the sum is `bytes.total`.
//! - `latency.hits.*`, quantiles: from the request's head to the response's end, for hits and for
//!   stale responses that did not wait.
//! - `latency.misses.*`, quantiles: for misses, revalidations, and stale responses after the origin
//!   failed.
//! - `latency.passes.*`, quantiles: for passed requests, uploads and open-ended streams included,
//!   and for Larder's own responses.
//! - `latency.errors.*`, quantiles: for requests that were refused or failed.
//! - `latency.hits.count`, requests: the number of timed requests; the fields below apply to all
//!   classes.
//! - `latency.hits.p50_us`, microseconds: the median; exact to 1 %, from 1 to 600,000,000.
//! - `latency.hits.p90_us`, microseconds: the 90th percentile.
//! - `latency.hits.p99_us`, microseconds: the 99th percentile.
//! - `latency.hits.p999_us`, microseconds: the 99.9th percentile.
//! - `latency.hits.max_us`, microseconds: the maximum.
//! - `routes[].name`, text: the route's name; the last, `(none)`, is for requests that no route
//!   matched.
//! - `routes[].requests`, requests: requests of this route.
//! - `routes[].by_outcome.*`, requests: the same by outcome.
//! - `routes[].bytes`, bytes: body bytes sent to clients.
//! - `routes[].cache_hit_ratio`, 0 to 1: hits / requests of this route.
//! - `routes[].hits.*`, quantiles: latency as in `latency.hits`, exact to 10 %.
//! - `routes[].misses.*`, quantiles: latency as in `latency.misses`, exact to 10 %.
//! - `personalised.urls[].url`, text: their URLs, the latest first, at most 100; the first 1,024
//!   bytes of each.
//! - `personalised.urls[].times`, bodies: how often this was found.
//! - `personalised.urls[].differed[]`, text: the request headers in which the users differed:
//!   `Cookie`, `Authorization`.
//! - `personalised.urls[].fix`, text: the fix.
//! - `asked_most.by_requests[].url`, text: the most requested URLs, at most 20; the first 512 bytes
//!   of each. After the first 4,096 hits of a core, one hit in 16 is counted, as 16.
//! - `asked_most.by_requests[].at_least`, requests: lower bound for this URL: each list tracks 256
//!   URLs per core, and a URL that displaces another may not have been tracked since start.
//! - `asked_most.by_requests[].at_most`, requests: upper bound for this URL; equal to the lower
//!   bound while the list has room for all.
//! - `asked_most.by_bytes[].url`, text: the URLs that sent the most bytes, in the same way.
//! - `asked_most.by_bytes[].at_least`, bytes: lower bound of body bytes; a hit counts with the full
//!   size of its body.
//! - `asked_most.by_bytes[].at_most`, bytes: upper bound.
//! - `asked_most.by_misses[].url`, text: the URLs with the most requests not served from cache, in
//!   the same way.
//! - `asked_most.by_misses[].at_least`, requests: lower bound of requests that were neither hits,
//!   nor stale, nor refused.
//! - `asked_most.by_misses[].at_most`, requests: upper bound.
//! - `asked_most.by_origin_time_us[].url`, text: the URLs with the most origin time, in the same
//!   way.
//! - `asked_most.by_origin_time_us[].at_least`, microseconds: lower bound of the time from the
//!   request's head to the response's head, for requests that went to the origin: queueing,
//!   connecting and the origin's own work.
//! - `asked_most.by_origin_time_us[].at_most`, microseconds: upper bound.
//! - `not_from_cache[].reason`, text: the reason why requests were not served from cache: the one
//!   that kept the response from being stored, else the one for the fetch; the most origin time
//!   first.
//! - `not_from_cache[].requests`, requests: requests with this reason that were neither hits, nor
//!   stale, nor refused.
//! - `not_from_cache[].origin_time_us`, microseconds: their origin time, as above.
//! - `not_from_cache[].why`, text: the reason as a sentence.
//! - `not_from_cache[].change`, text: the fix.
//! - `not_from_cache[].urls[]`, text: the URLs with the most such requests, at most 3.
//! - `shadow.requests`, requests: passed in shadow mode. `shadow` is null if there were none;
//!   `/shadow` has the details.
//! - `shadow.hit_ratio`, 0 to 1: would-be hits / `shadow.requests`.
//! - `shadow.origin_requests_saved`, requests: origin requests that a cache would have saved:
//!   would-be hits, stale responses without a wait, collapsed requests.
//! - `shadow.origin_time_saved_us`, microseconds: their origin time, as above.
//! - `shadow.differed`, requests: would-be hits whose body differed from the origin's response.
//! - `recent_errors[].at`, seconds: Unix time; the last 32 requests that the origin or Larder
//!   failed, the newest first.
//! - `recent_errors[].url`, text: the URL, or its first 512 bytes.
//! - `recent_errors[].status`, number: the status that the client received.
//! - `recent_errors[].outcome`, text: the outcome of the request.
//! - `recent_errors[].what`, text: the error.
//! - `warnings[]`, text: warnings, each with its fix.
//! - `reload`, object: the last reload of the configuration, null before the first:
//!   `at_unix_seconds`; `by`, the trigger (`SIGHUP`, `POST /reload`, `file`); `applied`, false if
//!   the previous configuration stays in force; `problems[]`, each with `file`, `line`, `key`,
//!   `what`, `allowed`; `needs_restart[]`, the keys that differ and need a restart.

mod gather;
mod top_urls;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reload::ReloadResult;
use super::snapshots::{AdminConnections, ServerSnapshot};
#[cfg(feature = "tui")]
pub(crate) use top_urls::TopUrl;
pub(crate) use top_urls::{NonHitStats, RecentError, TopUrls};

/// The whole content of `/stats`. The module's list describes each field, with unit and formula.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Stats {
    /// The version of Larder.
    pub version: String,
    /// Seconds since start.
    pub uptime_seconds: f64,
    /// True while requests are served; false while draining.
    pub ready: bool,
    /// Open client connections.
    pub connections: u64,
    /// Origin fetches in flight.
    pub fills_in_flight: u64,
    /// Completed requests.
    pub requests: RequestStats,
    /// Ratios of the counts.
    pub ratios: RatioStats,
    /// Requests to the origin, and requests saved.
    pub origin: UpstreamStats,
    /// Results of storing responses.
    pub storing: StoringStats,
    /// Ways in which responses ended.
    pub endings: EndingStats,
    /// Body bytes sent to clients.
    pub bytes: ByteStats,
    /// The content of the store.
    pub store: StoredStats,
    /// Memory in use.
    pub memory: MemoryStats,
    /// Hash collisions of keys.
    pub hash_collisions: HashCollisions,
    /// Latency of requests.
    pub latency: LatencyByClass,
    /// Stats per route, in the order of the configuration; the last is for requests without a
    /// route.
    pub routes: Vec<RouteStats>,
    /// Content that was found to differ per user.
    pub personalised: PersonalisedStats,
    /// The top URLs.
    pub asked_most: TopUrls,
    /// Reasons for requests not served from cache, the most origin time first.
    pub not_from_cache: Vec<NonHitStats>,
    /// Observations of shadow mode.
    pub shadow: Option<ShadowStats>,
    /// Recent errors, the newest first.
    pub recent_errors: Vec<RecentError>,
    /// The server.
    pub server: ServerSnapshot,
    /// Connections to the admin interface itself.
    pub admin: AdminConnections,
    /// The access log.
    pub access_log: AccessLogStats,
    /// Traces.
    pub traces: TraceStats,
    /// Warnings.
    pub warnings: Vec<String>,
    /// The result of the last reload of the configuration.
    pub reload: Option<ReloadResult>,
}

/// Completed requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RequestStats {
    /// All requests.
    pub total: u64,
    /// By outcome, every outcome listed.
    pub by_outcome: BTreeMap<String, u64>,
    /// By reason, for reasons that have occurred.
    pub by_reason: BTreeMap<String, u64>,
    /// Requests that waited for another request's origin fetch.
    pub collapsed: u64,
}

/// Ratios of the counts: from 0 to 1, `None` if nothing was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RatioStats {
    /// Hits / requests.
    pub cache_hit: Option<f64>,
    /// Bytes of hits / bytes.
    pub cache_hit_bytes: Option<f64>,
    /// Stale responses / requests.
    pub stale: Option<f64>,
    /// Revalidated responses / requests.
    pub revalidated: Option<f64>,
    /// (Hits + responses fetched from the origin) / requests.
    pub served: Option<f64>,
}

/// Requests to the origin, and requests saved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct UpstreamStats {
    /// Requests that went to the origin.
    pub requests: u64,
    /// Origin requests in the background, not included in `requests`.
    pub refreshes: u64,
    /// Requests served without an origin request of their own.
    pub saved: u64,
    /// `saved` / all requests; `None` without requests.
    pub saved_ratio: Option<f64>,
    /// Requests active at the origin.
    pub permits_in_use: u64,
    /// Requests queued for the origin.
    pub permits_waiting: u64,
    /// Requests rejected because the wait or the queue was too long.
    pub permits_refused: u64,
    /// The state of the circuit breaker.
    pub breaker: String,
    /// The number of times the breaker has opened.
    pub breaker_opened: u64,
    /// Requests that met an open breaker.
    pub breaker_refused: u64,
}

/// Results of storing responses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoringStats {
    /// Responses whose storing began.
    pub begun: u64,
    /// Responses that were stored together with their Set-Cookie.
    #[serde(default)]
    pub with_cookie: u64,
    /// Responses that were not stored, by reason, for reasons that have occurred.
    pub not_stored: BTreeMap<String, u64>,
}

/// Ways in which responses ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EndingStats {
    /// Sent completely.
    pub complete: u64,
    /// The client disconnected first.
    pub client_gone: u64,
    /// The body was aborted, by reason, for reasons that have occurred.
    pub aborted: BTreeMap<String, u64>,
}

/// Body bytes sent to clients.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ByteStats {
    /// All bytes.
    pub total: u64,
    /// By outcome, every outcome listed.
    pub by_outcome: BTreeMap<String, u64>,
}

/// The content of the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredStats {
    /// Keys with a stored response.
    pub entries: u64,
    /// Bytes of bodies as the origin sent them.
    pub raw_bytes: u64,
    /// Bytes of the same bodies in their stored form.
    pub compressed_bytes: u64,
    /// Evicted entries, by cause.
    pub evicted: EvictionStats,
    /// Entries replaced by a newer response.
    pub replaced: u64,
    /// Bodies that were not stored because memory was full.
    pub refused: u64,
    /// Purges and invalidations since start: the ledger's sequence number.
    pub purges: u64,
    /// Purge records that are kept.
    pub purge_records: u64,
    /// The progress of the sweep.
    pub sweep: SweepStats,
}

/// The progress of the sweep that frees purged entries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SweepStats {
    /// The ledger's sequence number up to which every purge was swept.
    pub through: u64,
    /// Keys that the last or current sweep has visited.
    pub keys: u64,
    /// Entries that the sweep has freed.
    pub freed: u64,
}

/// Evicted entries, by cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EvictionStats {
    /// For lack of room.
    pub size: u64,
    /// Past their keep time.
    pub age: u64,
    /// Purged.
    pub purge: u64,
}

/// Memory in use, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct MemoryStats {
    /// The limit.
    pub capacity_bytes: u64,
    /// In use: stored, in flight, or pinned by readers.
    pub alive_bytes: u64,
    /// Weighed size of the map's entries.
    pub stored_bytes: u64,
}

/// Keys that share a hash of 128 bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HashCollisions {
    /// Lookups whose hash matched a different key.
    pub seen: u64,
    /// The probability that the next new key collides: −expm1(n·ln1p(−2⁻¹²⁸)).
    pub expected_next_key: f64,
    /// The expected number of colliding pairs among n stored keys: n(n−1)/2¹²⁹.
    pub expected_pairs: f64,
}

/// Latencies by class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LatencyByClass {
    /// Hits, and stale responses that did not wait.
    pub hits: Quantiles,
    /// Misses, revalidations, and stale responses after the origin failed.
    pub misses: Quantiles,
    /// Requests that were passed.
    pub passes: Quantiles,
    /// Requests refused or failed.
    pub errors: Quantiles,
}

/// Quantiles of a latency in microseconds; `None` if nothing was timed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Quantiles {
    /// The number of timed requests.
    pub count: u64,
    /// The median.
    pub p50_us: Option<u64>,
    /// The 90th percentile.
    pub p90_us: Option<u64>,
    /// The 99th percentile.
    pub p99_us: Option<u64>,
    /// The 99.9th percentile.
    pub p999_us: Option<u64>,
    /// The maximum.
    pub max_us: Option<u64>,
}

/// Stats of one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RouteStats {
    /// The name, distinct from all others.
    pub name: String,
    /// Requests of the route.
    pub requests: u64,
    /// Requests by outcome, every outcome listed.
    pub by_outcome: BTreeMap<String, u64>,
    /// Body bytes sent to clients.
    pub bytes: u64,
    /// Hits / requests of the route; `None` without requests.
    pub cache_hit_ratio: Option<f64>,
    /// Latency as in [`LatencyByClass::hits`], exact to 10 %.
    pub hits: Quantiles,
    /// Latency as in [`LatencyByClass::misses`], exact to 10 %.
    pub misses: Quantiles,
}

/// Content that differs per user, although the response does not say so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PersonalisedStats {
    /// The number of stored bodies that turned out to be personalised.
    pub found: u64,
    /// Their URLs, the latest first.
    pub urls: Vec<PersonalisedUrlStats>,
}

/// A URL whose responses were found to differ per user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PersonalisedUrlStats {
    /// The canonical URL, or its beginning.
    pub url: String,
    /// The number of times this was found.
    pub times: u64,
    /// The request headers in which the users differed.
    pub differed: Vec<String>,
    /// The fix.
    pub fix: String,
}

/// Observations of shadow mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShadowStats {
    /// Requests that were passed in shadow mode.
    pub requests: u64,
    /// Would-be hits / requests.
    pub hit_ratio: Option<f64>,
    /// Origin requests that a cache would have saved.
    pub origin_requests_saved: u64,
    /// Origin time of these requests.
    pub origin_time_saved_us: u64,
    /// Would-be hits whose body differed from the origin's response.
    pub differed: u64,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct AccessLogStats {
    /// Lines that were dropped because the queue was full, or could not be written.
    pub dropped_lines: u64,
}

/// Traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TraceStats {
    /// Spans that the collector accepted.
    pub exported_spans: u64,
    /// Spans that were dropped because the queue was full or the collector refused them.
    pub dropped_spans: u64,
}

/// Stats of a process with one of most events, for tests of their display.
#[cfg(test)]
pub(crate) fn sample() -> Stats {
    Stats::from(&super::readings::tests::busy())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::figures::FIGURES;
    use super::super::readings::tests::{busy, idle};
    use super::*;

    /// Maps whose keys are tokens: the list has one item for all of them.
    const MAPS: [&str; 6] = [
        "requests.by_outcome",
        "requests.by_reason",
        "storing.not_stored",
        "endings.aborted",
        "bytes.by_outcome",
        "routes[].by_outcome",
    ];

    /// Fields with quantiles: the list explains them once.
    const QUANTILES: [&str; 6] =
        ["latency.hits", "latency.misses", "latency.passes", "latency.errors", "routes[].hits", "routes[].misses"];

    fn leaves(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            _ if MAPS.contains(&path) => {
                found.insert(format!("{path}.*"));
            }
            Value::Object(fields) => {
                if QUANTILES.contains(&path) {
                    found.insert(format!("{path}.*"));
                    if path != "latency.hits" {
                        return;
                    }
                }
                let under = |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
                fields.iter().for_each(|(name, value)| leaves(value, &under(name), found));
            }
            Value::Array(members) => members.iter().for_each(|value| leaves(value, &format!("{path}[]"), found)),
            _ => {
                found.insert(path.to_owned());
            }
        }
    }

    #[test]
    fn the_list_and_the_figures_have_an_item_for_every_field_and_no_other() {
        let mut fields = BTreeSet::new();
        leaves(&serde_json::to_value(Stats::from(&busy())).unwrap(), "", &mut fields);
        let rows: Vec<&str> =
            include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! - `")?.split('`').next()).collect();
        let rows: Vec<&str> = rows.into_iter().chain(FIGURES.iter().filter_map(|figure| figure.path)).collect();
        assert_eq!(rows.iter().map(|row| (*row).to_owned()).collect::<BTreeSet<_>>(), fields);
        assert_eq!(rows.len(), fields.len());
    }

    #[test]
    fn stats_of_a_busy_process() {
        let stats = serde_json::to_value(Stats::from(&busy())).unwrap();
        let check = |pointer: &str, value: Value| assert_eq!(stats.pointer(pointer), Some(&value), "{pointer}");
        check("/version", json!(env!("CARGO_PKG_VERSION")));
        check("/uptime_seconds", json!(12.345));
        check("/connections", json!(9));
        check("/fills_in_flight", json!(8));
        check("/requests/total", json!(14));
        check(
            "/requests/by_outcome",
            json!({"hit": 6, "stale": 1, "revalidated": 1, "miss": 3, "pass": 1, "refused": 1, "failed": 1, "own": 0}),
        );
        check("/requests/by_reason/uri-miss", json!(3));
        check("/requests/collapsed", json!(1));
        check("/ratios/cache_hit", json!(6.0 / 14.0));
        check("/ratios/cache_hit_bytes", json!(6000.0 / 10_000.0));
        check("/ratios/stale", json!(1.0 / 14.0));
        check("/ratios/revalidated", json!(1.0 / 14.0));
        check("/ratios/served", json!(11.0 / 14.0));
        check("/origin/requests", json!(5));
        check("/origin/refreshes", json!(1));
        check("/origin/saved", json!(8));
        check("/origin/saved_ratio", json!(8.0 / 14.0));
        check("/origin/permits_waiting", json!(12));
        check("/origin/breaker", json!("open"));
        check("/origin/breaker_opened", json!(14));
        check("/server/panics", json!(18));
        check("/admin/connections", json!(24));
        check("/admin/turned_away", json!(26));
        check("/storing", json!({"begun": 1, "with_cookie": 3, "not_stored": {"set-cookie": 1}}));
        check("/endings", json!({"complete": 12, "client_gone": 1, "aborted": {"incomplete": 1}}));
        check("/bytes/total", json!(10_000));
        check("/store/entries", json!(1_000_000));
        check("/store/raw_bytes", json!(4 << 20));
        check("/store/compressed_bytes", json!(1 << 20));
        check("/store/evicted", json!({"size": 1, "age": 2, "purge": 3}));
        check("/memory", json!({"capacity_bytes": 64 << 20, "alive_bytes": 3 << 20, "stored_bytes": 2 << 20}));
        check("/hash_collisions/seen", json!(0));
        check(
            "/latency/hits",
            json!({"count": 7, "p50_us": 12, "p90_us": 15, "p99_us": 15, "p999_us": 15, "max_us": 15}),
        );
        check("/latency/misses/count", json!(4));
        check("/latency/passes/count", json!(1));
        check("/latency/errors/count", json!(2));
        check("/routes/0/name", json!("/img/"));
        check("/routes/0/cache_hit_ratio", json!(1.0));
        check("/routes/0/misses/p50_us", Value::Null);
        check("/routes/1/requests", json!(3));
        check("/routes/2/name", json!("(none)"));
        check("/personalised/found", json!(3));
        check("/personalised/urls/0/url", json!("http://h/account"));
        check("/personalised/urls/0/differed", json!(["Cookie", "Authorization"]));
        check("/personalised/urls/1/times", json!(1));
        check(
            "/personalised/urls/1/fix",
            json!(
                "Send `Vary: Cookie` or `Cache-Control: private`, or name the cookie that decides in `key.cookies` on a route."
            ),
        );
        let most = json!({"url": "http://h/slow", "at_least": 2, "at_most": 2});
        check("/asked_most/by_requests/0", most.clone());
        check("/asked_most/by_misses/0", most);
        check("/not_from_cache/0/reason", json!("set-cookie"));
        check("/not_from_cache/0/urls", json!(["http://h/slow"]));
        check(
            "/shadow",
            json!({"requests": 2, "hit_ratio": 0.5, "origin_requests_saved": 1, "origin_time_saved_us": 3_000_000, "differed": 0}),
        );
        check("/recent_errors/0/what", json!("The origin answered 503."));
        check("/access_log/dropped_lines", json!(10));
        check("/traces", json!({"exported_spans": 11, "dropped_spans": 12}));
    }

    #[test]
    fn ratios_without_requests_are_null() {
        let stats = Stats::from(&idle());
        let RatioStats { cache_hit, cache_hit_bytes, stale, revalidated, served } = stats.ratios;
        assert_eq!([cache_hit, cache_hit_bytes, stale, revalidated, served], [None; 5]);
        assert_eq!(stats.origin.saved_ratio, None);
        assert_eq!(stats.latency.hits, Quantiles::default());
        assert_eq!(stats.routes.len(), 1);
        assert_eq!(stats.routes[0].cache_hit_ratio, None);
        assert_eq!((stats.hash_collisions.expected_next_key, stats.hash_collisions.expected_pairs), (0.0, 0.0));
    }

    #[test]
    fn written_stats_read_back() {
        for readings in [busy(), idle()] {
            let stats = Stats::from(&readings);
            let mut read: Stats = serde_json::from_str(&serde_json::to_string(&stats).unwrap()).unwrap();
            // The reader rounds the last digit of some very small numbers.
            let (read_back, exact) = (&mut read.hash_collisions, &stats.hash_collisions);
            assert!((read_back.expected_next_key - exact.expected_next_key).abs() <= exact.expected_next_key * 1e-12);
            read_back.expected_next_key = exact.expected_next_key;
            assert_eq!(read, stats);
        }
    }
}
