//! Traces: what a request spends its time on, as spans that are told to whoever exports them when they end.
//!
//! | span | from | to |
//! |---|---|---|
//! | the request, called by its method | its head has come | its response has ended, or its client is gone |
//! | `lookup` | the store is asked | it is decided whether what it has may answer |
//! | `wait` | another's flight is joined, or a permit is queued for | it has landed, or the permit is there |
//! | `origin` | the request is sent to the origin | the response's head has come, or none will |
//! | `store` | the response's body begins to come | it is stored whole, or known not to be |
//!
//! A flight belongs to the trace of the request that leads it, and so does a refresh to the one that set it off, which may
//! have its answer already: what was asked of the origin is found under whoever caused it.
//!
//! The `Trace` of a request is there where traces are on, sampled or not, since the origin is told either way. Where they
//! are off there is none, and a hit pays for looking at that. Deliberately absent: OpenTelemetry, which is the exporter's.

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

/// A span that is under way, and is told when it is dropped; nothing where the request is not sampled.
pub(crate) struct OpenSpan(Option<Box<SpanInProgress>>);

struct SpanInProgress {
    take: Arc<dyn Fn(Span) + Send + Sync>,
    span: Span,
    since: Instant,
    /// Shorter than this it is not worth telling.
    least: Duration,
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
        let take = Arc::clone(&exporter.export);
        Self(Some(Box::new(SpanInProgress { take, span, since: Instant::now(), least: Duration::ZERO })))
    }

    /// Adds what is known about it.
    fn record(&mut self, facts: impl FnOnce(&mut Span)) {
        if let Some(ongoing) = &mut self.0 {
            facts(&mut ongoing.span);
        }
    }

    /// Forgets it: another tells of the same.
    fn discard(mut self) {
        self.0 = None;
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        let Some(SpanInProgress { take, mut span, since, least }) = self.0.take().map(|ongoing| *ongoing) else {
            return;
        };
        span.elapsed = since.elapsed();
        if span.elapsed >= least {
            take(span);
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

/// Returns the method where it is one of those that the conventions know.
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

/// The span of a request whose response's head has gone out.
pub(crate) struct ResponseSpan(OpenSpan);

impl ResponseSpan {
    /// Opens it.
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

    /// Makes none, for what was no request.
    pub(crate) fn none() -> Self {
        Self(OpenSpan(None))
    }

    /// Tells how it ended.
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

/// Tells of a request whose client goes away before there is a response; nothing where one is made.
pub(crate) struct AbandonedSpan(OpenSpan);

impl AbandonedSpan {
    /// Begins to watch.
    pub(crate) fn new(shared: &Shared, ctx: &RequestContext) -> Self {
        let mut open = request(shared, ctx);
        open.record(|span| span.word("larder.ending", "client-gone"));
        Self(open)
    }

    /// Tells whether there is anything to watch.
    pub(crate) fn is_nothing(&self) -> bool {
        self.0.0.is_none()
    }

    /// There is a response, which is told of on its own.
    pub(crate) fn discard(self) {
        self.0.discard();
    }
}

/// Opens `lookup`.
pub(crate) fn look_up(shared: &Shared, ctx: &RequestContext) -> OpenSpan {
    OpenSpan::of(shared, ctx, "lookup", SpanRole::Internal)
}

impl OpenSpan {
    /// Says what a look-up found.
    pub(crate) fn set_result(mut self, what: &'static str) {
        self.record(|span| span.word("larder.found", what));
    }
}

/// Opens `wait`, for what another's flight brings.
pub(crate) fn wait_for_flight(shared: &Shared, ctx: &RequestContext) -> OpenSpan {
    let mut open = OpenSpan::of(shared, ctx, "wait", SpanRole::Internal);
    open.record(|span| span.word("larder.wait.for", "flight"));
    open
}

/// Takes a permit towards the origin; `wait` where it has to be waited for.
///
/// # Errors
/// As [`origin::Permits::acquire`].
pub(crate) async fn permit(worker: &Worker, ctx: &RequestContext) -> Result<Permit, origin::Error> {
    /// A permit that is there is had in microseconds.
    const A_WAIT: Duration = Duration::from_millis(1);
    let mut open = OpenSpan::of(&worker.shared, ctx, "wait", SpanRole::Internal);
    if let Some(ongoing) = &mut open.0 {
        ongoing.least = A_WAIT;
        ongoing.span.word("larder.wait.for", "permit");
    }
    let permit = worker.origin.permits().acquire().await;
    if let Err(error) = &permit {
        open.record(|span| span.failed(error.reason.token()));
    }
    permit
}

/// `origin`, and what the origin is told of it.
pub(crate) struct OriginSpan(OpenSpan);

impl OriginSpan {
    /// Opens it, and writes the trace into the request's head. Where traces are off, the fields go on as they came.
    pub(crate) fn new(worker: &Worker, ctx: &RequestContext, headers: &mut HeaderMap) -> Self {
        let Some(trace) = ctx.trace else { return Self(OpenSpan(None)) };
        let mut open = OpenSpan::of(&worker.shared, ctx, "origin", SpanRole::Client);
        open.record(|span| record_target(span, ctx, Scheme::Http, worker.origin.authority()));
        let span = open.0.as_ref().map_or_else(span_id, |ongoing| ongoing.span.id);
        headers.insert(TRACEPARENT, ParentSpan { trace: trace.id, span, is_sampled: trace.is_sampled }.value());
        if trace.parent == SpanId::default() {
            // It belongs to a traceparent that was not read (Trace Context §3.3).
            headers.remove(TRACESTATE);
        }
        Self(open)
    }

    /// Tells what came of it.
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

/// `store`, which is about a body that comes to be stored, or does not.
pub(crate) struct StoreSpan(OpenSpan);

impl StoreSpan {
    /// Opens it.
    pub(crate) fn new(shared: &Shared, ctx: &RequestContext) -> Self {
        Self(OpenSpan::of(shared, ctx, "store", SpanRole::Internal))
    }

    /// Says why nothing will be.
    pub(crate) fn set_reason(&mut self, reason: Reason) {
        self.0.record(|span| span.word("larder.not_stored", reason.token()));
    }

    /// Says that it is stored, and how many bytes it has.
    pub(crate) fn finish(mut self, bytes: u64) {
        self.0.record(|span| span.number("larder.stored.size", bytes));
    }
}
