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
use super::behind;
use super::protocol::{Protocols, Tasks, sniff};
use super::screen::{Refusal, Screen};
use super::service::{Answering, Serve};
use super::wire::{Io, Order, Wire};

/// How much of a client that still sends is read and thrown away, so that it gets to read the last response.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How much of it is read at once.
const LINGER_STEP_BYTES: usize = 8 << 10;

/// An accepted socket that is not served yet.
pub(super) struct Accepted {
    /// What its core watches.
    pub(super) wire: Arc<Wire>,
    read: OwnedReadHalf,
}

impl Accepted {
    /// Takes a socket over; `permit` is given back when it closes.
    pub(super) fn new(socket: TcpStream, addr: SocketAddr, permit: Option<tokio::sync::OwnedSemaphorePermit>) -> Self {
        let (read, write) = socket.into_split();
        Self { wire: Wire::new(addr, write, permit), read }
    }

    /// Tells a client that nobody serves it, once it has begun to ask: an answer before that would puzzle it. One that
    /// speaks HTTP/2 is told by the close.
    pub(super) async fn turn_away(self, response: Vec<u8>) {
        let Self { wire, mut read } = self;
        if let Some((Protocol::Http1, first)) = sniff(&wire, &mut read).await {
            say_last(&wire, &response).await;
            let io = Io::new(Arc::clone(&wire), read, first, None);
            linger(&wire, Box::new(io)).await;
        }
    }

    /// Serves the connection until it closes or is upgraded.
    pub(super) async fn serve<F: Serve>(self, mut protocols: Protocols, serve: Arc<F>) {
        let Self { wire, mut read } = self;
        let Some((protocol, first)) = sniff(&wire, &mut read).await else { return };
        wire.speaks(protocol);
        wire.activity.read();
        let screen = (protocol == Protocol::Http1).then(|| Screen::new(protocols.screened));
        let io = TokioIo::new(Io::new(Arc::clone(&wire), read, first, screen));
        let service = Answering::new(Arc::clone(&wire), Arc::clone(&protocols.tally), Arc::clone(&serve));
        let ended = if protocol == Protocol::Http2 {
            let hyper = protocols.http2(&wire).auto_date_header(F::DATED).serve_connection(io, service);
            // Boxed, so that the many HTTP/1 connections are not as large as the few HTTP/2 ones.
            let mut owner = Box::new(Owner::new(Arc::clone(&wire), Http2(hyper)));
            poll_fn(move |cx| owner.poll(cx)).await
        } else {
            let hyper = protocols.http1.auto_date_header(F::DATED).serve_connection(io, service).with_upgrades();
            let mut owner = Owner::new(Arc::clone(&wire), Http1(Some(hyper)));
            poll_fn(move |cx| owner.poll(cx)).await
        };
        match ended {
            Ended::Said(io) => linger(&wire, io).await,
            Ended::Refused(io, refusal) => {
                say_last(&wire, &serve.refuse(wire.addr, &refusal)).await;
                linger(&wire, io).await;
            }
            Ended::Unshut(left) => {
                say_last(&wire, b"").await;
                if let Some(io) = taken_back(left).await {
                    linger(&wire, io).await;
                }
            }
            Ended::Failed => drain(&wire).await,
            Ended::Elsewhere | Ended::Cut => (),
        }
    }
}

/// How hyper's part of a connection ended.
enum Ended {
    /// All is said, and our side of the socket is shut down.
    Said(Box<Io>),
    /// The screen has refused what comes next; what came before is answered.
    Refused(Box<Io>, Refusal),
    /// All is said; hyper has left the socket there, and not shut our side of it down.
    Unshut(Option<OnUpgrade>),
    /// A message broke off; the close tells so, once what was gathered is written.
    Failed,
    /// All is said by hyper itself, or somebody else has the socket now.
    Elsewhere,
    /// Nothing more is to be written.
    Cut,
}

/// What the owner asks of hyper's two kinds of connection.
trait Hyper {
    /// Gives hyper a turn.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;
    /// Has hyper answer what is under way, and nothing after it.
    fn finish(&mut self);
    /// Takes the socket back after the last turn; `None` where it was handed over, or hyper keeps it to itself.
    fn take_io(&mut self) -> Option<Box<Io>>;
}

