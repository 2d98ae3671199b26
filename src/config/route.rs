//! `[[route]]`: what a route matches and what it overrides, and the [`Rule`] that comes of it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use super::keys::{Cache, Checked, OBJECT_MOST, SECOND, YEAR};
use super::kind;
use super::visit::Keys;
use crate::route::{CacheMode, Matcher, Mode, PathPattern, QueryRule, Rule, SetCookie, Table};

/// A route as configured; what it leaves out is taken from `[cache]` and `[memory]`.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct Route {
    pub name: Option<String>,
    pub path: Option<String>,
    pub host: Option<String>,
    pub methods: Vec<Method>,
    pub mode: Option<Mode>,
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
    pub key: Key,
}

/// `key.…`: what a route makes part of the key.
#[derive(Clone, Debug, Default, PartialEq)]
#[allow(missing_docs)] // Each field is the key of the same name; `config.toml` is its documentation.
pub struct Key {
    pub query: QueryRule,
    pub headers: Vec<HeaderName>,
    pub cookies: Vec<String>,
}

/// The most patterns of cookies that do not count: each is compared with each cookie of some requests.
pub(super) const COOKIES_MAX: usize = 100;

/// How cookies are written down, here and under `[cache]`.
pub(super) const SET_COOKIE: [(&str, SetCookie); 3] =
    [("obey", SetCookie::Obey), ("strip", SetCookie::Strip), ("never-store", SetCookie::NeverStore)];

/// How modes are written down, here and at the top of the file.
pub(super) const MODES: [(&str, Mode); 2] = [("serve", Mode::Serve), ("shadow", Mode::Shadow)];

const CACHE_MODES: [(&str, CacheMode); 3] =
    [("obey", CacheMode::Obey), ("force", CacheMode::Force), ("bypass", CacheMode::Bypass)];

