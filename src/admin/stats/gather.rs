//! How the fields of [`Stats`] follow from the figures.

use std::collections::BTreeMap;

use super::super::figures::{Figures, ratio};
use super::{
    AccessLog, Bytes, Endings, Evicted, HashCollisions, LatencyByClass, Memory, NotFromCache, Origin, Personalised,
    PersonalisedUrl, Quantiles, Ratios, RecentError, Requests, RouteStats, Shadow, Stats, Stored, Storing, Sweep,
    Traces,
};
use crate::metrics::{self, ByOutcome, Class, Latency, Route};
use crate::outcome::{Outcome, Reason};

impl From<&Figures> for Stats {
    fn from(figures: &Figures) -> Self {
        let totals = &figures.requests.totals;
        let total = totals.requests();
        let requests = totals.requests_by_outcome();
        let bytes = totals.body_bytes();
        let hits = requests.get(Outcome::Hit);
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: figures.uptime.as_secs_f64(),
            ready: figures.is_ready,
            connections: figures.connections as u64,
            fills_in_flight: figures.flights as u64,
            requests: Requests {
                total,
                by_outcome: by_outcome(&requests),
                by_reason: by_reason(totals.reasons_seen()),
                collapsed: totals.collapsed,
            },
            ratios: Ratios {
                cache_hit: ratio(hits, total),
                cache_hit_bytes: ratio(bytes.get(Outcome::Hit), bytes.total()),
                stale: ratio(requests.get(Outcome::Stale), total),
                revalidated: ratio(requests.get(Outcome::Revalidated), total),
                served: ratio(hits + figures.origin_answers(), total),
            },
            origin: Origin {
                requests: totals.origin_requests,
                refreshes: totals.refreshes,
                saved: totals.saved,
                saved_ratio: ratio(totals.saved, total),
                permits_in_use: figures.origin.permits_in_use as u64,
                permits_waiting: figures.origin.permits_waiting as u64,
                permits_refused: figures.origin.permits_refused,
                breaker: figures.origin.breaker.token().to_owned(),
                breaker_opened: figures.origin.breaker_opened,
                breaker_refused: figures.origin.breaker_refused,
            },
            storing: Storing {
                begun: totals.stored,
                with_cookie: totals.stored_cookies,
                not_stored: by_reason(totals.not_stored_seen()),
            },
            endings: Endings {
                complete: totals.complete(),
                client_gone: totals.client_gone,
                aborted: by_reason(totals.aborted_seen()),
            },
            bytes: Bytes { total: bytes.total(), by_outcome: by_outcome(&bytes) },
            store: Stored::from(figures),
            memory: Memory {
                capacity_bytes: figures.store.capacity_bytes,
                alive_bytes: figures.store.alive_bytes,
                stored_bytes: figures.store.stored_bytes,
            },
            hash_collisions: HashCollisions {
                seen: figures.store.collisions,
                expected_next_key: figures.collision_of_next_key(),
                expected_pairs: figures.colliding_pairs(),
            },
            latency: LatencyByClass {
                hits: figures.requests.latency.of(Class::Hit).into(),
                misses: figures.requests.latency.of(Class::Miss).into(),
                passes: figures.requests.latency.of(Class::Pass).into(),
                errors: figures.requests.latency.of(Class::Error).into(),
            },
            routes: figures.requests.routes.iter().map(RouteStats::from).collect(),
            personalised: (&figures.requests.personalised).into(),
            asked_most: (&figures.requests.summary).into(),
            not_from_cache: figures.requests.summary.not_from_cache.iter().map(NotFromCache::from).collect(),
            shadow: figures.requests.shadow.as_ref().map(Shadow::from),
            recent_errors: figures.requests.summary.troubles.iter().map(RecentError::from).collect(),
            server: figures.server,
            admin: figures.door,
            access_log: AccessLog { dropped_lines: figures.log_dropped },
            traces: Traces { exported_spans: figures.traces.exported, dropped_spans: figures.traces.dropped },
            warnings: figures.warnings(),
            reload: figures.reload.clone(),
        }
    }
}

impl From<&metrics::Shadow> for Shadow {
    fn from(seen: &metrics::Shadow) -> Self {
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

impl From<&Figures> for Stored {
    fn from(figures: &Figures) -> Self {
        let store = &figures.store;
        Self {
            entries: store.keys,
            raw_bytes: store.raw_bytes,
            compressed_bytes: store.held_bytes,
            evicted: Evicted { size: store.evicted_by_size, age: store.evicted_by_age, purge: store.evicted_by_purge },
            replaced: store.replaced,
            refused: store.refused,
            purges: store.ledger_sequence,
            purge_records: store.ledger_records,
            sweep: Sweep { through: store.swept_through, keys: store.swept_keys, freed: store.swept_freed },
        }
    }
}

impl From<&Route> for RouteStats {
    fn from(route: &Route) -> Self {
        let requests = route.requests.total();
        Self {
            name: route.name.clone(),
            requests,
            by_outcome: by_outcome(&route.requests),
            bytes: route.body_bytes.total(),
            cache_hit_ratio: ratio(route.requests.get(Outcome::Hit), requests),
            hits: route.latency.of(Class::Hit).into(),
            misses: route.latency.of(Class::Miss).into(),
        }
    }
}

impl From<&metrics::Personalised> for Personalised {
    fn from(found: &metrics::Personalised) -> Self {
        Self { found: found.found, urls: found.urls.iter().map(PersonalisedUrl::from).collect() }
    }
}

impl From<&metrics::PersonalisedUrl> for PersonalisedUrl {
    fn from(row: &metrics::PersonalisedUrl) -> Self {
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

fn by_outcome(numbers: &ByOutcome) -> BTreeMap<String, u64> {
    Outcome::ALL.iter().map(|outcome| (outcome.token().to_owned(), numbers.get(*outcome))).collect()
}

fn by_reason(seen: impl IntoIterator<Item = (Reason, u64)>) -> BTreeMap<String, u64> {
    seen.into_iter().map(|(reason, number)| (reason.token().to_owned(), number)).collect()
}
