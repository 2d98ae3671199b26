//! A rule: the part of the configuration that applies to one request, and the key that it makes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode};

use super::query::QueryRule;
use crate::key::{CanonicalUrl, Extra, ExtraSource, Key, KeyHasher};
use crate::syntax::cookie;

/// How a route uses the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// The response's headers decide.
    #[default]
    Obey,
    /// The route's `ttl` overrides lifetime, no-cache and no-store of GETs without credentials;
    /// never private, Set-Cookie, `Vary: *` or errors.
    Force,
    /// Neither looked up nor stored.
    Bypass,
}

/// A route's mode: served from the cache, or only observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RouteMode {
    /// Requests are answered from the cache.
    #[default]
    Serve,
    /// Requests are passed, and their would-be outcomes are counted.
    Shadow,
}

/// The treatment of responses that set a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SetCookie {
    /// Stored if the response has an explicit lifetime (RFC 9111 §7.3).
    Obey,
    /// The header is removed from the response, which is then stored as if it had none.
    Strip,
    /// Never stored, whatever else the response says: the cookie may be one visitor's session.
    #[default]
    NeverStore,
}

/// The whole configuration of one request.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The index of the `[[route]]` in the file; `None` where no route matched.
    pub index: Option<u16>,
    /// The mode: served from the cache, or only observed.
    pub mode: RouteMode,
    /// How the cache is used.
    pub cache: CacheMode,
    /// The lifetime of responses without an explicit one.
    pub ttl: Option<Duration>,
    /// Lifetimes by status, for responses without an explicit lifetime on routes without `ttl`.
    pub ttl_by_status: Arc<[(StatusCode, Duration)]>,
    /// The share of the time since Last-Modified for which a response without a lifetime is fresh
    /// (0.0 to 1.0).
    pub heuristic_fraction: f64,
    /// The longest heuristic lifetime.
    pub heuristic_max: Duration,
    /// How long past freshness a stale response is served instead of an unreachable origin's.
    pub stale_if_error: Duration,
    /// True if the route itself set `stale_if_error`. Only then does it cover 5xx responses too.
    pub stale_if_error_covers_status: bool,
    /// The stale-while-revalidate window of responses that name none.
    pub stale_while_revalidate: Duration,
    /// True if s-maxage forbids stale use even with an explicit stale-while-revalidate.
    pub strict_s_maxage: bool,
    /// True if a client's no-cache, max-age, min-fresh and Pragma are obeyed.
    pub obey_client_no_cache: bool,
    /// True if bodies are stored that only the closing connection ends.
    pub store_unsized: bool,
    /// The treatment of responses that set a cookie.
    pub set_cookie: SetCookie,
    /// The largest body to store, in bytes.
    pub object_bytes_max: u64,
    /// The query parameters that are part of the key.
    pub query: QueryRule,
    /// Request headers whose values are part of the key.
    pub key_headers: Box<[HeaderName]>,
    /// Cookies whose values are part of the key.
    pub key_cookies: Box<[Box<str>]>,
    /// True to detect personalised pages that lack `Vary: Cookie` or `private`.
    pub personalisation_guard: bool,
    /// Cookies that do not change what a user gets, as patterns. `*` stands for any run of
    /// characters, but never matches a name that ends in `_session`.
    pub ignore_cookies: Arc<[Box<str>]>,
}

/// Cookies of analytics and advertising scripts, which no app reads: Google (no `_ga*`, which would
/// match the session of every Rails app whose name begins so), Meta, Hotjar, Matomo, Microsoft,
/// HubSpot, TikTok.
pub const IGNORED_COOKIES: [&str; 18] = [
    "_ga",
    "_ga_*",
    "_gac_*",
    "_gat",
    "_gat_*",
    "_gid",
    "_gcl_*",
    "__utm*",
    "_fbp",
    "_fbc",
    "_hj*",
    "_pk_*",
    "_clck",
    "_clsk",
    "_uet*",
    "__hs*",
    "hubspotutk",
    "_ttp",
];

