//! The state of the personalisation guard: which request fetched a stored body, and whether other
//! users may get it.
//!
//! Plain values. `policy::credentials` reads credentials from a request and decides what the state
//! means for that request; `proxy::sharing` contacts the origin.

use std::num::NonZeroU128;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

/// Fingerprints of a request's credentials, under a secret of this process. No cookie is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// The fingerprint of the cookies, without ignored ones; `None` where no other cookie is left.
    pub cookie: Option<NonZeroU128>,
    /// The fingerprint of Authorization; `None` where the request has none.
    pub authorization: Option<NonZeroU128>,
}

impl Credentials {
    /// The credentials of a request without any.
    pub const NONE: Self = Self { cookie: None, authorization: None };

    /// Returns whether the request has no credentials.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Returns the fields in which two requests' credentials differ.
    pub fn differing(self, other: Self) -> DifferingCredentials {
        DifferingCredentials {
            cookie: self.cookie != other.cookie,
            authorization: self.authorization != other.authorization,
        }
    }
}

/// The fields in which two requests' credentials differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DifferingCredentials {
    /// True if Cookie differs.
    pub cookie: bool,
    /// True if Authorization differs.
    pub authorization: bool,
}

/// The most values of one request's credentials that are distinguished.
const VALUES_MAX: usize = 64;

/// Stands for all values beyond [`VALUES_MAX`]. No other request counts as carrying them.
const BEYOND: u64 = 0;

/// Fingerprints of the single values in a request's credentials, under the same secret: of each
/// cookie with its value, and of each Authorization.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialValues(SmallVec<[u64; 4]>);

impl CredentialValues {
    fn has(&self, value: u64) -> bool {
        value != BEYOND && self.0.contains(&value)
    }
}

impl FromIterator<u64> for CredentialValues {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut values = values.into_iter();
        let mut all: SmallVec<[u64; 4]> = values.by_ref().take(VALUES_MAX).collect();
        all.extend(values.next().map(|_beyond| BEYOND));
        Self(all)
    }
}

/// The guard of a stored body that nothing declared as shared. The guard stays with the body
/// through updates of the head and other codings.
#[derive(Debug)]
pub struct SharingGuard {
    /// The credentials of the request that fetched the body.
    leader: Credentials,
    /// The fingerprint of the body as the origin sent it.
    body: u128,
    /// The values that the body may depend on: those of the leader's values that every other
    /// request with the same response carried too. A user whose other cookies change is no other
    /// user.
    suspects: Mutex<CredentialValues>,
    /// True if a request with other credentials got the same response. Until then, the body is on
    /// probation for such requests.
    is_compared: AtomicBool,
    /// True if no value is suspected any more.
    is_shared: AtomicBool,
    /// Uses by requests that may carry other credentials.
    uses: AtomicU32,
}

impl SharingGuard {
    /// Makes the guard of a body on probation; `values` are the values in the leader's credentials.
    pub fn new(leader: Credentials, values: CredentialValues, body: u128) -> Self {
        Self {
            leader,
            body,
            suspects: Mutex::new(values),
            is_compared: AtomicBool::new(false),
            is_shared: AtomicBool::new(false),
            uses: AtomicU32::new(0),
        }
    }

    /// Returns the bytes of the guard, which do not change with the number of suspected values.
    pub fn bytes(&self) -> usize {
        let suspects = self.suspects.lock();
        let apart = if suspects.0.spilled() { suspects.0.capacity() * size_of::<u64>() } else { 0 };
        size_of::<Self>() + apart
    }

    /// Returns the credentials of the request that fetched the body.
    pub fn leader(&self) -> Credentials {
        self.leader
    }

    /// Returns the fingerprint of the body as the origin sent it.
    pub fn body(&self) -> u128 {
        self.body
    }

