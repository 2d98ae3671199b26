//! Passes requests that the origin answers for one client alone: other methods, uploads, upgrades,
//! bypassed routes, ranges of bodies that are not stored.
//!
//! Nothing is buffered: the upload streams up and the response streams down, each at the pace of
//! its reader. The store is updated here as such a response requires (RFC 9111 §4.3.5, §4.4),
//! before its head goes on to the client.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::decide::PassThrough;
use super::fetch::received::{AskedAt, OriginResponse, ReceivedHead};
use super::fetch::uncacheable::StoreAttempt;
use super::fetch::{confirm, leader, receive};
use super::request::context::RequestContext;
use super::request::forward::{self, AskFor};
use super::request::upload::Upload;
use super::respond::body::Body;
use super::respond::{answer, rescue, stale, tunnel};
use super::sharing::stored_cookies;
use super::state::Worker;
use super::{decide, trace};
use crate::key::CanonicalUrl;
use crate::origin::{self, ContentFailed, RequestBody, ResponseBody};
use crate::outcome::{Decision, Outcome, Reason, StoreOutcome};
use crate::policy::invalidate::{self, Groups};
use crate::policy::reuse::OriginFailure;
use crate::policy::storable::{Exchange, Storable, storable, storable_post};
use crate::route::{RouteMode, Rule};
use crate::store::{PurgeKind, Selector};
use crate::stored::Facts;

/// Passes `request` to the origin and its response back. The stand-in is served instead of a server
/// error if it may be, and is the entry that a HEAD may update.
///
/// # Errors
/// How the origin failed; the caller makes that a response.
pub(crate) async fn pass(
    worker: &Arc<Worker>,
    ctx: &Arc<RequestContext>,
    mut request: Request<Incoming>,
    PassThrough { decision, stand_in }: &PassThrough,
) -> Result<Response<Body>, origin::Error> {
    let shared = &worker.shared;
    let upgrade = (decision.reason == Reason::Upgrade).then(|| hyper::upgrade::on(&mut request));
    let asked_at = AskedAt { time: shared.clock.now(), sequence: shared.store.sequence() };
    let mut response = send(worker, ctx, request, decision).await?;
    let received_at = shared.clock.now();
    if response.status().is_server_error()
        && let Some(stale) = stale::stale_response(worker, ctx, OriginFailure::ServerError, stand_in.as_ref()).await
    {
        return Ok(stale);
    }
    let stored = match decision.stored {
        StoreOutcome::No(reason) => StoreOutcome::No(reason),
        StoreOutcome::Started | StoreOutcome::NothingTo => StoreOutcome::No(decision.reason),
    };
    let decision = Decision { stored, fwd_status: Some(response.status().as_u16()), ..*decision };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(client) = upgrade {
            let permit = response.body_mut().take_permit();
            tunnel::open(client, hyper::upgrade::on(&mut response), permit, shared.config.tunnel);
        }
        return Ok(answer::from_switch(worker, ctx, response, decision));
    }
    let response = OriginResponse::new(response, received_at);
    let head = &response.head;
    let own_purges = invalidate_changed(worker, ctx, head);
    record_size(worker, ctx, head);
    if ctx.method == Method::HEAD
        && let Some(selected) = stand_in
        && let Some(entry) = confirm::by_head(worker, ctx, selected, head, asked_at)
        && let Ok(response) = answer::from_store(worker, ctx, &entry, decision)
    {
        return Ok(response);
    }
    let exchange = ctx.exchange(asked_at.time, head.received_at);
    if matches!(decision.reason, Reason::HitForMiss | Reason::RangeMiss)
        && let Storable::Yes(facts) = storable(&exchange, head.status, &head.headers, head.is_unsized)
    {
        match decision.reason {
            Reason::HitForMiss => forget_if_stored_again(worker, ctx, &facts, head),
            // The origin does not support ranges: next time the whole body is fetched for the
            // store.
            _ if head.status == StatusCode::OK => record_whole(worker, ctx, head.length),
            _ => {}
        }
    }
    // In shadow mode the response passes unchanged.
    let is_served = ctx.rule.mode == RouteMode::Serve;
    let sequence = asked_at.sequence + own_purges;
    if is_served && ctx.method == Method::POST && shared.store.sequence() == sequence {
        return Ok(post_answer(worker, ctx, response, decision, AskedAt { sequence, ..asked_at }));
    }
    Ok(answer::from_origin(worker, ctx, response, decision))
}

