//! The trace that a request belongs to, and the ids of traces and spans.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

use http::HeaderMap;

use super::w3c::{ParentSpan, SpanId, TraceId};
use crate::proxy::state::Shared;

/// The trace that a request belongs to.
#[derive(Clone, Copy)]
pub(crate) struct Trace {
    pub(super) id: TraceId,
    /// The request's own span.
    pub(super) span: SpanId,
    /// The span above; zeros where there is none.
    pub(super) parent: SpanId,
    pub(super) is_sampled: bool,
}

impl Trace {
    /// Begins the trace of a request, or goes on with the client's; `None` where traces are off.
    ///
    /// Whether it is sampled only a trusted proxy may say: else whoever can send a field could have every request of theirs
    /// recorded. For the same reason it does not follow from the trace's id, which the client may have chosen.
    pub(crate) fn of(shared: &Shared, is_trusted: bool, headers: &HeaderMap) -> Option<Self> {
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
pub(super) fn span_id() -> SpanId {
    random().max(1).to_be_bytes()
}

/// Makes a name for a trace.
fn trace_id() -> TraceId {
    (u128::from(random().max(1)) << 64 | u128::from(random())).to_be_bytes()
}
