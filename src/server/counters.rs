//! What the server counts of itself: one for all cores of the process, and one for its admin side.

use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::Stage;
use crate::admin;

/// Counters since the start. They only grow.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Times that accepting failed for want of something: files, memory.
    pub accept_errors: AtomicU64,
    /// Connections for which there was no room, where they do not wait for it: on the admin side.
    pub turned_away: AtomicU64,
    /// Handlers that panicked.
    pub panics: AtomicU64,
    /// Connections closed because a head did not become complete in time.
    pub closed_in_head: AtomicU64,
    /// Connections closed because they were silent between requests.
    pub closed_idle: AtomicU64,
    /// Connections closed, and streams of HTTP/2 reset, because the client read no response, or sent no content, for too long.
    pub closed_in_body: AtomicU64,
    /// Reloads of the configuration that were applied.
    pub reloads_applied: AtomicU64,
    /// Reloads that were refused.
    pub reloads_refused: AtomicU64,
}

impl ServerCounters {
    /// Returns the counters for whoever shows them.
    pub(super) fn snapshot(&self) -> admin::ServerSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        admin::ServerSnapshot {
            accepted: read(&self.accepted),
            accept_errors: read(&self.accept_errors),
            panics: read(&self.panics),
            closed_in_head: read(&self.closed_in_head),
            closed_idle: read(&self.closed_idle),
            closed_in_body: read(&self.closed_in_body),
            reloads_applied: read(&self.reloads_applied),
            reloads_refused: read(&self.reloads_refused),
        }
    }

    /// Returns the counter of connections closed in `stage`; `None` where closing is no news.
    pub(super) fn closed_counter(&self, stage: Stage) -> Option<&AtomicU64> {
        match stage {
            Stage::Head => Some(&self.closed_in_head),
            Stage::Idle => Some(&self.closed_idle),
            Stage::Reading | Stage::Sending => Some(&self.closed_in_body),
            Stage::Ours | Stage::Lingering => None,
        }
    }
}
