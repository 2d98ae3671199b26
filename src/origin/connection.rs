//! Connections to the origin, and how long an idle one is kept.
//!
//! hyper-util's pool has one idle timeout for all connections, and an origin announces its own with each response
//! (`Keep-Alive: timeout`). So the connection itself ends when it has been idle for too long: it reports the end of the
//! stream. hyper takes that for the origin's close: it drops the connection, and a request that was about to be
//! written on it, and was not, goes to another one.
//!
//! Idle means that nothing was written since the last response that ended. Only then an end is made up: never while a
//! response, or a protocol that was switched to, is under way. What an idle connection has received, an end or bytes that
//! nobody asked for, is seen before the next request goes out on it: those bytes must not become its response.
//!
//! The heads of responses pass the [`Screen`].

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use http::{Extensions, HeaderMap, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::client::legacy::connect::{self, Connected, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};
use tower::Service;
use tower::util::MapErr;

use super::error::{NotInTime, NotResolved};
use super::screen::Screen;

/// The longest that an idle connection is kept, whatever the origin announces: descriptors are worth more.
pub(super) const IDLE_MAX: Duration = Duration::from_secs(60);

/// How much is read at once while a head is to come, in bytes: as much as hyper asks for at first.
const HEAD_STEP: usize = 8 << 10;

/// What the announced timeout is cut by, so that a request is not on its way when the origin closes.
const IDLE_MARGIN: Duration = Duration::from_secs(1);

type Resolver = MapErr<GaiResolver, fn(io::Error) -> NotResolved>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes connections: resolves, races the address families, connects, all within one bound.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    connect_timeout: Duration,
    idle_limit: Duration,
}

impl Connector {
    /// Makes a connector whose connections are kept idle for `idle_limit` unless the origin says otherwise.
    pub(super) fn new(connect_timeout: Duration, idle_limit: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(MapErr::new(GaiResolver::new(), NotResolved as fn(_) -> _));
        tcp.set_nodelay(true);
        // Divided among the addresses of a name, so that one dead address does not use up the whole.
        tcp.set_connect_timeout(Some(connect_timeout));
        Self { tcp, connect_timeout, idle_limit }
    }
}

impl Service<Uri> for Connector {
    type Response = Connection;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Connection, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, origin: Uri) -> Self::Future {
        let (connecting, limit, idle_limit) = (self.tcp.call(origin), self.connect_timeout, self.idle_limit);
        Box::pin(async move {
            match tokio::time::timeout(limit, connecting).await {
                Ok(connected) => Ok(Connection::new(connected?, idle_limit)),
                Err(_elapsed) => Err(NotInTime(limit).into()),
            }
        })
    }
}

/// A connection to the origin that ends itself when it is idle for too long.
pub(super) struct Connection {
    io: TokioIo<TcpStream>,
    shared: Arc<Shared>,
    last_read: Instant,
    /// Wakes the connection to look whether it is idle for too long. It is set anew only when it has fired: a timer
    /// that is moved with each request would cost more than one that fires once in a while for nothing.
    alarm: Option<Pin<Box<Sleep>>>,
    screen: Screen,
    /// How many requests had begun when the screen last began with a head.
    screened: u64,
}

/// What a connection and the responses that come over it know together.
#[derive(Debug)]
struct Shared {
    /// How many requests have begun to be written.
    requests: AtomicU64,
    /// How many writes there were.
    writes: AtomicU64,
    /// How many there had been when the head came of the last response that has ended.
    settled: AtomicU64,
    /// How long the connection may be idle, in milliseconds.
    idle_limit_millis: AtomicU64,
}

impl Connection {
    fn new(io: TokioIo<TcpStream>, idle_limit: Duration) -> Self {
        let shared = Arc::new(Shared::new(idle_limit));
        Self { io, shared, last_read: Instant::now(), alarm: None, screen: Screen::default(), screened: 0 }
    }

    /// Reads a piece in which a head ends, or does not end yet, and screens it.
    fn poll_read_head(&mut self, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; HEAD_STEP];
        let length = buf.remaining().min(bytes.len());
        let mut read = ReadBuf::new(&mut bytes[..length]);
        ready!(Pin::new(self.io.inner_mut()).poll_read(cx, &mut read))?;
        self.screen.pass(read.filled()).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
        buf.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }

    /// Looks whether the socket holds what the runtime does not know of yet.
    fn peek(&self) -> Poll<io::Result<()>> {
        match socket2::SockRef::from(self.io.inner()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "bytes that nothing asked for"))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Is ready when the connection has been idle for too long.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        /// The shortest time between two looks at a connection that is busy.
        const LOOK_MIN: Duration = Duration::from_millis(100);

        loop {
            let limit = self.shared.idle_limit();
            let now = Instant::now();
            let mut due = now + limit.max(LOOK_MIN);
            if self.shared.is_idle() {
                due = self.last_read + limit;
                if due <= now {
                    return Poll::Ready(());
                }
            }
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            ready!(alarm.as_mut().poll(cx));
            alarm.as_mut().reset(due);
        }
    }
}

