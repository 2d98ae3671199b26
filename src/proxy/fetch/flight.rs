//! What a flight brings: what it lands with, for all who wait for it, and what its leader is handed.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};

use super::shared_body::{BodyReader, SharedBody};
use crate::clock::Timestamp;
use crate::origin::{self, ResponseBody};
use crate::outcome::Reason;
use crate::stored::{Credentials, Facts, FlatHead, Selecting, StoredEntry};

/// What a flight lands with, for all who wait for it.
#[derive(Clone)]
pub(crate) enum FlightResult {
    /// A storable response whose body is on its way.
    InProgress(Arc<Fill>),
    /// The origin confirmed what was stored.
    Confirmed(Arc<StoredEntry>),
    /// The origin failed, and a stale response stands in.
    ServedStale(Arc<StoredEntry>),
    /// The origin confirmed what the leader's client holds itself, and nothing is stored.
    Unchanged,
    /// The response is for one client alone.
    Unshared(Reason),
    /// The origin failed, and nothing stands in.
    Failed(origin::Error),
}

/// A storable response whose body is on its way.
pub(crate) struct Fill {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its fields, as they are stored.
    pub(crate) head: FlatHead,
    /// Its fields as they go on to the leader's client, where they are more than what is stored.
    pub(crate) leader_head: Option<FlatHead>,
    /// Whether the origin makes it for this very request: it came without Age.
    pub(crate) is_first_hand: bool,
    /// What was parsed from them.
    pub(crate) facts: Facts,
    /// The request that selected it.
    pub(crate) selecting: Selecting,
    /// The credentials of the request that brings it in, where it is guarded.
    pub(crate) leader: Option<Credentials>,
    /// The tags that the origin named.
    pub(crate) tags: Box<[Box<str>]>,
    /// When it was asked for.
    pub(crate) requested_at: Timestamp,
    /// The ledger's number before that.
    pub(crate) sequence: u64,
    /// What its body will come to, where that is known.
    pub(crate) length: Option<u64>,
    /// The stored response that it was asked for in place of.
    pub(crate) replaces: Option<Arc<StoredEntry>>,
    /// Its body.
    pub(crate) body: Arc<SharedBody>,
}

impl Fill {
    /// Tells whether other fields select it than what it was asked for in place of: stored, it stands beside that.
    pub(crate) fn is_other_variant(&self) -> bool {
        self.replaces.as_ref().is_some_and(|old| old.selecting != self.selecting)
    }

    /// Returns its fields as they go on to the leader's client, flattened.
    pub(crate) fn leader_head(&self) -> &FlatHead {
        self.leader_head.as_ref().unwrap_or(&self.head)
    }
}

/// What the leader's own client begins with.
pub(crate) struct LeaderBody {
    /// The fields as they came, less those that end here: what [`Fill::leader_head`] has, with no need to put it together again.
    pub(crate) fields: HeaderMap,
    /// A reader that holds the body's beginning.
    pub(crate) reader: BodyReader,
}

/// What the leader's own client gets.
pub(crate) enum LeaderResponse {
    /// What everybody gets; with a filling body, its beginning.
    FromFlight(FlightResult, Option<Box<LeaderBody>>),
    /// The response itself, which is nobody else's, and why. Boxed, since what is handed over is moved often and mostly is none.
    Response(Box<Response<ResponseBody>>, Reason),
}
