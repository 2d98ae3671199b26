//! `POST /purge`: what to purge, read and checked as a whole before anything is purged.
//!
//! ```json
//! {"url": "http://example.org/page"}
//! {"urls": ["http://example.org/a", "http://example.org/b?x=1"], "kind": "soft"}
//! ```
//! `kind` is `hard` (the default: never reused, its validator neither), `validate` (validated before its next use) or
//! `soft` (served stale while one request refreshes it). A URL purges every variant, whatever its route adds to the key.
//! The answer is `{"purged": how many selectors, "sequence": the ledger's number after them}`.
//! More kinds of selectors are more fields of [`Asked`], each adding to the one list of selectors.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::Problem;
use crate::key::CanonicalUrl;
use crate::store::{Kind, Selector};

/// The most bytes of a request's content.
const BODY_BYTES_MAX: usize = 64 << 10;

/// The most selectors of one request. Each takes a record of the ledger, whose oldest fold into one when there are many.
const SELECTORS_MAX: usize = 1_000;

/// The longest wait for a request's content.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The most characters of a faulty value that an answer repeats.
const QUOTE_CHARS_MAX: usize = 200;

/// A purge as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    url: Option<String>,
    urls: Option<Vec<String>>,
    #[serde(default)]
    kind: KindName,
}

/// The names of the kinds.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    #[default]
    Hard,
    Validate,
    Soft,
}

/// A purge that can be carried out.
#[derive(Debug, PartialEq)]
pub(super) struct Purge {
    /// At least one.
    selectors: Vec<Selector>,
    kind: Kind,
}

/// What was done.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Purged {
    /// How many selectors were recorded.
    purged: usize,
    /// The ledger's number of the last of them: whatever was asked of the origin before it counts as purged.
    sequence: u64,
}

impl Purge {
    /// Records all selectors with `record`, which returns the ledger's number.
    pub(super) fn apply(self, mut record: impl FnMut(Selector, Kind) -> u64) -> Purged {
        let purged = self.selectors.len();
        let kind = self.kind;
        let sequence = self.selectors.into_iter().map(|selector| record(selector, kind)).max().unwrap_or_default();
        Purged { purged, sequence }
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
    let urls = match (asked.url, asked.urls) {
        (Some(url), None) => vec![url],
        (None, Some(urls)) => urls,
        (Some(_), Some(_)) => return Err(bad("give `url` or `urls`, not both")),
        (None, None) => return Err(bad("there is nothing to purge: give `url` or `urls`")),
    };
    if urls.is_empty() {
        return Err(bad("there is nothing to purge: `urls` is empty"));
    }
    if urls.len() > SELECTORS_MAX {
        return Err(bad(format!("`urls` has {} members, at most {SELECTORS_MAX} are allowed", urls.len())));
    }
    let selectors = urls.iter().map(|url| selector(url)).collect::<Result<_, _>>()?;
    let kind = match asked.kind {
        KindName::Hard => Kind::Hard,
        KindName::Validate => Kind::Validate,
        KindName::Soft => Kind::Soft,
    };
    Ok(Purge { selectors, kind })
}

fn selector(url: &str) -> Result<Selector, Problem> {
    let canonical = CanonicalUrl::parse_absolute(url).map_err(|error| {
        let quote: String = url.chars().take(QUOTE_CHARS_MAX).collect();
        bad(format!("{quote:?} is no URL to purge: {error}"))
    })?;
    Ok(Selector::Url(canonical.as_str().into()))
}

fn bad(error: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error).with("example", example())
}

fn example() -> serde_json::Value {
    json!({ "urls": ["http://example.org/page"], "kind": "hard" })
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

    #[test]
    fn what_can_be_purged() {
        let check = |content: &str, urls: &[&str], kind: Kind| {
            let selectors = urls.iter().map(|url| Selector::Url((*url).into())).collect();
            assert_eq!(parse(content.as_bytes()).unwrap(), Purge { selectors, kind }, "{content}");
        };
        check(r#"{"url": "http://example.org/a"}"#, &["http://example.org/a"], Kind::Hard);
        check(r#"{"url": "http://EXAMPLE.org:80/a?b=1", "kind": "soft"}"#, &["http://example.org/a?b=1"], Kind::Soft);
        check(
            r#"{"urls": ["https://example.org/a", "http://example.org"], "kind": "validate"}"#,
            &["https://example.org/a", "http://example.org/"],
            Kind::Validate,
        );
        check(r#"{"urls": ["http://example.org/a"], "kind": "hard"}"#, &["http://example.org/a"], Kind::Hard);
    }

    #[tokio::test]
    async fn what_cannot_is_told_with_an_example() {
        let many = json!({ "urls": vec!["http://example.org/"; SELECTORS_MAX + 1] }).to_string();
        for (content, told) in [
            ("", "EOF"),
            ("[]", "expected"),
            ("{}", "give `url` or `urls`"),
            (r#"{"urls": []}"#, "`urls` is empty"),
            (r#"{"url": "http://a/", "urls": ["http://a/"]}"#, "not both"),
            (r#"{"url": "http://a/", "url": "http://a/"}"#, "duplicate field"),
            (r#"{"url": 5}"#, "expected a string"),
            (r#"{"url": "http://a/", "kind": "gentle"}"#, "unknown variant `gentle`"),
            (r#"{"url": "http://a/", "prefix": "/"}"#, "unknown field `prefix`"),
            (r#"{"url": "/a"}"#, "\"/a\" is no URL to purge"),
            (r#"{"urls": ["http://a/", "ftp://a/"]}"#, "\"ftp://a/\" is no URL to purge"),
            (r#"{"url": "http://a/"} trailing"#, "trailing"),
            (many.as_str(), "at most 1000"),
        ] {
            let (status, answer) = error(parse(content.as_bytes()).unwrap_err()).await;
            assert_eq!(status, 400, "{content}");
            assert!(answer["error"].as_str().unwrap().contains(told), "{content}: {answer}");
            assert_eq!(answer["example"], example());
        }
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
    fn every_selector_is_recorded_with_its_kind() {
        let selectors = vec![Selector::Url("http://a/".into()), Selector::Url("http://b/".into())];
        let mut recorded = Vec::new();
        let purged = Purge { selectors: selectors.clone(), kind: Kind::Soft }.apply(|selector, kind| {
            recorded.push((selector, kind));
            40 + recorded.len() as u64
        });
        assert_eq!(purged, Purged { purged: 2, sequence: 42 });
        assert_eq!(recorded, selectors.into_iter().map(|selector| (selector, Kind::Soft)).collect::<Vec<_>>());
    }
}
