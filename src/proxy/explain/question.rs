//! A question for `explain`: a request, and the head of a response to judge, if there is one.
//!
//! Read from text, as a person types it and as `curl -i` saves it. Every part is bounded, and an
//! error names the part and what would be right.

use std::fmt;

use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header};

use crate::clock::Timestamp;
use crate::key::CanonicalUrl;
use crate::policy::fields::FIELDS_MAX;
use crate::proxy::fetch::received::ReceivedHead;
use crate::proxy::request::context::ContentHint;

/// The most fields of a response.
const RESPONSE_FIELDS_MAX: usize = 256;

/// The most bytes of a response's head. The content after it in a saved response is not read.
pub(crate) const RESPONSE_BYTES_MAX: usize = 128 << 10;

/// The most characters of an invalid value that an error repeats.
const QUOTE_CHARS_MAX: usize = 100;

/// An error in a question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{part}`: {what}")]
pub struct QuestionError {
    /// The invalid part: `url`, `method`, `headers`, `response`, `status`.
    pub part: &'static str,
    /// The error, and what would be right.
    pub what: String,
}

/// The time from which a response's age counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AgeBase {
    /// The response counts as received at its Date: right for a saved response.
    #[default]
    AtDate,
    /// The response counts as received now, so that an old Date counts as age.
    Now,
}

/// The head of a response that is to be judged.
#[derive(Clone, Debug)]
pub struct ResponseHead {
    /// The response's HTTP version.
    pub version: Version,
    /// The response's status.
    pub status: StatusCode,
    /// The response's fields.
    pub headers: HeaderMap,
    /// The time from which its age counts.
    pub received: AgeBase,
}

/// A request, and a response to judge, if there is one.
#[derive(Clone, Debug)]
pub struct Question {
    /// The URL that the client uses, in its canonical form.
    pub url: CanonicalUrl,
    /// The request's method.
    pub method: Method,
    /// The request's fields.
    pub headers: HeaderMap,
    /// The response to judge.
    pub response: Option<ResponseHead>,
}

impl Question {
    /// Reads a request: a whole URL, a method, and fields as `Name: value`.
    ///
    /// # Errors
    /// The first part that is invalid.
    pub fn new<L: AsRef<[u8]>>(url: &str, method: &str, lines: &[L]) -> Result<Self, QuestionError> {
        let url = CanonicalUrl::parse_absolute(url).map_err(|error| {
            fault("url", format!("{} is not a full URL ({error}); example: {EXAMPLE_URL}", quote(url)))
        })?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| fault("method", format!("{} is not a method; example: GET", quote(method))))?;
        let headers = fields("headers", lines.iter().map(AsRef::as_ref), FIELDS_MAX)?;
        Ok(Self { url, method, headers, response: None })
    }

    /// Adds a response's head, as `curl -i` and `curl -D` print it. Of several heads (interim
    /// responses, redirects that were followed) the last one counts. `status` replaces its status,
    /// and is required if there is no status line.
    ///
    /// # Errors
    /// The first invalid part of the head.
    pub fn with_response(mut self, text: &[u8], status: Option<u16>, received: AgeBase) -> Result<Self, QuestionError> {
        let mut head = ResponseHead::read(text, status)?;
        head.received = received;
        self.response = Some(head);
        Ok(self)
    }

    /// Makes the head of the request as `serve` reads it.
    ///
    /// # Errors
    /// A URL that no request can carry.
    pub(super) fn parts(&self) -> Result<Parts, QuestionError> {
        let uri: Uri = self.url.path_and_query().parse().map_err(|error| fault("url", format!("{error}")))?;
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = self.method.clone();
        parts.uri = uri;
        parts.headers = self.headers.clone();
        // As with curl, a given Host replaces the URL's.
        if !parts.headers.contains_key(header::HOST)
            && let Ok(host) = HeaderValue::from_str(self.url.authority())
        {
            parts.headers.insert(header::HOST, host);
        }
        Ok(parts)
    }

    /// Returns what the fields say of the request's content.
    pub(super) fn content(&self) -> ContentHint {
        let length = self.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let bytes = length.unwrap_or(0);
        ContentHint { is_empty: bytes == 0 && !self.headers.contains_key(header::TRANSFER_ENCODING), bytes }
    }
}

const EXAMPLE_URL: &str = "http://example.org/page";

impl ResponseHead {
    fn read(text: &[u8], status: Option<u16>) -> Result<Self, QuestionError> {
        let own = status.map(|status| status_code("status", &status.to_string())).transpose()?;
        let mut rest = text;
        let mut head = Self::first(&mut rest, own)?;
        while rest.starts_with(b"HTTP/") {
            head = Self::first(&mut rest, own)?;
        }
        Ok(head)
    }

    /// Makes the head as the origin would have sent it at `received_at`.
    pub(super) fn as_received_at(&self, received_at: Timestamp) -> ReceivedHead {
        let length = self.headers.get(header::CONTENT_LENGTH);
        ReceivedHead {
            status: self.status,
            version: self.version,
            headers: self.headers.clone(),
            length: length.and_then(|length| length.to_str().ok()?.parse().ok()),
            // That depends on the request, too: `origin::check_head` tells.
            is_unsized: false,
            received_at,
        }
    }

