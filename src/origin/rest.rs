//! What is known of a connection that rests.
//!
//! The runtime asks the kernel from time to time what has come over its sockets, between the turns of its tasks. What came
//! before the latest such look, tokio knows; what came after, only the socket itself can tell, at the cost of a call to the
//! kernel. So it counts whether there was a look since a connection came to rest.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};

/// The looks of a core's runtime.
#[derive(Debug)]
pub(super) struct Looks(RuntimeMetrics);

impl Looks {
    /// Makes that of the runtime that this runs on, which has one worker.
    ///
    /// # Panics
    /// Outside a runtime.
    pub(super) fn of_current() -> Self {
        Self(Handle::current().metrics())
    }

    /// Returns what grows from look to look, and stays the same between two: a worker adds up how long it was at work when
    /// it goes to look.
    pub(super) fn mark(&self) -> Duration {
        self.0.worker_total_busy_duration(0)
    }
}

/// Whether a connection rests; shared by the pool, which puts it to rest, and the connection, which ends that when something
/// is asked over it. A new one rests.
#[derive(Debug)]
pub(super) struct Rest(AtomicU8);

impl Rest {
    const NONE: u8 = 0;
    const UNSEEN: u8 = 1;
    const SEEN: u8 = 2;

    /// Begins a rest.
    pub(super) fn begin(&self) {
        self.0.store(Self::UNSEEN, Ordering::Relaxed);
    }

    /// Says that the runtime has looked at the socket since it began.
    pub(super) fn saw(&self) {
        self.0.store(Self::SEEN, Ordering::Relaxed);
    }

    /// Tells whether there is a rest since whose beginning the runtime may not have looked.
    pub(super) fn is_unseen(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::UNSEEN
    }

    /// Ends the rest; false where there is none.
    pub(super) fn end(&self) -> bool {
        let is_on = self.0.load(Ordering::Relaxed) != Self::NONE;
        if is_on {
            self.0.store(Self::NONE, Ordering::Relaxed);
        }
        is_on
    }
}

impl Default for Rest {
    fn default() -> Self {
        Self(AtomicU8::new(Self::UNSEEN))
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn what_came_before_a_look_is_known_after_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let there = listener.accept().await.unwrap().0;
        let is_known = || here.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready();
        assert!(!is_known());
        let looks = Looks::of_current();
        for _ in 0..100 {
            let mark = looks.mark();
            socket2::SockRef::from(&there).send(b"x").unwrap();
            while looks.mark() == mark {
                assert!(!is_known(), "known without a look");
                tokio::task::yield_now().await;
            }
            assert!(is_known(), "a look that saw nothing");
            while here.try_read(&mut [0; 8]).is_ok() {}
            assert_eq!(here.poll_read_ready(&mut Context::from_waker(Waker::noop())).map(|_| ()), Poll::Pending);
        }
    }

    #[test]
    fn a_rest_ends_once_and_begins_unseen() {
        let rest = Rest::default();
        assert!(rest.is_unseen());
        rest.saw();
        assert!(!rest.is_unseen() && rest.end());
        assert!(!rest.is_unseen() && !rest.end());
        rest.begin();
        assert!(rest.is_unseen());
    }
}
