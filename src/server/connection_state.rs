//! A connection's socket as two parties share it: hyper, through [`ConnectionIo`], and the connection's owner, through [`ConnectionState`].
//!
//! hyper keeps its IO to itself, yet the owner has to drain the write buffer after each poll, to look for a client that
//! went away, and to reset what must not end cleanly. So the writing half lives behind a lock in [`ConnectionState`]; the reading half
//! stays with hyper, and what it reads on HTTP/1 goes through the [`RequestScreen`]. After an upgrade the owner is gone, and the
//! same [`ConnectionIo`] writes through.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::OwnedSemaphorePermit;

use super::activity::{Activity, Protocol};
use super::buffer::{HTTP1_SMALL_BYTES, HTTP2_SMALL_BYTES, WriteBuffer};
use super::screen::{RequestScreen, ScreenRefusal, ScreenResult, ScreenStep};
use super::streams::Streams;

/// How much is read at once behind bytes that are held back.
const READ_STEP_BYTES: usize = 4 << 10;

/// How much an HTTP/2 connection may read before others have their turn. Frames of a few bytes cost hyper much more than
/// their length: 1,000 of them are half a millisecond, and without this a flood of them is read for 100 ms on end. A fast
/// upload gives way after each frame, which costs it next to nothing.
const HTTP2_TURN_BYTES: u32 = 16 << 10;

/// What a connection is told to do by its core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Shutdown {
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
pub(super) struct ConnectionState {
    /// The client's address.
    pub(super) addr: SocketAddr,
    /// What the sweep looks at.
    pub(super) activity: Activity,
    /// The same for each stream of HTTP/2.
    pub(super) streams: Streams,
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
    pub(super) fn new(addr: SocketAddr, half: OwnedWriteHalf, permit: Option<OwnedSemaphorePermit>) -> Arc<Self> {
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
    pub(super) fn set_protocol(&self, protocol: Protocol) {
        self.activity.set_protocol(protocol);
        self.write_side.lock().small_bytes = match protocol {
            Protocol::Http2 => HTTP2_SMALL_BYTES,
            // Nobody drains behind whoever holds the tunnel.
            Protocol::Tunnel => 0,
            _ => HTTP1_SMALL_BYTES,
        };
    }

    /// Tells the connection what to do, and wakes its owner. A stricter order stays.
    pub(super) fn request_shutdown(&self, shutdown: Shutdown) {
        self.shutdown.fetch_max(shutdown as u8, Ordering::Release);
        if shutdown == Shutdown::Abort && self.activity.protocol() == Protocol::Tunnel {
            self.abort();
        }
        if let Some(driver) = self.driver.lock().as_ref() {
            driver.wake_by_ref();
        }
    }

    /// Returns the order in force.
    pub(super) fn requested_shutdown(&self) -> Shutdown {
        match self.shutdown.load(Ordering::Acquire) {
            0 => Shutdown::None,
            1 => Shutdown::AfterNext,
            2 => Shutdown::Graceful,
            _ => Shutdown::Abort,
        }
    }

    /// Notes that the head behind the first `passed_heads` is refused.
    fn refuse(&self, passed_heads: u32) {
        self.passed_heads.store(passed_heads, Ordering::Relaxed);
        self.has_refused.store(true, Ordering::Release);
    }

    /// Tells whether a head was refused and every request before it is answered, to the last byte that hyper has of it.
    pub(super) fn is_refusal_due(&self) -> bool {
        self.has_refused.load(Ordering::Acquire)
            && self.activity.ended_count() == self.passed_heads.load(Ordering::Relaxed)
            && !self.write_side.lock().is_owed
    }

    /// Puts the last response of the connection behind what was gathered.
    pub(super) fn queue_last_response(&self, response: &[u8]) {
        self.write_side.lock().gathered.add(&[IoSlice::new(response)]);
    }

    /// Writes out what was gathered, and shuts our side of the socket down.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        match self.write_side.lock().parts() {
            Some((_, socket)) => socket.poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Has `waker` woken by orders.
    pub(super) fn set_driver_waker(&self, waker: &Waker) {
        *self.driver.lock() = Some(waker.clone());
    }

    /// Notes where hyper leaves the socket if the last request is one that asks for another protocol, whether it gets it or not.
    pub(super) fn offer_upgrade(&self, upgrade: OnUpgrade) {
        *self.upgrade.lock() = Some(upgrade);
    }

    /// Takes what [`ConnectionState::offer_upgrade`] has noted.
    pub(super) fn take_upgrade(&self) -> Option<OnUpgrade> {
        self.upgrade.lock().take()
    }

    /// Opens a turn: what was noted about the last one is forgotten.
    pub(super) fn turn(&self) {
        self.activity.turn();
        self.write_side.lock().was_refused = false;
    }

    /// Writes out what was gathered. Ready tells whether hyper was refused in this turn, and may now write again.
    ///
    /// # Errors
    /// The socket's.
    pub(super) fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut out = self.write_side.lock();
        let refused = out.was_refused;
        if out.gathered.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.record_writes(&mut out, |gathered, socket| gathered.poll_drain(socket, cx)).map_ok(|()| refused)
    }

