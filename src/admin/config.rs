//! The configuration of the admin interface.

use std::net::SocketAddr;

use super::auth::{Access, Reach, Token};

/// The configuration of the admin interface.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The address to listen on; `None` turns the interface off.
    pub listen: Option<SocketAddr>,
    /// The token that clients must send; `None` disables authentication, and is only allowed on
    /// loopback.
    pub token: Option<Token>,
    /// The maximum number of connections at once, live listeners included.
    pub connections_max: usize,
}

impl Config {
    /// Returns the access rule.
    pub(super) fn access(&self) -> Access {
        let is_loopback = self.listen.is_none_or(|listen| listen.ip().is_loopback());
        let reach = if is_loopback { Reach::Loopback } else { Reach::Elsewhere };
        Access { token: self.token.clone(), reach }
    }
}
