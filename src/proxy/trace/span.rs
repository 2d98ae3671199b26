//! What an exporter gets: spans that have ended, as plain values.

use std::sync::Arc;
use std::time::Duration;

use super::w3c::{SpanId, TraceId};

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

    /// Says that it failed.
    pub(super) fn failed(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.text("error.type", what.clone());
        self.error = Some(what);
    }
}
