//! The configuration of the admin side.

use std::net::SocketAddr;

use super::auth::{Access, Reach, Token};

/// What the admin side keeps to.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it listens; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// What who asks has to show; `None`: nothing, which is for loopback addresses only.
    pub token: Option<Token>,
    /// The most connections at once, who follows what happens among them.
    pub connections_max: usize,
}

impl Config {
    /// Says who may ask.
    pub(super) fn access(&self) -> Access {
        let is_loopback = self.listen.is_none_or(|listen| listen.ip().is_loopback());
        let reach = if is_loopback { Reach::Loopback } else { Reach::Elsewhere };
        Access { token: self.token.clone(), reach }
    }
}
