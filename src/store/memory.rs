//! The memory tier: the [`Variants`] of each key in a moka cache, weighed in bytes.
//!
//! This file finds, changes and evicts. Other modules decide what to store and whether a stored
//! response may be used. How moka is used, and why:
//!
//! - **The least recently used entry goes first.** moka's default, TinyLFU, never admits a large
//!   object into a warm cache of small ones, and rejects the new file names of a deploy until they
//!   were requested often enough. A web cache meets both daily, so everything that fits is
//!   admitted.
//! - **No expiry.** moka reads a clock of its own, which no test can step, and pays for it on every
//!   lookup. Expired entries are garbage, not a danger (`policy` decides freshness), so the sweep
//!   collects them.
//! - **Drained by bytes.** moka applies writes in batches of 64. With large bodies that is a
//!   multiple of the capacity, so moka is drained each time that a small part of the capacity has
//!   been inserted.
//! - **Evicted values are freed at once.** moka frees a removed value only after every thread has
//!   moved on and its log of reads has been processed. One thread that the system paused in a
//!   lookup held up all others: with two threads, a fifth of 100,000 bodies of 16 KiB found the
//!   budget spent by values that had long been evicted. So moka holds a slot of ours, which its
//!   eviction listener empties; only a few words linger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;

use crate::key::PassThroughHash;
use crate::stored::Variants;

/// Bytes of a map entry besides its value: moka's own, measured between 321 and 369, and the slot.
pub(crate) const MAP_ENTRY_BYTES: usize = 369 + size_of::<MapSlot>() + 16;

/// The most lookups that meet an emptied slot before giving up. By then, the slot that replaced it
/// is in the map.
const LOOKUPS: usize = 4;

/// The part of the capacity that the map may fill, in percent. The rest is for responses being
/// fetched, and for bodies that slow readers pin after eviction.
const MAP_SHARE: u64 = 85;

/// moka is drained whenever the capacity divided by this number has been inserted.
const DRAIN_SHARE: u64 = 64;

/// The largest size of one key with all its variants, as a divisor of the capacity. moka silently
/// drops a value larger than its whole capacity.
const KEY_SHARE: u64 = 2;

/// The object size for which the map has room from the start: 16 bytes for each object, a 500th of
/// the capacity. Growing step by step costs a tenth of what storing a small object costs.
const USUAL_BYTES: u64 = 8 << 10;

/// The most objects that the map has room for from the start (16 MiB).
const ROOM_MAX: usize = 1 << 20;

/// Locks for changes of keys, enough that two keys rarely share one.
const KEY_LOCKS: usize = 256;

/// A value of the map: full while stored, empty once evicted.
struct MapSlot(ArcSwapOption<Variants>);

/// The change that a caller decides for the variants of one key.
pub(crate) enum Change {
    /// The variants stay as they are.
    Keep,
    /// The given variants replace the stored ones.
    Put(Variants),
    /// The key is removed.
    Remove,
}

/// A key found by a walk.
pub(crate) struct WalkItem {
    /// The key's hash.
    pub hash: u128,
    /// The variants at the time of the walk.
    pub variants: Arc<Variants>,
    slot: Arc<MapSlot>,
}

/// The map from a key's hash to its variants.
pub(crate) struct MemoryMap {
    map: Cache<u128, Arc<MapSlot>, PassThroughHash>,
    /// Each lock guards changes to one share of the keys. Nothing awaits under it.
    key_locks: Box<[Mutex<()>]>,
    counters: Arc<MapCounters>,
    key_bytes_max: u64,
    /// Bytes inserted since moka was last drained.
    undrained: AtomicU64,
    drain_bytes: u64,
}

/// Counters of the map's content, updated on every change: no reading walks a million entries.
///
/// A value is added before moka has it, and subtracted when moka reports its removal, once per
/// value whatever the cause. So the sums agree however inserts and evictions interleave.
#[derive(Debug, Default)]
pub(crate) struct MapCounters {
    /// Keys in the map.
    pub keys: AtomicU64,
    /// Bytes in the map, as weighed.
    pub stored_bytes: AtomicU64,
    /// Body bytes, as the origin sent them.
    pub raw_bytes: AtomicU64,
    /// Body bytes, as held.
    pub held_bytes: AtomicU64,
    /// Entries evicted because the map was full.
    pub evicted_by_size: AtomicU64,
}

