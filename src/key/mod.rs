//! The canonical URL of a request, and the [`Key`] made from it.
//!
//! The canonical form is computed once, before a route is chosen. Routes match it, keys contain it
//! *and* the origin request is made from it, so the three always mean the same resource.
//! `canonical` turns bytes into canonical form; `reference` resolves references. Deliberately
//! absent: which parameters, headers and cookies are part of a key. A route says that.

mod canonical;
mod prehashed;
mod reference;
mod scheme;
mod url;

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::{Xxh3, xxh3_128_with_secret};

use crate::random;
pub use canonical::TargetError;
pub use prehashed::PassThroughHash;
pub use scheme::Scheme;
use url::Layout;
pub use url::{CanonicalUrl, canonical_host};

/// The source of an [`Extra`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExtraSource {
    /// A request field.
    Header,
    /// A cookie.
    Cookie,
    /// The route's mode, so that no live request finds a response stored in shadow mode.
    Mode,
}

/// A named value of the request that a route adds to the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extra<'a> {
    /// The source of the value, so that a header and a cookie of one name stay apart.
    pub source: ExtraSource,
    /// The name of the header or cookie.
    pub name: &'a str,
    /// The value; `None` where the request has none, which differs from an empty one.
    pub value: Option<Cow<'a, [u8]>>,
}

/// The name of a cached resource: the canonical URL, followed by one line for each extra of the
/// route.
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

    /// Returns the keyed hash under which the map stores the key.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Returns the URL's scheme.
    pub fn scheme(&self) -> Scheme {
        self.layout.scheme
    }

    /// Returns the URL's host, with its port unless that is the scheme's default.
    pub fn authority(&self) -> &str {
        self.layout.authority(&self.text)
    }

    /// Returns the URL's path, which starts with `/`.
    pub fn path(&self) -> &str {
        self.layout.path(&self.text)
    }

    /// Returns the path and query to request from the origin.
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

/// Hashes keys with a secret of this process, so that nobody can construct keys that collide.
pub struct KeyHasher {
    secret: Box<[u8; 192]>,
}

impl KeyHasher {
    /// Makes a hasher with its own secret.
    ///
    /// The secret stretches 128 random bits, which is enough here: a lookup compares the whole key,
    /// so an attacker who guessed the secret could cause misses and nothing worse.
    pub fn new() -> Self {
        let mut secret = Box::new([0; 192]);
        for chunk in secret.chunks_exact_mut(8) {
            chunk.copy_from_slice(&random::bits().to_le_bytes());
        }
        Self { secret }
    }

    /// Makes the key of `url` with the extras of its route. Without extras, the URL's own text
    /// becomes the key's text.
    pub fn key<'a>(&self, url: CanonicalUrl, extras: impl IntoIterator<Item = Extra<'a>>) -> Key {
        let CanonicalUrl { mut text, layout } = url;
        for extra in extras {
            // A canonical URL contains no line feed, and names and values are escaped, so no value
            // can forge another extra.
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

    /// Returns a hasher with the secret for bytes that arrive in pieces.
    pub fn pieces(&self) -> Box<Xxh3> {
        Box::new(Xxh3::with_secret(*self.secret))
    }

    /// Hashes bytes with the secret. Without the secret, nobody can guess the bytes or construct
    /// others with the same hash.
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
    /// Does not print the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHasher")
    }
}

#[cfg(test)]
impl Key {
    /// Makes a key with a hash chosen by the test.
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
