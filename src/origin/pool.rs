//! The connections of one core, at work and at rest.
//!
//! No task of its own stands behind a connection: whoever waits for its response drives it, first the wait for the head,
//! then the body. That saves two hand-overs a request. At rest it is driven by nobody: its socket is looked at immediately
//! before the next request is written (`connection.rs`), and one timer of the core closes those that have rested for too
//! long, as the origin announced it or else as it is configured.
//!
//! A connection on which an Upgrade was sent never comes back ([`Checkout::retire`] by `mod.rs`): an app that ignored it may take
//! what follows for requests of their own.
//!
//! What may have reached the origin is not sent twice: only a request that hyper gives back unwritten, since its connection
//! had ended first, goes to another one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::config::Config;
use super::connection::Connector;
use super::error::SendError;
use super::timer::Timer;
use super::upload::{ResponseTimer, TimedUpload};

/// What a connection buffers in each direction, in bytes: about the largest head of a response (four times what servers
/// commonly allow), and the most that is read of a body at a time.
pub(super) const BUFFER_BYTES_MAX: usize = 64 << 10;

/// The longest that a connection rests, whatever the origin announces: descriptors are worth more.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What the announced timeout is cut by, so that a request is not on its way when the origin closes.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

/// The shortest time between two rounds that close what has rested for too long.
const ROUND_MIN: Duration = Duration::from_millis(100);

/// The connections of one core.
pub(super) struct Pool {
    connector: Connector,
    builder: Builder,
    response_timeout: Duration,
    idle_limit: Duration,
    idle_max: usize,
    /// Guards the row alone: nothing awaits under it.
    idle: Mutex<IdleConnections>,
}

/// The idle connections.
#[derive(Default)]
struct IdleConnections {
    /// The latest last, with the time when each came to rest.
    row: VecDeque<(Instant, Box<PooledConnection>)>,
    /// Whether a task looks after it.
    is_watched: bool,
}

/// A connection, as who drives it sees it.
struct PooledConnection {
    sender: SendRequest<TimedUpload>,
    /// hyper's work on it, which ends with the connection; `None` from then on.
    work: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    timer: Timer,
    is_idle: Arc<AtomicBool>,
    /// How long it may rest.
    idle_limit: Duration,
}

impl Pool {
    /// Makes an empty pool of connections to `origin`.
    pub(super) fn new(config: &Config, origin: Uri) -> Arc<Self> {
        let mut builder = Builder::new();
        builder.max_buf_size(BUFFER_BYTES_MAX);
        Arc::new(Self {
            connector: Connector::new(origin, config.connect_timeout),
            builder,
            response_timeout: config.response_timeout,
            idle_limit: config.pool_idle_timeout,
            idle_max: config.connections_max,
            idle: Mutex::default(),
        })
    }

    /// Sends a request over a connection that rests, or else over a new one, and returns the response's head with the use
    /// of the connection that its body goes on with. The request is taken out of its place when it goes to a connection:
    /// handed from future to future it would be copied at each.
    ///
    /// # Errors
    /// Why there is no response.
    pub(super) async fn send(
        self: &Arc<Self>,
        request: &mut Option<Request<TimedUpload>>,
        response_timer: &ResponseTimer,
        now: Instant,
    ) -> Result<(Response<Incoming>, Checkout), SendError> {
        while let Some(mut connection) = self.take(now) {
            match connection.exchange(request, response_timer, now, self.response_timeout).await {
                Err(SendError::Unwritten(_)) => {}
                answer => return Ok((answer?, self.checkout(connection))),
            }
        }
        let mut connection = Box::pin(self.connect()).await?;
        let response = connection.exchange(request, response_timer, Instant::now(), self.response_timeout).await?;
        Ok((response, self.checkout(connection)))
    }

    async fn connect(&self) -> Result<Box<PooledConnection>, SendError> {
        let connection = self.connector.connect().await.map_err(SendError::Unconnected)?;
        let is_idle = Arc::clone(connection.idle_mark());
        let (sender, work) = self.builder.handshake(connection).await.map_err(SendError::Unwritten)?;
        let work: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(work.with_upgrades());
        let timer = Timer::default();
        Ok(Box::new(PooledConnection { sender, work: Some(work), timer, is_idle, idle_limit: self.idle_limit }))
    }

    fn checkout(self: &Arc<Self>, connection: Box<PooledConnection>) -> Checkout {
        Checkout { connection: Some(connection), pool: Arc::clone(self) }
    }

    /// Takes the connection that came to rest last, since the origin is the least likely to have closed it.
    fn take(&self, now: Instant) -> Option<Box<PooledConnection>> {
        let mut idle = self.idle.lock();
        while let Some((since, connection)) = idle.row.pop_back() {
            if now < since + connection.idle_limit {
                return Some(connection);
            }
        }
        None
    }

