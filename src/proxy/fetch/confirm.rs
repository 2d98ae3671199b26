//! What a 304 or the response to a HEAD does to what is stored (RFC 9111 §4.3.4, §4.3.5).

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::outcome::Reason;
use crate::policy::storable::Exchange;
use crate::policy::validate::{self, Candidates, Update};
use crate::policy::{PurgeState, tags, vary};
use crate::proxy::decide;
use crate::proxy::request::context::RequestContext;
use crate::proxy::sharing::{probation, stored_cookies};
use crate::proxy::state::Worker;
use crate::stored::{Facts, FlatHead, Selecting, SharingGuard, StoredEntry};

/// An entry that the origin confirmed.
pub(crate) enum Confirmation {
    /// It answers whoever asks for it.
    ForAll(Arc<StoredEntry>),
    /// Its new head is for this request alone, for this reason.
    Once(Arc<StoredEntry>, Reason),
}

/// Applies a 304 to the entries whose validators were sent. `None` where it confirms none of them: then the response has to
/// be fetched whole.
pub(crate) fn by_304(
    worker: &Worker,
    ctx: &RequestContext,
    candidates: &Candidates,
    exchange: &Exchange<'_>,
    headers: &HeaderMap,
    sequence: u64,
) -> Option<Confirmation> {
    let updates = validate::updates(candidates, exchange, headers);
    let mut answer = None;
    for (entry, update) in candidates.iter().zip(updates) {
        match update {
            // What selects it would be this request's fields, and those select the one that answers already.
            Update::Confirmed(head, _)
                if answer.is_some() && selecting(worker, ctx, entry, &head).as_ref() != Some(&entry.selecting) =>
            {
                replace(worker, ctx, entry, None);
            }
            update => {
                let confirmed = apply(worker, ctx, entry, update, sequence);
                answer = answer.or(confirmed);
            }
        }
    }
    answer
}

/// Applies the response to a HEAD to the entry that the request selected when it was looked up, as long as that is stored;
/// `sequence` is the ledger's number before it was asked for. Returns what answers it then.
pub(crate) fn by_head(
    worker: &Worker,
    ctx: &RequestContext,
    selected: &Arc<StoredEntry>,
    exchange: &Exchange<'_>,
    (status, headers): (StatusCode, &HeaderMap),
    sequence: u64,
) -> Option<Arc<StoredEntry>> {
    let stored = worker.shared.store.get(&ctx.key)?;
    // What was stored or confirmed meanwhile was asked for after it.
    let entry = stored.entries.iter().find(|entry| entry.is_same_response(selected))?;
    // What another user's request brought in is not confirmed by what this one is told.
    if !probation::admits(&worker.shared, ctx, entry)
        || worker.shared.store.purge_state(&ctx.key, entry, exchange.received_at) == PurgeState::Purged
    {
        return None;
    }
    let update = validate::update_by_head(entry, exchange, status, headers);
    match apply(worker, ctx, entry, update, sequence)? {
        Confirmation::ForAll(entry) | Confirmation::Once(entry, _) => Some(entry),
    }
}

/// Does to one stored entry what `update` says. Returns the entry with its new head, where it was confirmed.
fn apply(
    worker: &Worker,
    ctx: &RequestContext,
    entry: &Arc<StoredEntry>,
    update: Update,
    sequence: u64,
) -> Option<Confirmation> {
    let confirmed = |head, facts| Arc::new(with_new_head(worker, ctx, entry, head, facts, sequence));
    match update {
        Update::Other => None,
        Update::Confirmed(head, facts) => {
            let Some(selecting) = selecting(worker, ctx, entry, &head) else {
                replace(worker, ctx, entry, None);
                return Some(Confirmation::Once(confirmed(head, facts), Reason::VaryStar));
            };
            let new = with_selecting(selecting, with_new_head(worker, ctx, entry, head, facts, sequence));
            if is_personal(worker, ctx, entry, &new) {
                return Some(Confirmation::Once(Arc::new(new), Reason::Personalised));
            }
            let new = Arc::new(new);
            if new.tags.len() > worker.shared.store.config().tags_max {
                replace(worker, ctx, entry, None);
                return Some(Confirmation::Once(new, Reason::TooManyTags));
            }
            stored_cookies::note(worker, ctx, &new.head);
            replace(worker, ctx, entry, Some(&new));
            Some(Confirmation::ForAll(new))
        }
        Update::Once(head, facts, reason) => Some(Confirmation::Once(confirmed(head, facts), reason)),
        Update::Withdrawn(head, facts, reason) => {
            replace(worker, ctx, entry, None);
            Some(Confirmation::Once(confirmed(head, facts), reason))
        }
        Update::Contradicted => {
            replace(worker, ctx, entry, None);
            None
        }
    }
}

