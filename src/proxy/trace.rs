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

mod context;

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Method, StatusCode, Version};

use self::context::{ParentSpan, TRACEPARENT, TRACESTATE};
pub use self::context::{SpanId, TraceId};
use super::context::RequestContext;
use super::{Shared, Worker};
use crate::key::Scheme;
use crate::origin::{self, Permit, ResponseBody};
use crate::outcome::{Decision, Ending, Outcome, Reason, ResponseEnd, StoreOutcome};

/// What is traced, and how it is called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The share of requests (0.0 to 1.0) that are sampled where no trusted proxy has decided.
    pub sample: f64,
    /// The names of the routes, in order.
    pub route_names: Vec<String>,
}

/// Who sends spans on.
#[derive(Clone)]
pub struct Exporter {
    /// Takes a span that has ended. Called on the cores' threads: it must not block.
    pub export: Arc<dyn Fn(Span) + Send + Sync>,
    /// Tells how many it has sent, and how many it could not.
    pub stats: Arc<dyn Fn() -> ExportStats + Send + Sync>,
}

/// What became of the spans so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportStats {
    /// Spans that the collector took.
    pub exported: u64,
    /// Spans that found the queue full, or that the collector did not take.
    pub dropped: u64,
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// Its trace.
    pub trace: TraceId,
    /// Its own name within that.
    pub id: SpanId,
    /// The span above; `None` where the trace begins with it.
    pub parent: Option<SpanId>,
    /// Whether the span above is another service's.
    pub is_parent_remote: bool,
    /// What it is about, in a word.
    pub name: &'static str,
    /// Its place between services.
    pub kind: SpanRole,
    /// When it began, since the Unix epoch.
    pub started_at: Duration,
    /// How long it took.
    pub elapsed: Duration,
    /// What is known about it, by the names of OpenTelemetry's semantic conventions, else with `larder.` before them.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// What failed, in a word, where something did.
    pub error: Option<String>,
}

/// A span's place between services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanRole {
    /// A request that came.
    Server,
    /// A request that went out.
    Client,
    /// Work in between.
    Internal,
}

/// Something that is known about a span.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// One of a few words.
    Word(&'static str),
    /// A text.
    Text(String),
    /// A number.
    Number(u64),
    /// Whether it is so.
    Flag(bool),
}

/// The trace that a request belongs to.
#[derive(Clone, Copy)]
pub(super) struct Trace {
    id: TraceId,
    /// The request's own span.
    span: SpanId,
    /// The span above; zeros where there is none.
    parent: SpanId,
    is_sampled: bool,
}

impl Trace {
    /// Begins the trace of a request, or goes on with the client's; `None` where traces are off.
    ///
    /// Whether it is sampled only a trusted proxy may say: else whoever can send a field could have every request of theirs
    /// recorded. For the same reason it does not follow from the trace's id, which the client may have chosen.
    pub(super) fn of(shared: &Shared, is_trusted: bool, headers: &HeaderMap) -> Option<Self> {
        shared.exporter.as_ref()?;
        // As many bits as a double holds exactly, so that a share of 1.0 takes every one.
        let is_drawn = || ((random() >> 11) as f64) < shared.config.traces.sample * (1_u64 << 53) as f64;
        Some(match ParentSpan::of(headers) {
            Some(ParentSpan { trace, span, is_sampled }) => {
                let is_sampled = if is_trusted { is_sampled } else { is_drawn() };
                Self { id: trace, span: span_id(), parent: span, is_sampled }
            }
            None => Self { id: trace_id(), span: span_id(), parent: SpanId::default(), is_sampled: is_drawn() },
        })
    }
}

/// Returns 64 random bits: what a keyed hash makes of a number that no thread uses twice.
fn random() -> u64 {
    thread_local! {
        static KEYED: RandomState = RandomState::new();
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    let next = NEXT.replace(NEXT.get().wrapping_add(1));
    KEYED.with(|keyed| keyed.hash_one(next))
}

/// Makes a name for a span; zeros would be none.
fn span_id() -> SpanId {
    random().max(1).to_be_bytes()
}

/// Makes a name for a trace.
fn trace_id() -> TraceId {
    (u128::from(random().max(1)) << 64 | u128::from(random())).to_be_bytes()
}

/// A span that is under way, and is told when it is dropped; nothing where the request is not sampled.
pub(super) struct OpenSpan(Option<Box<SpanInProgress>>);

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

impl Span {
    fn word(&mut self, name: &'static str, word: &'static str) {
        self.attributes.push((name, Attribute::Word(word)));
    }

    fn text(&mut self, name: &'static str, text: impl Into<String>) {
        self.attributes.push((name, Attribute::Text(text.into())));
    }

    fn number(&mut self, name: &'static str, number: impl Into<u64>) {
        self.attributes.push((name, Attribute::Number(number.into())));
    }

    fn flag(&mut self, name: &'static str, flag: bool) {
        self.attributes.push((name, Attribute::Flag(flag)));
    }

    /// Says that it failed.
    fn failed(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.text("error.type", what.clone());
        self.error = Some(what);
    }

    /// Says what was asked for, and of whom. The query stays out: it may hold what is nobody else's business.
    fn request(&mut self, ctx: &RequestContext, scheme: Scheme, authority: &str) {
        let (host, port) = match authority.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>())) {
            Some((host, Ok(port))) => (host, port),
            _ => (authority, scheme.default_port()),
        };
        match method(&ctx.method) {
            Some(known) => self.word("http.request.method", known),
            None => {
                self.word("http.request.method", "_OTHER");
                self.text("http.request.method_original", ctx.method.as_str());
            }
        }
        self.word("url.scheme", scheme.as_str());
        self.text("url.path", ctx.key.path());
        self.text("server.address", host);
        self.number("server.port", port);
    }
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
        span.request(ctx, ctx.key.scheme(), ctx.key.authority());
        span.word("network.protocol.version", version(ctx.version));
        let name = |index: u16| shared.config.traces.route_names.get(usize::from(index));
        if let Some(name) = ctx.rule.index.and_then(name) {
            span.text("larder.route", name);
        }
    }
    open
}

