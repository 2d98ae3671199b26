//! The server's own counters: one set for all cores of the process, and one for the admin
//! interface.

use std::sync::atomic::{AtomicU64, Ordering};

use super::connection::Stage;
use crate::admin;

/// Counters since the start; they only grow.
#[derive(Debug, Default)]
pub struct ServerCounters {
    /// Accepted connections.
    pub accepted: AtomicU64,
    /// Failures to accept a connection for lack of descriptors or memory.
    pub accept_errors: AtomicU64,
    /// Connections rejected for lack of room; only the admin interface rejects instead of queueing.
    pub turned_away: AtomicU64,
    /// Request handlers that panicked.
    pub panics: AtomicU64,
    /// Connections closed because a request head was not complete in time.
    pub closed_in_head: AtomicU64,
    /// Connections closed after silence between requests.
    pub closed_idle: AtomicU64,
    /// Connections closed, and HTTP/2 streams reset, because the client did not read the response,
    /// or did not send content, for too long.
    pub closed_in_body: AtomicU64,
    /// Configuration reloads that were applied.
    pub reloads_applied: AtomicU64,
    /// Configuration reloads that were refused.
    pub reloads_refused: AtomicU64,
}

impl ServerCounters {
    /// Returns a snapshot of the counters for the admin interface.
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

    /// Returns the counter of connections closed in `stage`, or `None` for stages whose end is not
    /// counted.
    pub(super) fn closed_counter(&self, stage: Stage) -> Option<&AtomicU64> {
        match stage {
            Stage::Head => Some(&self.closed_in_head),
            Stage::Idle => Some(&self.closed_idle),
            Stage::Reading | Stage::Sending => Some(&self.closed_in_body),
            Stage::Ours | Stage::Lingering => None,
        }
    }
}
