//! The store's state, and every way to read and to change the stored responses but the sweep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use smallvec::SmallVec;

use super::config::Config;
use super::counters::{StoreCounters, count};
use super::ledger::{self, Ledger, PurgeKind, Selector};
use super::memory::{self, Change};
use super::sweeper::Sweeper;
use crate::clock::{Clock, Timestamp};
use crate::key::Key;
use crate::outcome::Reason;
use crate::policy::PurgeState;
use crate::stored::{Budget, Coding, Rendition, Reservation, StoredEntry, Variants};

/// The most times that moka is drained for one request that found the budget spent. A drain ends
/// early when it meets an entry that is being written.
const DRAINS: usize = 2;

/// Bytes of the counts of an `Arc` and the owner of a body's `Bytes` together.
const COUNTING_BYTES: usize = 16 + 48;

/// The stored responses of the process, with the ledger of purges and the budget.
pub struct Store {
    pub(super) clock: Clock,
    is_closed: AtomicBool,
    pub(super) config: ArcSwap<Config>,
    pub(super) budget: Arc<Budget>,
    pub(super) ledger: Ledger,
    pub(super) memory: memory::MemoryMap,
    pub(super) sweeper: Sweeper,
    pub(super) counters: StoreCounters,
}

impl Store {
    /// Makes an empty store.
    pub fn new(config: Config, clock: Clock) -> Self {
        Self {
            budget: Budget::new(config.capacity),
            ledger: Ledger::new(config.ledger_max, config.soft_max),
            memory: memory::MemoryMap::new(config.capacity),
            sweeper: Sweeper::default(),
            counters: StoreCounters::default(),
            clock,
            is_closed: AtomicBool::new(false),
            config: ArcSwap::from_pointee(config),
        }
    }

    /// Returns the responses stored under `key`. Another key's responses under the same hash are a
    /// miss.
    pub fn get(&self, key: &Key) -> Option<Arc<Variants>> {
        let stored = self.memory.get(key.hash()).filter(|_| !self.is_closed.load(Ordering::Acquire))?;
        if *stored.key != *key.text() {
            count(&self.counters.collisions, 1);
            return None;
        }
        Some(stored)
    }

