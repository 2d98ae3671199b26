//! The canonical URL of a request and the [`Key`] made from it.
//!
//! The canonical form is computed once, before a route is chosen. It is what routes match, what is keyed *and* what the
//! origin is asked for, so that these can never disagree about which resource is meant. How bytes become canonical is in
//! `canonical`, how references are resolved in `reference`. Deliberately absent: which parameters, fields and cookies
//! count; a route says that.

mod canonical;
mod reference;

use std::borrow::Cow;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_secret};

/// The scheme of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Scheme {
    /// `http`, default port 80.
    #[default]
    Http,
    /// `https`, default port 443.
    Https,
}

impl Scheme {
    /// Returns the scheme's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Returns the port that is meant where none is written.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// Why a host or a target has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub &'static str);

/// Where the parts of a URL lie in its text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Layout {
    scheme: Scheme,
    /// Where the path starts.
    path_at: u32,
    /// Where the `?` stands, or the URL's end where there is none.
    query_at: u32,
    /// Where the URL ends.
    end: u32,
}

impl Layout {
    fn authority(self, text: &str) -> &str {
        &text[self.scheme.as_str().len() + "://".len()..self.path_at as usize]
    }

    fn path(self, text: &str) -> &str {
        &text[self.path_at as usize..self.query_at as usize]
    }

    fn query(self, text: &str) -> Option<&str> {
        text.get(self.query_at as usize + 1..self.end as usize)
    }

    fn path_and_query(self, text: &str) -> &str {
        &text[self.path_at as usize..self.end as usize]
    }
}

/// A URL in the one form in which Larder matches, keys and forwards it: `scheme://host[:port]/path[?query]`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CanonicalUrl {
    text: String,
    layout: Layout,
}

impl CanonicalUrl {
    /// Makes the canonical form of `target` (origin form or the path and query of an absolute form, as received) at `authority`.
    ///
    /// - The host is put in lower case (an IPv6 address in the form of RFC 5952); an empty or default port is dropped.
    /// - An empty path becomes `/`. Dot segments are removed, also where they are spelled with `%2e` ([RFC 3986 §5.2.4]);
    ///   above the root there is only the root. Repeated slashes stay: they name another resource.
    /// - Percent-encoding: hexadecimal in upper case, unreserved characters decoded, all else left encoded, `%2F` and
    ///   `%00` too ([RFC 3986 §6.2.2]).
    /// - What no URI may contain (space, `"<>\^{|}` and the backtick, bytes above 0x7f) is percent-encoded. A backslash is
    ///   among these, so that no origin reads it as a slash where Larder did not.
    /// - A `%` that starts no encoding becomes `%25`. Clients do send `?q=100%`; written so, no decoder can read it in
    ///   two ways, while a refusal would break pages that work today.
    ///
    /// # Errors
    /// Where the authority or the target cannot be read in one way only (RFC 9110 §4.2, RFC 9112 §3.2): an empty or odd
    /// host, userinfo, a port that is none, a target without leading `/` (`*` is the caller's), with `#` or a control
    /// byte; or where the whole is longer than 65,534 bytes, the most that an `http::Uri` holds.
    ///
    /// [RFC 3986 §5.2.4]: https://www.rfc-editor.org/rfc/rfc3986#section-5.2.4
    /// [RFC 3986 §6.2.2]: https://www.rfc-editor.org/rfc/rfc3986#section-6.2.2
    pub fn new(scheme: Scheme, authority: &str, target: &str) -> Result<Self, TargetError> {
        // The usual URL is canonical as it comes: then this is the only allocation.
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

    /// Returns the host with its port where that is not the scheme's own, in lower case.
    pub fn authority(&self) -> &str {
        self.layout.authority(&self.text)
    }

    /// Returns the host without its port; an IPv6 address with its brackets.
    pub fn host(&self) -> &str {
        canonical::split_port(self.authority()).0
    }

    /// Returns the port, be it written or the scheme's own.
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

    /// Returns path and query as the origin is asked for them.
    pub fn path_and_query(&self) -> &str {
        self.layout.path_and_query(&self.text)
    }

    /// Tells whether `other` has the same scheme, host and port.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        self.origin() == other.origin()
    }

