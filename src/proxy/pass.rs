//! Requests that the origin answers for one client alone: other methods, uploads, upgrades, bypassed routes, cold ranges.
//!
//! Nothing is buffered: the upload streams up and the response streams down, each at the pace of its reader. What such a
//! response changes in the store (RFC 9111 §4.3.5, §4.4) is done here, before its head goes on.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;

use super::asked::Asked;
use super::forward::{self, AskFor};
use super::remember::Note;
use super::upload::Upload;
use super::{Body, Way, answer, confirm, decide, fill, pour, rescue, trace, tunnel};
use crate::clock::Timestamp;
use crate::key::CanonicalUrl;
use crate::origin::{self, ContentFailed, RequestBody, ResponseBody};
use crate::outcome::{Decision, Outcome, Reason, Stored};
use crate::policy::invalidate::{self, Groups};
use crate::policy::reuse::Failure;
use crate::policy::storable::{Storable, storable, storable_post};
use crate::route::{Mode, Rule};
use crate::store::{Kind, Selector};
use crate::stored::{Entry, Facts};

/// Passes `request` to the origin and its response back, or `stand_in` where that may replace an error of the origin's. It is
/// also what a HEAD may update.
///
/// # Errors
/// How the origin failed; making that a response is the caller's.
pub(super) async fn pass(
    way: &Arc<Way>,
    asked: &Arc<Asked>,
    mut request: Request<Incoming>,
    decision: Decision,
    stand_in: Option<&Arc<Entry>>,
) -> Result<Response<Body>, origin::Error> {
    let upgrade = (decision.reason == Reason::Upgrade).then(|| hyper::upgrade::on(&mut request));
    let (requested_at, sequence) = (way.shared.clock.now(), way.shared.store.sequence());
    let mut response = send(way, asked, request, &decision).await?;
    let received_at = way.shared.clock.now();
    if response.status().is_server_error()
        && let Some(stale) = rescue::stale(way, asked, Failure::ServerError, stand_in).await
    {
        return Ok(stale);
    }
    let stored = match decision.stored {
        Stored::No(reason) => Stored::No(reason),
        Stored::Begun | Stored::NothingTo => Stored::No(decision.reason),
    };
    let decision = Decision { stored, fwd_status: Some(response.status().as_u16()), ..decision };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        if let Some(client) = upgrade {
            let permit = response.body_mut().take_permit();
            tunnel::open(client, hyper::upgrade::on(&mut response), permit, way.shared.config.tunnel);
        }
        return Ok(answer::switched(way, asked, response, decision));
    }
    let own_purges = invalidate_changed(way, asked, &response);
    note_size(way, asked, &response);
    let exchange = asked.exchange(requested_at, received_at);
    let head = (response.status(), response.headers());
    if asked.method == Method::HEAD
        && let Some(selected) = stand_in
        && let Some(entry) = confirm::by_head(way, asked, selected, &exchange, head, sequence)
        && let Ok(response) = answer::stored(way, asked, &entry, decision)
    {
        return Ok(response);
    }
    if matches!(decision.reason, Reason::HitForMiss | Reason::RangeMiss)
        && let Storable::Yes(facts) =
            storable(&exchange, response.status(), response.headers(), response.body().is_unsized())
    {
        let length = http_body::Body::size_hint(response.body()).exact();
        match decision.reason {
            Reason::HitForMiss => {
                forget_if_stored_again(way, asked, &facts, (response.status(), response.headers()), length);
            }
            // The origin knows no ranges: the next time the whole is fetched for the store.
            _ if response.status() == StatusCode::OK => note_whole(way, asked, length),
            _ => {}
        }
    }
    // What shadow mode passes goes on as it came.
    let is_served = asked.rule.mode == Mode::Serve;
    if is_served && asked.method == Method::POST && way.shared.store.sequence() == sequence + own_purges {
        return Ok(post_answer(way, asked, response, decision, (requested_at, sequence + own_purges)));
    }
    Ok(answer::passed(way, asked, response, decision))
}

