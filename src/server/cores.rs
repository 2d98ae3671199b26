//! The cores: one thread each, with its own runtime, listening sockets (one, unless they were
//! inherited) and connections. The admin interface is one more core, with bounds of its own.
//!
//! A core accepts connections within the bound, beyond which clients wait or are rejected. On a
//! drain it still accepts what is queued, lets connections finish their requests, and ends its
//! runtime after the last flight of the process or at the deadline. Where another process has taken
//! over the listening sockets, queued connections are left to that process, and open connections
//! answer one more request.

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::ServerCounters;
use super::connection::{self, ConnectionRoster, Shutdown, StageLimits};
use super::driver::{AcceptedSocket, Protocols};
use super::rate_limited_log::RateLimitedLog;
use super::service::Serve;

/// How long accepting pauses after it failed for lack of descriptors or memory: retrying at once
/// would only burn the core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The number of connections accepted in a row before open connections are polled again: a crowd
/// that connects at once must not delay their requests.
const ACCEPTS_IN_A_ROW: usize = 16;

/// How often a draining core checks whether it is done.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// The maximum number of connections per core that are being sent a rejection; those beyond it are
/// closed without a response.
const TURNED_AWAY_MAX: usize = 32;

/// The number of task polls after which a core's runtime polls for IO events although its queue is
/// not empty. A miss takes four or five task polls: with tokio's default of 61 the kernel would be
/// asked once per dozen misses. `benches/compare/run --only miss-1k` measures the cost.
const TASKS_BETWEEN_EVENT_POLLS: u32 = 128;

/// The maximum number of IO events per poll: more than there are sockets with the defaults, so that
/// one poll leaves no event behind. The origin's pool relies on that.
const EVENTS_PER_POLL_MAX: usize = 1 << 14;

/// The maximum number of threads that a core's runtime creates for blocking calls: name resolution
/// and files.
const BLOCKING_THREADS_MAX: usize = 4;

/// How long a core that ends waits for such a call.
const BLOCKING_WAIT: Duration = Duration::from_secs(1);

/// The state shared by all cores.
pub(super) struct CoresShared {
    /// The name of the threads; their index follows.
    pub(super) name: &'static str,
    /// The settings that a reload changes.
    pub(super) live: Arc<ArcSwap<LiveConfig>>,
    /// The maximum number of connections of all cores, and a permit for each.
    connections_max: usize,
    permits: Arc<Semaphore>,
    /// The server's counters.
    pub(super) counters: Arc<ServerCounters>,
    /// Limits the log lines about failures to accept.
    accept_log: RateLimitedLog,
    /// Tells whether something runs that outlives its connection and needs the runtime.
    pub(super) is_busy: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl CoresShared {
    /// Creates the shared state of cores named `name` with at most `connections_max` connections.
    pub(super) fn new(
        name: &'static str,
        live: Arc<ArcSwap<LiveConfig>>,
        connections_max: usize,
        counters: Arc<ServerCounters>,
        is_busy: Arc<dyn Fn() -> bool + Send + Sync>,
    ) -> Self {
        let connections_max = connections_max.min(Semaphore::MAX_PERMITS);
        let permits = Arc::new(Semaphore::new(connections_max));
        Self { name, live, connections_max, permits, counters, accept_log: RateLimitedLog::default(), is_busy }
    }

    /// Returns the maximum number of connections.
    pub(super) fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Returns the number of open connections, without those that are being rejected.
    pub(super) fn connections(&self) -> usize {
        self.connections_max - self.permits.available_permits()
    }
}

/// The settings that a reload changes: new connections take the current ones, and the sweep's
/// timeouts apply to all connections.
#[derive(Clone)]
pub(super) struct LiveConfig {
    /// hyper's settings for each protocol.
    pub(super) protocols: Protocols,
    /// The timeouts.
    pub(super) limits: StageLimits,
}

/// The process that listens after the cores have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successor {
    /// No process.
    Nobody,
    /// Another process, on the same sockets.
    Another,
}

