//! The socket as hyper sees it: reads go through the screen on HTTP/1, writes into the connection's
//! write buffer.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::activity::Protocol;
use super::socket::ReadHalf;
use super::state::ConnectionState;
use crate::server::screen::{RequestScreen, ScreenRefusal, ScreenResult, ScreenStep};

/// The number of bytes read at once after bytes that are held back.
const READ_STEP_BYTES: usize = 4 << 10;

/// The number of bytes that an HTTP/2 connection may read before other connections are polled.
/// Frames of a few bytes cost hyper much more than their length: 1,000 of them take half a
/// millisecond, and without this limit a flood of them is read for 100 ms on end. A fast upload
/// yields after each frame, which costs it next to nothing.
const HTTP2_POLL_BYTES: u32 = 16 << 10;

/// The socket as hyper sees it.
#[derive(Debug)]
pub(crate) struct ConnectionIo {
    connection: Arc<ConnectionState>,
    read: ReadHalf,
    /// The screen of what is read; `None` unless the protocol is HTTP/1.
    screen: Option<RequestScreen>,
    /// Bytes that were read and that hyper does not have: the beginning of a head, or the bytes
    /// that revealed the protocol.
    held: Vec<u8>,
    /// How many of the held bytes hyper may have.
    cleared_bytes: usize,
    refusal: Option<ScreenRefusal>,
    eof: bool,
}

impl ConnectionIo {
    /// Creates hyper's view of a socket; `first` are the bytes that were read before.
    pub(crate) fn new(
        connection: Arc<ConnectionState>,
        read: ReadHalf,
        first: Vec<u8>,
        screen: Option<RequestScreen>,
    ) -> Self {
        let mut io = Self { connection, read, screen, held: first, cleared_bytes: 0, refusal: None, eof: false };
        io.clear();
        io
    }

    /// Tells whether the client has closed its side.
    pub(crate) fn is_eof(&self) -> bool {
        self.eof
    }

    /// Returns why the next bytes are refused, if they are.
    pub(crate) fn refusal(&self) -> Option<ScreenRefusal> {
        self.refusal
    }

    /// Tells whether reads bypass the screen: the connection is not HTTP/1, or has ceased to be.
    fn bypasses_screen(&self) -> bool {
        self.screen.is_none() || matches!(self.connection.activity.protocol(), Protocol::Tunnel | Protocol::Lingering)
    }

    /// Determines how many of the held bytes hyper may have.
    fn clear(&mut self) {
        if self.bypasses_screen() {
            self.cleared_bytes = self.held.len();
        } else if let Some(screen) = &mut self.screen {
            let result = screen.feed(&self.held);
            self.cleared_bytes = result.pass_bytes;
            self.apply(result);
        }
    }

    /// Applies the screen's step after the bytes that have passed.
    fn apply(&mut self, result: ScreenResult) {
        match result.then {
            ScreenStep::More | ScreenStep::Wait => {}
            ScreenStep::RefuseHead(refusal) => {
                self.refusal = Some(refusal);
                self.connection.refuse(self.screen.as_ref().map_or(0, RequestScreen::heads));
            }
            ScreenStep::RefuseContent(refusal) => self.refusal = Some(refusal),
        }
    }

    /// Copies cleared bytes to hyper.
    fn give_held(&mut self, buf: &mut ReadBuf<'_>) {
        let length = buf.remaining().min(self.cleared_bytes);
        buf.put_slice(&self.held[..length]);
        self.held.drain(..length);
        self.cleared_bytes -= length;
        if self.held.is_empty() {
            self.held = Vec::new();
        }
    }

    /// Reads from the socket, and records the result for the sweep.
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

    /// Reads without screening. On HTTP/2 one poll reads about `HTTP2_POLL_BYTES` at most and then
    /// yields, so that the core's other connections are polled too.
    fn poll_fairly(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let activity = &self.connection.activity;
        if activity.protocol() != Protocol::Http2 {
            return self.poll_socket(cx, buf);
        }
        if activity.poll_bytes() >= HTTP2_POLL_BYTES {
            // A plain wake would put this connection ahead of sockets whose readiness the runtime
            // has not seen yet: a busy core polls for IO events only once per
            // `TASKS_BETWEEN_EVENT_POLLS` (128) task polls. `yield_now` schedules this connection
            // after the next poll for events.
            return pin!(tokio::task::yield_now()).poll(cx).map(Ok);
        }
        let before = buf.filled().len();
        let result = self.poll_socket(cx, buf);
        self.connection.activity.record_poll_bytes(u32::try_from(buf.filled().len() - before).unwrap_or(u32::MAX));
        result
    }

