//! The caching decisions of RFC 9111, as pure functions: they take values and the time, and return
//! enums.
//!
//! In the order of a request's path:
//! - [`request`] reads the request's head and says whether to look it up, pass it or refuse it.
//! - [`fields`] removes the fields that do not go on to the origin, and those that are not stored.
//! - [`reuse`] decides whether a stored response may answer.
//! - [`validate`] makes the request conditional and applies the origin's 304.
//! - [`storable`] judges a response.
//! - [`invalidate`] names the URLs and groups that an unsafe request makes invalid.
//! - [`credentials`] decides whether one user may get a body that was fetched for another.
//!
//! The decisions are made of [`cache_control`], [`freshness`], [`vary`] and [`tags`], and of the
//! grammar in [`crate::syntax`]. Deliberately absent: I/O, locks, logging, reading a clock, errors.
//! Malformed input has a defined answer.

pub mod cache_control;
pub(crate) mod credentials;
pub mod fields;
pub mod freshness;
pub(crate) mod invalidate;
pub mod request;
pub mod reuse;
pub mod storable;
pub mod tags;
#[cfg(test)]
mod testing;
pub(crate) mod validate;
pub mod vary;

pub use credentials::Admission;
pub use request::{Intent, RequestFacts};
pub use reuse::{OriginFailure, PurgeState, Reuse};
pub use storable::{Exchange, Storable};
pub use validate::Update;
