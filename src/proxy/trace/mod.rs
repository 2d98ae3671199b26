//! Traces: how long each part of a request takes, as spans that an exporter gets when they end.
//!
//! - the request, named after its method: from its head's arrival until its response has ended, or
//!   its client is gone;
//! - `lookup`: from the look-up in the store until it is decided whether the entry may answer;
//! - `wait`: from joining another request's flight until its result, or from queueing for a permit
//!   until there is one;
//! - `origin`: from sending the request to the origin until the response's head arrives, or none
//!   will;
//! - `store`: from the beginning of the response's body until it is stored, or known not to be.
//!
//! A flight belongs to the trace of the request that leads it, and a refresh to the trace of the
//! request that started it, which may have its answer already: an origin request is found under the
//! request that caused it.
//!
//! With traces on, every request has a `Trace`, sampled or not, since the origin gets the trace's
//! fields either way. With traces off there is none, and a hit pays for one check. Deliberately
//! absent: OpenTelemetry, which is the exporter's.

mod identity;
pub(super) mod span;
mod w3c;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, Version};

pub(super) use self::identity::Trace;
use self::identity::span_id;
pub use self::span::{Attribute, Config, ExportStats, Exporter, Span, SpanRole};
use self::w3c::{ParentSpan, TRACEPARENT, TRACESTATE};
pub use self::w3c::{SpanId, TraceId};
use super::request::context::RequestContext;
use super::state::{Shared, Worker};
use crate::key::Scheme;
use crate::origin::{self, Permit, ResponseBody};
use crate::outcome::{Decision, Ending, Outcome, Reason, ResponseEnd, StoreOutcome};

/// A span that is under way, and is exported when it is dropped; empty if the request is not
/// sampled.
pub(crate) struct OpenSpan(Option<Box<SpanInProgress>>);

struct SpanInProgress {
    export: Arc<dyn Fn(Span) + Send + Sync>,
    span: Span,
    since: Instant,
    /// A shorter span is not exported.
    min_elapsed: Duration,
}

impl OpenSpan {
    /// Opens a span of `ctx`'s trace.
    fn of(shared: &Shared, ctx: &RequestContext, name: &'static str, kind: SpanRole) -> Self {
        let (Some(exporter), Some(trace)) = (&shared.exporter, ctx.trace.filter(|trace| trace.is_sampled)) else {
            return Self(None);
        };
        let span = Span {
            trace: trace.id,
            id: span_id(),
            parent: Some(trace.span),
            is_parent_remote: false,
            name,
            kind,
            started_at: shared.clock.since_epoch(),
            elapsed: Duration::ZERO,
            attributes: Vec::new(),
            error: None,
        };
        let export = Arc::clone(&exporter.export);
        Self(Some(Box::new(SpanInProgress { export, span, since: Instant::now(), min_elapsed: Duration::ZERO })))
    }

    /// Adds facts to the span.
    fn record(&mut self, facts: impl FnOnce(&mut Span)) {
        if let Some(ongoing) = &mut self.0 {
            facts(&mut ongoing.span);
        }
    }

    /// Discards the span: another one covers the same.
    fn discard(mut self) {
        self.0 = None;
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let Some(SpanInProgress { export, mut span, since, min_elapsed }) = self.0.take().map(|ongoing| *ongoing)
        else {
            return;
        };
        span.elapsed = since.elapsed();
        if span.elapsed >= min_elapsed {
            export(span);
        }
    }
}

/// Records what was asked for, and of which server. The query stays out: it may hold secrets.
fn record_target(span: &mut Span, ctx: &RequestContext, scheme: Scheme, authority: &str) {
    let (host, port) = match authority.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
        Some((host, Ok(port))) => (host, port),
        _ => (authority, scheme.default_port()),
    };
    match method(&ctx.method) {
        Some(known) => span.word("http.request.method", known),
        None => {
            span.word("http.request.method", "_OTHER");
            span.text("http.request.method_original", ctx.method.as_str());
        }
    }
    span.word("url.scheme", scheme.as_str());
    span.text("url.path", ctx.key.path());
    span.text("server.address", host);
    span.number("server.port", port);
}

/// Returns the method if the conventions know it.
fn method(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| method.as_str() == *known)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "2",
        Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

/// Opens the span of the request itself.
fn request(shared: &Shared, ctx: &RequestContext) -> OpenSpan {
    let mut open = OpenSpan::of(shared, ctx, method(&ctx.method).unwrap_or("HTTP"), SpanRole::Server);
    if let (Some(ongoing), Some(trace)) = (&mut open.0, ctx.trace) {
        let span = &mut ongoing.span;
        span.id = trace.span;
        span.parent = (trace.parent != SpanId::default()).then_some(trace.parent);
        span.is_parent_remote = true;
        span.started_at = span.started_at.saturating_sub(ctx.started.elapsed());
        ongoing.since = ctx.started;
        record_target(span, ctx, ctx.key.scheme(), ctx.key.authority());
        span.word("network.protocol.version", version(ctx.version));
        let name = |index: u16| shared.config.traces.route_names.get(usize::from(index));
        if let Some(name) = ctx.rule.index.and_then(name) {
            span.text("larder.route", name);
        }
    }
    open
}

/// The span of a request whose response's head has been sent.
pub(crate) struct ResponseSpan(OpenSpan);

