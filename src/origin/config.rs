//! The configuration of the origin's side.

use std::time::Duration;

/// Where the origin is and how long it may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `host:port` of the origin, as connected to.
    pub authority: String,
    /// The Host to send; `None`: the client's.
    pub host: Option<String>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the response's head, once the request is sent.
    pub response_timeout: Duration,
    /// The longest silence inside a response's body.
    pub body_idle_timeout: Duration,
    /// How long an idle connection is kept where the origin does not announce a `Keep-Alive: timeout`. Where it does, that
    /// less a second holds, and at most a minute.
    pub pool_idle_timeout: Duration,
    /// The most requests at the origin at once, of the whole process.
    pub connections_max: usize,
    /// How long a request waits for a permit.
    pub permit_timeout: Duration,
    /// How many requests wait for a permit at the most.
    pub permit_queue_max: usize,
    /// How many failures to connect in a row open the breaker; zero: it never opens.
    pub breaker_failures: u32,
    /// How long requests fail at once then, before one sees whether the origin is back.
    pub breaker_interval: Duration,
}
