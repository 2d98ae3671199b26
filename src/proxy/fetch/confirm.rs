//! Applies a 304, or the response to a HEAD, to the stored entries (RFC 9111 §4.3.4, §4.3.5).

use std::sync::Arc;

use http::header;

use super::received::{AskedAt, ReceivedHead};
use crate::outcome::Reason;
use crate::policy::validate::{self, Candidates, Update};
use crate::policy::{PurgeState, tags, vary};
use crate::proxy::decide;
use crate::proxy::request::context::RequestContext;
use crate::proxy::sharing::{probation, stored_cookies};
use crate::proxy::state::Worker;
use crate::stored::{Facts, FlatHead, Selecting, SharingGuard, StoredEntry};

/// An entry that the origin confirmed.
pub(crate) enum Confirmation {
    /// The entry answers all requests that select it.
    ForAll(Arc<StoredEntry>),
    /// The entry's new head is for this request alone, for this reason.
    Once(Arc<StoredEntry>, Reason),
}

/// Applies a 304 to the entries whose validators were sent. `None` if it confirms none of them:
/// then the response has to be fetched whole.
pub(crate) fn by_304(
    worker: &Worker,
    ctx: &RequestContext,
    candidates: &Candidates,
    head: &ReceivedHead,
    asked_at: AskedAt,
) -> Option<Confirmation> {
    let exchange = ctx.exchange(asked_at.time, head.received_at);
    let updates = validate::updates(candidates, &exchange, &head.headers);
    let mut answer = None;
    for (entry, update) in candidates.iter().zip(updates) {
        match update {
            // The entry would now be selected by this request's fields, and those select the entry
            // that answers already.
            Update::Confirmed(head, _)
                if answer.is_some() && selecting(worker, ctx, entry, &head).as_ref() != Some(&entry.selecting) =>
            {
                replace(worker, ctx, entry, None);
            }
            update => {
                let confirmed = apply(worker, ctx, entry, update, asked_at.sequence);
                answer = answer.or(confirmed);
            }
        }
    }
    answer
}

/// Applies the response to a HEAD to the entry that the request selected, if that is still stored.
/// Returns the entry that answers the HEAD.
pub(crate) fn by_head(
    worker: &Worker,
    ctx: &RequestContext,
    selected: &Arc<StoredEntry>,
    head: &ReceivedHead,
    asked_at: AskedAt,
) -> Option<Arc<StoredEntry>> {
    let stored = worker.shared.store.get(&ctx.key)?;
    // An entry stored or confirmed meanwhile was requested after this HEAD.
    let entry = stored.entries.iter().find(|entry| entry.is_same_response(selected))?;
    // An entry that another user's request brought in is not confirmed by the response to this one.
    if !probation::admits(&worker.shared, ctx, entry)
        || worker.shared.store.purge_state(&ctx.key, entry, head.received_at) == PurgeState::Purged
    {
        return None;
    }
    let exchange = ctx.exchange(asked_at.time, head.received_at);
    let update = validate::update_by_head(entry, &exchange, head.status, &head.headers);
    match apply(worker, ctx, entry, update, asked_at.sequence)? {
        Confirmation::ForAll(entry) | Confirmation::Once(entry, _) => Some(entry),
    }
}

/// Applies `update` to one stored entry. Returns the entry with its new head if it was confirmed.
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
            if new.head.get(&header::SET_COOKIE) != entry.head.get(&header::SET_COOKIE) {
                stored_cookies::note(worker, ctx, &new.head);
            }
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

/// Makes the entry with its new head, and judges again whether its coding may be changed. Cookies
/// that the new head sets belong to this request: then the body is on probation again.
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
    let mut confirmed = entry.with_confirmation(head, facts, sequence);
    // The new head may name other tags. If it names none, the old ones stay: a qualified no-cache
    // may have kept the tags out of the stored head.
    let tags = tags::parse(&fields);
    if !tags.is_empty() {
        confirmed.tags = tags;
    }
    if let Some(guard) = &confirmed.guard
        && !says_same_to_all(entry, &confirmed)
    {
        confirmed.guard = Some(Arc::new(SharingGuard::new(
            ctx.credentials(&worker.shared),
            ctx.values(&worker.shared),
            guard.body(),
        )));
    }
    confirmed
}

/// Tells whether the new head of a confirmed body is for this requester alone. That holds for an
/// unguarded body whose head is not said to be for all, as nothing could compare it, and for a new
/// cookie where cookies were found to differ by user.
fn is_personal(worker: &Worker, ctx: &RequestContext, old: &StoredEntry, new: &StoredEntry) -> bool {
    match &new.guard {
        None => probation::is_guarded(ctx, &new.facts, &new.selecting) && !says_same_to_all(old, new),
        Some(_) => {
            !probation::sets_same_cookies(&old.head, &new.head)
                && probation::distrusts_cookies(&worker.shared, ctx, &new.facts)
        }
    }
}

/// Tells whether the entry under its new head sets the same cookies as before, and says the same of
/// its user.
fn says_same_to_all(old: &StoredEntry, new: &StoredEntry) -> bool {
    probation::sets_same_cookies(&old.head, &new.head) && probation::says_same_of_users(&old.head, &new.head)
}

/// Returns the fields that select the entry under its new head, whose Vary may name other ones (RFC
/// 9111 §4.1). `None` if no request can select it any more.
fn selecting(worker: &Worker, ctx: &RequestContext, entry: &StoredEntry, head: &FlatHead) -> Option<Selecting> {
    let named = decide::selecting_fields(worker.shared.config.ask_identity, &head.to_map())?;
    vary::selecting_on(&entry.selecting, &named, &ctx.headers)
}

/// Selects the entry by these fields. An entry that varies on Cookie needs no guard: the origin
/// said whose cookies it is for.
fn with_selecting(selecting: Selecting, mut entry: StoredEntry) -> StoredEntry {
    entry.guard = entry.guard.filter(|_| !probation::varies_by_user(&selecting));
    entry.selecting = selecting;
    entry
}

/// Replaces `old`, and entries that the same fields select, by `new` or by nothing. Does nothing if
/// `old` has left the store. If `old` was encoded meanwhile, `new` gets that body.
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
