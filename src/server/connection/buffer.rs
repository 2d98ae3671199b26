//! The write buffer of a connection, and the pool that its bytes come from.
//!
//! hyper writes an HTTP/2 response in many small pieces, and pipelined HTTP/1 responses one by one.
//! Small writes are buffered here and reach the socket in one call when the connection's driver
//! drains the buffer, once per poll; larger writes go out directly, after the buffered bytes, in
//! one vectored call. A connection holds a buffer from the core's pool only while the buffer is not
//! empty.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use smallvec::SmallVec;
use tokio::io::AsyncWrite;

/// The size of a buffer: two HTTP/2 responses of the usual size, and a single `write` that the
/// kernel handles well.
pub(super) const BUFFER_BYTES: usize = 64 << 10;

/// The largest HTTP/2 write that is buffered: two DATA frames of the default 16 KiB.
pub(super) const HTTP2_SMALL_BYTES: usize = 32 << 10;

/// The largest HTTP/1 write that is buffered. hyper writes head and body together, so buffering
/// only saves the next pipelined response a `write` of its own; above this size the copy costs more
/// than that.
pub(super) const HTTP1_SMALL_BYTES: usize = 4 << 10;

/// The maximum number of idle buffers per core (4 MiB).
const POOLED_MAX: usize = 64;

/// The maximum number of slices in one vectored write, including the buffered bytes.
const SLICES_MAX: usize = 16;

thread_local! {
    /// The core's idle buffers.
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Takes a buffer from the core's pool, or allocates one.
fn take_buffer() -> Vec<u8> {
    let pooled = POOL.try_with(|pool| pool.borrow_mut().pop()).ok().flatten();
    pooled.unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
}

/// Returns a buffer to the core's pool, or frees it if the pool is full.
fn give_back(mut buffer: Vec<u8>) {
    if buffer.capacity() != BUFFER_BYTES {
        return;
    }
    buffer.clear();
    // While the thread ends the pool is gone, and the buffer is freed.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < POOLED_MAX {
            pool.push(buffer);
        }
    });
}

/// Buffered bytes that have not reached the socket. An empty buffer owns no memory.
#[derive(Debug, Default)]
pub(super) struct WriteBuffer {
    bytes: Vec<u8>,
    sent: usize,
}

impl WriteBuffer {
    /// Returns the bytes that wait.
    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    /// Tells whether no bytes wait.
    pub(super) fn is_empty(&self) -> bool {
        self.sent == self.bytes.len()
    }

    /// Tells whether `len` more bytes fit.
    pub(super) fn fits(&self, len: usize) -> bool {
        self.bytes.len() + len <= BUFFER_BYTES
    }

    /// Adds `slices`, which have to fit.
    pub(super) fn add(&mut self, slices: &[IoSlice<'_>]) {
        if self.bytes.capacity() == 0 {
            self.bytes = take_buffer();
        }
        for slice in slices {
            self.bytes.extend_from_slice(slice);
        }
    }

    /// Removes the first `len` bytes, which the socket took.
    fn advance(&mut self, len: usize) {
        self.sent += len;
        if self.is_empty() {
            self.sent = 0;
            give_back(std::mem::take(&mut self.bytes));
        }
    }

    /// Writes the waiting bytes.
    ///
    /// # Errors
    /// The socket's errors.
    pub(super) fn poll_drain(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let len = ready!(socket.as_mut().poll_write(cx, self.waiting()))?;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(len);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes the waiting bytes, and `slices` after them in the same call; returns how many bytes
    /// of `slices` were taken, at least one.
    ///
    /// # Errors
    /// The socket's errors.
    pub(super) fn poll_write_with(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.is_empty() {
                return socket.poll_write_vectored(cx, slices);
            }
            let len = {
                let mut all: SmallVec<[IoSlice<'_>; SLICES_MAX]> = SmallVec::new();
                all.push(IoSlice::new(self.waiting()));
                all.extend(slices.iter().take(SLICES_MAX - 1).copied());
                ready!(socket.as_mut().poll_write_vectored(cx, &all))?
            };
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let ours = self.waiting().len();
            self.advance(len.min(ours));
            if len > ours {
                return Poll::Ready(Ok(len - ours));
            }
        }
    }
}

impl Drop for WriteBuffer {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// A socket that takes at most `room` bytes in all, and counts the calls.
    #[derive(Default)]
    struct TestSocket {
        written: Vec<u8>,
        room: usize,
        calls: usize,
    }

    impl AsyncWrite for TestSocket {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.calls += 1;
            let len = bytes.len().min(self.room);
            if len == 0 {
                return Poll::Pending;
            }
            self.room -= len;
            self.written.extend_from_slice(&bytes[..len]);
            Poll::Ready(Ok(len))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &all)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[test]
    fn buffered_bytes_go_first_and_in_one_call() {
        let (mut buffer, mut socket) = (WriteBuffer::default(), TestSocket { room: 100, ..TestSocket::default() });
        let cx = &mut Context::from_waker(Waker::noop());
        buffer.add(&[IoSlice::new(b"one "), IoSlice::new(b"two ")]);
        let written = buffer.poll_write_with(Pin::new(&mut socket), cx, &[IoSlice::new(b"three")]);
        assert!(matches!(written, Poll::Ready(Ok(5))));
        assert_eq!((socket.written.as_slice(), socket.calls), (b"one two three".as_slice(), 1));
        assert!(buffer.is_empty() && buffer.bytes.capacity() == 0);
    }

    #[test]
    fn a_short_write_never_reorders_or_repeats() {
        for room in 1..=13 {
            let (mut buffer, mut socket) = (WriteBuffer::default(), TestSocket { room, ..TestSocket::default() });
            let cx = &mut Context::from_waker(Waker::noop());
            buffer.add(&[IoSlice::new(b"buffered")]);
            let written = match buffer.poll_write_with(Pin::new(&mut socket), cx, &[IoSlice::new(b"large")]) {
                Poll::Ready(len) => len.unwrap(),
                Poll::Pending => 0,
            };
            assert_eq!(written, room.saturating_sub(8), "room {room}");
            socket.room = 100;
            assert!(buffer.poll_drain(Pin::new(&mut socket), cx).is_ready());
            let _ = Pin::new(&mut socket).poll_write(cx, &b"large"[written..]);
            assert_eq!(socket.written, b"bufferedlarge");
        }
    }

    #[test]
    fn the_pool_is_bounded_and_accepts_only_its_own_buffers() {
        let before = POOL.with(|pool| pool.borrow().len());
        give_back(Vec::with_capacity(10));
        assert_eq!(POOL.with(|pool| pool.borrow().len()), before);
        for _ in 0..POOLED_MAX + 5 {
            give_back(Vec::with_capacity(BUFFER_BYTES));
        }
        assert_eq!(POOL.with(|pool| pool.borrow().len()), POOLED_MAX);
    }
}
