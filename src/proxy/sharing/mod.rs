//! May a body that another user's request brought in be shared?
//!
//! `probation` answers that for a request from what is known. Where it is not known, `compare` asks
//! the origin once for each body (`cross_user_check`), and `memory` keeps what was found.
//! `stored_cookies` counts responses that are stored together with a cookie that they set.

pub(super) mod compare;
pub(super) mod cross_user_check;
pub(super) mod memory;
pub(super) mod probation;
pub(super) mod stored_cookies;