impl Route {
    /// Describes the keys of a route.
    pub(super) fn keys<K: Keys>(&mut self, keys: &mut K) {
        let any = || kind::span(Duration::ZERO..=YEAR).optional();
        keys.key("name", &mut self.name, kind::text(64).optional());
        keys.key("path", &mut self.path, kind::path_pattern().optional());
        keys.key("host", &mut self.host, kind::host_pattern().optional());
        keys.key("methods", &mut self.methods, kind::method().list(20));
        keys.key("mode", &mut self.mode, kind::choice(&MODES).optional());
        keys.key("cache", &mut self.cache, kind::choice(&CACHE_MODES));
        keys.key("ttl", &mut self.ttl, kind::span(SECOND..=YEAR).optional());
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

    /// Returns the name by which the figures list it: its own, or what it matches.
    pub fn shown_name(&self) -> String {
        let own = self.name.clone();
        own.or_else(|| match (&self.host, &self.path) {
            (None, None) => None,
            (host, path) => Some(format!("{}{}", host.as_deref().unwrap_or(""), path.as_deref().unwrap_or(""))),
        })
        .unwrap_or_else(|| "*".to_owned())
    }

    /// Tells whether it matches every request.
    pub(super) fn matches_all(&self) -> bool {
        self.host.is_none() && self.methods.is_empty() && self.path.as_deref().is_none_or(|path| path == "/")
    }

    fn matcher(&self) -> Matcher {
        let parse = |path: &String| PathPattern::parse(path).expect("the path was parsed when the file was read");
        Matcher {
            path: self.path.as_ref().map(parse),
            host: self.host.as_deref().map(Box::from),
            methods: self.methods.clone().into_boxed_slice(),
        }
    }

    /// Makes the complete rule: `base` with what the route overrides.
    fn rule(&self, index: u16, base: &Rule) -> Rule {
        Rule {
            index: Some(index),
            mode: self.mode.unwrap_or(base.mode),
            cache: self.cache,
            ttl: self.ttl,
            heuristic_fraction: self.heuristic_fraction.unwrap_or(base.heuristic_fraction),
            heuristic_max: self.heuristic_max.unwrap_or(base.heuristic_max),
            stale_if_error: self.stale_if_error.unwrap_or(base.stale_if_error),
            stale_if_error_covers_status: self.stale_if_error.is_some(),
            stale_while_revalidate: self.stale_while_revalidate.unwrap_or(base.stale_while_revalidate),
            set_cookie: self.set_cookie.unwrap_or(base.set_cookie),
            object_bytes_max: self.object_bytes_max.unwrap_or(base.object_bytes_max),
            query: self.key.query.clone(),
            key_headers: self.key.headers.clone().into_boxed_slice(),
            key_cookies: self.key.cookies.iter().map(|name| name.as_str().into()).collect(),
            personalisation_guard: self.personalisation_guard.unwrap_or(base.personalisation_guard),
            ignore_cookies: match &self.ignore_cookies {
                Some(names) => patterns(names),
                None => Arc::clone(&base.ignore_cookies),
            },
            ..base.clone()
        }
    }
}

/// Makes the rule for what no route matches.
fn base_rule(mode: Mode, cache: &Cache, object_bytes_max: u64) -> Rule {
    Rule {
        index: None,
        mode,
        cache: CacheMode::Obey,
        ttl: None,
        ttl_by_status: cache.ttl_by_status.as_slice().into(),
        heuristic_fraction: cache.heuristic_fraction,
        heuristic_max: cache.heuristic_max,
        stale_if_error: cache.stale_if_error,
        stale_if_error_covers_status: false,
        stale_while_revalidate: cache.stale_while_revalidate,
        strict_s_maxage: cache.strict_s_maxage,
        obey_client_no_cache: cache.obey_client_no_cache,
        store_unsized: cache.store_unsized,
        set_cookie: cache.set_cookie,
        object_bytes_max,
        query: QueryRule::All,
        key_headers: Box::default(),
        key_cookies: Box::default(),
        personalisation_guard: cache.personalisation_guard,
        ignore_cookies: patterns(&cache.ignore_cookies),
    }
}

/// Boxes the patterns of cookies that do not count.
fn patterns(names: &[String]) -> Arc<[Box<str>]> {
    names.iter().map(|name| name.as_str().into()).collect()
}

/// Makes the table of routes.
pub(super) fn table(checked: &Checked) -> Table {
    let base = base_rule(checked.mode, &checked.cache, checked.memory.object_bytes_max);
    // There are at most 255, so that the index fits.
    let routes =
        (0u16..).zip(&checked.routes).map(|(index, route)| (route.matcher(), Arc::new(route.rule(index, &base))));
    Table::new(routes.collect(), Arc::new(base.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_rule_of_the_defaults_is_the_default_rule() {
        let checked = Checked::default();
        let base = base_rule(checked.mode, &checked.cache, checked.memory.object_bytes_max);
        assert_eq!(base, Rule::default());
    }

    #[test]
    fn a_route_overrides_what_it_names_and_nothing_else() {
        let base = base_rule(Mode::Shadow, &Cache { stale_if_error: 5 * SECOND, ..Cache::default() }, 1000);
        let plain = Route::default().rule(3, &base);
        assert_eq!(plain, Rule { index: Some(3), ..base.clone() });
        let route = Route { stale_if_error: Some(SECOND), set_cookie: Some(SetCookie::Strip), ..Route::default() };
        let rule = route.rule(0, &base);
        assert_eq!((rule.stale_if_error, rule.stale_if_error_covers_status), (SECOND, true));
        assert_eq!((rule.set_cookie, rule.object_bytes_max), (SetCookie::Strip, 1000));
        let modes = [None, Some(Mode::Serve)].map(|mode| Route { mode, ..Route::default() }.rule(0, &base).mode);
        assert_eq!(modes, [Mode::Shadow, Mode::Serve]);
        let ignore_cookies = Some(vec!["consent".to_owned()]);
        let rule = Route { personalisation_guard: Some(false), ignore_cookies, ..Route::default() }.rule(0, &base);
        assert_eq!((rule.personalisation_guard, rule.ignore_cookies), (false, Arc::from(["consent".into()])));
    }
}
