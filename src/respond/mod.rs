//! The response that goes to the client: preconditions, then ranges, then coding, then the head (RFC 9110 §13.2.2).
//!
//! Pure functions over a stored or still filling representation. Deliberately absent: reading bodies, making renditions,
//! deciding about caching.

mod codec;
pub mod conditional;
pub mod encoding;
pub mod head;
pub mod range;
mod status;
