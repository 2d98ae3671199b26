//! Finds the client of a request: the other end of the connection, or the client behind it if that
//! is a trusted proxy.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header, request};

use crate::key::Scheme;
use crate::proxy::config::Config;
use crate::proxy::respond::interim::Interim;
use crate::proxy::state::Peer;
use crate::syntax::list;

/// Request fields that show that a proxy forwarded the request.
const FORWARDING: [HeaderName; 4] =
    [HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip"), header::FORWARDED, header::VIA];

/// The client of a request.
pub(crate) struct Client {
    /// The other end of the connection.
    pub(crate) addr: IpAddr,
    /// True if that is a trusted proxy.
    pub(crate) trusted: bool,
    /// The requester: the other end, or behind a trusted proxy the last address in X-Forwarded-For
    /// that is no trusted proxy. `None` if unknown.
    pub(crate) requester: Option<IpAddr>,
    /// Queues 1xx responses for the client.
    pub(crate) interim: Option<Interim>,
}

impl Client {
    /// Finds the client of a request's head.
    pub(crate) fn of(config: &Config, peer: &Peer, head: &request::Parts) -> Self {
        let addr = peer.addr.ip().to_canonical();
        let interim = peer.interim.clone();
        match config.trusted_proxies.iter().any(|net| net.contains(&addr)) {
            true => Self { addr, trusted: true, requester: client_behind(config, addr, &head.headers), interim },
            false => Self { interim, ..Self::untrusted(addr, head) },
        }
    }

    /// Finds the client of a request's head without trusting any proxy.
    pub(crate) fn untrusted(addr: IpAddr, head: &request::Parts) -> Self {
        // A forwarded PURGE comes from the proxy's address, which says nothing about who sent it.
        let is_open = head.method.as_str() != "PURGE" || !is_forwarded(&head.headers);
        Self { addr, trusted: false, requester: is_open.then_some(addr), interim: None }
    }
}

/// Returns the client behind a trusted proxy.
fn client_behind(config: &Config, proxy: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    if !headers.contains_key(&FORWARDING[0]) {
        return (!is_forwarded(headers)).then_some(proxy);
    }
    let lines = headers.get_all(&FORWARDING[0]).iter();
    let mut last = None;
    // An empty member is no address: the client is then unknown.
    for member in lines.rev().flat_map(|line| list::members_or_gaps(line.as_bytes()).rev()) {
        let addr = address(member)?;
        last = Some(addr);
        if !config.trusted_proxies.iter().any(|net| net.contains(&addr)) {
            break;
        }
    }
    last
}

fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDING.iter().any(|name| headers.contains_key(name))
}

/// Reads a member of X-Forwarded-For: an address, perhaps with a port.
fn address(member: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(member).ok()?;
    let addr = text.parse().or_else(|_| text.parse::<SocketAddr>().map(|addr| addr.ip()));
    addr.ok().map(|addr: IpAddr| addr.to_canonical())
}

/// Returns the scheme that the client used, as a trusted proxy reports it, else the configured one.
pub(crate) fn scheme(config: &Config, trusted: bool, headers: &HeaderMap) -> Scheme {
    if !trusted {
        return config.scheme;
    }
    // In a chain of proxies, the client's own scheme comes first.
    let proto = headers.get("x-forwarded-proto").and_then(|value| list::members_or_gaps(value.as_bytes()).next());
    match proto {
        Some(proto) if proto.eq_ignore_ascii_case(b"https") || proto.eq_ignore_ascii_case(b"wss") => Scheme::Https,
        Some(proto) if proto.eq_ignore_ascii_case(b"http") || proto.eq_ignore_ascii_case(b"ws") => Scheme::Http,
        _ => config.scheme,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_x_forwarded_for_are_addresses() {
        let check = |member: &str, expected: Option<&str>| {
            assert_eq!(address(member.as_bytes()), expected.map(|text| text.parse().unwrap()), "{member}");
        };
        check("10.0.0.1", Some("10.0.0.1"));
        check("10.0.0.1:80", Some("10.0.0.1"));
        check("::1", Some("::1"));
        check("[::1]:80", Some("::1"));
        check("::ffff:10.0.0.1", Some("10.0.0.1"));
        check("unknown", None);
        check("", None);
    }
}
