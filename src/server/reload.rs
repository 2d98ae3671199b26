//! Puts another configuration in force while requests run: checked first, then applied whole, or not at all.
//!
//! A request takes its way once, when it begins (`service::WorkerService`), and ends under it. So a reload makes a new way for
//! each core, around the same store, flights and figures, and puts it in the old one's place; connections notice nothing.
//! A key that the new routes compute differently is simply another key. What cannot change while it runs (listening
//! sockets, threads, the capacity of the map) stays as it is; where a new configuration comes from, and what in it has to
//! wait for a restart, is told by the [`ConfigSource`].

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

/// Where a new configuration comes from; it may read files.
pub type ConfigSource = Box<dyn Fn() -> Result<NewConfig, Vec<ConfigFault>> + Send + Sync>;

/// A configuration that was read again, and is in order.
pub struct NewConfig {
    /// The configuration.
    pub config: Config,
    /// What in it has to wait for a restart: a sentence each.
    pub needs_restart: Vec<String>,
    /// Called once it is in force.
    pub in_force: Box<dyn FnOnce() + Send>,
}

/// What is changed by a reload, and told of it.
pub struct Reloader {
    pub(super) source: Option<ConfigSource>,
    pub(super) parts: ReloadTargets,
    /// The configuration's part of what all cores share. Held while a reload is under way, so that they take turns; nothing
    /// awaits under it.
    pub(super) shared: Mutex<Arc<proxy::Shared>>,
    /// The access log, also while it is turned off: its thread stays.
    pub(super) log: ArcSwapOption<access::AccessLogWriter>,
    pub(super) operational: ArcSwap<OperationalConfig>,
    pub(super) last: ArcSwapOption<ReloadResult>,
    /// When the configuration in force was read, in milliseconds of Unix time.
    pub(super) in_force_since: AtomicI64,
}

/// The parts of a running Larder that a reload reaches.
pub(super) struct ReloadTargets {
    pub(super) serving: Vec<Arc<WorkerService>>,
    pub(super) cores: Arc<cores::CoresShared>,
    pub(super) store: Arc<Store>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) permits: Arc<Permits>,
    pub(super) counters: Arc<ServerCounters>,
    pub(super) clock: Clock,
}

/// What is asked of the configuration outside of requests.
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
    /// Reads the configuration again and puts it in force; `by` says who asked. Where it is not in order, the one before
    /// stays. The access log's file is opened anew either way. Blocks: it reads files, and waits for another reload.
    pub fn reload(&self, by: &str) -> ReloadResult {
        let mut shared = self.shared.lock();
        let result = match &self.source {
            Some(source) => source(),
            None => Err(vec![not_applied_fault("there is no configuration to read again".to_owned())]),
        };
        let result = match result {
            Ok(fresh) => self.apply(&mut shared, fresh).map_err(|error| vec![open_fault(&error)]),
            Err(problems) => {
                self.reopen_log();
                Err(problems)
            }
        };
        let now = self.parts.clock.now();
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
        let ServerCounters { reloads_applied, reloads_refused, .. } = &*self.parts.counters;
        let counter = if applied { reloads_applied } else { reloads_refused };
        counter.fetch_add(1, Ordering::Relaxed);
        if applied {
            self.in_force_since.store(now.as_millis(), Ordering::Relaxed);
        }
    }

    /// Puts a configuration in force. What can fail comes first, and changes nothing where it does.
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
        let parts = &self.parts;
        self.operational.store(Arc::new(OperationalConfig::of(&config)));
        parts.cores.live.store(Arc::new(LiveConfig::of(&config, &parts.counters)));
        parts.store.adjust(config.store);
        parts.permits.adjust(&config.origin);
        let rows = parts.metrics.adopt(config.route_names);
        *shared = shared.reconfigured(config.proxy, config.routes, access);
        let origin = Arc::new(config.origin);
        for serving in &parts.serving {
            let worker = serving.0.load().reconfigured(shared, &origin, &rows);
            serving.0.store(worker);
        }
        in_force();
        Ok(needs_restart)
    }

    /// Opens the access log's file anew: whoever rotates logs has renamed it, and does not care about configurations.
    fn reopen_log(&self) {
        if let (Some(log), Some(access)) = (self.log.load_full(), &self.operational.load().access)
            && let Err(error) = log.reconfigured(access)
        {
            tracing::warn!(%error, "the access log goes on in the file that it has open");
        }
    }
}

fn open_fault(error: &io::Error) -> ConfigFault {
    ConfigFault { key: "log.access_file".to_owned(), ..not_applied_fault(error.to_string()) }
}

fn not_applied_fault(what: String) -> ConfigFault {
    let allowed = "a file that Larder may append to".to_owned();
    ConfigFault { file: String::new(), line: None, key: String::new(), what, allowed }
}

/// Logs what came of it.
fn log_result(reloaded: &ReloadResult) {
    for ConfigFault { file, line, key, what, allowed } in &reloaded.problems {
        let line = line.map_or_else(String::new, |line| format!(":{line}"));
        tracing::error!("{file}{line}: `{key}`: {what}; allowed: {allowed}");
    }
    for sentence in &reloaded.needs_restart {
        tracing::warn!("{sentence}");
    }
    if reloaded.applied {
        tracing::info!(by = reloaded.by, "the configuration was read again and is in force");
    } else {
        let problems = reloaded.problems.len();
        tracing::error!(by = reloaded.by, problems, "the configuration was read again and refused; the old one stays");
    }
}