/// An order to stop.
#[derive(Clone, Copy, Debug)]
struct StopOrder {
    after: Successor,
    deadline: Instant,
}

/// The running cores.
pub(super) struct Cores {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<Option<StopOrder>>,
}

impl Cores {
    /// Starts a core on each of `listeners`; `make` is given the core's index and creates its
    /// request handler.
    ///
    /// # Errors
    /// A runtime or a thread that cannot be created.
    pub(super) fn start<F: Serve>(
        listeners: Vec<Vec<TcpListener>>,
        shared: Arc<CoresShared>,
        mut make: impl FnMut(usize) -> Arc<F>,
    ) -> io::Result<Self> {
        let (stop, stopped) = watch::channel(None);
        let name = shared.name;
        let mut cores = Self { threads: Vec::new(), stop };
        for (index, listeners) in listeners.into_iter().enumerate() {
            let runtime = runtime()?;
            let (listeners, serve) = {
                let _on = runtime.enter();
                let listeners = listeners.into_iter().map(tokio::net::TcpListener::from_std);
                (listeners.collect::<io::Result<Vec<_>>>()?, make(index))
            };
            let shared = Arc::clone(&shared);
            let stopped = stopped.clone();
            let run = move || {
                runtime.block_on(async move {
                    let turning_away = Arc::new(Semaphore::new(TURNED_AWAY_MAX));
                    let core = Core { serve, roster: Arc::default(), shared, turning_away, stop: stopped };
                    core.run(listeners).await;
                });
                runtime.shutdown_timeout(BLOCKING_WAIT);
            };
            cores.threads.push(std::thread::Builder::new().name(format!("{name}-{index}")).spawn(run)?);
        }
        Ok(cores)
    }

    /// Stops accepting, waits at most `within` for requests in flight, and returns when the threads
    /// have ended.
    pub(super) fn stop(&mut self, after: Successor, within: Duration) {
        self.stop.send_replace(Some(StopOrder { after, deadline: Instant::now() + within }));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a core's thread panicked");
            }
        }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.stop(Successor::Nobody, Duration::ZERO);
    }
}

fn runtime() -> io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().event_interval(TASKS_BETWEEN_EVENT_POLLS).max_io_events_per_tick(EVENTS_PER_POLL_MAX);
    builder.max_blocking_threads(BLOCKING_THREADS_MAX).build()
}

/// A core, on its own thread.
struct Core<F> {
    serve: Arc<F>,
    roster: Arc<ConnectionRoster>,
    shared: Arc<CoresShared>,
    turning_away: Arc<Semaphore>,
    stop: watch::Receiver<Option<StopOrder>>,
}

impl<F: Serve> Core<F> {
    async fn run(self, listeners: Vec<tokio::net::TcpListener>) {
        let limits = {
            let shared = Arc::clone(&self.shared);
            move || shared.live.load().limits
        };
        tokio::spawn(connection::deferred_writes::writer());
        tokio::spawn(connection::sweep(Arc::clone(&self.roster), limits, Arc::clone(&self.shared.counters)));
        let StopOrder { after, deadline } = tokio::select! {
            biased;
            stop = stop(self.stop.clone()) => stop,
            never = self.accept_all(&listeners) => match never {},
        };
        match after {
            Successor::Nobody => {
                for listener in listeners {
                    if let Err(error) = self.accept_queued(listener) {
                        tracing::warn!(%error, "cannot accept the queued connections; they are lost");
                    }
                }
                self.roster.shut_down_all(Shutdown::Graceful);
            }
            Successor::Another => {
                drop(listeners);
                self.roster.shut_down_all(Shutdown::AfterNext);
            }
        }
        while Instant::now() < deadline && (!self.roster.is_empty() || (self.shared.is_busy)()) {
            sleep(DRAIN_STEP).await;
        }
    }

