//! 1xx responses on their way to an HTTP/1.1 client (RFC 9110 §15.2).
//!
//! hyper cannot send them, so raw heads are queued here as they arrive, and the connection writes
//! them while the final response is still awaited. The queue is bounded by [`QUEUED_BYTES_MAX`].
//! Heads that are left when a response is sent are dropped: a connection begins each request with
//! an empty queue, a new one if the old one is still in use.

use std::sync::Arc;
use std::task::Waker;

use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;

/// The most bytes that wait to be written; further interim responses are dropped. They are hints,
/// so nothing is lost. The bound is half of a connection's write buffer, so that a full queue
/// always fits an empty buffer.
pub(crate) const QUEUED_BYTES_MAX: usize = 32 << 10;

/// A queue of interim responses for one request.
#[derive(Clone, Debug, Default)]
pub struct Interim(Arc<Mutex<InterimQueue>>);

/// Guarded by the lock; nothing awaits under it.
#[derive(Debug, Default)]
struct InterimQueue {
    bytes: Vec<u8>,
    waker: Option<Waker>,
}

impl Interim {
    /// Queues an interim response and wakes the connection. Other statuses are dropped, and so is
    /// 101: it ends the connection's HTTP/1.1, and only hyper may send it.
    pub fn push(&self, status: StatusCode, headers: &HeaderMap) {
        if !status.is_informational() || status == StatusCode::SWITCHING_PROTOCOLS {
            return;
        }
        let head = head(status, headers);
        let mut queue = self.0.lock();
        if queue.bytes.len() + head.len() > QUEUED_BYTES_MAX {
            return;
        }
        queue.bytes.extend_from_slice(&head);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes the queued heads, and wakes `waker` at the next push. For the connection.
    pub fn take(&self, waker: &Waker) -> Vec<u8> {
        let mut queue = self.0.lock();
        if queue.waker.as_ref().is_none_or(|known| !known.will_wake(waker)) {
            queue.waker = Some(waker.clone());
        }
        std::mem::take(&mut queue.bytes)
    }

    /// Begins the queue of the next request: heads that an earlier request has left in it, or may
    /// still push, are not for this one.
    pub fn begin(&mut self) {
        match Arc::get_mut(&mut self.0) {
            Some(queue) => queue.get_mut().bytes.clear(),
            // A task of the earlier request still holds the queue.
            None => *self = Self::default(),
        }
    }
}

/// Writes a head in HTTP/1.1's form (RFC 9112 §4).
fn head(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut head = Vec::with_capacity(64 + headers.len() * 64);
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    head.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    head.extend_from_slice(b"\r\n");
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn pushed(status: u16, value: &[u8]) -> Vec<u8> {
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_bytes(value).unwrap());
        let interim = Interim::default();
        interim.push(StatusCode::from_u16(status).unwrap(), &headers);
        interim.take(Waker::noop())
    }

    #[test]
    fn s15_2_heads_are_written_as_they_came() {
        assert_eq!(pushed(103, b"</\xe9>"), b"HTTP/1.1 103 Early Hints\r\nlink: </\xe9>\r\n\r\n");
        assert_eq!(pushed(102, b"x"), b"HTTP/1.1 102 Processing\r\nlink: x\r\n\r\n");
        assert_eq!(pushed(199, b"x"), b"HTTP/1.1 199 \r\nlink: x\r\n\r\n");
    }

    #[test]
    fn s15_2_2_final_statuses_and_101_are_not_interim() {
        for status in [101, 200, 204, 500] {
            assert_eq!(pushed(status, b"x"), b"", "{status}");
        }
    }

    #[test]
    fn the_queue_is_bounded() {
        let interim = Interim::default();
        let mut headers = HeaderMap::new();
        headers.insert("link", HeaderValue::from_bytes(&[b'x'; 1000]).unwrap());
        for _ in 0..100 {
            interim.push(StatusCode::EARLY_HINTS, &headers);
        }
        let queue = interim.take(Waker::noop());
        assert!(
            queue.len() <= QUEUED_BYTES_MAX && queue.len() > QUEUED_BYTES_MAX - 1100 && queue.ends_with(b"\r\n\r\n")
        );
        assert!(interim.take(Waker::noop()).is_empty());
    }

    #[test]
    fn a_request_begins_with_an_empty_queue() {
        let hint = |interim: &Interim| interim.push(StatusCode::EARLY_HINTS, &HeaderMap::new());
        let mut interim = Interim::default();
        hint(&interim);
        interim.begin();
        assert_eq!(interim.take(Waker::noop()), b"", "left by the one before");
        let twin = interim.clone();
        interim.begin();
        hint(&twin);
        assert_eq!(interim.take(Waker::noop()), b"", "pushed for the one before");
        hint(&interim);
        assert_ne!(interim.take(Waker::noop()), b"");
    }
}
