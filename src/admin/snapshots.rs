//! Readings that other modules hand to the admin side, and the way to ask for them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A question that the admin side asks of the others.
pub type ReadingOf<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// What the server counts of itself since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSnapshot {
    /// Connections accepted.
    pub accepted: u64,
    /// Times that accepting failed for want of descriptors or memory.
    pub accept_errors: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Connections closed because a head did not become complete in time.
    pub closed_in_head: u64,
    /// Connections closed because they were silent between requests.
    pub closed_idle: u64,
    /// Connections closed because content did not move for too long.
    pub closed_in_body: u64,
    /// Reloads of the configuration that were applied.
    pub reloads_applied: u64,
    /// Reloads that were refused: the configuration before stayed.
    pub reloads_refused: u64,
}

/// Who is, and was, connected to the admin side itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminConnections {
    /// Connections open now.
    pub connections: usize,
    /// The most of them at once.
    pub connections_max: usize,
    /// Connections for which there was no room.
    pub turned_away: u64,
    /// Connections closed because they were silent, or slow, for too long.
    pub closed: u64,
}
