//! A bounded memory of facts about keys: a fixed table, each slot holding the last key that hashed
//! to it.
//!
//! No bookkeeping is needed to bound it. A fact that is lost costs a wait, a passed range or one
//! more comparison, never a wrong answer.

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// Slots of the table: 8,192 keys in 384 KiB.
const SLOTS: usize = 8192;

/// Slots behind one lock.
const STRIPE: usize = 64;

#[derive(Clone, Copy)]
struct KeySlot<N> {
    hash: u128,
    until: Timestamp,
    value: N,
}

/// The slots behind one lock.
type KeyStripe<N> = [Option<KeySlot<N>>; STRIPE];

/// The table; an `N` is remembered of a key.
pub(crate) struct KeyMemory<N> {
    /// Each lock guards its stripe of slots; nothing awaits under it.
    stripes: Box<[Mutex<KeyStripe<N>>]>,
}

impl<N: Copy> KeyMemory<N> {
    /// Makes an empty table.
    pub(crate) fn new() -> Self {
        Self { stripes: (0..SLOTS / STRIPE).map(|_| Mutex::new([None; STRIPE])).collect() }
    }

    /// Returns the value remembered of the key with this hash.
    pub(crate) fn get(&self, hash: u128, now: Timestamp) -> Option<N> {
        let (stripe, slot) = place(hash);
        let stored = self.stripes[stripe].lock()[slot]?;
        (stored.hash == hash && now < stored.until).then_some(stored.value)
    }

    /// Remembers `value` of the key until `until`.
    pub(crate) fn put(&self, hash: u128, value: N, until: Timestamp) {
        let (stripe, slot) = place(hash);
        self.stripes[stripe].lock()[slot] = Some(KeySlot { hash, until, value });
    }

    /// Forgets the key with this hash.
    pub(crate) fn forget(&self, hash: u128) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_lasts_until_its_time_and_no_longer() {
        let keys = KeyMemory::new();
        let at = Timestamp::from_secs;
        keys.put(7, 'a', at(10));
        assert_eq!(keys.get(7, at(9)), Some('a'));
        assert_eq!(keys.get(7, at(10)), None);
        assert_eq!(keys.get(7 + SLOTS as u128, at(9)), None, "the same slot, another key");
        keys.put(7 + SLOTS as u128, 'b', at(10));
        assert_eq!(keys.get(7, at(9)), None);
        keys.forget(7);
        assert_eq!(keys.get(7 + SLOTS as u128, at(9)), Some('b'));
        keys.forget(7 + SLOTS as u128);
        assert_eq!(keys.get(7 + SLOTS as u128, at(9)), None);
    }
}
