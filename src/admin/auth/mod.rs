//! Access to the admin side: who may ask, shown by a token or by being on this machine.

mod guard;
mod token;

pub(super) use guard::{Access, Reach, guard, protect};
pub use token::Token;
