//! The state of the sweep: when the next one is due, and how far the current one is.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// How late the sweep may be for an entry past its keep time. One such entry is not worth a walk
/// over a million.
const LATENESS: Duration = Duration::from_secs(10);

/// When a sweep is due, and whether one runs.
pub(super) struct Sweeper {
    /// The earliest keep time of a stored entry, in milliseconds; may be too early, never too late.
    pub(super) due_at: AtomicI64,
    /// Locked by the sweep that runs. Nothing waits for the lock.
    pub(super) running: Mutex<()>,
    pub(super) progress: Progress,
}

/// The sweep's progress, for callers that wait for a purge to be swept.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// The ledger's number up to which every record was swept, or had nothing to free.
    pub(super) through: AtomicU64,
    /// Keys that the current or the last walk has looked at.
    pub(super) keys: AtomicU64,
    /// Entries that the current or the last walk has freed.
    pub(super) freed: AtomicU64,
}

impl Default for Sweeper {
    fn default() -> Self {
        Self { due_at: AtomicI64::new(i64::MAX), running: Mutex::new(()), progress: Progress::default() }
    }
}

impl Sweeper {
    /// Notes that an entry is kept until `time`.
    pub(super) fn expects(&self, time: Timestamp) {
        self.due_at.fetch_min(time.as_millis(), Ordering::Relaxed);
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        now - LATENESS >= Timestamp::from_millis(self.due_at.load(Ordering::Relaxed))
    }
}
