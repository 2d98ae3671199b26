//! An entry of the store: a stored response with its state at run time, and the variants of a key.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use smallvec::SmallVec;

use super::body::StoredBody;
use super::budget::Reservation;
use super::facts::Facts;
use super::head::FlatHead;
use super::response::{Selecting, StoredResponse};
use super::shadow_fingerprint::ShadowFingerprint;
use super::sharing_guard::SharingGuard;

/// A stored response, which the entry derefs to, with the state that it has in this process only.
#[derive(Debug)]
pub struct StoredEntry {
    /// The response.
    pub response: StoredResponse,
    /// The ledger's number up to which no purge covers this entry, or a mark of the sweep.
    pub checked_through: AtomicU64,
    /// True if the entry was used since it was stored.
    pub was_used: AtomicBool,
    /// The personalisation guard of the body; `None` for bodies that may be shared freely.
    pub guard: Option<Arc<SharingGuard>>,
    /// The fingerprint for comparisons; only entries of shadow mode have one.
    pub shadow_fingerprint: Option<Arc<ShadowFingerprint>>,
    /// The budget's account of the entry's own bytes, which the store attaches. Dropped with the
    /// entry, which returns the bytes.
    pub reservation: OnceLock<Reservation>,
}

impl From<StoredResponse> for StoredEntry {
    /// Makes the entry of a response that is not stored yet.
    fn from(response: StoredResponse) -> Self {
        Self {
            checked_through: AtomicU64::new(response.sequence),
            response,
            was_used: AtomicBool::new(false),
            guard: None,
            shadow_fingerprint: None,
            reservation: OnceLock::new(),
        }
    }
}

impl Deref for StoredEntry {
    type Target = StoredResponse;

    fn deref(&self) -> &StoredResponse {
        &self.response
    }
}

impl DerefMut for StoredEntry {
    fn deref_mut(&mut self) -> &mut StoredResponse {
        &mut self.response
    }
}

impl StoredEntry {
    /// Makes the entry of a response that was requested when the ledger stood at `sequence`.
    pub fn new(
        head: FlatHead,
        facts: Facts,
        body: StoredBody,
        selecting: Selecting,
        tags: Box<[Box<str>]>,
        sequence: u64,
    ) -> Self {
        Self::from(StoredResponse { head, facts, body, selecting, tags, sequence })
    }

    /// Returns the bytes that the entry takes in the budget: its own, its response's and its
    /// guard's.
    pub fn bytes(&self) -> usize {
        let guard = self.guard.as_ref().map_or(0, |guard| 16 + guard.bytes());
        let shadow_fingerprint = self.shadow_fingerprint.as_ref().map_or(0, |fingerprint| fingerprint.bytes());
        size_of::<Self>() + 16 + self.response.heap_bytes() + guard + shadow_fingerprint
    }

    /// Makes the entry that the origin confirmed: a new head and facts, requested when the ledger
    /// stood at `sequence`.
    pub fn with_confirmation(&self, head: FlatHead, facts: Facts, sequence: u64) -> Self {
        let mut confirmed = self.succeeded_by(StoredResponse { head, facts, sequence, ..self.response.clone() });
        // A response that permits sharing needs no guard any more.
        confirmed.guard = confirmed.guard.take().filter(|_| !confirmed.response.facts.permits_sharing);
        confirmed
    }

    /// Makes the same entry with another body: one more rendition, or another stored form.
    pub fn with_body(&self, body: StoredBody) -> Self {
        let mut changed = self.succeeded_by(StoredResponse { body, ..self.response.clone() });
        changed.checked_through = AtomicU64::new(self.checked_through.load(Ordering::Relaxed));
        changed
    }

    /// Makes the entry of `response`, a newer form of this entry's, with the use, the guard and the
    /// fingerprint of this entry. The reservation stays behind.
    fn succeeded_by(&self, response: StoredResponse) -> Self {
        Self {
            was_used: AtomicBool::new(self.was_used.load(Ordering::Relaxed)),
            guard: self.guard.clone(),
            shadow_fingerprint: self.shadow_fingerprint.clone(),
            ..Self::from(response)
        }
    }
}

/// All responses stored under one key.
#[derive(Clone, Debug)]
pub struct Variants {
    /// The whole key, compared on lookup, so that a collision of hashes is a miss.
    pub key: Box<str>,
    /// The stored responses, newest first.
    pub entries: SmallVec<[Arc<StoredEntry>; 1]>,
}

impl Variants {
    /// Returns the bytes that the key and all its entries take in the budget.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 16 + self.key.len() + self.entries.iter().map(|entry| entry.bytes()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;
    use crate::clock::Timestamp;
    use crate::stored::{CredentialValues, Credentials, LifetimeSource, StaleUse};

    fn facts(permits_sharing: bool) -> Facts {
        Facts {
            status: StatusCode::OK,
            received_at: Timestamp::from_secs(1000),
            initial_age: Duration::ZERO,
            lifetime: Duration::from_secs(10),
            lifetime_source: LifetimeSource::MaxAge,
            no_cache: false,
            stale: StaleUse::Forbidden,
            has_validator: true,
            no_transform: false,
            immutable: false,
            permits_sharing,
            has_s_maxage: false,
        }
    }

    /// Makes a used, guarded and checked entry with a reservation.
    fn entry() -> StoredEntry {
        let body = StoredBody::identity("abc".into());
        let entry =
            StoredEntry::new(FlatHead::default(), facts(false), body, Box::default(), Box::new(["tag".into()]), 3);
        entry.checked_through.store(5, Ordering::Relaxed);
        entry.was_used.store(true, Ordering::Relaxed);
        entry.reservation.set(crate::stored::Budget::new(9).reserve(9).unwrap()).unwrap();
        let guard = SharingGuard::new(Credentials::NONE, CredentialValues::default(), 7);
        StoredEntry { guard: Some(Arc::new(guard)), ..entry }
    }

    fn state(entry: &StoredEntry) -> (u64, bool, bool, bool) {
        let (checked, used) = (entry.checked_through.load(Ordering::Relaxed), entry.was_used.load(Ordering::Relaxed));
        (checked, used, entry.guard.is_some(), entry.reservation.get().is_some())
    }

    #[test]
    fn another_body_keeps_the_state_and_leaves_the_reservation() {
        let again = entry().with_body(StoredBody::identity("abcd".into()));
        assert_eq!(state(&again), (5, true, true, false));
        assert_eq!((again.sequence, again.body.held_bytes(), again.tags.len()), (3, 4, 1));
        assert!(again.is_same_response(&entry()));
    }

    #[test]
    fn a_confirmed_entry_is_judged_anew_and_loses_its_guard_once_shared() {
        let confirmed = entry().with_confirmation(FlatHead::default(), facts(false), 8);
        assert_eq!(state(&confirmed), (8, true, true, false));
        assert_eq!((confirmed.sequence, confirmed.body.held_bytes(), confirmed.tags.len()), (8, 3, 1));
        assert!(!confirmed.is_same_response(&entry()));
        assert!(entry().with_confirmation(FlatHead::default(), facts(true), 8).guard.is_none());
    }
}