/// Sends the client's own request to the origin.
pub(crate) async fn send(
    worker: &Worker,
    ctx: &RequestContext,
    request: Request<Incoming>,
    decision: &Decision,
) -> Result<Response<ResponseBody>, origin::Error> {
    // A range is cut from the identity coding, the one that is stored, so that a later answer from
    // the store fits it. A HEAD that was looked up may update the stored response (RFC 9111
    // §4.3.5), whose entity-tag belongs to that coding too.
    let is_held_against_stored = ctx.facts.is_head && decision.outcome == Outcome::Miss;
    let is_identity = decision.reason == Reason::RangeMiss || is_held_against_stored;
    let coding = if is_identity { AskFor::Identity } else { AskFor::ClientsChoice };
    let mut headers = forward::head(&worker.shared.config, ctx, coding);
    if decision.reason == Reason::Upgrade
        && let Some(protocols) = &ctx.upgrade
    {
        headers.insert(header::UPGRADE, protocols.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let (mut parts, body) = request.into_parts();
    let upload = upload(ctx, &mut parts, body, worker.shared.config.request_body_max).await?;
    let permit = trace::permit(worker, ctx).await?;
    let asking = trace::OriginSpan::new(worker, ctx, &mut headers);
    let response = worker.origin.send(forward::request(ctx, headers, upload), permit, forward::on_interim(ctx)).await;
    asking.finish(&response);
    response
}

/// Answers a POST. A response that says that it equals the response to a GET of the same URL is
/// stored as that while it passes (RFC 9110 §9.3.3).
fn post_answer(
    worker: &Arc<Worker>,
    ctx: &Arc<RequestContext>,
    response: OriginResponse,
    decision: Decision,
    asked_at: AskedAt,
) -> Response<Body> {
    let shared = &worker.shared;
    let url = ctx.key.to_url();
    // The response is what a GET gets, so the route of a GET decides about it.
    let as_get = Arc::new(ctx.as_get(shared));
    let OriginResponse { mut head, body } = response;
    let exchange = Exchange { rule: &as_get.rule, ..ctx.exchange(asked_at.time, head.received_at) };
    // The response is in a coding that this client accepts, while a GET asks the origin for
    // identity.
    let is_coded = shared.config.ask_identity && head.headers.contains_key(header::CONTENT_ENCODING);
    let facts = match storable_post(&exchange, &url, head.status, &head.headers, head.is_unsized) {
        Storable::Yes(facts) if !is_coded && decide::storage_refusal(shared, ctx, &facts, &head).is_none() => facts,
        Storable::Yes(_) | Storable::No(_) => {
            return answer::from_origin(worker, ctx, OriginResponse { head, body }, decision);
        }
    };
    // From here on an invalidation is recorded in the ledger, since a response may be on its way to
    // the store.
    let lead = shared.flights.unlisted();
    match leader::prepare(worker, &as_get, &mut head, facts, asked_at) {
        Err(_) => answer::from_origin(worker, ctx, OriginResponse { head, body }, decision),
        Ok(fill) => {
            stored_cookies::note(worker, &as_get, &fill.head);
            let decision = Decision { stored: StoreOutcome::Started, ..decision };
            let leader_body = leader::leader_body(&fill, head.headers);
            let Some(response) = answer::from_fill(worker, ctx, &fill, decision, leader_body) else {
                return rescue::task_failure(worker, ctx);
            };
            let worker = Arc::clone(worker);
            tokio::spawn(async move { receive::receive(&worker, lead, &as_get, &fill, body).await });
            response
        }
    }
}

/// Invalidates what an unsafe request changed: URLs (RFC 9111 §4.4) and groups (RFC 9875 §3).
/// Returns how many ledger records that took.
fn invalidate_changed(worker: &Worker, ctx: &RequestContext, head: &ReceivedHead) -> u64 {
    let shared = &worker.shared;
    let mut records = 0;
    for target in invalidate::targets(&ctx.method, &ctx.key.to_url(), head.status, &head.headers) {
        let rule = shared.routes.choose(&Method::GET, &target);
        let target = rule.query.apply(target);
        if may_be_held(worker, rule, &target) {
            shared.store.purge(Selector::Url(target.as_str().into()), PurgeKind::Validate);
            records += 1;
        }
    }
    let url = ctx.key.to_url();
    let selectors = match invalidate::groups(&ctx.method, head.status, &head.headers) {
        Groups::Named(groups) => groups.iter().map(|group| Selector::group(&url, group)).collect(),
        Groups::All => vec![Selector::origin(&url)],
    };
    for selector in selectors {
        shared.store.purge(selector, PurgeKind::Validate);
        records += 1;
    }
    records
}

/// Remembers the size that a Content-Range names, so that a small representation is fetched whole
/// next time.
pub(crate) fn record_size(worker: &Worker, ctx: &RequestContext, head: &ReceivedHead) {
    if head.status == StatusCode::PARTIAL_CONTENT
        && let Some(size) = head.headers.get(header::CONTENT_RANGE).and_then(complete_length)
    {
        record_whole(worker, ctx, Some(size));
    }
}

/// Forgets that a key is uncacheable if this response could have been stored: requests for the key
/// join one flight again. If the last one was too large, an unknown length says nothing.
pub(crate) fn forget_if_stored_again(worker: &Worker, ctx: &RequestContext, facts: &Facts, head: &ReceivedHead) {
    let keys = &worker.shared.uncacheable;
    let was_too_large = keys.get(ctx.key.hash(), ctx.at) == Some(StoreAttempt::NotStored(Reason::TooLarge));
    let may_fit = head.length.is_some() || !was_too_large;
    if may_fit
        && decide::storage_refusal(&worker.shared, ctx, facts, head).is_none()
        && decide::plan_storage(&worker.shared, &ctx.rule, head).is_ok()
    {
        keys.forget(ctx.key.hash());
    }
}

fn record_whole(worker: &Worker, ctx: &RequestContext, length: Option<u64>) {
    let until = ctx.at + worker.shared.config.hit_for_miss;
    length
        .into_iter()
        .for_each(|bytes| worker.shared.uncacheable.put(ctx.key.hash(), StoreAttempt::Size(bytes), until));
}

/// Tells whether anything under a URL may be stored or on its way to the store. Otherwise the
/// invalidation is not recorded, so that a flood of unsafe requests does not use up the ledger.
fn may_be_held(worker: &Worker, rule: &Rule, url: &CanonicalUrl) -> bool {
    let shared = &worker.shared;
    if !rule.key_headers.is_empty() || !rule.key_cookies.is_empty() || !shared.flights.is_empty() {
        return true;
    }
    shared.store.get(&rule.key_of(&shared.hasher, url.clone(), &HeaderMap::new())).is_some()
}

/// Returns the complete length of `bytes a-b/length`.
pub(crate) fn complete_length(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.strip_prefix("bytes ")?.rsplit_once('/')?.1.parse().ok()
}

/// Makes the upload's body, which fails once it exceeds `bytes_max`.
///
/// # Errors
/// Content although the length is zero (RFC 9113 §8.1.1) or no content is allowed. With a length of
/// zero, the origin would have taken the head for the whole request.
async fn upload(
    ctx: &RequestContext,
    parts: &mut Parts,
    body: Incoming,
    bytes_max: u64,
) -> Result<RequestBody, origin::Error> {
    let nothing = || http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
    if http_body::Body::is_end_stream(&body) {
        return Ok(nothing());
    }
    let mut counted = Upload::new(body, &mut parts.extensions);
    let length = ctx.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length == Some(0_u64) || bytes_max == 0 {
        while let Some(frame) = counted.frame().await {
            if !frame.is_ok_and(|frame| frame.data_ref().is_none_or(bytes::Bytes::is_empty)) {
                let (reason, detail) = match length {
                    Some(0) => (Reason::BadRequest, "content beyond its length"),
                    _ => (Reason::RequestTooLarge, "content although none is allowed (`request_body_max`)"),
                };
                return Err(origin::Error { reason, detail: detail.into(), was_sent: false, retry_after: None });
            }
        }
        return Ok(nothing());
    }
    let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
    let limited = Limited::new(counted, bytes_max).map_err(|error| match error.is::<LengthLimitError>() {
        true => ContentFailed(Reason::RequestTooLarge).into(),
        false => error,
    });
    Ok(limited.boxed_unsync())
}
