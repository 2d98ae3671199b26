//! Access to the admin interface, by a token or from this machine.

mod guard;
mod token;

pub(super) use guard::{Access, Reach, guard, protect};
pub use token::Token;
