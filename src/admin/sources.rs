//! Everything that the admin side reads and calls, handed to it as values and closures.

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

/// What the admin side looks at, handed to it.
#[derive(Clone)]
pub struct AdminSources {
    /// What it keeps to.
    pub config: Config,
    /// The store, for its figures.
    pub store: Arc<Store>,
    /// Purges.
    pub purge: Arc<dyn Fn(PurgeTarget, PurgeKind) -> PurgeResult + Send + Sync>,
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Whether requests are served: false while draining.
    pub ready: ReadingOf<bool>,
    /// How many flights are under way.
    pub flights: ReadingOf<usize>,
    /// How many client connections are open.
    pub connections: ReadingOf<usize>,
    /// The most of them at once.
    pub connections_max: usize,
    /// The figures of the origin's side.
    pub origin: ReadingOf<origin::OriginStats>,
    /// Who is connected to the admin side itself.
    pub admin_connections: ReadingOf<AdminConnections>,
    /// What the server counts of itself.
    pub server: ReadingOf<ServerSnapshot>,
    /// What would happen to a request.
    pub explain: explain::Explain,
    /// What shadow mode tells.
    pub shadow: ReadingOf<proxy::shadow::ShadowReport>,
    /// Those who follow requests live.
    pub followers: Arc<Followers>,
    /// How many access log lines were dropped.
    pub log_dropped: ReadingOf<u64>,
    /// What became of the spans of traces.
    pub traces: ReadingOf<proxy::trace::ExportStats>,
    /// What the configuration warns of, for `/stats`.
    pub warnings: ReadingOf<Vec<String>>,
    /// How the configuration is read again.
    pub reload: ReloadHandle,
}
