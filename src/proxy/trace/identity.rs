//! The trace that a request belongs to, and the ids of traces and spans.

use http::HeaderMap;

use super::w3c::{ParentSpan, SpanId, TraceId};
use crate::proxy::state::Shared;
use crate::random;

/// The trace that a request belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Trace {
    pub(super) id: TraceId,
    /// The id of the request's own span.
    pub(super) span: SpanId,
    /// The id of the parent span; zeros if there is none.
    pub(super) parent: SpanId,
    pub(super) is_sampled: bool,
}

impl Trace {
    /// Begins the trace of a request, or continues the client's; `None` if traces are off.
    ///
    /// Only a trusted proxy may decide whether a request is sampled: otherwise any client could
    /// have all its requests recorded. For the same reason the decision does not follow from the
    /// trace's id, which the client may have chosen.
    pub(crate) fn of(shared: &Shared, is_trusted: bool, headers: &HeaderMap) -> Option<Self> {
        shared.exporter.as_ref()?;
        // A double holds 53 bits exactly, so that a share of 1.0 samples every request.
        let is_drawn = || ((random::bits() >> 11) as f64) < shared.config.traces.sample * (1_u64 << 53) as f64;
        Some(match ParentSpan::of(headers) {
            Some(ParentSpan { trace, span, is_sampled }) => {
                let is_sampled = if is_trusted { is_sampled } else { is_drawn() };
                Self { id: trace, span: span_id(), parent: span, is_sampled }
            }
            None => Self { id: trace_id(), span: span_id(), parent: SpanId::default(), is_sampled: is_drawn() },
        })
    }
}

/// Makes the id of a span; all zeros would mean none.
pub(super) fn span_id() -> SpanId {
    random::bits().max(1).to_be_bytes()
}

/// Makes the id of a trace.
fn trace_id() -> TraceId {
    (u128::from(random::bits().max(1)) << 64 | u128::from(random::bits())).to_be_bytes()
}
