//! Why bytes are refused, and what the client is told.

use http::StatusCode;

use crate::outcome::Reason;

/// Why bytes are not passed on, and what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScreenRefusal {
    /// The status.
    pub(crate) status: StatusCode,
    /// The reason from the closed list.
    pub(crate) reason: Reason,
    /// What exactly is wrong, as a sentence without its full stop.
    pub(crate) why: &'static str,
}

impl ScreenRefusal {
    /// Refuses what can be read in two ways, or in none.
    pub(super) const fn bad(why: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: Reason::BadRequest, why }
    }

    /// Refuses with another status what cannot be read.
    pub(super) const fn with(status: StatusCode, why: &'static str) -> Self {
        Self { status, reason: Reason::BadRequest, why }
    }

    /// Refuses what is too large.
    pub(super) const fn large(status: StatusCode, why: &'static str) -> Self {
        Self { status, reason: Reason::HeadTooLarge, why }
    }
}
