//! Connections to the origin: how they are made, and the checks on their bytes.
//!
//! The heads of responses pass the [`ResponseScreen`]. An idle connection may have received its
//! end, or unsolicited bytes, which must not become the next request's response. hyper looks for
//! such bytes before it writes a request, but sees only bytes that the runtime has read. So the
//! socket itself is checked here, in the same poll that writes the request.

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

use super::error::{ConnectError, NotInTime, NotResolved};
use super::screen::ResponseScreen;

/// Bytes read at once while a head is expected: hyper's own first step.
const HEAD_STEP: usize = 8 << 10;

/// The silence after which the kernel probes the origin, as for clients: a tunnel may be silent for
/// long, and a machine that is down sends nothing.
const KEEPALIVE_TIME: Duration = Duration::from_secs(60);
/// The interval between two probes of the kernel.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// The number of unanswered probes after which the connection counts as broken.
const KEEPALIVE_RETRIES: u32 = 4;

type Resolver = MapErr<GaiResolver, fn(io::Error) -> NotResolved>;

/// Makes connections: resolves, races the address families and connects, within one bound.
pub(super) struct Connector {
    tcp: HttpConnector<Resolver>,
    origin: Uri,
    connect_timeout: Duration,
}

impl Connector {
    /// Makes a connector to the scheme and authority of `origin`.
    pub(super) fn new(origin: Uri, connect_timeout: Duration) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(MapErr::new(GaiResolver::new(), NotResolved as fn(_) -> _));
        tcp.set_nodelay(true);
        tcp.set_keepalive(Some(KEEPALIVE_TIME));
        tcp.set_keepalive_interval(Some(KEEPALIVE_INTERVAL));
        tcp.set_keepalive_retries(Some(KEEPALIVE_RETRIES));
        // Divided among the addresses of a name, so that one dead address does not use up the whole
        // bound.
        tcp.set_connect_timeout(Some(connect_timeout));
        Self { tcp, origin, connect_timeout }
    }

    /// Makes a connection.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(super) async fn connect(&self) -> Result<OriginConnection, ConnectError> {
        // A connector of this kind is always ready.
        let connecting = self.tcp.clone().call(self.origin.clone());
        match tokio::time::timeout(self.connect_timeout, connecting).await {
            Ok(Ok(io)) => {
                Ok(OriginConnection { io, screen: ResponseScreen::default(), is_idle: Arc::new(AtomicBool::new(true)) })
            }
            Ok(Err(error)) => Err(ConnectError(error.into())),
            Err(_elapsed) => Err(ConnectError(NotInTime(self.connect_timeout).into())),
        }
    }
}

/// The byte stream of a connection to the origin.
pub(super) struct OriginConnection {
    io: TokioIo<TcpStream>,
    screen: ResponseScreen,
    /// True if no request is in progress; the pool sets it when the connection comes back.
    is_idle: Arc<AtomicBool>,
}

impl OriginConnection {
    /// Returns the flag that the pool sets when the connection becomes idle.
    pub(super) fn idle_mark(&self) -> &Arc<AtomicBool> {
        &self.is_idle
    }

    /// Reads and screens bytes of a head.
    fn poll_read_head(&mut self, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        thread_local! {
            /// Buffer for the heads of a core's connections, one at a time. Clearing a new buffer
            /// for each takes longer than the read.
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

    /// Checks whether the socket holds anything that the runtime has not read yet.
    fn peek(&self) -> Poll<io::Result<()>> {
        match socket2::SockRef::from(self.io.inner()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Poll::Ready(Ok(())),
            Ok(_) => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "unsolicited bytes"))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Notes a write, which starts a request if the connection was idle.
    fn note_write(&mut self) {
        if self.is_idle.load(Ordering::Relaxed) {
            self.is_idle.store(false, Ordering::Relaxed);
            self.screen.begin();
        }
    }
}

impl Read for OriginConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.screen.is_in_head() {
            return self.poll_read_head(cx, buf);
        }
        // A read that adds no byte is the end of the stream.
        match Pin::new(&mut self.io).poll_read(cx, buf) {
            Poll::Pending if self.is_idle.load(Ordering::Relaxed) => self.peek(),
            polled => polled,
        }
    }
}

impl Write for OriginConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.note_write();
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A head alone: a plain write costs less.
        if let [head] = bufs {
            return self.poll_write(cx, head);
        }
        self.note_write();
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
