//! The connections of one core, at work and at rest.
//!
//! No task of its own stands behind a connection: whoever waits for its response drives it, first the wait for the head,
//! then the body. That saves two hand-overs a request. At rest it is driven by nobody: what it has received is seen when it
//! is taken again, and one timer of the core closes those that have rested for too long, as the origin announced it or else
//! as it is configured.
//!
//! Where the runtime has looked at a socket since, and not long ago ([`POLL_HOLDS`]), the look tells what was received;
//! otherwise the socket is asked. Either way something may come just behind: that chance there always is, as long as a
//! request takes to the origin.
//!
//! What may have reached the origin is not sent twice: only a request that hyper gives back unwritten, since its connection
//! had ended first, goes to another one.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::connection::Connector;
use super::error::SendError;
use super::idle::{DriverPolls, IdleState, PollMark};
use super::timer::Timer;
use super::upload::{ResponseTimer, TimedUpload};
use super::{BUFFER_BYTES_MAX, Config};

/// The longest that a connection rests, whatever the origin announces: descriptors are worth more.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// What the announced timeout is cut by, so that a request is not on its way when the origin closes.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

/// The shortest time between two rounds that close what has rested for too long.
const ROUND_MIN: Duration = Duration::from_millis(100);

/// How long a look of the runtime counts: about what a busy core takes from one to the next, and no longer where it is held up.
const POLL_HOLDS: Duration = Duration::from_millis(1);

/// A connection that has rested for longer is taken after one that has just come to rest: to ask a socket costs less than a
/// request that meets an origin's idle close.
const IDLE_LONG: Duration = Duration::from_millis(100);

/// The connections of one core.
pub(super) struct Pool {
    connector: Connector,
    builder: Builder,
    response_timeout: Duration,
    idle_limit: Duration,
    idle_max: usize,
    /// Of the core's runtime, from the first connection on.
    driver_polls: OnceLock<DriverPolls>,
    /// Guards the rows alone: nothing awaits under it.
    idle: Mutex<IdleConnections>,
}

/// What rests, the latest last in each row.
#[derive(Default)]
struct IdleConnections {
    /// Those whose sockets the runtime has looked at since.
    polled: VecDeque<IdleConnection>,
    /// Those that came to rest since its latest look.
    unpolled: VecDeque<IdleConnection>,
    /// The latest look, and when it was first noticed.
    last_poll: (PollMark, Option<Instant>),
    /// Whether a task looks after it.
    is_watched: bool,
}

/// A connection, and when it came to rest.
type IdleConnection = (Instant, Box<PooledConnection>);

impl IdleConnections {
    /// Notes the latest look: what came to rest before it was seen.
    fn record_poll(&mut self, look: PollMark, now: Instant) {
        if self.last_poll.0 < look {
            self.last_poll = (look, Some(now));
            self.polled.append(&mut self.unpolled);
        }
    }

    /// Takes the latest of those that were seen, or of the others where there is none or it has rested for long.
    fn pop(&mut self, now: Instant) -> Option<IdleConnection> {
        let has_rested_long = |(since, _): &IdleConnection| now > *since + IDLE_LONG;
        if !self.unpolled.is_empty() && self.polled.back().is_none_or(has_rested_long) {
            return self.unpolled.pop_back();
        }
        let polled = self.polled.pop_back()?;
        if self.last_poll.1.is_some_and(|noticed| now < noticed + POLL_HOLDS) {
            polled.1.idle_state.mark_polled();
        }
        Some(polled)
    }

    /// Puts one to rest, of at most `max`: beyond them, the earliest is closed.
    fn push(&mut self, rested: IdleConnection, max: usize) {
        if self.polled.len() + self.unpolled.len() >= max {
            drop(self.polled.pop_front().or_else(|| self.unpolled.pop_front()));
        }
        self.unpolled.push_back(rested);
    }

    /// Closes what has rested for too long. Returns when the next will have.
    fn close_expired(&mut self, now: Instant) -> Option<Instant> {
        let end = |(since, connection): &IdleConnection| *since + connection.idle_limit;
        self.polled.retain(|rested| now < end(rested));
        self.unpolled.retain(|rested| now < end(rested));
        self.polled.iter().chain(&self.unpolled).map(end).min()
    }
}

/// A connection, as who drives it sees it.
struct PooledConnection {
    sender: SendRequest<TimedUpload>,
    /// hyper's work on it, which ends with the connection; `None` from then on.
    work: Option<Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>>,
    timer: Timer,
    idle_state: Arc<IdleState>,
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
            driver_polls: OnceLock::new(),
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
        let idle_state = Arc::clone(connection.idle_state());
        let (sender, work) = self.builder.handshake(connection).await.map_err(SendError::Unwritten)?;
        let work: Pin<Box<dyn Future<Output = _> + Send>> = Box::pin(work.with_upgrades());
        let timer = Timer::default();
        Ok(Box::new(PooledConnection {
            sender,
            work: Some(work),
            timer: timer,
            idle_state: idle_state,
            idle_limit: self.idle_limit,
        }))
    }

    fn checkout(self: &Arc<Self>, connection: Box<PooledConnection>) -> Checkout {
        Checkout { connection: Some(connection), pool: Arc::clone(self) }
    }

    /// Locks what rests, with the latest look noted.
    fn lock(&self, now: Instant) -> MutexGuard<'_, IdleConnections> {
        let look = self.driver_polls.get_or_init(DriverPolls::of_current).latest();
        let mut idle = self.idle.lock();
        idle.record_poll(look, now);
        idle
    }

    /// Takes a connection that has not rested for too long.
    fn take(&self, now: Instant) -> Option<Box<PooledConnection>> {
        let mut idle = self.lock(now);
        while let Some((since, connection)) = idle.pop(now) {
            if now < since + connection.idle_limit {
                return Some(connection);
            }
        }
        None
    }

    /// Puts a connection to rest.
    fn put(self: &Arc<Self>, connection: Box<PooledConnection>) {
        connection.idle_state.begin();
        let now = Instant::now();
        let mut idle = self.lock(now);
        idle.push((now, connection), self.idle_max);
        if !std::mem::replace(&mut idle.is_watched, true) {
            tokio::spawn(watch(Arc::downgrade(self)));
        }
    }

    /// Closes what has rested for too long. Returns when to do it again; `None` where nothing rests.
    fn close_expired(&self, now: Instant) -> Option<Instant> {
        let mut idle = self.idle.lock();
        let next = idle.close_expired(now);
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
