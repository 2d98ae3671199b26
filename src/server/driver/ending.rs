//! How a connection ends once hyper is done: the buffered bytes and the last response are written,
//! and the client may close first.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use crate::server::connection::{ConnectionIo, ConnectionState, Protocol, Shutdown};

/// The number of bytes that are read and discarded from a client that still sends, so that the
/// client gets to read the last response.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// The number of bytes that are read at once.
const LINGER_STEP_BYTES: usize = 8 << 10;

/// Takes back the socket that hyper has left for another protocol, which the client did not get.
pub(super) async fn reclaim_socket(upgrade: Option<OnUpgrade>) -> Option<Box<ConnectionIo>> {
    let upgrade = upgrade?.await.ok()?.downcast::<TokioIo<ConnectionIo>>().ok()?;
    Some(Box::new(upgrade.io.into_inner()))
}

/// Gives up the bytes that could not be written. Where a clean end would be taken for the end of a
/// body, the socket is reset.
fn give_up(connection: &ConnectionState) -> Poll<()> {
    if connection.activity.is_blocked() || connection.activity.is_http10() {
        connection.reset_on_close();
    }
    Poll::Ready(())
}

/// Writes the buffered bytes, unless the core ends the wait.
pub(super) async fn drain(connection: &ConnectionState) {
    poll_fn(|cx| {
        connection.set_driver_waker(cx.waker());
        match connection.requested_shutdown() {
            Shutdown::Abort => give_up(connection),
            Shutdown::None | Shutdown::AfterNext | Shutdown::Graceful => connection.poll_drain(cx).map(drop),
        }
    })
    .await;
}

/// Writes the connection's last response, and shuts down Larder's side of the socket.
pub(super) async fn send_last_response(connection: &ConnectionState, response: &[u8]) {
    // The buffered bytes go first, so that there is room.
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

/// Waits for the client's close and discards what it still sends: closing a socket with unread
/// bytes resets it, and the reset can overtake the response (RFC 9112 §9.6).
pub(super) async fn linger(connection: &ConnectionState, mut io: Box<ConnectionIo>) {
    connection.set_protocol(Protocol::Lingering);
    let mut discarded = Vec::new();
    let mut remaining = LINGER_BYTES_MAX;
    while !io.is_eof() && remaining > 0 {
        discarded.resize(LINGER_STEP_BYTES, 0);
        let mut buf = ReadBuf::new(&mut discarded);
        let is_read = poll_fn(|cx| {
            connection.set_driver_waker(cx.waker());
            if connection.requested_shutdown() == Shutdown::Abort {
                return Poll::Ready(false);
            }
            Poll::Ready(ready!(Pin::new(&mut *io).poll_read(cx, &mut buf)).is_ok())
        });
        if !is_read.await {
            return;
        }
        remaining = remaining.saturating_sub(buf.filled().len());
    }
}
