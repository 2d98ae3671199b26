//! How a connection ends once hyper is done: what was gathered goes out, the last response is sent, and the client may close first.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Poll, ready};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};

use crate::server::connection::{ConnectionIo, ConnectionState, Protocol, Shutdown};

/// How much of a client that still sends is read and thrown away, so that it gets to read the last response.
const LINGER_BYTES_MAX: usize = 1 << 20;

/// How much of it is read at once.
const LINGER_STEP_BYTES: usize = 8 << 10;

/// Takes back the socket that hyper has left for another protocol, which the client did not get.
pub(super) async fn reclaim_socket(upgrade: Option<OnUpgrade>) -> Option<Box<ConnectionIo>> {
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

/// Writes the connection's last response, and shuts our side of the socket down.
pub(super) async fn send_last_response(connection: &ConnectionState, response: &[u8]) {
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
pub(super) async fn linger(connection: &ConnectionState, mut io: Box<ConnectionIo>) {
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
