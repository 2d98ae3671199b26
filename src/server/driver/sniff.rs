//! Detects the protocol of a connection by its first bytes.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::io::{AsyncRead, ReadBuf};

use crate::server::connection::{ConnectionState, Protocol, ReadHalf, Shutdown};

/// The connection preface of an HTTP/2 client (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The number of bytes read before the protocol is known: a whole request as browsers send it.
const FIRST_READ_BYTES: usize = 4 << 10;

/// Reads until the protocol is known. `None`: the client went away, or the core ends the wait.
pub(super) async fn sniff(connection: &ConnectionState, read: &mut ReadHalf) -> Option<(Protocol, Vec<u8>)> {
    let mut first = vec![0; FIRST_READ_BYTES];
    let mut len = 0;
    loop {
        let mut buf = ReadBuf::new(&mut first[len..]);
        let has_bytes = poll_fn(|cx| {
            connection.set_driver_waker(cx.waker());
            match Pin::new(&mut *read).poll_read(cx, &mut buf) {
                Poll::Ready(result) => Poll::Ready(result.is_ok()),
                // A connection that has sent nothing is closed; one whose request has begun to
                // arrive is served all the same.
                Poll::Pending if connection.requested_shutdown() > Shutdown::AfterNext => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        });
        let has_bytes = has_bytes.await && !buf.filled().is_empty();
        len += buf.filled().len();
        let prefix = len.min(PREFACE.len());
        let is_preface = first[..prefix] == PREFACE[..prefix];
        if !has_bytes && (len == 0 || is_preface) {
            return None;
        }
        if !is_preface || prefix == PREFACE.len() {
            first.truncate(len);
            return Some((if is_preface { Protocol::Http2 } else { Protocol::Http1 }, first));
        }
    }
}
