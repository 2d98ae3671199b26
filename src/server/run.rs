//! Puts the parts together and takes them apart again.

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
use super::handover::{Offer, Sockets};
use super::reload::{self, ConfigSource, OperationalConfig, Reloader};
use super::service::WorkerService;
use super::{Config, ServerCounters, listen};
use crate::clock::{Clock, Timestamp};
use crate::metrics::Metrics;
use crate::origin::Permits;
use crate::proxy::Worker;
use crate::store::Store;
use crate::{access, admin, origin, proxy};

/// How often the store is swept, where there is something to sweep.
const STORE_SWEEP: Duration = Duration::from_millis(250);

/// A Larder that runs. Dropping it stops it at once.
pub struct Instance {
    addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    is_ready: Arc<AtomicBool>,
    counters: Arc<ServerCounters>,
    reloader: Arc<Reloader>,
    /// The listening sockets once more, to be handed over.
    sockets: Sockets,
    // Fields drop in this order: the admin side tells of the cores until they have ended.
    cores: Cores,
    admin: Option<AdminServer>,
    store: Option<BackgroundThread>,
}

/// What a start may be given beside the configuration.
#[derive(Default)]
pub struct StartOptions {
    /// Where a new configuration comes from; without it a reload is refused.
    pub source: Option<ConfigSource>,
    /// Sockets that listen already. Where there are none for the proxy, it binds its own; likewise the admin side.
    pub sockets: Sockets,
    /// Who is given the spans of what is traced; without it nothing is.
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
            tracing::error!("a background thread had panicked");
        }
    }
}

/// Starts serving: binds, spawns a thread per core, returns once both listeners accept.
///
/// # Errors
/// A taken port or an address that cannot be bound, with the address named; an access log that cannot be opened; a thread
/// that cannot be made.
pub fn start(config: Config, clock: Clock) -> io::Result<Instance> {
    start_with(config, clock, StartOptions::default())
}

