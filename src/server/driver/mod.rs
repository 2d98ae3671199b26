//! Runs one connection, from its acceptance to its close.
//!
//! - `accepted`: an accepted socket, and what becomes of it.
//! - `sniff`: which protocol the client speaks.
//! - `protocols`: hyper as it is set up for each.
//! - `hyper_driver`: polls hyper and follows the core's orders.
//! - `ending`: the last response, the last bytes, and the close.
//!
//! Deliberately absent: what a request is (`service`), and when a connection has been silent for too long (`connection`).

mod accepted;
mod ending;
mod hyper_driver;
mod protocols;
mod sniff;

pub(crate) use self::accepted::AcceptedSocket;
pub(crate) use self::protocols::Protocols;