impl ResponseSpan {
    /// Opens the span.
    pub(crate) fn new(shared: &Shared, ctx: &RequestContext, decision: &Decision, status: StatusCode) -> Self {
        let mut open = request(shared, ctx);
        open.record(|span| {
            span.number("http.response.status_code", status.as_u16());
            span.word("larder.outcome", decision.outcome.token());
            span.word("larder.reason", decision.reason.token());
            span.flag("larder.collapsed", decision.collapsed);
            if let StoreOutcome::No(reason) = decision.stored {
                span.word("larder.not_stored", reason.token());
            }
            if let Some(hash) = decision.key_hash {
                span.text("larder.key", format!("{hash:032x}"));
            }
            if decision.outcome == Outcome::Failed {
                span.failed(decision.reason.token());
            } else if status.is_server_error() {
                span.failed(status.as_str());
            }
        });
        Self(open)
    }

    /// Makes an empty span, for bytes that are not a request.
    pub(crate) fn none() -> Self {
        Self(OpenSpan(None))
    }

    /// Records how the response ended.
    pub(crate) fn finish(mut self, end: &ResponseEnd) {
        self.0.record(|span| {
            span.number("http.response.body.size", end.body_bytes);
            match end.ending {
                Ending::Complete => {}
                Ending::ClientGone => span.word("larder.ending", "client-gone"),
                Ending::Aborted(reason) => {
                    span.word("larder.ending", "aborted");
                    span.failed(reason.token());
                }
            }
        });
    }
}

/// The span of a request whose client leaves before there is a response; discarded if there is one.
pub(crate) struct AbandonedSpan(OpenSpan);

impl AbandonedSpan {
    /// Opens the span.
    pub(crate) fn new(shared: &Shared, ctx: &RequestContext) -> Self {
        let mut open = request(shared, ctx);
        open.record(|span| span.word("larder.ending", "client-gone"));
        Self(open)
    }

    /// Tells whether the span is empty.
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.0.is_none()
    }

    /// Discards the span: the response has one of its own.
    pub(crate) fn discard(self) {
        self.0.discard();
    }
}

/// Opens the span `lookup`.
pub(crate) fn look_up(shared: &Shared, ctx: &RequestContext) -> OpenSpan {
    OpenSpan::of(shared, ctx, "lookup", SpanRole::Internal)
}

impl OpenSpan {
    /// Records the result of the look-up.
    pub(crate) fn set_result(mut self, what: &'static str) {
        self.record(|span| span.word("larder.found", what));
    }
}

/// Opens the span `wait`, for the result of another request's flight.
pub(crate) fn wait_for_flight(shared: &Shared, ctx: &RequestContext) -> OpenSpan {
    let mut open = OpenSpan::of(shared, ctx, "wait", SpanRole::Internal);
    open.record(|span| span.word("larder.wait.for", "flight"));
    open
}

/// Takes a permit for the origin; opens the span `wait` if the permit has to be waited for.
///
/// # Errors
/// As [`origin::Permits::acquire`].
pub(crate) async fn permit(worker: &Worker, ctx: &RequestContext) -> Result<Permit, origin::Error> {
    /// A free permit is there within microseconds.
    const WAIT_MIN: Duration = Duration::from_millis(1);
    let mut open = OpenSpan::of(&worker.shared, ctx, "wait", SpanRole::Internal);
    if let Some(ongoing) = &mut open.0 {
        ongoing.min_elapsed = WAIT_MIN;
        ongoing.span.word("larder.wait.for", "permit");
    }
    let permit = worker.origin.permits().acquire().await;
    if let Err(error) = &permit {
        open.record(|span| span.failed(error.reason.token()));
    }
    permit
}

/// The span `origin`, and the trace fields that the origin gets.
pub(crate) struct OriginSpan(OpenSpan);

impl OriginSpan {
    /// Opens the span, and writes the trace into the request's head. With traces off, the fields
    /// pass unchanged.
    pub(crate) fn new(worker: &Worker, ctx: &RequestContext, headers: &mut HeaderMap) -> Self {
        let Some(trace) = ctx.trace else { return Self(OpenSpan(None)) };
        let mut open = OpenSpan::of(&worker.shared, ctx, "origin", SpanRole::Client);
        open.record(|span| record_target(span, ctx, Scheme::Http, worker.origin.authority()));
        let span = open.0.as_ref().map_or_else(span_id, |ongoing| ongoing.span.id);
        headers.insert(TRACEPARENT, ParentSpan { trace: trace.id, span, is_sampled: trace.is_sampled }.value());
        if trace.parent == SpanId::default() {
            // The field belongs to a traceparent that was not valid (Trace Context §3.3).
            headers.remove(TRACESTATE);
        }
        Self(open)
    }

    /// Records the response or the error.
    pub(crate) fn finish(mut self, response: &Result<http::Response<ResponseBody>, origin::Error>) {
        self.0.record(|span| match response {
            Ok(response) => {
                let status = response.status();
                span.number("http.response.status_code", status.as_u16());
                if status.is_client_error() || status.is_server_error() {
                    span.failed(status.as_str());
                }
            }
            Err(error) => span.failed(error.reason.token()),
        });
    }
}

/// The span `store`, of a body that is to be stored.
pub(crate) struct StoreSpan(OpenSpan);

impl StoreSpan {
    /// Opens the span.
    pub(crate) fn new(shared: &Shared, ctx: &RequestContext) -> Self {
        Self(OpenSpan::of(shared, ctx, "store", SpanRole::Internal))
    }

    /// Records why the body is not stored.
    pub(crate) fn set_reason(&mut self, reason: Reason) {
        self.0.record(|span| span.word("larder.not_stored", reason.token()));
    }

    /// Records that the body is stored, with this many bytes.
    pub(crate) fn finish(mut self, bytes: u64) {
        self.0.record(|span| span.number("larder.stored.size", bytes));
    }
}
