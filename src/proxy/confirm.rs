//! What a 304 or the response to a HEAD does to what is stored (RFC 9111 §4.3.4, §4.3.5).

use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::asked::Asked;
use super::{Way, decide, probation, shared_cookies};
use crate::outcome::Reason;
use crate::policy::storable::Exchange;
use crate::policy::validate::{self, Candidates, Update};
use crate::policy::{Standing, tags, vary};
use crate::stored::{Entry, Facts, FlatHead, Guard, Selecting};

/// An entry that the origin confirmed.
pub(super) enum Confirmed {
    /// It answers whoever asks for it.
    ForAll(Arc<Entry>),
    /// Its new head is for this request alone, for this reason.
    Once(Arc<Entry>, Reason),
}

/// Applies a 304 to the entries whose validators were sent. `None` where it confirms none of them: then the response has to
/// be fetched whole.
pub(super) fn by_304(
    way: &Way,
    asked: &Asked,
    candidates: &Candidates,
    exchange: &Exchange<'_>,
    headers: &HeaderMap,
    sequence: u64,
) -> Option<Confirmed> {
    let updates = validate::updates(candidates, exchange, headers);
    let mut answer = None;
    for (entry, update) in candidates.iter().zip(updates) {
        match update {
            // What selects it would be this request's fields, and those select the one that answers already.
            Update::Confirmed(head, _)
                if answer.is_some() && selecting(way, asked, entry, &head).as_ref() != Some(&entry.selecting) =>
            {
                replace(way, asked, entry, None);
            }
            update => {
                let confirmed = apply(way, asked, entry, update, sequence);
                answer = answer.or(confirmed);
            }
        }
    }
    answer
}

/// Applies the response to a HEAD to the entry that the request selected when it was looked up, as long as that is stored;
/// `sequence` is the ledger's number before it was asked for. Returns what answers it then.
pub(super) fn by_head(
    way: &Way,
    asked: &Asked,
    selected: &Arc<Entry>,
    exchange: &Exchange<'_>,
    (status, headers): (StatusCode, &HeaderMap),
    sequence: u64,
) -> Option<Arc<Entry>> {
    let stored = way.shared.store.get(&asked.key)?;
    // What was stored or confirmed meanwhile was asked for after it.
    let entry = stored.entries.iter().find(|entry| entry.is_same_response(selected))?;
    // What another user's request brought in is not confirmed by what this one is told.
    if !probation::admits(&way.shared, asked, entry)
        || way.shared.store.standing(&asked.key, entry, exchange.received_at) == Standing::Gone
    {
        return None;
    }
    let update = validate::update_by_head(entry, exchange, status, headers);
    match apply(way, asked, entry, update, sequence)? {
        Confirmed::ForAll(entry) | Confirmed::Once(entry, _) => Some(entry),
    }
}

/// Does to one stored entry what `update` says. Returns the entry with its new head, where it was confirmed.
fn apply(way: &Way, asked: &Asked, entry: &Arc<Entry>, update: Update, sequence: u64) -> Option<Confirmed> {
    let confirmed = |head, facts| Arc::new(dressed(way, asked, entry, head, facts, sequence));
    match update {
        Update::Other => None,
        Update::Confirmed(head, facts) => {
            let Some(selecting) = selecting(way, asked, entry, &head) else {
                replace(way, asked, entry, None);
                return Some(Confirmed::Once(confirmed(head, facts), Reason::VaryStar));
            };
            let new = selected_by(selecting, dressed(way, asked, entry, head, facts, sequence));
            if is_ones_own(way, asked, entry, &new) {
                return Some(Confirmed::Once(Arc::new(new), Reason::Personalised));
            }
            let new = Arc::new(new);
            if new.tags.len() > way.shared.store.config().tags_max {
                replace(way, asked, entry, None);
                return Some(Confirmed::Once(new, Reason::TooManyTags));
            }
            shared_cookies::note(way, asked, &new.head);
            replace(way, asked, entry, Some(&new));
            Some(Confirmed::ForAll(new))
        }
        Update::Once(head, facts, reason) => Some(Confirmed::Once(confirmed(head, facts), reason)),
        Update::Withdrawn(head, facts, reason) => {
            replace(way, asked, entry, None);
            Some(Confirmed::Once(confirmed(head, facts), reason))
        }
        Update::Contradicted => {
            replace(way, asked, entry, None);
            None
        }
    }
}

