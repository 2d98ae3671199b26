//! The root: sockets, connections, runtimes. Assembles the parts and runs them.
//!
//! In the order of a request's path:
//!
//! - `listener`: the listening sockets, and handing them to the process that takes over.
//! - `cores`: one thread per core; accepts and drains.
//! - `driver`: runs one connection from its acceptance to its close, with hyper inside.
//! - `connection`: the state of a connection and its IO, write buffering, and the sweep that closes stalled connections.
//! - `screen`: which bytes of HTTP/1 may go on to hyper.
//! - `service`: requests in, responses out, and what is tracked about each request while it runs.
//!
//! Around them:
//!
//! - `run`: builds the parts of a running Larder, and stops them.
//! - `reload`: applies another configuration while requests run.
//! - `admin_server`: the admin side, as one more core.
//! - `counters`, `rate_limited_log`: what the server counts, and log lines for what happens many times a second.
//!
//! The rooms `listener`, `screen`, `connection`, `service` and `driver` import only from those before them.
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
pub use self::listener::{Sockets, handover};
pub use self::reload::{ConfigSource, NewConfig, Reloader};
pub use self::run::{Instance, StartOptions, start, start_with};
pub use self::screen::{ScreenSummary, screen};
