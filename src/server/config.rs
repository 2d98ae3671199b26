//! The configuration of a running Larder, as values.
//!
//! Deliberately absent: the syntax of files, which is `config`'s.

use std::net::SocketAddr;
use std::time::Duration;

use crate::{access, admin, origin, proxy, route, store};

/// The complete configuration of a running Larder.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address that the proxy listens on. Port 0 picks a free one.
    pub listen: SocketAddr,
    /// The number of cores that serve; each has its own runtime and listening socket.
    pub workers: usize,
    /// The maximum number of client connections of the whole process.
    pub connections_max: usize,
    /// How long a drain waits for requests in flight.
    pub drain_timeout: Duration,
    /// How long a client may take to send a request head.
    pub head_timeout: Duration,
    /// How long a connection may be silent between requests.
    pub idle_timeout: Duration,
    /// How long a client may be silent inside a body, in either direction.
    pub body_idle_timeout: Duration,
    /// The largest request head, in bytes.
    pub head_bytes_max: usize,
    /// The maximum number of HTTP/2 streams per connection.
    pub http2_streams_max: u32,
    /// The proxy's part.
    pub proxy: proxy::Config,
    /// The origin's part.
    pub origin: origin::Config,
    /// The store's part.
    pub store: store::Config,
    /// The routes.
    pub routes: route::Table,
    /// The names of the routes in statistics, in the order of the routes.
    pub route_names: Vec<String>,
    /// The admin interface's part.
    pub admin: admin::Config,
    /// The access log's part; `None` turns the log off.
    pub access: Option<access::Config>,
    /// The configuration's warnings, for `/stats`.
    pub warnings: Vec<String>,
}