/// Makes the entry with its new head, judged again as to whether its coding is left alone. Cookies that the new head sets
/// are this request's: then the body is on probation again.
fn with_new_head(
    worker: &Worker,
    ctx: &RequestContext,
    entry: &StoredEntry,
    head: FlatHead,
    mut facts: Facts,
    sequence: u64,
) -> StoredEntry {
    let length = Some(entry.body.identity_bytes);
    let fields = head.to_map();
    facts.no_transform |= !decide::is_compressible(&worker.shared.config, facts.status, &fields, length);
    let mut dressed = entry.with_confirmation(head, facts, sequence);
    // The new head may name other tags. One that names none leaves those that a qualified no-cache kept out of the store.
    let tags = tags::parse(&fields);
    if !tags.is_empty() {
        dressed.tags = tags;
    }
    if let Some(guard) = &dressed.guard
        && !says_same_to_all(entry, &dressed)
    {
        dressed.guard = Some(Arc::new(SharingGuard::new(
            ctx.credentials(&worker.shared),
            ctx.values(&worker.shared),
            guard.body(),
        )));
    }
    dressed
}

/// Tells whether what comes with a confirmed body now is for the one who asked: what is not said to be for all, where the body is
/// guarded by nobody who could compare it, and a cookie where they were seen to differ.
fn is_personal(worker: &Worker, ctx: &RequestContext, old: &StoredEntry, new: &StoredEntry) -> bool {
    match &new.guard {
        None => probation::is_guarded(ctx, &new.facts, &new.selecting) && !says_same_to_all(old, new),
        Some(_) => {
            !probation::sets_same_cookies(&old.head, &new.head)
                && probation::distrusts_cookies(&worker.shared, ctx, &new.facts)
        }
    }
}

/// Tells whether an entry under its new head still sets the same cookies, and says the same of its user.
fn says_same_to_all(old: &StoredEntry, new: &StoredEntry) -> bool {
    probation::sets_same_cookies(&old.head, &new.head) && probation::says_same_of_users(&old.head, &new.head)
}

/// Returns what selects the entry under its new head, whose Vary may name other fields (RFC 9111 §4.1). `None` where no
/// request can select it any more.
fn selecting(worker: &Worker, ctx: &RequestContext, entry: &StoredEntry, head: &FlatHead) -> Option<Selecting> {
    let named = decide::selecting_fields(worker.shared.config.ask_identity, &head.to_map())?;
    vary::selecting_on(&entry.selecting, &named, &ctx.headers)
}

/// Has an entry selected by these fields. One that varies on Cookie now needs no guard any more: the origin said for whose
/// cookies it is.
fn with_selecting(selecting: Selecting, mut entry: StoredEntry) -> StoredEntry {
    entry.guard = entry.guard.filter(|_| !probation::varies_by_user(&selecting));
    StoredEntry { selecting, ..entry }
}

/// Puts `new` in the place of `old`, and of what the same fields select, or nothing; does nothing where `old` has gone
/// meanwhile. Where it was recoded meanwhile, `new` gets that body.
pub(crate) fn replace(worker: &Worker, ctx: &RequestContext, old: &Arc<StoredEntry>, new: Option<&Arc<StoredEntry>>) {
    worker.shared.store.change(&ctx.key, |variants| {
        let mut variants = variants.clone();
        let is_old = |stored: &Arc<StoredEntry>| Arc::ptr_eq(stored, old) || stored.is_same_response(old);
        if let Some(at) = variants.entries.iter().position(is_old) {
            match new {
                Some(new) => {
                    let stored = &variants.entries[at];
                    let new = match Arc::ptr_eq(stored, old) {
                        true => Arc::clone(new),
                        false => Arc::new(new.with_body(stored.body.clone())),
                    };
                    variants.entries[at] = Arc::clone(&new);
                    variants.entries.retain(|stored| Arc::ptr_eq(stored, &new) || stored.selecting != new.selecting);
                }
                None => drop(variants.entries.remove(at)),
            }
        }
        (!variants.entries.is_empty()).then_some(variants)
    });
}
