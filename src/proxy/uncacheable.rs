//! Small memories of the way: keys whose responses could not be stored, sizes learned from ranges, keys whose responses
//! differ from user to user.
//!
//! A fixed table, each slot holding the last key that hashed to it: bounded without bookkeeping. A memory that is lost
//! costs a wait, a passed range or one more comparison, never a wrong answer.

use parking_lot::Mutex;

use super::Worker;
use super::context::RequestContext;
use crate::clock::Timestamp;
use crate::outcome::Reason;

/// Slots of the table: 8,192 keys in 384 KiB.
const SLOTS: usize = 8192;

/// Slots behind one lock.
const STRIPE: usize = 64;

/// What is remembered of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreAttempt {
    /// Its last response could not be stored.
    NotStoredOnce,
    /// Nor could the one before it: requests for it do not wait for one another. The last one was not for this reason.
    NotStored(Reason),
    /// The whole representation has this many bytes.
    Size(u64),
}

#[derive(Clone, Copy)]
struct KeySlot<N> {
    hash: u128,
    until: Timestamp,
    value: N,
}

/// The slots behind one lock.
type KeyStripe<N> = [Option<KeySlot<N>>; STRIPE];

/// The table; what is remembered of a key is an `N`.
pub(super) struct KeyMemory<N> {
    /// Each lock guards its stripe of slots; nothing awaits under it.
    stripes: Box<[Mutex<KeyStripe<N>>]>,
}

/// The keys whose responses could not be stored.
pub(super) type UncacheableKeys = KeyMemory<StoreAttempt>;

impl<N: Copy> KeyMemory<N> {
    /// Makes an empty table.
    pub(super) fn new() -> Self {
        Self { stripes: (0..SLOTS / STRIPE).map(|_| Mutex::new([None; STRIPE])).collect() }
    }

    /// Returns what is remembered of the key with this hash.
    pub(super) fn get(&self, hash: u128, now: Timestamp) -> Option<N> {
        let (stripe, slot) = place(hash);
        let stored = self.stripes[stripe].lock()[slot]?;
        (stored.hash == hash && now < stored.until).then_some(stored.value)
    }

    /// Remembers `attempt` until then.
    pub(super) fn put(&self, hash: u128, attempt: N, until: Timestamp) {
        let (stripe, slot) = place(hash);
        self.stripes[stripe].lock()[slot] = Some(KeySlot { hash, until, value: attempt });
    }

    /// Forgets what is remembered of the key.
    pub(super) fn forget(&self, hash: u128) {
        let (stripe, slot) = place(hash);
        let mut stored = self.stripes[stripe].lock();
        if stored[slot].is_some_and(|stored| stored.hash == hash) {
            stored[slot] = None;
        }
    }
}

fn place(hash: u128) -> (usize, usize) {
    let slot = hash as usize % SLOTS;
    (slot / STRIPE, slot % STRIPE)
}

/// Tells whether the one request kept its response from the store: what a client asks for itself must not change what others
/// get.
pub(super) fn is_request_specific(reason: Reason) -> bool {
    matches!(reason, Reason::RequestNoStore | Reason::Authorization)
}

/// Remembers keys whose responses cannot be stored, from the second time in a row: then their requests stop waiting for
/// one another. Reasons that lie in the one request say nothing about the key.
pub(super) fn record_not_stored(worker: &Worker, ctx: &RequestContext, reason: Reason) {
    if is_request_specific(reason) || matches!(reason, Reason::Budget | Reason::StatusNotUnderstood) {
        return;
    }
    let hash = ctx.key.hash();
    let attempt = match worker.shared.uncacheable.get(hash, ctx.at) {
        Some(StoreAttempt::NotStoredOnce | StoreAttempt::NotStored(_)) => StoreAttempt::NotStored(reason),
        Some(StoreAttempt::Size(_)) | None => StoreAttempt::NotStoredOnce,
    };
    worker.shared.uncacheable.put(hash, attempt, ctx.at + worker.shared.config.hit_for_miss);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_last_until_then_and_no_longer() {
        let keys = KeyMemory::new();
        let at = Timestamp::from_secs;
        keys.put(7, StoreAttempt::NotStored(Reason::NoStore), at(10));
        assert_eq!(keys.get(7, at(9)), Some(StoreAttempt::NotStored(Reason::NoStore)));
        assert_eq!(keys.get(7, at(10)), None);
        assert_eq!(keys.get(7 + SLOTS as u128, at(9)), None, "the same slot, another key");
        keys.put(7 + SLOTS as u128, StoreAttempt::Size(3), at(10));
        assert_eq!(keys.get(7, at(9)), None);
        keys.forget(7);
        assert_eq!(keys.get(7 + SLOTS as u128, at(9)), Some(StoreAttempt::Size(3)));
        keys.forget(7 + SLOTS as u128);
        assert_eq!(keys.get(7 + SLOTS as u128, at(9)), None);
    }
}
