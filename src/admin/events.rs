//! `GET /events`: the figures of `/stats` as server-sent events, one a second, for the dashboard.
//!
//! At most [`SEATS`] listen at once; one more is told to come back, and reads `/stats` meanwhile. All who listen share one
//! reading of the figures, so that a listener costs a copy. A listener that does not read is not written to.

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

/// How often an event is sent.
const EVERY: Duration = Duration::from_secs(1);

/// How old figures may be that are sent again to another listener.
const SHARED_FOR: Duration = Duration::from_millis(500);

/// The most listeners at once: a team's screens.
const SEATS: usize = 16;

/// Makes an event's figures, as one line.
pub(super) type MakeEvent = Arc<dyn Fn() -> String + Send + Sync>;

/// What the listeners share.
pub(super) struct EventFeed {
    tell: MakeEvent,
    seats: Arc<Semaphore>,
    /// Guards the last event and when it was made. Nothing awaits under it.
    last: Mutex<Option<(Instant, Bytes)>>,
}

impl EventFeed {
    /// Makes a feed of what `tell` says.
    pub(super) fn new(tell: MakeEvent) -> Self {
        Self { tell, seats: Arc::new(Semaphore::new(SEATS)), last: Mutex::new(None) }
    }

    /// Answers a listener.
    pub(super) fn listen(self: &Arc<Self>) -> Response {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            let problem = AdminProblem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{SEATS} listen already: read /stats, or come back later"),
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
        let event = Bytes::from(format!("event: stats\ndata: {}\n\n", (self.tell)()));
        *last = Some((Instant::now(), event.clone()));
        event
    }
}

/// The body of an answer: it ends when the listener goes, or the admin side does.
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
    async fn seats_are_bounded_and_given_back() {
        let polls = Arc::new(AtomicU64::new(0));
        let tell = {
            let polls = Arc::clone(&polls);
            Arc::new(move || polls.fetch_add(1, Ordering::SeqCst).to_string())
        };
        let feed = Arc::new(EventFeed::new(tell));
        let mut listeners: Vec<Response> = (0..SEATS).map(|_| feed.listen()).collect();
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
