//! The client's socket, in two halves: what a connection needs of its transport, over plain TCP.
//!
//! Beside reads and writes a connection asks its transport whether the client has gone, and for an
//! end that no client takes for the end of a body. Once an accepted socket is split, nothing else
//! names TCP.

use std::io::{self, IoSlice};
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Splits an accepted socket into its two halves.
pub(crate) fn split(socket: TcpStream) -> (ReadHalf, WriteHalf) {
    let (read, write) = socket.into_split();
    (ReadHalf(read), WriteHalf(Some(write)))
}

/// The reading half of a client's socket.
#[derive(Debug)]
pub(crate) struct ReadHalf(OwnedReadHalf);

impl AsyncRead for ReadHalf {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

/// The writing half of a client's socket. The socket closes once both halves are dropped.
#[derive(Debug)]
pub(crate) struct WriteHalf(
    /// `None` only while the value is dropped.
    Option<OwnedWriteHalf>,
);

impl WriteHalf {
    /// Tells whether the client has closed its side, and has the task woken when it does. Unread
    /// bytes hide a close behind them.
    pub(super) fn poll_client_gone(&self, cx: &mut Context<'_>) -> bool {
        let Some(half) = &self.0 else { return true };
        let mut byte = [0];
        let peeked = half.as_ref().poll_peek(cx, &mut ReadBuf::new(&mut byte));
        matches!(peeked, Poll::Ready(Ok(0) | Err(_)))
    }

    /// Makes the close of the socket a reset, which no client takes for the end of a body, and
    /// which frees the bytes that the kernel still holds for it.
    pub(super) fn reset_on_close(&self) {
        if let Some(half) = &self.0 {
            // A socket that is already closed needs no reset.
            let _ = SockRef::from(half.as_ref()).set_linger(Some(Duration::ZERO));
        }
    }

    /// Ends a socket at once, even while another task reads or writes it.
    pub(super) fn abort(&self) {
        self.reset_on_close();
        if let Some(half) = &self.0 {
            let _ = SockRef::from(half.as_ref()).shutdown(Shutdown::Both);
        }
    }

    fn half(&mut self) -> io::Result<Pin<&mut OwnedWriteHalf>> {
        self.0.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncWrite for WriteHalf {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.half()?.poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.half()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.half()?.poll_shutdown(cx)
    }
}

impl Drop for WriteHalf {
    fn drop(&mut self) {
        // Dropping tokio's half would shut the socket down, which is a clean end. Whether the end
        // is clean was decided before, and closing the socket follows at once.
        if let Some(half) = self.0.take() {
            half.forget();
        }
    }
}
