//! The one timer of a connection to the origin. Who waits on the connection, for a head or for a piece of a body, moves it.
//!
//! A timer that is to go off later than before is moved without a word to the runtime, so that a request on a connection
//! that is used over and over costs none. It goes off at rest too, and then wakes nobody.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::upload::ResponseTimer;

/// The timer; none before it is set for the first time.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Has it go off at `deadline`.
    pub(super) fn set(&mut self, deadline: Instant) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.0 = Some(Box::pin(sleep_until(deadline))),
        }
    }

    /// Waits until the origin has been silent for `timeout`. It goes off again later where it was the client's turn meanwhile.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, response_timer: &ResponseTimer, timeout: Duration) -> Poll<()> {
        let Some(sleep) = &mut self.0 else { return Poll::Pending };
        loop {
            ready!(sleep.as_mut().poll(cx));
            let now = Instant::now();
            let deadline = response_timer.deadline(now, timeout);
            if deadline <= now {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
