//! Asks the origin whether a request gets the same body that another user's request brought in.
//!
//! The first request with other credentials leads a flight, one for each stored body: the request
//! is sent as it would be on its own, without a validator of ours, and its client gets the origin's
//! own answer. Further requests on probation wait for the result. If body, cookies and the other
//! signs of a personal page are the same, the body is shared, and a sample of its uses is checked
//! in the background. If they differ, the entry is dropped, and for a while requests with
//! credentials for that key pass.

use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::cross_user_check::{self, CheckResponse, CrossUserCheck};
use super::memory::CompareResult;
use super::probation;
use crate::outcome::{Decision, Reason, StoreOutcome};
use crate::policy::credentials;
use crate::policy::reuse::OriginFailure;
use crate::proxy::decide::{self, PassThrough};
use crate::proxy::fetch::coalesce::{FlightLeader, FlightRole};
use crate::proxy::request::context::RequestContext;
use crate::proxy::respond::body::Body;
use crate::proxy::respond::{answer, rescue, stale};
use crate::proxy::state::Worker;
use crate::proxy::step::FetchStep;
use crate::proxy::trace;
use crate::stored::{SharingGuard, StoredEntry};

/// Answers a request for which the stored entry is on probation: as the request that is compared,
/// or after that one.
pub(crate) async fn compare(worker: &Arc<Worker>, ctx: &Arc<RequestContext>, entry: Arc<StoredEntry>) -> FetchStep {
    let again = || FetchStep::Retry(decide::pass_uncompared(&worker.shared, ctx, &entry));
    let Some(guard) = &entry.guard else { return again() };
    let lead = match worker.shared.sharing.join(guard) {
        FlightRole::Leader(lead) => lead,
        FlightRole::Follower(follow) => {
            let waiting = trace::wait_for_flight(&worker.shared, ctx);
            let result = timeout(worker.shared.config.flight_timeout, follow.result()).await;
            drop(waiting);
            return match result {
                Ok(Some(CompareResult::Same | CompareResult::Different)) => again(),
                Ok(None) | Err(_) => FetchStep::PassThrough(decide::pass_uncompared(&worker.shared, ctx, &entry)),
            };
        }
    };
    // A result may have been reached between the look-up and here.
    if probation::admits(&worker.shared, ctx, &entry)
        || probation::is_personalised(&worker.shared, ctx)
        || !is_stored(worker, ctx, guard)
    {
        return again();
    }
    let (reply, response) = oneshot::channel();
    let as_get = if ctx.facts.is_head { Arc::new(ctx.as_get(&worker.shared)) } else { Arc::clone(ctx) };
    start(worker, lead, as_get, &entry, guard, reply);
    FetchStep::Response(Box::new(match response.await {
        Ok(response) => answer_compared(worker, ctx, &entry, response).await,
        Err(_) => rescue::task_failure(worker, ctx),
    }))
}

/// Checks a use of a watched body in the background, if one is due: no client waits for it.
pub(crate) fn check(worker: &Arc<Worker>, ctx: &RequestContext, entry: &Arc<StoredEntry>) {
    let Some(guard) = &entry.guard else { return };
    let every = worker.shared.config.guard_sample;
    if !credentials::is_due(guard, every, || ctx.credentials(&worker.shared)) {
        return;
    }
    if let FlightRole::Leader(lead) = worker.shared.sharing.join(guard) {
        worker.metrics.record_refresh();
        start(worker, lead, Arc::new(ctx.as_get(&worker.shared)), entry, guard, oneshot::channel().0);
    }
}

/// Starts a comparison in a task of its own, so that a client that hangs up or reads slowly does
/// not block those who wait.
fn start(
    worker: &Arc<Worker>,
    lead: FlightLeader<CompareResult>,
    ctx: Arc<RequestContext>,
    entry: &Arc<StoredEntry>,
    guard: &Arc<SharingGuard>,
    reply: oneshot::Sender<CheckResponse>,
) {
    let check = CrossUserCheck { ctx, entry: Arc::clone(entry), guard: Arc::clone(guard) };
    tokio::spawn(cross_user_check::run(Arc::clone(worker), lead, check, reply));
}

/// Tells whether the guard's body is still stored.
fn is_stored(worker: &Worker, ctx: &RequestContext, guard: &Arc<SharingGuard>) -> bool {
    let is_guarded_by = |entry: &Arc<StoredEntry>| entry.guard.as_ref().is_some_and(|other| Arc::ptr_eq(other, guard));
    worker.shared.store.get(&ctx.key).is_some_and(|stored| stored.entries.iter().any(is_guarded_by))
}

/// Answers the request that is compared.
async fn answer_compared(
    worker: &Arc<Worker>,
    ctx: &RequestContext,
    entry: &Arc<StoredEntry>,
    response: CheckResponse,
) -> Response<Body> {
    let PassThrough { decision, stand_in } = decide::pass_uncompared(&worker.shared, ctx, entry);
    let decision = |status: StatusCode| Decision {
        stored: StoreOutcome::No(Reason::Probation),
        fwd_status: Some(status.as_u16()),
        ..decision
    };
    let failure = match &response {
        CheckResponse::InProgress(..) => None,
        CheckResponse::Response(response) => {
            response.head.status.is_server_error().then_some(OriginFailure::ServerError)
        }
        CheckResponse::Failed(_) => Some(OriginFailure::Unreachable),
    };
    if let Some(failure) = failure
        && let Some(response) = stale::stale_response(worker, ctx, failure, stand_in.as_ref()).await
    {
        return response;
    }
    match response {
        CheckResponse::InProgress(fill, leader_body) => {
            answer::from_fill(worker, ctx, &fill, decision(fill.status), leader_body)
                .unwrap_or_else(|| rescue::task_failure(worker, ctx))
        }
        CheckResponse::Response(response) => {
            let decision = decision(response.head.status);
            answer::from_origin(worker, ctx, response, decision)
        }
        CheckResponse::Failed(error) => rescue::origin_failure(worker, ctx, &error),
    }
}
