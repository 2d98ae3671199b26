//! Deferred writes: bytes that a core's connections have buffered are written once all runnable
//! tasks of the core have been polled, or after [`POLLS_MAX`] polls of connections.
//!
//! Writing to a socket whose client sleeps wakes that client, at Larder's cost. A client with
//! several connections, such as a proxy in front of Larder, is still awake for the second response
//! if that follows at once. `benches/compare/run --only hit-1k` measures the gain; it shrinks with
//! fewer polls to wait for.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::state::ConnectionState;

/// The maximum number of connection polls that a write waits for: where a crowd connects or is
/// rejected the core's queue is long, and a finished response must not wait for its end.
const POLLS_MAX: usize = 32;

thread_local! {
    /// The core's pending writes.
    static PENDING: RefCell<PendingWrites> = const { RefCell::new(PendingWrites { connections: Vec::new(), polls: 0, writer: None }) };
}

/// The connections of a core whose buffers wait to be written.
struct PendingWrites {
    /// The connections with buffered bytes; one may be listed more than once.
    connections: Vec<Arc<ConnectionState>>,
    /// The number of connection polls since the first of them was added.
    polls: usize,
    /// The waker of the core's writer; `None` if the core has no writer.
    writer: Option<Waker>,
}

/// Defers draining a connection to the core's writer. Returns false if the core has none: then the
/// caller drains.
pub(crate) fn defer(connection: &Arc<ConnectionState>) -> bool {
    let is_deferred = PENDING.with_borrow_mut(|pending| {
        let Some(writer) = &pending.writer else { return false };
        if pending.connections.is_empty() {
            writer.wake_by_ref();
        }
        pending.connections.push(Arc::clone(connection));
        true
    });
    if is_deferred {
        count_poll();
    }
    is_deferred
}

/// Counts a poll of a connection; writes everything that waits after [`POLLS_MAX`] of them.
pub(crate) fn count_poll() {
    let is_due = PENDING.with_borrow_mut(|pending| {
        pending.polls += usize::from(!pending.connections.is_empty());
        pending.polls >= POLLS_MAX
    });
    if is_due {
        write();
    }
}

/// Writes for the core whose runtime this task runs on, until the runtime ends.
pub(crate) async fn writer() {
    let _ending = WriterGuard;
    poll_fn(|cx| {
        PENDING.with_borrow_mut(|pending| {
            if pending.writer.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
                pending.writer = Some(cx.waker().clone());
            }
        });
        write();
        Poll::<()>::Pending
    })
    .await;
}

/// Drains all connections that wait.
fn write() {
    let mut connections = PENDING.with_borrow_mut(|pending| {
        pending.polls = 0;
        std::mem::take(&mut pending.connections)
    });
    connections.iter().for_each(|connection| connection.drain_for_driver());
    connections.clear();
    // The allocation is kept for the next round.
    PENDING.with_borrow_mut(|pending| {
        if pending.connections.is_empty() {
            pending.connections = connections;
        }
    });
}

/// Ends deferring when the writer ends with its runtime, and drains the connections that still
/// wait.
struct WriterGuard;

impl Drop for WriterGuard {
    fn drop(&mut self) {
        // The thread may be ending, too.
        let pending = PENDING.try_with(|pending| {
            let mut pending = pending.borrow_mut();
            pending.writer = None;
            std::mem::take(&mut pending.connections)
        });
        pending.unwrap_or_default().iter().for_each(|connection| connection.drain_for_driver());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{spawn, yield_now};

    use super::super::socket::split;
    use super::*;

    /// A connection with buffered bytes, and its client.
    async fn buffered_connection() -> (Arc<ConnectionState>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, half) = split(listener.accept().await.unwrap().0);
        let connection = ConnectionState::new(client.local_addr().unwrap(), half, None);
        connection.set_driver_waker(Waker::noop());
        connection.queue_last_response(b"x");
        (connection, client)
    }

    #[tokio::test]
    async fn deferred_bytes_are_written_once_the_other_tasks_were_polled() {
        let (connection, client) = buffered_connection().await;
        assert!(!defer(&connection), "there is no writer yet");
        let writer = spawn(writer());
        yield_now().await;
        assert!(defer(&connection) && connection.may_wait());
        yield_now().await;
        assert!(!connection.may_wait());
        client.readable().await.unwrap();
        assert_eq!(client.try_read(&mut [0; 2]).unwrap(), 1);

        // In a crowd a write does not wait for the end of the queue.
        connection.queue_last_response(b"y");
        assert!(defer(&connection));
        (1..POLLS_MAX - 1).for_each(|_| count_poll());
        assert!(connection.may_wait());
        count_poll();
        assert!(!connection.may_wait());

        // Nothing stays unwritten when the writer ends.
        connection.queue_last_response(b"z");
        assert!(defer(&connection));
        writer.abort();
        assert!(writer.await.unwrap_err().is_cancelled());
        assert!(!connection.may_wait() && !defer(&connection));
    }
}