    /// Puts a connection to rest. Of more than `idle_max` the earliest is closed.
    fn put(self: &Arc<Self>, connection: Box<PooledConnection>) {
        connection.is_idle.store(true, Ordering::Relaxed);
        let mut idle = self.idle.lock();
        if idle.row.len() >= self.idle_max {
            idle.row.pop_front();
        }
        idle.row.push_back((Instant::now(), connection));
        if !std::mem::replace(&mut idle.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Closes what has rested for too long. Returns when to do it again; `None` where nothing rests.
    fn close_expired(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.idle.lock();
        let end = |(since, connection): &(Instant, Box<PooledConnection>)| *since + connection.idle_limit;
        idle.row.retain(|rested| now < end(rested));
        let next = idle.row.iter().map(end).min();
        idle.is_watched = next.is_some();
        next.map(|next| next.max(now + ROUND_MIN))
    }
}

/// Looks after what rests, until nothing does.
async fn watch(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.close_expired(Instant::now())) {
        tokio::time::sleep_until(next).await;
    }
}

impl PooledConnection {
    /// Does whatever can be done on the connection now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        // How it ended, the response or its body tells.
        if self.work.as_mut().is_some_and(|work| work.as_mut().poll(cx).is_ready()) {
            self.work = None;
        }
    }

    /// Sends `request` and waits for the response's head, as long as [`Turn`] says that the origin may take. A request of which
    /// nothing was written is put back.
    async fn exchange(
        &mut self,
        request: &mut Option<Request<TimedUpload>>,
        response_timer: &ResponseTimer,
        now: Instant,
        timeout: Duration,
    ) -> Result<Response<Incoming>, SendError> {
        self.timer.set(response_timer.deadline(now, timeout));
        let sent = request.take().expect("a request is sent once");
        let mut response = pin!(self.sender.try_send_request(sent));
        let answer = poll_fn(|cx| {
            self.drive(cx);
            match response.as_mut().poll(cx) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(mut error)) => {
                    *request = error.take_message();
                    let wrap = if request.is_some() { SendError::Unwritten } else { SendError::Sent };
                    Poll::Ready(Err(wrap(error.into_error())))
                }
                Poll::Pending => self.timer.poll(cx, response_timer, timeout).map(|()| Err(SendError::Silent(timeout))),
            }
        });
        answer.await
    }
}

/// One response's use of the connection that it comes over. Dropped before [`Checkout::end`], it closes the connection.
pub(super) struct Checkout {
    connection: Option<Box<PooledConnection>>,
    pool: Arc<Pool>,
}

impl Checkout {
    /// Does whatever can be done on the connection now: somebody waits for what it brings.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection {
            connection.drive(cx);
        }
    }

    /// Returns the connection's timer.
    pub(super) fn timer(&mut self) -> Option<&mut Timer> {
        self.connection.as_mut().map(|connection| &mut connection.timer)
    }

    /// Ends with the response: the connection goes to rest, unless it is of no use any more, or still has to bring the end
    /// of the request's content to the origin.
    pub(super) fn end(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.sender.is_ready()
            && !connection.idle_limit.is_zero()
        {
            self.pool.put(connection);
        }
    }

    /// Lets the connection rest for as long as the response announces less a margin, if it announces something.
    pub(super) fn apply_keep_alive(&mut self, fields: &HeaderMap) {
        const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
        if let Some(timeout) = fields.get(KEEP_ALIVE).and_then(announced_timeout) {
            self.set_idle_limit(timeout.saturating_sub(IDLE_MARGIN).min(IDLE_MAX));
        }
    }

    /// Lets the connection end with this response.
    pub(super) fn retire(&mut self) {
        self.set_idle_limit(Duration::ZERO);
    }

    /// Leaves the connection to the protocol that it was switched to.
    pub(super) fn release(mut self) {
        if let Some(mut connection) = self.connection.take().filter(|connection| connection.work.is_some()) {
            // hyper hands it over once it has written what is left of the request.
            tokio::spawn(async move {
                if let Some(work) = connection.work.take() {
                    let _ = work.await;
                }
            });
        }
    }

    fn set_idle_limit(&mut self, limit: Duration) {
        if let Some(connection) = &mut self.connection {
            connection.idle_limit = limit;
        }
    }
}

/// Reads `timeout` of a Keep-Alive field: whole seconds (RFC 2068 §19.7.1.1, as servers send it today).
fn announced_timeout(value: &HeaderValue) -> Option<Duration> {
    let value = value.to_str().ok()?;
    let seconds = value.split(',').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("timeout").then(|| value.trim().trim_matches('"'))
    })?;
    seconds.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keep_alive_timeout_is_read_and_nothing_else_is_guessed() {
        #[track_caller]
        fn check(value: &'static str, expected: Option<u64>) {
            let seconds = announced_timeout(&HeaderValue::from_static(value)).map(|timeout| timeout.as_secs());
            assert_eq!(seconds, expected, "{value}");
        }
        check("timeout=5", Some(5));
        check("max=100, Timeout = 15", Some(15));
        check("timeout=\"7\"", Some(7));
        check("timeout=0", Some(0));
        check("max=100", None);
        check("timeout", None);
        check("timeout=", None);
        check("timeout=-1", None);
        check("timeout=99999999999", None);
        check("xtimeout=5", None);
    }
}
