//! Export of traces to a collector, if the configuration names one.
//!
//! The exporter is a cargo feature, `otel`, off by default: few users need it, and it adds some
//! twenty crates. Without the feature the configuration refuses the key that enables traces, and
//! says how to get them.

#[cfg(feature = "otel")]
mod otlp;

use crate::config;
use crate::proxy::trace::Exporter;

/// The exporter of traces, or nothing if they are off.
pub(super) struct TraceExport {
    #[cfg(feature = "otel")]
    sender: Option<otlp::SpanSender>,
}

/// Starts the exporter of traces. Call it outside of a runtime.
///
/// # Errors
/// Settings of OTLP in the environment that are not valid.
#[cfg(feature = "otel")]
pub(super) fn start(config: &config::TracesSection) -> anyhow::Result<TraceExport> {
    let sender = config.endpoint.as_deref().map(otlp::SpanSender::start).transpose()?;
    Ok(TraceExport { sender })
}

/// Starts nothing: this build has no exporter.
///
/// # Errors
/// None.
#[cfg(not(feature = "otel"))]
pub(super) fn start(_: &config::TracesSection) -> anyhow::Result<TraceExport> {
    Ok(TraceExport {})
}

#[cfg(feature = "otel")]
impl TraceExport {
    /// Returns the exporter that takes spans; `None` if traces are off.
    pub(super) fn exporter(&self) -> Option<Exporter> {
        self.sender.as_ref().map(otlp::SpanSender::exporter)
    }

    /// Sends the remaining spans within a second, and ends.
    pub(super) fn end(self) {
        if let Some(sender) = self.sender {
            sender.end();
        }
    }
}

#[cfg(not(feature = "otel"))]
impl TraceExport {
    /// Returns `None`: this build has no exporter.
    pub(super) fn exporter(&self) -> Option<Exporter> {
        None
    }

    /// Does nothing: there is no exporter to end.
    pub(super) fn end(self) {}
}
