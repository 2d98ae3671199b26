//! The JSON content of an admin request: checked by type, bounded in bytes and in time.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::Value;

use super::answer::AdminProblem;

/// The maximum wait for a request's content.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The content that an endpoint expects.
pub(super) struct ExpectedContent {
    /// The noun for it in a refusal: "a purge".
    pub(super) what: &'static str,
    /// The maximum number of bytes.
    pub(super) bytes_max: usize,
    /// A valid example.
    pub(super) example: fn() -> Value,
}

impl ExpectedContent {
    /// Reads the content of a request.
    ///
    /// # Errors
    /// 415 if the type is not JSON, 413 if the content is too long, 408 if it does not arrive in
    /// time, 400 if it is truncated.
    pub(super) async fn read(&self, request: Request) -> Result<Vec<u8>, AdminProblem> {
        let (head, body) = request.into_parts();
        self.check_type(&head.headers)?;
        self.bytes(&head.headers, body, TIMEOUT).await
    }

    /// Reads and discards the content of a request that needs none.
    ///
    /// # Errors
    /// As [`ExpectedContent::read`], except for the type.
    pub(super) async fn pass_over(&self, request: Request) -> Result<(), AdminProblem> {
        let (head, body) = request.into_parts();
        self.bytes(&head.headers, body, TIMEOUT).await.map(drop)
    }

    /// Makes the refusal for faulty content.
    pub(super) fn bad(&self, error: impl Into<String>) -> AdminProblem {
        AdminProblem::new(StatusCode::BAD_REQUEST, error).with("example", (self.example)())
    }

    /// Requires JSON by type: a foreign page cannot send that type in a form without asking first.
    fn check_type(&self, headers: &HeaderMap) -> Result<(), AdminProblem> {
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = value.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/json") {
            return Ok(());
        }
        let error = format!("{} must be JSON, with `Content-Type: application/json`", self.what);
        Err(AdminProblem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, error).with("example", (self.example)()))
    }

    async fn bytes(&self, headers: &HeaderMap, body: Body, wait: Duration) -> Result<Vec<u8>, AdminProblem> {
        let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|bytes| bytes > self.bytes_max as u64) {
            return Err(self.too_long());
        }
        match tokio::time::timeout(wait, to_bytes(body, self.bytes_max)).await {
            Err(_) => Err(AdminProblem::new(StatusCode::REQUEST_TIMEOUT, "the content did not arrive in time")),
            Ok(Ok(bytes)) => Ok(bytes.into()),
            Ok(Err(error)) => {
                let source = std::error::Error::source(&error);
                let is_limit = source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
                Err(if is_limit { self.too_long() } else { self.bad("the content is truncated") })
            }
        }
    }

    fn too_long(&self) -> AdminProblem {
        AdminProblem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{} may have at most {} bytes", self.what, self.bytes_max),
        )
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CONTENT: ExpectedContent = ExpectedContent { what: "a thing", bytes_max: 1_000, example: || json!({}) };

    #[test]
    fn only_json_by_type() {
        let check = |value: Option<&str>, is_json: bool| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (header::CONTENT_TYPE, value.parse().unwrap())));
            assert_eq!(CONTENT.check_type(&headers).is_ok(), is_json, "{value:?}");
        };
        check(Some("application/json"), true);
        check(Some("Application/JSON ; charset=utf-8"), true);
        check(Some("application/jsonp"), false);
        check(Some("text/plain"), false);
        check(Some("application/x-www-form-urlencoded"), false);
        check(None, false);
    }

    #[tokio::test]
    async fn content_is_bounded_whether_announced_or_not() {
        let none = HeaderMap::new();
        let at = CONTENT.bytes(&none, Body::from(vec![b' '; CONTENT.bytes_max]), TIMEOUT).await;
        assert_eq!(at.unwrap().len(), CONTENT.bytes_max);
        let above = CONTENT.bytes(&none, Body::from(vec![b' '; CONTENT.bytes_max + 1]), TIMEOUT).await;
        assert_eq!(above.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, (CONTENT.bytes_max + 1).into())]);
        let refused = CONTENT.bytes(&announced, Body::empty(), TIMEOUT).await;
        assert_eq!(refused.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    /// A body that never arrives.
    struct SilentBody;

    impl http_body::Body for SilentBody {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Self::Data>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    #[tokio::test]
    async fn content_that_does_not_arrive_times_out() {
        let waited = CONTENT.bytes(&HeaderMap::new(), Body::new(SilentBody), Duration::from_millis(1)).await;
        assert_eq!(waited.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }
}
