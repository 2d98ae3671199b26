//! `POST /explain`: a question as JSON, read and checked before it is asked.
//!
//! ```json
//! {"url": "http://example.org/page"}
//! {"url": "http://example.org/page", "method": "HEAD", "headers": ["Cookie: a=b", "Accept-Language: de"]}
//! {"url": "http://example.org/page", "response": "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n"}
//! ```
//! `headers` are lines as `curl -H` takes them. `response` is a head as `curl -i` prints it, `status` its status where it has
//! no status line, and `received` says where its age is counted from: `date` (the default: its Date) or `now`.
//! The answer is a [`Report`]. The origin is not asked, and nothing changes.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::answer::Problem;
use crate::proxy::explain::{Fault, Question, RESPONSE_BYTES_MAX, Received, Report};

/// What answers a question.
pub type Explain = Arc<dyn Fn(&Question) -> Result<Report, Fault> + Send + Sync>;

/// The most bytes of a request's content: a response's head with its line ends escaped, a request's, and some room.
const BODY_BYTES_MAX: usize = 2 * RESPONSE_BYTES_MAX;

/// The longest wait for a request's content.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A question as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    url: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default)]
    headers: Vec<String>,
    response: Option<String>,
    status: Option<u16>,
    #[serde(default)]
    received: ReceivedName,
}

fn get() -> String {
    "GET".to_owned()
}

/// The names of where a response's age is counted from.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReceivedName {
    #[default]
    Date,
    Now,
}

/// Reads a question.
///
/// # Errors
/// 415 where the content is not JSON by its type, 413 where it is too long, 408 where it does not come, 400 where it
/// cannot be understood.
pub(super) async fn read(request: Request) -> Result<Question, Problem> {
    let (head, body) = request.into_parts();
    check_type(&head.headers)?;
    parse(&content(&head.headers, body, BODY_TIMEOUT).await?)
}

/// Says what is wrong with a question.
pub(super) fn problem(fault: Fault) -> Problem {
    bad(fault.to_string())
}

fn parse(content: &[u8]) -> Result<Question, Problem> {
    let asked: Asked = serde_json::from_slice(content).map_err(|error| bad(error.to_string()))?;
    let question = Question::new(&asked.url, &asked.method, &asked.headers).map_err(problem)?;
    let received = match asked.received {
        ReceivedName::Date => Received::AtDate,
        ReceivedName::Now => Received::Now,
    };
    match asked.response {
        Some(text) => question.with_response(text.as_bytes(), asked.status, received).map_err(problem),
        None if asked.status.is_some() => Err(bad("`status`: it is the status of a `response`, which is missing")),
        None => Ok(question),
    }
}

/// Asks for JSON by its type: a form that a page elsewhere sends without asking first cannot have it.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let what = "a question is JSON, with `Content-Type: application/json`";
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, what).with("example", example()))
}

async fn content(headers: &HeaderMap, body: Body, wait: Duration) -> Result<Vec<u8>, Problem> {
    let too_long =
        || Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a question has at most {BODY_BYTES_MAX} bytes"));
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

fn bad(error: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, error).with("example", example())
}

fn example() -> serde_json::Value {
    json!({ "url": "http://example.org/page", "method": "GET", "headers": ["Accept-Language: de"] })
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;

    #[test]
    fn a_question_is_read_with_its_defaults() {
        let question = parse(br#"{"url": "http://example.org/a"}"#).unwrap();
        assert_eq!((question.method.as_str(), question.headers.len()), ("GET", 0));
        assert!(question.response.is_none());
        let text = r#"{"url": "http://h/", "method": "HEAD", "headers": ["A: b"], "response": "HTTP/1.1 200 OK\r\nC: d",
            "received": "now"}"#;
        let question = parse(text.as_bytes()).unwrap();
        let head = question.response.unwrap();
        assert_eq!((question.method.as_str(), question.headers.len()), ("HEAD", 1));
        assert_eq!((head.status, head.headers.len(), head.received), (StatusCode::OK, 1, Received::Now));
    }

    #[tokio::test]
    async fn what_cannot_be_understood_is_told_with_an_example() {
        for (content, told) in [
            ("", "EOF"),
            ("[]", "expected"),
            ("{}", "missing field `url`"),
            (r#"{"url": "http://a/""#, "EOF"),
            (r#"{"url": "/a"}"#, "`url`: \"/a\" is no whole URL"),
            (r#"{"url": "http://a/", "method": "G T"}"#, "`method`"),
            (r#"{"url": "http://a/", "headers": {"A": "b"}}"#, "expected a sequence"),
            (r#"{"url": "http://a/", "headers": ["A"]}"#, "has no colon"),
            (r#"{"url": "http://a/", "headers": ["A: \u0000"]}"#, "control byte"),
            (r#"{"url": "http://a/", "response": "<html>"}"#, "no status line"),
            (r#"{"url": "http://a/", "status": 200}"#, "`response`, which is missing"),
            (r#"{"url": "http://a/", "status": 70000}"#, "70000"),
            (r#"{"url": "http://a/", "received": "then"}"#, "unknown variant `then`"),
            (r#"{"url": "http://a/", "uri": "x"}"#, "unknown field `uri`"),
            (r#"{"url": "http://a/"} more"#, "trailing"),
        ] {
            let response = parse(content.as_bytes()).unwrap_err().into_response();
            assert_eq!(response.status(), 400, "{content}");
            let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
            let answer: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            assert!(answer["error"].as_str().unwrap().contains(told), "{content}: {answer}");
            assert_eq!(answer["example"], example());
        }
    }

    #[tokio::test]
    async fn content_is_bounded_and_of_the_right_type() {
        let above = content(&HeaderMap::new(), Body::from(vec![b' '; BODY_BYTES_MAX + 1]), BODY_TIMEOUT).await;
        assert_eq!(above.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        let announced = HeaderMap::from_iter([(header::CONTENT_LENGTH, (BODY_BYTES_MAX + 1).into())]);
        let refused = content(&announced, Body::empty(), BODY_TIMEOUT).await;
        assert_eq!(refused.unwrap_err().status, StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(check_type(&HeaderMap::new()).unwrap_err().status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    }
}
