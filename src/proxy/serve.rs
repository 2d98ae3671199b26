//! **The path of a request**, as one chain of decisions to read first:
//!
//! ```text
//! request    canonical target ► route ► classify ► key    or refused, or passed, or a purge
//! decide     store ► ledger ► policy::reuse ► sharing     Usable | OnProbation | Missing |
//!                                                         PassThrough | OnlyIfCached
//! shadow     shadow mode: the request passes, and the decision about it is only counted
//! fetch      one flight per key ► origin ► policy::storable ► store
//! collapse   who may use a flight's result: the leader's client, followers, or look again
//! sharing    one flight per body on probation ► origin ► shared, or dropped
//! pass       the origin answers this one request, past the store
//! respond    preconditions ► range ► coding ► head
//! record     the Decision at the head, the ResponseEnd at the body's end
//! ```

use std::pin::Pin;
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::collapse::{self, FollowerStep, RetryHints};
use super::decide::{self, CacheMiss, FetchPlan, LookupResult, PassThrough, UsableEntry};
use super::fetch::coalesce::FlightRole;
use super::fetch::flight::FlightResult;
use super::fetch::leader;
use super::request::context::{Action, RequestContext};
use super::respond::body::Body;
use super::respond::{answer, encode, rescue, stale};
use super::sharing::compare;
use super::state::{Peer, Worker};
use super::step::FetchStep;
use super::{pass, purge, shadow, trace};
use crate::clock::Timestamp;
use crate::outcome::{Decision, Outcome, Reason, StoreOutcome};
use crate::policy::reuse::OriginFailure;
use crate::route::RouteMode;

/// How many rounds a request looks into the store, after flights whose result was not for it,
/// before it goes to the origin on its own.
const ROUNDS_MAX: usize = 4;

/// A response, now or later.
pub enum Answer<B = Body> {
    /// A response that needs no await and no box: a hit.
    Now(Response<B>),
    /// A response that has to be waited for: everything but a hit.
    Later(Pin<Box<dyn Future<Output = Response<B>> + Send>>),
}

/// Answers a request: at once if the store can, else later.
pub fn serve(worker: &Arc<Worker>, peer: &Peer, request: Request<Incoming>) -> Answer {
    let (ctx, action, request) = match RequestContext::read(&worker.shared, peer, request) {
        Ok(read) => read,
        Err(refusal) => return Answer::Now(rescue::early_response(worker, peer.addr.ip().to_canonical(), &refusal)),
    };
    match action {
        Action::LookUp if ctx.rule.mode == RouteMode::Shadow => {
            return answer_later(worker, ctx, |worker, ctx| shadow::pass(worker, ctx, request));
        }
        Action::LookUp => {}
        Action::Pass(reason) => {
            return answer_later(worker, ctx, |worker, ctx| pass_request(worker, ctx, request, reason));
        }
        Action::Purge => return Answer::Now(purge::answer(worker, &ctx)),
    }
    match look_up(worker, &ctx, ctx.at) {
        LookupResult::Usable(usable) => match answer::from_store(worker, &ctx, &usable.entry, usable.decision) {
            Ok(response) => {
                run_background_work(worker, ctx, usable);
                Answer::Now(response)
            }
            Err(coding) => answer_later(worker, ctx, |worker, ctx| async move {
                let response = encode::answer_in(&worker, &ctx, &usable.entry, usable.decision, coding).await;
                run_background_work(&worker, ctx, usable);
                response
            }),
        },
        LookupResult::OnlyIfCached => Answer::Now(only_if_cached(worker, &ctx)),
        lookup => {
            let request = Box::new(request);
            answer_later(worker, ctx, |worker, ctx| ask_origin(worker, ctx, request, lookup))
        }
    }
}

/// Makes an answer that has to be waited for. A sampled request gets a span even if its client
/// leaves before there is a response.
fn answer_later<F>(
    worker: &Arc<Worker>,
    ctx: Arc<RequestContext>,
    answer: impl FnOnce(Arc<Worker>, Arc<RequestContext>) -> F,
) -> Answer
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let unanswered = trace::AbandonedSpan::new(&worker.shared, &ctx);
    let answer = answer(Arc::clone(worker), ctx);
    if unanswered.is_nothing() {
        return Answer::Later(Box::pin(answer));
    }
    Answer::Later(Box::pin(async move {
        let response = answer.await;
        unanswered.discard();
        response
    }))
}

