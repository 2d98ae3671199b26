//! A request's content in transit to the origin, and the timer that says whether the client or the
//! origin is waited for.
//!
//! The wait for a response's head counts only while everybody waits for the origin: not before the
//! request has a connection (that wait has its own bound), and not while the client is slow to send
//! its content.

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

/// The body of a request to the origin. A failure is a [`ContentFailed`], so that its reason is
/// reported.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The timer of one response: since when the origin is waited for, in milliseconds since `start`,
/// or one of the two values below.
#[derive(Debug)]
pub(super) struct ResponseTimer {
    start: Instant,
    origin_since_millis: AtomicU64,
    attempt: Attempt,
}

/// The request has no connection yet.
const NOT_STARTED: u64 = u64::MAX;
/// The client has more content to send.
const WAITS_FOR_CLIENT: u64 = u64::MAX - 1;

impl ResponseTimer {
    /// Starts at `start`, before the request has a connection.
    pub(super) fn new(start: Instant, attempt: Attempt) -> Self {
        Self { start, origin_since_millis: AtomicU64::new(NOT_STARTED), attempt }
    }

    /// Returns the attempt to connect.
    pub(super) fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Returns the earliest time at which the origin can have been silent for `timeout`.
    pub(super) fn deadline(&self, now: Instant, timeout: Duration) -> Instant {
        match self.origin_since_millis.load(Ordering::Relaxed) {
            NOT_STARTED | WAITS_FOR_CLIENT => now + timeout,
            since => self.start + Duration::from_millis(since) + timeout,
        }
    }

    /// Notes that the request is about to be written to its connection.
    fn begin(&self) {
        if self.origin_since_millis.load(Ordering::Relaxed) == NOT_STARTED {
            self.wait_for_origin(Instant::now());
            self.attempt.connect_succeeded();
        }
    }

    fn wait_for_origin(&self, now: Instant) {
        let since = u64::try_from((now - self.start).as_millis()).unwrap_or(WAITS_FOR_CLIENT - 1);
        self.origin_since_millis.store(since, Ordering::Relaxed);
    }

    fn is_waiting_for_client(&self) -> bool {
        self.origin_since_millis.load(Ordering::Relaxed) == WAITS_FOR_CLIENT
    }

    fn wait_for_client(&self) {
        self.origin_since_millis.store(WAITS_FOR_CLIENT, Ordering::Relaxed);
    }
}

/// A request's content that updates a [`ResponseTimer`].
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
            Poll::Ready(_) => self.response_timer.wait_for_origin(Instant::now()),
            Poll::Pending => self.response_timer.wait_for_client(),
        }
        polled.map_err(|error| error.downcast_ref().copied().unwrap_or(ContentFailed(Reason::BadRequest)))
    }

    /// Returns whether the content has ended. hyper calls this first when it writes the head, with
    /// or without content: from then on the request is in transit.
    fn is_end_stream(&self) -> bool {
        self.response_timer.begin();
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TimedUpload {
    /// Notes that the client has nothing more to send.
    fn drop(&mut self) {
        if self.response_timer.is_waiting_for_client() {
            self.response_timer.wait_for_origin(Instant::now());
        }
    }
}

/// Returns whether servers are sure to read the content of requests with this method.
///
/// Content has no generally defined meaning in GET, HEAD, DELETE and others. RFC 9110 §9.3.1 names
/// request smuggling as the danger: a server that does not read such content takes it for the next
/// request.
pub(super) fn gives_content_meaning(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Adds the framing of a request's content (RFC 9112 §6) that its headers lack.
pub(super) fn frame_content(method: &Method, fields: &mut HeaderMap, body: &RequestBody) {
    if fields.contains_key(CONTENT_LENGTH) {
        // Written once, in plain decimal digits, in whatever form and however often the client
        // wrote it.
        if let Some(length) = body.size_hint().exact() {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        return;
    }
    if fields.contains_key(TRANSFER_ENCODING) {
        return;
    }
    if body.is_end_stream() {
        // RFC 9110 §8.6: methods that anticipate content send an explicit zero.
        if gives_content_meaning(method) {
            fields.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
    } else if body.size_hint().exact().is_none() {
        // Without this, hyper drops the content of a GET of unknown length.
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
        response_timer.wait_for_origin(start + second * 2);
        assert_eq!(
            response_timer.deadline(start + second * 9, timeout),
            start + second * 12,
            "since the request was begun"
        );
        response_timer.wait_for_client();
        assert_eq!(response_timer.deadline(start + second * 30, timeout), start + second * 40, "the client is slow");
        response_timer.wait_for_origin(start + second * 31);
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
    fn s6_content_is_framed_and_existing_framing_stays() {
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
