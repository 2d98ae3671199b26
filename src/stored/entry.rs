//! A stored response with the store's run-time state, and the variants of a key.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use http::HeaderName;
use smallvec::SmallVec;

use super::body::StoredBody;
use super::facts::Facts;
use super::head::FlatHead;
use super::shadow_fingerprint::ShadowFingerprint;
use super::sharing_guard::SharingGuard;

/// The request fields that select a response, with the values of its request (RFC 9111 §4.1), names
/// in order.
///
/// A value is the field's lines, joined and normalised by `policy::vary`; `None` where the request
/// had no such field.
pub type Selecting = Box<[(HeaderName, Option<Box<[u8]>>)]>;

/// One stored response.
#[derive(Debug)]
pub struct StoredEntry {
    /// The end-to-end fields, without Age and the fields that Larder writes itself.
    pub head: FlatHead,
    /// The facts parsed from the head.
    pub facts: Facts,
    /// The body in its codings.
    pub body: StoredBody,
    /// The values of the request fields that select this response.
    pub selecting: Selecting,
    /// The tags that the origin named, verbatim.
    pub tags: Box<[Box<str>]>,
    /// The ledger's number before the origin request.
    pub sequence: u64,
    /// The ledger's number up to which no purge covers this entry, or a mark of the sweep.
    pub checked_through: AtomicU64,
    /// True if the entry was used since it was stored.
    pub was_used: AtomicBool,
    /// The personalisation guard of the body; `None` for bodies that may be shared freely.
    pub guard: Option<Arc<SharingGuard>>,
    /// The fingerprint for comparisons; only entries of shadow mode have one.
    pub shadow_fingerprint: Option<Arc<ShadowFingerprint>>,
    /// Releases the entry's own bytes on drop: the store attaches its budget reservation here.
    /// Empty outside the store.
    pub reservation: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl StoredEntry {
    /// Returns the bytes that the entry takes in the budget: its own, its head's and guard's, and
    /// its renditions'.
    pub fn bytes(&self) -> usize {
        let selecting: usize =
            self.selecting.iter().map(|(_, value)| 64 + value.as_ref().map_or(0, |value| value.len())).sum();
        let tags: usize = self.tags.iter().map(|tag| 16 + tag.len()).sum();
        let guard = self.guard.as_ref().map_or(0, |guard| 16 + guard.bytes());
        let shadow_fingerprint =
            self.shadow_fingerprint.as_ref().map_or(0, |shadow_fingerprint| shadow_fingerprint.bytes());
        size_of::<Self>()
            + 16
            + self.head.len()
            + self.body.held_bytes()
            + selecting
            + tags
            + guard
            + shadow_fingerprint
    }

    /// Makes the entry of a response that was requested when the ledger stood at `sequence`.
    pub fn new(
        head: FlatHead,
        facts: Facts,
        body: StoredBody,
        selecting: Selecting,
        tags: Box<[Box<str>]>,
        sequence: u64,
    ) -> Self {
        let checked = AtomicU64::new(sequence);
        Self {
            head,
            facts,
            body,
            selecting,
            tags,
            sequence,
            checked_through: checked,
            was_used: AtomicBool::new(false),
            guard: None,
            shadow_fingerprint: None,
            reservation: OnceLock::new(),
        }
    }

    /// Makes the entry that the origin confirmed: a new head and facts, requested when the ledger
    /// stood at `sequence`.
    pub fn with_confirmation(&self, head: FlatHead, facts: Facts, sequence: u64) -> Self {
        let used = AtomicBool::new(self.was_used.load(Ordering::Relaxed));
        let (body, selecting, tags) = (self.body.clone(), self.selecting.clone(), self.tags.clone());
        // A response that permits sharing needs no guard any more.
        let guard = self.guard.clone().filter(|_| !facts.permits_sharing);
        let shadow_fingerprint = self.shadow_fingerprint.clone();
        Self { was_used: used, guard, shadow_fingerprint, ..Self::new(head, facts, body, selecting, tags, sequence) }
    }

    /// Returns whether both entries are one response, perhaps with its body in other codings.
    pub fn is_same_response(&self, other: &Self) -> bool {
        self.sequence == other.sequence
            && self.facts.received_at == other.facts.received_at
            && self.selecting == other.selecting
    }

    /// Makes the same entry with another body: one more rendition, or another stored form.
    pub fn with_body(&self, body: StoredBody) -> Self {
        Self {
            head: self.head.clone(),
            facts: self.facts.clone(),
            body,
            selecting: self.selecting.clone(),
            tags: self.tags.clone(),
            sequence: self.sequence,
            checked_through: AtomicU64::new(self.checked_through.load(Ordering::Relaxed)),
            was_used: AtomicBool::new(self.was_used.load(Ordering::Relaxed)),
            guard: self.guard.clone(),
            shadow_fingerprint: self.shadow_fingerprint.clone(),
            reservation: OnceLock::new(),
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
