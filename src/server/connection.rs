//! One connection, from its acceptance to its close.
//!
//! Lets hyper speak the protocol that the client has chosen, drains the write buffer after each of hyper's turns, follows
//! the core's orders, and decides how the socket ends: cleanly, with patience for a client that still sends, or with a
//! reset where a clean end would be taken for the end of a body.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use hyper::server::conn::{http1, http2};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use super::activity::Protocol;
use super::connection_state::{ConnectionIo, ConnectionState, Shutdown};
use super::deferred_writes;
use super::protocol::{Protocols, StreamTasks, sniff};
use super::screen::{RequestScreen, ScreenRefusal};
use super::service::{ConnectionService, Serve};

/// How much of a client that still sends is read and thrown away, so that it gets to read the last response.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How much of it is read at once.
const LINGER_STEP_BYTES: usize = 8 << 10;

/// An accepted socket that is not served yet.
pub(super) struct AcceptedSocket {
    /// What its core watches.
    pub(super) connection: Arc<ConnectionState>,
    read: OwnedReadHalf,
}

impl AcceptedSocket {
    /// Takes a socket over; `permit` is given back when it closes.
    pub(super) fn new(socket: TcpStream, addr: SocketAddr, permit: Option<tokio::sync::OwnedSemaphorePermit>) -> Self {
        let (read, write) = socket.into_split();
        Self { connection: ConnectionState::new(addr, write, permit), read }
    }

    /// Tells a client that nobody serves it, once it has begun to ask: an answer before that would puzzle it. One that
    /// speaks HTTP/2 is told by the close.
    pub(super) async fn turn_away(self, response: Vec<u8>) {
        let Self { connection, mut read } = self;
        if let Some((Protocol::Http1, first)) = sniff(&connection, &mut read).await {
            send_last_response(&connection, &response).await;
            let io = ConnectionIo::new(Arc::clone(&connection), read, first, None);
            linger(&connection, Box::new(io)).await;
        }
    }

    /// Serves the connection until it closes or is upgraded.
    pub(super) async fn serve<F: Serve>(self, mut protocols: Protocols, serve: Arc<F>) {
        let Self { connection, mut read } = self;
        let Some((protocol, first)) = sniff(&connection, &mut read).await else { return };
        connection.set_protocol(protocol);
        connection.activity.record_read();
        let screen = (protocol == Protocol::Http1).then(|| RequestScreen::new(protocols.screen));
        let io = TokioIo::new(ConnectionIo::new(Arc::clone(&connection), read, first, screen));
        let service =
            ConnectionService::new(Arc::clone(&connection), Arc::clone(&protocols.counters), Arc::clone(&serve));
        let ended = if protocol == Protocol::Http2 {
            let hyper = protocols.http2(&connection).auto_date_header(F::DATED).serve_connection(io, service);
            // Boxed, so that the many HTTP/1 connections are not as large as the few HTTP/2 ones.
            let mut driver = Box::new(Driver::new(Arc::clone(&connection), Http2Connection(hyper)));
            poll_fn(move |cx| driver.poll(cx)).await
        } else {
            let hyper = protocols.http1.auto_date_header(F::DATED).serve_connection(io, service).with_upgrades();
            let mut driver = Driver::new(Arc::clone(&connection), Http1Connection(Some(hyper)));
            poll_fn(move |cx| driver.poll(cx)).await
        };
        match ended {
            DriverEnd::Complete(io) => linger(&connection, io).await,
            DriverEnd::Refused(io, refusal) => {
                send_last_response(&connection, &serve.refuse(connection.addr, &refusal)).await;
                linger(&connection, io).await;
            }
            DriverEnd::NotShutDown(upgrade) => {
                send_last_response(&connection, b"").await;
                if let Some(io) = reclaim_socket(upgrade).await {
                    linger(&connection, io).await;
                }
            }
            DriverEnd::Failed => drain(&connection).await,
            DriverEnd::HandedOver | DriverEnd::Aborted => (),
        }
    }
}

/// How hyper's part of a connection ended.
enum DriverEnd {
    /// All is said, and our side of the socket is shut down.
    Complete(Box<ConnectionIo>),
    /// The screen has refused what comes next; what came before is answered.
    Refused(Box<ConnectionIo>, ScreenRefusal),
    /// All is said; hyper has left the socket there, and not shut our side of it down.
    NotShutDown(Option<OnUpgrade>),
    /// A message broke off; the close tells so, once what was gathered is written.
    Failed,
    /// All is said by hyper itself, or somebody else has the socket now.
    HandedOver,
    /// Nothing more is to be written.
    Aborted,
}

