//! The personalisation guard on the way: asking the origin whether a request gets what another user's brought in.
//!
//! The first request that differs leads a flight, one for each stored body: it is sent as it would be on its own, without
//! a validator of ours, and gets the origin's own answer. The others that differ wait for the verdict. Where body, cookies
//! and the other things that make a page one user's are the same, the body is shared, and uses of it are checked aside from
//! time to time. Where they are not, it goes, and for a while requests with credentials for that key pass.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode, header};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::asked::Asked;
use super::remember::Memories;
use super::serve::{Alone, Turn};
use super::trial::{self, Handed, Trial, Verdict};
use super::{Body, Shared, Way, answer, rescue};
use crate::clock::Timestamp;
use crate::origin::coalesce::{Flights, Joined, Lead};
use crate::outcome::{Decision, Outcome, Reason, Stored};
use crate::policy::reuse::Failure;
use crate::policy::{Admission, credentials};
use crate::stored::{Credentials, Entry, Facts, FlatHead, Guard, Selecting};

/// How long a key is suspect whose responses were found to differ by user: after requests with credentials have passed for
/// `personalised_for`, what an anonymous request brings in is not handed to them unseen.
const SUSPECT_FOR: Duration = Duration::from_secs(24 * 3600);

/// What the guard remembers beside what hangs on the entries.
pub(super) struct Probation {
    /// Comparisons under way, named after the guard whose body they judge.
    flights: Arc<Flights<Verdict>>,
    /// Keys whose responses were found to differ by user, and until when requests with credentials pass.
    personalised: Memories<Timestamp>,
}

impl Probation {
    /// Makes one that remembers nothing.
    pub(super) fn new() -> Self {
        Self { flights: Flights::new(), personalised: Memories::new() }
    }

    /// Remembers that the responses for a request's key differ by user; requests with credentials pass for `pass_for`.
    pub(super) fn remember(&self, asked: &Asked, now: Timestamp, pass_for: Duration) {
        self.personalised.put(asked.key.hash(), now + pass_for, now + SUSPECT_FOR);
    }

    /// Returns how many comparisons are under way.
    pub(super) fn flights(&self) -> usize {
        self.flights.len()
    }
}

/// Tells whether a response is guarded: unless it permits sharing (RFC 9111 §3.5), or varies on Cookie. An app that says so
/// knows what it builds its pages from.
pub(super) fn is_guarded(asked: &Asked, facts: &Facts, selecting: &Selecting) -> bool {
    asked.rule.personalisation_guard
        && !facts.permits_sharing
        && !selecting.iter().any(|(name, _)| *name == header::COOKIE)
}

/// Decides what a usable entry is to a request; unguarded ones cost one branch.
pub(super) fn admission(shared: &Shared, asked: &Asked, entry: &Entry) -> Admission {
    let Some(guard) = &entry.guard else { return Admission::Open };
    credentials::admission(guard, &asked.facts, || is_suspect(shared, asked), || asked.credentials(shared))
}

/// Tells whether an entry may answer a request, or be confirmed by what the origin tells it.
pub(super) fn admits(shared: &Shared, asked: &Asked, entry: &Entry) -> bool {
    admission(shared, asked, entry) != Admission::Probation
}

/// Tells whether a request may have what a request with these credentials is just bringing in.
pub(super) fn admits_from(shared: &Shared, asked: &Asked, leader: Credentials) -> bool {
    (leader.is_none() && !is_suspect(shared, asked)) || leader == asked.credentials(shared)
}

/// Tells whether the responses for a request's key were found to differ by user lately.
fn is_suspect(shared: &Shared, asked: &Asked) -> bool {
    shared.probation.personalised.get(asked.key.hash(), shared.clock.now()).is_some()
}

/// Tells whether an entry may stand in for the origin. One that an anonymous request brought in shows nobody's data: while
/// the app is down it is better than an error.
pub(super) fn may_stand_in(shared: &Shared, asked: &Asked, entry: &Entry) -> bool {
    entry.guard.as_ref().is_none_or(|guard| guard.leader().is_none()) || admits(shared, asked, entry)
}

/// Tells whether a request carries credentials for a key whose responses were found to differ by user, so that it passes.
pub(super) fn is_personalised(shared: &Shared, asked: &Asked) -> bool {
    asked.rule.personalisation_guard
        && (asked.facts.has_cookie || asked.facts.has_authorization)
        && is_passed(shared, asked)
        && !asked.credentials(shared).is_none()
}

fn is_passed(shared: &Shared, asked: &Asked) -> bool {
    let now = shared.clock.now();
    shared.probation.personalised.get(asked.key.hash(), now).is_some_and(|until| now < until)
}

/// Tells whether two stored heads set the same cookies.
pub(super) fn sets_same_cookies(one: &FlatHead, other: &FlatHead) -> bool {
    one.get_all(&header::SET_COOKIE).eq(other.get_all(&header::SET_COOKIE))
}