struct Http1<F: Serve>(Option<http1::UpgradeableConnection<TokioIo<Io>, Answering<F>>>);

impl<F: Serve> Hyper for Http1<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.as_mut().map_or(Poll::Ready(Ok(())), |hyper| Pin::new(hyper).poll(cx))
    }

    fn finish(&mut self) {
        if let Some(hyper) = &mut self.0 {
            Pin::new(hyper).graceful_shutdown();
        }
    }

    fn take_io(&mut self) -> Option<Box<Io>> {
        let parts = self.0.take().and_then(http1::UpgradeableConnection::into_parts)?;
        Some(Box::new(parts.io.into_inner()))
    }
}

struct Http2<F: Serve>(http2::Connection<TokioIo<Io>, Answering<F>, Tasks>);

impl<F: Serve> Hyper for Http2<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }

    fn finish(&mut self) {
        Pin::new(&mut self.0).graceful_shutdown();
    }

    fn take_io(&mut self) -> Option<Box<Io>> {
        None
    }
}

/// The party that polls hyper and looks after the socket around it.
struct Owner<H> {
    wire: Arc<Wire>,
    hyper: H,
    /// The waker that orders go to.
    waker: Option<Waker>,
    is_finishing: bool,
    has_ended: bool,
}

impl<H: Hyper> Owner<H> {
    fn new(wire: Arc<Wire>, hyper: H) -> Self {
        Self { wire, hyper, waker: None, is_finishing: false, has_ended: false }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            self.wire.owned_by(cx.waker());
            self.waker = Some(cx.waker().clone());
        }
        if self.wire.ordered() == Order::Close {
            return Poll::Ready(self.cut());
        }
        self.wire.activity.round();
        if self.wire.activity.running() > 0 {
            // Before the turn, so that the response says `Connection: close`.
            self.finish_if_ordered();
        }
        loop {
            self.wire.turn();
            if let Poll::Ready(result) = self.hyper.poll(cx) {
                return Poll::Ready(self.end(result, cx));
            }
            match self.poll_drain(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(self.cut()),
                // hyper was refused and nothing will wake it, since the socket took all the rest.
                Poll::Ready(Ok(true)) => continue,
                Poll::Ready(Ok(false)) | Poll::Pending => (),
            }
            // After the turn where nothing ran: a request that has arrived meanwhile is still answered.
            if !self.finish_if_ordered() {
                break;
            }
        }
        if self.wire.is_refusal_due()
            && let Some(io) = self.hyper.take_io()
            && let Some(refusal) = io.refusal()
        {
            self.has_ended = true;
            return Poll::Ready(Ended::Refused(io, refusal));
        }
        // hyper reads on HTTP/1 only while it needs bytes; meanwhile a client that gives up is seen here.
        let activity = &self.wire.activity;
        let unseen = activity.protocol() == Protocol::Http1 && activity.running() > 0 && !activity.is_starved();
        if unseen && self.wire.poll_client_gone(cx) {
            return Poll::Ready(self.cut());
        }
        Poll::Pending
    }

    /// Has what was gathered in this turn written out: behind the turns of others, unless hyper waits for it.
    fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.wire.may_wait() && behind::leave(&self.wire) {
            return Poll::Ready(Ok(false));
        }
        behind::pass();
        self.wire.poll_drain(cx)
    }

    /// Passes the order to finish on to hyper, once; tells whether it did.
    fn finish_if_ordered(&mut self) -> bool {
        let is_due = !self.is_finishing
            && match self.wire.ordered() {
                Order::Finish => true,
                // HTTP/2 can tell the client to go while its requests are answered; on HTTP/1 the next response says so.
                Order::Part => self.wire.activity.protocol() == Protocol::Http2,
                Order::Stay | Order::Close => false,
            };
        if is_due {
            self.is_finishing = true;
            self.hyper.finish();
        }
        is_due
    }

    /// Ends after hyper's last turn.
    fn end(&mut self, result: hyper::Result<()>, cx: &mut Context<'_>) -> Ended {
        self.has_ended = true;
        let io = self.hyper.take_io();
        // Whoever keeps it keeps the socket in it.
        let left = self.wire.take_left();
        match result {
            // After a head that could not be read hyper has sent its 400 and shut down.
            Err(error) if !error.is_parse() => {
                tracing::debug!(client = %self.wire.addr, %error, "the connection broke off");
                let is_ours = error.is_user() || error.is_body_write_aborted();
                if is_ours && self.wire.activity.is_http10() {
                    // Closing may be the only end that an HTTP/1.0 body has (RFC 9112 §6.3).
                    self.wire.reset_on_close();
                    return Ended::Cut;
                }
                Ended::Failed
            }
            Ok(()) | Err(_) => match io {
                Some(io) => Ended::Said(io),
                // A request asked for another protocol and did not get it: hyper ends such a connection as if it had.
                None if self.wire.activity.protocol() == Protocol::Http1 && !self.wire.activity.is_switched() => {
                    Ended::Unshut(left)
                }
                None => {
                    if self.wire.activity.protocol() == Protocol::Http1 {
                        self.wire.speaks(Protocol::Tunnel);
                        // The 101 was gathered. What the socket does not take now goes ahead of the tunnel's first bytes.
                        let _ = self.wire.poll_drain(cx);
                    }
                    Ended::Elsewhere
                }
            },
        }
    }

    /// Ends at once.
    fn cut(&mut self) -> Ended {
        self.has_ended = true;
        let activity = &self.wire.activity;
        if activity.running() > 0 || activity.is_blocked() || activity.is_http10() {
            self.wire.reset_on_close();
        }
        Ended::Cut
    }
}

