//! Other codings of stored bodies: compressing what is asked for twice, and making the rendition that a client needs.
//!
//! All of it happens on the runtime's bounded blocking pool, off the cores' loops. A rendition is made once, however many
//! wait for it, and hung on its entry, counted in the budget.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Response;

use super::asked::Asked;
use super::{Body, Way, answer};
use crate::key::Key;
use crate::origin::coalesce::Joined;
use crate::outcome::Decision;
use crate::respond::encoding;
use crate::stored::{Coding, Entry, Rendition, StoredBody};

/// Answers from the store, waiting for a rendition where one has to be made.
pub(super) async fn stored(way: &Arc<Way>, asked: &Asked, entry: &Arc<Entry>, decision: Decision) -> Response<Body> {
    match answer::stored(way, asked, entry, decision) {
        Ok(response) => response,
        Err(coding) => answer(way, asked, entry, decision, coding).await,
    }
}

/// Answers from the store with a rendition in `coding`, or in identity where it cannot be made.
pub(super) async fn answer(
    way: &Arc<Way>,
    asked: &Asked,
    entry: &Arc<Entry>,
    decision: Decision,
    coding: Coding,
) -> Response<Body> {
    let made = match rendition(way, asked, entry, coding).await {
        Some(bytes) => Some(Rendition { coding, bytes }),
        None => {
            let bytes = match entry.body.get(Coding::Identity) {
                Some(held) => Some(held.clone()),
                None => rendition(way, asked, entry, Coding::Identity).await,
            };
            bytes.map(|bytes| Rendition { coding: Coding::Identity, bytes })
        }
    };
    match made {
        Some(made) => answer::with(way, asked, entry, decision, &made),
        None => {
            way.shared.store.remove(&asked.key);
            super::rescue::panicked(way, asked)
        }
    }
}

/// Returns the body in `coding`: the one who comes first has it made, the others wait.
async fn rendition(way: &Arc<Way>, asked: &Asked, entry: &Arc<Entry>, coding: Coding) -> Option<Bytes> {
    let name = flight_name(entry, coding);
    loop {
        let lead = match way.shared.renditions.join(name.as_slice()) {
            Joined::Leader(lead) => lead,
            Joined::Follower(follow) => match follow.landed().await {
                Some(made) => return made,
                None => continue,
            },
        };
        let (task_way, key, entry) = (Arc::clone(way), asked.key.clone(), Arc::clone(entry));
        // The task keeps the lead, so that a client that hangs up strands no other.
        let made = tokio::task::spawn_blocking(move || {
            let made = make(&task_way, &entry, coding);
            if let Some((bytes, true)) = &made {
                let mut body = entry.body.clone();
                body.renditions.push(Rendition { coding, bytes: bytes.clone() });
                replace(&task_way, &key, &entry, body);
            }
            let made = made.map(|(bytes, _)| bytes);
            lead.land(made.clone());
            // Before the entry, after whose address the flight is named.
            drop(lead);
            made
        });
        return made.await.ok().flatten();
    }
}

/// Makes aside what an answer from the store would need: what shadow mode keeps takes the room that it would in earnest.
pub(super) fn rehearse(way: &Arc<Way>, asked: &Arc<Asked>, entry: &Arc<Entry>) {
    compress_on_first_use(way, asked, entry);
    let Some(coding) = answer::lacking(asked, entry) else { return };
    // Nobody waits for it, so nobody is held back by it either: one at a time, and no more than there are hands.
    if way.shared.renditions.find(&flight_name(entry, coding)).is_some() {
        return;
    }
    let Ok(permit) = Arc::clone(&way.shared.recoding).try_acquire_owned() else { return };
    let (way, asked, entry) = (Arc::clone(way), Arc::clone(asked), Arc::clone(entry));
    tokio::spawn(async move {
        let _permit = permit;
        rendition(&way, &asked, &entry, coding).await
    });
}

/// Names the making of a rendition. The entry lives for as long as it takes, so that no other has its address meanwhile.
fn flight_name(entry: &Arc<Entry>, coding: Coding) -> Vec<u8> {
    let mut name = (Arc::as_ptr(entry) as usize).to_le_bytes().to_vec();
    name.push(coding as u8);
    name
}

/// Makes the bytes of a rendition, and tells whether they are counted in the budget: where that has no room, they are for
/// those who wait for them, and are not kept.
fn make(way: &Way, entry: &Entry, coding: Coding) -> Option<(Bytes, bool)> {
    let identity = match entry.body.get(Coding::Identity) {
        Some(held) => held.clone(),
        None => {
            let held = entry.body.renditions.first()?;
            Bytes::from(encoding::decode(&held.bytes, held.coding, entry.body.identity_bytes)?)
        }
    };
    let bytes = match coding {
        Coding::Identity => identity.as_ref().into(),
        _ => encoding::encode(&identity, coding, way.shared.config.compress_level)?,
    };
    Some(match way.shared.store.reserve(bytes.len() as u64) {
        Some(held) => (held.into_body(bytes), true),
        None => (Bytes::from(bytes), false),
    })
}

/// Has an entry compressed when it is used for the first time after its fill: what nobody asks for twice never is.
pub(super) fn compress_on_first_use(way: &Arc<Way>, asked: &Asked, entry: &Arc<Entry>) {
    if entry.facts.no_transform || entry.used.load(Ordering::Relaxed) || entry.used.swap(true, Ordering::Relaxed) {
        return;
    }
    let Ok(permit) = Arc::clone(&way.shared.recoding).try_acquire_owned() else {
        entry.used.store(false, Ordering::Relaxed);
        return;
    };
    let (way, key, entry) = (Arc::clone(way), asked.key.clone(), Arc::clone(entry));
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let Some(identity) = entry.body.get(Coding::Identity) else { return };
        let Some(packed) = encoding::encode(identity, Coding::Zstd, way.shared.config.compress_level) else { return };
        let Some(held) = way.shared.store.reserve(packed.len() as u64) else { return };
        let mut body = StoredBody { identity_bytes: entry.body.identity_bytes, ..StoredBody::default() };
        body.renditions.push(Rendition { coding: Coding::Zstd, bytes: held.into_body(packed) });
        replace(&way, &key, &entry, body);
    });
}

/// Puts the same entry with another body in its place, unless it has gone meanwhile.
fn replace(way: &Way, key: &Key, entry: &Arc<Entry>, body: StoredBody) {
    way.shared.store.change(key, |variants| {
        let mut variants = variants.clone();
        if let Some(held) = variants.entries.iter_mut().find(|held| Arc::ptr_eq(held, entry)) {
            *held = Arc::new(held.with_body(body));
        }
        Some(variants)
    });
}
