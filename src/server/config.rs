//! The configuration of a running Larder, as values: the syntax of files is `config`'s.

use std::net::SocketAddr;
use std::time::Duration;

use crate::{access, admin, origin, proxy, route, store};

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
