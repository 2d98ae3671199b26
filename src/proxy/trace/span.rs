//! The exporter's interface: spans that have ended, as plain values.

use std::sync::Arc;
use std::time::Duration;

use super::w3c::{SpanId, TraceId};

/// Configures which requests are traced, and the names in their spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The share of requests (0.0 to 1.0) that are sampled unless a trusted proxy decides.
    pub sample: f64,
    /// The names of the routes, in order.
    pub route_names: Vec<String>,
}

/// Takes the spans that have ended, and counts what became of them.
#[derive(Clone)]
pub struct Exporter {
    /// Takes a span that has ended. Called on the cores' threads: it must not block.
    pub export: Arc<dyn Fn(Span) + Send + Sync>,
    /// Returns how many spans were exported and dropped.
    pub stats: Arc<dyn Fn() -> ExportStats + Send + Sync>,
}

/// Counts of exported and dropped spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExportStats {
    /// Spans that the collector accepted.
    pub exported: u64,
    /// Spans that found the queue full, or that the collector did not accept.
    pub dropped: u64,
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// The id of the trace.
    pub trace: TraceId,
    /// The id of the span.
    pub id: SpanId,
    /// The id of the parent span; `None` if the trace begins with this span.
    pub parent: Option<SpanId>,
    /// True if the parent span is another service's.
    pub is_parent_remote: bool,
    /// The name of the span.
    pub name: &'static str,
    /// The role of the span between services.
    pub kind: SpanRole,
    /// When the span began, since the Unix epoch.
    pub started_at: Duration,
    /// How long the span lasted.
    pub elapsed: Duration,
    /// The facts about the span, named by OpenTelemetry's semantic conventions, or with `larder.`
    /// in front.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// The failure, in a word, if there was one.
    pub error: Option<String>,
}

/// The role of a span between services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanRole {
    /// A request that was received.
    Server,
    /// A request that was sent.
    Client,
    /// Work inside this service.
    Internal,
}

/// The value of a fact about a span.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// An attribute with one of a few fixed words.
    Word(&'static str),
    /// A text attribute.
    Text(String),
    /// A numeric attribute.
    Number(u64),
    /// An attribute that is true or false.
    Flag(bool),
}

impl Span {
    pub(super) fn word(&mut self, name: &'static str, word: &'static str) {
        self.attributes.push((name, Attribute::Word(word)));
    }

    pub(super) fn text(&mut self, name: &'static str, text: impl Into<String>) {
        self.attributes.push((name, Attribute::Text(text.into())));
    }

    pub(super) fn number(&mut self, name: &'static str, number: impl Into<u64>) {
        self.attributes.push((name, Attribute::Number(number.into())));
    }

    pub(super) fn flag(&mut self, name: &'static str, flag: bool) {
        self.attributes.push((name, Attribute::Flag(flag)));
    }

    /// Marks the span as failed, with the failure in a word.
    pub(super) fn failed(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.text("error.type", what.clone());
        self.error = Some(what);
    }
}
