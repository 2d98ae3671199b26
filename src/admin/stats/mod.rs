//! `/stats`: the figures of the process since its start, as one JSON object.
//!
//! Counters count responses that have ended. A ratio whose denominator is zero is null, and so is a quantile of nothing.
//! Maps by reason hold the reasons that have occurred; the tokens are those of [`crate::outcome`].
//!
//! | field | unit | meaning |
//! |---|---|---|
//! | `version` | text | the version of Larder |
//! | `uptime_seconds` | seconds | since the start |
//! | `ready` | bool | whether requests are served; false while draining |
//! | `connections` | connections | client connections open now |
//! | `fills_in_flight` | fills | origin requests for a key under way now, each with all who wait for it |
//! | `requests.total` | requests | all that have ended |
//! | `requests.by_outcome.*` | requests | by outcome: `hit`, `stale`, `revalidated`, `miss`, `pass`, `refused`, `failed`, `own` (Larder's own answer, to a PURGE); they add up to `requests.total` |
//! | `requests.by_reason.*` | requests | by reason, whatever the outcome; they add up to `requests.total` |
//! | `requests.collapsed` | requests | those that waited for another's origin request, whatever came of it |
//! | `ratios.cache_hit` | 0 to 1 | cache hit ratio: `requests.by_outcome.hit / requests.total`. Stale and revalidated answers are no hits |
//! | `ratios.cache_hit_bytes` | 0 to 1 | the same in bytes: `bytes.by_outcome.hit / bytes.total` |
//! | `ratios.stale` | 0 to 1 | `requests.by_outcome.stale / requests.total` |
//! | `ratios.revalidated` | 0 to 1 | `requests.by_outcome.revalidated / requests.total` |
//! | `ratios.served` | 0 to 1 | served ratio: (hits + answers fetched from the origin) / `requests.total`; fetched are `miss`, `pass` and `revalidated`. What is missing to 1 was stale, refused or failed |
//! | `origin.requests` | requests | requests for which the origin was asked, whether it answered or failed |
//! | `origin.refreshes` | requests | origin requests in the background, on top of `origin.requests` |
//! | `origin.saved` | requests | requests answered without an origin request of their own: hits + stale answers given without asking + collapsed, each once |
//! | `origin.saved_ratio` | 0 to 1 | `origin.saved / requests.total` |
//! | `origin.permits_in_use` | requests | at the origin now; at most `origin.connections_max` of the configuration |
//! | `origin.permits_waiting` | requests | waiting now for their turn at the origin |
//! | `origin.permits_refused` | requests | turned away because the queue for the origin was full or the wait too long |
//! | `origin.breaker` | text | `closed`; `open`: requests to the origin fail at once; `half-open`: one request sees whether it is back |
//! | `origin.breaker_opened` | times | that the breaker has opened; a probe that failed counts too |
//! | `origin.breaker_refused` | requests | that found it open |
//! | `storing.begun` | responses | those that began to be stored |
//! | `storing.with_cookie` | responses | those that were stored with the cookie that they set (`set_cookie = "obey"`) |
//! | `storing.not_stored.*` | responses | those that were not stored, by reason |
//! | `endings.complete` | responses | handed to their connection whole |
//! | `endings.client_gone` | responses | whose client went away first |
//! | `endings.aborted.*` | responses | whose body failed on the way, by reason |
//! | `bytes.total` | bytes | body bytes handed to connections |
//! | `bytes.by_outcome.*` | bytes | the same by outcome; they add up to `bytes.total` |
//! | `store.entries` | keys | keys with something stored; a key holds at most `variants_max` variants |
//! | `store.raw_bytes` | bytes | bodies stored, as the origin sent them |
//! | `store.compressed_bytes` | bytes | the same bodies as they are held, compressed where that is smaller, with their renditions |
//! | `store.evicted.size` | entries | left for want of room |
//! | `store.evicted.age` | entries | left past their keep time |
//! | `store.evicted.purge` | entries | left because they were purged |
//! | `store.replaced` | entries | replaced by a newer response |
//! | `store.refused` | bodies | not stored because the budget was spent |
//! | `store.purges` | records | the ledger's number: purges and invalidations since the start |
//! | `store.purge_records` | records | those that are still kept |
//! | `store.sweep.through` | records | the ledger's number up to which every purge was swept: what it made useless has been freed. A soft purge frees nothing |
//! | `store.sweep.keys` | keys | that the last sweep, or the one under way, has looked at |
//! | `store.sweep.freed` | entries | that it has freed: purged, or past their keep time |
//! | `memory.capacity_bytes` | bytes | the most that may be held |
//! | `memory.alive_bytes` | bytes | held now: stored, being filled, or pinned by readers |
//! | `memory.stored_bytes` | bytes | of these, what the map holds, as weighed |
//! | `hash_collisions.seen` | lookups | those whose hash found another's key: misses, never another's page |
//! | `hash_collisions.expected_next_key` | probability | that the next new key collides: `-expm1(n * ln1p(-2^-128))`, n = `store.entries` |
//! | `hash_collisions.expected_pairs` | pairs | expected among all keys: `n * (n - 1) / 2^129` |
//! | `latency.hits.*` | | from the request's head to the response's end, of hits and of stale answers that did not wait |
//! | `latency.misses.*` | | of misses, revalidations, and stale answers after the origin failed |
//! | `latency.passes.*` | | of requests passed by, uploads and open-ended streams among them, and of Larder's own answers |
//! | `latency.errors.*` | | of requests refused or failed |
//! | `latency.hits.count` | requests | how many were timed; likewise below |
//! | `latency.hits.p50_us` | microseconds | the latency that half of them stay at or under; exact to 1 %, from 1 to 600,000,000 |
//! | `latency.hits.p90_us` | microseconds | the same for 90 % |
//! | `latency.hits.p99_us` | microseconds | the same for 99 % |
//! | `latency.hits.p999_us` | microseconds | the same for 99.9 % |
//! | `latency.hits.max_us` | microseconds | the longest |
//! | `routes[].name` | text | the route's name; `(none)`, the last, is for requests that no route matched |
//! | `routes[].requests` | requests | of this route |
//! | `routes[].by_outcome.*` | requests | the same by outcome |
//! | `routes[].bytes` | bytes | body bytes handed to connections |
//! | `routes[].cache_hit_ratio` | 0 to 1 | hits / requests of this route |
//! | `routes[].hits.*` | | latency as in `latency.hits`, exact to 10 % |
//! | `routes[].misses.*` | | latency as in `latency.misses`, exact to 10 % |
//! | `personalised.found` | bodies | stored bodies that turned out to be one user's although nothing in the response says so; their URLs: |
//! | `personalised.urls[].url` | text | the last found first, at most 100; the first 1,024 bytes of each |
//! | `personalised.urls[].times` | bodies | how often it was found |
//! | `personalised.urls[].differed[]` | text | in which request fields the users differed: `Cookie`, `Authorization` |
//! | `personalised.urls[].fix` | text | what to change |
//! | `asked_most.by_requests[].url` | text | the URLs asked for most, at most 20; the first 512 bytes of each. Of a core's hits after its first 4,096 one in 16 is counted, as 16 |
//! | `asked_most.by_requests[].at_least` | requests | of this URL, at the least: each list follows 256 URLs a core, and what takes another's place may not have been seen from the start |
//! | `asked_most.by_requests[].at_most` | requests | of this URL, at the most; the same where the list has room for all |
//! | `asked_most.by_bytes[].url` | text | the URLs that sent most, likewise |
//! | `asked_most.by_bytes[].at_least` | bytes | body bytes of this URL, at the least; a hit counts for what its body has |
//! | `asked_most.by_bytes[].at_most` | bytes | at the most |
//! | `asked_most.by_misses[].url` | text | the URLs least answered from the cache, likewise |
//! | `asked_most.by_misses[].at_least` | requests | of this URL that were neither hits, nor stale, nor refused; at the least |
//! | `asked_most.by_misses[].at_most` | requests | at the most |
//! | `asked_most.by_origin_time_us[].url` | text | the URLs that the origin works on longest, likewise |
//! | `asked_most.by_origin_time_us[].at_least` | microseconds | from the request's head to the response's, where the origin was asked: the wait for a turn, the connection and its own work; at the least |
//! | `asked_most.by_origin_time_us[].at_most` | microseconds | at the most |
//! | `not_from_cache[].reason` | text | why requests were not answered from the cache: what kept the response from being stored, else why it was fetched; the most origin time first |
//! | `not_from_cache[].requests` | requests | that were neither hits, nor stale, nor refused, for this reason |
//! | `not_from_cache[].origin_time_us` | microseconds | their origin time, as above |
//! | `not_from_cache[].why` | text | the reason as a sentence |
//! | `not_from_cache[].change` | text | what to change |
//! | `not_from_cache[].urls[]` | text | the URLs with the most of it, at most 3 |
//! | `shadow.requests` | requests | passed in shadow mode; all of `shadow` is null where none was, and `/shadow` tells more |
//! | `shadow.hit_ratio` | 0 to 1 | would-be hits / `shadow.requests` |
//! | `shadow.origin_requests_saved` | requests | that the origin would have been spared: would-be hits, stale answers without asking, collapsed ones |
//! | `shadow.origin_time_saved_us` | microseconds | their origin time, as above |
//! | `shadow.differed` | requests | would-be hits whose body was not what the origin sent |
//! | `recent_errors[].at` | seconds | of Unix time; the last 32 requests that the origin or Larder failed on, the newest first |
//! | `recent_errors[].url` | text | the URL, or its first 512 bytes |
//! | `recent_errors[].status` | number | the status that the client was sent |
//! | `recent_errors[].outcome` | text | what became of the request |
//! | `recent_errors[].what` | text | what went wrong |
//! | `server.accepted` | connections | accepted |
//! | `server.accept_errors` | times | that accepting failed for want of descriptors or memory |
//! | `server.panics` | handlers | that panicked; the process went on |
//! | `server.closed_in_head` | connections | closed because a head did not become complete within `head_timeout` |
//! | `server.closed_idle` | connections | closed because they were silent between requests for `idle_timeout` |
//! | `server.closed_in_body` | connections | closed, and HTTP/2 streams reset, because content did not move for `body_idle_timeout` |
//! | `server.reloads_applied` | reloads | of the configuration, applied |
//! | `server.reloads_refused` | reloads | refused: the configuration before stayed in force |
//! | `admin.connections` | connections | to the admin side, open now; at most `admin.connections_max` |
//! | `admin.connections_max` | connections | the bound of the configuration |
//! | `admin.turned_away` | connections | closed at once because there were as many as that, most of them with a 503 |
//! | `admin.closed` | connections | closed because they were silent or slow for one of the timeouts of `[server]` |
//! | `access_log.dropped_lines` | lines | lines that found the queue full or could not be written |
//! | `traces.exported_spans` | spans | of traces that the collector took |
//! | `traces.dropped_spans` | spans | that found the queue full, or that the collector did not take |
//! | `warnings[]` | text | what is worth a look, each with what to change |
//! | `reload` | | what came of the last reload of the configuration, null before the first: `at_unix_seconds`; `by`, who asked for it (`SIGHUP`, `POST /reload`, `file`); `applied`, else the one before it is in force; `problems[]`, each with `file`, `line`, `key`, `what`, `allowed`; `needs_restart[]`, what differs from what runs and has to wait |

