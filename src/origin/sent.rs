//! The request that was sent, as far as it decides which responses may answer it.

use http::header::{IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};

use super::framing;
use crate::syntax::list;

/// Checks a response's head as the client does on arrival, for a request with or without Range and
/// preconditions. Returns whether only the closing connection would end its body, like
/// [`ResponseBody::is_unsized`](super::ResponseBody::is_unsized).
///
/// # Errors
/// Names the fault of the head.
pub fn check_head(
    request: &Request<()>,
    version: Version,
    status: StatusCode,
    fields: &HeaderMap,
) -> Result<bool, &'static str> {
    let sent = SentRequest::of(request);
    sent.allows(status, fields)?;
    Ok(framing::framing(&sent.method, version, status, fields)? == framing::ResponseFraming::Unsized)
}

/// The parts of a sent request that a response is checked against.
pub(super) struct SentRequest {
    pub(super) method: Method,
    /// The protocols offered in Upgrade.
    pub(super) upgrade: Option<HeaderValue>,
    has_range: bool,
    has_condition: bool,
    /// True if the request has content although its method gives content no meaning.
    pub(super) has_stray_content: bool,
}

impl SentRequest {
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let method = request.method().clone();
        let mut sent = Self { method, upgrade: None, has_range: false, has_condition: false, has_stray_content: false };
        // One pass over the names costs less than a search for each of four.
        for (name, value) in request.headers() {
            sent.has_range |= name == RANGE;
            sent.has_condition |= name == IF_NONE_MATCH || name == IF_MODIFIED_SINCE;
            if name == UPGRADE {
                sent.upgrade.get_or_insert_with(|| value.clone());
            }
        }
        sent
    }

    /// Checks whether such a response may answer this request; the error says what is wrong.
    pub(super) fn allows(&self, status: StatusCode, fields: &HeaderMap) -> Result<(), &'static str> {
        match status {
            StatusCode::SWITCHING_PROTOCOLS => self.allows_switch(fields),
            // RFC 9110 §15.3.7: a 206 answers a range.
            StatusCode::PARTIAL_CONTENT if !self.has_range => Err("a 206 to a request without Range"),
            // RFC 9110 §15.4.5: a 304 answers a condition.
            StatusCode::NOT_MODIFIED if !self.has_condition => Err("a 304 to a request without a condition"),
            // RFC 9110 §15: a status of 600 or more is invalid.
            status if status.as_u16() >= 600 => Err("a status beyond 599"),
            _ => Ok(()),
        }
    }

    /// Checks a 101: a server must name the protocol that it switches to, and may only switch to
    /// one that was offered (RFC 9110 §7.8).
    fn allows_switch(&self, fields: &HeaderMap) -> Result<(), &'static str> {
        let Some(offered) = &self.upgrade else { return Err("a 101 to a request without Upgrade") };
        let mut chosen = list::field_members(fields, UPGRADE).peekable();
        if chosen.peek().is_none() {
            return Err("a 101 that does not say what it switches to");
        }
        let is_offered =
            |chosen: &[u8]| list::members(offered.as_bytes()).any(|offered| offered.eq_ignore_ascii_case(chosen));
        if chosen.all(is_offered) { Ok(()) } else { Err("a 101 to a protocol that was not offered") }
    }
}
