//! What a flight brings: what it lands with, for all who wait for it, and what its leader is handed.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};

use super::filling::{Filling, Reader};
use crate::clock::Timestamp;
use crate::origin::{self, ResponseBody};
use crate::outcome::Reason;
use crate::stored::{Credentials, Entry, Facts, FlatHead, Selecting};

/// What a flight lands with, for all who wait for it.
#[derive(Clone)]
pub(super) enum Landed {
    /// A storable response whose body is on its way.
    Filling(Arc<Fill>),
    /// The origin confirmed what was stored.
    Confirmed(Arc<Entry>),
    /// The origin failed, and a stale response stands in.
    StoodIn(Arc<Entry>),
    /// The origin confirmed what the leader's client holds itself, and nothing is stored.
    Unchanged,
    /// The response is for one client alone.
    Unshared(Reason),
    /// The origin failed, and nothing stands in.
    Failed(origin::Error),
}

/// A storable response whose body is on its way.
pub(super) struct Fill {
    /// Its status.
    pub(super) status: StatusCode,
    /// Its fields, as they came.
    pub(super) headers: HeaderMap,
    /// Its fields, as they are stored.
    pub(super) head: FlatHead,
    /// Its fields for the leader's client, where they are more than what is stored.
    pub(super) first: Option<FlatHead>,
    /// What was parsed from them.
    pub(super) facts: Facts,
    /// The request that selected it.
    pub(super) selecting: Selecting,
    /// The credentials of the request that brings it in, where it is guarded.
    pub(super) leader: Option<Credentials>,
    /// The tags that the origin named.
    pub(super) tags: Box<[Box<str>]>,
    /// When it was asked for.
    pub(super) requested_at: Timestamp,
    /// The ledger's number before that.
    pub(super) sequence: u64,
    /// What its body will come to, where that is known.
    pub(super) length: Option<u64>,
    /// Its body.
    pub(super) body: Arc<Filling>,
}

/// What the leader's own client gets.
pub(super) enum Handed {
    /// What everybody gets; with a filling body, a reader that holds its beginning.
    Landed(Landed, Option<Reader>),
    /// The response itself, which is nobody else's, and why.
    Response(Response<ResponseBody>, Reason),
}
