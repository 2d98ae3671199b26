//! What the store has to say of itself, in numbers that are kept up as things happen.

use std::sync::atomic::{AtomicU64, Ordering};

use super::state::Store;

/// What the store has to say of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// The most bytes held.
    pub capacity_bytes: u64,
    /// Bytes alive: stored, being filled, or pinned by readers.
    pub alive_bytes: u64,
    /// Bytes that the map holds, as weighed.
    pub stored_bytes: u64,
    /// Keys in the map.
    pub keys: u64,
    /// Body bytes of what is stored, as the origin sent them.
    pub raw_bytes: u64,
    /// Body bytes of what is stored, as held.
    pub held_bytes: u64,
    /// Entries that left for want of room.
    pub evicted_by_size: u64,
    /// Entries that left past their keep time.
    pub evicted_by_age: u64,
    /// Entries that left because they were purged.
    pub evicted_by_purge: u64,
    /// Entries that were replaced by a newer response.
    pub replaced: u64,
    /// Bodies that were not stored because the budget was spent.
    pub refused: u64,
    /// Lookups whose hash found another's key.
    pub collisions: u64,
    /// Records in the ledger.
    pub ledger_records: u64,
    /// The ledger's number.
    pub ledger_sequence: u64,
    /// The ledger's number up to which a sweep has passed all records.
    pub swept_through: u64,
    /// Keys that the last sweep, or the one under way, has looked at.
    pub swept_keys: u64,
    /// Entries that it has freed.
    pub swept_freed: u64,
}

impl Store {
    /// Returns the store's figures.
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