/// Starts serving as [`start`] does, on sockets that are there already, and with a way to reload.
///
/// # Errors
/// As [`start`].
pub fn start_with(config: Config, clock: Clock, start: StartOptions) -> io::Result<Instance> {
    listen::raise_open_files();
    let Listeners { addr, proxy, admin: admin_listener, sockets } = listeners(&config, start.sockets)?;
    let admin_addr = admin_listener.as_ref().map(TcpListener::local_addr).transpose()?;

    let access = config.access.as_ref().map(access::AccessLogWriter::open).transpose()?;
    let store = Arc::new(Store::new(config.store.clone(), clock.clone()));
    let metrics = Arc::new(Metrics::new(config.route_names.clone()));
    let (counters, is_ready) = (Arc::<ServerCounters>::default(), Arc::new(AtomicBool::new(true)));
    let readers = access::LogReaders { log: access.clone(), ..access::LogReaders::default() };
    let store_of_way = Arc::clone(&store);
    let (proxy_config, routes, traces) = (config.proxy.clone(), config.routes.clone(), start.traces.clone());
    let worker = proxy::Shared::with_exporter(proxy_config, routes, store_of_way, clock.clone(), readers, traces);
    let permits = Arc::new(Permits::new(&config.origin));
    let live = Arc::new(ArcSwap::from_pointee(LiveConfig::of(&config, &counters)));
    let is_busy = {
        let worker = Arc::clone(&worker);
        Arc::new(move || worker.flights() > 0)
    };
    let (max, count) = (config.connections_max, Arc::clone(&counters));
    let shared = Arc::new(cores::CoresShared::new("larder-core", Arc::clone(&live), max, count, is_busy));
    let mut serving = Vec::with_capacity(proxy.len());
    let origin = Arc::new(config.origin.clone());
    let cores = Cores::start(proxy, Arc::clone(&shared), |_| {
        let client = origin::UpstreamClient::new(Arc::clone(&origin), Arc::clone(&permits));
        let worker = Worker::new(Arc::clone(&worker), client, metrics.local());
        let core = Arc::new(WorkerService(ArcSwap::new(worker)));
        serving.push(Arc::clone(&core));
        core
    })?;
    let reloader = Arc::new(Reloader {
        source: start.source,
        shared: Mutex::new(worker),
        log: ArcSwapOption::new(access.map(Arc::new)),
        operational: ArcSwap::from_pointee(OperationalConfig::of(&config)),
        last: ArcSwapOption::empty(),
        in_force_since: AtomicI64::new(clock.now().as_millis()),
        parts: reload::ReloadTargets {
            serving,
            cores: shared,
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
    let of_admin = admin_server::shared_state(live, admin.connections_max);
    let parts = admin::AdminSources { traces, ..admin_parts(admin, &reloader, &of_admin, &is_ready) };
    let admin = admin_listener.map(|listener| AdminServer::start(listener, of_admin, parts)).transpose()?;
    let store = Some(sweep_store(Arc::clone(&reloader.parts.store))?);
    Ok(Instance { addr, admin_addr, is_ready, counters, reloader, sockets, cores, admin, store })
}

/// The sockets of both sides.
struct Listeners {
    addr: SocketAddr,
    proxy: Vec<Vec<TcpListener>>,
    admin: Option<TcpListener>,
    /// All of them once more.
    sockets: Sockets,
}

/// Takes the sockets that are there, and binds what is missing.
fn listeners(config: &Config, sockets: Sockets) -> io::Result<Listeners> {
    let workers = config.workers.max(1);
    let (addr, proxy) = match sockets.proxy {
        none if none.is_empty() => {
            let (addr, listeners) = listen::bind(config.listen, workers)?;
            (addr, listeners.into_iter().map(|listener| vec![listener]).collect())
        }
        sockets => listen::deal(sockets, workers)?,
    };
    let admin = match (sockets.admin, config.admin.listen) {
        (Some(socket), _) => {
            check_reach(&socket, config)?;
            socket.set_nonblocking(true)?;
            Some(socket)
        }
        (None, Some(listen)) => listen::bind(listen, 1)?.1.pop(),
        (None, None) => None,
    };
    let all = proxy.iter().flatten().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
    let sockets = Sockets { proxy: all, admin: admin.as_ref().map(TcpListener::try_clone).transpose()? };
    Ok(Listeners { addr, proxy, admin, sockets })
}

/// Refuses a socket for the admin side that others can reach where there is no token to ask for: the configuration says
/// nothing of a socket that was handed over.
fn check_reach(socket: &TcpListener, config: &Config) -> io::Result<()> {
    let addr = socket.local_addr()?;
    if addr.ip().is_loopback() || config.admin.token.is_some() {
        return Ok(());
    }
    let what = format!(
        "the socket for the admin side that was handed over is on {addr}, where others can reach it: set `token` or \
         `token_file` under [admin]"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

/// What the admin side looks at.
fn admin_parts(
    config: admin::Config,
    reloader: &Arc<Reloader>,
    own: &Arc<cores::CoresShared>,
    is_ready: &Arc<AtomicBool>,
) -> admin::AdminSources {
    let reload::ReloadTargets { cores, store, metrics, permits, counters, .. } = &reloader.parts;
    let (cores, own) = (Arc::clone(cores), Arc::clone(own));
    let (is_ready, counters, permits) = (Arc::clone(is_ready), Arc::clone(counters), Arc::clone(permits));
    let worker = Arc::clone(&reloader.shared.lock());
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
                let worker = Arc::clone(&reloader.shared.lock());
                proxy::explain::explain(&worker, permits.outlook(), question)
            })
        },
        shadow: {
            let (reloader, metrics) = (reloader_clone(), Arc::clone(metrics));
            Arc::new(move || {
                let worker = Arc::clone(&reloader.shared.lock());
                proxy::shadow::report(&worker, metrics.snapshot().shadow)
            })
        },
        connections_max: cores.connections_max(),
        connections: Arc::new(move || cores.connections()),
        admin_connections: Arc::new(move || admin_server::connections(&own)),
        origin: Arc::new(move || permits.stats()),
        server: Arc::new(move || counters.snapshot()),
        followers: Arc::clone(worker.followers()),
        flights: Arc::new(move || worker.flights()),
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

/// Sweeps the store on a thread of its own, off the cores' loops.
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

    /// Returns the address that the admin side listens on.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Returns what the server counted of itself.
    pub fn counters(&self) -> &ServerCounters {
        &self.counters
    }

    /// Returns what reloads it.
    pub fn reloader(&self) -> Arc<Reloader> {
        Arc::clone(&self.reloader)
    }

    /// Returns how long a drain waits for what is in flight.
    pub fn drain_timeout(&self) -> Duration {
        self.reloader.operational.load().drain_timeout
    }

    /// Makes an offer of the listening sockets, for one who takes this one's place.
    ///
    /// # Errors
    /// Where the system gives no more descriptors.
    pub fn offer(&self) -> io::Result<Offer> {
        self.sockets.try_clone().map(Offer)
    }

    /// Stops accepting, ends what is in flight within the drain timeout, and returns when all threads are gone.
    pub fn drain(self) {
        self.end(Successor::Nobody);
    }

    /// Leaves to who has taken the sockets over: accepts no more, answers one more request on each connection, and returns
    /// when all have gone, or after the drain timeout.
    ///
    /// It answers nothing from the store any more: what is purged from now on is purged at the other one.
    pub fn hand_over(mut self) {
        self.reloader.parts.store.close();
        if let Some(admin) = self.admin.take() {
            admin.stop(Successor::Another);
        }
        self.end(Successor::Another);
    }

    fn end(mut self, after: Successor) {
        self.is_ready.store(false, Ordering::Relaxed);
        // While these are open, the system goes on queueing connections at them.
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
