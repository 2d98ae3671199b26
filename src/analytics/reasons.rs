//! "Why is my hit ratio low?": the requests that the cache did not answer, by reason.
//!
//! For each reason: how many requests it was, how much of the origin's time they took, and at which
//! URLs.

use std::sync::Arc;

use super::top::{self, Top, TopItem, TopPart};
use crate::outcome::{Decision, Outcome, Reason, StoreOutcome};

/// The URLs that a core tracks for each reason.
const EXAMPLES_MAX: usize = 16;

/// The example URLs that are reported for each reason.
const EXAMPLES_SHOWN: usize = 3;

/// One core's counts: a row for each reason, made when the reason first occurs.
#[derive(Debug)]
pub(crate) struct NonHitCounters(Vec<Option<Box<NonHitRow>>>);

#[derive(Debug)]
struct NonHitRow {
    requests: u64,
    origin_micros: u64,
    urls: Top,
}

/// A reason with its cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NonHitReason {
    /// The reason.
    pub reason: Reason,
    /// The requests that were not answered from the cache for this reason.
    pub requests: u64,
    /// The time spent waiting for the origin, in microseconds.
    pub origin_micros: u64,
    /// The URLs with the most origin time.
    pub urls: Vec<Arc<str>>,
}

impl Default for NonHitCounters {
    fn default() -> Self {
        Self(Reason::ALL.iter().map(|_| None).collect())
    }
}

impl NonHitCounters {
    /// Counts a request.
    pub(super) fn add(&mut self, reason: Reason, origin_micros: u64) {
        let row = self.row(reason);
        row.requests += 1;
        row.origin_micros = row.origin_micros.saturating_add(origin_micros);
    }

    /// Adds to a URL's weight among the examples. The weight is at least one, even if the origin
    /// was not contacted.
    pub(super) fn add_example(&mut self, reason: Reason, item: &TopItem<'_>, weight: u64) {
        self.row(reason).urls.add(item, weight);
    }

    fn row(&mut self, reason: Reason) -> &mut NonHitRow {
        self.0[reason as usize]
            .get_or_insert_with(|| Box::new(NonHitRow { requests: 0, origin_micros: 0, urls: Top::new(EXAMPLES_MAX) }))
    }

    /// Copies the counts of `reason`: requests, origin time, URLs.
    pub(crate) fn part(&self, reason: Reason) -> Option<(u64, u64, TopPart)> {
        self.0[reason as usize].as_ref().map(|row| (row.requests, row.origin_micros, row.urls.part()))
    }
}

/// Returns why a request was not answered from the cache.
///
/// The reason is why the response was not stored, if it was not, else why it had to be fetched.
/// `None` if the cache answered, or if the request was refused first.
pub(super) fn not_from_cache(decision: &Decision) -> Option<Reason> {
    match (decision.outcome, decision.stored) {
        (Outcome::Hit | Outcome::Stale | Outcome::Refused, _) => None,
        (_, StoreOutcome::No(reason)) => Some(reason),
        (_, StoreOutcome::Started | StoreOutcome::NothingTo) => Some(decision.reason),
    }
}

/// Adds up the cores' counts, sorted by origin time.
pub(crate) fn merge(mut part: impl FnMut(Reason) -> Vec<(u64, u64, TopPart)>) -> Vec<NonHitReason> {
    let mut rows = Vec::new();
    for reason in Reason::ALL {
        let parts = part(*reason);
        if parts.is_empty() {
            continue;
        }
        let requests = parts.iter().map(|(requests, ..)| requests).sum();
        let origin_micros = parts.iter().fold(0_u64, |sum, (_, micros, _)| sum.saturating_add(*micros));
        let urls: Vec<TopPart> = parts.into_iter().map(|(.., urls)| urls).collect();
        let urls = top::merge(&urls, EXAMPLES_SHOWN).into_iter().map(|row| row.url).collect();
        rows.push(NonHitReason { reason: *reason, requests, origin_micros, urls });
    }
    rows.sort_by_key(|row| std::cmp::Reverse((row.origin_micros, row.requests)));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_what_kept_it_from_being_stored() {
        let check = |decision: Decision, reason| assert_eq!(not_from_cache(&decision), reason, "{decision:?}");
        let new = Decision::new;
        let miss = new(Outcome::Miss, Reason::UriMiss);
        check(Decision { stored: StoreOutcome::No(Reason::SetCookie), ..miss }, Some(Reason::SetCookie));
        check(Decision { stored: StoreOutcome::Started, ..miss }, Some(Reason::UriMiss));
        check(new(Outcome::Revalidated, Reason::NoCache), Some(Reason::NoCache));
        check(new(Outcome::Pass, Reason::Method), Some(Reason::Method));
        check(new(Outcome::Failed, Reason::ConnectionRefused), Some(Reason::ConnectionRefused));
        check(new(Outcome::Hit, Reason::Fresh), None);
        check(new(Outcome::Stale, Reason::IfError), None);
        check(new(Outcome::Refused, Reason::BadRequest), None);
    }

    #[test]
    fn reasons_are_ranked_by_the_time_they_cost() {
        let item = |url: &'static str| TopItem::new(url, u64::from(url.as_bytes()[1]));
        let (mut one, mut other) = (NonHitCounters::default(), NonHitCounters::default());
        let add = |counted: &mut NonHitCounters, reason, url, micros| {
            counted.add(reason, micros);
            counted.add_example(reason, &item(url), micros + 1);
        };
        add(&mut one, Reason::Method, "/post", 10);
        add(&mut one, Reason::UriMiss, "/a", 300);
        add(&mut other, Reason::UriMiss, "/b", 400);
        for _ in 0..5 {
            add(&mut other, Reason::NoStore, "/c", 0);
        }
        let rows = merge(|reason| [&one, &other].iter().filter_map(|part| part.part(reason)).collect());
        let merged: Vec<_> = rows.iter().map(|row| (row.reason, row.requests, row.origin_micros)).collect();
        assert_eq!(merged, [(Reason::UriMiss, 2, 700), (Reason::Method, 1, 10), (Reason::NoStore, 5, 0)]);
        assert_eq!(rows[0].urls, ["/b".into(), "/a".into()]);
    }
}