mod gather;
mod top_urls;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::reload::ReloadResult;
use super::snapshots::{AdminConnections, ServerSnapshot};
pub use top_urls::{NonHitStats, RecentError, TopUrl, TopUrls};

/// Everything that `/stats` says. The module's table tells what each field means, with unit and formula.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// The version of Larder.
    pub version: String,
    /// Seconds since the start.
    pub uptime_seconds: f64,
    /// Whether requests are served; false while draining.
    pub ready: bool,
    /// Client connections open now.
    pub connections: u64,
    /// Fills under way now.
    pub fills_in_flight: u64,
    /// Requests that have ended.
    pub requests: RequestStats,
    /// What the counts amount to.
    pub ratios: RatioStats,
    /// What the origin was asked, and what it was spared.
    pub origin: UpstreamStats,
    /// What became of responses that could be stored.
    pub storing: StoringStats,
    /// How responses ended.
    pub endings: EndingStats,
    /// Body bytes handed to connections.
    pub bytes: ByteStats,
    /// What is stored.
    pub store: StoredStats,
    /// What memory is used for.
    pub memory: MemoryStats,
    /// How often two keys share a hash.
    pub hash_collisions: HashCollisions,
    /// How long requests took.
    pub latency: LatencyByClass,
    /// Figures per route, in the order of the configuration; the last is for requests without one.
    pub routes: Vec<RouteStats>,
    /// What was found to differ by user.
    pub personalised: PersonalisedStats,
    /// The URLs that weigh most.
    pub asked_most: TopUrls,
    /// Why requests were not answered from the cache, the most origin time first.
    pub not_from_cache: Vec<NonHitStats>,
    /// What shadow mode has seen.
    pub shadow: Option<ShadowStats>,
    /// What went wrong last, the newest first.
    pub recent_errors: Vec<RecentError>,
    /// The server.
    pub server: ServerSnapshot,
    /// Who is connected to the admin side itself.
    pub admin: AdminConnections,
    /// The access log.
    pub access_log: AccessLogStats,
    /// Traces.
    pub traces: TraceStats,
    /// What is worth a look.
    pub warnings: Vec<String>,
    /// What came of the last reload of the configuration.
    pub reload: Option<ReloadResult>,
}