pub(super) async fn send(
    way: &Way,
    asked: &Asked,
    request: Request<Incoming>,
    decision: &Decision,
) -> Result<Response<ResponseBody>, origin::Error> {
    // A range is cut from the coding that is stored, so that a later answer from the store fits it; and a HEAD that was
    // looked up is held against what is stored (RFC 9111 §4.3.5), whose entity-tag is that of its coding.
    let is_held_against_stored = asked.facts.is_head && decision.outcome == Outcome::Miss;
    let is_identity = decision.reason == Reason::RangeMiss || is_held_against_stored;
    let coding = if is_identity { AskFor::Identity } else { AskFor::ClientsChoice };
    let mut headers = forward::head(&way.shared.config, asked, coding);
    if decision.reason == Reason::Upgrade
        && let Some(protocols) = &asked.upgrade
    {
        headers.insert(header::UPGRADE, protocols.clone());
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    let (mut parts, body) = request.into_parts();
    let upload = upload(asked, &mut parts, body, way.shared.config.request_body_max).await?;
    let permit = trace::permit(way, asked).await?;
    let asking = trace::Asking::new(way, asked, &mut headers);
    let response = way.origin.send(forward::request(asked, headers, upload), permit, forward::on_interim(asked)).await;
    asking.came_to(&response);
    response
}

/// Answers a POST. Where the response says that it is what a GET of the same URL gets, it is stored as that on its way
/// (RFC 9110 §9.3.3).
fn post_answer(
    way: &Arc<Way>,
    asked: &Arc<Asked>,
    response: Response<ResponseBody>,
    decision: Decision,
    (requested_at, sequence): (Timestamp, u64),
) -> Response<Body> {
    let shared = &way.shared;
    let url = asked.key.to_url();
    let exchange = asked.exchange(requested_at, shared.clock.now());
    let (mut parts, body) = response.into_parts();
    // It came in a coding that this client accepts, where what a GET brings in is asked for in identity.
    let is_coded = shared.config.ask_identity && parts.headers.contains_key(header::CONTENT_ENCODING);
    let facts = match storable_post(&exchange, &url, parts.status, &parts.headers, body.is_unsized()) {
        Storable::Yes(facts)
            if !is_coded && decide::kept_out(&way.shared, asked, &facts, (parts.status, &parts.headers)).is_none() =>
        {
            facts
        }
        Storable::Yes(_) | Storable::No(_) => {
            return answer::passed(way, asked, Response::from_parts(parts, body), decision);
        }
    };
    let as_get = Arc::new(asked.as_get(shared));
    // From here on an invalidation is recorded, since something may be on its way.
    let lead = shared.flights.alone();
    match fill::prepare(way, &as_get, (&mut parts, &body), facts, (requested_at, sequence)) {
        Err(_) => answer::passed(way, asked, Response::from_parts(parts, body), decision),
        Ok(fill) => {
            let decision = Decision { stored: Stored::Begun, ..decision };
            let begun = fill::begin(&fill, parts.headers);
            let Some(response) = answer::filling(way, asked, &fill, decision, begun) else {
                return rescue::panicked(way, asked);
            };
            let way = Arc::clone(way);
            tokio::spawn(async move { pour::pour(&way, lead, &as_get, &fill, body).await });
            response
        }
    }
}

/// Invalidates what an unsafe request changed: URLs (RFC 9111 §4.4), and groups (RFC 9875 §3). Returns how many records that took.
fn invalidate_changed(way: &Way, asked: &Asked, response: &Response<ResponseBody>) -> u64 {
    let shared = &way.shared;
    let mut records = 0;
    for target in invalidate::targets(&asked.method, &asked.key.to_url(), response.status(), response.headers()) {
        let rule = shared.routes.choose(&Method::GET, &target);
        let target = rule.query.apply(target);
        if may_be_held(way, rule, &target) {
            shared.store.purge(Selector::Url(target.as_str().into()), Kind::Validate);
            records += 1;
        }
    }
    let url = asked.key.to_url();
    let selectors = match invalidate::groups(&asked.method, response.status(), response.headers()) {
        Groups::Named(groups) => groups.iter().map(|group| Selector::group(&url, group)).collect(),
        Groups::All => vec![Selector::origin(&url)],
    };
    for selector in selectors {
        shared.store.purge(selector, Kind::Validate);
        records += 1;
    }
    records
}

/// Remembers the size that a range tells, so that a small representation is fetched whole next time.
pub(super) fn note_size(way: &Way, asked: &Asked, response: &Response<ResponseBody>) {
    if response.status() == StatusCode::PARTIAL_CONTENT
        && let Some(size) = response.headers().get(header::CONTENT_RANGE).and_then(complete_length)
    {
        note_whole(way, asked, Some(size));
    }
}

/// Forgets that a key's responses could not be stored, where this one could have been: requests for it are fetched together
/// again. Where the last one was too large, a length that is not known says nothing.
pub(super) fn forget_if_stored_again(
    way: &Way,
    asked: &Asked,
    facts: &Facts,
    (status, headers): (StatusCode, &HeaderMap),
    length: Option<u64>,
) {
    let memories = &way.shared.memories;
    let was_too_large = memories.get(asked.key.hash(), asked.at) == Some(Note::NotStored(Reason::TooLarge));
    let may_fit = length.is_some() || !was_too_large;
    if may_fit
        && decide::kept_out(&way.shared, asked, facts, (status, headers)).is_none()
        && decide::keeping(&way.shared, &asked.rule, headers, length).is_ok()
    {
        memories.forget(asked.key.hash());
    }
}

fn note_whole(way: &Way, asked: &Asked, length: Option<u64>) {
    let until = asked.at + way.shared.config.hit_for_miss;
    length.into_iter().for_each(|bytes| way.shared.memories.put(asked.key.hash(), Note::Size(bytes), until));
}

/// Tells whether anything under a URL may be stored or on its way: what is not need not be recorded, so that a flood of
/// unsafe requests does not spend the ledger.
fn may_be_held(way: &Way, rule: &Rule, url: &CanonicalUrl) -> bool {
    let shared = &way.shared;
    if !rule.key_headers.is_empty() || !rule.key_cookies.is_empty() || !shared.flights.is_empty() {
        return true;
    }
    shared.store.get(&rule.key_of(&shared.hasher, url.clone(), &HeaderMap::new())).is_some()
}

/// Returns the complete length of `bytes a-b/length`.
pub(super) fn complete_length(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.strip_prefix("bytes ")?.rsplit_once('/')?.1.parse().ok()
}

/// Makes the upload's body, which fails where it becomes larger than `bytes_max`.
///
/// # Errors
/// Content that comes where there is to be none: against a length of zero (RFC 9113 §8.1.1), or where none is allowed. With that
/// length the origin would have had the whole request with its head.
async fn upload(
    asked: &Asked,
    parts: &mut Parts,
    body: Incoming,
    bytes_max: u64,
) -> Result<RequestBody, origin::Error> {
    let nothing = || http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync();
    if http_body::Body::is_end_stream(&body) {
        return Ok(nothing());
    }
    let mut counted = Upload::new(body, &mut parts.extensions);
    let length = asked.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if length == Some(0_u64) || bytes_max == 0 {
        while let Some(frame) = counted.frame().await {
            if !frame.is_ok_and(|frame| frame.data_ref().is_none_or(bytes::Bytes::is_empty)) {
                let (reason, detail) = match length {
                    Some(0) => (Reason::BadRequest, "content beyond its length"),
                    _ => (Reason::RequestTooLarge, "content where there is to be none (`request_body_max`)"),
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
