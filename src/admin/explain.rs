//! `POST /explain`: a question as JSON, read and checked before it is asked.
//!
//! ```json
//! {"url": "http://example.org/page"}
//! {"url": "http://example.org/page", "method": "HEAD", "headers": ["Cookie: a=b"]}
//! {"url": "http://example.org/page", "response": "HTTP/1.1 200 OK\r\nETag: \"1\"\r\n"}
//! ```
//! `headers` are lines as `curl -H` takes them. `response` is a head as `curl -i` prints it.
//! `status` is its status code, if the head has no status line. `received` says where the age is
//! counted from: `date` (the default, the Date header) or `now`. The answer is an
//! [`ExplainReport`]. The origin is not contacted, and nothing changes.

use std::sync::Arc;

use axum::extract::Request;
use serde::Deserialize;
use serde_json::json;

use super::answer::AdminProblem;
use super::content::ExpectedContent;
use crate::proxy::explain::{AgeBase, ExplainReport, Question, QuestionError, RESPONSE_BYTES_MAX};

/// The function that answers a question.
pub(crate) type Explain = Arc<dyn Fn(&Question) -> Result<ExplainReport, QuestionError> + Send + Sync>;

/// The expected content, with room for a response's head and the JSON around it.
const CONTENT: ExpectedContent = ExpectedContent { what: "a question", bytes_max: 2 * RESPONSE_BYTES_MAX, example };

/// A question as written in JSON.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainRequest {
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

/// The names of the starting points for a response's age.
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
/// 415 if the type is not JSON, 413 if the content is too long, 408 if it does not arrive in time,
/// 400 if it cannot be understood.
pub(super) async fn read(request: Request) -> Result<Question, AdminProblem> {
    parse(&CONTENT.read(request).await?)
}

/// Makes the refusal for a faulty question.
pub(super) fn problem(fault: QuestionError) -> AdminProblem {
    CONTENT.bad(fault.to_string())
}

fn parse(content: &[u8]) -> Result<Question, AdminProblem> {
    let request: ExplainRequest = serde_json::from_slice(content).map_err(|error| CONTENT.bad(error.to_string()))?;
    let question = Question::new(&request.url, &request.method, &request.headers).map_err(problem)?;
    let received = match request.received {
        ReceivedName::Date => AgeBase::AtDate,
        ReceivedName::Now => AgeBase::Now,
    };
    match request.response {
        Some(text) => question.with_response(text.as_bytes(), request.status, received).map_err(problem),
        None if request.status.is_some() => Err(CONTENT.bad("`status` needs a `response`, which is missing")),
        None => Ok(question),
    }
}

fn example() -> serde_json::Value {
    json!({ "url": "http://example.org/page", "method": "GET", "headers": ["Accept-Language: de"] })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::http::StatusCode;
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
        assert_eq!((head.status, head.headers.len(), head.received), (StatusCode::OK, 1, AgeBase::Now));
    }

    #[tokio::test]
    async fn faulty_questions_are_refused_with_an_example() {
        for (content, message) in [
            ("", "EOF"),
            ("[]", "expected"),
            ("{}", "missing field `url`"),
            (r#"{"url": "http://a/""#, "EOF"),
            (r#"{"url": "/a"}"#, "`url`: \"/a\" is not a full URL"),
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
            assert!(answer["error"].as_str().unwrap().contains(message), "{content}: {answer}");
            assert_eq!(answer["example"], example());
        }
    }
}