/// Requests that have ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestStats {
    /// All of them.
    pub total: u64,
    /// By outcome, every outcome listed.
    pub by_outcome: BTreeMap<String, u64>,
    /// By reason, those that have occurred.
    pub by_reason: BTreeMap<String, u64>,
    /// Those that waited for another's origin request.
    pub collapsed: u64,
}

/// What the counts amount to: shares from 0 to 1, `None` where nothing was counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RatioStats {
    /// Hits / requests.
    pub cache_hit: Option<f64>,
    /// Bytes of hits / bytes.
    pub cache_hit_bytes: Option<f64>,
    /// Stale answers / requests.
    pub stale: Option<f64>,
    /// Revalidated answers / requests.
    pub revalidated: Option<f64>,
    /// (Hits + answers fetched from the origin) / requests.
    pub served: Option<f64>,
}

/// What the origin was asked, and what it was spared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamStats {
    /// Requests for which the origin was asked.
    pub requests: u64,
    /// Origin requests in the background, on top of these.
    pub refreshes: u64,
    /// Requests answered without an origin request of their own.
    pub saved: u64,
    /// Those / all requests; `None` without requests.
    pub saved_ratio: Option<f64>,
    /// Requests at the origin now.
    pub permits_in_use: u64,
    /// Requests that wait for their turn there now.
    pub permits_waiting: u64,
    /// Requests turned away because the wait was too long, or the queue.
    pub permits_refused: u64,
    /// How far the breaker is.
    pub breaker: String,
    /// How often it has opened.
    pub breaker_opened: u64,
    /// Requests that found it open.
    pub breaker_refused: u64,
}

