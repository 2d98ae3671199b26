//! Builds the parts of a running Larder, and stops them.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use parking_lot::Mutex;

use super::admin_server::{self, AdminServer};
use super::cores::{self, Cores, LiveConfig, Successor};
use super::listener::{self, Offer, Sockets};
use super::reload::{self, ConfigSource, OperationalConfig, Reloader};
use super::service::WorkerService;
use super::{Config, ServerCounters};
use crate::clock::{Clock, Timestamp};
use crate::metrics::Metrics;
use crate::origin::Permits;
use crate::proxy::Worker;
use crate::store::Store;
use crate::{access, admin, origin, proxy};

/// How often the store is swept, if there is anything to sweep.
const STORE_SWEEP: Duration = Duration::from_millis(250);

/// A running Larder. Dropping it stops it at once.
pub struct Instance {
    addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    is_ready: Arc<AtomicBool>,
    counters: Arc<ServerCounters>,
    reloader: Arc<Reloader>,
    /// Duplicates of the listening sockets, for a handover.
    sockets: Sockets,
    // Fields drop in this order: the admin interface reports on the cores until they have ended.
    cores: Cores,
    admin: Option<AdminServer>,
    store: Option<BackgroundThread>,
}

/// Options of a start beside the configuration.
#[derive(Default)]
pub struct StartOptions {
    /// The source of new configurations; without one a reload is refused.
    pub source: Option<ConfigSource>,
    /// Inherited listening sockets. The proxy and the admin interface each bind their own where
    /// this has none for them.
    pub sockets: Sockets,
    /// The exporter of trace spans; without one nothing is traced.
    pub traces: Option<proxy::trace::Exporter>,
}

/// A thread that ends when its signal is dropped.
struct BackgroundThread {
    signal: Option<mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl BackgroundThread {
    fn spawn(name: &str, signal: mpsc::Sender<()>, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { signal: Some(signal), thread: Some(thread) })
    }
}

impl Drop for BackgroundThread {
    fn drop(&mut self) {
        self.signal = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("a background thread panicked");
        }
    }
}

/// Starts serving: binds the addresses, spawns a thread per core, and returns once both listeners
/// accept.
///
/// # Errors
/// An address that is in use or cannot be bound, which the error names; an access log that cannot
/// be opened; a thread that cannot be created.
pub fn start(config: Config, clock: Clock) -> io::Result<Instance> {
    start_with(config, clock, StartOptions::default())
}

/// Starts serving as [`start`] does, with inherited sockets, a source for reloads, and an exporter.
///
/// # Errors
/// As [`start`].
pub fn start_with(config: Config, clock: Clock, start: StartOptions) -> io::Result<Instance> {
    listener::raise_open_files();
    let Listeners { addr, proxy, admin: admin_listener, sockets } = listeners(&config, start.sockets)?;
    let admin_addr = admin_listener.as_ref().map(TcpListener::local_addr).transpose()?;

    let access = config.access.as_ref().map(access::AccessLogWriter::open).transpose()?;
    let store = Arc::new(Store::new(config.store.clone(), clock.clone()));
    let metrics = Arc::new(Metrics::new(config.route_names.clone()));
    let (counters, is_ready) = (Arc::<ServerCounters>::default(), Arc::new(AtomicBool::new(true)));
    let readers = access::LogReaders { log: access.clone(), ..access::LogReaders::default() };
    let store_clone = Arc::clone(&store);
    let (proxy_config, routes, traces) = (config.proxy.clone(), config.routes.clone(), start.traces.clone());
    let proxy_shared = proxy::Shared::with_exporter(proxy_config, routes, store_clone, clock.clone(), readers, traces);
    let permits = Arc::new(Permits::new(&config.origin));
    let live = Arc::new(ArcSwap::from_pointee(LiveConfig::of(&config, &counters)));
    let is_busy = {
        let proxy_shared = Arc::clone(&proxy_shared);
        Arc::new(move || proxy_shared.flights() > 0)
    };
    let (max, count) = (config.connections_max, Arc::clone(&counters));
    let cores_shared = Arc::new(cores::CoresShared::new("larder-core", Arc::clone(&live), max, count, is_busy));
    let mut services = Vec::with_capacity(proxy.len());
    let origin = Arc::new(config.origin.clone());
    let cores = Cores::start(proxy, Arc::clone(&cores_shared), |_| {
        let client = origin::UpstreamClient::new(Arc::clone(&origin), Arc::clone(&permits));
        let worker = Worker::new(Arc::clone(&proxy_shared), client, metrics.local());
        let service = Arc::new(WorkerService(ArcSwap::new(worker)));
        services.push(Arc::clone(&service));
        service
    })?;
    let reloader = Arc::new(Reloader {
        source: start.source,
        shared: Mutex::new(proxy_shared),
        log: ArcSwapOption::new(access.map(Arc::new)),
        operational: ArcSwap::from_pointee(OperationalConfig::of(&config)),
        last: ArcSwapOption::empty(),
        in_force_since: AtomicI64::new(clock.now().as_millis()),
        targets: reload::ReloadTargets {
            services,
            cores: cores_shared,
            store,
            metrics,
            permits,
            counters: Arc::clone(&counters),
            clock,
        },
    });
    let admin = admin::Config { listen: admin_addr, ..config.admin };
    let traces =
        start.traces.map_or_else(|| Arc::new(proxy::trace::ExportStats::default) as _, |exporter| exporter.stats);
    let admin_shared = admin_server::shared_state(live, admin.connections_max);
    let sources = admin::AdminSources { traces, ..admin_sources(admin, &reloader, &admin_shared, &is_ready) };
    let admin = admin_listener.map(|listener| AdminServer::start(listener, admin_shared, sources)).transpose()?;
    let store = Some(sweep_store(Arc::clone(&reloader.targets.store))?);
    Ok(Instance { addr, admin_addr, is_ready, counters, reloader, sockets, cores, admin, store })
}

