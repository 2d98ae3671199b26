//! Keys whose responses cannot be stored ("hit-for-miss"), and sizes learned from ranges.

use std::time::Duration;

use super::key_memory::KeyMemory;
use crate::clock::Timestamp;
use crate::outcome::Reason;

/// Remembers keys whose responses could not be stored.
pub(crate) type UncacheableKeys = KeyMemory<StoreAttempt>;

/// The memory of one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreAttempt {
    /// The key's last response could not be stored.
    NotStoredOnce,
    /// The last two responses or more could not be stored, the last one for this reason: requests
    /// for the key do not wait for one another.
    NotStored(Reason),
    /// The whole representation has this many bytes.
    Size(u64),
}

/// Tells whether the one request kept its response from the store: a request's own directives must
/// not change what others get.
pub(crate) fn is_request_specific(reason: Reason) -> bool {
    matches!(reason, Reason::RequestNoStore | Reason::Authorization)
}

impl UncacheableKeys {
    /// Records that a response for the key with this hash was not stored, and remembers that until
    /// `at + keep_for`. From the second time in a row, requests for the key no longer wait for one
    /// another. Reasons that lie in the one request say nothing about the key.
    pub(crate) fn record_not_stored(&self, hash: u128, at: Timestamp, keep_for: Duration, reason: Reason) {
        if is_request_specific(reason) || matches!(reason, Reason::Budget | Reason::StatusNotUnderstood) {
            return;
        }
        let attempt = match self.get(hash, at) {
            Some(StoreAttempt::NotStoredOnce | StoreAttempt::NotStored(_)) => StoreAttempt::NotStored(reason),
            Some(StoreAttempt::Size(_)) | None => StoreAttempt::NotStoredOnce,
        };
        self.put(hash, attempt, at + keep_for);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_failure_in_a_row_marks_the_key() {
        let keys = UncacheableKeys::new();
        let (at, keep_for) = (Timestamp::from_secs(1), Duration::from_secs(9));
        keys.put(7, StoreAttempt::Size(3), Timestamp::from_secs(9));
        for (reason, expected) in [
            (Reason::RequestNoStore, StoreAttempt::Size(3)),
            (Reason::NoStore, StoreAttempt::NotStoredOnce),
            (Reason::Budget, StoreAttempt::NotStoredOnce),
            (Reason::Private, StoreAttempt::NotStored(Reason::Private)),
            (Reason::NoStore, StoreAttempt::NotStored(Reason::NoStore)),
        ] {
            keys.record_not_stored(7, at, keep_for, reason);
            assert_eq!(keys.get(7, at), Some(expected), "{reason}");
        }
        assert_eq!(keys.get(7, Timestamp::from_secs(10)), None);
    }
}
