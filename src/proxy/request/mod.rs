//! The request: as it is read, and as it goes on to the origin.

pub(super) mod client;
pub(super) mod context;
pub(super) mod forward;
pub(crate) mod upload;
