//! Traces on their way to a collector, where the configuration names one.
//!
//! What sends them is a cargo feature, `otel`, off by default: few need it, and it brings some twenty crates. Without it
//! the configuration refuses the key that would turn it on, and says how to get it.

#[cfg(feature = "otel")]
mod otlp;

use crate::config;
use crate::proxy::trace::Exporter;

/// What sends traces; nothing where they are off.
pub(super) struct TraceExport {
    #[cfg(feature = "otel")]
    sender: Option<otlp::SpanSender>,
}

/// Starts what sends traces. Call it outside of a runtime.
///
/// # Errors
/// What the environment says of OTLP and cannot be.
#[cfg(feature = "otel")]
pub(super) fn start(config: &config::TracesSection) -> anyhow::Result<TraceExport> {
    let sender = config.endpoint.as_deref().map(otlp::SpanSender::start).transpose()?;
    Ok(TraceExport { sender })
}

/// Starts nothing.
///
/// # Errors
/// None.
#[cfg(not(feature = "otel"))]
pub(super) fn start(_: &config::TracesSection) -> anyhow::Result<TraceExport> {
    Ok(TraceExport {})
}

#[cfg(feature = "otel")]
impl TraceExport {
    /// Returns who is given the spans; `None` where traces are off.
    pub(super) fn exporter(&self) -> Option<Exporter> {
        self.sender.as_ref().map(otlp::SpanSender::exporter)
    }

    /// Sends what is left, within a second, and ends.
    pub(super) fn end(self) {
        if let Some(sender) = self.sender {
            sender.end();
        }
    }
}

#[cfg(not(feature = "otel"))]
impl TraceExport {
    /// Returns nobody.
    pub(super) fn exporter(&self) -> Option<Exporter> {
        None
    }

    /// Has nothing to end.
    pub(super) fn end(self) {}
}