    /// Tells whether something was gathered that hyper does not wait for.
    pub(super) fn may_wait(&self) -> bool {
        let out = self.write_side.lock();
        !out.was_refused && !out.gathered.is_empty()
    }

    /// Writes out what was gathered. Where the socket does not take it all, its owner is woken when it takes more; where it is
    /// broken, at once, to close it.
    pub(super) fn drain_for_driver(&self) {
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
    fn poll_write(&self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
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
    pub(super) fn splice(&self, head: &[u8]) {
        let mut out = self.write_side.lock();
        if !out.is_owed && out.gathered.fits(head.len()) {
            out.gathered.add(&[IoSlice::new(head)]);
        }
    }

    /// Looks whether the client has closed its side; has the owner woken when it does. Bytes that wait to be read hide
    /// the close behind them.
    pub(super) fn poll_client_gone(&self, cx: &mut Context<'_>) -> bool {
        let out = self.write_side.lock();
        let Some(half) = &out.half else { return true };
        let mut byte = [0];
        let peeked = half.as_ref().poll_peek(cx, &mut ReadBuf::new(&mut byte));
        matches!(peeked, Poll::Ready(Ok(0) | Err(_)))
    }

    /// Has the socket's close be a reset, which no client takes for the end of a body, and which frees what the kernel
    /// still holds for it.
    pub(super) fn reset_on_close(&self) {
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

/// The socket as hyper sees it.
#[derive(Debug)]
pub(super) struct ConnectionIo {
    connection: Arc<ConnectionState>,
    read: OwnedReadHalf,
    /// Looks at what is read. `None` where it is not HTTP/1.
    screen: Option<RequestScreen>,
    /// What was read and hyper does not have: the beginning of a head, or what was read to find out the protocol.
    unscreened: Vec<u8>,
    /// How many of the held bytes hyper may have.
    cleared_bytes: usize,
    refusal: Option<ScreenRefusal>,
    eof: bool,
}

impl ConnectionIo {
    /// Makes hyper's view of a socket; `first` is what was read before.
    pub(super) fn new(
        connection: Arc<ConnectionState>,
        read: OwnedReadHalf,
        first: Vec<u8>,
        screen: Option<RequestScreen>,
    ) -> Self {
        let mut io = Self { connection, read, screen, unscreened: first, cleared_bytes: 0, refusal: None, eof: false };
        io.clear();
        io
    }

    /// Tells whether the client has closed its side.
    pub(super) fn is_eof(&self) -> bool {
        self.eof
    }

    /// Returns why the head that comes next is refused, where it is.
    pub(super) fn refusal(&self) -> Option<ScreenRefusal> {
        self.refusal
    }

    /// Tells whether nobody looks at what is read any more: the connection is not HTTP/1, or has ceased to be.
    fn is_unscreened(&self) -> bool {
        self.screen.is_none() || matches!(self.connection.activity.protocol(), Protocol::Tunnel | Protocol::Lingering)
    }

    /// Finds out how many of the held bytes hyper may have.
    fn clear(&mut self) {
        if self.is_unscreened() {
            self.cleared_bytes = self.unscreened.len();
        } else if let Some(screen) = &mut self.screen {
            let result = screen.feed(&self.unscreened);
            self.cleared_bytes = result.pass_bytes;
            self.follow(result);
        }
    }

    /// Notes what is to be done behind the bytes that were passed.
    fn follow(&mut self, result: ScreenResult) {
        match result.then {
            ScreenStep::More | ScreenStep::Wait => {}
            ScreenStep::RefuseHead(refusal) => {
                self.refusal = Some(refusal);
                self.connection.refuse(self.screen.as_ref().map_or(0, RequestScreen::heads));
            }
            ScreenStep::RefuseContent(refusal) => self.refusal = Some(refusal),
        }
    }

    /// Hands out held bytes that are cleared.
    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let length = buf.remaining().min(self.cleared_bytes);
        buf.put_slice(&self.unscreened[..length]);
        self.unscreened.drain(..length);
        self.cleared_bytes -= length;
        if self.unscreened.is_empty() {
            self.unscreened = Vec::new();
        }
    }

    /// Reads from the socket, and notes what is seen.
    fn poll_socket(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.read).poll_read(cx, buf);
        match &result {
            Poll::Ready(Ok(())) if buf.filled().len() > before => self.connection.activity.record_read(),
            Poll::Ready(Ok(())) => self.eof |= buf.remaining() > 0,
            Poll::Ready(Err(_)) => self.eof = true,
            Poll::Pending => self.connection.activity.record_starved(),
        }
        result
    }

    /// Reads what nobody looks at; on HTTP/2 no more than is fair to the core's other connections.
    fn poll_in_turn(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let activity = &self.connection.activity;
        if activity.protocol() != Protocol::Http2 {
            return self.poll_socket(cx, buf);
        }
        if activity.turn_bytes() >= HTTP2_TURN_BYTES {
            // A plain wake would put it ahead of whoever has yet to be seen by the driver, which busy cores ask only every
            // 61 polls. This one comes after the driver was asked.
            return pin!(tokio::task::yield_now()).poll(cx).map(Ok);
        }
        let before = buf.filled().len();
        let result = self.poll_socket(cx, buf);
        self.connection.activity.record_turn_bytes(u32::try_from(buf.filled().len() - before).unwrap_or(u32::MAX));
        result
    }

    /// Reads more behind the held bytes, and clears what it can.
    fn poll_unscreened(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = std::mem::take(&mut self.unscreened);
        let before = bytes.len();
        bytes.resize(before + READ_STEP_BYTES, 0);
        let mut buf = ReadBuf::new(&mut bytes[before..]);
        let result = self.poll_socket(cx, &mut buf);
        let after = before + buf.filled().len();
        bytes.truncate(after);
        self.unscreened = bytes;
        if after > before {
            self.clear();
        }
        result
    }

    /// Reads straight to hyper, and takes back what may not pass yet.
    fn poll_screened(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_socket(cx, buf))?;
        if let Some(screen) = &mut self.screen {
            let result = screen.feed(&buf.filled()[before..]);
            let pass_bytes = before + result.pass_bytes;
            if pass_bytes < buf.filled().len() {
                self.unscreened = buf.filled()[pass_bytes..].to_vec();
                buf.set_filled(pass_bytes);
            }
            self.follow(result);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ConnectionIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.is_unscreened() {
            if !this.unscreened.is_empty() {
                this.cleared_bytes = this.unscreened.len();
                this.hand_out(buf);
                return Poll::Ready(Ok(()));
            }
            if this.connection.activity.protocol() == Protocol::Tunnel {
                // Whoever only listens at first would never send the 101 that the client waits for.
                let _ = this.connection.poll_drain(cx)?;
            }
            return this.poll_in_turn(cx, buf);
        }
        if this.cleared_bytes == 0
            && let Some(screen) = &mut this.screen
            && screen.resume()
        {
            // hyper has all that was passed and reads on, so the request before is answered, and this is no tunnel.
            this.clear();
        }
        loop {
            if this.cleared_bytes > 0 {
                this.hand_out(buf);
                return Poll::Ready(Ok(()));
            }
            if this.refusal.is_some() {
                return match this.connection.has_refused.load(Ordering::Relaxed) {
                    // The owner ends the connection once the requests before are answered.
                    true => Poll::Pending,
                    false => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the content is malformed"))),
                };
            }
            let before = buf.filled().len();
            match this.unscreened.is_empty() {
                true => ready!(this.poll_screened(cx, buf))?,
                false => ready!(this.poll_unscreened(cx))?,
            }
            if buf.filled().len() > before || buf.remaining() == 0 || (this.eof && this.cleared_bytes == 0) {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for ConnectionIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.poll_write(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.connection.poll_write(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.connection.activity.protocol() {
            Protocol::Tunnel => self.connection.poll_drain(cx).map_ok(drop),
            // The owner drains once hyper is done with its turn.
            _ => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.connection.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn an_http2_connection_reads_no_more_than_its_share_before_others_have_their_turn() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (read, write) = listener.accept().await.unwrap().0.into_split();
        let connection = ConnectionState::new(client.local_addr().unwrap(), write, None);
        connection.set_protocol(Protocol::Http2);
        let mut io = ConnectionIo::new(Arc::clone(&connection), read, Vec::new(), None);
        let sent = 3 * HTTP2_TURN_BYTES as usize;
        tokio::spawn(async move { client.write_all(&vec![0; sent]).await });
        // Each poll of this is a turn, in which whatever can be read is read.
        let (mut total, mut turns) = (0, 0);
        poll_fn(|cx| {
            connection.activity.round();
            turns += 1;
            let mut in_turn = 0;
            loop {
                let mut piece = [0; 1000];
                let mut buf = ReadBuf::new(&mut piece);
                if Pin::new(&mut io).poll_read(cx, &mut buf).is_pending() {
                    assert!(in_turn < HTTP2_TURN_BYTES as usize + 1000, "{in_turn} bytes in one turn");
                    return Poll::Pending;
                }
                in_turn += buf.filled().len();
                total += buf.filled().len();
                if total == sent {
                    return Poll::Ready(());
                }
            }
        })
        .await;
        assert!(turns >= 3, "{turns}");
    }
}
