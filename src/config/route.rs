//! `[[route]]`: the requests that a route matches, and the settings that it overrides.

use std::time::Duration;

use http::{HeaderName, Method};

use super::bounds::{OBJECT_MOST, SECOND, YEAR};
use super::kind;
use super::visit::Keys;
use crate::route::{CacheMode, PathPattern, QueryRule, RouteMode, SetCookie};

/// A route as configured; keys that it leaves out come from `[cache]` and `[memory]`.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct RouteSection {
    pub name: Option<String>,
    pub path: Option<String>,
    pub host: Option<String>,
    pub methods: Vec<Method>,
    pub mode: Option<RouteMode>,
    pub cache: CacheMode,
    pub ttl: Option<Duration>,
    pub stale_if_error: Option<Duration>,
    pub stale_while_revalidate: Option<Duration>,
    pub heuristic_fraction: Option<f64>,
    pub heuristic_max: Option<Duration>,
    pub object_bytes_max: Option<u64>,
    pub set_cookie: Option<SetCookie>,
    pub personalisation_guard: Option<bool>,
    pub ignore_cookies: Option<Vec<String>>,
    pub key: KeySection,
}

/// `key.…`: the request headers and parameters that are part of the key.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct KeySection {
    pub query: QueryRule,
    pub headers: Vec<HeaderName>,
    pub cookies: Vec<String>,
}

/// The maximum number of patterns for ignored cookies: each is compared with each cookie of some
/// requests.
pub(super) const COOKIES_MAX: usize = 100;

/// The words for `set_cookie`, here and under `[cache]`.
pub(super) const SET_COOKIE: [(&str, SetCookie); 3] =
    [("obey", SetCookie::Obey), ("strip", SetCookie::Strip), ("never-store", SetCookie::NeverStore)];

/// The words for `mode`, here and at the top of the file.
pub(super) const MODES: [(&str, RouteMode); 2] = [("serve", RouteMode::Serve), ("shadow", RouteMode::Shadow)];

const CACHE_MODES: [(&str, CacheMode); 3] =
    [("obey", CacheMode::Obey), ("force", CacheMode::Force), ("bypass", CacheMode::Bypass)];

impl RouteSection {
    /// Describes the keys of a route.
    pub(super) fn keys<K: Keys>(&mut self, keys: &mut K) {
        let any = || kind::duration(Duration::ZERO..=YEAR).optional();
        keys.key("name", &mut self.name, kind::text(64).optional());
        keys.key("path", &mut self.path, kind::path_pattern().optional());
        keys.key("host", &mut self.host, kind::host_pattern().optional());
        keys.key("methods", &mut self.methods, kind::method().list(20));
        keys.key("mode", &mut self.mode, kind::choice(&MODES).optional());
        keys.key("cache", &mut self.cache, kind::choice(&CACHE_MODES));
        keys.key("ttl", &mut self.ttl, kind::duration(SECOND..=YEAR).optional());
        keys.key("stale_if_error", &mut self.stale_if_error, any());
        keys.key("stale_while_revalidate", &mut self.stale_while_revalidate, any());
        keys.key("heuristic_fraction", &mut self.heuristic_fraction, kind::fraction(0.0..=1.0).optional());
        keys.key("heuristic_max", &mut self.heuristic_max, any());
        keys.key("object_bytes_max", &mut self.object_bytes_max, kind::bytes(0..=OBJECT_MOST).optional());
        keys.key("set_cookie", &mut self.set_cookie, kind::choice(&SET_COOKIE).optional());
        keys.key("personalisation_guard", &mut self.personalisation_guard, kind::flag().optional());
        keys.key("ignore_cookies", &mut self.ignore_cookies, kind::cookie_name().list(COOKIES_MAX).optional());
        keys.table("key", |keys| {
            keys.key("query", &mut self.key.query, kind::query_rule());
            keys.key("headers", &mut self.key.headers, kind::field_name().list(20));
            keys.key("cookies", &mut self.key.cookies, kind::cookie_name().list(20));
        });
    }

    /// Returns the name in stats and metrics: the route's own, or its host and path.
    pub fn shown_name(&self) -> String {
        let own = self.name.clone();
        own.or_else(|| match (&self.host, &self.path) {
            (None, None) => None,
            (host, path) => Some(format!("{}{}", host.as_deref().unwrap_or(""), path.as_deref().unwrap_or(""))),
        })
        .unwrap_or_else(|| "*".to_owned())
    }

    /// Tells whether the route surely matches every request that `other` matches. Globs cover only
    /// equal globs.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let pattern = |route: &Self| route.path.as_deref().and_then(|path| PathPattern::parse(path).ok());
        let covers_path = match (pattern(self), pattern(other)) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(PathPattern::Exact(path))) => own.matches(path.trim_start_matches('=')),
            (Some(PathPattern::Prefix(own)), Some(PathPattern::Prefix(path))) => {
                PathPattern::Prefix(own).matches(&path)
            }
            (Some(own), Some(path)) => own.as_str() == path.as_str(),
        };
        covers_path
            && (self.host.is_none() || self.host == other.host)
            && (self.methods.is_empty()
                || !other.methods.is_empty() && other.methods.iter().all(|method| self.methods.contains(method)))
    }

    /// Tells whether the route matches every request.
    pub(super) fn matches_all(&self) -> bool {
        self.host.is_none() && self.methods.is_empty() && self.path.as_deref().is_none_or(|path| path == "/")
    }
}