/// The listening sockets of the proxy and the admin interface.
struct Listeners {
    addr: SocketAddr,
    proxy: Vec<Vec<TcpListener>>,
    admin: Option<TcpListener>,
    /// Duplicates of all of them.
    sockets: Sockets,
}

/// Takes the inherited sockets, and binds those that are missing.
fn listeners(config: &Config, sockets: Sockets) -> io::Result<Listeners> {
    let workers = config.workers.max(1);
    let (addr, proxy) = match sockets.proxy {
        none if none.is_empty() => {
            let (addr, listeners) = listener::bind(config.listen, workers)?;
            (addr, listeners.into_iter().map(|listener| vec![listener]).collect())
        }
        sockets => listener::distribute(sockets, workers)?,
    };
    let admin = match (sockets.admin, config.admin.listen) {
        (Some(socket), _) => {
            check_reach(&socket, config)?;
            socket.set_nonblocking(true)?;
            Some(socket)
        }
        (None, Some(listen)) => listener::bind(listen, 1)?.1.pop(),
        (None, None) => None,
    };
    let all = proxy.iter().flatten().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
    let sockets = Sockets { proxy: all, admin: admin.as_ref().map(TcpListener::try_clone).transpose()? };
    Ok(Listeners { addr, proxy, admin, sockets })
}