/// What the owner asks of hyper's two kinds of connection.
trait HyperConnection {
    /// Gives hyper a turn.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;
    /// Has hyper answer what is under way, and nothing after it.
    fn finish(&mut self);
    /// Takes the socket back after the last turn; `None` where it was handed over, or hyper keeps it to itself.
    fn take_io(&mut self) -> Option<Box<ConnectionIo>>;
}

struct Http1Connection<F: Serve>(Option<http1::UpgradeableConnection<TokioIo<ConnectionIo>, ConnectionService<F>>>);

impl<F: Serve> HyperConnection for Http1Connection<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.as_mut().map_or(Poll::Ready(Ok(())), |hyper| Pin::new(hyper).poll(cx))
    }

    fn finish(&mut self) {
        if let Some(hyper) = &mut self.0 {
            Pin::new(hyper).graceful_shutdown();
        }
    }

    fn take_io(&mut self) -> Option<Box<ConnectionIo>> {
        let parts = self.0.take().and_then(http1::UpgradeableConnection::into_parts)?;
        Some(Box::new(parts.io.into_inner()))
    }
}

struct Http2Connection<F: Serve>(http2::Connection<TokioIo<ConnectionIo>, ConnectionService<F>, StreamTasks>);

impl<F: Serve> HyperConnection for Http2Connection<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }

    fn finish(&mut self) {
        Pin::new(&mut self.0).graceful_shutdown();
    }

    fn take_io(&mut self) -> Option<Box<ConnectionIo>> {
        None
    }
}

/// The party that polls hyper and looks after the socket around it.
struct Driver<H> {
    connection: Arc<ConnectionState>,
    hyper: H,
    /// The waker that orders go to.
    waker: Option<Waker>,
    is_finishing: bool,
    has_ended: bool,
}

impl<H: HyperConnection> Driver<H> {
    fn new(connection: Arc<ConnectionState>, hyper: H) -> Self {
        Self { connection, hyper, waker: None, is_finishing: false, has_ended: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<DriverEnd> {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            self.connection.set_driver_waker(cx.waker());
            self.waker = Some(cx.waker().clone());
        }
        if self.connection.requested_shutdown() == Shutdown::Abort {
            return Poll::Ready(self.abort());
        }
        self.connection.activity.round();
        if self.connection.activity.running() > 0 {
            // Before the turn, so that the response says `Connection: close`.
            self.finish_if_requested();
        }
        loop {
            self.connection.turn();
            if let Poll::Ready(result) = self.hyper.poll(cx) {
                return Poll::Ready(self.end(result, cx));
            }
            match self.poll_drain(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(self.abort()),
                // hyper was refused and nothing will wake it, since the socket took all the rest.
                Poll::Ready(Ok(true)) => continue,
                Poll::Ready(Ok(false)) | Poll::Pending => (),
            }
            // After the turn where nothing ran: a request that has arrived meanwhile is still answered.
            if !self.finish_if_requested() {
                break;
            }
        }
        if self.connection.is_refusal_due()
            && let Some(io) = self.hyper.take_io()
            && let Some(refusal) = io.refusal()
        {
            self.has_ended = true;
            return Poll::Ready(DriverEnd::Refused(io, refusal));
        }
        // hyper reads on HTTP/1 only while it needs bytes; meanwhile a client that gives up is seen here.
        let activity = &self.connection.activity;
        let unseen = activity.protocol() == Protocol::Http1 && activity.running() > 0 && !activity.is_starved();
        if unseen && self.connection.poll_client_gone(cx) {
            return Poll::Ready(self.abort());
        }
        Poll::Pending
    }

    /// Has what was gathered in this turn written out: behind the turns of others, unless hyper waits for it.
    fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.connection.may_wait() && deferred_writes::defer(&self.connection) {
            return Poll::Ready(Ok(false));
        }
        deferred_writes::count_turn();
        self.connection.poll_drain(cx)
    }

    /// Passes the order to finish on to hyper, once; tells whether it did.
    fn finish_if_requested(&mut self) -> bool {
        let is_due = !self.is_finishing
            && match self.connection.requested_shutdown() {
                Shutdown::Graceful => true,
                // HTTP/2 can tell the client to go while its requests are answered; on HTTP/1 the next response says so.
                Shutdown::AfterNext => self.connection.activity.protocol() == Protocol::Http2,
                Shutdown::None | Shutdown::Abort => false,
            };
        if is_due {
            self.is_finishing = true;
            self.hyper.finish();
        }
        is_due
    }

