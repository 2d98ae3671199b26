//! Everything that the admin interface reads and calls, as values and closures.

use std::sync::Arc;

use super::config::Config;
use super::explain;
use super::reload::ReloadHandle;
use super::snapshots::{AdminConnections, ReadingOf, ServerSnapshot};
use crate::access::Followers;
use crate::metrics::Metrics;
use crate::origin;
use crate::proxy;
use crate::proxy::purge::{PurgeResult, PurgeTarget};
use crate::store::{PurgeKind, Store};

/// Everything that the admin interface reads and calls.
#[derive(Clone)]
pub struct AdminSources {
    /// The configuration of the admin interface.
    pub config: Config,
    /// The store, for its stats.
    pub store: Arc<Store>,
    /// Purges a target.
    pub purge: Arc<dyn Fn(PurgeTarget, PurgeKind) -> PurgeResult + Send + Sync>,
    /// The metrics of requests.
    pub metrics: Arc<Metrics>,
    /// Returns false while draining.
    pub ready: ReadingOf<bool>,
    /// Returns the number of fetches in flight.
    pub flights: ReadingOf<usize>,
    /// Returns the number of open client connections.
    pub connections: ReadingOf<usize>,
    /// The maximum number of client connections.
    pub connections_max: usize,
    /// Returns the stats of the origin side.
    pub origin: ReadingOf<origin::OriginStats>,
    /// Returns the connections to the admin interface itself.
    pub admin_connections: ReadingOf<AdminConnections>,
    /// Returns the counters of the server.
    pub server: ReadingOf<ServerSnapshot>,
    /// Explains how a request would be handled.
    pub explain: explain::Explain,
    /// Returns the report of shadow mode.
    pub shadow: ReadingOf<proxy::shadow::ShadowReport>,
    /// The readers that follow requests live.
    pub followers: Arc<Followers>,
    /// Returns the number of access log lines that were dropped.
    pub log_dropped: ReadingOf<u64>,
    /// Returns the counts of exported and dropped spans.
    pub traces: ReadingOf<proxy::trace::ExportStats>,
    /// Returns the warnings of the configuration, for `/stats`.
    pub warnings: ReadingOf<Vec<String>>,
    /// Reloads the configuration.
    pub reload: ReloadHandle,
}
