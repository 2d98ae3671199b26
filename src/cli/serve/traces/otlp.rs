//! From spans to OTLP over HTTP: a bounded queue, and a thread that sends what is in it.
//!
//! Queue, batches and thread are the SDK's. What is counted here is what it does not tell: how many spans were dropped. A
//! span is taken only while there is room in the queue, so that the SDK itself never has to drop one.
//!
//! The environment may add what is a matter of the place: `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` say what the
//! service is called, `OTEL_EXPORTER_OTLP_HEADERS` what the collector wants to see of who sends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use anyhow::Context;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SpanData, SpanEvents, SpanExporter, SpanLinks, SpanProcessor,
};
use parking_lot::Mutex;

use crate::proxy::trace::{Attribute, ExportStats, Exporter, Span, SpanRole};

/// The most spans that wait, or are being sent: some seconds of a busy cache that samples all it does, and about 8 MiB.
const QUEUE_MAX: usize = 8192;
/// The most spans of one message: about half a MiB.
const BATCH_MAX: usize = 512;
/// How long a span waits for others to be sent with.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// How long the collector may take for a message, repeats included.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the last messages may take when Larder ends: with the default `drain_timeout` within Docker's 10 s.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// How often it is logged at the most that the collector does not take what it is sent.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What sends spans to a collector.
pub(super) struct SpanSender {
    processor: Arc<BatchSpanProcessor>,
    counts: Arc<ExportCounters>,
}

/// How many spans are where.
#[derive(Debug, Default)]
struct ExportCounters {
    queued: AtomicUsize,
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl SpanSender {
    /// Starts the thread that sends to the collector at `endpoint`; whether that is there shows when there is something to
    /// send.
    ///
    /// # Errors
    /// What the environment says of OTLP and cannot be.
    pub(super) fn start(endpoint: &str) -> anyhow::Result<Self> {
        let client = reqwest::blocking::Client::builder()
            .timeout(SEND_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("traces cannot be sent")?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(SEND_TIMEOUT)
            .build()
            .context("traces cannot be sent")?;
        let counts = Arc::new(ExportCounters::default());
        let counting = CountingExporter {
            exporter,
            counts: Arc::clone(&counts),
            endpoint: endpoint.to_owned(),
            complained: Mutex::new(None),
        };
        let batches = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let mut processor = BatchSpanProcessor::new(counting, batches);
        processor.set_resource(&resource());
        Ok(Self { processor: Arc::new(processor), counts })
    }

    /// Returns who is given the spans.
    pub(super) fn exporter(&self) -> Exporter {
        let (processor, counts) = (Arc::clone(&self.processor), Arc::clone(&self.counts));
        let scope = InstrumentationScope::builder("larder").with_version(env!("CARGO_PKG_VERSION")).build();
        let take = move |span| {
            if counts.take() {
                processor.on_end(data(span, &scope));
            }
        };
        let counts = Arc::clone(&self.counts);
        Exporter { export: Arc::new(take), stats: Arc::new(move || counts.stats()) }
    }

    /// Sends what is left and ends the thread; a collector that does not answer is waited for no longer than
    /// [`END_TIMEOUT`].
    pub(super) fn end(self) {
        if let Err(error) = self.processor.shutdown_with_timeout(END_TIMEOUT) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// Says who sends. What the environment says of it goes first.
fn resource() -> Resource {
    let own = [KeyValue::new("service.name", "larder"), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let resource = Resource::builder_empty().with_attributes(own).with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

impl ExportCounters {
    /// Takes a place in the queue; false where there is none, and the span is dropped.
    fn take(&self) -> bool {
        let place = self
            .queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| (queued < QUEUE_MAX).then_some(queued + 1));
        if place.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        place.is_ok()
    }

    /// Gives up the places of `spans` spans, and counts what became of them.
    fn settle(&self, spans: usize, result: &OTelSdkResult) {
        let counter = if result.is_ok() { &self.exported } else { &self.dropped };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
        self.queued.fetch_sub(spans, Ordering::Relaxed);
    }

    fn stats(&self) -> ExportStats {
        ExportStats { exported: self.exported.load(Ordering::Relaxed), dropped: self.dropped.load(Ordering::Relaxed) }
    }
}

/// The exporter, with what became of its spans counted.
#[derive(Debug)]
struct CountingExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<ExportCounters>,
    endpoint: String,
    /// When it was last logged that the collector does not take them. Nothing awaits under it.
    complained: Mutex<Option<Instant>>,
}

impl SpanExporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.counts.settle(spans, &result);
        if let Err(error) = &result {
            let mut complained = self.complained.lock();
            if complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
                *complained = Some(Instant::now());
                let endpoint = &self.endpoint;
                tracing::warn!(endpoint, %error, "the collector does not take the spans of traces: they are dropped");
            }
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// Makes a span as the SDK has it.
fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let began = UNIX_EPOCH + span.started_at;
    let id = SpanId::from_bytes(span.id);
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(span.trace),
            id,
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.is_parent_remote,
        span_kind: match span.kind {
            SpanRole::Server => SpanKind::Server,
            SpanRole::Client => SpanKind::Client,
            SpanRole::Internal => SpanKind::Internal,
        },
        name: span.name.into(),
        start_time: began,
        end_time: began + span.elapsed,
        attributes: span.attributes.into_iter().map(|(name, fact)| KeyValue::new(name, value(fact))).collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: span.error.map_or(Status::Unset, Status::error),
        instrumentation_scope: scope.clone(),
    }
}

fn value(fact: Attribute) -> Value {
    match fact {
        Attribute::Word(word) => word.into(),
        Attribute::Text(text) => text.into(),
        Attribute::Number(number) => i64::try_from(number).unwrap_or(i64::MAX).into(),
        Attribute::Flag(flag) => flag.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_sdk::error::OTelSdkError;

    #[test]
    fn a_full_queue_takes_no_more_and_every_span_is_counted_once() {
        let counts = ExportCounters::default();
        assert!((0..QUEUE_MAX).all(|_| counts.take()));
        assert!(!counts.take() && !counts.take());
        assert_eq!(counts.stats(), ExportStats { exported: 0, dropped: 2 });
        counts.settle(3, &Ok(()));
        counts.settle(4, &Err(OTelSdkError::AlreadyShutdown));
        assert_eq!(counts.stats(), ExportStats { exported: 3, dropped: 6 });
        assert!((0..7).all(|_| counts.take()) && !counts.take());
    }
}