    /// Drops everything that is stored now and later, once another process serves and purges
    /// instead.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.purge(Selector::All, PurgeKind::Hard);
    }

    /// Stores `entry` under `key`.
    ///
    /// The entry replaces the variant with the same selecting fields, or joins the other variants:
    /// newest first, at most `variants_max`. Another key's responses under the same hash are
    /// replaced. The caller has reserved the bytes of the body ([`Store::reserve`]); the entry's
    /// own bytes are reserved here.
    ///
    /// # Errors
    /// The reason why the entry was not stored: purged meanwhile, too many tags, larger than a
    /// share of the budget, the budget spent, or a newer response already stored.
    pub fn put(&self, key: &Key, mut entry: StoredEntry) -> Result<Arc<StoredEntry>, Reason> {
        let config = self.config.load();
        if entry.tags.len() > config.tags_max {
            return Err(Reason::TooManyTags);
        }
        let own = own_bytes(key.text(), &entry);
        if own + entry.body.held_bytes() as u64 > self.budget.object_max() {
            count(&self.counters.refused, 1);
            return Err(Reason::Budget);
        }
        if entry.body.renditions.is_empty() {
            entry.body.renditions.push(Rendition { coding: Coding::Identity, bytes: Bytes::new() });
        }
        hold(&entry, self.reserve(own).ok_or(Reason::Budget)?);
        let now = self.clock.now();
        if !self.ledger.admits(key.url(), &entry, now) {
            return Err(Reason::InvalidatedMeanwhile);
        }
        let entry = Arc::new(entry);
        // Bodies end in another order than their heads arrived. A response received later than now
        // is older: the clock stepped back.
        let is_newer = |other: &Arc<StoredEntry>| {
            other.selecting == entry.selecting
                && other.facts.received_at > entry.facts.received_at
                && other.facts.received_at <= now
        };
        let mut is_outdated = false;
        self.memory.compute(key.hash(), |stored| {
            let others = stored.filter(|stored| self.is_of(stored, key)).map_or(&[][..], |stored| &stored.entries);
            is_outdated = others.iter().any(is_newer);
            if is_outdated {
                return Change::Keep;
            }
            let mut entries = SmallVec::with_capacity(1 + others.len());
            entries.push(Arc::clone(&entry));
            entries.extend(others.iter().filter(|other| other.selecting != entry.selecting).cloned());
            entries.truncate(config.variants_max.max(1));
            count(&self.counters.replaced, (1 + others.len() - entries.len()) as u64);
            Change::Put(Variants { key: key.text().into(), entries })
        });
        if is_outdated {
            return Err(Reason::Outdated);
        }
        // A purge may have been recorded, and its sweep may have passed, between the judgement and
        // the insertion.
        self.ledger.settle(key.url(), &entry, now);
        if !self.ledger.has_records_since(entry.sequence) {
            ledger::mark(&entry, PurgeState::Invalid);
        }
        self.sweeper.expects(self.kept_until(&entry));
        Ok(entry)
    }

    /// Changes the variants stored under `key` atomically.
    ///
    /// `change` gets the current variants and returns the new ones, or `None` to remove them.
    /// Nothing happens where nothing is stored, or where the budget has no room for the change.
    pub fn change(&self, key: &Key, change: impl FnOnce(&Variants) -> Option<Variants>) {
        let mut made = SmallVec::<[ReplacedEntry; 1]>::new();
        self.memory.compute(key.hash(), |stored| {
            let Some(stored) = stored.filter(|stored| self.is_of(stored, key)) else { return Change::Keep };
            match change(stored) {
                Some(variants) if variants.entries.is_empty() => Change::Remove,
                Some(variants) => self.take_over(key, stored, variants, &mut made).map_or(Change::Keep, Change::Put),
                None => Change::Remove,
            }
        });
        // A sweep may have passed this key during the change: it marked the old entries, not the
        // new ones.
        for made in made {
            if let Some(old) = made.from {
                ledger::inherit_mark(&made.entry, &old);
            }
            self.ledger.settle(key.url(), &made.entry, self.clock.now());
            self.sweeper.expects(self.kept_until(&made.entry));
        }
    }

    /// Removes everything under `key`.
    pub fn remove(&self, key: &Key) {
        self.change(key, |_| None);
    }

    /// Returns what the ledger says of `entry` under `key`. Costs one comparison if nothing was
    /// purged since the last call for this entry.
    pub fn purge_state(&self, key: &Key, entry: &StoredEntry, now: Timestamp) -> PurgeState {
        self.ledger.purge_state(key.url(), entry, now)
    }

    /// Returns what the ledger says of a response that is still being fetched, given its tags and
    /// the ledger's number that was read before the origin request.
    pub fn purge_state_of(&self, key: &Key, tags: &[Box<str>], sequence: u64, now: Timestamp) -> PurgeState {
        self.ledger.purge_state_of(key.url(), tags, sequence, now)
    }

    /// Records a purge and returns its number. Everything that the purge covers is invalid from now
    /// on, responses being fetched included.
    pub fn purge(&self, selector: Selector, kind: PurgeKind) -> u64 {
        self.ledger.record(selector, kind, self.clock.now())
    }

    /// Returns the ledger's latest number. An entry carries the number read before its origin
    /// request was sent.
    pub fn sequence(&self) -> u64 {
        self.ledger.latest()
    }

    /// Returns the budget.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Returns the configuration in force.
    pub fn config(&self) -> Arc<Config> {
        self.config.load_full()
    }

    /// Puts another configuration in force. The stored responses stay, and so do `capacity`,
    /// `ledger_max` and `soft_max`, which need a restart.
    pub fn adjust(&self, config: Config) {
        let Config { capacity, ledger_max, soft_max, .. } = *self.config();
        self.config.store(Arc::new(Config { capacity, ledger_max, soft_max, ..config }));
    }

    /// Reserves `bytes`; `None` when they do not fit even after moka was drained.
    ///
    /// A refusal is counted. Never waits for a reader.
    pub fn reserve(&self, bytes: u64) -> Option<Reservation> {
        let reserved = self.budget.reserve(bytes).or_else(|| {
            self.make_room(bytes);
            self.budget.reserve(bytes)
        });
        if reserved.is_none() {
            count(&self.counters.refused, 1);
        }
        reserved
    }

    /// Drains moka until `bytes` more would fit; false when moka has nothing left to free.
    pub fn make_room(&self, bytes: u64) -> bool {
        let drained_for = |_| {
            self.memory.drain();
            self.budget.fits(bytes)
        };
        bytes <= self.budget.capacity() && (0..DRAINS).any(drained_for)
    }

    /// Returns the time until which `entry` is kept.
    pub(super) fn kept_until(&self, entry: &StoredEntry) -> Timestamp {
        entry.facts.kept_until(self.config.load().keep)
    }

    /// Returns whether `stored` belongs to `key`, not to another key with the same hash.
    fn is_of(&self, stored: &Variants, key: &Key) -> bool {
        *stored.key == *key.text()
    }

    /// Prepares `variants`, which replace `old`, for the map: truncates them, reserves their bytes,
    /// and resets the ledger's judgement of each new entry. `None` if the budget has no room. Every
    /// entry that is not among the old ones is added to `made`.
    fn take_over(
        &self,
        key: &Key,
        old: &Variants,
        mut variants: Variants,
        made: &mut SmallVec<[ReplacedEntry; 1]>,
    ) -> Option<Variants> {
        variants.key = key.text().into();
        variants.entries.truncate(self.config.load().variants_max.max(1));
        for entry in &variants.entries {
            if old.entries.iter().any(|other| Arc::ptr_eq(other, entry)) {
                continue;
            }
            if entry.reservation.get().is_none() {
                hold(entry, self.budget.reserve(own_bytes(key.text(), entry))?);
            }
            ledger::unsettle(entry);
            let is_origin =
                |other: &&Arc<StoredEntry>| other.sequence == entry.sequence && other.selecting == entry.selecting;
            let from = old.entries.iter().find(is_origin).cloned();
            // The records that cover a new response may have been retired. An entry made of a
            // stored response was judged by them already: it has that response's number, and its
            // mark.
            if from.is_none() && !self.ledger.has_records_since(entry.sequence) {
                ledger::mark(entry, PurgeState::Invalid);
            }
            made.push(ReplacedEntry { entry: Arc::clone(entry), from });
        }
        Some(variants)
    }
}

/// An entry that a change added, with the stored entry of the same number that it was made of.
struct ReplacedEntry {
    entry: Arc<StoredEntry>,
    from: Option<Arc<StoredEntry>>,
}

/// Returns the bytes of an entry without its body: itself, its head, its key, its place in the map,
/// and the reference counts.
fn own_bytes(key: &str, entry: &StoredEntry) -> u64 {
    let own = entry.bytes() - entry.body.held_bytes();
    (own + key.len() + size_of::<Variants>() + memory::MAP_ENTRY_BYTES + COUNTING_BYTES) as u64
}

/// Attaches a reservation to an entry that has none.
fn hold(entry: &StoredEntry, own: Reservation) {
    // If two threads attach one, the second is dropped, which returns its bytes.
    let _ = entry.reservation.set(own);
}
