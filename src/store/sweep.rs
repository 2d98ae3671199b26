//! The sweep: frees entries that were purged or have outlived their use, and retires purge records.
//!
//! Correctness does not depend on the sweep: a purged entry is never good again, swept or not. An
//! entry that is invalid but may still be confirmed by the origin stays and is marked, so that the
//! record can be retired.

use std::sync::atomic::Ordering;
use std::thread;

use smallvec::SmallVec;

use super::counters::count;
use super::ledger;
use super::memory::{Change, WalkItem};
use super::state::Store;
use crate::clock::Timestamp;
use crate::policy::PurgeState;
use crate::stored::{StoredEntry, Variants};

/// Keys between two yields of the thread: about 300 ns each, so a slice stays well under a
/// millisecond.
const SLICE_KEYS: usize = 512;

/// The most emptied keys that a walk remembers. Beyond that, a second walk finds them.
pub(super) const EMPTIED_MAX: usize = 4096;

/// Counts the keys of a walk, and yields the thread after each slice.
#[derive(Default)]
struct SweepSlices(usize);

impl SweepSlices {
    fn next(&mut self) {
        self.0 += 1;
        if self.0.is_multiple_of(SLICE_KEYS) {
            thread::yield_now();
        }
    }
}

/// The sweep's decision about one entry.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SweepAction {
    Keep,
    DropPurged,
    DropTooOld,
}

/// The decisions about all variants of a key.
type SweepActions = SmallVec<[SweepAction; 4]>;

impl Store {
    /// Frees entries that were purged or are past their keep time, and retires records that a whole
    /// sweep has passed.
    ///
    /// Runs in slices of at most a millisecond. Call it on a timer, off the cores' loops. Returns
    /// at once when there is nothing to do, or when another sweep runs.
    pub fn sweep(&self) {
        let Some(_running) = self.sweeper.running.try_lock() else { return };
        let now = self.clock.now();
        self.ledger.retire(now);
        let progress = &self.sweeper.progress;
        // Read before the walk: a record made later is left to the next sweep.
        let mut through = self.ledger.latest();
        if self.ledger.wants_sweep(now) || self.sweeper.is_due(now) {
            through = self.ledger.begin_sweep(now);
            self.sweeper.due_at.store(i64::MAX, Ordering::Relaxed);
            progress.keys.store(0, Ordering::Relaxed);
            progress.freed.store(0, Ordering::Relaxed);
            let (mut slices, mut emptied) = (SweepSlices::default(), Vec::new());
            for item in self.memory.iter() {
                if self.sweep_key(&item, now) && emptied.len() <= EMPTIED_MAX {
                    emptied.push(item.hash);
                }
                count(&progress.keys, 1);
                slices.next();
            }
            self.ledger.end_sweep(through);
            // The entries' bytes are free now. The emptied slots that held them are removed next.
            progress.through.store(through, Ordering::Release);
            let take_out = |hash| {
                self.memory.take_out(hash);
                slices.next();
            };
            if emptied.len() <= EMPTIED_MAX {
                emptied.into_iter().for_each(take_out);
            } else {
                self.memory.empty_slots().for_each(take_out);
            }
        }
        progress.through.store(through, Ordering::Release);
        // An idle cache drains nothing by itself, and moka defers its work.
        self.memory.drain();
    }

    /// Frees the entries of a key that have to go; returns whether all of them went and the key's
    /// slot is now empty.
    fn sweep_key(&self, item: &WalkItem, now: Timestamp) -> bool {
        let actions = self.actions(&item.variants, now);
        let kept_count = |actions: &SweepActions| actions.iter().filter(|action| **action == SweepAction::Keep).count();
        if kept_count(&actions) == actions.len() {
            return false;
        }
        if kept_count(&actions) == 0 && self.memory.empty(item) {
            actions.iter().for_each(|action| self.count_freed(*action));
            return true;
        }
        self.memory.compute(item.hash, |variants| {
            let Some(variants) = variants else { return Change::Keep };
            let actions = self.actions(variants, now);
            actions.iter().for_each(|action| self.count_freed(*action));
            match kept_count(&actions) {
                0 => Change::Remove,
                all if all == actions.len() => Change::Keep,
                _ => {
                    let mut remaining = Variants::clone(variants);
                    let mut actions = actions.iter();
                    remaining.entries.retain(|_| actions.next() == Some(&SweepAction::Keep));
                    Change::Put(remaining)
                }
            }
        });
        false
    }

    /// Judges every entry. All of them, because judging also marks.
    fn actions(&self, variants: &Variants, now: Timestamp) -> SweepActions {
        variants.entries.iter().map(|entry| self.action(&variants.key, entry, now)).collect()
    }

    /// Counts an entry that was freed.
    fn count_freed(&self, action: SweepAction) {
        match action {
            SweepAction::Keep => return,
            SweepAction::DropPurged => count(&self.counters.evicted_by_purge, 1),
            SweepAction::DropTooOld => count(&self.counters.evicted_by_age, 1),
        }
        count(&self.sweeper.progress.freed, 1);
    }

    fn action(&self, key: &str, entry: &StoredEntry, now: Timestamp) -> SweepAction {
        let url = key.split('\n').next().unwrap_or_default();
        let purge_state = self.ledger.purge_state(url, entry, now);
        ledger::mark(entry, purge_state);
        let kept_until = self.kept_until(entry);
        match purge_state {
            PurgeState::Purged => SweepAction::DropPurged,
            PurgeState::Invalid if !entry.facts.has_validator => SweepAction::DropPurged,
            _ if now >= kept_until => SweepAction::DropTooOld,
            PurgeState::Good | PurgeState::Soft | PurgeState::Invalid => {
                self.sweeper.expects(kept_until);
                SweepAction::Keep
            }
        }
    }
}
