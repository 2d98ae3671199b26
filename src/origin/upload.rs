//! A request's content on its way to the origin, and whose turn it is meanwhile.
//!
//! The wait for a response's head counts only while the origin is the one that everybody waits for: not before the
//! request has a connection (that wait has its own bound), and not while the client is slow to send its content.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderValue, Method};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use tokio::time::Instant;

use super::breaker::Attempt;
use super::error::ContentFailed;
use crate::outcome::Reason;

/// The body of a request to the origin. Where it fails, it fails with [`ContentFailed`], so that the reason is told.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// Whose turn it is: milliseconds since `start` at which it became the origin's, or one of the two values below.
#[derive(Debug)]
pub(super) struct ResponseTimer {
    start: Instant,
    origins_since_millis: AtomicU64,
    attempt: Attempt,
}

/// The request has no connection yet.
const NOT_STARTED: u64 = u64::MAX;
/// The client is to send more content.
const CLIENTS: u64 = u64::MAX - 1;

impl ResponseTimer {
    /// Begins at `start`, before the request has a connection.
    pub(super) fn new(start: Instant, attempt: Attempt) -> Self {
        Self { start, origins_since_millis: AtomicU64::new(NOT_STARTED), attempt }
    }

    /// Returns the attempt to connect.
    pub(super) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Returns the earliest time at which the origin can have been silent for `timeout`.
    pub(super) fn deadline(&self, now: Instant, timeout: Duration) -> Instant {
        match self.origins_since_millis.load(Ordering::Relaxed) {
            NOT_STARTED | CLIENTS => now + timeout,
            since => self.start + Duration::from_millis(since) + timeout,
        }
    }

    /// The request is about to be written, on a connection that is there.
    fn begin(&self) {
        if self.origins_since_millis.load(Ordering::Relaxed) == NOT_STARTED {
            self.set_origins(Instant::now());
            self.attempt.connect_succeeded();
        }
    }

    fn set_origins(&self, now: Instant) {
        let since = u64::try_from((now - self.start).as_millis()).unwrap_or(CLIENTS - 1);
        self.origins_since_millis.store(since, Ordering::Relaxed);
    }

    fn is_clients(&self) -> bool {
        self.origins_since_millis.load(Ordering::Relaxed) == CLIENTS
    }

    fn set_clients(&self) {
        self.origins_since_millis.store(CLIENTS, Ordering::Relaxed);
    }
}

/// A request's content that keeps a [`ResponseTimer`].
pub(super) struct TimedUpload {
    body: RequestBody,
    response_timer: Arc<ResponseTimer>,
}

impl TimedUpload {
    /// Wraps `body`.
    pub(super) fn new(body: RequestBody, response_timer: Arc<ResponseTimer>) -> Self {
        Self { body, response_timer }
    }
}

impl Body for TimedUpload {
    type Data = Bytes;
    type Error = ContentFailed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ContentFailed>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Ready(_) => self.response_timer.set_origins(Instant::now()),
            Poll::Pending => self.response_timer.set_clients(),
        }
        polled.map_err(|error| error.downcast_ref().copied().unwrap_or(ContentFailed(Reason::BadRequest)))
    }

    /// hyper asks this first when it writes the head, with or without content: from then on the request is under way.
    fn is_end_stream(&self) -> bool {
        self.response_timer.begin();
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TimedUpload {
    /// Nothing more is asked of the client.
    fn drop(&mut self) {
        if self.response_timer.is_clients() {
            self.response_timer.set_origins(Instant::now());
        }
    }
}

/// Frames a request's content (RFC 9112 §6), where its fields do not say so yet.
pub(super) fn frame_content(method: &Method, fields: &mut HeaderMap, body: &RequestBody) {
    if fields.contains_key(CONTENT_LENGTH) {
        // Said once and in decimal digits without a zero before them, however often and however the client has said it.
        if let Some(length) = body.size_hint().exact() {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        return;
    }
    if fields.contains_key(TRANSFER_ENCODING) {
        return;
    }
    if body.is_end_stream() {
        // RFC 9110 §8.6: with methods that anticipate content, none is said aloud.
        if matches!(*method, Method::POST | Method::PUT | Method::PATCH) {
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    } else if body.size_hint().exact().is_none() {
        // Left to itself, hyper drops the content of a GET whose length it does not know.
        fields.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Empty, Full};

    use super::super::tests::channel;

    #[test]
    fn only_the_origins_silence_counts() {
        let start = Instant::now();
        let (timeout, second) = (Duration::from_secs(10), Duration::from_secs(1));
        let config = super::super::tests::config("unused:1");
        let attempt = super::super::breaker::Breaker::new(&config).pass(start).unwrap();
        let response_timer = ResponseTimer::new(start, attempt);
        assert_eq!(response_timer.deadline(start + second * 9, timeout), start + second * 19, "no connection yet");
        response_timer.set_origins(start + second * 2);
        assert_eq!(
            response_timer.deadline(start + second * 9, timeout),
            start + second * 12,
            "since the request was begun"
        );
        response_timer.set_clients();
        assert_eq!(response_timer.deadline(start + second * 30, timeout), start + second * 40, "the client is slow");
        response_timer.set_origins(start + second * 31);
        assert_eq!(response_timer.deadline(start + second * 32, timeout), start + second * 41, "since its last frame");
    }

    fn framed(method: Method, fields: &[(&'static str, &'static str)], body: RequestBody) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.insert(*name, HeaderValue::from_static(value));
        }
        frame_content(&method, &mut map, &body);
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect()
    }

    #[test]
    fn s6_content_is_framed_and_what_is_framed_stays() {
        let none = || Empty::new().map_err(|never| match never {}).boxed_unsync();
        let known = || Full::new(Bytes::from("abc")).map_err(|never| match never {}).boxed_unsync();
        let unknown = || channel().1;
        assert_eq!(framed(Method::GET, &[], none()), [""; 0]);
        assert_eq!(framed(Method::DELETE, &[], none()), [""; 0]);
        assert_eq!(framed(Method::POST, &[], none()), ["content-length: 0"]);
        assert_eq!(framed(Method::POST, &[], known()), [""; 0], "hyper says its length");
        assert_eq!(framed(Method::POST, &[], unknown()), ["transfer-encoding: chunked"]);
        assert_eq!(framed(Method::GET, &[], unknown()), ["transfer-encoding: chunked"]);
        assert_eq!(framed(Method::PUT, &[("content-length", "9")], unknown()), ["content-length: 9"]);
    }
}
