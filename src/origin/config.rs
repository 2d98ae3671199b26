//! The configuration of the origin side.

use std::time::Duration;

/// The address of the origin, and its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The origin's `host:port` to connect to.
    pub authority: String,
    /// The Host to send; `None` sends the client's.
    pub host: Option<String>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the response's head after the request was sent.
    pub response_timeout: Duration,
    /// The longest silence inside a response's body.
    pub body_idle_timeout: Duration,
    /// How long an idle connection is kept if the origin announces no `Keep-Alive: timeout`. An
    /// announced timeout counts less a second, and at most a minute.
    pub pool_idle_timeout: Duration,
    /// The most concurrent requests to the origin, of the whole process.
    pub connections_max: usize,
    /// The longest wait of a request for a permit.
    pub permit_timeout: Duration,
    /// The most requests that wait for a permit.
    pub permit_queue_max: usize,
    /// The number of consecutive failures to connect that opens the breaker; zero never opens it.
    pub breaker_failures: u32,
    /// How long the open breaker refuses requests before one request probes the origin.
    pub breaker_interval: Duration,
}
