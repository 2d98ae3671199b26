//! Runs one connection, from its acceptance to its close.
//!
//! - `accepted`: an accepted socket, and its course until the close.
//! - `sniff`: detects the protocol that the client speaks.
//! - `protocols`: hyper's settings for HTTP/1 and HTTP/2.
//! - `hyper_driver`: polls hyper, and follows the shutdown that the core requests.
//! - `ending`: the last bytes and the last response, and the wait for the client's close.
//!
//! Deliberately absent: requests, which are `service`'s, and the timeouts of a connection, which
//! are `connection`'s.

mod accepted;
mod ending;
mod hyper_driver;
mod protocols;
mod sniff;

pub(crate) use self::accepted::AcceptedSocket;
pub(crate) use self::protocols::Protocols;
