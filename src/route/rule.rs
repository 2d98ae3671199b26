//! A rule: everything that the configuration says about a request, and the key that it makes.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, StatusCode, header};

use super::query::QueryRule;
use crate::key::{CanonicalUrl, Extra, ExtraSource, Key, KeyHasher};

/// What a route does with the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// The response's fields decide.
    #[default]
    Obey,
    /// The route's `ttl` overrides lifetime, no-cache and no-store of GETs without credentials; never private,
    /// Set-Cookie, `Vary: *` or errors.
    Force,
    /// Neither looked up nor stored.
    Bypass,
}

/// Whether a route's requests are answered from the cache at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RouteMode {
    /// They are.
    #[default]
    Serve,
    /// They are passed, and what would have become of them is counted.
    Shadow,
}

/// What happens to responses that set a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SetCookie {
    /// Stored where the response has an explicit lifetime (RFC 9111 §7.3).
    Obey,
    /// The field is removed from the response, which is then stored as if it had none.
    Strip,
    /// Never stored: the cookie may be one visitor's session, whatever else the response says.
    #[default]
    NeverStore,
}

/// Everything that the configuration says about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The index of the `[[route]]` in the file; `None` where no route matched.
    pub index: Option<u16>,
    /// Whether its requests are answered from the cache at all.
    pub mode: RouteMode,
    /// What is done with the cache.
    pub cache: CacheMode,
    /// The lifetime where the response has none of its own.
    pub ttl: Option<Duration>,
    /// Lifetimes by status, where neither the response nor the route has one.
    pub ttl_by_status: Arc<[(StatusCode, Duration)]>,
    /// The share of the time since Last-Modified that a response without a lifetime is fresh for (0.0 to 1.0).
    pub heuristic_fraction: f64,
    /// The longest heuristic lifetime.
    pub heuristic_max: Duration,
    /// How long past freshness a stale response stands in for an origin that cannot be reached.
    pub stale_if_error: Duration,
    /// Whether the route itself set `stale_if_error`: only then it also covers 5xx answers.
    pub stale_if_error_covers_status: bool,
    /// The stale-while-revalidate window where the response names none.
    pub stale_while_revalidate: Duration,
    /// Whether s-maxage forbids stale even with an explicit stale-while-revalidate.
    pub strict_s_maxage: bool,
    /// Whether a client's no-cache, max-age, min-fresh and Pragma are obeyed.
    pub obey_client_no_cache: bool,
    /// Whether bodies that only the closing connection ends are stored.
    pub store_unsized: bool,
    /// What happens to responses that set a cookie.
    pub set_cookie: SetCookie,
    /// The largest body that is stored, in bytes.
    pub object_bytes_max: u64,
    /// Which query parameters count.
    pub query: QueryRule,
    /// Request fields whose values are part of the key.
    pub key_headers: Box<[HeaderName]>,
    /// Cookies whose values are part of the key.
    pub key_cookies: Box<[Box<str>]>,
    /// Whether bodies are watched for being one user's.
    pub personalisation_guard: bool,
    /// Cookies that say nothing about what a user gets, as patterns (`*` stands for any run of characters, but takes in no
    /// name that ends in `_session`).
    pub ignore_cookies: Arc<[Box<str>]>,
}

/// Cookies of analytics and advertisement scripts, which no app reads: Google (no `_ga*`, which would be the session of every
/// Rails app whose name begins so), Meta, Hotjar, Matomo, Microsoft, HubSpot, TikTok.
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
    /// The built-in defaults, as `config.toml` documents them.
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
    /// Makes the key of a request: what the rule keeps of `url`, and the values of its fields and cookies. Its path and
    /// query are what the origin is to be asked for.
    pub fn key_of(&self, hasher: &KeyHasher, url: CanonicalUrl, headers: &HeaderMap) -> Key {
        let fields = self.key_headers.iter().map(|name| Extra {
            source: ExtraSource::Header,
            name: name.as_str(),
            value: join(headers.get_all(name).iter().map(|line| line.as_bytes()), b", "),
        });
        // Origins differ in which of several cookies of one name they take; so all of them are part of the key.
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

/// Joins `values`; `None` where there is none. One value is borrowed.
fn join<'a>(mut values: impl Iterator<Item = &'a [u8]>, separator: &[u8]) -> Option<Cow<'a, [u8]>> {
    let first = values.next().map(Cow::Borrowed)?;
    Some(values.fold(first, |mut all, value| {
        all.to_mut().extend_from_slice(separator);
        all.to_mut().extend_from_slice(value);
        all
    }))
}

/// Iterates over the values of the request's cookies of that name, as they are written (RFC 6265 §4.2.1). One without `=` is
/// empty, as many apps read it.
fn cookie_values<'a>(headers: &'a HeaderMap, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers.get_all(header::COOKIE).iter();
    lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';')).filter_map(move |pair| {
        let equals = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let value = pair.get(equals + 1..).unwrap_or_default();
        (pair[..equals].trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

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
