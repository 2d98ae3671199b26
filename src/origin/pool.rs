//! The connections of one core, in use and idle.
//!
//! No connection has a task of its own. The request that waits for a response drives its
//! connection, first for the head, then for the body, which saves two hand-overs per request.
//! Nothing drives an idle connection: the socket is checked immediately before the next request is
//! written (`origin/connection.rs`), and one timer per core closes connections that were idle for
//! too long, as announced by the origin or else as configured.
//!
//! A connection on which an Upgrade was sent is never reused ([`Checkout::retire`], called by
//! `origin/mod.rs`): an app that ignored the Upgrade may read the next bytes as another protocol's.
//!
//! A request that may have reached the origin is not sent twice. Only a request that hyper returns
//! unwritten, because its connection had already ended, goes to another connection.

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
use crate::syntax::list;

/// Bytes that a connection buffers in each direction: about the largest response head (four times
/// the common limit of servers), and the most that is read of a body at a time.
pub(super) const BUFFER_BYTES_MAX: usize = 64 << 10;

/// The longest idle time of a connection, whatever the origin announces: file descriptors are worth
/// more.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// The margin subtracted from an announced timeout, so that no request is in transit when the
/// origin closes.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

/// The shortest time between two rounds that close expired connections.
const ROUND_MIN: Duration = Duration::from_millis(100);

/// The connections of one core.
pub(super) struct Pool {
    connector: Connector,
    builder: Builder,
    response_timeout: Duration,
    idle_limit: Duration,
    idle_max: usize,
    /// Guards the list of idle connections. Nothing awaits under it.
    idle: Mutex<IdleConnections>,
}

/// The idle connections.
#[derive(Default)]
struct IdleConnections {
    /// Ordered by the time at which each became idle, latest last.
    connections: VecDeque<(Instant, Box<PooledConnection>)>,
    /// True if a task watches for expired connections.
    is_watched: bool,
}

/// A connection as its driver sees it.
struct PooledConnection {
    sender: SendRequest<TimedUpload>,
    /// hyper's future for the connection; `None` once the connection has ended.
    work: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    timer: Timer,
    is_idle: Arc<AtomicBool>,
    /// How long the connection may be idle.
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

    /// Sends a request over an idle connection, or else over a new one. Returns the response's
    /// head, and the checkout of the connection that its body continues on.
    ///
    /// The connection takes the request out of its `Option`: passed from future to future, it would
    /// be copied each time.
    ///
    /// # Errors
    /// The reason why there is no response.
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

    /// Takes the connection that became idle last, because the origin is least likely to have
    /// closed it.
    fn take(&self, now: Instant) -> Option<Box<PooledConnection>> {
        let mut idle = self.idle.lock();
        while let Some((since, connection)) = idle.connections.pop_back() {
            if now < since + connection.idle_limit {
                return Some(connection);
            }
        }
        None
    }

    /// Returns a connection to the pool. Beyond `idle_max`, the connection that was idle the
    /// longest is closed.
    fn put(self: &Arc<Self>, connection: Box<PooledConnection>) {
        connection.is_idle.store(true, Ordering::Relaxed);
        let mut idle = self.idle.lock();
        if idle.connections.len() >= self.idle_max {
            idle.connections.pop_front();
        }
        idle.connections.push_back((Instant::now(), connection));
        if !std::mem::replace(&mut idle.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Closes expired connections. Returns the time of the next round; `None` if no connection is
    /// idle.
    fn close_expired(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.idle.lock();
        let end = |(since, connection): &(Instant, Box<PooledConnection>)| *since + connection.idle_limit;
        idle.connections.retain(|idle| now < end(idle));
        let next = idle.connections.iter().map(end).min();
        idle.is_watched = next.is_some();
        next.map(|next| next.max(now + ROUND_MIN))
    }
}

/// Closes expired connections until none is idle.
async fn watch(pool: Weak<Pool>) {
    while let Some(next) = pool.upgrade().and_then(|pool| pool.close_expired(Instant::now())) {
        tokio::time::sleep_until(next).await;
    }
}

impl PooledConnection {
    /// Makes all progress that is possible on the connection now.
    fn drive(&mut self, cx: &mut Context<'_>) {
        // The response or its body reports how the connection ended.
        if self.work.as_mut().is_some_and(|work| work.as_mut().poll(cx).is_ready()) {
            self.work = None;
        }
    }

    /// Sends `request` and waits for the response's head, for as long as [`ResponseTimer`] allows
    /// the origin. A request of which nothing was written is put back.
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

/// One response's use of its connection. Dropped before [`Checkout::end`], the checkout closes the
/// connection.
pub(super) struct Checkout {
    connection: Option<Box<PooledConnection>>,
    pool: Arc<Pool>,
}

impl Checkout {
    /// Makes all progress that is possible on the connection now, for a reader that waits.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection {
            connection.drive(cx);
        }
    }

    /// Returns the connection's timer.
    pub(super) fn timer(&mut self) -> Option<&mut Timer> {
        self.connection.as_mut().map(|connection| &mut connection.timer)
    }

    /// Ends the use with the response. The connection returns to the pool, unless it cannot be
    /// reused or still has to send the rest of the request's content.
    pub(super) fn end(&mut self) {
        if let Some(connection) = self.connection.take()
            && connection.sender.is_ready()
            && !connection.idle_limit.is_zero()
        {
            self.pool.put(connection);
        }
    }

    /// Limits the connection's idle time to the timeout that the response announces, less a margin.
    pub(super) fn apply_keep_alive(&mut self, fields: &HeaderMap) {
        const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
        if let Some(timeout) = fields.get(KEEP_ALIVE).and_then(announced_timeout) {
            self.set_idle_limit(timeout.saturating_sub(IDLE_MARGIN).min(IDLE_MAX));
        }
    }

    /// Closes the connection after this response.
    pub(super) fn retire(&mut self) {
        self.set_idle_limit(Duration::ZERO);
    }

    /// Leaves the connection to the protocol that it was switched to.
    pub(super) fn release(mut self) {
        if let Some(mut connection) = self.connection.take().filter(|connection| connection.work.is_some()) {
            // hyper hands the connection over once the rest of the request is written.
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

/// Reads `timeout` of a Keep-Alive header: whole seconds (RFC 2068 §19.7.1.1, as servers send it
/// today).
fn announced_timeout(value: &HeaderValue) -> Option<Duration> {
    let seconds = list::members(value.to_str().ok()?.as_bytes()).find_map(|parameter| {
        let (name, value) = std::str::from_utf8(parameter).ok()?.split_once('=')?;
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
