//! Pouring the origin's body into the shared one, and storing it once it is complete.
//!
//! Each chunk is copied out of the connection's buffer and counted in the budget before it is held. A body that becomes too
//! large, or for which the budget has no room, is let go: nobody joins any more, and the slowest reader sets the pace.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use smallvec::SmallVec;
use tokio::time::timeout;

use super::asked::Asked;
use super::flight::{Fill, Landed};
use super::{Way, confirm, remember, trace};
use crate::origin::ResponseBody;
use crate::origin::coalesce::Lead;
use crate::outcome::Reason;
use crate::policy::validate;
use crate::stored::{Entry, Guard, StoredBody};

/// A body that came whole and was kept. Whoever poured it ends the shared one.
pub(super) struct Whole {
    /// The fingerprint of its bytes.
    pub(super) fingerprint: u128,
    /// What came after them.
    pub(super) trailers: Option<HeaderMap>,
}

/// Pours the origin's body into the shared one, and stores it when it is complete.
pub(super) async fn pour(way: &Way, mut lead: Lead<Landed>, asked: &Asked, fill: &Fill, body: ResponseBody) {
    let _in_hand = fill.body.in_hand();
    let bytes_max = asked.rule.object_bytes_max.min(way.shared.store.budget().object_max());
    let mut storing = trace::Storing::new(&way.shared, asked);
    let lost = |reason| {
        storing.lost(reason);
        lead.close();
        // A body that broke off says nothing about the next.
        if matches!(reason, Reason::TooLarge | Reason::Budget) {
            remember::not_stored(way, asked, reason);
            drop_replaced(way, asked, fill);
        }
    };
    let poured = through(way, asked, fill, body, bytes_max, lost).await;
    if let Some(whole) = poured {
        let kept = keep(way, asked, fill, whole.fingerprint);
        if kept.is_err() || fill.is_beside() {
            drop_replaced(way, asked, fill);
        }
        // Who waits for the end looks into the store then, and must not find this flight again.
        lead.close();
        match kept {
            Ok(bytes) => {
                storing.stored(bytes);
                way.shared.memories.forget(asked.key.hash());
            }
            Err(reason) => {
                storing.lost(reason);
                fill.body.let_go(reason);
            }
        }
        fill.body.complete(whole.trailers);
    }
}

/// Pours the origin's body into the shared one, and keeps it up to `bytes_max`. Returns where it came whole and was kept;
/// otherwise it has been ended, and `lost` was told before, as soon as it was known, and why.
pub(super) async fn through(
    way: &Way,
    asked: &Asked,
    fill: &Fill,
    mut body: ResponseBody,
    bytes_max: u64,
    mut lost: impl FnMut(Reason),
) -> Option<Whole> {
    let (mut total, mut is_kept, mut trailers) = (0_u64, true, None);
    // Seven hundred bytes of state, for guarded bodies only: the others are not compared. Keyed, so that nobody can have an app
    // make a body that passes for another.
    let mut hash = fill.leader.map(|_| way.shared.hasher.pieces());
    loop {
        let frame = match body.frame().await {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(url = asked.key.url(), %error, "the body was cut off");
                lost(error.reason);
                fill.body.fail(error.reason);
                return None;
            }
        };
        let chunk = match frame.into_data() {
            Ok(chunk) => chunk,
            Err(frame) => {
                trailers = frame.into_trailers().ok();
                continue;
            }
        };
        total += chunk.len() as u64;
        let copy = if is_kept { held_copy(way, &chunk, total, bytes_max) } else { Err(Reason::TooLarge) };
        match copy {
            Ok(copy) => {
                if let Some(hash) = &mut hash {
                    hash.update(&copy);
                }
                fill.body.push(copy);
            }
            Err(reason) => {
                if is_kept {
                    is_kept = false;
                    lost(reason);
                }
                fill.body.let_go(reason);
                fill.body.push(chunk);
                if !make_way(fill, way.shared.config.reader_stall).await {
                    return None;
                }
            }
        }
    }
    if !is_kept {
        fill.body.complete(trailers);
        return None;
    }
    Some(Whole { fingerprint: hash.map_or(0, |hash| hash.digest128()), trailers })
}

/// Copies a chunk out of the connection's buffer, counted in the budget, unless that says no or the body gets too large.
pub(super) fn held_copy(way: &Way, chunk: &Bytes, total: u64, bytes_max: u64) -> Result<Bytes, Reason> {
    if total > bytes_max {
        return Err(Reason::TooLarge);
    }
    let held = way.shared.store.reserve(chunk.len() as u64).ok_or(Reason::Budget)?;
    Ok(held.into_body(chunk.as_ref().into()))
}

/// Waits for the slowest reader of a body that is not kept. False when none is left: then the origin need not go on.
///
/// It is cut off where others have waited for it for `reader_stall`, having read all that is there. While nobody waits it sets
/// the pace, and how long a client may be silent is not decided here.
async fn make_way(fill: &Fill, reader_stall: Duration) -> bool {
    loop {
        let somebody_waits = fill.body.holds_up();
        match timeout(reader_stall, fill.body.room()).await {
            Ok(anybody) => return anybody,
            Err(_) if somebody_waits && fill.body.holds_up() => fill.body.drop_slowest(),
            Err(_) => {}
        }
    }
}

/// Stores a complete response. Returns how many bytes its body has, or why it was not stored.
fn keep(way: &Way, asked: &Asked, fill: &Fill, fingerprint: u128) -> Result<u64, Reason> {
    let store = &way.shared.store;
    let bytes = one_run(way, fill.body.chunks()).ok_or(Reason::Budget)?;
    let length = bytes.len() as u64;
    let mut entry = Entry::new(
        fill.head.clone(),
        fill.facts.clone(),
        StoredBody::identity(bytes),
        fill.selecting.clone(),
        fill.tags.clone(),
        fill.sequence,
    );
    entry.guard = fill.leader.map(|leader| Arc::new(Guard::new(leader, asked.values(&way.shared), fingerprint)));
    store.put(&asked.key, entry).map(|_stored| length).inspect_err(|reason| {
        tracing::debug!(url = asked.key.url(), %reason, "a complete response was not stored");
    })
}

/// Drops what a response supersedes that may be stored, where storing it does not put it in the old one's place: it was not
/// stored after all, or other fields select it. Both would be there then, and the old one would still answer whom the new
/// one is not for, and whoever finds that it has the later Date.
pub(super) fn drop_replaced(way: &Way, asked: &Asked, fill: &Fill) {
    if let Some(old) = fill.replaces.as_ref().filter(|_| validate::supersedes(fill.status)) {
        confirm::replace(way, asked, old, None);
    }
}

/// Joins the chunks into one run; `None` when the budget has no room for it.
pub(super) fn one_run(way: &Way, mut chunks: SmallVec<[Bytes; 1]>) -> Option<Bytes> {
    match chunks.len() {
        0 => Some(Bytes::new()),
        1 => chunks.pop(),
        _ => {
            let total: usize = chunks.iter().map(Bytes::len).sum();
            let held = way.shared.store.reserve(total as u64)?;
            let mut run = Vec::with_capacity(total);
            chunks.iter().for_each(|chunk| run.extend_from_slice(chunk));
            Some(held.into_body(run.into_boxed_slice()))
        }
    }
}
