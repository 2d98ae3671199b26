//! The first part of the front door: follows the bytes of an HTTP/1 connection and lets only those on to hyper that can be
//! read in one way.
//!
//! hyper drops or mends a part of what is odd before anybody can see it, so it is looked for here, where the bytes are
//! read: in every head (pipelined ones too), in chunk-size lines and in trailers. Heads, lines and trailers pass whole or not
//! at all, content passes as it comes, and nothing is copied. Pure over bytes: reading, holding back and answering are
//! `connection`'s and `connection`'s; what a well-formed head means is `policy::request`'s.
//!
//! Where hyper and the screen would find different ends of a request, the request is refused. What the screen passes, hyper
//! reads in the same way; `tests/it/hostile/agree.rs` checks that.

mod chunks;
mod head;
mod limits;
mod line;
mod offline;
mod refusal;
mod request_screen;
#[cfg(test)]
mod tests;

pub(crate) use self::limits::ScreenLimits;
pub use self::offline::{ScreenSummary, screen};
pub(crate) use self::refusal::ScreenRefusal;
pub(crate) use self::request_screen::{RequestScreen, ScreenResult, ScreenStep};
