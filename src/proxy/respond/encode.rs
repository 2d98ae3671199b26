//! Other codings of stored bodies: compresses an entry on its second use, and makes the rendition
//! that a client needs.
//!
//! All encoding runs on the runtime's bounded blocking pool, off the cores' loops. A rendition is
//! made once for all who wait for it, stored with its entry, and counted in the budget.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Response;

use super::body::Body;
use super::{answer, rescue};
use crate::key::Key;
use crate::outcome::Decision;
use crate::proxy::fetch::coalesce::FlightRole;
use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Worker;
use crate::respond::encoding;
use crate::stored::{Coding, Rendition, StoredBody, StoredEntry};

/// Answers from the store, waiting for a rendition if one has to be made.
pub(crate) async fn answer_stored(
    worker: &Arc<Worker>,
    ctx: &RequestContext,
    entry: &Arc<StoredEntry>,
    decision: Decision,
) -> Response<Body> {
    match answer::from_store(worker, ctx, entry, decision) {
        Ok(response) => response,
        Err(coding) => answer_in(worker, ctx, entry, decision, coding).await,
    }
}

/// Answers from the store with a rendition in `coding`, or in identity if that fails.
pub(crate) async fn answer_in(
    worker: &Arc<Worker>,
    ctx: &RequestContext,
    entry: &Arc<StoredEntry>,
    decision: Decision,
    coding: Coding,
) -> Response<Body> {
    let made = match rendition(worker, ctx, entry, coding).await {
        Some(bytes) => Some(Rendition { coding, bytes }),
        None => {
            let bytes = match entry.body.get(Coding::Identity) {
                Some(existing) => Some(existing.clone()),
                None => rendition(worker, ctx, entry, Coding::Identity).await,
            };
            bytes.map(|bytes| Rendition { coding: Coding::Identity, bytes })
        }
    };
    match made {
        Some(made) => answer::from_rendition(worker, ctx, entry, decision, &made),
        None => {
            worker.shared.store.remove(&ctx.key);
            rescue::task_failure(worker, ctx)
        }
    }
}

/// Returns the body in `coding`: the first request has it made, others wait.
async fn rendition(
    worker: &Arc<Worker>,
    ctx: &RequestContext,
    entry: &Arc<StoredEntry>,
    coding: Coding,
) -> Option<Bytes> {
    let name = flight_name(entry, coding);
    loop {
        let lead = match worker.shared.renditions.join(name.as_slice()) {
            FlightRole::Leader(lead) => lead,
            FlightRole::Follower(follow) => match follow.result().await {
                Some(made) => return made,
                None => continue,
            },
        };
        let (task_worker, key, entry) = (Arc::clone(worker), ctx.key.clone(), Arc::clone(entry));
        // The task owns the lead, so that a client that hangs up strands no other.
        let made = tokio::task::spawn_blocking(move || {
            let made = make(&task_worker, &entry, coding);
            if let Some((bytes, true)) = &made {
                let mut body = entry.body.clone();
                body.renditions.push(Rendition { coding, bytes: bytes.clone() });
                replace(&task_worker, &key, &entry, body);
            }
            let made = made.map(|(bytes, _)| bytes);
            lead.land(made.clone());
            // Dropped before the entry, whose address is the flight's name.
            drop(lead);
            made
        });
        return made.await.ok().flatten();
    }
}

/// In shadow mode, makes the rendition that an answer from the store would need, in the background,
/// so that memory use matches live mode.
pub(crate) fn prebuild(worker: &Arc<Worker>, ctx: &Arc<RequestContext>, entry: &Arc<StoredEntry>) {
    compress_on_first_use(worker, ctx, entry);
    let Some(coding) = answer::missing_coding(ctx, entry) else { return };
    // No client waits for this rendition, and none waits behind it: one at a time for each entry
    // and coding, and no more than there are permits.
    if worker.shared.renditions.find(&flight_name(entry, coding)).is_some() {
        return;
    }
    let Ok(permit) = Arc::clone(&worker.shared.encoding_permits).try_acquire_owned() else { return };
    let (worker, ctx, entry) = (Arc::clone(worker), Arc::clone(ctx), Arc::clone(entry));
    tokio::spawn(async move {
        let _permit = permit;
        rendition(&worker, &ctx, &entry, coding).await
    });
}

/// Names the making of a rendition. The entry outlives the flight, so no other entry has its
/// address meanwhile.
fn flight_name(entry: &Arc<StoredEntry>, coding: Coding) -> Vec<u8> {
    let mut name = (Arc::as_ptr(entry) as usize).to_le_bytes().to_vec();
    name.push(coding as u8);
    name
}

/// Makes the bytes of a rendition, and tells whether they are counted in the budget. If the budget
/// has no room, the bytes go to the requests that wait for them, and are not stored.
fn make(worker: &Worker, entry: &StoredEntry, coding: Coding) -> Option<(Bytes, bool)> {
    let identity = match entry.body.get(Coding::Identity) {
        Some(existing) => existing.clone(),
        None => {
            let existing = entry.body.renditions.first()?;
            Bytes::from(encoding::decode(&existing.bytes, existing.coding, entry.body.identity_bytes)?)
        }
    };
    let bytes = match coding {
        Coding::Identity => identity.as_ref().into(),
        _ => encoding::encode(&identity, coding, worker.shared.config.compress_level)?,
    };
    Some(match worker.shared.store.reserve(bytes.len() as u64) {
        Some(reservation) => (reservation.into_body(bytes), true),
        None => (Bytes::from(bytes), false),
    })
}

/// Compresses an entry when it is used for the first time after its fetch: an entry that is never
/// requested again is never compressed.
pub(crate) fn compress_on_first_use(worker: &Arc<Worker>, ctx: &RequestContext, entry: &Arc<StoredEntry>) {
    if entry.facts.no_transform
        || entry.was_used.load(Ordering::Relaxed)
        || entry.was_used.swap(true, Ordering::Relaxed)
    {
        return;
    }
    let Ok(permit) = Arc::clone(&worker.shared.encoding_permits).try_acquire_owned() else {
        entry.was_used.store(false, Ordering::Relaxed);
        return;
    };
    let (worker, key, entry) = (Arc::clone(worker), ctx.key.clone(), Arc::clone(entry));
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let Some(identity) = entry.body.get(Coding::Identity) else { return };
        let Some(packed) = encoding::encode(identity, Coding::Zstd, worker.shared.config.compress_level) else {
            return;
        };
        let Some(reservation) = worker.shared.store.reserve(packed.len() as u64) else { return };
        let mut body = StoredBody { identity_bytes: entry.body.identity_bytes, ..StoredBody::default() };
        body.renditions.push(Rendition { coding: Coding::Zstd, bytes: reservation.into_body(packed) });
        replace(&worker, &key, &entry, body);
    });
}

/// Replaces the entry's body, unless the entry has left the store.
fn replace(worker: &Worker, key: &Key, entry: &Arc<StoredEntry>, body: StoredBody) {
    worker.shared.store.change(key, |variants| {
        let mut variants = variants.clone();
        if let Some(existing) = variants.entries.iter_mut().find(|existing| Arc::ptr_eq(existing, entry)) {
            *existing = Arc::new(existing.with_body(body));
        }
        Some(variants)
    });
}