    /// Drops the query with its `?`.
    pub fn without_query(mut self) -> Self {
        self.text.truncate(self.layout.query_at as usize);
        self.layout.end = self.layout.query_at;
        self
    }

    /// Keeps the parameters of the query whose name, percent-decoded, `keep` answers with true, in their order and as
    /// they are written. Parameters are what stands between `&`; where none is left, the `?` goes too.
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

/// Puts a host, perhaps with a port, in canonical form, its port as it is written, be it a scheme's own or not.
///
/// # Errors
/// As those of [`CanonicalUrl::new`].
pub fn canonical_host(authority: &str) -> Result<String, TargetError> {
    let of = |scheme| CanonicalUrl::new(scheme, authority, "/");
    let (http, https) = (of(Scheme::Http)?, of(Scheme::Https)?);
    // A port is left out by its own scheme alone.
    Ok([http.authority(), https.authority()].into_iter().max_by_key(|text| text.len()).unwrap_or_default().to_owned())
}

impl fmt::Debug for CanonicalUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What an [`Extra`] was taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtraSource {
    /// A request field.
    Header,
    /// A cookie.
    Cookie,
    /// The route's mode: what is kept in shadow mode is found by no request that is served.
    Mode,
}

/// What a route adds to a key: a named value of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    /// Where it was found, so that a field and a cookie of one name stay apart.
    pub source: ExtraSource,
    /// Its name.
    pub name: &'a str,
    /// Its value; `None` where the request has none, which is not the same as an empty one.
    pub value: Option<Cow<'a, [u8]>>,
}

/// The name of a cached resource: the canonical URL, and after a line feed each thing that a route adds.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    /// `url` or `url\nheader:name=value\ncookie:name…`.
    text: String,
    layout: Layout,
    hash: u128,
}

impl Key {
    /// Returns the whole key.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the URL part of the key.
    pub fn url(&self) -> &str {
        &self.text[..self.layout.end as usize]
    }

    /// Returns the keyed hash that finds it in the map.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Returns the URL's scheme.
    pub fn scheme(&self) -> Scheme {
        self.layout.scheme
    }

    /// Returns the URL's host with its port where that is not the scheme's own.
    pub fn authority(&self) -> &str {
        self.layout.authority(&self.text)
    }

    /// Returns the URL's path, which starts with `/`.
    pub fn path(&self) -> &str {
        self.layout.path(&self.text)
    }

    /// Returns path and query as the origin is asked for them.
    pub fn path_and_query(&self) -> &str {
        self.layout.path_and_query(&self.text)
    }

