//! Asking the origin whether a request gets what another user's brought in.
//!
//! The first request that differs leads a flight, one for each stored body: it is sent as it would be on its own, without
//! a validator of ours, and gets the origin's own answer. The others that differ wait for the verdict. Where body, cookies
//! and the other things that make a page one user's are the same, the body is shared, and uses of it are checked aside from
//! time to time. Where they are not, it goes, and for a while requests with credentials for that key pass.

use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::asked::Asked;
use super::decide::{self, Alone};
use super::probation::{self, Verdict};
use super::trial::{self, Handed, Trial};
use super::{Body, Turn, Way, answer, rescue, trace};
use crate::origin::coalesce::{Joined, Lead};
use crate::outcome::{Decision, Reason, Stored};
use crate::policy::credentials;
use crate::policy::reuse::Failure;
use crate::stored::{Entry, Guard};

/// Answers a request that what is stored may not be for: as the one that is compared, or after it.
pub(super) async fn compare(way: &Arc<Way>, asked: &Arc<Asked>, entry: Arc<Entry>) -> Turn {
    let again = || Turn::Again(decide::unsettled(&way.shared, asked, &entry));
    let Some(guard) = &entry.guard else { return again() };
    let lead = match way.shared.probation.join(guard) {
        Joined::Leader(lead) => lead,
        Joined::Follower(follow) => {
            let waiting = trace::wait_for_flight(&way.shared, asked);
            let verdict = timeout(way.shared.config.flight_timeout, follow.landed()).await;
            drop(waiting);
            return match verdict {
                Ok(Some(Verdict::Same | Verdict::Different)) => again(),
                Ok(None) | Err(_) => Turn::Alone(decide::unsettled(&way.shared, asked, &entry)),
            };
        }
    };
    // A verdict may have been reached between the look-up and here.
    if probation::admits(&way.shared, asked, &entry)
        || probation::is_personalised(&way.shared, asked)
        || !is_stored(way, asked, guard)
    {
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

/// Checks a use of a watched body aside, where it is due: nobody waits for it.
pub(super) fn check(way: &Arc<Way>, asked: &Asked, entry: &Arc<Entry>) {
    let Some(guard) = &entry.guard else { return };
    let every = way.shared.config.guard_sample;
    if !credentials::is_due(guard, every, || asked.credentials(&way.shared)) {
        return;
    }
    if let Joined::Leader(lead) = way.shared.probation.join(guard) {
        way.metrics.record_refresh();
        start(way, lead, Arc::new(asked.as_get(&way.shared)), entry, guard, oneshot::channel().0);
    }
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

/// Tells whether the body that a guard hangs on is still stored.
fn is_stored(way: &Way, asked: &Asked, guard: &Arc<Guard>) -> bool {
    let is_its = |entry: &Arc<Entry>| entry.guard.as_ref().is_some_and(|held| Arc::ptr_eq(held, guard));
    way.shared.store.get(&asked.key).is_some_and(|stored| stored.entries.iter().any(is_its))
}

/// Answers the one that is compared.
async fn received(way: &Arc<Way>, asked: &Asked, entry: &Arc<Entry>, handed: Handed) -> Response<Body> {
    let Alone { decision, stand_in } = decide::unsettled(&way.shared, asked, entry);
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
        Handed::Filling(fill, begun) => answer::filling(way, asked, &fill, decision(fill.status), begun)
            .unwrap_or_else(|| rescue::panicked(way, asked)),
        Handed::Response(response) => {
            let decision = decision(response.status());
            answer::passed(way, asked, response, decision)
        }
        Handed::Failed(error) => rescue::failed(way, asked, &error),
    }
}