/// What became of responses that could be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoringStats {
    /// Responses that began to be stored.
    pub begun: u64,
    /// Responses that were stored with the cookie that they set.
    #[serde(default)]
    pub with_cookie: u64,
    /// Responses that were not stored, by reason, those that have occurred.
    pub not_stored: BTreeMap<String, u64>,
}

/// How responses ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EndingStats {
    /// Handed to their connection whole.
    pub complete: u64,
    /// The client went away first.
    pub client_gone: u64,
    /// The body failed on the way, by reason, those that have occurred.
    pub aborted: BTreeMap<String, u64>,
}

/// Body bytes handed to connections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ByteStats {
    /// All of them.
    pub total: u64,
    /// By outcome, every outcome listed.
    pub by_outcome: BTreeMap<String, u64>,
}

/// What is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredStats {
    /// Keys with something stored.
    pub entries: u64,
    /// Bytes of bodies as the origin sent them.
    pub raw_bytes: u64,
    /// Bytes of the same bodies as they are held.
    pub compressed_bytes: u64,
    /// Entries that left, by cause.
    pub evicted: EvictionStats,
    /// Entries replaced by a newer response.
    pub replaced: u64,
    /// Bodies that were not stored because the budget was spent.
    pub refused: u64,
    /// Purges and invalidations since the start: the ledger's number.
    pub purges: u64,
    /// Records of them that are still kept.
    pub purge_records: u64,
    /// How far they are swept.
    pub sweep: SweepStats,
}

/// How far purges are swept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SweepStats {
    /// The ledger's number up to which every purge was swept.
    pub through: u64,
    /// Keys that the last sweep, or the one under way, has looked at.
    pub keys: u64,
    /// Entries that it has freed.
    pub freed: u64,
}

/// Entries that left, by cause.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvictionStats {
    /// For want of room.
    pub size: u64,
    /// Past their keep time.
    pub age: u64,
    /// Purged.
    pub purge: u64,
}

/// What memory is used for, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryStats {
    /// The most that may be held.
    pub capacity_bytes: u64,
    /// Held now: stored, being filled, or pinned by readers.
    pub alive_bytes: u64,
    /// What the map holds, as weighed.
    pub stored_bytes: u64,
}

/// How often two keys share a hash of 128 bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HashCollisions {
    /// Lookups whose hash found another's key.
    pub seen: u64,
    /// The probability that the next new key collides: −expm1(n·ln1p(−2⁻¹²⁸)).
    pub expected_next_key: f64,
    /// Pairs expected to collide among the n keys held: n(n−1)/2¹²⁹.
    pub expected_pairs: f64,
}

