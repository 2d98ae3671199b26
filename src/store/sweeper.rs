//! When a sweep is due, and how far it is.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// How long past its keep time an entry may wait for the sweep. A walk over a million entries is not worth the first one.
const LATENESS: Duration = Duration::from_secs(10);

/// When and whether a sweep is due.
pub(super) struct Sweeper {
    /// The earliest end of a keep time of what is stored, in milliseconds; may be too early, never too late.
    pub(super) due_at: AtomicI64,
    /// Held by the one sweep that runs. Nothing waits for it.
    pub(super) running: Mutex<()>,
    pub(super) progress: Progress,
}

/// How far the sweep has come, for whoever waits for a purge.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The ledger's number up to which every record was swept, or has nothing to free.
    pub(super) through: AtomicU64,
    /// Keys that the last walk, or the one under way, has looked at.
    pub(super) keys: AtomicU64,
    /// Entries that it has freed.
    pub(super) freed: AtomicU64,
}

impl Default for Sweeper {
    fn default() -> Self {
        Self { due_at: AtomicI64::new(i64::MAX), running: Mutex::new(()), progress: Progress::default() }
    }
}

impl Sweeper {
    /// Learns that something is kept until `time`.
    pub(super) fn expects(&self, time: Timestamp) {
        self.due_at.fetch_min(time.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now - LATENESS >= Timestamp::from_millis(self.due_at.load(Ordering::Relaxed))
    }
}
