//! The caching decisions of RFC 9111, as pure functions: they take values and the time, and return enums.
//!
//! In the order of a request's way: [`request`] reads what the client asks for, [`onward`] leaves what goes on to the origin, [`reuse`] decides whether what is stored
//! may answer, [`validate`] makes the conditional request and applies its 304, [`storable`] judges a response, and
//! [`invalidate`] names what an unsafe request makes invalid. [`credentials`] decides whether one user may have what another
//! brought in. [`cache_control`] (on the list syntax of `directive`),
//! [`freshness`], [`vary`], [`fields`] and `etag` are what these are made of. Deliberately absent: I/O, locks, logging, reading a clock, errors. Odd input has a
//! defined answer.

pub mod cache_control;
pub mod credentials;
pub mod fields;
pub mod freshness;
pub mod invalidate;
pub mod request;
pub mod reuse;
pub mod storable;
pub mod tags;
#[cfg(test)]
mod testing;
pub mod validate;
pub mod vary;

pub use credentials::Admission;
pub use request::{Intent, RequestFacts};
pub use reuse::{OriginFailure, PurgeState, Reuse};
pub use storable::{Exchange, Storable};
pub use validate::Update;
