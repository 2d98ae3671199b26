//! The computation of [`Stats`] from [`Readings`].

use std::collections::BTreeMap;

use super::super::readings::{Readings, ratio};
use super::{
    AccessLogStats, ByteStats, EndingStats, EvictionStats, HashCollisions, LatencyByClass, MemoryStats, NonHitStats,
    PersonalisedStats, PersonalisedUrlStats, Quantiles, RatioStats, RecentError, RequestStats, RouteStats, ShadowStats,
    Stats, StoredStats, StoringStats, SweepStats, TraceStats, UpstreamStats,
};
use crate::metrics::{self, Latency, LatencyClass, OutcomeCounts, RouteSnapshot};
use crate::outcome::{Outcome, Reason};

impl From<&Readings> for Stats {
    fn from(readings: &Readings) -> Self {
        let totals = &readings.requests.totals;
        let total = totals.requests();
        let requests = totals.requests_by_outcome();
        let bytes = totals.body_bytes();
        let hits = requests.get(Outcome::Hit);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: readings.uptime.as_secs_f64(),
            ready: readings.is_ready,
            connections: readings.connections as u64,
            fills_in_flight: readings.flights as u64,
            requests: RequestStats {
                total,
                by_outcome: by_outcome(&requests),
                by_reason: by_reason(totals.reason_counts()),
                collapsed: totals.collapsed,
            },
            ratios: RatioStats {
                cache_hit: ratio(hits, total),
                cache_hit_bytes: ratio(bytes.get(Outcome::Hit), bytes.total()),
                stale: ratio(requests.get(Outcome::Stale), total),
                revalidated: ratio(requests.get(Outcome::Revalidated), total),
                served: ratio(hits + readings.origin_answers(), total),
            },
            origin: UpstreamStats {
                requests: totals.origin_requests,
                refreshes: totals.refreshes,
                saved: totals.saved,
                saved_ratio: ratio(totals.saved, total),
                permits_in_use: readings.origin.permits_in_use as u64,
                permits_waiting: readings.origin.permits_waiting as u64,
                permits_refused: readings.origin.permits_refused,
                breaker: readings.origin.breaker.token().to_owned(),
                breaker_opened: readings.origin.breaker_opened,
                breaker_refused: readings.origin.breaker_refused,
            },
            storing: StoringStats {
                begun: totals.stored,
                with_cookie: totals.stored_cookies,
                not_stored: by_reason(totals.not_stored_counts()),
            },
            endings: EndingStats {
                complete: totals.complete(),
                client_gone: totals.client_gone,
                aborted: by_reason(totals.aborted_counts()),
            },
            bytes: ByteStats { total: bytes.total(), by_outcome: by_outcome(&bytes) },
            store: StoredStats::from(readings),
            memory: MemoryStats {
                capacity_bytes: readings.store.capacity_bytes,
                alive_bytes: readings.store.alive_bytes,
                stored_bytes: readings.store.stored_bytes,
            },
            hash_collisions: HashCollisions {
                seen: readings.store.collisions,
                expected_next_key: readings.collision_of_next_key(),
                expected_pairs: readings.colliding_pairs(),
            },
            latency: LatencyByClass {
                hits: readings.requests.latency.of(LatencyClass::Hit).into(),
                misses: readings.requests.latency.of(LatencyClass::Miss).into(),
                passes: readings.requests.latency.of(LatencyClass::Pass).into(),
                errors: readings.requests.latency.of(LatencyClass::Error).into(),
            },
            routes: readings.requests.routes.iter().map(RouteStats::from).collect(),
            personalised: (&readings.requests.personalised).into(),
            asked_most: (&readings.requests.summary).into(),
            not_from_cache: readings.requests.summary.not_from_cache.iter().map(NonHitStats::from).collect(),
            shadow: readings.requests.shadow.as_ref().map(ShadowStats::from),
            recent_errors: readings.requests.summary.troubles.iter().map(RecentError::from).collect(),
            server: readings.server,
            admin: readings.admin_connections,
            access_log: AccessLogStats { dropped_lines: readings.log_dropped },
            traces: TraceStats { exported_spans: readings.traces.exported, dropped_spans: readings.traces.dropped },
            warnings: readings.warnings(),
            reload: readings.reload.clone(),
        }
    }
}

impl From<&metrics::ShadowSnapshot> for ShadowStats {
    fn from(seen: &metrics::ShadowSnapshot) -> Self {
        let total = &seen.total;
        Self {
            requests: total.requests,
            hit_ratio: ratio(total.of(Outcome::Hit), total.requests),
            origin_requests_saved: total.spared,
            origin_time_saved_us: total.origin_micros_spared,
            differed: total.differed,
        }
    }
}

impl From<&Readings> for StoredStats {
    fn from(readings: &Readings) -> Self {
        let store = &readings.store;
        Self {
            entries: store.keys,
            raw_bytes: store.raw_bytes,
            compressed_bytes: store.held_bytes,
            evicted: EvictionStats {
                size: store.evicted_by_size,
                age: store.evicted_by_age,
                purge: store.evicted_by_purge,
            },
            replaced: store.replaced,
            refused: store.refused,
            purges: store.ledger_sequence,
            purge_records: store.ledger_records,
            sweep: SweepStats { through: store.swept_through, keys: store.swept_keys, freed: store.swept_freed },
        }
    }
}

impl From<&RouteSnapshot> for RouteStats {
    fn from(route: &RouteSnapshot) -> Self {
        let requests = route.requests.total();
        Self {
            name: route.name.clone(),
            requests,
            by_outcome: by_outcome(&route.requests),
            bytes: route.body_bytes.total(),
            cache_hit_ratio: ratio(route.requests.get(Outcome::Hit), requests),
            hits: route.latency.of(LatencyClass::Hit).into(),
            misses: route.latency.of(LatencyClass::Miss).into(),
        }
    }
}

impl From<&metrics::PersonalisedSnapshot> for PersonalisedStats {
    fn from(found: &metrics::PersonalisedSnapshot) -> Self {
        Self { found: found.found, urls: found.urls.iter().map(PersonalisedUrlStats::from).collect() }
    }
}

impl From<&metrics::DifferingUrlRow> for PersonalisedUrlStats {
    fn from(row: &metrics::DifferingUrlRow) -> Self {
        let mut differed = Vec::new();
        if row.differing.cookie {
            differed.push("Cookie".to_owned());
        }
        if row.differing.authorization {
            differed.push("Authorization".to_owned());
        }
        let key =
            if row.differing.cookie { ", or name the cookie that decides in `key.cookies` on a route" } else { "" };
        let fix = format!("Send `Vary: {}` or `Cache-Control: private`{key}.", differed.join(", "));
        Self { url: row.url.clone(), times: row.times, differed, fix }
    }
}

impl From<&Latency> for Quantiles {
    fn from(latency: &Latency) -> Self {
        Self {
            count: latency.count(),
            p50_us: latency.quantile_micros(0.5),
            p90_us: latency.quantile_micros(0.9),
            p99_us: latency.quantile_micros(0.99),
            p999_us: latency.quantile_micros(0.999),
            max_us: latency.quantile_micros(1.0),
        }
    }
}

fn by_outcome(numbers: &OutcomeCounts) -> BTreeMap<String, u64> {
    Outcome::ALL.iter().map(|outcome| (outcome.token().to_owned(), numbers.get(*outcome))).collect()
}

fn by_reason(seen: impl IntoIterator<Item = (Reason, u64)>) -> BTreeMap<String, u64> {
    seen.into_iter().map(|(reason, number)| (reason.token().to_owned(), number)).collect()
}
