//! The origin's address, as `[origin] url` and `--origin` write it.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The origin's address: `http://host[:port]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginUrl {
    host: String,
    port: u16,
}

impl OriginUrl {
    /// A description of the text that [`OriginUrl::from_str`] accepts.
    pub const ALLOWED: &str = r#"http://host[:port] without a path, such as "http://127.0.0.1:3000""#;

    /// Returns `host:port`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl From<SocketAddr> for OriginUrl {
    fn from(addr: SocketAddr) -> Self {
        let host = if addr.is_ipv6() { format!("[{}]", addr.ip()) } else { addr.ip().to_string() };
        Self { host, port: addr.port() }
    }
}

impl fmt::Display for OriginUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for OriginUrl {
    type Err = String;

    /// Parses a URL; the error says what is wrong with it.
    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(format!("{text:?} has no scheme; did you mean \"http://{text}\"?"));
        };
        if scheme.eq_ignore_ascii_case("https") {
            return Err("https to the origin is not available in this version".into());
        }
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(format!("unsupported scheme {scheme:?} (only http)"));
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err("must not have a user name or password".into());
        }
        if authority.contains(['/', '?', '#']) {
            return Err(format!("{text:?} must not have a path or query"));
        }
        // An IPv6 address contains colons, and is written in brackets (RFC 3986 §3.2.2).
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (authority, "80"),
        };
        if !is_host(host) {
            return Err(format!("{host:?} is not a host"));
        }
        match port.parse::<u16>() {
            Ok(number) if number > 0 && port.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self { host: host.to_ascii_lowercase(), port: number })
            }
            _ => Err(format!("{port:?} is not a port")),
        }
    }
}

/// Tells whether `text` is a name, an IPv4 address, or an IPv6 address in brackets (RFC 9110
/// §4.2.1, without percent-encoding).
fn is_host(text: &str) -> bool {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<Ipv6Addr>().is_ok(),
        None => {
            text.len() <= 253
                && text.split('.').all(|label| {
                    (1..=63).contains(&label.len())
                        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_become_host_and_port_or_say_what_is_wrong() {
        let check = |text: &str, expected: Result<&str, &str>| match (text.parse::<OriginUrl>(), expected) {
            (Ok(url), Ok(authority)) => {
                assert_eq!(url.authority(), authority, "{text}");
                assert_eq!(url.to_string().parse::<OriginUrl>().unwrap(), url, "{text}");
            }
            (Err(what), Err(part)) => assert!(what.contains(part), "{text}: {what}"),
            (found, _) => panic!("{text}: {found:?}"),
        };
        check("http://127.0.0.1:3000", Ok("127.0.0.1:3000"));
        check("http://App.Internal/", Ok("app.internal:80"));
        check("HTTP://[::1]:3000", Ok("[::1]:3000"));
        check("http://[::1]", Ok("[::1]:80"));
        check("127.0.0.1:3000", Err("did you mean \"http://127.0.0.1:3000\""));
        check("https://app", Err("not available"));
        check("ftp://app", Err("unsupported scheme"));
        check("http://app/base", Err("path"));
        check("http://app?x", Err("query"));
        check("http://me:secret@app", Err("user name"));
        check("http://app:0", Err("port"));
        check("http://app:+80", Err("port"));
        check("http://app:65536", Err("port"));
        check("http://", Err("not a host"));
        check("http://a b", Err("not a host"));
        check("http://[::1:3000", Err("not a host"));
    }

    #[test]
    fn an_address_is_a_url_too() {
        assert_eq!(OriginUrl::from(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 80))).authority(), "[::1]:80");
    }
}
