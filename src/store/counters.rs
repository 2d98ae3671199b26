//! The counters of the store.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of everything that the map does not count itself.
#[derive(Debug, Default)]
pub(super) struct StoreCounters {
    pub(super) evicted_by_age: AtomicU64,
    pub(super) evicted_by_purge: AtomicU64,
    pub(super) replaced: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) collisions: AtomicU64,
}

pub(super) fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