    /// Makes the canonical URL that the key was made from.
    pub fn to_url(&self) -> CanonicalUrl {
        CanonicalUrl { text: self.url().to_owned(), layout: self.layout }
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(self.hash);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// Hashes keys with a secret of this process, so that nobody can choose keys that collide.
pub struct KeyHasher {
    secret: Box<[u8; 192]>,
}

impl KeyHasher {
    /// Makes a hasher with a secret of its own.
    ///
    /// The standard library's random state holds 128 bits that the operating system chose for this thread; its keyed hash
    /// (SipHash) stretches them. That is enough here: a lookup compares the whole key, so that who guessed the secret
    /// could cause misses and nothing worse.
    pub fn new() -> Self {
        let random = RandomState::new();
        let mut secret = Box::new([0; 192]);
        for (index, chunk) in secret.chunks_exact_mut(8).enumerate() {
            chunk.copy_from_slice(&random.hash_one(index).to_le_bytes());
        }
        Self { secret }
    }

    /// Makes the key of `url` with what the route adds. Without extras the URL's own text becomes the key's.
    pub fn key<'a>(&self, url: CanonicalUrl, extras: impl IntoIterator<Item = Extra<'a>>) -> Key {
        let CanonicalUrl { mut text, layout } = url;
        for extra in extras {
            // A canonical URL has no line feed, and names and values are escaped: no value can forge another extra.
            text.push_str(match extra.source {
                ExtraSource::Header => "\nheader:",
                ExtraSource::Cookie => "\ncookie:",
                ExtraSource::Mode => "\nmode:",
            });
            canonical::push_opaque(&mut text, extra.name.as_bytes());
            if let Some(value) = &extra.value {
                text.push('=');
                canonical::push_opaque(&mut text, value);
            }
        }
        let hash = self.fingerprint(text.as_bytes());
        Key { text, layout, hash }
    }

    /// Returns what hashes bytes with the secret that come in pieces.
    pub fn pieces(&self) -> Box<Xxh3> {
        Box::new(Xxh3::with_secret(*self.secret))
    }

    /// Hashes bytes with the secret: who does not know it can neither guess them nor make others with the same hash.
    pub fn fingerprint(&self, bytes: &[u8]) -> u128 {
        xxh3_128_with_secret(bytes, &self.secret[..])
    }
}

impl Default for KeyHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for KeyHasher {
    /// Keeps the secret to itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

#[cfg(test)]
impl Key {
    /// Makes a key with a hash of the test's choice.
    pub(crate) fn for_tests(text: &str, hash: u128) -> Self {
        let (url, extras) = text.split_once('\n').map_or((text, None), |(url, extras)| (url, Some(extras)));
        let url = CanonicalUrl::parse_absolute(url).expect("a test's key starts with a URL");
        let text = extras.map_or_else(|| url.text.clone(), |extras| format!("{}\n{extras}", url.text));
        Self { text, layout: url.layout, hash }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn url(text: &str) -> CanonicalUrl {
        CanonicalUrl::parse_absolute(text).unwrap()
    }

    fn extra<'a>(source: ExtraSource, name: &'a str, value: Option<&'a [u8]>) -> Extra<'a> {
        Extra { source, name, value: value.map(Cow::Borrowed) }
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

    #[test]
    fn a_key_without_extras_is_its_url() {
        let hasher = KeyHasher::new();
        let key = hasher.key(url("http://a.org/b?c"), []);
        assert_eq!((key.text(), key.url()), ("http://a.org/b?c", "http://a.org/b?c"));
        assert_eq!((key.scheme(), key.authority(), key.path()), (Scheme::Http, "a.org", "/b"));
        assert_eq!(key, hasher.key(url("http://A.org:80/b?c"), []));
        assert_ne!(key.hash(), hasher.key(url("http://a.org/b?d"), []).hash());
        assert_ne!(key.hash(), KeyHasher::new().key(url("http://a.org/b?c"), []).hash(), "each has its own secret");
    }

    #[test]
    fn extras_cannot_be_forged_and_absent_is_not_empty() {
        use ExtraSource::{Cookie, Header};
        let hasher = KeyHasher::new();
        let text = |extras: &[Extra<'static>]| hasher.key(url("http://a/?q"), extras.iter().cloned());
        let with_value = text(&[extra(Header, "x", Some(b"1\ncookie:y=2%\xff"))]);
        assert_eq!(with_value.text(), "http://a/?q\nheader:x=1%0Acookie:y%3D2%25%FF");
        assert_eq!(with_value.url(), "http://a/?q");
        assert_eq!(with_value.path_and_query(), "/?q");
        assert_eq!(with_value.to_url(), url("http://a/?q"));
        assert_ne!(text(&[extra(Header, "x", None)]), text(&[extra(Header, "x", Some(b""))]));
        assert_ne!(text(&[extra(Header, "x", None)]), text(&[extra(Cookie, "x", None)]));
        assert_ne!(text(&[extra(Header, "x=", None)]), text(&[extra(Header, "x", Some(b""))]));
    }

    fn extras() -> impl Strategy<Value = Vec<(bool, String, Option<Vec<u8>>)>> {
        let name = "[ab=%\n]{0,2}";
        let value =
            proptest::option::of(proptest::collection::vec(proptest::sample::select(&b"a\n%=:0A\xe9"[..]), 0..3));
        proptest::collection::vec((any::<bool>(), name, value), 0..3)
    }

    proptest! {
        #[test]
        fn two_lists_of_extras_share_a_key_only_if_they_are_the_same(one in extras(), two in extras()) {
            let hasher = KeyHasher::new();
            let key = |list: &[(bool, String, Option<Vec<u8>>)]| {
                let each = list.iter().map(|(is_header, name, value)| {
                    extra(if *is_header { ExtraSource::Header } else { ExtraSource::Cookie }, name, value.as_deref())
                });
                hasher.key(url("http://a/"), each)
            };
            prop_assert_eq!(key(&one) == key(&two), one == two);
        }
    }
}
