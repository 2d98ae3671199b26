//! Small memories of the way: keys whose responses could not be stored, sizes learned from ranges, keys whose responses
//! differ from user to user.
//!
//! A fixed table, each slot holding the last key that hashed to it: bounded without bookkeeping. A memory that is lost
//! costs a wait, a passed range or one more comparison, never a wrong answer.

use parking_lot::Mutex;

use super::Way;
use super::asked::Asked;
use crate::clock::Timestamp;
use crate::outcome::Reason;

/// Slots of the table: 8,192 keys in 384 KiB.
const SLOTS: usize = 8192;

/// Slots behind one lock.
const STRIPE: usize = 64;

/// What is remembered of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// Its last response could not be stored.
    OnceNotStored,
    /// Nor could the one before it: requests for it do not wait for one another. The last one was not for this reason.
    NotStored(Reason),
    /// The whole representation has this many bytes.
    Size(u64),
}

#[derive(Clone, Copy)]
struct Slot<N> {
    hash: u128,
    until: Timestamp,
    note: N,
}

/// The slots behind one lock.
type Stripe<N> = [Option<Slot<N>>; STRIPE];

/// The table; what is remembered of a key is an `N`.
pub(super) struct Memories<N> {
    /// Each lock guards its stripe of slots; nothing awaits under it.
    stripes: Box<[Mutex<Stripe<N>>]>,
}

impl<N: Copy> Memories<N> {
    /// Makes an empty table.
    pub(super) fn new() -> Self {
        Self { stripes: (0..SLOTS / STRIPE).map(|_| Mutex::new([None; STRIPE])).collect() }
    }

    /// Returns what is remembered of the key with this hash.
    pub(super) fn get(&self, hash: u128, now: Timestamp) -> Option<N> {
        let (stripe, slot) = place(hash);
        let held = self.stripes[stripe].lock()[slot]?;
        (held.hash == hash && now < held.until).then_some(held.note)
    }

    /// Remembers `note` until then.
    pub(super) fn put(&self, hash: u128, note: N, until: Timestamp) {
        let (stripe, slot) = place(hash);
        self.stripes[stripe].lock()[slot] = Some(Slot { hash, until, note });
    }

    /// Forgets what is remembered of the key.
    pub(super) fn forget(&self, hash: u128) {
        let (stripe, slot) = place(hash);
        let mut held = self.stripes[stripe].lock();
        if held[slot].is_some_and(|held| held.hash == hash) {
            held[slot] = None;
        }
    }
}

fn place(hash: u128) -> (usize, usize) {
    let slot = hash as usize % SLOTS;
    (slot / STRIPE, slot % STRIPE)
}

/// Tells whether the one request kept its response from the store: what a client asks for itself must not change what others
/// get.
pub(super) fn lies_in_request(reason: Reason) -> bool {
    matches!(reason, Reason::RequestNoStore | Reason::Authorization)
}

/// Remembers keys whose responses cannot be stored, from the second time in a row: then their requests stop waiting for
/// one another. Reasons that lie in the one request say nothing about the key.
pub(super) fn not_stored(way: &Way, asked: &Asked, reason: Reason) {
    if lies_in_request(reason) || matches!(reason, Reason::Budget | Reason::StatusNotUnderstood) {
        return;
    }
    let hash = asked.key.hash();
    let note = match way.shared.memories.get(hash, asked.at) {
        Some(Note::OnceNotStored | Note::NotStored(_)) => Note::NotStored(reason),
        Some(Note::Size(_)) | None => Note::OnceNotStored,
    };
    way.shared.memories.put(hash, note, asked.at + way.shared.config.hit_for_miss);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_last_until_then_and_no_longer() {
        let memories = Memories::new();
        let at = Timestamp::from_secs;
        memories.put(7, Note::NotStored(Reason::NoStore), at(10));
        assert_eq!(memories.get(7, at(9)), Some(Note::NotStored(Reason::NoStore)));
        assert_eq!(memories.get(7, at(10)), None);
        assert_eq!(memories.get(7 + SLOTS as u128, at(9)), None, "the same slot, another key");
        memories.put(7 + SLOTS as u128, Note::Size(3), at(10));
        assert_eq!(memories.get(7, at(9)), None);
        memories.forget(7);
        assert_eq!(memories.get(7 + SLOTS as u128, at(9)), Some(Note::Size(3)));
        memories.forget(7 + SLOTS as u128);
        assert_eq!(memories.get(7 + SLOTS as u128, at(9)), None);
    }
}
