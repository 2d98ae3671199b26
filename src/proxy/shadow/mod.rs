//! Shadow mode: a request passes as if there were no cache, while Larder decides and counts what it
//! would have done.
//!
//! ```text
//! Plan::of       decide::look_up, decide::plan_fetch: the plan before the origin is asked
//! pass::send     the client's own request
//! Plan::judge    the origin's head: the would-be outcome, and what the tap does with the body
//! BodyTap        the body as it passes: kept, or compared with the kept one
//! ```
//!
//! Kept responses are in the same store, under keys that no request in live mode has
//! (`Rule::key_of`). So they are bounded, evicted, purged and invalidated as in live mode, and none
//! of them is served after a reload that changes the mode.
//!
//! Deliberately absent: rules. The functions that `serve` and `fetch` use decide.

mod advice;
mod plan;
mod report;
mod tap;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

pub(crate) use self::advice::Advice;
use self::plan::Plan;
#[cfg(test)]
pub(crate) use self::report::{CompareTotals, DifferingUrl, NonHitReport, ParameterReport, SuspectReport};
pub(crate) use self::report::{ShadowReport, ShadowTotals, report};
use self::tap::BodyTap;
use super::fetch::received::{AskedAt, OriginResponse};
use super::pass as passing;
use super::request::context::RequestContext;
use super::respond::body::Body;
use super::respond::{answer, rescue};
use super::state::Worker;
use crate::analytics::shadow::ObservedRequest;
use crate::outcome::{Decision, Outcome, Reason, StoreOutcome, WouldBeOutcome};

/// Passes a request that would have been looked up.
pub(crate) async fn pass(worker: Arc<Worker>, ctx: Arc<RequestContext>, request: Request<Incoming>) -> Response<Body> {
    let plan = Plan::of(&worker.shared, &ctx);
    let shared = &worker.shared;
    let asked_at = AskedAt { time: shared.clock.now(), sequence: shared.store.sequence() };
    let response = match passing::send(&worker, &ctx, request, &ctx.decision(Outcome::Pass, Reason::Shadow)).await {
        Ok(response) => response,
        Err(error) => {
            let would = plan.without_origin(shared, &ctx, &error);
            count(&worker, &ctx, would, None);
            return rescue::origin_failure(&worker, &ctx, &error);
        }
    };
    let OriginResponse { head, body } = OriginResponse::new(response, shared.clock.now());
    passing::record_size(&worker, &ctx, &head);
    let result = plan.judge(&worker, &ctx, &head, asked_at);
    let decision = Decision {
        stored: StoreOutcome::No(Reason::Shadow),
        fwd_status: Some(head.status.as_u16()),
        would: Some(result.would),
        ..ctx.decision(Outcome::Pass, Reason::Shadow)
    };
    let tap = BodyTap::new(&worker, &ctx, observation(&worker, &ctx, result.would), result.tap);
    let body = Body::from_origin_with_tap(body, Box::new(tap));
    // The response to a HEAD has no body.
    let body = if ctx.facts.is_head { Body::empty() } else { body };
    answer::from_origin_with(&worker, &ctx, head, body, decision)
}

/// Counts a request that passes in live mode too.
pub(crate) fn count_pass(worker: &Worker, ctx: &RequestContext, reason: Reason, length: Option<u64>) {
    count(worker, ctx, WouldBeOutcome::new(Outcome::Pass, reason), length);
}

fn count(worker: &Worker, ctx: &RequestContext, would: WouldBeOutcome, length: Option<u64>) {
    let observed = ObservedRequest { body_bytes: length.unwrap_or_default(), ..observation(worker, ctx, would) };
    worker.metrics.shadow(|tables| tables.record(ctx.key.url(), &observed));
}

/// Makes the record of a request once the head of its response is there.
fn observation(worker: &Worker, ctx: &RequestContext, would: WouldBeOutcome) -> ObservedRequest {
    let origin_micros = u64::try_from(ctx.started.elapsed().as_micros()).unwrap_or(u64::MAX);
    ObservedRequest { would, row: worker.metrics.row(ctx.rule.index), body_bytes: 0, origin_micros }
}
