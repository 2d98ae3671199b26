//! The canonical URL: its text, and the offsets of its parts.

use std::fmt;

use super::canonical::{self, TargetError};
use super::scheme::Scheme;

/// The offsets of the parts of a URL in its text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Layout {
    pub(super) scheme: Scheme,
    /// The start of the path.
    path_at: u32,
    /// The position of the `?`, or the URL's end if it has no query.
    query_at: u32,
    /// The end of the URL.
    pub(super) end: u32,
}

impl Layout {
    pub(super) fn authority(self, text: &str) -> &str {
        &text[self.scheme.as_str().len() + "://".len()..self.path_at as usize]
    }

    pub(super) fn path(self, text: &str) -> &str {
        &text[self.path_at as usize..self.query_at as usize]
    }

    pub(super) fn query(self, text: &str) -> Option<&str> {
        text.get(self.query_at as usize + 1..self.end as usize)
    }

    pub(super) fn path_and_query(self, text: &str) -> &str {
        &text[self.path_at as usize..self.end as usize]
    }
}

/// A URL in the one form that Larder matches, keys and forwards:
/// `scheme://host[:port]/path[?query]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalUrl {
    pub(super) text: String,
    pub(super) layout: Layout,
}

impl CanonicalUrl {
    /// Makes the canonical form of `target` at `authority`; the target is an origin form, or the
    /// path and query of an absolute form, as received.
    ///
    /// - The host is put in lower case (an IPv6 address in the form of RFC 5952). An empty or
    ///   default port is dropped.
    /// - An empty path becomes `/`. Dot segments are removed, also when spelled with `%2e` ([RFC
    ///   3986 §5.2.4]); above the root there is only the root. Repeated slashes stay, because they
    ///   name another resource.
    /// - Percent-encoding: hexadecimal in upper case, unreserved characters decoded, everything
    ///   else left encoded, including `%2F` and `%00` ([RFC 3986 §6.2.2]).
    /// - Characters that no URI may contain (space, `"<>\^{|}`, the backtick, bytes above 0x7f) are
    ///   percent-encoded. A backslash is among them, so that no origin reads it as a slash where
    ///   Larder did not.
    /// - A `%` that starts no encoding becomes `%25`. Clients do send `?q=100%`. In this form no
    ///   decoder can read it in two ways, while a refusal would break pages that work today.
    ///
    /// # Errors
    /// An authority or a target that is ambiguous or malformed (RFC 9110 §4.2, RFC 9112 §3.2): an
    /// empty or invalid host, userinfo, an invalid port, a target without leading `/` (`*` is the
    /// caller's), with `#` or with a control byte; or a URL longer than 65,534 bytes, the most that
    /// an `http::Uri` holds.
    ///
    /// [RFC 3986 §5.2.4]: https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4
    /// [RFC 3986 §6.2.2]: https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2
    pub fn new(scheme: Scheme, authority: &str, target: &str) -> Result<Self, TargetError> {
        // A typical URL is canonical on arrival, and then this is the only allocation.
        let mut text = String::with_capacity("https://".len() + authority.len() + target.len() + 1);
        text.push_str(scheme.as_str());
        text.push_str("://");
        canonical::write_authority(&mut text, scheme, authority)?;
        let path_at = text.len();
        let query_at = canonical::write_target(&mut text, target)?;
        if text.len() > canonical::URL_BYTES_MAX {
            return Err(TargetError("the URL is longer than 65,534 bytes"));
        }
        let layout = Layout { scheme, path_at: path_at as u32, query_at: query_at as u32, end: text.len() as u32 };
        Ok(Self { text, layout })
    }

    /// Returns the whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the scheme.
    pub fn scheme(&self) -> Scheme {
        self.layout.scheme
    }

    /// Returns scheme, host and port: `scheme://host[:port]`.
    pub fn origin(&self) -> &str {
        &self.text[..self.layout.path_at as usize]
    }

