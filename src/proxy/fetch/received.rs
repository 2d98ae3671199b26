//! A response as the origin sent it, and when it was asked for.

use http::{HeaderMap, Response, StatusCode, Version};
use http_body::Body as _;

use crate::clock::Timestamp;
use crate::origin::ResponseBody;

/// When a response was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedAt {
    /// The time by the clock, from which the response's age counts.
    pub(crate) time: Timestamp,
    /// The ledger's number before that: a later purge covers the response.
    pub(crate) sequence: u64,
}

/// The head of a response as received.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedHead {
    /// The response's status.
    pub(crate) status: StatusCode,
    /// The response's HTTP version.
    pub(crate) version: Version,
    /// The response's fields.
    pub(crate) headers: HeaderMap,
    /// The length of the body, if known.
    pub(crate) length: Option<u64>,
    /// True if only the closing connection ends the body, so that a truncated body cannot be told
    /// from a complete one.
    pub(crate) is_unsized: bool,
    /// When the head arrived.
    pub(crate) received_at: Timestamp,
}

/// A response whose head has arrived, and whose body can be read.
pub(crate) struct OriginResponse {
    /// The response's head.
    pub(crate) head: ReceivedHead,
    /// The response's body.
    pub(crate) body: ResponseBody,
}

impl OriginResponse {
    /// Takes a response apart whose head arrived at `received_at`.
    pub(crate) fn new(response: Response<ResponseBody>, received_at: Timestamp) -> Self {
        let (parts, body) = response.into_parts();
        let head = ReceivedHead {
            status: parts.status,
            version: parts.version,
            headers: parts.headers,
            length: body.size_hint().exact(),
            is_unsized: body.is_unsized(),
            received_at,
        };
        Self { head, body }
    }
}
