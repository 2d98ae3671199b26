//! The cores: a thread each, with a runtime, a listening socket and connections of its own.
//!
//! Accepts within the bound on connections, and drains: what waits in the accept queue is still taken, connections finish
//! what is under way, and a core's runtime ends after the last flight of the process or at the deadline.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep};

use super::Tally;
use super::activity::Limits;
use super::connection::Accepted;
use super::protocol::Protocols;
use super::service::Serve;
use super::sweep::{Roster, sweep};
use super::wire::Order;

/// How long accepting rests after it failed for want of files or memory: retrying at once would only burn the core.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How often a draining core looks whether it is done.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// The most threads that a core's runtime makes for blocking calls: name look-ups, and files.
const BLOCKING_THREADS_MAX: usize = 4;

/// How long a core that ends waits for such a call.
const BLOCKING_WAIT: Duration = Duration::from_secs(1);

/// What all cores are made with.
pub(super) struct Shared {
    /// hyper, prepared.
    pub(super) protocols: Protocols,
    /// The timeouts.
    pub(super) limits: Limits,
    /// The most connections of the process.
    pub(super) connections_max: usize,
    /// Where things are counted.
    pub(super) tally: Arc<Tally>,
    /// Whether something runs that outlives its connection, and for which a runtime has to stay.
    pub(super) is_busy: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// The cores that run.
pub(super) struct Cores {
    threads: Vec<JoinHandle<()>>,
    /// `Some`: stop, and be done by then.
    stop: watch::Sender<Option<Instant>>,
    permits: Arc<Semaphore>,
    connections_max: usize,
}

impl Cores {
    /// Starts a core on each of `listeners`; `make` is called on each core's runtime and makes what answers there.
    ///
    /// # Errors
    /// A runtime or a thread that cannot be made.
    pub(super) fn start<F: Serve>(
        listeners: Vec<TcpListener>,
        shared: Shared,
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let connections_max = shared.connections_max.min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(connections_max));
        let (stop, stopped) = watch::channel(None);
        let mut cores = Self { threads: Vec::new(), stop, permits, connections_max };
        let (shared, make) = (Arc::new(shared), Arc::new(make));
        for (index, listener) in listeners.into_iter().enumerate() {
            let runtime = runtime()?;
            let listener = {
                let _on = runtime.enter();
                tokio::net::TcpListener::from_std(listener)?
            };
            let (shared, make) = (Arc::clone(&shared), Arc::clone(&make));
            let (permits, stopped) = (Arc::clone(&cores.permits), stopped.clone());
            let run = move || {
                runtime.block_on(async move {
                    let core = Core { serve: Arc::new(make()), roster: Arc::default(), shared, permits, stopped };
                    core.run(listener).await;
                });
                runtime.shutdown_timeout(BLOCKING_WAIT);
            };
            cores.threads.push(std::thread::Builder::new().name(format!("larder-core-{index}")).spawn(run)?);
        }
        Ok(cores)
    }

    /// Returns a way to ask how many connections are open.
    pub(super) fn connections(&self) -> impl Fn() -> usize + Send + Sync + use<> {
        let (permits, connections_max) = (Arc::clone(&self.permits), self.connections_max);
        move || connections_max - permits.available_permits()
    }

    /// Stops accepting, waits at most `within` for what is under way, and returns when the threads have ended.
    pub(super) fn stop(&mut self, within: Duration) {
        self.stop.send_replace(Some(Instant::now() + within));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a core had panicked");
            }
        }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(BLOCKING_THREADS_MAX).build()
}

/// One core, on its thread.
struct Core<F> {
    serve: Arc<F>,
    roster: Arc<Roster>,
    shared: Arc<Shared>,
    permits: Arc<Semaphore>,
    stopped: watch::Receiver<Option<Instant>>,
}

impl<F: Serve> Core<F> {
    async fn run(self, listener: tokio::net::TcpListener) {
        tokio::spawn(sweep(Arc::clone(&self.roster), self.shared.limits, Arc::clone(&self.shared.tally)));
        let stop = stop(self.stopped.clone());
        let deadline = tokio::select! {
            biased;
            deadline = stop => deadline,
            never = self.accept(&listener) => match never {},
        };
        if let Err(error) = self.accept_queued(listener) {
            tracing::warn!(%error, "connections that waited to be accepted were lost");
        }
        self.roster.order_all(Order::Finish);
        while Instant::now() < deadline && (!self.roster.is_empty() || (self.shared.is_busy)()) {
            sleep(DRAIN_STEP).await;
        }
    }

    /// Accepts for ever, while there are permits.
    async fn accept(&self, listener: &tokio::net::TcpListener) -> std::convert::Infallible {
        loop {
            match listener.accept().await {
                // Accepted first and admitted then: a core that held a permit while it waits would keep it from others.
                Ok((socket, addr)) => {
                    if let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await {
                        self.admit(socket, addr, permit);
                    }
                }
                // The client was faster (accept(2): these are its connection's errors, not ours).
                Err(error) if is_connections_own(&error) => (),
                Err(error) => {
                    self.shared.tally.accept_errors.fetch_add(1, Ordering::Relaxed);
                    tracing::error!(%error, "cannot accept connections");
                    sleep(ACCEPT_REST).await;
                }
            }
        }
    }

    /// Takes what waits in the accept queue, and closes the listener: closing it alone would reset what waits, although the
    /// clients think that they are connected. The system is asked itself, since what it has to tell of may not have reached
    /// the runtime yet.
    fn accept_queued(&self, listener: tokio::net::TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            let (socket, addr) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if is_connections_own(&error) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                self.admit(TcpStream::from_std(socket)?, addr, permit);
            }
        }
    }

    fn admit(&self, socket: TcpStream, addr: SocketAddr, permit: OwnedSemaphorePermit) {
        self.shared.tally.accepted.fetch_add(1, Ordering::Relaxed);
        let accepted = Accepted::new(socket, addr, Some(permit));
        self.roster.add(&accepted.wire, Instant::now());
        // A panic ends this task only; whoever panicked was counted where it happened.
        tokio::spawn(accepted.serve(self.shared.protocols.clone(), Arc::clone(&self.serve)));
    }
}

/// Waits for the order to stop; returns until when to be done.
async fn stop(mut stopped: watch::Receiver<Option<Instant>>) -> Instant {
    let deadline = stopped.wait_for(Option::is_some).await.ok().and_then(|deadline| *deadline);
    deadline.unwrap_or_else(Instant::now)
}

/// Tells whether an error of `accept` belongs to the connection that would have been accepted.
fn is_connections_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | TimedOut)
}