    /// Returns the host in lower case, with its port unless that is the scheme's default.
    pub fn authority(&self) -> &str {
        self.layout.authority(&self.text)
    }

    /// Returns the host without its port; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        canonical::split_port(self.authority()).0
    }

    /// Returns the port, either the written one or the scheme's default.
    pub fn port(&self) -> u16 {
        let written = canonical::split_port(self.authority()).1.and_then(|port| port.parse().ok());
        written.unwrap_or(self.scheme().default_port())
    }

    /// Returns the path, which starts with `/`.
    pub fn path(&self) -> &str {
        self.layout.path(&self.text)
    }

    /// Returns the query without its `?`; `None` where there is no `?`.
    pub fn query(&self) -> Option<&str> {
        self.layout.query(&self.text)
    }

    /// Returns the path and query to request from the origin.
    pub fn path_and_query(&self) -> &str {
        self.layout.path_and_query(&self.text)
    }

    /// Returns whether `other` has the same scheme, host and port.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.origin() == other.origin()
    }

    /// Drops the query with its `?`.
    pub fn without_query(mut self) -> Self {
        self.text.truncate(self.layout.query_at as usize);
        self.layout.end = self.layout.query_at;
        self
    }

    /// Keeps the query parameters for whose percent-decoded name `keep` returns true.
    ///
    /// Order and spelling stay. Parameters are separated by `&`. If none is left, the `?` is
    /// dropped too.
    pub fn retain_query(self, mut keep: impl FnMut(&str) -> bool) -> Self {
        let Some(query) = self.query() else { return self };
        let mut text = String::with_capacity(self.text.len());
        text.push_str(&self.text[..self.layout.query_at as usize]);
        let mut separator = '?';
        for parameter in query.split('&') {
            let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
            if keep(&canonical::decoded(name)) {
                text.push(separator);
                text.push_str(parameter);
                separator = '&';
            }
        }
        let layout = Layout { end: text.len() as u32, ..self.layout };
        Self { text, layout }
    }
}

/// Returns the canonical form of a host with an optional port. A written port stays, even a
/// scheme's default.
///
/// # Errors
/// The errors of [`CanonicalUrl::new`].
pub fn canonical_host(authority: &str) -> Result<String, TargetError> {
    let of = |scheme| CanonicalUrl::new(scheme, authority, "/");
    let (http, https) = (of(Scheme::Http)?, of(Scheme::Https)?);
    // Only its own scheme drops a port.
    Ok([http.authority(), https.authority()].into_iter().max_by_key(|text| text.len()).unwrap_or_default().to_owned())
}

impl fmt::Debug for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> CanonicalUrl {
        CanonicalUrl::parse_absolute(text).unwrap()
    }

    #[test]
    fn a_url_knows_its_parts() {
        let plain = url("http://Example.org:8080/a/b?c=d?e");
        assert_eq!(plain.as_str(), "http://example.org:8080/a/b?c=d?e");
        assert_eq!(
            (plain.scheme(), plain.authority(), plain.host()),
            (Scheme::Http, "example.org:8080", "example.org")
        );
        assert_eq!((plain.path(), plain.query()), ("/a/b", Some("c=d?e")));
        assert_eq!(plain.path_and_query(), "/a/b?c=d?e");
        let bare = url("https://[::1]:443");
        assert_eq!((bare.scheme(), bare.authority(), bare.host()), (Scheme::Https, "[::1]", "[::1]"));
        assert_eq!((bare.path(), bare.query(), bare.path_and_query()), ("/", None, "/"));
        assert_eq!(url("http://a/?").query(), Some(""));
        assert_eq!(url("http://[::1]:81/").host(), "[::1]");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        for (other, expected) in [
            ("http://a.org:80/other?x", true),
            ("https://a.org/", false),
            ("http://a.org:81/", false),
            ("http://a.org.b/", false),
        ] {
            assert_eq!(url("http://a.org/").is_same_origin(&url(other)), expected, "{other}");
        }
    }
}
