//! The socket as hyper sees it: reads through the screen, writes into the connection's write buffer.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::activity::Protocol;
use super::state::ConnectionState;
use crate::server::screen::{RequestScreen, ScreenRefusal, ScreenResult, ScreenStep};

/// How much is read at once behind bytes that are held back.
const READ_STEP_BYTES: usize = 4 << 10;

/// How much an HTTP/2 connection may read before others have their turn. Frames of a few bytes cost hyper much more than
/// their length: 1,000 of them are half a millisecond, and without this a flood of them is read for 100 ms on end. A fast
/// upload gives way after each frame, which costs it next to nothing.
const HTTP2_TURN_BYTES: u32 = 16 << 10;

/// The socket as hyper sees it.
#[derive(Debug)]
pub(crate) struct ConnectionIo {
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
    pub(crate) fn new(
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
    pub(crate) fn is_eof(&self) -> bool {
        self.eof
    }

    /// Returns why the head that comes next is refused, where it is.
    pub(crate) fn refusal(&self) -> Option<ScreenRefusal> {
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
                return match this.connection.has_refused() {
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