    /// Reads one head from the front of `rest`, including the empty line after it.
    fn first(rest: &mut &[u8], own: Option<StatusCode>) -> Result<Self, QuestionError> {
        let mut lines = Vec::new();
        let mut bytes = 0;
        while !rest.is_empty() {
            let (line, after) = match rest.iter().position(|&byte| byte == b'\n') {
                Some(end) => (&rest[..end], &rest[end + 1..]),
                None => (*rest, &rest[rest.len()..]),
            };
            bytes += line.len() + 1;
            if bytes > RESPONSE_BYTES_MAX || lines.len() > RESPONSE_FIELDS_MAX {
                let most = format!("{RESPONSE_BYTES_MAX} bytes and {RESPONSE_FIELDS_MAX} fields");
                return Err(fault("response", format!("the head is too long: at most {most} are read")));
            }
            *rest = after;
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let (version, line_status) = match lines.first().filter(|line| line.starts_with(b"HTTP/")) {
            Some(line) => status_line(line).map(|(version, status)| (version, Some(status)))?,
            None => (Version::HTTP_11, None),
        };
        let fields_at = usize::from(line_status.is_some());
        let status = own.or(line_status).ok_or_else(|| {
            let example = "such as `HTTP/1.1 200 OK`";
            fault(
                "response",
                format!("there is no status line {example}; give the status separately if it was not saved"),
            )
        })?;
        let headers = fields("response", lines[fields_at..].iter().copied(), RESPONSE_FIELDS_MAX)?;
        Ok(Self { version, status, headers, received: AgeBase::default() })
    }
}

/// Returns the heads at the beginning of a saved response, without the content after them.
pub(crate) fn heads(text: &[u8]) -> &[u8] {
    let mut end = 0;
    loop {
        for line in text[end..].split_inclusive(|&byte| byte == b'\n') {
            end += line.len();
            if matches!(line, b"\r\n" | b"\n") {
                break;
            }
        }
        if !text[end..].starts_with(b"HTTP/") {
            return &text[..end];
        }
    }
}

/// Reads a status line: `HTTP/1.1 200 OK`, or curl's `HTTP/2 200`.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), QuestionError> {
    let line = String::from_utf8_lossy(line);
    let mut words = line.split_ascii_whitespace();
    let version = match words.next() {
        Some("HTTP/1.0") => Version::HTTP_10,
        Some("HTTP/1.1") => Version::HTTP_11,
        Some("HTTP/2" | "HTTP/2.0") => Version::HTTP_2,
        Some("HTTP/3" | "HTTP/3.0") => Version::HTTP_3,
        _ => return Err(fault("response", format!("{} is not a status line: unknown HTTP version", quote(&line)))),
    };
    Ok((version, status_code("response", words.next().unwrap_or_default())?))
}

fn status_code(part: &'static str, digits: &str) -> Result<StatusCode, QuestionError> {
    let is_code = digits.len() == 3;
    let status = is_code.then(|| StatusCode::from_bytes(digits.as_bytes()).ok()).flatten();
    status.ok_or_else(|| {
        fault(part, format!("{} is not a status code: expected three digits such as 200", quote(digits)))
    })
}

/// Reads fields, one from each line.
fn fields<'a>(
    part: &'static str,
    lines: impl Iterator<Item = &'a [u8]>,
    most: usize,
) -> Result<HeaderMap, QuestionError> {
    let mut map = HeaderMap::new();
    for (index, line) in lines.enumerate() {
        if index >= most {
            return Err(fault(part, format!("there are more than {most} fields")));
        }
        let (name, value) = field(line).map_err(|what| {
            let number = index + 1;
            fault(part, format!("field {number}, {}, {what}", quote(&String::from_utf8_lossy(line))))
        })?;
        map.append(name, value);
    }
    Ok(map)
}

fn field(line: &[u8]) -> Result<(HeaderName, HeaderValue), &'static str> {
    if line.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
        return Err("is a folded line (RFC 9112 §5.2): write each field on one line");
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else {
        return Err("has no colon: expected `Name: value`");
    };
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    let name = HeaderName::from_bytes(name).map_err(|_| "has an invalid field name (RFC 9110 §5.1)")?;
    let value = HeaderValue::from_bytes(value).map_err(|_| "has a control byte in its value (RFC 9110 §5.5)")?;
    Ok((name, value))
}

fn fault(part: &'static str, what: impl Into<String>) -> QuestionError {
    QuestionError { part, what: what.into() }
}

