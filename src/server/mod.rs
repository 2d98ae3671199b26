//! The root: sockets, connections, runtimes. Assembles the parts and runs them.
//!
//! | file | what it is |
//! |---|---|
//! | `run` | puts the parts together, and takes them apart |
//! | `cores` | a thread per core: accepts, drains |
//! | `listen` | the listening sockets |
//! | `handover` | passing them to the process that takes this one's place |
//! | `reload` | another configuration while requests run |
//! | `connection` | one connection, from its acceptance to its close |
//! | `protocol` | which protocol it speaks, and hyper set up for it |
//! | `admin_server` | the admin side, as one more core |
//! | `service` | requests in, responses out, with what is known about each while it runs |
//! | `tracked` | the body of a response, in pieces on HTTP/2 |
//! | `screen` | which bytes of HTTP/1 may go on to hyper |
//! | `connection_state`, `buffer` | the socket as hyper and the connection's owner share it, and its write buffer |
//! | `deferred_writes` | writing what was gathered, behind the turns of a core's connections |
//! | `activity`, `streams`, `sweep` | who is being waited for, and closing what waits too long |
//! | `rate_limited_log` | telling once in a while what happens many times a second |
//!
//! Deliberately absent: the syntax of files, the command line, signals.

mod activity;
mod admin_server;
mod buffer;
mod connection;
mod connection_state;
mod cores;
mod counters;
mod deferred_writes;
pub mod handover;
mod listen;
mod protocol;
mod rate_limited_log;
mod reload;
mod run;
mod screen;
mod service;
mod streams;
mod sweep;
#[cfg(test)]
mod tests;
mod tracked;

use std::net::SocketAddr;
use std::time::Duration;

use crate::{access, admin, origin, proxy, route, store};

pub use counters::ServerCounters;
pub use handover::Sockets;
pub use reload::{ConfigSource, NewConfig, Reloader};
pub use run::{Instance, StartOptions, start, start_with};
pub use screen::{ScreenSummary, screen};

/// Everything a running Larder needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where it listens. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// How many cores serve; each has its own runtime and listening socket.
    pub workers: usize,
    /// The most client connections at once, of the whole process.
    pub connections_max: usize,
    /// How long a drain waits for what is in flight.
    pub drain_timeout: Duration,
    /// How long a client may take to send a request's head.
    pub head_timeout: Duration,
    /// How long a connection may be silent between requests.
    pub idle_timeout: Duration,
    /// How long a client may be silent inside a body, in either direction.
    pub body_idle_timeout: Duration,
    /// The largest request head, in bytes.
    pub head_bytes_max: usize,
    /// The most HTTP/2 streams of one connection.
    pub http2_streams_max: u32,
    /// The way's part.
    pub proxy: proxy::Config,
    /// The origin's part.
    pub origin: origin::Config,
    /// The store's part.
    pub store: store::Config,
    /// The routes.
    pub routes: route::Table,
    /// The names of the routes for the figures, in order.
    pub route_names: Vec<String>,
    /// The admin side's part.
    pub admin: admin::Config,
    /// The access log's part; `None`: none is written.
    pub access: Option<access::Config>,
    /// What the configuration warns of, for `/stats`.
    pub warnings: Vec<String>,
}
