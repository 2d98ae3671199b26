//! Who brought a stored body in, and whether others may have it: the state of the personalisation guard.
//!
//! Plain values. How credentials are read from a request, and what the state means for one, is decided in
//! `policy::credentials`; the origin is asked by `proxy::probation`.

use std::num::NonZeroU128;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Fingerprints of the credentials that a request carries, under a secret of this process: no cookie is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials {
    /// Of its cookies, those that do not count left out; `None` where none is left.
    pub cookie: Option<NonZeroU128>,
    /// Of its Authorization; `None` where it has none.
    pub authorization: Option<NonZeroU128>,
}

impl Credentials {
    /// Those of a request without any.
    pub const NONE: Self = Self { cookie: None, authorization: None };

    /// Tells whether there are none.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// Says in which of the fields two requests differ.
    pub fn differing(self, other: Self) -> Differing {
        Differing { cookie: self.cookie != other.cookie, authorization: self.authorization != other.authorization }
    }
}

/// The fields in which two requests' credentials differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differing {
    /// Cookie.
    pub cookie: bool,
    /// Authorization.
    pub authorization: bool,
}

/// What is known of a stored body that nobody said was for all. It goes along with the body: through updates of the head,
/// other codings, and twins for other request fields.
#[derive(Debug)]
pub struct Guard {
    /// The credentials of the request that brought the body in.
    leader: Credentials,
    /// The fingerprint of the body as the origin sent it.
    body: u128,
    /// Whether a request with other credentials was seen to get the same. Else the body is on probation for such requests.
    is_shared: AtomicBool,
    /// Uses by requests that may carry other credentials.
    uses: AtomicU32,
}

impl Guard {
    /// Makes the guard of a body that is on probation.
    pub fn new(leader: Credentials, body: u128) -> Self {
        Self { leader, body, is_shared: AtomicBool::new(false), uses: AtomicU32::new(0) }
    }

    /// Returns the credentials of the request that brought the body in.
    pub fn leader(&self) -> Credentials {
        self.leader
    }

    /// Returns the fingerprint of the body as the origin sent it.
    pub fn body(&self) -> u128 {
        self.body
    }

    /// Tells whether the body is for all, as far as is known.
    pub fn is_shared(&self) -> bool {
        self.is_shared.load(Ordering::Acquire)
    }

    /// Shares the body with all: a request was seen to get the same, and the next is checked in a while.
    pub fn share(&self) {
        self.uses.store(1, Ordering::Relaxed);
        self.is_shared.store(true, Ordering::Release);
    }

    /// Puts the body on probation again.
    pub fn doubt(&self) {
        self.is_shared.store(false, Ordering::Release);
    }

    /// Counts a use, and tells whether it is the one in `every` that is checked. The first is.
    pub fn is_due(&self, every: u32) -> bool {
        self.uses.fetch_add(1, Ordering::Relaxed).is_multiple_of(every.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_use_is_checked_and_then_one_in_so_many() {
        let guard = Guard::new(Credentials::NONE, 7);
        let due = |uses: std::ops::RangeInclusive<u32>| uses.filter(|_| guard.is_due(3)).collect::<Vec<_>>();
        assert_eq!(due(1..=8), [1, 4, 7]);
        guard.share();
        assert_eq!(due(1..=8), [3, 6], "it was just seen");
        assert!(guard.is_due(1) && guard.is_due(0), "each one");
    }

    #[test]
    fn a_body_is_on_probation_until_it_is_shared() {
        let guard = Guard::new(Credentials::NONE, 7);
        assert!(!guard.is_shared());
        guard.share();
        assert!(guard.is_shared());
        guard.doubt();
        assert!(!guard.is_shared());
    }

    #[test]
    fn what_differs_is_named_field_by_field() {
        let with = |cookie, authorization| Credentials {
            cookie: NonZeroU128::new(cookie),
            authorization: NonZeroU128::new(authorization),
        };
        let differing = |cookie, authorization| Differing { cookie, authorization };
        assert_eq!(with(1, 0).differing(with(1, 0)), differing(false, false));
        assert_eq!(with(1, 0).differing(Credentials::NONE), differing(true, false));
        assert_eq!(with(1, 2).differing(with(3, 4)), differing(true, true));
        assert!(Credentials::NONE.is_none() && !with(0, 1).is_none());
    }
}
