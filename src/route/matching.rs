//! Matches requests with a route: path, host and method.

use std::borrow::Cow;

use globset::GlobBuilder;
use http::Method;

use crate::key::{CanonicalUrl, Scheme};

/// The requests that a route applies to.
#[derive(Clone, Debug, Default)]
pub struct PathMatcher {
    /// A path prefix (`/shop/`, matched at a `/`) or a glob (`/img/**/*.png`); `None` matches every
    /// path.
    pub path: Option<PathPattern>,
    /// A host in lower case, in the form of [`host_matches`]; `None` matches every host.
    pub host: Option<Box<str>>,
    /// The methods; empty matches every method. GET also matches HEAD, which is answered from a
    /// stored GET.
    pub methods: Box<[Method]>,
}

impl PathMatcher {
    /// Returns whether the route applies to a request.
    pub(super) fn matches(&self, method: &Method, url: &CanonicalUrl, path: &str) -> bool {
        let is_method = |own: &Method| own == method || (own == Method::GET && method == Method::HEAD);
        (self.methods.is_empty() || self.methods.iter().any(is_method))
            && self.host.as_ref().is_none_or(|host| host_matches(host, url))
            && self.path.as_ref().is_none_or(|pattern| pattern.matches(path))
    }
}

/// Merges repeated slashes, as many apps do, so that a route for `/admin/` also applies to
/// `//admin/`. Such a path still has its own key, and goes to the origin unchanged.
pub fn merged(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return Cow::Borrowed(path);
    }
    let mut previous = ' ';
    Cow::Owned(path.chars().filter(|&c| !(std::mem::replace(&mut previous, c) == '/' && c == '/')).collect())
}

/// Returns whether the URL's host matches `pattern`: the exact host, or `*.example.org` for every
/// host below that domain but not the domain itself.
///
/// The port is compared only if the pattern has one, and is the scheme's default where the URL
/// names none. The pattern must be canonical ([`canonical_host`](crate::key::canonical_host)).
pub fn host_matches(pattern: &str, url: &CanonicalUrl) -> bool {
    // The colons inside an IPv6 address's brackets do not start a port.
    let brackets_end = pattern.rfind(']').unwrap_or(0);
    let (wanted, port) = match pattern[brackets_end..].find(':') {
        Some(colon) => (&pattern[..brackets_end + colon], pattern[brackets_end + colon + 1..].parse().ok()),
        None => (pattern, None),
    };
    let host = url.host();
    let is_host = match wanted.strip_prefix('*') {
        Some(domain) if domain.starts_with('.') => host.len() > domain.len() && host.ends_with(domain),
        _ => host == wanted,
    };
    is_host && port.is_none_or(|port: u16| port == url.port())
}

/// A pattern for paths.
#[derive(Clone, Debug)]
pub enum PathPattern {
    /// Every path that starts with this text, up to a `/`: `/shop` matches `/shop` and `/shop/x`,
    /// not `/shopping`; `/shop/` matches `/shop/` and everything below.
    Prefix(Box<str>),
    /// This path alone, written with a leading `=`.
    Exact(Box<str>),
    /// Every path that the glob matches; `*` stays within a segment, `**` does not.
    Glob(Box<globset::GlobMatcher>),
}

impl PathPattern {
    /// Parses the text of the configuration: one path after a `=`, a glob if it contains one of
    /// `*?[{`, else a prefix. Paths become canonical, as those of requests are.
    ///
    /// # Errors
    /// A sentence for the author of the configuration.
    pub fn parse(text: &str) -> Result<Self, String> {
        let path = text.strip_prefix('=').unwrap_or(text);
        if !path.starts_with('/') {
            return Err(format!("`{text}` does not start with `/`, or with `=/` for a single path"));
        }
        let is_exact = path.len() < text.len();
        if is_exact || !text.contains(['*', '?', '[', '{']) {
            let url = CanonicalUrl::new(Scheme::Http, "host", path).map_err(|error| format!("`{text}`: {error}"))?;
            if url.query().is_some() {
                return Err(format!(
                    "`{text}` has a query, but a route's path has none; `key.query` decides which parameters count"
                ));
            }
            let path = merged(url.path());
            return Ok(if is_exact {
                Self::Exact(format!("={path}").into())
            } else {
                Self::Prefix(path.as_ref().into())
            });
        }
        // A glob with characters that no canonical path has would silently never match.
        let is_lower_hex = |triple: &[u8]| triple[0] == b'%' && triple[1..].iter().any(|b| matches!(b, b'a'..=b'f'));
        if !text.is_ascii() || text.contains([' ', '#']) || text.as_bytes().windows(3).any(is_lower_hex) {
            return Err(format!("`{text}`: percent-encode other characters of a glob in upper case, such as `%C3%A9`"));
        }
        let glob = GlobBuilder::new(&merged(text)).literal_separator(true).build();
        glob.map(|glob| Self::Glob(Box::new(glob.compile_matcher()))).map_err(|error| error.to_string())
    }