/// The span of a request whose response's head has gone out.
pub(super) struct ResponseSpan(OpenSpan);

impl ResponseSpan {
    /// Opens it.
    pub(super) fn new(shared: &Shared, ctx: &RequestContext, decision: &Decision, status: StatusCode) -> Self {
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
    pub(super) fn none() -> Self {
        Self(OpenSpan(None))
    }

    /// Tells how it ended.
    pub(super) fn finish(mut self, end: &ResponseEnd) {
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
pub(super) struct AbandonedSpan(OpenSpan);

impl AbandonedSpan {
    /// Begins to watch.
    pub(super) fn new(shared: &Shared, ctx: &RequestContext) -> Self {
        let mut open = request(shared, ctx);
        open.record(|span| span.word("larder.ending", "client-gone"));
        Self(open)
    }

    /// Tells whether there is anything to watch.
    pub(super) fn is_nothing(&self) -> bool {
        self.0.0.is_none()
    }

    /// There is a response, which is told of on its own.
    pub(super) fn discard(self) {
        self.0.discard();
    }
}

/// Opens `lookup`.
pub(super) fn look_up(shared: &Shared, ctx: &RequestContext) -> OpenSpan {
    OpenSpan::of(shared, ctx, "lookup", SpanRole::Internal)
}

impl OpenSpan {
    /// Says what a look-up found.
    pub(super) fn set_result(mut self, what: &'static str) {
        self.record(|span| span.word("larder.found", what));
    }
}

/// Opens `wait`, for what another's flight brings.
pub(super) fn wait_for_flight(shared: &Shared, ctx: &RequestContext) -> OpenSpan {
    let mut open = OpenSpan::of(shared, ctx, "wait", SpanRole::Internal);
    open.record(|span| span.word("larder.wait.for", "flight"));
    open
}

/// Takes a permit towards the origin; `wait` where it has to be waited for.
///
/// # Errors
/// As [`origin::Permits::acquire`].
pub(super) async fn permit(worker: &Worker, ctx: &RequestContext) -> Result<Permit, origin::Error> {
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
pub(super) struct OriginSpan(OpenSpan);

impl OriginSpan {
    /// Opens it, and writes the trace into the request's head. Where traces are off, the fields go on as they came.
    pub(super) fn new(worker: &Worker, ctx: &RequestContext, headers: &mut HeaderMap) -> Self {
        let Some(trace) = ctx.trace else { return Self(OpenSpan(None)) };
        let mut open = OpenSpan::of(&worker.shared, ctx, "origin", SpanRole::Client);
        open.record(|span| span.request(ctx, Scheme::Http, worker.origin.authority()));
        let span = open.0.as_ref().map_or_else(span_id, |ongoing| ongoing.span.id);
        headers.insert(TRACEPARENT, ParentSpan { trace: trace.id, span, is_sampled: trace.is_sampled }.value());
        if trace.parent == SpanId::default() {
            // It belongs to a traceparent that was not read (Trace Context §3.3).
            headers.remove(TRACESTATE);
        }
        Self(open)
    }

    /// Tells what came of it.
    pub(super) fn finish(mut self, response: &Result<http::Response<ResponseBody>, origin::Error>) {
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
pub(super) struct StoreSpan(OpenSpan);

impl StoreSpan {
    /// Opens it.
    pub(super) fn new(shared: &Shared, ctx: &RequestContext) -> Self {
        Self(OpenSpan::of(shared, ctx, "store", SpanRole::Internal))
    }

    /// Says why nothing will be.
    pub(super) fn set_reason(&mut self, reason: Reason) {
        self.0.record(|span| span.word("larder.not_stored", reason.token()));
    }

    /// Says that it is stored, and how many bytes it has.
    pub(super) fn finish(mut self, bytes: u64) {
        self.0.record(|span| span.number("larder.stored.size", bytes));
    }
}