impl MemoryMap {
    /// Makes an empty map within a budget of `capacity` bytes.
    pub(crate) fn new(capacity: u64) -> Self {
        let counters = Arc::new(MapCounters::default());
        let removed = Arc::clone(&counters);
        let unit = unit_bytes(capacity);
        let map = Cache::builder()
            .eviction_policy(EvictionPolicy::lru())
            .initial_capacity(usize::try_from(capacity / USUAL_BYTES).map_or(ROOM_MAX, |room| room.min(ROOM_MAX)))
            .max_capacity((u128::from(capacity) * u128::from(MAP_SHARE) / 100) as u64 / unit)
            .weigher(move |_, slot: &Arc<MapSlot>| {
                let full = slot.0.load();
                in_units(full.as_ref().map_or(0, |variants| weight(variants)), unit)
            })
            .eviction_listener(move |_, slot, cause| {
                if let Some(variants) = slot.0.swap(None) {
                    removed.remove(&variants, cause);
                }
            })
            .build_with_hasher(PassThroughHash::default());
        let key_locks = (0..KEY_LOCKS).map(|_| Mutex::new(())).collect();
        Self {
            key_locks,
            map,
            counters,
            key_bytes_max: capacity / KEY_SHARE,
            undrained: AtomicU64::new(0),
            drain_bytes: capacity / DRAIN_SHARE,
        }
    }

    /// Returns the variants stored under `hash`, and counts as a use.
    pub(crate) fn get(&self, hash: u128) -> Option<Arc<Variants>> {
        for _ in 0..LOOKUPS {
            if let Some(variants) = self.map.get(&hash)?.0.load_full() {
                return Some(variants);
            }
        }
        None
    }

    /// Returns whether something is stored under `hash`, without counting as a use. Cheaper than a
    /// `get` that misses, because moka logs misses too.
    fn holds(&self, hash: u128) -> bool {
        self.map.contains_key(&hash)
    }

    /// Changes the variants stored under `hash`, one caller at a time: `decide` gets the current
    /// variants and returns the change.
    ///
    /// Variants beyond a share of the capacity are dropped, oldest first; a single one that is
    /// still too large changes nothing. moka's own operation of this kind costs a third of what
    /// storing a small object costs.
    pub(crate) fn compute(&self, hash: u128, decide: impl FnOnce(Option<&Arc<Variants>>) -> Change) {
        let inserted = {
            let _lock = self.key_locks[hash as usize % KEY_LOCKS].lock();
            let variants = if self.holds(hash) { self.get(hash) } else { None };
            match decide(variants.as_ref()) {
                Change::Keep => 0,
                Change::Remove => {
                    self.map.invalidate(&hash);
                    0
                }
                Change::Put(variants) => self.insert(hash, variants),
            }
        };
        if self.undrained.fetch_add(inserted, Ordering::Relaxed) + inserted > self.drain_bytes {
            self.drain();
        }
    }

    /// Frees the variants that a walk found, if they are still stored; returns whether they were.
    ///
    /// The empty slot stays in the map, and lookups find nothing in it, until
    /// [`MemoryMap::take_out`]: that costs more than freeing the variants.
    pub(crate) fn empty(&self, item: &WalkItem) -> bool {
        let _lock = self.key_locks[item.hash as usize % KEY_LOCKS].lock();
        // A full slot is in the map, or is being evicted right now. No other holder of the lock can
        // have replaced it.
        let is_there = item.slot.0.load().as_ref().is_some_and(|variants| Arc::ptr_eq(variants, &item.variants));
        // moka may have emptied the slot in between.
        let removed = if is_there { item.slot.0.swap(None) } else { None };
        removed.inspect(|variants| self.counters.remove(variants, RemovalCause::Explicit)).is_some()
    }

    /// Removes the slot of `hash` from the map if it is empty.
    pub(crate) fn take_out(&self, hash: u128) {
        let _lock = self.key_locks[hash as usize % KEY_LOCKS].lock();
        if self.map.get(&hash).is_some_and(|slot| slot.0.load().is_none()) {
            self.map.invalidate(&hash);
        }
    }

    /// Iterates over the hashes of empty slots.
    pub(crate) fn empty_slots(&self) -> impl Iterator<Item = u128> {
        self.map.iter().filter_map(|(hash, slot)| slot.0.load().is_none().then_some(*hash))
    }

    /// Inserts `variants`, and returns their weight.
    fn insert(&self, hash: u128, mut variants: Variants) -> u64 {
        while weight(&variants) > self.key_bytes_max && variants.entries.len() > 1 {
            variants.entries.pop();
        }
        let weight = weight(&variants);
        if weight > self.key_bytes_max {
            return 0;
        }
        self.counters.add(&variants);
        self.map.insert(hash, Arc::new(MapSlot(ArcSwapOption::from_pointee(variants))));
        weight
    }

    /// Makes moka apply its deferred work: evict down to the capacity, and free removed values that
    /// no reader pins.
    pub(crate) fn drain(&self) {
        self.undrained.store(0, Ordering::Relaxed);
        self.map.run_pending_tasks();
    }

