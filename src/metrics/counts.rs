//! The counters: requests by outcome and reason, bytes, stored responses, saved origin requests,
//! endings of bodies.

use super::sizes::Sizes;
use crate::outcome::{Decision, Ending, Outcome, Reason, ResponseEnd, StoreOutcome};

const OUTCOMES: usize = Outcome::ALL.len();
const REASONS: usize = Reason::ALL.len();

/// A number for each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutcomeCounts([u64; OUTCOMES]);

impl OutcomeCounts {
    /// Returns the number of `outcome`.
    pub fn get(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// Returns the sum over all outcomes.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |sum, number| sum.saturating_add(*number))
    }

    pub(super) fn count(&mut self, outcome: Outcome, more: u64) {
        let number = &mut self.0[outcome as usize];
        *number = number.saturating_add(more);
    }

    pub(super) fn add(&mut self, other: &Self) {
        for outcome in Outcome::ALL {
            self.count(*outcome, other.get(*outcome));
        }
    }
}

/// A number for each reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ReasonCounts([u64; REASONS]);

impl ReasonCounts {
    const ZERO: Self = Self([0; REASONS]);

    fn count(&mut self, reason: Reason) {
        self.0[reason as usize] += 1;
    }

    fn add(&mut self, other: &Self) {
        for (number, more) in self.0.iter_mut().zip(&other.0) {
            *number += more;
        }
    }

    fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Lists the reasons that have occurred, in the order of the reference table.
    fn non_zero(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        Reason::ALL.iter().map(|reason| (*reason, self.0[*reason as usize])).filter(|(_, number)| *number > 0)
    }
}

/// The counters of all requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestCounters {
    requests: [ReasonCounts; OUTCOMES],
    body_bytes: OutcomeCounts,
    sizes: [Sizes; OUTCOMES],
    not_stored: ReasonCounts,
    aborted: ReasonCounts,
    /// Requests whose response began to be stored.
    pub stored: u64,
    /// Responses that were stored together with the cookie that they set.
    pub stored_cookies: u64,
    /// Requests that waited for another request's fetch (RFC 9211 §2.6).
    pub collapsed: u64,
    /// Requests that were sent to the origin: see [`used_origin`].
    pub origin_requests: u64,
    /// Requests answered without an origin request of their own: hits, stale responses and
    /// collapsed requests, each once.
    pub saved: u64,
    /// Responses whose client disconnected before their end.
    pub client_gone: u64,
    /// Origin requests that Larder made on its own: refreshes in the background.
    pub refreshes: u64,
}

impl Default for RequestCounters {
    fn default() -> Self {
        Self {
            requests: [ReasonCounts::ZERO; OUTCOMES],
            body_bytes: OutcomeCounts::default(),
            sizes: [Sizes::default(); OUTCOMES],
            not_stored: ReasonCounts::ZERO,
            aborted: ReasonCounts::ZERO,
            stored: 0,
            stored_cookies: 0,
            collapsed: 0,
            origin_requests: 0,
            saved: 0,
            client_gone: 0,
            refreshes: 0,
        }
    }
}

/// Tells whether a request was sent to the origin on its own behalf.
///
/// That is so if the origin answered, or failed to, and the request did not wait for another one's
/// fetch.
pub(crate) fn used_origin(decision: &Decision) -> bool {
    let failed = decision.outcome == Outcome::Failed
        || (decision.outcome == Outcome::Stale && decision.reason == Reason::IfError);
    !decision.collapsed && (decision.fwd_status.is_some() || failed)
}

