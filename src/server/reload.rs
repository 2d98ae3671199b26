//! Applies another configuration while requests run: checked first, then applied as a whole, or not
//! at all.
//!
//! A request takes its worker once, when it begins (`service::WorkerService`), and ends with that
//! one. So a reload creates a new worker for each core, around the same store, flights and metrics,
//! and swaps it in; connections notice nothing. A key that the new routes compute differently is
//! simply another key. Settings that are fixed while the process runs (listening sockets, threads,
//! the capacity of the map) stay as they are; the [`ConfigSource`] reads the new configuration and
//! lists the changes that need a restart.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use super::connection::StageLimits;
use super::cores::{self, LiveConfig};
use super::driver::Protocols;
use super::service::WorkerService;
use super::{Config, ServerCounters};
use crate::admin::{ConfigFault, ReloadResult};
use crate::clock::{Clock, Timestamp};
use crate::metrics::Metrics;
use crate::origin::Permits;
use crate::store::Store;
use crate::{access, proxy};

/// Reads a new configuration; it may read files.
pub type ConfigSource = Box<dyn Fn() -> Result<NewConfig, Vec<ConfigFault>> + Send + Sync>;

/// A valid configuration that was read for a reload.
pub struct NewConfig {
    /// The configuration.
    pub config: Config,
    /// The changes that need a restart: one sentence each.
    pub needs_restart: Vec<String>,
    /// Called once the configuration is in force.
    pub in_force: Box<dyn FnOnce() + Send>,
}

/// Applies reloads, and remembers the result of the last one.
pub struct Reloader {
    pub(super) source: Option<ConfigSource>,
    pub(super) targets: ReloadTargets,
    /// The state shared by all workers, which a reload replaces. The lock is held during a reload,
    /// so that reloads run one at a time; nothing awaits under it.
    pub(super) shared: Mutex<Arc<proxy::Shared>>,
    /// The access log, kept while it is turned off: its thread stays.
    pub(super) log: ArcSwapOption<access::AccessLogWriter>,
    pub(super) operational: ArcSwap<OperationalConfig>,
    pub(super) last: ArcSwapOption<ReloadResult>,
    /// When the configuration in force was read, in milliseconds since the Unix epoch.
    pub(super) in_force_since: AtomicI64,
}

/// The parts of a running Larder that a reload changes or reads.
pub(super) struct ReloadTargets {
    pub(super) services: Vec<Arc<WorkerService>>,
    pub(super) cores: Arc<cores::CoresShared>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) permits: Arc<Permits>,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) clock: Clock,
}

/// The settings that are read outside of requests.
pub(super) struct OperationalConfig {
    pub(super) warnings: Vec<String>,
    pub(super) drain_timeout: Duration,
    pub(super) access: Option<access::Config>,
}

impl OperationalConfig {
    pub(super) fn of(config: &Config) -> Self {
        Self { warnings: config.warnings.clone(), drain_timeout: config.drain_timeout, access: config.access.clone() }
    }
}

impl LiveConfig {
    pub(super) fn of(config: &Config, counters: &Arc<ServerCounters>) -> Self {
        Self {
            protocols: Protocols::new(config.head_bytes_max, config.http2_streams_max, Arc::clone(counters)),
            limits: StageLimits {
                head: config.head_timeout,
                idle: config.idle_timeout,
                body: config.body_idle_timeout,
            },
        }
    }
}

impl Reloader {
    /// Reads the configuration again and applies it; `by` names the trigger. An invalid
    /// configuration changes nothing. The access log's file is reopened either way. Blocks: reads
    /// files, and waits for another reload.
    pub fn reload(&self, by: &str) -> ReloadResult {
        let mut shared = self.shared.lock();
        let result = match &self.source {
            Some(source) => source(),
            None => Err(vec![no_source_fault()]),
        };
        let result = match result {
            Ok(fresh) => self.apply(&mut shared, fresh).map_err(|error| vec![open_fault(&error)]),
            Err(problems) => {
                self.reopen_log();
                Err(problems)
            }
        };
        let now = self.targets.clock.now();
        let (needs_restart, problems) = match result {
            Ok(needs_restart) => (needs_restart, Vec::new()),
            Err(problems) => (Vec::new(), problems),
        };
        let applied = problems.is_empty();
        self.count(applied, now);
        let at_unix_seconds = now.as_secs();
        let reloaded = ReloadResult { at_unix_seconds, by: by.to_owned(), applied, problems, needs_restart };
        log_result(&reloaded);
        self.last.store(Some(Arc::new(reloaded.clone())));
        reloaded
    }

    fn count(&self, applied: bool, now: Timestamp) {
        let ServerCounters { reloads_applied, reloads_refused, .. } = &*self.targets.counters;
        let counter = if applied { reloads_applied } else { reloads_refused };
        counter.fetch_add(1, Ordering::Relaxed);
        if applied {
            self.in_force_since.store(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Applies a configuration. The steps that can fail come first, and change nothing if they do.
    fn apply(&self, shared: &mut Arc<proxy::Shared>, fresh: NewConfig) -> io::Result<Vec<String>> {
        let NewConfig { config, needs_restart, in_force } = fresh;
        let access = match (&config.access, self.log.load_full()) {
            (None, _) => None,
            (Some(access), Some(log)) => Some(log.reconfigured(access)?),
            (Some(access), None) => Some(access::AccessLogWriter::open(access)?),
        };
        if let Some(log) = &access {
            self.log.store(Some(Arc::new(log.clone())));
        }
        let targets = &self.targets;
        self.operational.store(Arc::new(OperationalConfig::of(&config)));
        targets.cores.live.store(Arc::new(LiveConfig::of(&config, &targets.counters)));
        targets.store.adjust(config.store);
        targets.permits.adjust(&config.origin);
        let rows = targets.metrics.adopt(config.route_names);
        *shared = shared.reconfigured(config.proxy, config.routes, access);
        let origin = Arc::new(config.origin);
        for service in &targets.services {
            let worker = service.0.load().reconfigured(shared, &origin, &rows);
            service.0.store(worker);
        }
        in_force();
        Ok(needs_restart)
    }

    /// Reopens the access log's file: a log rotation has renamed it, and expects a reload to reopen
    /// it whatever the configuration says.
    fn reopen_log(&self) {
        if let (Some(log), Some(access)) = (self.log.load_full(), &self.operational.load().access)
            && let Err(error) = log.reconfigured(access)
        {
            tracing::warn!(%error, "cannot reopen the access log; still writing to the file that is open");
        }
    }
}

fn open_fault(error: &io::Error) -> ConfigFault {
    fault("log.access_file", error.to_string(), "a file that Larder may append to")
}

fn no_source_fault() -> ConfigFault {
    fault("", "there is no configuration to reload".to_owned(), "a Larder that was started with a configuration file")
}

fn fault(key: &str, what: String, allowed: &str) -> ConfigFault {
    ConfigFault { file: String::new(), line: None, key: key.to_owned(), what, allowed: allowed.to_owned() }
}

/// Logs the result of a reload.
fn log_result(reloaded: &ReloadResult) {
    for ConfigFault { file, line, key, what, allowed } in &reloaded.problems {
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        tracing::error!("{file}{line}: `{key}`: {what}; allowed: {allowed}");
    }
    for sentence in &reloaded.needs_restart {
        tracing::warn!("{sentence}");
    }
    if reloaded.applied {
        tracing::info!(by = reloaded.by, "configuration reloaded");
    } else {
        let problems = reloaded.problems.len();
        tracing::error!(by = reloaded.by, problems, "reload failed; keeping the previous configuration");
    }
}
