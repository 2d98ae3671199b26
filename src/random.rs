//! Random numbers: secrets, seeds and ids that no client can guess.

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// Returns 64 random bits: the keyed hash of a number that no thread uses twice.
///
/// The standard library's random state holds 128 bits that the operating system chose for this
/// thread; its keyed hash (SipHash) stretches them.
pub(crate) fn bits() -> u64 {
    thread_local! {
        static KEYED: RandomState = RandomState::new();
        static NEXT: Cell<u64> = const { Cell::new(0) };
    }
    let next = NEXT.replace(NEXT.get().wrapping_add(1));
    KEYED.with(|keyed| keyed.hash_one(next))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_numbers_are_equal() {
        let own = (0..1_000).map(|_| bits());
        let other = std::thread::spawn(|| (0..1_000).map(|_| bits()).collect::<Vec<_>>()).join().unwrap();
        assert_eq!(own.chain(other).collect::<HashSet<_>>().len(), 2_000);
    }
}