/// Checks a use of a watched body aside, where it is due: nobody waits for it.
pub(super) fn check(way: &Arc<Way>, asked: &Asked, entry: &Arc<Entry>) {
    let Some(guard) = &entry.guard else { return };
    let every = way.shared.config.guard_sample;
    if !credentials::is_due(guard, every, || asked.credentials(&way.shared)) {
        return;
    }
    if let Joined::Leader(lead) = way.shared.probation.flights.join(&flight_name(guard)) {
        way.metrics.record_refresh();
        start(way, lead, Arc::new(asked.as_get(&way.shared)), entry, guard, oneshot::channel().0);
    }
}

/// Answers a request that what is stored may not be for: as the one that is compared, or after it.
pub(super) async fn compare(way: &Arc<Way>, asked: &Arc<Asked>, entry: Arc<Entry>) -> Turn {
    let again = || Turn::Again(unsettled(&way.shared, asked, &entry));
    let Some(guard) = &entry.guard else { return again() };
    let lead = match way.shared.probation.flights.join(&flight_name(guard)) {
        Joined::Leader(lead) => lead,
        Joined::Follower(follow) => {
            let verdict = timeout(way.shared.config.flight_timeout, follow.landed()).await;
            return match verdict {
                Ok(Some(Verdict::Same | Verdict::Different)) => again(),
                Ok(None) | Err(_) => Turn::Alone(unsettled(&way.shared, asked, &entry)),
            };
        }
    };
    // A verdict may have been reached between the look-up and here.
    if guard.is_shared() || is_personalised(&way.shared, asked) || !is_stored(way, asked, guard) {
        return again();
    }
    let (hand, handed) = oneshot::channel();
    let as_get = if asked.facts.is_head { Arc::new(asked.as_get(&way.shared)) } else { Arc::clone(asked) };
    start(way, lead, as_get, &entry, guard, hand);
    Turn::Response(Box::new(match handed.await {
        Ok(handed) => received(way, asked, &entry, handed).await,
        Err(_) => rescue::panicked(way, asked),
    }))
}

/// Starts a comparison: a task of its own, so that a client that hangs up or reads slowly does not hold up those who wait.
fn start(
    way: &Arc<Way>,
    lead: Lead<Verdict>,
    asked: Arc<Asked>,
    entry: &Arc<Entry>,
    guard: &Arc<Guard>,
    hand: oneshot::Sender<Handed>,
) {
    let trial = Trial { asked, entry: Arc::clone(entry), guard: Arc::clone(guard) };
    tokio::spawn(trial::run(Arc::clone(way), lead, trial, hand));
}

/// Tells whether a comparison of the body that a guard hangs on is under way.
pub(super) fn is_being_compared(shared: &Shared, guard: &Arc<Guard>) -> bool {
    shared.probation.flights.find(&flight_name(guard)).is_some()
}

/// Names a flight. The guard lives for as long as it does, so that no other guard has its address meanwhile.
fn flight_name(guard: &Arc<Guard>) -> [u8; size_of::<usize>()] {
    (Arc::as_ptr(guard) as usize).to_le_bytes()
}

/// Tells whether the body that a guard hangs on is still stored.
fn is_stored(way: &Way, asked: &Asked, guard: &Arc<Guard>) -> bool {
    let is_its = |entry: &Arc<Entry>| entry.guard.as_ref().is_some_and(|held| Arc::ptr_eq(held, guard));
    way.shared.store.get(&asked.key).is_some_and(|stored| stored.entries.iter().any(is_its))
}

/// How a request is answered that no verdict was reached for: alone.
pub(super) fn unsettled(shared: &Shared, asked: &Asked, entry: &Arc<Entry>) -> Alone {
    let stand_in = may_stand_in(shared, asked, entry).then(|| Arc::clone(entry));
    Alone { decision: asked.decision(Outcome::Miss, Reason::Probation), stand_in }
}

/// Answers the one that is compared.
async fn received(way: &Arc<Way>, asked: &Asked, entry: &Arc<Entry>, handed: Handed) -> Response<Body> {
    let Alone { decision, stand_in } = unsettled(&way.shared, asked, entry);
    let decision = |status: StatusCode| Decision {
        stored: Stored::No(Reason::Probation),
        fwd_status: Some(status.as_u16()),
        ..decision
    };
    let failure = match &handed {
        Handed::Filling(..) => None,
        Handed::Response(response) => response.status().is_server_error().then_some(Failure::ServerError),
        Handed::Failed(_) => Some(Failure::Unreachable),
    };
    if let Some(failure) = failure
        && let Some(response) = rescue::stale(way, asked, failure, stand_in.as_ref()).await
    {
        return response;
    }
    match handed {
        Handed::Filling(fill, reader) => answer::filling(way, asked, &fill, decision(fill.status), reader)
            .unwrap_or_else(|| rescue::panicked(way, asked)),
        Handed::Response(response) => {
            let decision = decision(response.status());
            answer::passed(way, asked, response, decision)
        }
        Handed::Failed(error) => rescue::failed(way, asked, &error),
    }
}