impl Shared {
    fn new(idle_limit: Duration) -> Self {
        Self { requests: 0.into(), writes: 0.into(), settled: 0.into(), idle_limit_millis: millis(idle_limit).into() }
    }

    fn is_idle(&self) -> bool {
        self.settled.load(Ordering::Relaxed) == self.writes.load(Ordering::Relaxed)
    }

    fn idle_limit(&self) -> Duration {
        /// The shortest life of a connection that was made and not used yet: its request must find it open.
        const UNUSED_MIN: Duration = Duration::from_secs(1);

        let limit = Duration::from_millis(self.idle_limit_millis.load(Ordering::Relaxed));
        if self.writes.load(Ordering::Relaxed) == 0 { limit.max(UNUSED_MIN) } else { limit }
    }

    fn count_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }
}

impl Read for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let requests = self.shared.requests.load(Ordering::Relaxed);
        if self.screened != requests {
            self.screened = requests;
            self.screen.begin();
        }
        let polled = match self.screen.is_in_head() {
            true => self.poll_read_head(cx, buf),
            false => Pin::new(&mut self.io).poll_read(cx, buf),
        };
        match polled {
            // Where nothing was put into the buffer, it is the end of the stream.
            Poll::Pending if self.shared.is_idle() => match self.poll_idle(cx) {
                Poll::Ready(()) => Poll::Ready(Ok(())),
                Poll::Pending => self.peek(),
            },
            Poll::Pending => self.poll_idle(cx).map(Ok),
            ready => {
                self.last_read = Instant::now();
                ready
            }
        }
    }
}

impl Write for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.shared.count_write();
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.shared.count_write();
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The mark that hyper-util puts into the extensions of each response, to tell which connection it came over.
#[derive(Clone)]
struct Mark(Arc<Shared>);

impl connect::Connection for Connection {
    fn connected(&self) -> Connected {
        Connected::new().extra(Mark(Arc::clone(&self.shared)))
    }
}

/// Tells the connection that a request is about to be written on it.
pub(super) fn begin_request(connected: &Connected) {
    let mut extensions = Extensions::new();
    connected.get_extras(&mut extensions);
    if let Some(Mark(shared)) = extensions.get() {
        shared.requests.fetch_add(1, Ordering::Relaxed);
    }
}

/// One response's use of the connection that it comes over. Dropping it says that the response has ended.
#[derive(Debug)]
pub(super) struct Use {
    shared: Option<Arc<Shared>>,
    writes: u64,
}

impl Use {
    /// Begins when the response's head has come; takes the mark out of `extensions`.
    pub(super) fn begin(extensions: &mut Extensions) -> Self {
        let shared = extensions.remove::<Mark>().map(|mark| mark.0);
        let writes = shared.as_ref().map_or(0, |shared| shared.writes.load(Ordering::Relaxed));
        Self { shared, writes }
    }

    /// Lets the connection be idle as long as the response announces less a margin, if it announces something.
    pub(super) fn heed(&self, fields: &HeaderMap) {
        const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
        if let Some(timeout) = fields.get(KEEP_ALIVE).and_then(announced_timeout) {
            self.set_idle_limit(timeout.saturating_sub(IDLE_MARGIN).min(IDLE_MAX));
        }
    }

    /// Lets the connection end with this response.
    pub(super) fn retire(&self) {
        self.set_idle_limit(Duration::ZERO);
    }

    /// Lets the connection live on for the protocol that it was switched to.
    pub(super) fn release(mut self) {
        self.shared = None;
    }

    fn set_idle_limit(&self, limit: Duration) {
        if let Some(shared) = &self.shared {
            shared.idle_limit_millis.store(millis(limit), Ordering::Relaxed);
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            // A response may be dropped after the next one on the same connection.
            shared.settled.fetch_max(self.writes, Ordering::Relaxed);
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

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
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

    #[test]
    fn idle_only_when_nothing_was_written_since_the_last_response_that_ended() {
        let shared = Arc::new(Shared::new(Duration::from_secs(1)));
        let begin = || {
            let mut extensions = Extensions::new();
            extensions.insert(Mark(Arc::clone(&shared)));
            Use::begin(&mut extensions)
        };
        assert!(shared.is_idle(), "never used");
        shared.count_write();
        assert!(!shared.is_idle(), "a request is under way");
        let first = begin();
        assert!(!shared.is_idle(), "its response is under way");

        shared.count_write();
        let second = begin();
        drop(second);
        assert!(shared.is_idle());
        drop(first);
        assert!(shared.is_idle(), "an older response that ends late changes nothing");

        shared.count_write();
        begin().release();
        assert!(!shared.is_idle(), "switched protocols");

        shared.count_write();
        let early = begin();
        shared.count_write();
        drop(early);
        assert!(!shared.is_idle(), "the request was still being written when its response ended");
    }
}