    /// Reads more bytes after the held ones, and clears what may pass.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = std::mem::take(&mut self.held);
        let before = bytes.len();
        bytes.resize(before + READ_STEP_BYTES, 0);
        let mut buf = ReadBuf::new(&mut bytes[before..]);
        let result = self.poll_socket(cx, &mut buf);
        let after = before + buf.filled().len();
        bytes.truncate(after);
        self.held = bytes;
        if after > before {
            self.clear();
        }
        result
    }

    /// Reads into hyper's buffer, and takes back the bytes that may not pass yet.
    fn poll_screened(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(self.poll_socket(cx, buf))?;
        if let Some(screen) = &mut self.screen {
            let result = screen.feed(&buf.filled()[before..]);
            let pass_bytes = before + result.pass_bytes;
            if pass_bytes < buf.filled().len() {
                self.held = buf.filled()[pass_bytes..].to_vec();
                buf.set_filled(pass_bytes);
            }
            self.apply(result);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for ConnectionIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.bypasses_screen() {
            if !this.held.is_empty() {
                this.cleared_bytes = this.held.len();
                this.give_held(buf);
                return Poll::Ready(Ok(()));
            }
            if this.connection.activity.protocol() == Protocol::Tunnel {
                // A tunnel that only reads at first would never send the 101 that the client waits
                // for.
                let _ = this.connection.poll_drain(cx)?;
            }
            return this.poll_fairly(cx, buf);
        }
        if this.cleared_bytes == 0
            && let Some(screen) = &mut this.screen
            && screen.resume()
        {
            // hyper has read all that passed and reads on, so the last request is answered, and the
            // connection is not a tunnel.
            this.clear();
        }
        loop {
            if this.cleared_bytes > 0 {
                this.give_held(buf);
                return Poll::Ready(Ok(()));
            }
            if this.refusal.is_some() {
                return match this.connection.has_refused() {
                    // The driver ends the connection once the earlier requests are answered.
                    true => Poll::Pending,
                    false => Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the content is malformed"))),
                };
            }
            let before = buf.filled().len();
            match this.held.is_empty() {
                true => ready!(this.poll_screened(cx, buf))?,
                false => ready!(this.poll_held(cx))?,
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
            // The driver drains the buffer after hyper's poll.
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

    use super::super::socket::split;
    use super::*;

    #[tokio::test]
    async fn an_http2_connection_yields_after_its_share_of_bytes() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (read, write) = split(listener.accept().await.unwrap().0);
        let connection = ConnectionState::new(client.local_addr().unwrap(), write, None);
        connection.set_protocol(Protocol::Http2);
        let mut io = ConnectionIo::new(Arc::clone(&connection), read, Vec::new(), None);
        let sent = 3 * HTTP2_POLL_BYTES as usize;
        tokio::spawn(async move { client.write_all(&vec![0; sent]).await });
        // Each poll of this future is a poll of the driver, in which all that may be read is read.
        let (mut total, mut polls) = (0, 0);
        poll_fn(|cx| {
            connection.activity.begin_poll();
            polls += 1;
            let mut in_poll = 0;
            loop {
                let mut piece = [0; 1000];
                let mut buf = ReadBuf::new(&mut piece);
                if Pin::new(&mut io).poll_read(cx, &mut buf).is_pending() {
                    assert!(in_poll < HTTP2_POLL_BYTES as usize + 1000, "{in_poll} bytes in one poll");
                    return Poll::Pending;
                }
                in_poll += buf.filled().len();
                total += buf.filled().len();
                if total == sent {
                    return Poll::Ready(());
                }
            }
        })
        .await;
        assert!(polls >= 3, "{polls}");
    }
}