/// Latencies by class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LatencyByClass {
    /// Hits, and stale answers that did not wait.
    pub hits: Quantiles,
    /// Misses, revalidations, and stale answers after the origin failed.
    pub misses: Quantiles,
    /// Requests passed by.
    pub passes: Quantiles,
    /// Requests refused or failed.
    pub errors: Quantiles,
}

/// Quantiles of a latency in microseconds; `None` where nothing was timed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many were timed.
    pub count: u64,
    /// The latency that half of them stay at or under.
    pub p50_us: Option<u64>,
    /// The same for 90 %.
    pub p90_us: Option<u64>,
    /// The same for 99 %.
    pub p99_us: Option<u64>,
    /// The same for 99.9 %.
    pub p999_us: Option<u64>,
    /// The longest.
    pub max_us: Option<u64>,
}

/// The figures of one route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteStats {
    /// Its name, distinct from all others.
    pub name: String,
    /// Its requests.
    pub requests: u64,
    /// Its requests by outcome, every outcome listed.
    pub by_outcome: BTreeMap<String, u64>,
    /// Body bytes handed to connections.
    pub bytes: u64,
    /// Its hits / its requests; `None` without requests.
    pub cache_hit_ratio: Option<f64>,
    /// Latency as in [`LatencyByClass::hits`], exact to 10 %.
    pub hits: Quantiles,
    /// Latency as in [`LatencyByClass::misses`], exact to 10 %.
    pub misses: Quantiles,
}

/// What was found to differ by user although nothing in the response says so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonalisedStats {
    /// How often a stored body turned out to be one user's.
    pub found: u64,
    /// The URLs, the last found first.
    pub urls: Vec<PersonalisedUrlStats>,
}

/// A URL whose responses were found to differ by user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PersonalisedUrlStats {
    /// The canonical URL, or its beginning.
    pub url: String,
    /// How often it was found.
    pub times: u64,
    /// In which request fields the users differed.
    pub differed: Vec<String>,
    /// What to change.
    pub fix: String,
}

/// What shadow mode has seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowStats {
    /// Requests that were passed in it.
    pub requests: u64,
    /// Would-be hits / requests.
    pub hit_ratio: Option<f64>,
    /// Requests that the origin would have been spared.
    pub origin_requests_saved: u64,
    /// Their origin time.
    pub origin_time_saved_us: u64,
    /// Would-be hits whose body was not what the origin sent.
    pub differed: u64,
}

/// The access log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessLogStats {
    /// Lines that found the queue full or could not be written.
    pub dropped_lines: u64,
}

/// Traces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceStats {
    /// Spans that the collector took.
    pub exported_spans: u64,
    /// Spans that found the queue full, or that the collector did not take.
    pub dropped_spans: u64,
}

/// Stats of a process that has seen one of most things, for tests of what shows them.
#[cfg(test)]
pub(crate) fn sample() -> Stats {
    Stats::from(&super::readings::tests::busy())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::{Value, json};

    use super::super::readings::tests::{busy, idle};
    use super::*;

    /// Maps whose keys are tokens: the table has one row for all of them.
    const MAPS: [&str; 6] = [
        "requests.by_outcome",
        "requests.by_reason",
        "storing.not_stored",
        "endings.aborted",
        "bytes.by_outcome",
        "routes[].by_outcome",
    ];

    /// Places where quantiles stand: the table explains their fields once.
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
    fn the_table_has_a_row_for_every_field_and_no_other() {
        let mut fields = BTreeSet::new();
        leaves(&serde_json::to_value(Stats::from(&busy())).unwrap(), "", &mut fields);
        let rows: Vec<&str> =
            include_str!("mod.rs").lines().filter_map(|line| line.strip_prefix("//! | `")?.split('`').next()).collect();
        assert_eq!(rows.iter().map(|row| (*row).to_owned()).collect::<BTreeSet<_>>(), fields);
        assert_eq!(rows.len(), fields.len());
    }

    #[test]
    fn figures_of_a_busy_process() {
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
    fn what_nothing_was_counted_of_is_null() {
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
    fn what_is_written_is_read_back() {
        for readings in [busy(), idle()] {
            let stats = Stats::from(&readings);
            let mut read: Stats = serde_json::from_str(&serde_json::to_string(&stats).unwrap()).unwrap();
            // The reader rounds the last digit of some very small numbers.
            let (told, exact) = (&mut read.hash_collisions, &stats.hash_collisions);
            assert!((told.expected_next_key - exact.expected_next_key).abs() <= exact.expected_next_key * 1e-12);
            told.expected_next_key = exact.expected_next_key;
            assert_eq!(read, stats);
        }
    }
}
