//! A connection's socket as two parties share it: hyper, through [`ConnectionIo`], and the connection's owner, through [`ConnectionState`].
//!
//! hyper keeps its IO to itself, yet the owner has to drain the write buffer after each poll, to look for a client that
//! went away, and to reset what must not end cleanly. So the writing half lives behind a lock in [`ConnectionState`]; the reading half
//! stays with hyper, and what it reads on HTTP/1 goes through the [`RequestScreen`]. After an upgrade the owner is gone, and the
//! same [`ConnectionIo`] writes through.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::OwnedSemaphorePermit;

use super::activity::{Activity, Protocol};
use super::buffer::{HTTP1_SMALL_BYTES, HTTP2_SMALL_BYTES, WriteBuffer};
use super::streams::Streams;

/// What a connection is told to do by its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Shutdown {
    /// Nothing.
    None,
    /// Answer one more request, then close: for clients that cannot know yet that somebody else listens now.
    AfterNext,
    /// Answer what is under way, then close.
    Graceful,
    /// Close at once.
    Abort,
}

/// The shared part of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// The client's address.
    pub(crate) addr: SocketAddr,
    /// What the sweep looks at.
    pub(crate) activity: Activity,
    /// The same for each stream of HTTP/2.
    pub(crate) streams: Streams,
    /// Guards the writing half and what waits for it. Nothing awaits under it.
    write_side: Mutex<WriteSide>,
    shutdown: AtomicU8,
    /// Whether the screen has refused a head, and how many it had passed before.
    has_refused: AtomicBool,
    passed_heads: AtomicU32,
    /// Guards the owner's waker. Nothing awaits under it.
    driver: Mutex<Option<Waker>>,
    /// Where hyper leaves the socket of a connection on which a request asked for another protocol. Nothing awaits under it.
    upgrade: Mutex<Option<OnUpgrade>>,
    /// One of the process's connections; given back when the socket closes, also after an upgrade.
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct WriteSide {
    /// `None` only while it is dropped.
    half: Option<OwnedWriteHalf>,
    gathered: WriteBuffer,
    /// Writes up to this many bytes are gathered; 0: none are.
    small_bytes: usize,
    /// Whether hyper has been refused since its last turn.
    was_refused: bool,
    /// Whether hyper still has bytes that were refused, or the rest of some that were taken in part.
    is_owed: bool,
}

impl WriteSide {
    /// Returns the gathered bytes and the socket that they go to.
    fn parts(&mut self) -> Option<(&mut WriteBuffer, Pin<&mut OwnedWriteHalf>)> {
        self.half.as_mut().map(|half| (&mut self.gathered, Pin::new(half)))
    }
}

impl Drop for WriteSide {
    fn drop(&mut self) {
        // The half would shut the socket down in passing, and that is a clean end: whether the end is clean was decided
        // before, and closing the socket follows at once.
        if let Some(half) = self.half.take() {
            half.forget();
        }
    }
}

impl ConnectionState {
    /// Shares a socket's writing half.
    pub(crate) fn new(addr: SocketAddr, half: OwnedWriteHalf, permit: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        let out = WriteSide {
            half: Some(half),
            gathered: WriteBuffer::default(),
            small_bytes: HTTP1_SMALL_BYTES,
            was_refused: false,
            is_owed: false,
        };
        Arc::new(Self {
            addr,
            activity: Activity::new(),
            streams: Streams::default(),
            write_side: Mutex::new(out),
            shutdown: AtomicU8::new(Shutdown::None as u8),
            has_refused: AtomicBool::new(false),
            passed_heads: AtomicU32::new(0),
            driver: Mutex::new(None),
            upgrade: Mutex::new(None),
            _permit: permit,
        })
    }