/// Looks into the store, under a span of its own.
fn look_up(worker: &Worker, ctx: &RequestContext, now: Timestamp) -> LookupResult {
    let looking = trace::look_up(&worker.shared, ctx);
    let lookup = decide::look_up(&worker.shared, ctx, now);
    looking.set_result(match &lookup {
        LookupResult::Usable(usable) => usable.decision.reason.token(),
        LookupResult::OnProbation(_) => Reason::Probation.token(),
        LookupResult::Missing(missing) => missing.reason.token(),
        LookupResult::PassThrough(reason, _) => reason.token(),
        LookupResult::OnlyIfCached => Reason::OnlyIfCached.token(),
    });
    lookup
}

/// Does what a hit leaves for the background: a refresh, a check with the origin, or compressing an
/// entry on its second use.
fn run_background_work(worker: &Arc<Worker>, ctx: Arc<RequestContext>, usable: UsableEntry) {
    encode::compress_on_first_use(worker, &ctx, &usable.entry);
    if usable.is_watched {
        compare::check(worker, &ctx, &usable.entry);
    }
    if usable.refresh {
        let stored = worker.shared.store.get(&ctx.key);
        let name = decide::flight_name(&ctx, &decide::vary_of(stored.as_deref()));
        // No client waits for a refresh, so it takes a spare permit, or leaves the refresh to a
        // later request.
        let Some(permit) = worker.origin.permits().spare() else { return };
        if let FlightRole::Leader(lead) = worker.shared.flights.join(name) {
            // No client is there to receive interim responses, and a HEAD refreshes what a GET
            // gets.
            let ctx = Arc::new(ctx.as_get(&worker.shared));
            let job = leader::FetchJob { ctx, stored, selected: Some(usable.entry), permit: Some(permit) };
            worker.metrics.record_refresh();
            leader::start(worker, lead, job);
        }
    }
}

/// Passes a request that is not looked up.
async fn pass_request(
    worker: Arc<Worker>,
    ctx: Arc<RequestContext>,
    request: Request<Incoming>,
    reason: Reason,
) -> Response<Body> {
    let how = PassThrough { decision: ctx.decision(Outcome::Pass, reason), stand_in: None };
    let response = pass_through(&worker, &ctx, request, &how).await;
    if ctx.rule.mode == RouteMode::Shadow {
        shadow::count_pass(&worker, &ctx, reason, response.body().length());
    }
    response
}

/// Asks the origin for what the store does not have, or has on probation, together with other
/// requests for the same.
///
/// Rare branches are boxed, so that the future of a plain miss stays small: it is copied several
/// times.
async fn ask_origin(
    worker: Arc<Worker>,
    ctx: Arc<RequestContext>,
    request: Box<Request<Incoming>>,
    mut lookup: LookupResult,
) -> Response<Body> {
    let mut round = 1;
    let mut hints = RetryHints::default();
    loop {
        let step = match lookup {
            LookupResult::Usable(usable) => return Box::pin(answer_after_wait(&worker, &ctx, usable)).await,
            LookupResult::OnlyIfCached => return only_if_cached(&worker, &ctx),
            LookupResult::PassThrough(reason, stand_in) => {
                FetchStep::PassThrough(PassThrough { decision: ctx.decision(Outcome::Pass, reason), stand_in })
            }
            LookupResult::OnProbation(entry) => Box::pin(compare::compare(&worker, &ctx, entry)).await,
            LookupResult::Missing(missing) => fetch(&worker, &ctx, missing, &mut hints).await,
        };
        match step {
            FetchStep::Response(response) => return *response,
            FetchStep::Retry(_) if round < ROUNDS_MAX => {
                round += 1;
                lookup = look_up(&worker, &ctx, worker.shared.clock.now());
            }
            FetchStep::Retry(how) | FetchStep::PassThrough(how) => {
                return Box::pin(pass_through(&worker, &ctx, *request, &how)).await;
            }
        }
    }
}