    /// Accepts on all listeners of the core, of which there are few.
    async fn accept_all(&self, listeners: &[tokio::net::TcpListener]) -> std::convert::Infallible {
        let mut accepting: Vec<_> = listeners.iter().map(|listener| Box::pin(self.accept(listener))).collect();
        poll_fn(|cx| {
            for accepting in &mut accepting {
                if let Poll::Ready(never) = accepting.as_mut().poll(cx) {
                    match never {}
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Accepts connections without end, while there are permits.
    async fn accept(&self, listener: &tokio::net::TcpListener) -> std::convert::Infallible {
        loop {
            for _ in 0..ACCEPTS_IN_A_ROW {
                self.accept_one(listener).await;
            }
            yield_now().await;
        }
    }

    async fn accept_one(&self, listener: &tokio::net::TcpListener) {
        match listener.accept().await {
            // The permit is taken after the connection: a core that held a permit while it waits
            // for a connection would keep it from the other cores.
            Ok((socket, addr)) => match Arc::clone(&self.shared.permits).try_acquire_owned() {
                Ok(permit) => self.admit(socket, addr, permit),
                Err(_) => match self.serve.full() {
                    Some(response) => self.turn_away(socket, addr, response),
                    None => {
                        if let Ok(permit) = Arc::clone(&self.shared.permits).acquire_owned().await {
                            self.admit(socket, addr, permit);
                        }
                    }
                },
            },
            // The client closed first (accept(2): these errors belong to the connection, not to the
            // listener).
            Err(error) if belongs_to_connection(&error) => (),
            Err(error) => {
                self.shared.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                if let Some(times) = self.shared.accept_log.record(Instant::now()) {
                    tracing::error!(%error, times, "cannot accept connections");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    /// Accepts what is queued, then closes the listener: closing it alone would reset the queued
    /// connections, although their clients consider them established. Accepts directly from the
    /// kernel, since the runtime may not have seen the latest readiness event.
    fn accept_queued(&self, listener: tokio::net::TcpListener) -> io::Result<()> {
        let listener = listener.into_std()?;
        loop {
            let (socket, addr) = match listener.accept() {
                Ok(accepted) => accepted,
                Err(error) if belongs_to_connection(&error) => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            socket.set_nonblocking(true)?;
            if let Ok(permit) = Arc::clone(&self.shared.permits).try_acquire_owned() {
                self.admit(TcpStream::from_std(socket)?, addr, permit);
            }
        }
    }

    fn admit(&self, socket: TcpStream, addr: SocketAddr, permit: OwnedSemaphorePermit) {
        self.shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let accepted = AcceptedSocket::new(socket, addr, Some(permit));
        self.roster.add(&accepted.connection, Instant::now());
        // A panic ends this task only, and was counted where it happened.
        tokio::spawn(accepted.serve(self.shared.live.load().protocols.clone(), Arc::clone(&self.serve)));
    }

    /// Rejects a connection for which there is no room, with `response` unless too many are being
    /// rejected already.
    fn turn_away(&self, socket: TcpStream, addr: SocketAddr, response: Vec<u8>) {
        self.shared.counters.turned_away.fetch_add(1, Ordering::Relaxed);
        if let Ok(permit) = Arc::clone(&self.turning_away).try_acquire_owned() {
            let accepted = AcceptedSocket::new(socket, addr, Some(permit));
            self.roster.add(&accepted.connection, Instant::now());
            tokio::spawn(accepted.turn_away(response));
        }
    }
}

/// Waits for the order to stop.
async fn stop(mut stopped: watch::Receiver<Option<StopOrder>>) -> StopOrder {
    let stop = stopped.wait_for(Option::is_some).await.ok().and_then(|stop| *stop);
    stop.unwrap_or_else(|| StopOrder { after: Successor::Nobody, deadline: Instant::now() })
}

/// Tells whether an error of `accept` belongs to the connection that would have been accepted.
fn belongs_to_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | TimedOut)
}
