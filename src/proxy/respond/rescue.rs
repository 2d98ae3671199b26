//! The one place where failures and refusals become responses. They carry `Proxy-Status` (RFC 9209)
//! if the origin failed, `Cache-Status` always, and a sentence for people as the body.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::body::Body;
use super::log::LogRecord;
use super::observer::Observer;
use super::record;
use crate::origin;
use crate::outcome::{Ending, Outcome, Reason, ResponseEnd};
use crate::proxy::request::context::{EarlyResponse, RequestContext};
use crate::proxy::state::{Shared, Worker};
use crate::respond::head;

/// How many seconds a client should wait that was turned away for lack of permits.
const RETRY_AFTER: &str = "1";

/// The methods that Larder lets through. Which of them a resource allows, only the origin could say
/// (RFC 9110 §10.2.1).
const ALLOWED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Answers for an origin that failed, if nothing may be served stale instead.
pub(crate) fn origin_failure(worker: &Worker, ctx: &RequestContext, error: &origin::Error) -> Response<Body> {
    let status = status_of(error.reason);
    tracing::debug!(url = ctx.key.url(), %error, "the origin failed");
    let is_clients_fault = matches!(error.reason, Reason::RequestTooLarge | Reason::BadRequest);
    let outcome = if is_clients_fault { Outcome::Refused } else { Outcome::Failed };
    let decision = ctx.decision(outcome, error.reason);
    let mut response = page(worker, status, error.reason);
    if let Some(after) = error.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(after.as_millis().div_ceil(1000).max(1) as u64));
    }
    if outcome == Outcome::Failed {
        response.headers_mut().insert("proxy-status", head::proxy_status(error.reason, &error.detail));
    }
    record::finish(worker, ctx, decision, response)
}

/// Returns the status for a failure of the origin.
pub(crate) fn status_of(failure: Reason) -> StatusCode {
    match failure {
        // RFC 9209 §2.3.2: a proxy that knows that the origin is unavailable recommends to retry
        // later.
        Reason::Overloaded | Reason::DestinationUnavailable => StatusCode::SERVICE_UNAVAILABLE,
        Reason::ConnectionTimeout | Reason::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
        Reason::RequestTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        // The request's content is malformed, or broke off.
        Reason::BadRequest => StatusCode::BAD_REQUEST,
        _ => StatusCode::BAD_GATEWAY,
    }
}

/// Refuses a request that was read: neither the store nor the origin answers it.
pub(crate) fn refusal(worker: &Worker, ctx: &RequestContext, status: StatusCode, reason: Reason) -> Response<Body> {
    record::finish(worker, ctx, ctx.decision(Outcome::Refused, reason), page(worker, status, reason))
}

/// Answers a PURGE if no network may send one.
pub(crate) fn method_not_allowed(worker: &Worker, ctx: &RequestContext) -> Response<Body> {
    let mut response = refusal(worker, ctx, StatusCode::METHOD_NOT_ALLOWED, Reason::MethodRefused);
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    response
}

/// Answers a request whose task failed on our side; the process goes on.
pub(crate) fn task_failure(worker: &Worker, ctx: &RequestContext) -> Response<Body> {
    tracing::error!(url = ctx.key.url(), "a task that worked on this request ended without an answer");
    let decision = ctx.decision(Outcome::Failed, Reason::Panic);
    record::finish(worker, ctx, decision, page(worker, StatusCode::INTERNAL_SERVER_ERROR, Reason::Panic))
}

/// Answers `client` for bytes that are not a request; `why` says what is wrong with them, without a
/// full stop. The connection is to be closed after the response.
pub fn refuse(worker: &Worker, client: IpAddr, status: StatusCode, reason: Reason, why: &str) -> Response<Bytes> {
    let refusal = EarlyResponse { status, reason, started: Instant::now() };
    let decision = refusal.decision();
    let text = Bytes::from(format!("{status}\n{} ({reason})\n{why}.\n", reason.why()));
    let mut response = Response::new(text);
    *response.status_mut() = status;
    *response.headers_mut() = own_fields(worker, status);
    response.headers_mut().insert(header::CACHE_STATUS, head::cache_status(&decision, None));
    let body_bytes = response.body().len() as u64;
    let end = ResponseEnd { ending: Ending::Complete, body_bytes, elapsed: refusal.started.elapsed() };
    worker.metrics.record(&decision, &end);
    if let Some(logged) = log_record_of(worker, client, status) {
        logged.write(&decision, &end);
    }
    response
}

/// Makes the log line of a request that could not be read, if the log or a follower takes it.
fn log_record_of(worker: &Worker, client: IpAddr, status: StatusCode) -> Option<Box<LogRecord>> {
    let Shared { readers, clock, .. } = &*worker.shared;
    readers.is_any().then(|| Box::new(LogRecord::unparsed(readers, client, clock.now(), status)))
}

/// Answers a request that was not read further.
pub(crate) fn early_response(worker: &Arc<Worker>, client: IpAddr, refusal: &EarlyResponse) -> Response<Body> {
    let decision = refusal.decision();
    let mut response = page(worker, refusal.status, refusal.reason);
    if refusal.reason == Reason::Options {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(ALLOWED));
    }
    response.headers_mut().insert(header::CACHE_STATUS, head::cache_status(&decision, None));
    if refusal.reason == Reason::BadRequest {
        // The next bytes on the connection may belong to the malformed request. (HTTP/2 has no such
        // field: hyper drops it.)
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let logged = log_record_of(worker, client, refusal.status);
    let observer = Observer::new(Arc::clone(&worker.metrics), decision, refusal.started, logged);
    response.body_mut().observe(observer);
    response
}

fn page(worker: &Worker, status: StatusCode, reason: Reason) -> Response<Body> {
    let text = format!("{status}\n{} ({reason})\n", reason.why());
    let mut response = Response::new(Body::whole(Bytes::from(text)));
    *response.status_mut() = status;
    *response.headers_mut() = own_fields(worker, status);
    response
}

/// Makes the fields of a response of Larder's own.
fn own_fields(worker: &Worker, status: StatusCode) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::DATE, head::date(worker.shared.clock.now()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
    }
    headers
}
