//! `POST /purge`: what to purge, read and checked as a whole before anything is purged.
//!
//! ```json
//! {"url": "http://example.org/page"}
//! {"urls": ["http://example.org/a", "http://example.org/b?x=1"], "tag": "news", "kind": "soft"}
//! {"prefix": "example.org/shop/"}
//! {"all": true, "kind": "validate"}
//! ```
//! `kind` is `hard` (the default: never reused, its validator neither), `validate` (validated before its next use) or
//! `soft` (served stale while one request refreshes it). What the selectors mean stands in [`selectors`](super::selectors).
//!
//! The answer has `purged` (how many selectors), `sequence` (the ledger's number after them) and `entries` (how many stored
//! responses the URLs had). What only a walk over the store can find is `"swept": "pending"`; none of it is served from the
//! moment of the answer on, and its bytes are back when `store.sweep.through` of `/stats` has reached `sequence`.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use serde_json::json;

use super::answer::Problem;
use super::selectors::Asked;
use crate::proxy::purge::{Purged, Target};
use crate::store::Kind;

/// The most bytes of a request's content: room for as many selectors as are allowed.
const BODY_BYTES_MAX: usize = 256 << 10;

/// The longest wait for a request's content.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a purge of more than one URL is told with.
const WATCH: &str =
    "GET /stats: `store.sweep.through` reaches the sequence; `store.evicted.purge` counts what is freed";

/// A purge that can be carried out.
#[derive(Debug, PartialEq)]
pub(super) struct Purge {
    /// At least one.
    targets: Vec<Target>,
    kind: Kind,
}

/// What was done.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Answer {
    /// How many selectors were recorded.
    purged: usize,
    /// The ledger's number of the last of them: whatever was asked of the origin before it counts as purged.
    sequence: u64,
    /// How many stored responses the URLs among them had; null where nothing could be counted.
    entries: Option<u64>,
    /// `pending` where the rest is found by the sweep. Nothing of it is served meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    swept: Option<&'static str>,
    /// How to see when it is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<&'static str>,
}

impl Purge {
    /// Carries all of it out with `purge`.
    pub(super) fn apply(self, purge: impl Fn(Target, Kind) -> Purged) -> Answer {
        let done: Vec<Purged> = self.targets.into_iter().map(|target| purge(target, self.kind)).collect();
        let is_pending = done.iter().any(|purged| purged.entries.is_none());
        Answer {
            purged: done.len(),
            sequence: done.iter().map(|purged| purged.sequence).max().unwrap_or_default(),
            entries: done.iter().filter_map(|purged| purged.entries).reduce(|sum, more| sum + more),
            swept: is_pending.then_some("pending"),
            watch: is_pending.then_some(WATCH),
        }
    }
}

/// Reads a purge.
///
/// # Errors
/// 415 where the content is not JSON by its type, 413 where it is too long, 408 where it does not come, 400 where it
/// cannot be understood.
pub(super) async fn read(request: Request) -> Result<Purge, Problem> {
    let (head, body) = request.into_parts();
    check_type(&head.headers)?;
    parse(&content(&head.headers, body, BODY_TIMEOUT).await?)
}

/// Asks for JSON by its type: a form that a page elsewhere sends without asking first cannot have it.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a purge is JSON, with `Content-Type: application/json`")
        .with("example", example()))
}

async fn content(headers: &HeaderMap, body: Body, wait: Duration) -> Result<Vec<u8>, Problem> {
    let too_long =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a purge has at most {BODY_BYTES_MAX} bytes"));
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > BODY_BYTES_MAX as u64) {
        return Err(too_long());
    }
    match tokio::time::timeout(wait, to_bytes(body, BODY_BYTES_MAX)).await {
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "the content did not come in time")),
        Ok(Ok(bytes)) => Ok(bytes.into()),
        Ok(Err(error)) => {
            let is_limit =
                std::error::Error::source(&error).is_some_and(|source| source.is::<http_body_util::LengthLimitError>());
            Err(if is_limit { too_long() } else { bad("the content broke off") })
        }
    }
}

