//! The root: assembles the parts and runs them, with the sockets, connections and runtimes around
//! them.
//!
//! In the order of a request's path:
//!
//! - `listener`: the listening sockets, and handing them to the process that takes over.
//! - `cores`: one thread per core, which accepts connections and drains them.
//! - `driver`: runs one connection from acceptance to close, with hyper inside.
//! - `connection`: a connection's state and IO, deferred writes, and the sweep of stalled
//!   connections.
//! - `screen`: decides which bytes of HTTP/1 may go on to hyper.
//! - `service`: requests in, responses out, and what is tracked about a request in flight.
//!
//! Around them:
//!
//! - `run`: builds the parts of a running Larder, and stops them.
//! - `reload`: applies another configuration while requests run.
//! - `admin_server`: the admin interface, as one more core.
//! - `counters`, `rate_limited_log`: the server's own counters, and log lines for frequent events.
//!
//! The folders `listener`, `screen`, `connection`, `service` and `driver` import only from those
//! named before them.
//!
//! Deliberately absent: the syntax of files, the command line, signals.

mod admin_server;
mod config;
mod connection;
mod cores;
mod counters;
mod driver;
mod listener;
mod rate_limited_log;
mod reload;
mod run;
mod screen;
mod service;
#[cfg(test)]
mod tests;

pub use self::config::Config;
pub use self::counters::ServerCounters;
pub use self::listener::Sockets;
pub(crate) use self::listener::handover;
pub use self::reload::{ConfigSource, NewConfig, Reloader};
pub use self::run::{Instance, StartOptions, start, start_with};
pub use self::screen::{ScreenSummary, screen};
