//! The state of a connection that hyper, through [`ConnectionIo`](super::ConnectionIo), and the
//! driver share.
//!
//! hyper keeps its IO to itself, yet the driver has to drain the write buffer after each poll, to
//! notice a client that went away, and to reset a connection that must not end cleanly. So the
//! writing half lives behind a lock in [`ConnectionState`]; the reading half stays with hyper.
//! After an upgrade the driver has ended, and the same IO writes through.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};

use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::sync::OwnedSemaphorePermit;

use super::activity::{Activity, Protocol};
use super::buffer::{HTTP1_SMALL_BYTES, HTTP2_SMALL_BYTES, WriteBuffer};
use super::socket::WriteHalf;
use super::streams::Streams;

/// A shutdown that a core requests of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Shutdown {
    /// No shutdown is requested.
    None,
    /// Answer one more request, then close: for clients that cannot know yet that another process
    /// listens now.
    AfterNext,
    /// Answer the requests in flight, then close.
    Graceful,
    /// Close at once.
    Abort,
}

/// The shared state of a connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    /// The client's address.
    pub(crate) addr: SocketAddr,
    /// The connection's activity, for the sweep.
    pub(crate) activity: Activity,
    /// The activity of each HTTP/2 stream.
    pub(crate) streams: Streams,
    /// Guards the writing half and the write buffer. Nothing awaits under it.
    write_side: Mutex<WriteSide>,
    shutdown: AtomicU8,
    /// Set once the screen has refused a head, with the number of heads that had passed before.
    has_refused: AtomicBool,
    passed_heads: AtomicU32,
    /// Guards the driver's waker. Nothing awaits under it.
    driver: Mutex<Option<Waker>>,
    /// The place where hyper leaves the socket after a request for another protocol. Nothing awaits
    /// under the lock.
    upgrade: Mutex<Option<OnUpgrade>>,
    /// The connection's permit, which is released when the socket closes, also after an upgrade.
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct WriteSide {
    half: WriteHalf,
    buffer: WriteBuffer,
    /// Writes up to this many bytes are buffered; 0 turns buffering off.
    small_bytes: usize,
    /// True if a write returned `Pending` since hyper was last polled.
    returned_pending: bool,
    /// True if hyper still has bytes to write: its last write returned `Pending`, or was partial.
    has_unwritten: bool,
}

impl ConnectionState {
    /// Creates the state of a connection with its writing half.
    pub(crate) fn new(addr: SocketAddr, half: WriteHalf, permit: Option<OwnedSemaphorePermit>) -> Arc<Self> {
        let side = WriteSide {
            half,
            buffer: WriteBuffer::default(),
            small_bytes: HTTP1_SMALL_BYTES,
            returned_pending: false,
            has_unwritten: false,
        };
        Arc::new(Self {
            addr,
            activity: Activity::new(),
            streams: Streams::default(),
            write_side: Mutex::new(side),
            shutdown: AtomicU8::new(Shutdown::None as u8),
            has_refused: AtomicBool::new(false),
            passed_heads: AtomicU32::new(0),
            driver: Mutex::new(None),
            upgrade: Mutex::new(None),
            _permit: permit,
        })
    }