impl Default for Rule {
    /// Returns the built-in defaults, as `config.toml` documents them.
    fn default() -> Self {
        Self {
            index: None,
            mode: RouteMode::Serve,
            cache: CacheMode::Obey,
            ttl: None,
            ttl_by_status: Arc::from([]),
            heuristic_fraction: 0.1,
            heuristic_max: Duration::from_secs(24 * 3600),
            stale_if_error: Duration::from_secs(3600),
            stale_if_error_covers_status: false,
            stale_while_revalidate: Duration::ZERO,
            strict_s_maxage: false,
            obey_client_no_cache: true,
            store_unsized: false,
            set_cookie: SetCookie::NeverStore,
            object_bytes_max: 10 << 20,
            query: QueryRule::All,
            key_headers: Box::default(),
            key_cookies: Box::default(),
            personalisation_guard: true,
            ignore_cookies: IGNORED_COOKIES.iter().map(|&pattern| pattern.into()).collect(),
        }
    }
}

impl Rule {
    /// Makes the key of a request from the part of `url` that the rule keeps, and from the values
    /// of its headers and cookies. The key's path and query are the ones to request from the
    /// origin.
    pub fn key_of(&self, hasher: &KeyHasher, url: CanonicalUrl, headers: &HeaderMap) -> Key {
        let fields = self.key_headers.iter().map(|name| Extra {
            source: ExtraSource::Header,
            name: name.as_str(),
            value: join(headers.get_all(name).iter().map(|line| line.as_bytes()), b", "),
        });
        // Origins differ in which of several cookies of one name they read, so the key contains all
        // of them.
        let cookies = self.key_cookies.iter().map(|name| Extra {
            source: ExtraSource::Cookie,
            name,
            value: join(cookie_values(headers, name), b";"),
        });
        let mode = (self.mode == RouteMode::Shadow).then_some(Extra {
            source: ExtraSource::Mode,
            name: "shadow",
            value: None,
        });
        hasher.key(self.query.apply(url), fields.chain(cookies).chain(mode))
    }
}

/// Joins `values`; `None` if there is none. A single value is borrowed.
fn join<'a>(mut values: impl Iterator<Item = &'a [u8]>, separator: &[u8]) -> Option<Cow<'a, [u8]>> {
    let first = values.next().map(Cow::Borrowed)?;
    Some(values.fold(first, |mut all, value| {
        all.to_mut().extend_from_slice(separator);
        all.to_mut().extend_from_slice(value);
        all
    }))
}

/// Iterates over the values of the request's cookies with that name, as written.
/// A cookie without `=` has an empty value, as many apps read it.
fn cookie_values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let named = cookie::cookies(headers).filter(move |cookie| cookie.name == name.as_bytes());
    named.map(|cookie| cookie.value.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderValue, header};

    fn url(text: &str) -> CanonicalUrl {
        CanonicalUrl::parse_absolute(text).unwrap()
    }

    #[track_caller]
    fn check_key(fields: &[(HeaderName, &'static [u8])], expected: &str) {
        let rule = Rule {
            query: QueryRule::None,
            key_headers: Box::new([HeaderName::from_static("x-plan")]),
            key_cookies: Box::new(["lang".into()]),
            ..Rule::default()
        };
        let headers = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value).unwrap()));
        let mut map = HeaderMap::new();
        headers.for_each(|(name, value)| _ = map.append(name, value));
        let key = rule.key_of(&KeyHasher::new(), url("http://x.org/a?b"), &map);
        assert_eq!(key.text(), format!("http://x.org/a{expected}"));
        assert_eq!(key.path_and_query(), "/a");
    }

    #[test]
    fn a_key_holds_the_fields_and_cookies_of_its_rule() {
        let (plan, cookie) = (HeaderName::from_static("x-plan"), header::COOKIE);
        check_key(&[], "\nheader:x-plan\ncookie:lang");
        check_key(&[(plan.clone(), b""), (cookie.clone(), b"lang=")], "\nheader:x-plan=\ncookie:lang=");
        check_key(
            &[
                (plan.clone(), b"a"),
                (plan.clone(), b"b%\xe9"),
                (cookie.clone(), b"Lang=x;lang; xlang=1; lang = de ;lang"),
            ],
            "\nheader:x-plan=a, b%25%E9\ncookie:lang=;de;",
        );
        check_key(
            &[(cookie.clone(), b"a=1; lang=en"), (cookie.clone(), b"lang=de=fr")],
            "\nheader:x-plan\ncookie:lang=en;de%3Dfr",
        );
    }
}
