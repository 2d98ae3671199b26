//! The cores: a thread each, with a runtime, listening sockets (one, unless they were handed over) and connections of its
//! own. The admin side is one more, with bounds of its own.
//!
//! Accepts within the bound on connections, beyond which clients wait or are turned away, and drains: what waits in the accept queue is still taken, connections finish
//! what is under way, and a core's runtime ends after the last flight of the process or at the deadline. Where another
//! process has taken the listening sockets over, what waits is left to it, and connections answer one more request.

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

/// How long accepting rests after it failed for want of files or memory: retrying at once would only burn the core.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// How many connections are accepted in a row before those that are there have their turn: a crowd that connects at once
/// must not keep their requests waiting.
const ACCEPTS_IN_A_ROW: usize = 16;

/// How often a draining core looks whether it is done.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// The most connections that are being turned away at once, by a core; beyond them they are closed without a word.
const TURNED_AWAY_MAX: usize = 32;

/// How many turns of its tasks a core's runtime takes before it asks the kernel what else there is to do, where its queue is
/// never empty. A miss takes four or five turns: tokio's own 61 would have the kernel asked for each dozen of them.
/// `benches/compare/run --only miss-1k` tells what that costs.
const TURNS_BETWEEN_LOOKS: u32 = 128;

/// How much the kernel may tell at a time: more than there are sockets with the defaults, so that one look leaves nothing out.
/// The origin's pool relies on that.
const LOOK_EVENTS_MAX: usize = 1 << 14;

/// The most threads that a core's runtime makes for blocking calls: name look-ups, and files.
const BLOCKING_THREADS_MAX: usize = 4;

/// How long a core that ends waits for such a call.
const BLOCKING_WAIT: Duration = Duration::from_secs(1);

/// What all cores are made with.
pub(super) struct CoresShared {
    /// What the threads are called; a number follows where there may be several.
    pub(super) name: &'static str,
    /// What a reload may change.
    pub(super) live: Arc<ArcSwap<LiveConfig>>,
    /// The most connections of them all, and a permit for each.
    connections_max: usize,
    permits: Arc<Semaphore>,
    /// Where things are counted.
    pub(super) counters: Arc<ServerCounters>,
    /// When it was last told that nothing can be accepted.
    accept_log: RateLimitedLog,
    /// Whether something runs that outlives its connection, and for which a runtime has to stay.
    pub(super) is_busy: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl CoresShared {
    /// Makes what cores of this name share, which have at most `connections_max` connections.
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

    /// Returns the most connections at once.
    pub(super) fn connections_max(&self) -> usize {
        self.connections_max
    }

    /// Returns how many connections are open, but for those that are being turned away.
    pub(super) fn connections(&self) -> usize {
        self.connections_max - self.permits.available_permits()
    }
}

/// What a reload may change: new connections take the one in force, the sweep's timeouts hold for all.
#[derive(Clone)]
pub(super) struct LiveConfig {
    /// hyper, prepared.
    pub(super) protocols: Protocols,
    /// The timeouts.
    pub(super) limits: StageLimits,
}

/// Who listens after the cores have stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Successor {
    /// Nobody.
    Nobody,
    /// Another process, on the same sockets.
    Another,
}

/// The order to stop.
#[derive(Clone, Copy, Debug)]
struct StopOrder {
    after: Successor,
    deadline: Instant,
}

/// The cores that run.
pub(super) struct Cores {
    threads: Vec<JoinHandle<()>>,
    stop: watch::Sender<Option<StopOrder>>,
}

impl Cores {
    /// Starts a core on each of `listeners`; `make` gets its index and makes what answers there.
    ///
    /// # Errors
    /// A runtime or a thread that cannot be made.
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

    /// Stops accepting, waits at most `within` for what is under way, and returns when the threads have ended.
    pub(super) fn stop(&mut self, after: Successor, within: Duration) {
        self.stop.send_replace(Some(StopOrder { after, deadline: Instant::now() + within }));
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a core had panicked");
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
    builder.enable_all().event_interval(TURNS_BETWEEN_LOOKS).max_io_events_per_tick(LOOK_EVENTS_MAX);
    builder.max_blocking_threads(BLOCKING_THREADS_MAX).build()
}

/// One core, on its thread.
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
        tokio::spawn(connection::writer());
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
                        tracing::warn!(%error, "connections that waited to be accepted were lost");
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

    /// Accepts on all listeners, of which there are few.
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

    /// Accepts for ever, while there are permits.
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
            // Accepted first and admitted then: a core that held a permit while it waits would keep it from others.
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
            // The client was faster (accept(2): these are its connection's errors, not ours).
            Err(error) if is_connections_own(&error) => (),
            Err(error) => {
                self.shared.counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                if let Some(times) = self.shared.accept_log.record(Instant::now()) {
                    tracing::error!(%error, times, "cannot accept connections");
                }
                sleep(ACCEPT_REST).await;
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
            if let Ok(permit) = Arc::clone(&self.shared.permits).try_acquire_owned() {
                self.admit(TcpStream::from_std(socket)?, addr, permit);
            }
        }
    }

    fn admit(&self, socket: TcpStream, addr: SocketAddr, permit: OwnedSemaphorePermit) {
        self.shared.counters.accepted.fetch_add(1, Ordering::Relaxed);
        let accepted = AcceptedSocket::new(socket, addr, Some(permit));
        self.roster.add(&accepted.connection, Instant::now());
        // A panic ends this task only; whoever panicked was counted where it happened.
        tokio::spawn(accepted.serve(self.shared.live.load().protocols.clone(), Arc::clone(&self.serve)));
    }

    /// Closes a connection for which there is no room, with `response` as long as not too many are told so at once.
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
fn is_connections_own(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, TimedOut};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | TimedOut)
}
