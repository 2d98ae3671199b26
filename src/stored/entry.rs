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

/// The request fields that a response was selected by, with the values they had (RFC 9111 §4.1), names in order.
/// A value is the field's lines joined and normalised by `policy::vary`; `None` where the request had none.
pub type Selecting = Box<[(HeaderName, Option<Box<[u8]>>)]>;

/// One stored response.
#[derive(Debug)]
pub struct StoredEntry {
    /// Its end-to-end fields, without Age and what Larder writes anew.
    pub head: FlatHead,
    /// What was parsed from them.
    pub facts: Facts,
    /// Its body.
    pub body: StoredBody,
    /// The request that selected it.
    pub selecting: Selecting,
    /// The tags that the origin named, exact.
    pub tags: Box<[Box<str>]>,
    /// The ledger's number before the origin was asked.
    pub sequence: u64,
    /// The ledger's number up to which this entry is known to be untouched.
    pub checked_through: AtomicU64,
    /// Whether it has been used since it was filled.
    pub was_used: AtomicBool,
    /// Who brought the body in, and whether others may have it; `None` where nobody need ask.
    pub guard: Option<Arc<SharingGuard>>,
    /// What it was brought in by, for comparisons; only what is kept in shadow mode has one.
    pub shadow_fingerprint: Option<Arc<ShadowFingerprint>>,
    /// What goes when the entry goes: the store hangs its account of the entry's own bytes here. Others leave it empty.
    pub reservation: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl StoredEntry {
    /// Returns the bytes that this entry takes in the cap: its own, its head's and guard's, and its renditions'.
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

    /// Makes an entry of a response that was asked for when the ledger stood at `sequence`.
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

    /// Makes the same entry as it stands after the origin confirmed it, asked when the ledger stood at `sequence`.
    pub fn with_confirmation(&self, head: FlatHead, facts: Facts, sequence: u64) -> Self {
        let used = AtomicBool::new(self.was_used.load(Ordering::Relaxed));
        let (body, selecting, tags) = (self.body.clone(), self.selecting.clone(), self.tags.clone());
        // What permits sharing now needs no guard any more.
        let guard = self.guard.clone().filter(|_| !facts.permits_sharing);
        let shadow_fingerprint = self.shadow_fingerprint.clone();
        Self { was_used: used, guard, shadow_fingerprint, ..Self::new(head, facts, body, selecting, tags, sequence) }
    }

    /// Tells whether both are one response, be its body held in other codings by now.
    pub fn is_same_response(&self, other: &Self) -> bool {
        self.sequence == other.sequence
            && self.facts.received_at == other.facts.received_at
            && self.selecting == other.selecting
    }

    /// Makes the same entry with another body (a rendition more, or the stored form changed).
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

/// Everything stored under one key.
#[derive(Clone, Debug)]
pub struct Variants {
    /// The whole key, compared on lookup: a collision of hashes is a miss.
    pub key: Box<str>,
    /// The stored responses, the newest first.
    pub entries: SmallVec<[Arc<StoredEntry>; 1]>,
}

impl Variants {
    /// Returns the bytes that the key and all its entries take in the cap.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 16 + self.key.len() + self.entries.iter().map(|entry| entry.bytes()).sum::<usize>()
    }
}
