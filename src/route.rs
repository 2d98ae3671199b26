//! Routes: which rule of the configuration applies to a request.
//!
//! A [`Rule`] is complete: what a `[[route]]` leaves out is filled in from `[cache]`, `[memory]` and `[compression]` when
//! the configuration is checked, so that the way of a request takes one value and asks no further. First match wins, on
//! the canonical path. Nothing here looks at a response. What a route matches is in `matching`.

mod matching;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, Method, StatusCode, header};

use crate::key::{CanonicalUrl, Extra, ExtraSource, Key, KeyHasher};

pub use matching::{Matcher, PathPattern, host_matches, merged};

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
pub enum Mode {
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

/// Which query parameters a key keeps. Those it drops are dropped from the origin's request too.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum QueryRule {
    /// All, in the order they came.
    #[default]
    All,
    /// None.
    None,
    /// Those whose name matches one of these patterns (`*` stands for any run of characters).
    Keep(Box<[Box<str>]>),
    /// Those whose name matches none of these patterns.
    Drop(Box<[Box<str>]>),
}

impl QueryRule {
    /// Returns `url` with the parameters that count. Names are compared percent-decoded, with their case.
    pub fn apply(&self, url: CanonicalUrl) -> CanonicalUrl {
        let any = |patterns: &[Box<str>], name: &str| patterns.iter().any(|pattern| wildcard(pattern, name));
        match self {
            Self::All => url,
            Self::None => url.without_query(),
            Self::Keep(patterns) => url.retain_query(|name| any(patterns, name)),
            Self::Drop(patterns) => url.retain_query(|name| !any(patterns, name)),
        }
    }
}

/// Tells whether `name` is `pattern`, in which each `*` stands for any run of characters.
pub fn wildcard(pattern: &str, name: &str) -> bool {
    let Some((head, mut pattern)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(head) else { return false };
    // Each inner piece is taken where it first occurs: that leaves the most for the rest.
    while let Some((piece, rest)) = pattern.split_once('*') {
        let Some(at) = name.find(piece) else { return false };
        name = &name[at + piece.len()..];
        pattern = rest;
    }
    name.ends_with(pattern)
}

/// Everything that the configuration says about a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// The index of the `[[route]]` in the file; `None` where no route matched.
    pub index: Option<u16>,
    /// Whether its requests are answered from the cache at all.
    pub mode: Mode,
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
            mode: Mode::Serve,
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
            value: joined(headers.get_all(name).iter().map(|line| line.as_bytes()), b", "),
        });
        // Origins differ in which of several cookies of one name they take; so all of them are part of the key.
        let cookies = self.key_cookies.iter().map(|name| Extra {
            source: ExtraSource::Cookie,
            name,
            value: joined(cookie_values(headers, name), b";"),
        });
        let mode =
            (self.mode == Mode::Shadow).then_some(Extra { source: ExtraSource::Mode, name: "shadow", value: None });
        hasher.key(self.query.apply(url), fields.chain(cookies).chain(mode))
    }
}

/// Joins `values`; `None` where there is none. One value is borrowed.
fn joined<'a>(mut values: impl Iterator<Item = &'a [u8]>, separator: &[u8]) -> Option<Cow<'a, [u8]>> {
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

/// Returns the number by which people know the route of this index: the first `[[route]]` is 1.
pub fn number(index: u16) -> u32 {
    u32::from(index) + 1
}

/// How much of a [`Table`] is in shadow mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shadowed {
    /// Every rule.
    All,
    /// Some rules.
    Some,
    /// No rule.
    None,
}

/// The routes of the configuration, in order, and the rule for what none of them matches.
#[derive(Clone, Debug)]
pub struct Table {
    routes: Vec<(Matcher, Arc<Rule>)>,
    fallback: Arc<Rule>,
}

impl Table {
    /// Makes a table; `routes` in the order of the file.
    pub fn new(routes: Vec<(Matcher, Arc<Rule>)>, fallback: Arc<Rule>) -> Self {
        Self { routes, fallback }
    }

    /// Returns the rule of the first route that matches.
    pub fn choose(&self, method: &Method, url: &CanonicalUrl) -> &Arc<Rule> {
        if self.routes.is_empty() {
            return &self.fallback;
        }
        let path = merged(url.path());
        let found = self.routes.iter().find(|(matcher, _)| matcher.matches(method, url, &path));
        found.map_or(&self.fallback, |(_, rule)| rule)
    }

