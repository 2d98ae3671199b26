//! A stored response: a plain value, and everything that a record outside memory would contain.

use http::HeaderName;

use super::body::StoredBody;
use super::facts::Facts;
use super::head::FlatHead;

/// The request fields that select a response, with the values of its request (RFC 9111 §4.1), names
/// in order.
///
/// A value is the field's lines, joined and normalised by `policy::vary`; `None` where the request
/// had no such field.
pub type Selecting = Box<[(HeaderName, Option<Box<[u8]>>)]>;

/// One response as the origin sent it, with the values that select and purge it.
#[derive(Clone, Debug)]
pub struct StoredResponse {
    /// The end-to-end fields, without Age and the fields that Larder writes itself.
    pub head: FlatHead,
    /// The facts parsed from the head.
    pub facts: Facts,
    /// The body in its codings.
    pub body: StoredBody,
    /// The values of the request fields that select this response.
    pub selecting: Selecting,
    /// The tags that the origin named, verbatim.
    pub tags: Box<[Box<str>]>,
    /// The ledger's number before the origin request.
    pub sequence: u64,
}

impl StoredResponse {
    /// Returns the bytes behind the response's pointers: of its head, body, selecting fields and
    /// tags.
    pub fn heap_bytes(&self) -> usize {
        let selecting: usize =
            self.selecting.iter().map(|(_, value)| 64 + value.as_ref().map_or(0, |value| value.len())).sum();
        let tags: usize = self.tags.iter().map(|tag| 16 + tag.len()).sum();
        self.head.len() + self.body.held_bytes() + selecting + tags
    }

    /// Returns whether both are one response, perhaps with its body in other codings.
    pub fn is_same_response(&self, other: &Self) -> bool {
        self.sequence == other.sequence
            && self.facts.received_at == other.facts.received_at
            && self.selecting == other.selecting
    }
}
