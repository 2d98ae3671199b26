//! Readings that other modules provide to the admin interface, and the closures that take them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A closure that takes a reading.
pub type ReadingOf<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// Counters of the server since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSnapshot {
    /// Connections accepted.
    pub accepted: u64,
    /// Failures to accept a connection for lack of file descriptors or memory.
    pub accept_errors: u64,
    /// Request handlers that panicked.
    pub panics: u64,
    /// Connections closed because a head was not complete in time.
    pub closed_in_head: u64,
    /// Connections closed because they were idle for too long between requests.
    pub closed_idle: u64,
    /// Connections closed because content made no progress for too long.
    pub closed_in_body: u64,
    /// Reloads of the configuration that were applied.
    pub reloads_applied: u64,
    /// Reloads that were refused; the previous configuration stayed in force.
    pub reloads_refused: u64,
}

/// Connections to the admin interface itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminConnections {
    /// Open connections.
    pub connections: usize,
    /// The maximum number of connections.
    pub connections_max: usize,
    /// Connections rejected at the limit.
    pub turned_away: u64,
    /// Connections closed because they were silent or slow for too long.
    pub closed: u64,
}
