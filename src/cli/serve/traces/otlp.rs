//! Export of spans by OTLP over HTTP: a bounded queue, and a thread that sends its content.
//!
//! Queue, batches and thread belong to the SDK, which does not report how many spans it drops. So
//! this module counts: a span is accepted only while the queue has room, and the SDK itself never
//! has to drop one.
//!
//! The environment may add deployment details: `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME`
//! name the service, `OTEL_EXPORTER_OTLP_HEADERS` adds request headers that the collector requires.

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

/// The maximum number of spans that wait or are being sent: some seconds of a busy cache that
/// samples every request, and about 8 MiB.
const QUEUE_MAX: usize = 8192;
/// The maximum number of spans in one message: about half a MiB.
const BATCH_MAX: usize = 512;
/// The time that a span waits for others to share a message.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// The time that the collector may take for a message, including retries.
const SEND_TIMEOUT: Duration = Duration::from_secs(5);
/// The time that the last messages may take when Larder ends: together with the default
/// `drain_timeout` within Docker's 10 s.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// The minimum interval between log lines that say that the collector does not accept spans.
const FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// The sender of spans to a collector.
pub(super) struct SpanSender {
    processor: Arc<BatchSpanProcessor>,
    counts: Arc<ExportCounters>,
}

/// Counts of spans by state.
#[derive(Debug, Default)]
struct ExportCounters {
    queued: AtomicUsize,
    exported: AtomicU64,
    dropped: AtomicU64,
}

impl SpanSender {
    /// Starts the thread that sends to the collector at `endpoint`. A missing collector shows only
    /// when there is something to send.
    ///
    /// # Errors
    /// Settings of OTLP in the environment that are not valid.
    pub(super) fn start(endpoint: &str) -> anyhow::Result<Self> {
        let client = reqwest::blocking::Client::builder()
            .timeout(SEND_TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .context("cannot send traces")?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(format!("{endpoint}/v1/traces"))
            .with_timeout(SEND_TIMEOUT)
            .build()
            .context("cannot send traces")?;
        let counts = Arc::new(ExportCounters::default());
        let counting = CountingExporter {
            exporter,
            counts: Arc::clone(&counts),
            endpoint: endpoint.to_owned(),
            last_logged: Mutex::new(None),
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

    /// Returns the exporter that takes spans.
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

    /// Sends the remaining spans and ends the thread; waits at most [`END_TIMEOUT`] for a collector
    /// that does not respond.
    pub(super) fn end(self) {
        if let Err(error) = self.processor.shutdown_with_timeout(END_TIMEOUT) {
            tracing::debug!(%error, "the last spans were not sent");
        }
    }
}

/// Returns the attributes of this service. Those of the environment take precedence.
fn resource() -> Resource {
    let own = [KeyValue::new("service.name", "larder"), KeyValue::new("service.version", env!("CARGO_PKG_VERSION"))];
    let resource = Resource::builder_empty().with_attributes(own).with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        _ => resource.build(),
    }
}

impl ExportCounters {
    /// Takes a place in the queue; returns false if there is none, and the span is dropped.
    fn take(&self) -> bool {
        let place = self
            .queued
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |queued| (queued < QUEUE_MAX).then_some(queued + 1));
        if place.is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        place.is_ok()
    }

    /// Releases the places of `spans` spans, and counts the result.
    fn settle(&self, spans: usize, result: &OTelSdkResult) {
        let counter = if result.is_ok() { &self.exported } else { &self.dropped };
        counter.fetch_add(spans as u64, Ordering::Relaxed);
        self.queued.fetch_sub(spans, Ordering::Relaxed);
    }

    fn stats(&self) -> ExportStats {
        ExportStats { exported: self.exported.load(Ordering::Relaxed), dropped: self.dropped.load(Ordering::Relaxed) }
    }
}

/// The SDK's exporter, with its results counted.
#[derive(Debug)]
struct CountingExporter {
    exporter: opentelemetry_otlp::SpanExporter,
    counts: Arc<ExportCounters>,
    endpoint: String,
    /// The time of the last log line about a failed export. Nothing awaits while the lock is held.
    last_logged: Mutex<Option<Instant>>,
}

impl SpanExporter for CountingExporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let result = self.exporter.export(batch).await;
        self.counts.settle(spans, &result);
        if let Err(error) = &result {
            let mut last_logged = self.last_logged.lock();
            if last_logged.is_none_or(|at| at.elapsed() >= FAILURE_LOG_INTERVAL) {
                *last_logged = Some(Instant::now());
                let endpoint = &self.endpoint;
                tracing::warn!(endpoint, %error, "the collector does not accept spans; they are dropped");
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

/// Converts a span to the SDK's type.
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
