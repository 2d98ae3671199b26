//! Hashing for maps whose keys are keyed hashes already.

use std::hash::{BuildHasherDefault, Hasher};

/// Builds [`PassThroughHasher`]s.
pub type PassThroughHash = BuildHasherDefault<PassThroughHasher>;

/// Passes hashes through. Several numbers are combined, since moka hashes a key together with a
/// type's id, which is uniform too.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassThroughHasher(u64);

impl Hasher for PassThroughHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 ^= hash as u64;
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = self.0.rotate_left(32) ^ hash;
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn the_hash_of_a_hash_is_its_low_half() {
        let build = PassThroughHash::default();
        assert_eq!((build.hash_one(5_u64), build.hash_one(7_u128 << 64 | 5)), (5, 5));
        // moka hashes a key together with a type's id when it changes an entry.
        assert_ne!(build.hash_one((5_u128, 1_u64)), build.hash_one((5_u128, 2_u64)));
        assert_ne!(build.hash_one("a"), build.hash_one("b"));
    }
}
