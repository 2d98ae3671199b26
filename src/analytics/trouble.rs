//! The latest failures: a short list, from which the oldest is dropped.

use std::collections::VecDeque;
use std::sync::Arc;

use super::request::NonHitRequest;
use crate::clock::Timestamp;
use crate::outcome::{Decision, Ending, Outcome, Reason, ResponseEnd};

/// The rows that a core keeps.
const ROWS_MAX: usize = 32;

/// The rows that are reported.
const ROWS_SHOWN: usize = 32;

/// A request that failed at the origin or in Larder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultyRequest {
    /// The time at which the request arrived.
    pub at: Timestamp,
    /// The canonical URL.
    pub url: Arc<str>,
    /// The status that the client was sent.
    pub status: u16,
    /// The outcome.
    pub outcome: Outcome,
    /// The failure.
    pub fault: RequestFault,
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestFault {
    /// The origin, or Larder, failed before the head, for this reason.
    Failed(Reason),
    /// The body was aborted, for this reason.
    Aborted(Reason),
    /// The origin answered with this status, 500 or above.
    ServerError(u16),
}

/// The failures of one core.
#[derive(Debug, Default)]
pub(crate) struct RecentFaults(VecDeque<FaultyRequest>);

impl RecentFaults {
    /// Records a request if it failed.
    pub(super) fn record(&mut self, request: &NonHitRequest, url: &str, decision: &Decision, end: &ResponseEnd) {
        let Some(fault) = fault(decision, end) else { return };
        if self.0.len() == ROWS_MAX {
            self.0.pop_front();
        }
        let (at, status, outcome) = (request.at, request.status, decision.outcome);
        self.0.push_back(FaultyRequest { at, url: url.into(), status, outcome, fault });
    }

    /// Copies the list.
    pub(crate) fn list(&self) -> Vec<FaultyRequest> {
        self.0.iter().cloned().collect()
    }
}

fn fault(decision: &Decision, end: &ResponseEnd) -> Option<RequestFault> {
    if let Ending::Aborted(reason) = end.ending {
        return Some(RequestFault::Aborted(reason));
    }
    match (decision.outcome, decision.reason, decision.fwd_status) {
        (Outcome::Failed, reason, _) | (Outcome::Stale, reason @ Reason::IfError, _) => {
            Some(RequestFault::Failed(reason))
        }
        (_, _, Some(status)) if status >= 500 => Some(RequestFault::ServerError(status)),
        _ => None,
    }
}

/// Merges the lists of the cores, the newest first.
pub(crate) fn merge(lists: impl IntoIterator<Item = Vec<FaultyRequest>>) -> Vec<FaultyRequest> {
    let mut all: Vec<FaultyRequest> = lists.into_iter().flat_map(|list| list.into_iter().rev()).collect();
    all.sort_by_key(|row| std::cmp::Reverse(row.at));
    all.truncate(ROWS_SHOWN);
    all
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const END: ResponseEnd = ResponseEnd { ending: Ending::Complete, body_bytes: 0, elapsed: Duration::ZERO };

    #[test]
    fn failures_are_distinguished_from_successes() {
        let check =
            |decision: Decision, end: ResponseEnd, merged| assert_eq!(fault(&decision, &end), merged, "{decision:?}");
        let new = Decision::new;
        let miss = new(Outcome::Miss, Reason::UriMiss);
        check(miss, END, None);
        check(Decision { fwd_status: Some(404), ..miss }, END, None);
        check(Decision { fwd_status: Some(503), ..miss }, END, Some(RequestFault::ServerError(503)));
        check(new(Outcome::Failed, Reason::Overloaded), END, Some(RequestFault::Failed(Reason::Overloaded)));
        check(new(Outcome::Stale, Reason::IfError), END, Some(RequestFault::Failed(Reason::IfError)));
        check(new(Outcome::Stale, Reason::MaxStale), END, None);
        check(new(Outcome::Refused, Reason::BadRequest), END, None);
        let cut = ResponseEnd { ending: Ending::Aborted(Reason::Incomplete), ..END };
        check(miss, cut, Some(RequestFault::Aborted(Reason::Incomplete)));
        check(miss, ResponseEnd { ending: Ending::ClientGone, ..END }, None);
    }

    #[test]
    fn the_newest_come_first_and_the_oldest_make_room() {
        let (mut one, mut other) = (RecentFaults::default(), RecentFaults::default());
        for at in 0..40 {
            let request =
                NonHitRequest { url: "/".into(), status: 502, origin_time: None, at: Timestamp::from_secs(at) };
            let troubles = if at % 2 == 0 { &mut one } else { &mut other };
            troubles.record(&request, "/", &Decision::new(Outcome::Failed, Reason::ConnectionRefused), &END);
        }
        let merged = merge([one.list(), other.list()]);
        assert_eq!(merged.iter().map(|row| row.at.as_secs()).collect::<Vec<_>>(), (8..40).rev().collect::<Vec<_>>());
    }
}