    /// Records the protocol that is spoken from now on, and adapts the buffering to it.
    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        self.activity.set_protocol(protocol);
        self.write_side.lock().small_bytes = match protocol {
            Protocol::Http2 => HTTP2_SMALL_BYTES,
            // No driver drains the buffer of a tunnel.
            Protocol::Tunnel => 0,
            _ => HTTP1_SMALL_BYTES,
        };
    }

    /// Requests a shutdown, and wakes the driver. A stricter request that was made before stays.
    pub(crate) fn request_shutdown(&self, shutdown: Shutdown) {
        self.shutdown.fetch_max(shutdown as u8, Ordering::Release);
        if shutdown == Shutdown::Abort && self.activity.protocol() == Protocol::Tunnel {
            self.write_side.lock().half.abort();
        }
        if let Some(driver) = self.driver.lock().as_ref() {
            driver.wake_by_ref();
        }
    }

    /// Returns the strictest shutdown that was requested.
    pub(crate) fn requested_shutdown(&self) -> Shutdown {
        match self.shutdown.load(Ordering::Acquire) {
            0 => Shutdown::None,
            1 => Shutdown::AfterNext,
            2 => Shutdown::Graceful,
            _ => Shutdown::Abort,
        }
    }

    /// Records that the head after the first `passed_heads` is refused.
    pub(super) fn refuse(&self, passed_heads: u32) {
        self.passed_heads.store(passed_heads, Ordering::Relaxed);
        self.has_refused.store(true, Ordering::Release);
    }

    /// Tells whether a head was refused.
    pub(super) fn has_refused(&self) -> bool {
        self.has_refused.load(Ordering::Relaxed)
    }

    /// Tells whether a head was refused and every request before it is answered, to the last byte
    /// that hyper has of it.
    pub(crate) fn is_refusal_due(&self) -> bool {
        self.has_refused.load(Ordering::Acquire)
            && self.activity.ended_count() == self.passed_heads.load(Ordering::Relaxed)
            && !self.write_side.lock().has_unwritten
    }

    /// Puts the last response of the connection after the buffered bytes.
    pub(crate) fn queue_last_response(&self, response: &[u8]) {
        self.write_side.lock().buffer.add(&[IoSlice::new(response)]);
    }

    /// Writes the buffered bytes, and shuts down the writing half of the socket.
    ///
    /// # Errors
    /// The socket's errors.
    pub(crate) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.write_side.lock().half).poll_shutdown(cx)
    }

    /// Sets the driver's waker, which a requested shutdown wakes.
    pub(crate) fn set_driver_waker(&self, waker: &Waker) {
        *self.driver.lock() = Some(waker.clone());
    }

    /// Records where hyper leaves the socket if the last request asks for another protocol, whether
    /// that is granted or not.
    pub(crate) fn offer_upgrade(&self, upgrade: OnUpgrade) {
        *self.upgrade.lock() = Some(upgrade);
    }

    /// Takes the place that [`ConnectionState::offer_upgrade`] recorded.
    pub(crate) fn take_upgrade(&self) -> Option<OnUpgrade> {
        self.upgrade.lock().take()
    }

    /// Begins a poll of hyper: forgets what the last one recorded.
    pub(crate) fn begin_hyper_poll(&self) {
        self.activity.begin_hyper_poll();
        self.write_side.lock().returned_pending = false;
    }

    /// Writes the buffered bytes. `Ready(true)` means that a write of hyper's returned `Pending` in
    /// this poll, and may now be repeated.
    ///
    /// # Errors
    /// The socket's errors.
    pub(crate) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut side = self.write_side.lock();
        let was_pending = side.returned_pending;
        if side.buffer.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.record_writes(&mut side, |buffer, socket| buffer.poll_drain(socket, cx)).map_ok(|()| was_pending)
    }

    /// Tells whether there are buffered bytes that hyper does not wait for.
    pub(crate) fn may_wait(&self) -> bool {
        let side = self.write_side.lock();
        !side.returned_pending && !side.buffer.is_empty()
    }

    /// Writes the buffered bytes on behalf of the driver. If the socket does not take them all, the
    /// driver is woken when it takes more; if the socket is broken, the driver is woken at once to
    /// close it.
    pub(crate) fn drain_for_driver(&self) {
        let driver = self.driver.lock();
        let Some(waker) = driver.as_ref() else { return };
        let drained = self.poll_drain(&mut Context::from_waker(waker));
        drop(driver);
        if matches!(drained, Poll::Ready(Err(_))) {
            self.request_shutdown(Shutdown::Abort);
        }
    }

    /// Runs a write, and records for the sweep whether bytes moved or the socket is full.
    fn record_writes<T>(
        &self,
        side: &mut WriteSide,
        write: impl FnOnce(&mut WriteBuffer, Pin<&mut WriteHalf>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let before = side.buffer.waiting().len();
        let result = write(&mut side.buffer, Pin::new(&mut side.half));
        if result.is_ready() || side.buffer.waiting().len() < before {
            self.activity.record_write();
        }
        if result.is_pending() {
            self.activity.record_blocked();
        }
        result
    }

    /// Accepts bytes of hyper's or of a tunnel: buffers them, or writes them after the buffered
    /// bytes.
    pub(super) fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut side = self.write_side.lock();
        if total <= side.small_bytes && side.buffer.fits(total) {
            side.buffer.add(slices);
            side.has_unwritten = false;
            return Poll::Ready(Ok(total));
        }
        let result = self.record_writes(&mut side, |buffer, socket| buffer.poll_write_with(socket, cx, slices));
        match &result {
            Poll::Ready(Ok(written)) => side.has_unwritten = *written < total,
            Poll::Ready(Err(_)) => (),
            Poll::Pending => (side.returned_pending, side.has_unwritten) = (true, true),
        }
        result
    }

    /// Inserts the raw head of an interim response before the next bytes of hyper's. If hyper is in
    /// the middle of a message, or there is no room, the head is dropped: interim responses are
    /// hints.
    pub(crate) fn splice(&self, head: &[u8]) {
        let mut side = self.write_side.lock();
        if !side.has_unwritten && side.buffer.fits(head.len()) {
            side.buffer.add(&[IoSlice::new(head)]);
        }
    }

    /// Tells whether the client has closed its side, and has the driver woken when it does. Unread
    /// bytes hide a close behind them.
    pub(crate) fn poll_client_gone(&self, cx: &mut Context<'_>) -> bool {
        self.write_side.lock().half.poll_client_gone(cx)
    }

    /// Makes the close of the socket a reset, which no client takes for the end of a body.
    pub(crate) fn reset_on_close(&self) {
        self.write_side.lock().half.reset_on_close();
    }
}