/// Refuses an inherited admin socket that other machines can reach if no token is set. The
/// configuration was checked for its own address only, and says nothing about inherited sockets.
fn check_reach(socket: &TcpListener, config: &Config) -> io::Result<()> {
    let addr = socket.local_addr()?;
    if addr.ip().is_loopback() || config.admin.token.is_some() {
        return Ok(());
    }
    let message = format!(
        "the inherited admin socket listens on {addr}, which other machines can reach: set `token` or `token_file` \
         under [admin]"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

/// Collects what the admin interface reports on.
fn admin_sources(
    config: admin::Config,
    reloader: &Arc<Reloader>,
    own: &Arc<cores::CoresShared>,
    is_ready: &Arc<AtomicBool>,
) -> admin::AdminSources {
    let reload::ReloadTargets { cores, store, metrics, permits, counters, .. } = &reloader.targets;
    let (cores, own) = (Arc::clone(cores), Arc::clone(own));
    let (is_ready, counters, permits) = (Arc::clone(is_ready), Arc::clone(counters), Arc::clone(permits));
    let shared = Arc::clone(&reloader.shared.lock());
    let reloader_clone = || Arc::clone(reloader);
    let purging = Arc::clone(reloader);
    admin::AdminSources {
        config,
        purge: Arc::new(move |target, kind| {
            let worker = Arc::clone(&purging.shared.lock());
            proxy::purge::purge(&worker, target, kind)
        }),
        store: Arc::clone(store),
        metrics: Arc::clone(metrics),
        ready: Arc::new(move || is_ready.load(Ordering::Relaxed)),
        explain: {
            let (reloader, permits) = (reloader_clone(), Arc::clone(&permits));
            Arc::new(move |question| {
                let shared = Arc::clone(&reloader.shared.lock());
                proxy::explain::explain(&shared, permits.outlook(), question)
            })
        },
        shadow: {
            let (reloader, metrics) = (reloader_clone(), Arc::clone(metrics));
            Arc::new(move || {
                let shared = Arc::clone(&reloader.shared.lock());
                proxy::shadow::report(&shared, metrics.snapshot().shadow)
            })
        },
        connections_max: cores.connections_max(),
        connections: Arc::new(move || cores.connections()),
        admin_connections: Arc::new(move || admin_server::connections(&own)),
        origin: Arc::new(move || permits.stats()),
        server: Arc::new(move || counters.snapshot()),
        followers: Arc::clone(shared.followers()),
        flights: Arc::new(move || shared.flights()),
        log_dropped: {
            let reloader = reloader_clone();
            Arc::new(move || reloader.log.load().as_ref().map_or(0, |log| log.dropped()))
        },
        traces: Arc::new(Default::default),
        warnings: {
            let reloader = reloader_clone();
            Arc::new(move || reloader.operational.load().warnings.clone())
        },
        reload: admin::ReloadHandle {
            now: {
                let reloader = reloader_clone();
                Arc::new(move || reloader.reload("POST /reload"))
            },
            last: {
                let reloader = reloader_clone();
                Arc::new(move || reloader.last.load().as_deref().cloned())
            },
            in_force_since: {
                let reloader = reloader_clone();
                Arc::new(move || Timestamp::from_millis(reloader.in_force_since.load(Ordering::Relaxed)))
            },
        },
    }
}

/// Sweeps the store on a thread of its own, away from the cores' event loops.
fn sweep_store(store: Arc<Store>) -> io::Result<BackgroundThread> {
    let (signal, ended) = mpsc::channel::<()>();
    BackgroundThread::spawn("larder-store", signal, move || {
        while ended.recv_timeout(STORE_SWEEP) == Err(mpsc::RecvTimeoutError::Timeout) {
            store.sweep();
        }
    })
}

impl Instance {
    /// Returns the address that the proxy listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the address that the admin interface listens on.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Returns the server's own counters.
    pub fn counters(&self) -> &ServerCounters {
        &self.counters
    }

    /// Returns the handle that reloads the configuration.
    pub fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
    }

    /// Returns how long a drain waits for requests in flight.
    pub fn drain_timeout(&self) -> Duration {
        self.reloader.operational.load().drain_timeout
    }

    /// Duplicates the listening sockets, for the process that takes over.
    ///
    /// # Errors
    /// When no more descriptors can be opened.
    pub fn offer(&self) -> io::Result<Offer> {
        self.sockets.try_clone().map(Offer)
    }

    /// Stops accepting, waits for requests in flight up to the drain timeout, and returns when all
    /// threads have ended.
    pub fn drain(self) {
        self.end(Successor::Nobody);
    }

    /// Leaves serving to the process that has taken over the sockets: accepts no more, answers one
    /// more request on each connection, and returns when all connections have closed, or after the
    /// drain timeout.
    ///
    /// Nothing is answered from this store any more, since later purges reach only the new process.
    pub fn hand_over(mut self) {
        self.reloader.targets.store.close();
        if let Some(admin) = self.admin.take() {
            admin.stop(Successor::Another);
        }
        self.end(Successor::Another);
    }

    fn end(mut self, after: Successor) {
        self.is_ready.store(false, Ordering::Relaxed);
        // While these are open, the kernel keeps queueing connections on them.
        self.sockets = Sockets::default();
        self.cores.stop(after, self.drain_timeout());
        if let Some(admin) = self.admin.take() {
            admin.stop(after);
        }
        drop(self.store.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_background_thread_ends_when_it_is_dropped() {
        let (signal, ended) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        let thread = BackgroundThread::spawn("larder-test", signal, move || {
            let _ = ended.recv();
            let _ = done.send(());
        });
        drop(thread.unwrap());
        assert_eq!(is_done.try_recv(), Ok(()));
    }
}
