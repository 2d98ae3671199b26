//! The results of a flight: one for all who wait for it, and one for its leader's client.

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::received::{AskedAt, OriginResponse};
use super::shared_body::{BodyReader, SharedBody};
use crate::origin;
use crate::outcome::Reason;
use crate::stored::{Credentials, Facts, FlatHead, Selecting, StoredEntry};

/// The result of a flight, for all who wait for it.
#[derive(Clone)]
pub(crate) enum FlightResult {
    /// A storable response whose body is arriving.
    InProgress(Arc<Fill>),
    /// The origin confirmed the stored entry.
    Confirmed(Arc<StoredEntry>),
    /// The origin failed, and a stale entry is served instead.
    ServedStale(Arc<StoredEntry>),
    /// The origin confirmed the copy that the leader's client has, and nothing is stored.
    Unchanged,
    /// The response is for one client alone.
    Unshared(Reason),
    /// The origin failed, and nothing can be served instead.
    Failed(origin::Error),
}

/// A storable response whose body is arriving.
pub(crate) struct Fill {
    /// The response's status.
    pub(crate) status: StatusCode,
    /// The fields, as they are stored.
    pub(crate) head: FlatHead,
    /// The fields as they go on to the leader's client, if they are more than what is stored.
    pub(crate) leader_head: Option<FlatHead>,
    /// True if the origin made the response for this very request: it came without Age.
    pub(crate) is_first_hand: bool,
    /// The facts parsed from the fields.
    pub(crate) facts: Facts,
    /// The request fields that select it.
    pub(crate) selecting: Selecting,
    /// The credentials of the request that brings it in, if it is guarded.
    pub(crate) leader: Option<Credentials>,
    /// The tags that the origin named.
    pub(crate) tags: Box<[Box<str>]>,
    /// When it was asked for.
    pub(crate) asked_at: AskedAt,
    /// The length of the body, if known.
    pub(crate) length: Option<u64>,
    /// The stored entry that this fetch is meant to replace.
    pub(crate) replaces: Option<Arc<StoredEntry>>,
    /// The body, which many read while it fills.
    pub(crate) body: Arc<SharedBody>,
}

impl Fill {
    /// Tells whether other fields select this response than the entry it was meant to replace: then
    /// both would be stored side by side.
    pub(crate) fn is_other_variant(&self) -> bool {
        self.replaces.as_ref().is_some_and(|old| old.selecting != self.selecting)
    }

    /// Returns the fields as they go on to the leader's client, flattened.
    pub(crate) fn leader_head(&self) -> &FlatHead {
        self.leader_head.as_ref().unwrap_or(&self.head)
    }
}

/// The start of the response to the leader's own client.
pub(crate) struct LeaderBody {
    /// The fields as received, less the hop-by-hop ones: the same as [`Fill::leader_head`], without
    /// putting them together again.
    pub(crate) fields: HeaderMap,
    /// A reader that keeps the body's beginning.
    pub(crate) reader: BodyReader,
}

/// The response to the leader's own client.
pub(crate) enum LeaderResponse {
    /// The flight's shared result; for a body that is still arriving, also the leader's own reader,
    /// which starts at the first byte.
    FromFlight(FlightResult, Option<Box<LeaderBody>>),
    /// The response itself, for this client alone, and the reason. Boxed, since a `LeaderResponse`
    /// is moved often and is rarely this.
    Response(Box<OriginResponse>, Reason),
}