    /// Tells which rules are in shadow mode.
    pub fn shadowed(&self) -> Shadowed {
        let rules = self.routes.iter().map(|(_, rule)| rule).chain([&self.fallback]);
        let (all, some) = rules.fold((true, false), |(all, some), rule| {
            let is_shadowed = rule.mode == Mode::Shadow;
            (all && is_shadowed, some || is_shadowed)
        });
        match (all, some) {
            (true, _) => Shadowed::All,
            (false, true) => Shadowed::Some,
            (false, false) => Shadowed::None,
        }
    }

    /// Returns the rule of the route with this index.
    pub fn rule(&self, index: u16) -> Option<&Arc<Rule>> {
        self.routes.get(usize::from(index)).map(|(_, rule)| rule)
    }

    /// Returns what a request must look like for the route with this index.
    pub fn matcher(&self, index: u16) -> Option<&Matcher> {
        self.routes.get(usize::from(index)).map(|(matcher, _)| matcher)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn url(text: &str) -> CanonicalUrl {
        CanonicalUrl::parse_absolute(text).unwrap()
    }

    #[test]
    fn the_first_route_that_matches_wins() {
        let route = |index, path: &str, host: Option<&str>, methods: &[Method]| {
            let matcher = Matcher {
                path: (!path.is_empty()).then(|| PathPattern::parse(path).unwrap()),
                host: host.map(Into::into),
                methods: methods.into(),
            };
            (matcher, Arc::new(Rule { index: Some(index), ..Rule::default() }))
        };
        let routes = vec![
            route(0, "/a/", None, &[Method::POST]),
            route(1, "/a/", Some("one.org"), &[]),
            route(2, "/a/", None, &[Method::GET]),
            route(3, "/a/b", None, &[]),
            route(4, "", Some("*.two.org"), &[]),
            route(5, "/fetch/https://**", None, &[]),
        ];
        let table = Table::new(routes, Arc::default());
        for (method, text, expected) in [
            (Method::POST, "http://one.org/a/b", Some(0)),
            (Method::GET, "http://one.org/a/b", Some(1)),
            (Method::HEAD, "http://x.org/a/b", Some(2)),
            (Method::PUT, "http://x.org/a/b", Some(3)),
            (Method::PUT, "http://x.two.org/c", Some(4)),
            (Method::GET, "http://x.org/c/..%2fa/", None),
            (Method::GET, "http://x.org/c/%2e%2e/a/", Some(2)),
            (Method::PUT, "http://x.org//a///b", Some(3)),
            (Method::GET, "http://x.org//a/", Some(2)),
            (Method::GET, "http://x.org/fetch/https://b/c", Some(5)),
        ] {
            assert_eq!(table.choose(&method, &url(text)).index, expected, "{method} {text}");
        }
    }

    #[test]
    fn wildcards_stand_for_any_run() {
        for (pattern, yes, no) in [
            ("a", &["a"][..], &["", "ab", "A"][..]),
            ("*", &["", "a", "utm_x"], &[]),
            ("utm_*", &["utm_", "utm_source"], &["utm", "xutm_a"]),
            ("*_id", &["_id", "a_id_id"], &["_idx", "id"]),
            ("a*b*c", &["abc", "a1b2c", "abbcc", "abcbc"], &["ac", "acb", "abcd"]),
            ("ab*ba", &["abba", "ab1ba"], &["aba"]),
        ] {
            assert!(yes.iter().all(|name| wildcard(pattern, name)), "{pattern}");
            assert!(!no.iter().any(|name| wildcard(pattern, name)), "{pattern}");
        }
    }

    #[test]
    fn a_query_rule_keeps_order_and_spelling() {
        let names = |list: &[&str]| list.iter().map(|&name| name.into()).collect();
        for (rule, query, expected) in [
            (QueryRule::All, "?b=2&a=1&&", "?b=2&a=1&&"),
            (QueryRule::None, "?b=2", ""),
            (QueryRule::None, "?", ""),
            (QueryRule::None, "", ""),
            (QueryRule::Keep(names(&["a", "c"])), "?c=%2f&b=2&a=1&a", "?c=%2F&a=1&a"),
            (QueryRule::Keep(names(&["a[*"])), "?a%5B%5D=1&a[]=2&A[=3", "?a%5B%5D=1&a[]=2"),
            (QueryRule::Keep(names(&["x"])), "?a=x", ""),
            (QueryRule::Drop(names(&["utm_*"])), "?utm_a=1&b=utm_&%75tm_c=3", "?b=utm_"),
            (QueryRule::Drop(names(&["utm_*"])), "?utm_a=1", ""),
            (QueryRule::Drop(names(&["utm_*"])), "?", "?"),
        ] {
            let found = rule.apply(url(&format!("http://x.org/p{query}")));
            assert_eq!(found.path_and_query(), format!("/p{expected}"), "{rule:?} {query}");
            assert_eq!(found, url(found.as_str()), "the layout fits the text");
        }
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