/// Makes the entry with its new head, judged again as to whether its coding is left alone. Cookies that the new head sets
/// are this request's: then the body is on probation again.
fn dressed(way: &Way, asked: &Asked, entry: &Entry, head: FlatHead, mut facts: Facts, sequence: u64) -> Entry {
    let length = Some(entry.body.identity_bytes);
    let fields = head.to_map();
    facts.no_transform |= !decide::is_compressible(&way.shared.config, facts.status, &fields, length);
    let mut dressed = entry.confirmed(head, facts, sequence);
    // The new head may name other tags. One that names none leaves those that a qualified no-cache kept out of the store.
    let tags = tags::parse(&fields);
    if !tags.is_empty() {
        dressed.tags = tags;
    }
    if let Some(guard) = &dressed.guard
        && !says_same_to_all(entry, &dressed)
    {
        dressed.guard =
            Some(Arc::new(Guard::new(asked.credentials(&way.shared), asked.values(&way.shared), guard.body())));
    }
    dressed
}

/// Tells whether what comes with a confirmed body now is for the one who asked: what is not said to be for all, where the body is
/// guarded by nobody who could compare it, and a cookie where they were seen to differ.
fn is_ones_own(way: &Way, asked: &Asked, old: &Entry, new: &Entry) -> bool {
    match &new.guard {
        None => probation::is_guarded(asked, &new.facts, &new.selecting) && !says_same_to_all(old, new),
        Some(_) => {
            !probation::sets_same_cookies(&old.head, &new.head)
                && probation::distrusts_cookies(&way.shared, asked, &new.facts)
        }
    }
}

/// Tells whether an entry under its new head still sets the same cookies, and says the same of its user.
fn says_same_to_all(old: &Entry, new: &Entry) -> bool {
    probation::sets_same_cookies(&old.head, &new.head) && probation::says_same_of_users(&old.head, &new.head)
}

/// Returns what selects the entry under its new head, whose Vary may name other fields (RFC 9111 §4.1). `None` where no
/// request can select it any more.
fn selecting(way: &Way, asked: &Asked, entry: &Entry, head: &FlatHead) -> Option<Selecting> {
    let named = decide::secondary(way.shared.config.ask_identity, &head.to_map())?;
    vary::selecting_on(&entry.selecting, &named, &asked.headers)
}

/// Has an entry selected by these fields. One that varies on Cookie now needs no guard any more: the origin said for whose
/// cookies it is.
fn selected_by(selecting: Selecting, mut entry: Entry) -> Entry {
    entry.guard = entry.guard.filter(|_| !probation::varies_by_user(&selecting));
    Entry { selecting, ..entry }
}

/// Puts `new` in the place of `old`, and of what the same fields select, or nothing; does nothing where `old` has gone
/// meanwhile. Where it was recoded meanwhile, `new` gets that body.
pub(super) fn replace(way: &Way, asked: &Asked, old: &Arc<Entry>, new: Option<&Arc<Entry>>) {
    way.shared.store.change(&asked.key, |variants| {
        let mut variants = variants.clone();
        let is_old = |held: &Arc<Entry>| Arc::ptr_eq(held, old) || held.is_same_response(old);
        if let Some(at) = variants.entries.iter().position(is_old) {
            match new {
                Some(new) => {
                    let held = &variants.entries[at];
                    let new = match Arc::ptr_eq(held, old) {
                        true => Arc::clone(new),
                        false => Arc::new(new.with_body(held.body.clone())),
                    };
                    variants.entries[at] = Arc::clone(&new);
                    variants.entries.retain(|held| Arc::ptr_eq(held, &new) || held.selecting != new.selecting);
                }
                None => drop(variants.entries.remove(at)),
            }
        }
        (!variants.entries.is_empty()).then_some(variants)
    });
}