/// Fetches what the store does not have, as the leader of a flight or as a follower.
async fn fetch(
    worker: &Arc<Worker>,
    ctx: &Arc<RequestContext>,
    missing: CacheMiss,
    hints: &mut RetryHints,
) -> FetchStep {
    let decision = ctx.decision(Outcome::Miss, missing.reason);
    let pass = |decision| FetchStep::PassThrough(PassThrough { decision, stand_in: missing.selected.clone() });
    let joined = match decide::plan_fetch(&worker.shared, ctx, &missing, hints.selecting_names.take()) {
        FetchPlan::PassThrough(decision) => return pass(decision),
        FetchPlan::Join(name) => worker.shared.flights.join(name),
        FetchPlan::Unshared => FlightRole::Leader(worker.shared.flights.unlisted()),
    };
    let again = || FetchStep::Retry(PassThrough { decision, stand_in: missing.selected.clone() });
    let follow = match joined {
        FlightRole::Follower(follow) => follow,
        FlightRole::Leader(lead) => {
            // A flight may have finished between the look-up and here: then the store has its
            // response.
            let missing = if worker.shared.flights.departures() == missing.departures {
                missing
            } else {
                match look_up(worker, ctx, worker.shared.clock.now()) {
                    LookupResult::Missing(missing) => missing,
                    _ => return again(),
                }
            };
            let leading = match (ctx.facts.is_head, hints.asks_whole) {
                (true, _) => Arc::new(ctx.as_get(&worker.shared)),
                (false, true) => Arc::new(ctx.unconditional()),
                (false, false) => Arc::clone(ctx),
            };
            let job =
                leader::FetchJob { ctx: leading, stored: missing.stored, selected: missing.selected, permit: None };
            let leader_response = leader::lead(worker, lead, job).await;
            return FetchStep::Response(collapse::answer_leader(worker, ctx, leader_response, missing.reason).await);
        }
    };
    let waiting = trace::wait_for_flight(&worker.shared, ctx);
    let result = timeout(worker.shared.config.flight_timeout, follow.result()).await;
    drop(waiting);
    let Ok(result) = result else { return pass(decision) };
    let Some(result) = result else { return again() };
    // One malformed request that the app cannot handle must not fail everyone who asks for the
    // same, nor send each of them to the origin alone: another request leads, once.
    let is_request_specific = match &result {
        FlightResult::Failed(error) => error.was_aborted(),
        FlightResult::Unshared(reason) => *reason == Reason::StatusNotUnderstood,
        _ => false,
    };
    if is_request_specific && !hints.leader_failed {
        hints.leader_failed = true;
        worker.shared.flights.withdraw(&follow);
        return again();
    }
    match Box::pin(collapse::answer_follower(worker, ctx, result, missing.reason)).await {
        FollowerStep::Response(response) => FetchStep::Response(response),
        FollowerStep::Retry(new_hints) => {
            *hints = RetryHints { leader_failed: hints.leader_failed, ..new_hints };
            again()
        }
        FollowerStep::RetryWithdrawn(new_hints) => {
            worker.shared.flights.withdraw(&follow);
            *hints = RetryHints { leader_failed: hints.leader_failed, ..new_hints };
            again()
        }
        FollowerStep::Outdated => {
            worker.shared.flights.withdraw(&follow);
            let decision = Decision { stored: StoreOutcome::No(Reason::InvalidatedMeanwhile), ..decision };
            FetchStep::Retry(PassThrough { decision, stand_in: missing.selected.clone() })
        }
        FollowerStep::PassThrough(reason) => pass(Decision { stored: StoreOutcome::No(reason), ..decision }),
    }
}

/// Passes this one request to the origin.
async fn pass_through(
    worker: &Arc<Worker>,
    ctx: &Arc<RequestContext>,
    request: Request<Incoming>,
    how: &PassThrough,
) -> Response<Body> {
    let error = match pass::pass(worker, ctx, request, how).await {
        Ok(response) => return response,
        Err(error) => error,
    };
    match stale::stale_response(worker, ctx, OriginFailure::Unreachable, how.stand_in.as_ref()).await {
        Some(response) => response,
        None => rescue::origin_failure(worker, ctx, &error),
    }
}

/// Answers an only-if-cached request for which the store has no suitable response.
fn only_if_cached(worker: &Worker, ctx: &RequestContext) -> Response<Body> {
    rescue::refusal(worker, ctx, StatusCode::GATEWAY_TIMEOUT, Reason::OnlyIfCached)
}

/// Answers from the store after a wait.
async fn answer_after_wait(worker: &Arc<Worker>, ctx: &RequestContext, usable: UsableEntry) -> Response<Body> {
    if usable.is_watched {
        compare::check(worker, ctx, &usable.entry);
    }
    let decision = Decision { collapsed: true, ..usable.decision };
    encode::answer_stored(worker, ctx, &usable.entry, decision).await
}