impl RequestCounters {
    /// Counts a request whose response has ended.
    pub(super) fn count(&mut self, decision: &Decision, end: &ResponseEnd) {
        self.requests[decision.outcome as usize].count(decision.reason);
        self.body_bytes.count(decision.outcome, end.body_bytes);
        self.sizes[decision.outcome as usize].count(end.body_bytes);
        match decision.stored {
            StoreOutcome::Started => self.stored += 1,
            StoreOutcome::No(reason) => self.not_stored.count(reason),
            StoreOutcome::NothingTo => {}
        }
        let used_origin = used_origin(decision);
        self.collapsed += u64::from(decision.collapsed);
        self.origin_requests += u64::from(used_origin);
        let from_store = matches!(decision.outcome, Outcome::Hit | Outcome::Stale);
        self.saved += u64::from(decision.collapsed || (from_store && !used_origin));
        match end.ending {
            Ending::Complete => {}
            Ending::ClientGone => self.client_gone += 1,
            Ending::Aborted(reason) => self.aborted.count(reason),
        }
    }

    /// Adds another shard's counters.
    pub(super) fn add(&mut self, other: &Self) {
        for (row, more) in self.requests.iter_mut().zip(&other.requests) {
            row.add(more);
        }
        self.body_bytes.add(&other.body_bytes);
        self.sizes.iter_mut().zip(&other.sizes).for_each(|(sizes, more)| sizes.add(more));
        self.not_stored.add(&other.not_stored);
        self.aborted.add(&other.aborted);
        self.stored += other.stored;
        self.stored_cookies += other.stored_cookies;
        self.collapsed += other.collapsed;
        self.origin_requests += other.origin_requests;
        self.saved += other.saved;
        self.client_gone += other.client_gone;
        self.refreshes += other.refreshes;
    }

    /// Returns the number of requests.
    pub fn requests(&self) -> u64 {
        self.requests.iter().map(ReasonCounts::total).sum()
    }

    /// Returns the number of requests by outcome.
    pub fn requests_by_outcome(&self) -> OutcomeCounts {
        OutcomeCounts(std::array::from_fn(|index| self.requests[index].total()))
    }

