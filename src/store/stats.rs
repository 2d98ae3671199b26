//! The stats of the store, read from counters that are updated as things happen.

use std::sync::atomic::{AtomicU64, Ordering};

use super::state::Store;

/// A reading of the store's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// The most bytes of memory in use.
    pub capacity_bytes: u64,
    /// Bytes alive: stored, being fetched, or pinned by readers.
    pub alive_bytes: u64,
    /// Bytes in the map, as weighed.
    pub stored_bytes: u64,
    /// Keys in the map.
    pub keys: u64,
    /// Body bytes of the stored responses, as the origin sent them.
    pub raw_bytes: u64,
    /// Body bytes of the stored responses, as held.
    pub held_bytes: u64,
    /// Entries evicted because the memory was full.
    pub evicted_by_size: u64,
    /// Entries freed past their keep time.
    pub evicted_by_age: u64,
    /// Entries freed because they were purged.
    pub evicted_by_purge: u64,
    /// Entries replaced by a newer response.
    pub replaced: u64,
    /// Bodies rejected because the budget was spent.
    pub refused: u64,
    /// Lookups whose hash found another key's responses.
    pub collisions: u64,
    /// Records in the ledger.
    pub ledger_records: u64,
    /// The ledger's latest number.
    pub ledger_sequence: u64,
    /// The ledger's number up to which a sweep has passed all records.
    pub swept_through: u64,
    /// Keys that the current or the last sweep has looked at.
    pub swept_keys: u64,
    /// Entries that the current or the last sweep has freed.
    pub swept_freed: u64,
}

impl Store {
    /// Returns a reading of all counters.
    pub fn stats(&self) -> StoreStats {
        let counters = self.memory.counters();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreStats {
            capacity_bytes: self.budget.capacity(),
            alive_bytes: self.budget.alive(),
            stored_bytes: read(&counters.stored_bytes),
            keys: read(&counters.keys),
            raw_bytes: read(&counters.raw_bytes),
            held_bytes: read(&counters.held_bytes),
            evicted_by_size: read(&counters.evicted_by_size),
            evicted_by_age: read(&self.counters.evicted_by_age),
            evicted_by_purge: read(&self.counters.evicted_by_purge),
            replaced: read(&self.counters.replaced),
            refused: read(&self.counters.refused),
            collisions: read(&self.counters.collisions),
            ledger_records: self.ledger.len() as u64,
            ledger_sequence: self.ledger.latest(),
            swept_through: self.sweeper.progress.through.load(Ordering::Acquire),
            swept_keys: read(&self.sweeper.progress.keys),
            swept_freed: read(&self.sweeper.progress.freed),
        }
    }
}
