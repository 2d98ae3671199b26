//! Copies the origin's body into the shared body, and stores it once it is complete.
//!
//! Each chunk is copied out of the connection's buffer and counted in the budget before it is kept.
//! A body that becomes too large, or for which the budget has no room, is no longer kept: new
//! requests do not join it, and the slowest reader sets the pace.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use smallvec::SmallVec;
use tokio::time::timeout;

use super::coalesce::FlightLeader;
use super::confirm;
use super::flight::{Fill, FlightResult};
use crate::origin::ResponseBody;
use crate::outcome::Reason;
use crate::policy::validate;
use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Worker;
use crate::proxy::trace;
use crate::stored::{SharingGuard, StoredBody, StoredEntry};

/// A body that arrived complete and was kept. The caller of [`copy_body`] ends the shared one.
pub(crate) struct ReceivedBody {
    /// The fingerprint of the bytes.
    pub(crate) fingerprint: u128,
    /// The trailers.
    pub(crate) trailers: Option<HeaderMap>,
}

/// Copies the origin's body into the shared one, and stores it when it is complete.
pub(crate) async fn receive(
    worker: &Worker,
    mut lead: FlightLeader<FlightResult>,
    ctx: &RequestContext,
    fill: &Fill,
    body: ResponseBody,
) {
    let _abort_guard = fill.body.abort_guard();
    let bytes_max = ctx.rule.object_bytes_max.min(worker.shared.store.budget().object_max());
    let mut storing = trace::StoreSpan::new(&worker.shared, ctx);
    let on_unkept = |reason| {
        storing.set_reason(reason);
        lead.close();
        // A body that broke off says nothing about the next one.
        if matches!(reason, Reason::TooLarge | Reason::Budget) {
            let shared = &worker.shared;
            shared.uncacheable.record_not_stored(ctx.key.hash(), ctx.at, shared.config.hit_for_miss, reason);
            drop_replaced(worker, ctx, fill);
        }
    };
    let received = copy_body(worker, ctx, fill, body, bytes_max, on_unkept).await;
    if let Some(whole) = received {
        let result = store_complete(worker, ctx, fill, whole.fingerprint);
        if result.is_err() || fill.is_other_variant() {
            drop_replaced(worker, ctx, fill);
        }
        // Requests that wait for the end look into the store then, and must not find this flight
        // again.
        lead.close();
        match result {
            Ok(bytes) => {
                storing.finish(bytes);
                worker.shared.uncacheable.forget(ctx.key.hash());
            }
            Err(reason) => {
                storing.set_reason(reason);
                fill.body.stop_keeping(reason);
            }
        }
        fill.body.complete(whole.trailers);
    }
}

/// Copies the origin's body into the shared one, and keeps it up to `bytes_max`. Returns the end of
/// a body that arrived complete and was kept. Otherwise the shared body has ended already, and
/// `on_unkept` was called with the reason as soon as that was known.
pub(crate) async fn copy_body(
    worker: &Worker,
    ctx: &RequestContext,
    fill: &Fill,
    mut body: ResponseBody,
    bytes_max: u64,
    mut on_unkept: impl FnMut(Reason),
) -> Option<ReceivedBody> {
    let (mut total, mut is_kept, mut trailers) = (0_u64, true, None);
    // Seven hundred bytes of state, for guarded bodies only, as others are not compared. The hash
    // is keyed, so that no attacker can make an app send a body that passes for another.
    let mut hash = fill.leader.map(|_| worker.shared.hasher.pieces());
    loop {
        let frame = match body.frame().await {
            None => break,
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                tracing::debug!(url = ctx.key.url(), %error, "the body was cut off");
                on_unkept(error.reason);
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
        let copy = if is_kept { counted_copy(worker, &chunk, total, bytes_max) } else { Err(Reason::TooLarge) };
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
                    on_unkept(reason);
                }
                fill.body.stop_keeping(reason);
                fill.body.push(chunk);
                if !wait_for_reader(fill, worker.shared.config.reader_stall).await {
                    return None;
                }
            }
        }
    }
    if !is_kept {
        fill.body.complete(trailers);
        return None;
    }
    Some(ReceivedBody { fingerprint: hash.map_or(0, |hash| hash.digest128()), trailers })
}

/// Copies a chunk out of the connection's buffer and counts it in the budget, unless the budget has
/// no room or the body becomes too large.
pub(crate) fn counted_copy(worker: &Worker, chunk: &Bytes, total: u64, bytes_max: u64) -> Result<Bytes, Reason> {
    if total > bytes_max {
        return Err(Reason::TooLarge);
    }
    let reservation = worker.shared.store.reserve(chunk.len() as u64).ok_or(Reason::Budget)?;
    Ok(reservation.into_body(chunk.as_ref().into()))
}

/// Waits for the slowest reader of a body that is not kept. Returns false if no reader is left:
/// then the origin need not go on.
///
/// The slowest reader is cut off once others, which have read everything so far, have waited for it
/// for `reader_stall`. While no other reader waits, it sets the pace: how long a client may be
/// silent is not decided here.
async fn wait_for_reader(fill: &Fill, reader_stall: Duration) -> bool {
    loop {
        let somebody_waits = fill.body.has_blocking_reader();
        match timeout(reader_stall, fill.body.wait_for_room()).await {
            Ok(anybody) => return anybody,
            Err(_) if somebody_waits && fill.body.has_blocking_reader() => fill.body.drop_slowest(),
            Err(_) => {}
        }
    }
}

/// Stores a complete response. Returns the length of its body, or why it was not stored.
fn store_complete(worker: &Worker, ctx: &RequestContext, fill: &Fill, fingerprint: u128) -> Result<u64, Reason> {
    let store = &worker.shared.store;
    let bytes = join_chunks(worker, fill.body.chunks()).ok_or(Reason::Budget)?;
    let length = bytes.len() as u64;
    let mut entry = StoredEntry::new(
        fill.head.clone(),
        fill.facts.clone(),
        StoredBody::identity(bytes),
        fill.selecting.clone(),
        fill.tags.clone(),
        fill.asked_at.sequence,
    );
    entry.guard =
        fill.leader.map(|leader| Arc::new(SharingGuard::new(leader, ctx.values(&worker.shared), fingerprint)));
    store.put(&ctx.key, entry).map(|_stored| length).inspect_err(|reason| {
        tracing::debug!(url = ctx.key.url(), %reason, "a complete response was not stored");
    })
}

/// Drops the entry that a storable response supersedes, if storing the response does not replace
/// it: the response was not stored after all, or other fields select it. Otherwise the old entry
/// would still answer requests that do not select the new one, or that find the old one's Date
/// later.
pub(crate) fn drop_replaced(worker: &Worker, ctx: &RequestContext, fill: &Fill) {
    if let Some(old) = fill.replaces.as_ref().filter(|_| validate::supersedes(fill.status)) {
        confirm::replace(worker, ctx, old, None);
    }
}

/// Joins the chunks into one run; `None` if the budget has no room for it.
pub(crate) fn join_chunks(worker: &Worker, mut chunks: SmallVec<[Bytes; 1]>) -> Option<Bytes> {
    match chunks.len() {
        0 => Some(Bytes::new()),
        1 => chunks.pop(),
        _ => {
            let total: usize = chunks.iter().map(Bytes::len).sum();
            let reservation = worker.shared.store.reserve(total as u64)?;
            let mut run = Vec::with_capacity(total);
            chunks.iter().for_each(|chunk| run.extend_from_slice(chunk));
            Some(reservation.into_body(run.into_boxed_slice()))
        }
    }
}
