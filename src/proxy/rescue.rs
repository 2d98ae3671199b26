//! The one place where failures and refusals become responses: `Proxy-Status` (RFC 9209) where the origin failed,
//! `Cache-Status` always, and a sentence for whoever reads the body.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::asked::{Asked, Refusal};
use super::body::Observer;
use super::log::Logged;
use super::{Body, Shared, Way, decide, recode};
use crate::origin;
use crate::outcome::{End, Ending, Outcome, Reason};
use crate::policy::reuse::Failure;
use crate::respond::head;
use crate::stored::Entry;

/// How long a client that was turned away for want of permits should wait, in seconds.
const RETRY_AFTER: &str = "1";

/// What the origin allows only it could say (RFC 9110 §10.2.1); these are refused by nobody here.
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Answers with `stand_in` where it may be used stale for this failure.
pub(super) async fn stale(
    way: &Arc<Way>,
    asked: &Asked,
    failure: Failure,
    stand_in: Option<&Arc<Entry>>,
) -> Option<Response<Body>> {
    let entry = decide::standing_in(&way.shared, asked, stand_in, failure, way.shared.clock.now())?;
    Some(recode::stored(way, asked, entry, decide::stood_in(&way.shared, asked, entry)).await)
}

/// Answers for an origin that failed and that nothing stands in for.
pub(super) fn failed(way: &Way, asked: &Asked, error: &origin::Error) -> Response<Body> {
    let status = status_of(error.reason);
    tracing::debug!(url = asked.key.url(), %error, "the origin failed");
    let is_clients = matches!(error.reason, Reason::RequestTooLarge | Reason::BadRequest);
    let outcome = if is_clients { Outcome::Refused } else { Outcome::Failed };
    let decision = asked.decision(outcome, error.reason);
    let mut response = page(way, status, error.reason);
    if let Some(after) = error.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64));
    }
    if outcome == Outcome::Failed {
        response.headers_mut().insert("proxy-status", head::proxy_status(error.reason, &error.detail));
    }
    way.finish(asked, decision, response)
}

/// Returns the status that a failure of the origin is told with.
pub(super) fn status_of(failure: Reason) -> StatusCode {
    match failure {
        // RFC 9209 §2.3.2: who knows that the origin is away recommends to come back.
        Reason::Overloaded | Reason::DestinationUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::ConnectionTimeout | Reason::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        // The request's content is malformed, or broke off.
        Reason::BadRequest => StatusCode::BAD_REQUEST,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Answers a request that was read but is not to be served from the store or the origin.
pub(super) fn refused(way: &Way, asked: &Asked, status: StatusCode, reason: Reason) -> Response<Body> {
    way.finish(asked, asked.decision(Outcome::Refused, reason), page(way, status, reason))
}

/// Answers a PURGE where nobody may send one.
pub(super) fn method_not_allowed(way: &Way, asked: &Asked) -> Response<Body> {
    let mut response = refused(way, asked, StatusCode::METHOD_NOT_ALLOWED, Reason::MethodRefused);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    response
}

/// Answers a request that a task of ours failed on; the process goes on.
pub(super) fn panicked(way: &Way, asked: &Asked) -> Response<Body> {
    tracing::error!(url = asked.key.url(), "a task that worked on this request ended without an answer");
    let decision = asked.decision(Outcome::Failed, Reason::Panic);
    way.finish(asked, decision, page(way, StatusCode::INTERNAL_SERVER_ERROR, Reason::Panic))
}

/// Answers bytes that are no request, for the connection to write and to close behind: `why` says what is wrong with them.
pub(super) fn unscreened(way: &Way, client: IpAddr, refusal: &Refusal, why: &str) -> Response<Bytes> {
    let Refusal { status, reason, .. } = *refusal;
    let decision = refusal.decision();
    let text = Bytes::from(format!("{status}\n{} ({reason})\n{why}.\n", reason.why()));
    let mut response = Response::new(text);
    *response.status_mut() = status;
    *response.headers_mut() = own_fields(way, status);
    response.headers_mut().insert(header::CACHE_STATUS, head::cache_status(&decision, None));
    let body_bytes = response.body().len() as u64;
    let end = End { ending: Ending::Complete, body_bytes, elapsed: refusal.started.elapsed() };
    way.metrics.record(&decision, &end);
    if let Some(logged) = unread_by(way, client, status) {
        logged.write(&decision, &end);
    }
    response
}

/// Makes what is told of a request that could not be read, where anybody wants to know.
fn unread_by(way: &Way, client: IpAddr, status: StatusCode) -> Option<Box<Logged>> {
    let Shared { readers, clock, .. } = &*way.shared;
    readers.is_any().then(|| Box::new(Logged::unread(readers, client, clock.now(), status)))
}

/// Answers a request that was not read further.
pub(super) fn unread(way: &Arc<Way>, client: IpAddr, refusal: &Refusal) -> Response<Body> {
    let decision = refusal.decision();
    let mut response = page(way, refusal.status, refusal.reason);
    if refusal.reason == Reason::Options {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    }
    response.headers_mut().insert(header::CACHE_STATUS, head::cache_status(&decision, None));
    if refusal.reason == Reason::BadRequest {
        // What follows on the connection may belong to what could not be read. (HTTP/2 has no such field: hyper drops it.)
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let logged = unread_by(way, client, refusal.status);
    let observer = Observer::new(Arc::clone(&way.metrics), decision, refusal.started, logged);
    response.body_mut().observe(observer);
    response
}

fn page(way: &Way, status: StatusCode, reason: Reason) -> Response<Body> {
    let text = format!("{status}\n{} ({reason})\n", reason.why());
    let mut response = Response::new(Body::whole(Bytes::from(text)));
    *response.status_mut() = status;
    *response.headers_mut() = own_fields(way, status);
    response
}

/// Makes the fields of a response of Larder's own.
fn own_fields(way: &Way, status: StatusCode) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::DATE, head::date(way.shared.clock.now()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    headers
}