    /// Notes which protocol is spoken from now on, and gathers writes as suits it.
    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        self.activity.set_protocol(protocol);
        self.write_side.lock().small_bytes = match protocol {
            Protocol::Http2 => HTTP2_SMALL_BYTES,
            // Nobody drains behind whoever holds the tunnel.
            Protocol::Tunnel => 0,
            _ => HTTP1_SMALL_BYTES,
        };
    }

    /// Tells the connection what to do, and wakes its owner. A stricter order stays.
    pub(crate) fn request_shutdown(&self, shutdown: Shutdown) {
        self.shutdown.fetch_max(shutdown as u8, Ordering::Release);
        if shutdown == Shutdown::Abort && self.activity.protocol() == Protocol::Tunnel {
            self.abort();
        }
        if let Some(driver) = self.driver.lock().as_ref() {
            driver.wake_by_ref();
        }
    }

    /// Returns the order in force.
    pub(crate) fn requested_shutdown(&self) -> Shutdown {
        match self.shutdown.load(Ordering::Acquire) {
            0 => Shutdown::None,
            1 => Shutdown::AfterNext,
            2 => Shutdown::Graceful,
            _ => Shutdown::Abort,
        }
    }

    /// Notes that the head behind the first `passed_heads` is refused.
    pub(super) fn refuse(&self, passed_heads: u32) {
        self.passed_heads.store(passed_heads, Ordering::Relaxed);
        self.has_refused.store(true, Ordering::Release);
    }

    /// Tells whether a head was refused.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed)
    }

    /// Tells whether a head was refused and every request before it is answered, to the last byte that hyper has of it.
    pub(crate) fn is_refusal_due(&self) -> bool {
        self.has_refused.load(Ordering::Acquire)
            && self.activity.ended_count() == self.passed_heads.load(Ordering::Relaxed)
            && !self.write_side.lock().is_owed
    }

    /// Puts the last response of the connection behind what was gathered.
    pub(crate) fn queue_last_response(&self, response: &[u8]) {
        self.write_side.lock().gathered.add(&[IoSlice::new(response)]);
    }

    /// Writes out what was gathered, and shuts our side of the socket down.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        match self.write_side.lock().parts() {
            Some((_, socket)) => socket.poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Has `waker` woken by orders.
    pub(crate) fn set_driver_waker(&self, waker: &Waker) {
        *self.driver.lock() = Some(waker.clone());
    }

    /// Notes where hyper leaves the socket if the last request is one that asks for another protocol, whether it gets it or not.
    pub(crate) fn offer_upgrade(&self, upgrade: OnUpgrade) {
        *self.upgrade.lock() = Some(upgrade);
    }

    /// Takes what [`ConnectionState::offer_upgrade`] has noted.
    pub(crate) fn take_upgrade(&self) -> Option<OnUpgrade> {
        self.upgrade.lock().take()
    }

    /// Opens a turn: what was noted about the last one is forgotten.
    pub(crate) fn turn(&self) {
        self.activity.turn();
        self.write_side.lock().was_refused = false;
    }

    /// Writes out what was gathered. Ready tells whether hyper was refused in this turn, and may now write again.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut out = self.write_side.lock();
        let refused = out.was_refused;
        if out.gathered.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.record_writes(&mut out, |gathered, socket| gathered.poll_drain(socket, cx)).map_ok(|()| refused)
    }

    /// Tells whether something was gathered that hyper does not wait for.
    pub(crate) fn may_wait(&self) -> bool {
        let out = self.write_side.lock();
        !out.was_refused && !out.gathered.is_empty()
    }

    /// Writes out what was gathered. Where the socket does not take it all, its owner is woken when it takes more; where it is
    /// broken, at once, to close it.
    pub(crate) fn drain_for_driver(&self) {
        let driver = self.driver.lock();
        let Some(waker) = driver.as_ref() else { return };
        let drained = self.poll_drain(&mut Context::from_waker(waker));
        drop(driver);
        if matches!(drained, Poll::Ready(Err(_))) {
            self.request_shutdown(Shutdown::Abort);
        }
    }

    /// Runs a write and notes for the sweep whether bytes moved or the socket is full.
    fn record_writes<T>(
        &self,
        out: &mut WriteSide,
        write: impl FnOnce(&mut WriteBuffer, Pin<&mut OwnedWriteHalf>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let before = out.gathered.waiting().len();
        let Some((gathered, socket)) = out.parts() else {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        };
        let result = write(gathered, socket);
        if result.is_ready() || gathered.waiting().len() < before {
            self.activity.record_write();
        }
        if result.is_pending() {
            self.activity.record_blocked();
        }
        result
    }

    /// Takes hyper's (or a tunnel's) bytes: gathers them, or writes them behind what was gathered.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut out = self.write_side.lock();
        if total <= out.small_bytes && out.gathered.fits(total) {
            out.gathered.add(slices);
            out.is_owed = false;
            return Poll::Ready(Ok(total));
        }
        let result = self.record_writes(&mut out, |gathered, socket| gathered.poll_write_with(socket, cx, slices));
        match &result {
            Poll::Ready(Ok(written)) => out.is_owed = *written < total,
            Poll::Ready(Err(_)) => (),
            Poll::Pending => (out.was_refused, out.is_owed) = (true, true),
        }
        result
    }

    /// Puts the raw head of an interim response before whatever hyper writes next. Where hyper is in the middle of a
    /// message, or there is no room, it is dropped: interim responses are hints.
    pub(crate) fn splice(&self, head: &[u8]) {
        let mut out = self.write_side.lock();
        if !out.is_owed && out.gathered.fits(head.len()) {
            out.gathered.add(&[IoSlice::new(head)]);
        }
    }

    /// Looks whether the client has closed its side; has the owner woken when it does. Bytes that wait to be read hide
    /// the close behind them.
    pub(crate) fn poll_client_gone(&self, cx: &mut Context<'_>) -> bool {
        let out = self.write_side.lock();
        let Some(half) = &out.half else { return true };
        let mut byte = [0];
        let peeked = half.as_ref().poll_peek(cx, &mut ReadBuf::new(&mut byte));
        matches!(peeked, Poll::Ready(Ok(0) | Err(_)))
    }

    /// Has the socket's close be a reset, which no client takes for the end of a body, and which frees what the kernel
    /// still holds for it.
    pub(crate) fn reset_on_close(&self) {
        if let Some(half) = &self.write_side.lock().half {
            // A socket that is already gone needs no reset.
            let _ = SockRef::from(half.as_ref()).set_linger(Some(Duration::ZERO));
        }
    }

    /// Cuts a socket that somebody else owns by now.
    fn abort(&self) {
        self.reset_on_close();
        if let Some(half) = &self.write_side.lock().half {
            let _ = SockRef::from(half.as_ref()).shutdown(std::net::Shutdown::Both);
        }
    }
}