    /// Ends after hyper's last turn.
    fn end(&mut self, result: hyper::Result<()>, cx: &mut Context<'_>) -> DriverEnd {
        self.has_ended = true;
        let io = self.hyper.take_io();
        // Whoever keeps it keeps the socket in it.
        let upgrade = self.connection.take_upgrade();
        match result {
            // After a head that could not be read hyper has sent its 400 and shut down.
            Err(error) if !error.is_parse() => {
                tracing::debug!(client = %self.connection.addr, %error, "the connection broke off");
                let is_ours = error.is_user() || error.is_body_write_aborted();
                if is_ours && self.connection.activity.is_http10() {
                    // Closing may be the only end that an HTTP/1.0 body has (RFC 9112 §6.3).
                    self.connection.reset_on_close();
                    return DriverEnd::Aborted;
                }
                DriverEnd::Failed
            }
            Ok(()) | Err(_) => match io {
                Some(io) => DriverEnd::Complete(io),
                // A request asked for another protocol and did not get it: hyper ends such a connection as if it had.
                None if self.connection.activity.protocol() == Protocol::Http1
                    && !self.connection.activity.is_switched() =>
                {
                    DriverEnd::NotShutDown(upgrade)
                }
                None => {
                    if self.connection.activity.protocol() == Protocol::Http1 {
                        self.connection.set_protocol(Protocol::Tunnel);
                        // The 101 was gathered. What the socket does not take now goes ahead of the tunnel's first bytes.
                        let _ = self.connection.poll_drain(cx);
                    }
                    DriverEnd::HandedOver
                }
            },
        }
    }

    /// Ends at once.
    fn abort(&mut self) -> DriverEnd {
        self.has_ended = true;
        let activity = &self.connection.activity;
        if activity.running() > 0 || activity.is_blocked() || activity.is_http10() {
            self.connection.reset_on_close();
        }
        DriverEnd::Aborted
    }
}

impl<H> Drop for Driver<H> {
    /// A core that stops at once drops its connections where they are, and a panic does the same.
    fn drop(&mut self) {
        if !self.has_ended && self.connection.activity.is_http10() {
            self.connection.reset_on_close();
        }
    }
}

/// Takes back the socket that hyper has left for another protocol, which the client did not get.
async fn reclaim_socket(upgrade: Option<OnUpgrade>) -> Option<Box<ConnectionIo>> {
    let upgrade = upgrade?.await.ok()?.downcast::<TokioIo<ConnectionIo>>().ok()?;
    Some(Box::new(upgrade.io.into_inner()))
}

/// Gives up what could not be written. Where the end would be taken for that of a body, the socket does not close as if all were
/// said.
fn give_up(connection: &ConnectionState) -> Poll<()> {
    if connection.activity.is_blocked() || connection.activity.is_http10() {
        connection.reset_on_close();
    }
    Poll::Ready(())
}

/// Writes out what was gathered, unless the core says that it has waited long enough.
async fn drain(connection: &ConnectionState) {
    poll_fn(|cx| {
        connection.set_driver_waker(cx.waker());
        match connection.requested_shutdown() {
            Shutdown::Abort => give_up(connection),
            Shutdown::None | Shutdown::AfterNext | Shutdown::Graceful => connection.poll_drain(cx).map(drop),
        }
    })
    .await;
}

/// Writes the connection's last response, and shuts our side of the socket down.
async fn send_last_response(connection: &ConnectionState, response: &[u8]) {
    // What was gathered goes first, so that there is room.
    drain(connection).await;
    connection.queue_last_response(response);
    poll_fn(|cx| {
        connection.set_driver_waker(cx.waker());
        match connection.requested_shutdown() {
            Shutdown::Abort => give_up(connection),
            Shutdown::None | Shutdown::AfterNext | Shutdown::Graceful => connection.poll_shutdown(cx).map(drop),
        }
    })
    .await;
}

/// Waits for the client's close and throws away what it still sends: closing a socket with unread bytes resets it, and the
/// reset can overtake the response (RFC 9112 §9.6).
async fn linger(connection: &ConnectionState, mut io: Box<ConnectionIo>) {
    connection.set_protocol(Protocol::Lingering);
    let mut scrap = Vec::new();
    let mut upgrade = LINGER_BYTES_MAX;
    while !io.is_eof() && upgrade > 0 {
        scrap.resize(LINGER_STEP_BYTES, 0);
        let mut buf = ReadBuf::new(&mut scrap);
        let come = poll_fn(|cx| {
            connection.set_driver_waker(cx.waker());
            if connection.requested_shutdown() == Shutdown::Abort {
                return Poll::Ready(false);
            }
            Poll::Ready(ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)).is_ok())
        });
        if !come.await {
            return;
        }
        upgrade = upgrade.saturating_sub(buf.filled().len());
    }
}
