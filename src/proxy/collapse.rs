//! Answers from a flight: to the leader's own client, and to followers that its result is for.
//!
//! A flight collapses requests for the same onto one fetch. Its response is used for a follower
//! only if a second look at its head allows that: Vary, reuse without asking the origin, purges,
//! the sharing guard, the follower's own directives. Otherwise the follower looks into the store
//! again, with hints, or goes to the origin alone; `proxy/serve.rs` takes that step.

use std::sync::Arc;

use http::{HeaderName, Method, Response, StatusCode};
use tokio::time::timeout;

use super::fetch::flight::{Fill, FlightResult, LeaderResponse};
use super::fetch::uncacheable;
use super::request::context::RequestContext;
use super::respond::body::Body;
use super::respond::{answer, encode, rescue};
use super::sharing::probation;
use super::state::Worker;
use super::{decide, trace};
use crate::outcome::{Decision, Outcome, Reason, StoreOutcome};
use crate::policy::reuse::{self, Collapse};
use crate::policy::storable::{Exchange, Storable, storable};
use crate::policy::{PurgeState, freshness, vary};
use crate::stored::StoredEntry;

/// Answers the leader's own client: at once, unless a stored body has to be encoded first. `None`:
/// the flight's task ended without a response.
pub(super) async fn answer_leader(
    worker: &Arc<Worker>,
    ctx: &RequestContext,
    leader_response: Option<LeaderResponse>,
    reason: Reason,
) -> Box<Response<Body>> {
    let (entry, decision) = match leader_response {
        Some(LeaderResponse::Response(response, not_stored)) => {
            let decision = Decision {
                stored: StoreOutcome::No(not_stored),
                fwd_status: Some(response.head.status.as_u16()),
                ..ctx.decision(Outcome::Miss, reason)
            };
            return Box::new(answer::from_origin(worker, ctx, *response, decision));
        }
        Some(LeaderResponse::FromFlight(FlightResult::InProgress(fill), leader_body)) => {
            return match answer::from_fill(worker, ctx, &fill, in_progress_decision(ctx, &fill, reason), leader_body) {
                Some(response) => Box::new(response),
                None => Box::new(rescue::task_failure(worker, ctx)),
            };
        }
        Some(LeaderResponse::FromFlight(FlightResult::Failed(error), _)) => {
            return Box::new(rescue::origin_failure(worker, ctx, &error));
        }
        Some(LeaderResponse::FromFlight(FlightResult::Confirmed(entry), _)) => {
            let decision = revalidated_decision(worker, ctx, &entry, reason);
            (entry, decision)
        }
        Some(LeaderResponse::FromFlight(FlightResult::ServedStale(entry), _)) => {
            let decision = decide::stale_decision(&worker.shared, ctx, &entry);
            (entry, decision)
        }
        Some(LeaderResponse::FromFlight(FlightResult::Unchanged | FlightResult::Unshared(_), _)) | None => {
            return Box::new(rescue::task_failure(worker, ctx));
        }
    };
    Box::new(Box::pin(encode::answer_stored(worker, ctx, &entry, decision)).await)
}

/// Hints for the next round, learnt from a flight whose result was not for the request.
#[derive(Default)]
pub(super) struct RetryHints {
    /// The selecting fields of the flight's response, which the store may not know yet.
    pub(super) selecting_names: Option<Vec<HeaderName>>,
    /// True if the origin only confirmed the copy that the leader's client has. The next leader
    /// asks for the whole response, so that it can answer everyone.
    pub(super) asks_whole: bool,
    /// True if the leader's request failed in a request-specific way. If a second leader fails the
    /// same way, the request was not the cause.
    pub(super) leader_failed: bool,
}

/// The step that a follower takes after a flight.
pub(super) enum FollowerStep {
    Response(Box<Response<Body>>),
    /// The result is for others: look again with these hints.
    Retry(RetryHints),
    /// Look again with these hints. The result is of no use to new requests either, so the flight
    /// is withdrawn from the table.
    RetryWithdrawn(RetryHints),
    /// The flight began before a purge that covers its response, and this request came after the
    /// purge. The flight may go on for long.
    Outdated,
    /// The result is not for this request, for this reason.
    PassThrough(Reason),
}