fn parse(content: &[u8]) -> Result<Purge, Problem> {
    let asked: Asked = serde_json::from_slice(content).map_err(|error| bad(error.to_string()))?;
    let (targets, kind) = asked.read().map_err(bad)?;
    Ok(Purge { targets, kind })
}

fn bad(error: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error).with("example", example())
}

fn example() -> serde_json::Value {
    json!({ "urls": ["http://example.org/page"], "prefixes": ["example.org/shop/"], "tags": ["news"], "kind": "hard" })
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    async fn error(problem: Problem) -> (u16, serde_json::Value) {
        let response = problem.into_response();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_told_with_an_example() {
        for (content, told) in [
            ("", "EOF"),
            ("[]", "expected"),
            ("{}", "nothing to purge"),
            (r#"{"url": "http://a/", "url": "http://a/"}"#, "duplicate field"),
            (r#"{"url": 5}"#, "expected a string"),
            (r#"{"url": "http://a/", "kind": "gentle"}"#, "unknown variant `gentle`"),
            (r#"{"url": "http://a/", "pattern": "/"}"#, "unknown field `pattern`"),
            (r#"{"url": "http://a/"} trailing"#, "trailing"),
        ] {
            let (status, answer) = error(parse(content.as_bytes()).unwrap_err()).await;
            assert_eq!(status, 400, "{content}");
            assert!(answer["error"].as_str().unwrap().contains(told), "{content}: {answer}");
            assert_eq!(answer["example"], example());
        }
        assert!(parse(example().to_string().as_bytes()).is_ok(), "the example is one");
    }

    #[test]
    fn only_json_by_type() {
        let check = |value: Option<&str>, is_json: bool| {
            let mut headers = HeaderMap::new();
            headers.extend(value.map(|value| (header::CONTENT_TYPE, value.parse().unwrap())));
            assert_eq!(check_type(&headers).is_ok(), is_json, "{value:?}");
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
        let at = content(&none, Body::from(vec![b' '; BODY_BYTES_MAX]), BODY_TIMEOUT).await;
        assert_eq!(at.unwrap().len(), BODY_BYTES_MAX);
        let above = content(&none, Body::from(vec![b' '; BODY_BYTES_MAX + 1]), BODY_TIMEOUT).await;
        assert_eq!(above.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, (BODY_BYTES_MAX + 1).into())]);
        let refused = content(&announced, Body::empty(), BODY_TIMEOUT).await;
        assert_eq!(refused.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
    }

    /// A body that never comes.
    struct Silent;

    impl http_body::Body for Silent {
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
    async fn content_that_does_not_come_is_given_up() {
        let waited = content(&HeaderMap::new(), Body::new(Silent), Duration::from_millis(1)).await;
        assert_eq!(waited.unwrap_err().status, StatusCode::REQUEST_TIMEOUT);
    }

    #[test]
    fn every_target_is_purged_and_what_is_known_is_told() {
        let check = |counts: &[Option<u64>], entries: Option<u64>, swept: Option<&str>| {
            let targets = vec![Target::Wide(crate::store::Selector::All); counts.len()];
            let done = std::cell::Cell::new(0);
            let answer = Purge { targets, kind: Kind::Soft }.apply(|_, kind| {
                assert_eq!(kind, Kind::Soft);
                done.set(done.get() + 1);
                Purged { sequence: 40 + done.get() as u64, entries: counts[done.get() - 1] }
            });
            assert_eq!((answer.purged, answer.sequence), (counts.len(), 40 + counts.len() as u64));
            assert_eq!((answer.entries, answer.swept, answer.watch.is_some()), (entries, swept, swept.is_some()));
        };
        check(&[Some(0)], Some(0), None);
        check(&[Some(2), Some(3)], Some(5), None);
        check(&[Some(2), None], Some(2), Some("pending"));
        check(&[None], None, Some("pending"));
    }
}
