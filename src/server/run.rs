//! Puts the parts together and takes them apart again.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::activity::Limits;
use super::cores::{Cores, Shared};
use super::protocol::Protocols;
use super::service::Serving;
use super::{Config, Tally, listen};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::origin::Permits;
use crate::proxy::Way;
use crate::store::Store;
use crate::{access, admin, origin, proxy};

/// How often the store is swept.
const STORE_SWEEP: Duration = Duration::from_secs(1);

/// How long the admin side may take to end what is under way; its answers take milliseconds.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);

/// A Larder that runs. Dropping it stops it at once.
pub struct Running {
    addr: SocketAddr,
    admin_addr: Option<SocketAddr>,
    drain_timeout: Duration,
    is_ready: Arc<AtomicBool>,
    tally: Arc<Tally>,
    // Fields drop in this order: the admin side tells of the cores until they have ended.
    cores: Cores,
    admin: Option<Chore<oneshot::Sender<()>>>,
    store: Option<Chore<mpsc::Sender<()>>>,
}

/// A thread that ends when its signal is dropped.
struct Chore<S> {
    signal: Option<S>,
    thread: Option<JoinHandle<()>>,
}

impl<S> Chore<S> {
    fn spawn(name: &str, signal: S, run: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Self { signal: Some(signal), thread: Some(thread) })
    }
}

impl<S> Drop for Chore<S> {
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
pub fn start(config: Config, clock: Clock) -> io::Result<Running> {
    listen::raise_open_files();
    let (addr, listeners) = listen::bind(config.listen, config.workers.max(1))?;
    let admin_listener = match config.admin.listen {
        Some(listen) => listen::bind(listen, 1)?.1.pop(),
        None => None,
    };
    let admin_addr = admin_listener.as_ref().map(TcpListener::local_addr).transpose()?;

    let access = config.access.as_ref().map(access::Log::open).transpose()?;
    let store = Arc::new(Store::new(config.store.clone(), clock.clone()));
    let metrics = Arc::new(Metrics::new(config.route_names.clone()));
    let way =
        proxy::Shared::new(config.proxy.clone(), config.routes.clone(), Arc::clone(&store), clock, access.clone());
    let (tally, is_ready) = (Arc::<Tally>::default(), Arc::new(AtomicBool::new(true)));

    let permits = Arc::new(Permits::new(&config.origin));
    let cores = cores(&config, listeners, &way, &metrics, (&tally, &permits))?;
    let parts = admin::Parts {
        store: Arc::clone(&store),
        metrics,
        ready: {
            let is_ready = Arc::clone(&is_ready);
            Arc::new(move || is_ready.load(Ordering::Relaxed))
        },
        explain: {
            let (way, permits) = (Arc::clone(&way), Arc::clone(&permits));
            Arc::new(move |question| proxy::explain::explain(&way, permits.outlook(), question))
        },
        flights: Arc::new(move || way.flights()),
        connections: Arc::new(cores.connections()),
        origin: Arc::new(move || permits.figures()),
        server: {
            let tally = Arc::clone(&tally);
            Arc::new(move || tally.told())
        },
        log_dropped: Arc::new(move || access.as_ref().map_or(0, access::Log::dropped)),
        warnings: config.warnings,
    };
    let admin = admin_listener.map(|listener| serve_admin(listener, parts)).transpose()?;
    let store = Some(sweep_store(store)?);
    Ok(Running { addr, admin_addr, drain_timeout: config.drain_timeout, is_ready, tally, cores, admin, store })
}

/// Starts the cores on the way of a request.
fn cores(
    config: &Config,
    listeners: Vec<TcpListener>,
    way: &Arc<proxy::Shared>,
    metrics: &Arc<Metrics>,
    (tally, permits): (&Arc<Tally>, &Arc<Permits>),
) -> io::Result<Cores> {
    let shared = Shared {
        protocols: Protocols::new(config.head_bytes_max, config.http2_streams_max, Arc::clone(tally)),
        limits: Limits { head: config.head_timeout, idle: config.idle_timeout, body: config.body_idle_timeout },
        connections_max: config.connections_max,
        tally: Arc::clone(tally),
        is_busy: {
            let way = Arc::clone(way);
            Arc::new(move || way.flights() > 0)
        },
    };
    let (way, metrics) = (Arc::clone(way), Arc::clone(metrics));
    let (origin, permits) = (Arc::new(config.origin.clone()), Arc::clone(permits));
    Cores::start(listeners, shared, move || {
        let client = origin::Client::new(Arc::clone(&origin), Arc::clone(&permits));
        Serving(Way::new(Arc::clone(&way), client, metrics.local()))
    })
}

/// Serves the admin side on a thread of its own, so that no question of it delays a request.
fn serve_admin(listener: TcpListener, parts: admin::Parts) -> io::Result<Chore<oneshot::Sender<()>>> {
    let runtime: Runtime = Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    let listener = {
        let _on = runtime.enter();
        tokio::net::TcpListener::from_std(listener)?
    };
    let (signal, ended) = oneshot::channel::<()>();
    Chore::spawn("larder-admin", signal, move || {
        runtime.block_on(async move {
            let (drain, draining) = oneshot::channel::<()>();
            let graceful = async move {
                let _ = draining.await;
            };
            let serve = axum::serve(listener, admin::router(parts)).with_graceful_shutdown(graceful).into_future();
            let mut serve = std::pin::pin!(serve);
            tokio::select! {
                _ = &mut serve => (),
                _ = ended => {
                    drop(drain);
                    let _ = tokio::time::timeout(ADMIN_DRAIN, serve).await;
                }
            }
        });
        runtime.shutdown_timeout(ADMIN_DRAIN);
    })
}

/// Sweeps the store on a thread of its own, off the cores' loops.
fn sweep_store(store: Arc<Store>) -> io::Result<Chore<mpsc::Sender<()>>> {
    let (signal, ended) = mpsc::channel::<()>();
    Chore::spawn("larder-store", signal, move || {
        while ended.recv_timeout(STORE_SWEEP) == Err(mpsc::RecvTimeoutError::Timeout) {
            store.sweep();
        }
    })
}

impl Running {
    /// Returns the address that the proxy listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the address that the admin side listens on.
    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.admin_addr
    }

    /// Returns what the server counted of itself.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Stops accepting, ends what is in flight within the drain timeout, and returns when all threads are gone.
    pub fn drain(mut self) {
        self.is_ready.store(false, Ordering::Relaxed);
        self.cores.stop(self.drain_timeout);
        drop(self.admin.take());
        drop(self.store.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chore_ends_when_it_is_dropped() {
        let (signal, ended) = mpsc::channel::<()>();
        let (done, is_done) = mpsc::channel();
        let chore = Chore::spawn("larder-test", signal, move || {
            let _ = ended.recv();
            let _ = done.send(());
        });
        drop(chore.unwrap());
        assert_eq!(is_done.try_recv(), Ok(()));
    }
}