    /// Returns whether the body is known to be the same for all users.
    pub fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Acquire)
    }

    /// Returns whether the body is known to be right for a request with these values: one that
    /// carries every suspected value.
    pub fn is_shared_with(&self, values: impl FnOnce() -> CredentialValues) -> bool {
        self.is_compared.load(Ordering::Acquire) && {
            let values = values();
            self.suspects.lock().0.iter().all(|suspect| values.has(*suspect))
        }
    }

    /// Shares the body with requests like one that got the same response. The body then depends on
    /// no value that this request lacks. The next comparison is due after a number of uses.
    pub fn share(&self, values: &CredentialValues) {
        let mut suspects = self.suspects.lock();
        suspects.0.retain(|suspect| *suspect == BEYOND || values.has(*suspect));
        self.uses.store(1, Ordering::Relaxed);
        self.is_compared.store(true, Ordering::Release);
        self.is_shared.store(suspects.0.is_empty(), Ordering::Release);
    }

    /// Puts the body on probation again.
    pub fn put_on_probation(&self) {
        let _suspects = self.suspects.lock();
        self.is_compared.store(false, Ordering::Release);
        self.is_shared.store(false, Ordering::Release);
    }

    /// Counts a use, and returns whether it is the one in `every` that is checked. The first use
    /// is.
    pub fn is_due(&self, every: u32) -> bool {
        self.uses.fetch_add(1, Ordering::Relaxed).is_multiple_of(every.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_use_is_checked_and_then_one_in_every() {
        let guard = SharingGuard::new(Credentials::NONE, CredentialValues::default(), 7);
        let due = |uses: std::ops::RangeInclusive<u32>| uses.filter(|_| guard.is_due(3)).collect::<Vec<_>>();
        assert_eq!(due(1..=8), [1, 4, 7]);
        guard.share(&CredentialValues::default());
        assert_eq!(due(1..=8), [3, 6], "it was just seen");
        assert!(guard.is_due(1) && guard.is_due(0), "each one");
    }

    #[test]
    fn a_body_is_on_probation_until_it_is_shared() {
        let guard = SharingGuard::new(Credentials::NONE, CredentialValues::default(), 7);
        assert!(!guard.is_shared() && !guard.is_shared_with(CredentialValues::default));
        guard.share(&CredentialValues::default());
        assert!(guard.is_shared() && guard.is_shared_with(CredentialValues::default));
        guard.put_on_probation();
        assert!(!guard.is_shared() && !guard.is_shared_with(CredentialValues::default));
    }

    #[test]
    fn values_that_all_requests_with_the_same_body_carried_stay_suspected() {
        let values = |values: &[u64]| values.iter().copied().collect::<CredentialValues>();
        let guard = SharingGuard::new(Credentials::NONE, values(&[1, 2, 3]), 7);
        let with = |own: &[u64]| guard.is_shared_with(|| values(own));
        assert!(!with(&[1, 2, 3]), "nobody was compared");
        guard.share(&values(&[1, 2, 9]));
        assert!(with(&[1, 2]) && with(&[8, 2, 1]) && !with(&[1, 3]) && !with(&[]) && !guard.is_shared());
        guard.share(&values(&[2]));
        assert!(with(&[2]) && !with(&[1]) && !guard.is_shared());
        guard.share(&values(&[1]));
        assert!(with(&[]) && guard.is_shared());
    }

    #[test]
    fn more_values_than_can_be_told_apart_are_never_shared() {
        let many: CredentialValues = (1..=VALUES_MAX as u64 + 1).collect();
        let guard = SharingGuard::new(Credentials::NONE, many.clone(), 7);
        let bytes = guard.bytes();
        assert!(bytes > size_of::<SharingGuard>() + 8 * VALUES_MAX);
        guard.share(&CredentialValues::default());
        assert_eq!(guard.bytes(), bytes);
        assert!(!guard.is_shared() && !guard.is_shared_with(|| many));
    }

    #[test]
    fn differing_credentials_are_named_by_field() {
        let with = |cookie, authorization| Credentials {
            cookie: NonZeroU128::new(cookie),
            authorization: NonZeroU128::new(authorization),
        };
        let differing = |cookie, authorization| DifferingCredentials { cookie, authorization };
        assert_eq!(with(1, 0).differing(with(1, 0)), differing(false, false));
        assert_eq!(with(1, 0).differing(Credentials::NONE), differing(true, false));
        assert_eq!(with(1, 2).differing(with(3, 4)), differing(true, true));
        assert!(Credentials::NONE.is_none() && !with(0, 1).is_none());
    }
}