/// Quotes an invalid value, with control characters escaped, cut to one line.
fn quote(text: &str) -> impl fmt::Display + use<> {
    let cut: String = text.chars().take(QUOTE_CHARS_MAX).collect();
    format!("{cut:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn question() -> Question {
        Question::new::<&str>("http://example.org/a", "GET", &[]).unwrap()
    }

    fn head(text: &str, status: Option<u16>) -> Result<ResponseHead, QuestionError> {
        let question = question().with_response(text.as_bytes(), status, AgeBase::Now)?;
        Ok(question.response.expect("it was just given"))
    }

    #[test]
    fn requests_are_read_and_errors_name_the_part() {
        let read = Question::new("http://EXAMPLE.org:80/x/../a?b", "PURGE", &["A: 1", "a:2", "Empty:"]).unwrap();
        assert_eq!((read.url.as_str(), read.method.as_str()), ("http://example.org/a?b", "PURGE"));
        assert_eq!(read.headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        let many = vec!["A: b"; FIELDS_MAX + 1];
        for (url, method, lines, part, expected) in [
            ("/a", "GET", &["A: b"][..], "url", "not a full URL"),
            ("ftp://h/", "GET", &[], "url", "\"ftp://h/\""),
            ("http://h/", "GE T", &[], "method", "not a method"),
            ("http://h/", "", &[], "method", "not a method"),
            ("http://h/", "GET", &["A: b", "novalue"], "headers", "field 2, \"novalue\", has no colon"),
            ("http://h/", "GET", &["A b: c"], "headers", "invalid field name"),
            ("http://h/", "GET", &[": c"], "headers", "invalid field name"),
            ("http://h/", "GET", &["A: b\r\nC: d"], "headers", "control byte"),
            ("http://h/", "GET", &[" A: b"], "headers", "folded"),
            ("http://h/", "GET", &many, "headers", "more than 100"),
        ] {
            let fault = Question::new(url, method, lines).unwrap_err();
            assert_eq!(fault.part, part, "{fault}");
            assert!(fault.what.contains(expected), "{fault}");
        }
    }

    #[test]
    fn saved_heads_are_read_as_curl_prints_them() {
        let check = |text: &str, status: Option<u16>, expected: (Version, u16, &str)| {
            let head = head(text, status).unwrap();
            let tag = head.headers.get("a").map_or("", |value| value.to_str().unwrap());
            assert_eq!((head.version, head.status.as_u16(), tag), expected, "{text:?}");
        };
        check("HTTP/1.1 200 OK\r\nA: b\r\n\r\nbody\r\nA: c", None, (Version::HTTP_11, 200, "b"));
        check("HTTP/2 404 \nA: b\n", None, (Version::HTTP_2, 404, "b"));
        check("HTTP/1.0 200\r\n", None, (Version::HTTP_10, 200, ""));
        check("HTTP/1.1 103 Hints\r\nA: x\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n\r\n", None, (Version::HTTP_11, 200, "b"));
        check("HTTP/1.1 302 Found\n\nHTTP/1.1 200 OK\nA: b\n\nx", Some(203), (Version::HTTP_11, 203, "b"));
        check("A: b\n", Some(200), (Version::HTTP_11, 200, "b"));
    }

    #[test]
    fn heads_end_where_content_begins() {
        for (head, content) in [
            ("HTTP/1.1 200 OK\r\nA: b\r\n\r\n", "body\r\n\r\nHTTP/1.1 200 OK"),
            ("HTTP/1.1 103 Hints\r\n\r\nHTTP/2 200\r\n\r\n", "body"),
            ("HTTP/1.1 200 OK\nA: b\n\n", "x"),
            ("A: b", ""),
            ("", ""),
        ] {
            assert_eq!(heads(format!("{head}{content}").as_bytes()), head.as_bytes(), "{head:?}");
        }
    }

    #[test]
    fn heads_that_cannot_be_read_say_why() {
        let long = format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(RESPONSE_BYTES_MAX));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(RESPONSE_FIELDS_MAX + 1));
        for (text, expected) in [
            ("", "no status line"),
            ("A: b\n", "no status line"),
            ("HTTP/9 200 OK\n", "unknown HTTP version"),
            ("HTTP/1.1 20 OK\n", "three digits"),
            ("HTTP/1.1 2000 OK\n", "three digits"),
            ("HTTP/1.1 200 OK\nA b\n", "no colon"),
            ("HTTP/1.1 200 OK\nA: b\n c\n", "folded"),
            (&long, "too long"),
            (&many, "too long"),
        ] {
            let fault = head(text, None).unwrap_err();
            assert!(fault.what.contains(expected), "{fault}");
        }
        assert_eq!(head("HTTP/1.1 200 OK\n", Some(99)).unwrap_err().part, "status");
    }

    #[test]
    fn content_is_what_the_fields_say() {
        let check = |lines: &[&str], expected: (bool, u64)| {
            let content = Question::new("http://h/", "POST", lines).unwrap().content();
            assert_eq!((content.is_empty, content.bytes), expected, "{lines:?}");
        };
        check(&[], (true, 0));
        check(&["Content-Length: 0"], (true, 0));
        check(&["Content-Length: 7"], (false, 7));
        check(&["Transfer-Encoding: chunked"], (false, 0));
    }
}