/// Decides whether a flight's result answers a follower too.
pub(super) async fn answer_follower(
    worker: &Arc<Worker>,
    ctx: &RequestContext,
    result: FlightResult,
    reason: Reason,
) -> FollowerStep {
    let collapsed = |decision| Decision { collapsed: true, ..decision };
    if let Some(share) = check_follower(worker, ctx, &result) {
        return share;
    }
    let response = match result {
        FlightResult::InProgress(fill) => {
            // A body that another user's request brings in is compared once it is complete, not
            // passed on.
            if fill.leader.is_some_and(|leader| !probation::admits_from(&worker.shared, ctx, leader)) {
                let _waiting = trace::wait_for_flight(&worker.shared, ctx);
                return match timeout(worker.shared.config.flight_timeout, fill.body.wait_settled()).await {
                    Ok(()) => FollowerStep::Retry(RetryHints::default()),
                    Err(_) => FollowerStep::PassThrough(Reason::Probation),
                };
            }
            if is_outdated(worker, ctx, &fill) {
                return FollowerStep::Outdated;
            }
            if let Some(reason) = refusal_for_follower(ctx, &fill) {
                return FollowerStep::PassThrough(reason);
            }
            match answer::from_fill(worker, ctx, &fill, collapsed(in_progress_decision(ctx, &fill, reason)), None) {
                Some(response) => response,
                None => return FollowerStep::PassThrough(Reason::TooLarge),
            }
        }
        // The entry was confirmed before an invalidation that this request comes after (RFC 9111
        // §4.4).
        FlightResult::Confirmed(entry) if reuse::is_barred(&entry.facts, purge_state(worker, ctx, &entry)) => {
            return FollowerStep::Outdated;
        }
        FlightResult::ServedStale(entry) if purge_state(worker, ctx, &entry) == PurgeState::Purged => {
            return FollowerStep::Outdated;
        }
        FlightResult::Confirmed(entry) if !probation::admits(&worker.shared, ctx, &entry) => {
            return FollowerStep::Retry(RetryHints::default());
        }
        FlightResult::Confirmed(entry) => {
            encode::answer_stored(worker, ctx, &entry, collapsed(revalidated_decision(worker, ctx, &entry, reason)))
                .await
        }
        FlightResult::ServedStale(entry) if !probation::may_stand_in(&worker.shared, ctx, &entry) => {
            return FollowerStep::Retry(RetryHints::default());
        }
        FlightResult::ServedStale(entry) => {
            encode::answer_stored(worker, ctx, &entry, collapsed(decide::stale_decision(&worker.shared, ctx, &entry)))
                .await
        }
        FlightResult::Failed(error) => rescue::origin_failure(worker, ctx, &error),
        FlightResult::Unchanged => {
            return FollowerStep::RetryWithdrawn(RetryHints { asks_whole: true, ..RetryHints::default() });
        }
        // The reason says nothing of the other requests: one of them leads a new flight.
        FlightResult::Unshared(reason) if uncacheable::is_request_specific(reason) => {
            return FollowerStep::RetryWithdrawn(RetryHints::default());
        }
        FlightResult::Unshared(reason) => return FollowerStep::PassThrough(reason),
    };
    FollowerStep::Response(Box::new(response))
}

/// Decides what becomes of a follower that may not use the flight's response by what that response
/// says: Vary does not match (RFC 9111 §4.1), or the response may not be reused without asking the
/// origin (§4).
fn check_follower(worker: &Worker, ctx: &RequestContext, result: &FlightResult) -> Option<FollowerStep> {
    let (selecting, facts) = match result {
        FlightResult::InProgress(fill) => (&fill.selecting, Some(&fill.facts)),
        FlightResult::Confirmed(entry) => (&entry.selecting, Some(&entry.facts)),
        // A stale entry may be served to every request that the origin fails.
        FlightResult::ServedStale(entry) => (&entry.selecting, None),
        FlightResult::Unchanged | FlightResult::Unshared(_) | FlightResult::Failed(_) => return None,
    };
    let names = || Some(selecting.iter().map(|(name, _)| name.clone()).collect());
    if !vary::matches(selecting, &ctx.headers) {
        return Some(FollowerStep::Retry(RetryHints { selecting_names: names(), ..RetryHints::default() }));
    }
    let facts = facts?;
    match (result, reuse::collapse(&ctx.facts, ctx.at, facts, worker.shared.clock.now(), &ctx.rule)) {
        (_, Collapse::Shared) => None,
        // The follower's own validation is another request, whose answer may update the entry
        // stored by now.
        (FlightResult::Confirmed(_), _) => Some(FollowerStep::Retry(RetryHints::default())),
        (_, Collapse::Outlived) => {
            Some(FollowerStep::RetryWithdrawn(RetryHints { selecting_names: names(), ..RetryHints::default() }))
        }
        (_, Collapse::Unshared(reason)) => Some(FollowerStep::PassThrough(reason)),
    }
}

/// Tells whether a purge after the fetch began forbids a follower the fetched response. A soft
/// purge does so only for a response that may not be used stale.
fn is_outdated(worker: &Worker, ctx: &RequestContext, fill: &Fill) -> bool {
    let purge_state = worker.shared.store.purge_state_of(&ctx.key, &fill.tags, fill.asked_at.sequence, ctx.at);
    reuse::is_barred(&fill.facts, purge_state)
}

fn purge_state(worker: &Worker, ctx: &RequestContext, entry: &StoredEntry) -> PurgeState {
    worker.shared.store.purge_state(&ctx.key, entry, ctx.at)
}

/// Runs policy again for a follower, whose request may forbid what the leader's allowed. Returns
/// why the response is not for the follower.
fn refusal_for_follower(ctx: &RequestContext, fill: &Fill) -> Option<Reason> {
    // A HEAD follows a GET, and gets the head of its response.
    let exchange = Exchange { method: &Method::GET, ..ctx.exchange(fill.asked_at.time, fill.facts.received_at) };
    match storable(&exchange, fill.status, &fill.leader_head().to_map(), false) {
        Storable::Yes(_) => None,
        Storable::No(reason) => Some(reason),
    }
}

fn in_progress_decision(ctx: &RequestContext, fill: &Fill, reason: Reason) -> Decision {
    Decision {
        stored: StoreOutcome::Started,
        fwd_status: Some(fill.status.as_u16()),
        ttl: Some(freshness::ttl(&fill.facts, fill.facts.received_at)),
        ..ctx.decision(Outcome::Miss, reason)
    }
}

fn revalidated_decision(worker: &Worker, ctx: &RequestContext, entry: &StoredEntry, reason: Reason) -> Decision {
    Decision {
        fwd_status: Some(StatusCode::NOT_MODIFIED.as_u16()),
        ttl: Some(freshness::ttl(&entry.facts, worker.shared.clock.now())),
        ..ctx.decision(Outcome::Revalidated, reason)
    }
}
