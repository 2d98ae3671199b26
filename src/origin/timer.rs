//! The one timer of a connection to the origin, moved by the reader that waits for a head or for a
//! piece of a body.
//!
//! Moving the timer to a later time does not involve the runtime, so requests on a reused
//! connection cost no timer operation. The timer may fire while the connection is idle, and then
//! wakes nobody.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::upload::ResponseTimer;

/// The timer; empty until it is first set.
#[derive(Default)]
pub(super) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Sets the timer to fire at `deadline`.
    pub(super) fn set(&mut self, deadline: Instant) {
        match &mut self.0 {
            Some(sleep) => sleep.as_mut().reset(deadline),
            None => self.0 = Some(Box::pin(sleep_until(deadline))),
        }
    }

    /// Waits until the origin has been silent for `timeout`. The timer fires again later if the
    /// client was waited for meanwhile.
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
