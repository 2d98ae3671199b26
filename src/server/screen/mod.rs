//! The first part of the front door: follows the bytes of an HTTP/1 connection and passes to hyper
//! only those that can be read in one way.
//!
//! hyper drops or repairs some malformed bytes before anybody can see them, so the screen looks for
//! them where the bytes are read: in every head (pipelined ones too), in chunk-size lines and in
//! trailers. Heads, lines and trailers pass whole or not at all, content passes as it arrives, and
//! nothing is copied.
//!
//! Pure over bytes: reading and holding back are `connection`'s, the response to a refusal is
//! `driver`'s, and the meaning of a well-formed head is `policy::request`'s.
//!
//! Where hyper and the screen would find different ends of a request, the request is refused. Bytes
//! that the screen passes are read by hyper in the same way; `tests/it/hostile/agree.rs` checks
//! that.

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
