//! The URLs that are requested, counted in each core's [`UrlCounters`].
//!
//! A hit is counted when its head goes out, under one uncontended lock and without allocating. Any
//! other request leaves a [`NonHitRequest`], which is counted when its response has ended.

use std::time::Instant;

use parking_lot::Mutex;

use crate::analytics::{NonHitRequest, ROWS_SHOWN, UrlCounters, UrlRanking, UrlSummary, reasons, top, trouble};
use crate::clock::Timestamp;
use crate::outcome::{Decision, ResponseEnd};
use crate::random;

/// A request whose response's head goes out.
#[derive(Clone, Copy, Debug)]
pub struct ResponseStart<'a> {
    /// The canonical URL.
    pub url: &'a str,
    /// The status that the client is sent.
    pub status: u16,
    /// The response's body bytes; 0 if they are not known yet.
    pub body_bytes: u64,
    /// The time at which the request's head had arrived.
    pub at: Timestamp,
    /// The same point in time on the monotonic clock, for measuring.
    pub started: Instant,
}

/// One core's tables.
#[derive(Debug)]
pub(super) struct UrlTables {
    /// Guards the tables against a reader, which copies one list at a time. Nothing awaits under
    /// it.
    tables: Mutex<UrlCounters>,
}

impl Default for UrlTables {
    fn default() -> Self {
        Self { tables: Mutex::new(UrlCounters::new(random::bits())) }
    }
}

impl UrlTables {
    /// Counts a hit.
    pub(super) fn hit(&self, url: &str, body_bytes: u64) {
        self.tables.lock().hit(url, body_bytes);
    }

    /// Counts a request that was not a plain hit.
    pub(super) fn non_hit(&self, request: &NonHitRequest, decision: &Decision, end: &ResponseEnd) {
        self.tables.lock().other(request, decision, end);
    }
}

/// Merges the tables of all cores. A core never waits for longer than copying one list takes.
pub(super) fn summary<'a>(cores: impl Iterator<Item = &'a UrlTables> + Clone) -> UrlSummary {
    let cores = || cores.clone().map(|core| &core.tables);
    let list = |by| {
        let parts: Vec<_> = cores().map(|tables| tables.lock().top(by).part()).collect();
        top::merge(&parts, ROWS_SHOWN)
    };
    UrlSummary {
        top: UrlRanking::ALL.map(list),
        not_from_cache: reasons::merge(|reason| {
            cores().filter_map(|tables| tables.lock().not_from_cache().part(reason)).collect()
        }),
        troubles: trouble::merge(cores().map(|tables| tables.lock().troubles().list())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::Metrics;
    use super::*;
    use crate::outcome::{Ending, Outcome, Reason};

    #[test]
    fn cores_add_up_and_time_counts_only_for_requests_to_the_origin() {
        let metrics = Arc::new(Metrics::new(Vec::new()));
        let end = ResponseEnd { ending: Ending::Complete, body_bytes: 5, elapsed: Duration::from_secs(9) };
        let start = ResponseStart {
            url: "http://h/",
            status: 200,
            body_bytes: 5,
            at: Timestamp::from_secs(1),
            started: Instant::now() - Duration::from_secs(2),
        };
        for core in [metrics.local(), metrics.local()] {
            assert!(core.record_start(&Decision::new(Outcome::Hit, Reason::Fresh), &start).is_none());
            let miss = Decision { fwd_status: Some(200), ..Decision::new(Outcome::Miss, Reason::UriMiss) };
            for decision in [miss, Decision { collapsed: true, ..miss }] {
                let request = core.record_start(&decision, &start).unwrap();
                core.record_non_hit(&request, &decision, &end);
            }
        }
        let snapshot = metrics.snapshot();
        let summary = &snapshot.summary;
        assert_eq!(snapshot.origin_wait.count(), 2);
        let first = |by| summary.top(by)[0].at_least;
        assert_eq!((first(UrlRanking::Requests), first(UrlRanking::Bytes), first(UrlRanking::Misses)), (6, 30, 4));
        let reason_row = &summary.not_from_cache[0];
        assert_eq!((reason_row.reason, reason_row.requests), (Reason::UriMiss, 4));
        assert_eq!(reason_row.origin_micros, first(UrlRanking::OriginTime));
        // A request that waited for another one's took none of the origin's time.
        assert!((4_000_000..9_000_000).contains(&reason_row.origin_micros), "{}", reason_row.origin_micros);
    }
}
