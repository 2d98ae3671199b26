//! What is known of a connection that rests.
//!
//! The runtime asks the kernel from time to time what has come over its sockets, between the turns of its tasks. What came
//! before the latest such look, tokio knows; what came after, only the socket itself can tell, at the cost of a call to the
//! kernel. So it counts whether there was a look since a connection came to rest, and how long ago.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeMetrics};

/// The looks of a core's runtime.
#[derive(Debug)]
pub(super) struct DriverPolls(RuntimeMetrics);

/// Stands for the latest look: it grows from look to look, and stays the same between two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PollMark(Duration);

impl DriverPolls {
    /// Makes that of the runtime that this runs on.
    ///
    /// # Panics
    /// Outside a runtime, and where it has several workers: any of them may look.
    pub(super) fn of_current() -> Self {
        let runtime = Handle::current().metrics();
        assert_eq!(runtime.num_workers(), 1, "a core's runtime has one worker");
        Self(runtime)
    }

    /// Returns the mark of the latest look. A worker adds up how long it was at work when it goes to look.
    pub(super) fn latest(&self) -> PollMark {
        PollMark(self.0.worker_total_busy_duration(0))
    }
}

/// Whether a connection rests; shared by the pool, which puts it to rest, and the connection, which ends that when something
/// is asked over it. A new one rests.
#[derive(Debug)]
pub(super) struct IdleState(AtomicU8);

impl IdleState {
    const BUSY: u8 = 0;
    const UNPOLLED: u8 = 1;
    const POLLED: u8 = 2;

    /// Begins a rest.
    pub(super) fn begin(&self) {
        self.0.store(Self::UNPOLLED, Ordering::Relaxed);
    }

    /// Says that the runtime has looked at the socket since it began.
    pub(super) fn mark_polled(&self) {
        self.0.store(Self::POLLED, Ordering::Relaxed);
    }

    /// Tells whether there is a rest since whose beginning the runtime may not have looked.
    pub(super) fn is_unpolled(&self) -> bool {
        self.0.load(Ordering::Relaxed) == Self::UNPOLLED
    }

    /// Ends the rest; false where there is none.
    pub(super) fn end(&self) -> bool {
        let is_on = self.0.load(Ordering::Relaxed) != Self::BUSY;
        if is_on {
            self.0.store(Self::BUSY, Ordering::Relaxed);
        }
        is_on
    }
}

impl Default for IdleState {
    fn default() -> Self {
        Self(AtomicU8::new(Self::UNPOLLED))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::{Context, Waker};

    use tokio::net::{TcpListener, TcpStream};
    use tokio::task::{spawn, yield_now};

    use super::*;

    #[tokio::test]
    async fn what_came_before_a_look_is_known_after_it_and_not_before() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).await.unwrap());
        let there = listener.accept().await.unwrap().0;
        let driver_polls = Arc::new(DriverPolls::of_current());
        let is_known = |here: &TcpStream| here.poll_read_ready(&mut Context::from_waker(Waker::noop())).is_ready();
        for _ in 0..100 {
            assert!(!is_known(&here));
            let before = driver_polls.latest();
            socket2::SockRef::from(&there).send(b"x").unwrap();
            let turn = || {
                let (here, driver_polls) = (Arc::clone(&here), Arc::clone(&driver_polls));
                spawn(async move { assert_eq!(is_known(&here), driver_polls.latest() > before) })
            };
            // Turns behind one another, without a look between them, and then with one.
            let turns: Vec<_> = (0..8).map(|_| turn()).collect();
            for turn in turns {
                turn.await.unwrap();
            }
            while driver_polls.latest() == before {
                yield_now().await;
            }
            assert!(is_known(&here), "a look that saw nothing");
            while here.try_read(&mut [0; 8]).is_ok() {}
        }
    }

    #[test]
    fn an_idle_state_ends_once_and_begins_unpolled() {
        let idle_state = IdleState::default();
        assert!(idle_state.is_unpolled());
        idle_state.mark_polled();
        assert!(!idle_state.is_unpolled() && idle_state.end());
        assert!(!idle_state.is_unpolled() && !idle_state.end());
        idle_state.begin();
        assert!(idle_state.is_unpolled());
    }
}
