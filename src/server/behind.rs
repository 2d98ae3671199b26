//! Writing behind: what a core's connections gather in their turns goes to their sockets once all who were to run have run.
//!
//! To write to a socket whose client sleeps wakes that client, which costs a sixth of what a hit does. One that has
//! several connections, as every proxy in front of Larder has, is awake still when the second response comes, if that
//! follows at once. And the writes find the system's own code in the processor's cache, which an answer in between turns out.

use std::cell::RefCell;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::wire::Wire;

/// The most connections that are waited for: as many more turns would be felt by who is written to last.
const WAITING_MAX: usize = 32;

thread_local! {
    /// The core's.
    static WAITING: RefCell<Waiting> = const { RefCell::new(Waiting { wires: Vec::new(), writer: None }) };
}

/// What waits to be written on a core.
struct Waiting {
    /// Those that have gathered something; one may be among them more than once.
    wires: Vec<Arc<Wire>>,
    /// What wakes the core's writer, where there is one.
    writer: Option<Waker>,
}

/// Leaves it to the core's writer to drain a wire. False where the core has none: then whoever asks drains it.
pub(super) fn leave(wire: &Arc<Wire>) -> bool {
    let is_full = WAITING.with_borrow_mut(|waiting| {
        let writer = waiting.writer.as_ref()?;
        if waiting.wires.is_empty() {
            writer.wake_by_ref();
        }
        waiting.wires.push(Arc::clone(wire));
        Some(waiting.wires.len() >= WAITING_MAX)
    });
    if is_full == Some(true) {
        write();
    }
    is_full.is_some()
}

/// Writes for the core whose runtime this runs in, as long as that runs.
pub(super) async fn writer() {
    let _ending = Ending;
    poll_fn(|cx| {
        WAITING.with_borrow_mut(|waiting| {
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
    let mut wires = WAITING.with_borrow_mut(|waiting| std::mem::take(&mut waiting.wires));
    wires.iter().for_each(|wire| wire.drain_for_owner());
    wires.clear();
    // The room is kept for the next.
    WAITING.with_borrow_mut(|waiting| {
        if waiting.wires.is_empty() {
            waiting.wires = wires;
        }
    });
}

/// The writer goes with its runtime: nothing may be left to it from then on.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        // The thread may be at its end, too.
        let waiting = WAITING.try_with(|waiting| {
            let mut waiting = waiting.borrow_mut();
            waiting.writer = None;
            std::mem::take(&mut waiting.wires)
        });
        waiting.unwrap_or_default().iter().for_each(|wire| wire.drain_for_owner());
    }
}
