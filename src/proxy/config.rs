//! The configuration of the request path.

use std::time::Duration;

use super::respond::tunnel::TunnelLimits;
use super::trace;
use crate::key::Scheme;

/// Configures how requests are read, stored, shared and answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The scheme that clients use, unless a trusted proxy names another.
    pub scheme: Scheme,
    /// Proxies whose X-Forwarded-* and Forwarded headers are trusted.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Clients that see keys as text.
    pub debug_from: Vec<ipnet::IpNet>,
    /// Clients that may send PURGE; empty: none.
    pub purge_from: Vec<ipnet::IpNet>,
    /// The hosts that are served; empty: all. `*.example.org` matches its subdomains.
    pub hosts: Vec<String>,
    /// The largest content of a request, in bytes.
    pub request_body_max: u64,
    /// The protocols to which a client's connection may be switched, in lower case (`websocket`).
    pub upgrades: Vec<String>,
    /// How long an upgraded connection may be silent.
    pub tunnel: TunnelLimits,
    /// How long the slowest reader of an unstored body may block the other readers.
    pub reader_stall: Duration,
    /// The longest wait for another request's flight.
    pub flight_timeout: Duration,
    /// How long a key is remembered whose response could not be stored.
    pub hit_for_miss: Duration,
    /// How long requests with credentials pass for a key whose responses were found to be
    /// personalised.
    pub personalised_for: Duration,
    /// One in this many uses of a shared body by other users is checked with the origin.
    pub guard_sample: u32,
    /// True if stored bodies are compressed.
    pub compress: bool,
    /// The zstd level for stored bodies.
    pub compress_level: i32,
    /// The smallest body that is compressed.
    pub compress_min_bytes: u64,
    /// True if the origin is asked for identity instead of the client's own Accept-Encoding.
    pub ask_identity: bool,
    /// Which requests are traced, if traces are exported.
    pub traces: trace::Config,
}