    /// Iterates over the stored variants without counting as a use. Insertions meanwhile may be
    /// missed.
    pub(crate) fn iter(&self) -> impl Iterator<Item = WalkItem> {
        self.map.iter().filter_map(|(hash, slot)| Some(WalkItem { hash: *hash, variants: slot.0.load_full()?, slot }))
    }

    /// Returns the counters.
    pub(crate) fn counters(&self) -> &MapCounters {
        &self.counters
    }
}

impl MapCounters {
    fn add(&self, variants: &Variants) {
        let sums = EntrySums::of(variants);
        self.keys.fetch_add(1, Ordering::Relaxed);
        self.stored_bytes.fetch_add(sums.stored, Ordering::Relaxed);
        self.raw_bytes.fetch_add(sums.raw, Ordering::Relaxed);
        self.held_bytes.fetch_add(sums.held, Ordering::Relaxed);
    }

    fn remove(&self, variants: &Variants, cause: RemovalCause) {
        let sums = EntrySums::of(variants);
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.stored_bytes.fetch_sub(sums.stored, Ordering::Relaxed);
        self.raw_bytes.fetch_sub(sums.raw, Ordering::Relaxed);
        self.held_bytes.fetch_sub(sums.held, Ordering::Relaxed);
        // Removals for other causes are counted by their caller, who alone knows the reason.
        if cause == RemovalCause::Size {
            self.evicted_by_size.fetch_add(variants.entries.len() as u64, Ordering::Relaxed);
        }
    }
}

/// The contribution of one value to the counters.
struct EntrySums {
    stored: u64,
    raw: u64,
    held: u64,
}

impl EntrySums {
    fn of(variants: &Variants) -> Self {
        Self {
            stored: weight(variants),
            raw: variants.entries.iter().map(|entry| entry.body.identity_bytes).sum(),
            held: variants.entries.iter().map(|entry| entry.body.held_bytes() as u64).sum(),
        }
    }
}

/// Returns all bytes of a value.
fn weight(variants: &Variants) -> u64 {
    (variants.bytes() + MAP_ENTRY_BYTES) as u64
}

/// Returns the bytes of one unit of weight. moka's weights are `u32`, so above 4 GiB they are
/// counted in larger units.
fn unit_bytes(capacity: u64) -> u64 {
    1 << 32_u32.saturating_sub(capacity.leading_zeros())
}

/// Returns a weight in units, rounded up. The result fits, because no value is larger than the
/// capacity that the unit was chosen for.
fn in_units(bytes: u64, unit: u64) -> u32 {
    u32::try_from(bytes.div_ceil(unit)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::entry;
    use crate::stored::StoredBody;

    #[test]
    fn weights_fit_whatever_the_capacity() {
        let check = |capacity: u64, unit: u64| {
            assert_eq!(unit_bytes(capacity), unit);
            let largest = in_units(capacity, unit);
            assert!(u64::from(largest) * unit >= capacity && largest < u32::MAX || capacity == u64::from(u32::MAX));
            assert_eq!(in_units(1, unit), 1);
        };
        check(0, 1);
        check(64 << 20, 1);
        check(u64::from(u32::MAX), 1);
        check(4 << 30, 2);
        check(64 << 30, 32);
        check(1 << 40, 512);
    }

    #[test]
    fn one_key_takes_at_most_half_and_its_oldest_variants_go_first() {
        let memory = MemoryMap::new(100_000);
        let with_bodies = |bodies: &[usize]| {
            let one = |bytes: &usize| entry(0, &[]).with_body(StoredBody::identity(vec![0; *bytes].into()));
            Variants { key: "k".into(), entries: bodies.iter().map(|bytes| Arc::new(one(bytes))).collect() }
        };
        let check = |bodies: &[usize], wanted: &[usize]| {
            memory.compute(1, |_| Change::Put(with_bodies(bodies)));
            memory.drain();
            let variants = memory.get(1);
            let entries = variants.iter().flat_map(|variants| &variants.entries);
            assert_eq!(entries.map(|entry| entry.body.held_bytes()).collect::<Vec<_>>(), wanted);
        };
        check(&[60_000], &[]);
        check(&[20_000, 20_000], &[20_000, 20_000]);
        check(&[20_000, 21_000, 22_000], &[20_000, 21_000]);
        check(&[60_000], &[20_000, 21_000]);
        memory.compute(1, |_| Change::Remove);
        assert!(memory.get(1).is_none());
        let counters = memory.counters();
        assert_eq!(
            [&counters.keys, &counters.stored_bytes, &counters.held_bytes].map(|sum| sum.load(Ordering::Relaxed)),
            [0; 3]
        );
    }
}
