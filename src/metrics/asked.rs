//! Which URLs are asked for, told to the core's tables of `analytics`.
//!
//! A hit is counted when its head goes out, under one uncontended lock and without allocating; anything else leaves a note
//! that is counted when its response has ended.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use parking_lot::Mutex;

use super::counts::asked_origin;
use super::{DIGITS, Local, latency};
use crate::analytics::{By, NonHitRequest, ROWS_TOLD, Summary, Tables, reasons, top, trouble};
use crate::clock::Timestamp;
use crate::outcome::{Decision, End, Outcome};

/// A request whose response's head goes out.
#[derive(Clone, Copy, Debug)]
pub struct Heading<'a> {
    /// The canonical URL.
    pub url: &'a str,
    /// The status that the client is sent.
    pub status: u16,
    /// The response's body bytes; 0 where they are not known yet.
    pub body_bytes: u64,
    /// When the request's head had come.
    pub at: Timestamp,
    /// The same, for measuring.
    pub started: Instant,
}

/// One core's tables.
#[derive(Debug)]
pub(super) struct Watched {
    /// Guards the tables against a reader, who copies one list at a time. Nothing awaits under it.
    tables: Mutex<Tables>,
}

impl Default for Watched {
    fn default() -> Self {
        Self { tables: Mutex::new(Tables::new(RandomState::new().hash_one(0))) }
    }
}

impl Local {
    /// Counts a hit's URL. Returns what [`Local::record_asked`] is to be told at the end of any other response.
    pub fn heads_out(&self, decision: &Decision, heading: &Heading<'_>) -> Option<Box<NonHitRequest>> {
        let from_store = matches!(decision.outcome, Outcome::Hit | Outcome::Stale) && !decision.collapsed;
        let asked = asked_origin(decision);
        if from_store && !asked {
            self.counted.watched.tables.lock().hit(heading.url, heading.body_bytes);
            return None;
        }
        let origin_time = asked.then(|| heading.started.elapsed());
        Some(Box::new(NonHitRequest { url: heading.url.into(), status: heading.status, origin_time, at: heading.at }))
    }

    /// Counts the URL of a request that was no plain hit, and whose response has ended; and how long the origin took.
    pub fn record_asked(&self, asked: &NonHitRequest, decision: &Decision, end: &End) {
        if let Some(span) = asked.origin_time {
            self.counted.shard.lock().origin_wait.record(DIGITS, latency::micros(span));
        }
        self.counted.watched.tables.lock().other(asked, decision, end);
    }
}

/// Adds up what the cores have seen. A core never waits for longer than copying one list takes.
pub(super) fn summary<'a>(cores: impl Iterator<Item = &'a Watched> + Clone) -> Summary {
    let cores = || cores.clone().map(|watched| &watched.tables);
    let list = |by| {
        let parts: Vec<_> = cores().map(|tables| tables.lock().top(by).part()).collect();
        top::merge(&parts, ROWS_TOLD)
    };
    Summary {
        top: By::ALL.map(list),
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
    use crate::outcome::{Ending, Reason};

    #[test]
    fn cores_add_up_and_time_is_counted_where_the_origin_was_asked() {
        let metrics = Arc::new(Metrics::new(Vec::new()));
        let end = End { ending: Ending::Complete, body_bytes: 5, elapsed: Duration::from_secs(9) };
        let heading = Heading {
            url: "http://h/",
            status: 200,
            body_bytes: 5,
            at: Timestamp::from_secs(1),
            started: Instant::now() - Duration::from_secs(2),
        };
        for core in [metrics.local(), metrics.local()] {
            assert!(core.heads_out(&Decision::new(Outcome::Hit, Reason::Fresh), &heading).is_none());
            let miss = Decision { fwd_status: Some(200), ..Decision::new(Outcome::Miss, Reason::UriMiss) };
            for decision in [miss, Decision { collapsed: true, ..miss }] {
                let asked = core.heads_out(&decision, &heading).unwrap();
                core.record_asked(&asked, &decision, &end);
            }
        }
        let snapshot = metrics.snapshot();
        let summary = &snapshot.summary;
        assert_eq!(snapshot.origin_wait.count(), 2);
        let first = |by| summary.top(by)[0].at_least;
        assert_eq!((first(By::Requests), first(By::Bytes), first(By::Misses)), (6, 30, 4));
        let lost = &summary.not_from_cache[0];
        assert_eq!((lost.reason, lost.requests), (Reason::UriMiss, 4));
        assert_eq!(lost.origin_micros, first(By::OriginTime));
        // Who waited for another's request took none of the origin's time.
        assert!((4_000_000..9_000_000).contains(&lost.origin_micros), "{}", lost.origin_micros);
    }
}
