//! The response to the client: preconditions, then ranges, then coding, then the head (RFC 9110
//! §13.2.2).
//!
//! The functions are pure and work on a representation that is stored, or still filling.
//! Deliberately absent: reading bodies, making renditions, deciding about caching.

mod codec;
pub(crate) mod conditional;
pub mod encoding;
pub mod head;
pub mod range;
mod status;
