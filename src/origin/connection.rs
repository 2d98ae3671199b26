//! Connections to the origin: how they are made, and what their bytes pass.
//!
//! The heads of responses go through the [`Screen`]. An idle connection may have received an end, or bytes that nobody asked
//! for, which must not become the next request's response. hyper looks for such bytes before it writes a request, but knows
//! only of those that the runtime has seen; so the socket itself is looked at here, in the same turn in which the request is
//! written.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tower::Service;
use tower::util::MapErr;

use super::error::{NotInTime, NotResolved, Unconnected};
use super::screen::Screen;

/// How much is read at once while a head is to come, in bytes: as much as hyper asks for at first.
const HEAD_STEP: usize = 8 << 10;

/// An origin that is silent for this long is asked by the kernel whether it is still there, as clients are: a tunnel may be
/// silent for long, and a machine that is gone says nothing.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// How long after it the kernel asks again.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How often it does, in vain, before the connection counts as broken.
const KEEPALIVE_RETRIES: u32 = 4;

type Resolver = MapErr<GaiResolver, fn(io::Error) -> NotResolved>;

/// Makes connections: resolves, races the address families, connects, all within one bound.
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    origin: Uri,
    connect_timeout: Duration,
}

impl Connector {
    /// Makes a connector to `origin`, of which scheme and authority count.
    pub(super) fn new(origin: Uri, connect_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(MapErr::new(GaiResolver::new(), NotResolved as fn(_) -> _));
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_TIME));
        tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        // Divided among the addresses of a name, so that one dead address does not use up the whole.
        tcp.set_connect_timeout(Some(connect_timeout));
        Self { tcp, origin, connect_timeout }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// Why there is none.
    pub(super) async fn connect(&self) -> Result<Connection, Unconnected> {
        // A connector of this kind is always ready.
        let connecting = self.tcp.clone().call(self.origin.clone());
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(io)) => Ok(Connection { io, screen: Screen::default(), is_idle: Arc::new(AtomicBool::new(true)) }),
            Ok(Err(error)) => Err(Unconnected(error.into())),
            Err(_elapsed) => Err(Unconnected(NotInTime(self.connect_timeout).into())),
        }
    }
}

/// The bytes of a connection to the origin.
pub(super) struct Connection {
    io: TokioIo<TcpStream>,
    screen: Screen,
    /// Whether no request is under way on it; the pool sets it when the connection comes back.
    is_idle: Arc<AtomicBool>,
}

impl Connection {
    /// Returns the mark that the pool sets when the connection becomes idle.
    pub(super) fn idle_mark(&self) -> &Arc<AtomicBool> {
        &self.is_idle
    }

    /// Reads a piece in which a head ends, or does not end yet, and screens it.
    fn poll_read_head(&mut self, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        thread_local! {
            /// Where a core's connections read their heads to, one at a time: to clear a new one each time takes longer
            /// than to read.
            static STEP: RefCell<[u8; HEAD_STEP]> = const { RefCell::new([0; HEAD_STEP]) };
        }
        STEP.with_borrow_mut(|bytes| {
            let length = buf.remaining().min(bytes.len());
            let mut read = ReadBuf::new(&mut bytes[..length]);
            ready!(Pin::new(self.io.inner_mut()).poll_read(cx, &mut read))?;
            self.screen.pass(read.filled()).map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))?;
            buf.put_slice(read.filled());
            Poll::Ready(Ok(()))
        })
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

    /// Something is written: where nothing was asked before, it begins a request.
    fn ask(&mut self) {
        if self.is_idle.load(Ordering::Relaxed) {
            self.is_idle.store(false, Ordering::Relaxed);
            self.screen.begin();
        }
    }
}

impl Read for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.screen.is_in_head() {
            return self.poll_read_head(cx, buf);
        }
        // Where nothing was put into the buffer, it is the end of the stream.
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending if self.is_idle.load(Ordering::Relaxed) => self.peek(),
            polled => polled,
        }
    }
}

impl Write for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.ask();
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A head alone: the call for one piece costs less.
        if let [head] = bufs {
            return self.poll_write(cx, head);
        }
        self.ask();
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