    /// Lists the pairs of outcome and reason that have occurred, with their requests.
    pub fn request_counts(&self) -> impl Iterator<Item = (Outcome, Reason, u64)> + '_ {
        Outcome::ALL.iter().flat_map(|outcome| {
            self.requests[*outcome as usize].non_zero().map(|(reason, number)| (*outcome, reason, number))
        })
    }

    /// Lists the reasons that have occurred, with their requests under all outcomes.
    pub fn reason_counts(&self) -> Vec<(Reason, u64)> {
        let mut all = ReasonCounts::ZERO;
        self.requests.iter().for_each(|row| all.add(row));
        all.non_zero().collect()
    }

    /// Returns the body bytes handed to connections, by outcome.
    pub fn body_bytes(&self) -> OutcomeCounts {
        self.body_bytes
    }

    /// Returns the sizes of the bodies of an outcome.
    pub fn sizes(&self, outcome: Outcome) -> &Sizes {
        &self.sizes[outcome as usize]
    }

    /// Lists the reasons for which responses were not stored, with their requests.
    pub fn not_stored_counts(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        self.not_stored.non_zero()
    }

    /// Returns how many responses were not stored for this reason.
    pub fn not_stored(&self, reason: Reason) -> u64 {
        self.not_stored.0[reason as usize]
    }

    /// Lists the reasons for which bodies were aborted, with their responses.
    pub fn aborted_counts(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        self.aborted.non_zero()
    }

    /// Returns the number of responses whose body was aborted.
    pub fn aborted(&self) -> u64 {
        self.aborted.total()
    }

    /// Returns the number of responses that were handed to their connection completely.
    pub fn complete(&self) -> u64 {
        self.requests().saturating_sub(self.client_gone + self.aborted())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const COMPLETE: ResponseEnd = ResponseEnd { ending: Ending::Complete, body_bytes: 7, elapsed: Duration::ZERO };

    #[test]
    fn outcomes_and_reasons_are_found_by_their_place_in_the_list() {
        assert!(Outcome::ALL.iter().enumerate().all(|(index, outcome)| *outcome as usize == index));
        assert!(Reason::ALL.iter().enumerate().all(|(index, reason)| *reason as usize == index));
    }

    #[test]
    fn requests_to_the_origin_and_requests_saved() {
        let check = |decision: Decision, used_origin: u64, saved: u64| {
            let mut counts = RequestCounters::default();
            counts.count(&decision, &COMPLETE);
            assert_eq!((counts.origin_requests, counts.saved), (used_origin, saved), "{decision:?}");
        };
        let new = Decision::new;
        check(new(Outcome::Hit, Reason::Fresh), 0, 1);
        check(Decision { collapsed: true, ..new(Outcome::Hit, Reason::Fresh) }, 0, 1);
        check(new(Outcome::Stale, Reason::WhileRevalidate), 0, 1);
        check(new(Outcome::Stale, Reason::MaxStale), 0, 1);
        check(new(Outcome::Stale, Reason::IfError), 1, 0);
        check(Decision { fwd_status: Some(503), ..new(Outcome::Stale, Reason::IfError) }, 1, 0);
        check(Decision { fwd_status: Some(304), ..new(Outcome::Revalidated, Reason::Expired) }, 1, 0);
        check(Decision { fwd_status: Some(200), ..new(Outcome::Miss, Reason::UriMiss) }, 1, 0);
        check(Decision { fwd_status: Some(200), collapsed: true, ..new(Outcome::Miss, Reason::UriMiss) }, 0, 1);
        check(Decision { fwd_status: Some(200), ..new(Outcome::Pass, Reason::Method) }, 1, 0);
        check(new(Outcome::Refused, Reason::BadRequest), 0, 0);
        check(new(Outcome::Failed, Reason::ConnectionRefused), 1, 0);
        check(Decision { collapsed: true, ..new(Outcome::Failed, Reason::ConnectionRefused) }, 0, 1);
    }

    #[test]
    fn stored_and_endings_are_counted_by_reason() {
        let mut counts = RequestCounters::default();
        let miss = Decision::new(Outcome::Miss, Reason::UriMiss);
        counts.count(&Decision { stored: StoreOutcome::Started, ..miss }, &COMPLETE);
        counts.count(
            &Decision { stored: StoreOutcome::No(Reason::Private), ..miss },
            &ResponseEnd { ending: Ending::ClientGone, ..COMPLETE },
        );
        counts.count(&miss, &ResponseEnd { ending: Ending::Aborted(Reason::Incomplete), ..COMPLETE });
        assert_eq!(counts.stored, 1);
        assert_eq!(counts.not_stored_counts().collect::<Vec<_>>(), [(Reason::Private, 1)]);
        assert_eq!((counts.not_stored(Reason::Private), counts.not_stored(Reason::NoStore)), (1, 0));
        assert_eq!(counts.aborted_counts().collect::<Vec<_>>(), [(Reason::Incomplete, 1)]);
        assert_eq!((counts.complete(), counts.client_gone, counts.aborted()), (1, 1, 1));
        assert_eq!(counts.body_bytes().get(Outcome::Miss), 21);
        assert_eq!((counts.sizes(Outcome::Miss).cells()[0], counts.sizes(Outcome::Hit).cells()[0]), (3, 0));
        assert_eq!(counts.request_counts().collect::<Vec<_>>(), [(Outcome::Miss, Reason::UriMiss, 3)]);
        assert_eq!(counts.reason_counts(), [(Reason::UriMiss, 3)]);
    }

    #[test]
    fn bytes_never_wrap() {
        let mut counts = RequestCounters::default();
        let hit = Decision::new(Outcome::Hit, Reason::Fresh);
        counts.count(&hit, &ResponseEnd { body_bytes: u64::MAX, ..COMPLETE });
        counts.count(&hit, &COMPLETE);
        assert_eq!(counts.body_bytes().total(), u64::MAX);
    }
}
