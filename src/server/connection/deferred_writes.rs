//! Writing behind: what a core's connections gather in their turns goes to their sockets once all who were to run have run,
//! or a few of them have.
//!
//! To write to a socket whose client sleeps wakes that client, at our cost. One that has several connections, as every proxy
//! in front of Larder has, is awake still when the second response comes, if that follows at once. What that is worth,
//! `benches/compare/run --only hit-1k` tells: the fewer turns are waited for, the less.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::state::ConnectionState;

/// The most turns of connections that are waited for: on a core where a crowd connects or is sent away, the queue is long, and
/// whoever has an answer is not to wait for its end.
const TURNS_MAX: usize = 32;

thread_local! {
    /// The core's.
    static PENDING: RefCell<PendingWrites> = const { RefCell::new(PendingWrites { connections: Vec::new(), turns: 0, writer: None }) };
}

/// What waits to be written on a core.
struct PendingWrites {
    /// Those that have gathered something; one may be among them more than once.
    connections: Vec<Arc<ConnectionState>>,
    /// Turns of connections since the first of them came.
    turns: usize,
    /// What wakes the core's writer, where there is one.
    writer: Option<Waker>,
}

/// Leaves it to the core's writer to drain a wire at the end of its turn. False where the core has none: then whoever asks
/// drains it.
pub(crate) fn defer(connection: &Arc<ConnectionState>) -> bool {
    let is_left = PENDING.with_borrow_mut(|waiting| {
        let Some(writer) = &waiting.writer else { return false };
        if waiting.connections.is_empty() {
            writer.wake_by_ref();
        }
        waiting.connections.push(Arc::clone(connection));
        true
    });
    if is_left {
        count_turn();
    }
    is_left
}

/// Counts a turn of a connection: after so many whatever waits is written.
pub(crate) fn count_turn() {
    let is_due = PENDING.with_borrow_mut(|waiting| {
        waiting.turns += usize::from(!waiting.connections.is_empty());
        waiting.turns >= TURNS_MAX
    });
    if is_due {
        write();
    }
}

/// Writes for the core whose runtime this runs in, as long as that runs.
pub(crate) async fn writer() {
    let _ending = WriterGuard;
    poll_fn(|cx| {
        PENDING.with_borrow_mut(|waiting| {
            if waiting.writer.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
                waiting.writer = Some(cx.waker().clone());
            }
        });
        write();
        Poll::<()>::Pending
    })
    .await;
}

/// Drains what waits.
fn write() {
    let mut connections = PENDING.with_borrow_mut(|waiting| {
        waiting.turns = 0;
        std::mem::take(&mut waiting.connections)
    });
    connections.iter().for_each(|connection| connection.drain_for_driver());
    connections.clear();
    // The room is kept for the next.
    PENDING.with_borrow_mut(|waiting| {
        if waiting.connections.is_empty() {
            waiting.connections = connections;
        }
    });
}

/// The writer goes with its runtime: nothing may be left to it from then on.
struct WriterGuard;

impl Drop for WriterGuard {
    fn drop(&mut self) {
        // The thread may be at its end, too.
        let waiting = PENDING.try_with(|waiting| {
            let mut waiting = waiting.borrow_mut();
            waiting.writer = None;
            std::mem::take(&mut waiting.connections)
        });
        waiting.unwrap_or_default().iter().for_each(|connection| connection.drain_for_driver());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{spawn, yield_now};

    use super::*;

    /// A wire that has gathered something, and its client.
    async fn gathered() -> (Arc<ConnectionState>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (_, half) = listener.accept().await.unwrap().0.into_split();
        let connection = ConnectionState::new(client.local_addr().unwrap(), half, None);
        connection.set_driver_waker(Waker::noop());
        connection.queue_last_response(b"x");
        (connection, client)
    }

    #[tokio::test]
    async fn what_is_left_to_the_writer_is_written_when_the_others_have_had_their_turn() {
        let (connection, client) = gathered().await;
        assert!(!defer(&connection), "nobody writes here yet");
        let writer = spawn(writer());
        yield_now().await;
        assert!(defer(&connection) && connection.may_wait());
        yield_now().await;
        assert!(!connection.may_wait());
        client.readable().await.unwrap();
        assert_eq!(client.try_read(&mut [0; 2]).unwrap(), 1);

        // In a crowd it does not wait for the end of the queue.
        connection.queue_last_response(b"y");
        assert!(defer(&connection));
        (1..TURNS_MAX - 1).for_each(|_| count_turn());
        assert!(connection.may_wait());
        count_turn();
        assert!(!connection.may_wait());

        // Nothing stays behind with a writer that goes.
        connection.queue_last_response(b"z");
        assert!(defer(&connection));
        writer.abort();
        assert!(writer.await.unwrap_err().is_cancelled());
        assert!(!connection.may_wait() && !defer(&connection));
    }
}
