//! Records a request when its response has ended: metrics, access log, span.

use std::sync::Arc;
use std::time::Instant;

use super::log::LogRecord;
use crate::outcome::{Decision, Ending, Reason, ResponseEnd, StoreOutcome};
use crate::proxy::trace;
use crate::{analytics, metrics};

/// Records a request when its response has ended.
pub(crate) struct Observer {
    metrics: Arc<metrics::LocalMetrics>,
    decision: Decision,
    started: Instant,
    body_bytes: u64,
    aborted: Option<Reason>,
    log_record: Option<Box<LogRecord>>,
    non_hit: Option<Box<analytics::NonHitRequest>>,
    span: trace::ResponseSpan,
}

impl Observer {
    /// Makes an observer of a request that began at `started`.
    pub(crate) fn new(
        metrics: Arc<metrics::LocalMetrics>,
        decision: Decision,
        started: Instant,
        logged: Option<Box<LogRecord>>,
    ) -> Self {
        Self {
            metrics,
            decision,
            started,
            body_bytes: 0,
            aborted: None,
            log_record: logged,
            non_hit: None,
            span: trace::ResponseSpan::none(),
        }
    }

    /// Adds the URL that was noted when the head was sent, to be counted at the end.
    pub(crate) fn with_non_hit(self, non_hit: Option<Box<analytics::NonHitRequest>>) -> Self {
        Self { non_hit, ..self }
    }

    /// Adds the span that was opened when the head was sent, to be ended at the end.
    pub(crate) fn with_span(self, traced: trace::ResponseSpan) -> Self {
        Self { span: traced, ..self }
    }

    /// Corrects the decision: the response is not stored after all.
    pub(super) fn not_stored(&mut self, reason: Reason) {
        self.decision.stored = StoreOutcome::No(reason);
    }

    /// Counts body bytes that were sent.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.body_bytes += bytes;
    }

    /// Records why the body failed.
    pub(super) fn aborted(&mut self, reason: Reason) {
        self.aborted = Some(reason);
    }

    /// Records the end; `whole` says whether all of the body was sent.
    pub(super) fn record_end(self, whole: bool) {
        let ending = match self.aborted {
            Some(reason) => Ending::Aborted(reason),
            None if whole => Ending::Complete,
            None => Ending::ClientGone,
        };
        let end = ResponseEnd { ending, body_bytes: self.body_bytes, elapsed: self.started.elapsed() };
        self.metrics.record(&self.decision, &end);
        if let Some(non_hit) = self.non_hit {
            self.metrics.record_non_hit(&non_hit, &self.decision, &end);
        }
        if let Some(logged) = self.log_record {
            logged.write(&self.decision, &end);
        }
        self.span.finish(&end);
    }
}