    /// Returns the pattern's text: a path in canonical form, a glob as written, repeated slashes
    /// merged.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
            Self::Glob(glob) => glob.glob().glob(),
        }
    }

    /// Returns whether the pattern matches a canonical path with [`merged`] slashes.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact.strip_prefix('=') == Some(path),
            Self::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/')),
            Self::Glob(glob) => glob.is_match(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> CanonicalUrl {
        CanonicalUrl::parse_absolute(text).unwrap()
    }

    #[track_caller]
    fn check_path(pattern: &str, yes: &[&str], no: &[&str]) {
        let parsed = PathPattern::parse(pattern).unwrap();
        for path in yes {
            assert!(parsed.matches(path), "{pattern} should match {path}");
        }
        for path in no {
            assert!(!parsed.matches(path), "{pattern} should not match {path}");
        }
    }

    #[test]
    fn a_prefix_ends_at_a_slash() {
        check_path("/", &["/", "/a", "//"], &[]);
        check_path("/shop/", &["/shop/", "/shop/x", "/shop//"], &["/shop", "/shopping", "/SHOP/x"]);
        check_path("/shop", &["/shop", "/shop/", "/shop/x/y"], &["/shopping", "/sho", "/shop%2Fx"]);
        check_path("/a/../caf\u{e9}%2f", &["/caf%C3%A9%2F", "/caf%C3%A9%2F/x"], &["/caf%C3%A9"]);
    }

    #[test]
    fn a_path_after_an_equals_sign_is_a_single_path() {
        check_path("=/", &["/"], &["/a", "//"]);
        check_path("=/shop", &["/shop"], &["/shop/", "/shop/x", "/shopping", "/SHOP", "/"]);
        check_path("=/shop/", &["/shop/"], &["/shop", "/shop/x"]);
        check_path("=/a/../[id]*", &["/[id]*"], &["/id", "/[id]", "/[id]*/x"]);
        check_path("=/caf\u{e9}", &["/caf%C3%A9"], &["/caf\u{e9}", "/caf%C3%A9/"]);
    }

    #[test]
    fn a_glob_stays_within_its_segments() {
        check_path("/img/*.png", &["/img/a.png", "/img/.png"], &["/img/a/b.png", "/img/a.pngx", "/x/img/a.png"]);
        check_path("/img/**/*.png", &["/img/a.png", "/img/a/b/c.png"], &["/img.png", "/a/img/c.png"]);
        check_path("/api/**", &["/api/", "/api/a/b"], &["/api", "/apix"]);
        check_path("/a/*/c", &["/a/b/c", "/a/%2F/c"], &["/a/b/b/c", "/a/c"]);
        check_path("/*.{css,js}", &["/a.css", "/a.js"], &["/a.jsx", "/a/b.css"]);
        check_path("/v[0-9]/?", &["/v1/a"], &["/vx/a", "/v1/ab"]);
    }

    #[test]
    fn a_pattern_gives_its_text_back() {
        for text in ["/shop/", "/img/**/*.png", "/v[0-9]/?", "/", "=/", "=/shop"] {
            assert_eq!(PathPattern::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn invalid_path_patterns_are_refused() {
        for text in [
            "",
            "shop",
            "*",
            "=",
            "=shop",
            "==/a",
            "=*",
            "=/a?b",
            "/a#b",
            "=/a#b",
            "/caf\u{e9}*",
            "/%c3%a9*",
            "/a b*",
            "/{a",
            "/[a",
        ] {
            assert!(PathPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_match_exactly_or_below_a_domain() {
        for (pattern, text, expected) in [
            ("example.org", "http://EXAMPLE.org:8080/", true),
            ("example.org", "http://www.example.org/", false),
            ("example.org:8080", "http://example.org:8080/", true),
            ("example.org:8080", "http://example.org/", false),
            ("*.example.org", "http://www.example.org:81/", true),
            ("*.example.org", "http://a.b.example.org/", true),
            ("*.example.org", "http://example.org/", false),
            ("*.example.org", "http://badexample.org/", false),
            ("*.example.org:81", "http://www.example.org:81/", true),
            ("[::1]", "http://[0::1]:81/", true),
            ("[::1]:81", "http://[::1]:81/", true),
            ("[::1]:81", "http://[::1]/", false),
            ("example.org:80", "http://example.org/", true),
            ("example.org:80", "https://example.org/", false),
            ("*.example.org:443", "https://www.example.org:443/", true),
        ] {
            assert_eq!(host_matches(pattern, &url(text)), expected, "{pattern} {text}");
        }
    }
}
