//! `GET /events`: the stats of `/stats` as server-sent events, one per second, for the dashboard.
//!
//! At most [`LISTENERS_MAX`] clients listen at once. One more is refused, and may poll `/stats`
//! meanwhile. All listeners share one reading, so a listener costs one copy. A listener that does
//! not read gets no more events.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::answer::AdminProblem;

/// The interval between events.
const EVERY: Duration = Duration::from_secs(1);

/// The maximum age of an event that is reused for another listener.
const SHARED_FOR: Duration = Duration::from_millis(500);

/// The maximum number of listeners: enough for a team's screens.
const LISTENERS_MAX: usize = 16;

/// A function that makes the data of an event, as one line.
pub(super) type MakeEvent = Arc<dyn Fn() -> String + Send + Sync>;

/// State that the listeners share.
pub(super) struct EventFeed {
    make: MakeEvent,
    seats: Arc<Semaphore>,
    /// The last event and the time it was made. Nothing awaits while the lock is held.
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl EventFeed {
    /// Makes a feed of the events of `make`.
    pub(super) fn new(make: MakeEvent) -> Self {
        Self { make, seats: Arc::new(Semaphore::new(LISTENERS_MAX)), last: Mutex::new(None) }
    }

    /// Responds to a listener.
    pub(super) fn listen(self: &Arc<Self>) -> Response {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            let problem = AdminProblem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("too many listeners ({LISTENERS_MAX}); use /stats, or try again later"),
            );
            return ([(header::RETRY_AFTER, "10")], problem).into_response();
        };
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let events = EventStream { feed: Arc::clone(self), ticks, _seat: seat };
        ([(header::CONTENT_TYPE, "text/event-stream")], Body::new(events)).into_response()
    }

    fn event(&self) -> Bytes {
        let mut last = self.last.lock();
        if let Some((at, event)) = &*last
            && at.elapsed() < SHARED_FOR
        {
            return event.clone();
        }
        let event = Bytes::from(format!("event: stats\ndata: {}\n\n", (self.make)()));
        *last = Some((Instant::now(), event.clone()));
        event
    }
}

/// The body of a response; it ends when the listener disconnects or the admin interface stops.
struct EventStream {
    feed: Arc<EventFeed>,
    ticks: Interval,
    _seat: OwnedSemaphorePermit,
}

impl http_body::Body for EventStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        ready!(self.ticks.poll_tick(cx));
        Poll::Ready(Some(Ok(Frame::data(self.feed.event()))))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn seats_are_bounded_and_returned() {
        let polls = Arc::new(AtomicU64::new(0));
        let make = {
            let polls = Arc::clone(&polls);
            Arc::new(move || polls.fetch_add(1, Ordering::SeqCst).to_string())
        };
        let feed = Arc::new(EventFeed::new(make));
        let mut listeners: Vec<Response> = (0..LISTENERS_MAX).map(|_| feed.listen()).collect();
        assert!(listeners.iter().all(|response| response.status() == 200));
        let refused = feed.listen();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"10".parse().unwrap()));
        for listener in &mut listeners[..2] {
            assert_eq!(listener.headers()["content-type"], "text/event-stream");
            let frame = listener.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "event: stats\ndata: 0\n\n", "listeners share a reading");
        }
        listeners.pop();
        assert_eq!(feed.listen().status(), 200);
    }
}
