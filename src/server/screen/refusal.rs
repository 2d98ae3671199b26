//! Why bytes are refused, and what the client is told.

use http::StatusCode;

use crate::outcome::Reason;

/// The reason why bytes are not passed on, and what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ScreenRefusal {
    /// The status of the response.
    pub(crate) status: StatusCode,
    /// The reason from the closed list.
    pub(crate) reason: Reason,
    /// The fault, as a sentence without its full stop.
    pub(crate) why: &'static str,
}

impl ScreenRefusal {
    /// Refuses bytes that can be read in two ways, or in none.
    pub(super) const fn bad(why: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: Reason::BadRequest, why }
    }

    /// Refuses bytes that cannot be read, with a status other than 400.
    pub(super) const fn with(status: StatusCode, why: &'static str) -> Self {
        Self { status, reason: Reason::BadRequest, why }
    }

    /// Refuses what exceeds a limit.
    pub(super) const fn large(status: StatusCode, why: &'static str) -> Self {
        Self { status, reason: Reason::HeadTooLarge, why }
    }
}