impl<H> Drop for Owner<H> {
    /// A core that stops at once drops its connections where they are, and a panic does the same.
    fn drop(&mut self) {
        if !self.has_ended && self.wire.activity.is_http10() {
            self.wire.reset_on_close();
        }
    }
}

/// Takes back the socket that hyper has left for another protocol, which the client did not get.
async fn taken_back(left: Option<OnUpgrade>) -> Option<Box<Io>> {
    let left = left?.await.ok()?.downcast::<TokioIo<Io>>().ok()?;
    Some(Box::new(left.io.into_inner()))
}

/// Gives up what could not be written. Where the end would be taken for that of a body, the socket does not close as if all were
/// said.
fn give_up(wire: &Wire) -> Poll<()> {
    if wire.activity.is_blocked() || wire.activity.is_http10() {
        wire.reset_on_close();
    }
    Poll::Ready(())
}

/// Writes out what was gathered, unless the core says that it has waited long enough.
async fn drain(wire: &Wire) {
    poll_fn(|cx| {
        wire.owned_by(cx.waker());
        match wire.ordered() {
            Order::Close => give_up(wire),
            Order::Stay | Order::Part | Order::Finish => wire.poll_drain(cx).map(drop),
        }
    })
    .await;
}

/// Writes the connection's last response, and shuts our side of the socket down.
async fn say_last(wire: &Wire, response: &[u8]) {
    // What was gathered goes first, so that there is room.
    drain(wire).await;
    wire.say_last(response);
    poll_fn(|cx| {
        wire.owned_by(cx.waker());
        match wire.ordered() {
            Order::Close => give_up(wire),
            Order::Stay | Order::Part | Order::Finish => wire.poll_shutdown(cx).map(drop),
        }
    })
    .await;
}

/// Waits for the client's close and throws away what it still sends: closing a socket with unread bytes resets it, and the
/// reset can overtake the response (RFC 9112 §9.6).
async fn linger(wire: &Wire, mut io: Box<Io>) {
    wire.speaks(Protocol::Lingering);
    let mut scrap = Vec::new();
    let mut left = LINGER_BYTES_MAX;
    while !io.is_eof() && left > 0 {
        scrap.resize(LINGER_STEP_BYTES, 0);
        let mut buf = ReadBuf::new(&mut scrap);
        let come = poll_fn(|cx| {
            wire.owned_by(cx.waker());
            if wire.ordered() == Order::Close {
                return Poll::Ready(false);
            }
            Poll::Ready(ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)).is_ok())
        });
        if !come.await {
            return;
        }
        left = left.saturating_sub(buf.filled().len());
    }
}
