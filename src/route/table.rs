//! The routes of the configuration in order. The first one that matches gives the rule.

use std::sync::Arc;

use http::Method;

use super::matching::{PathMatcher, merged};
use super::rule::{RouteMode, Rule};
use crate::key::CanonicalUrl;

/// Returns the number that users see for the route with this index: the first `[[route]]` is 1.
pub fn number(index: u16) -> u32 {
    u32::from(index) + 1
}

/// Which rules of a [`Table`] are in shadow mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShadowRoutes {
    /// Every rule.
    All,
    /// Some rules.
    Some,
    /// No rule.
    None,
}

/// The routes of the configuration, in order, and the rule for requests that match none.
#[derive(Clone, Debug)]
pub struct Table {
    routes: Vec<(PathMatcher, Arc<Rule>)>,
    fallback: Arc<Rule>,
}

impl Table {
    /// Makes a table of `routes` in the order of the file.
    pub fn new(routes: Vec<(PathMatcher, Arc<Rule>)>, fallback: Arc<Rule>) -> Self {
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

    /// Returns which rules are in shadow mode.
    pub fn shadow_routes(&self) -> ShadowRoutes {
        let rules = self.routes.iter().map(|(_, rule)| rule).chain([&self.fallback]);
        let (all, some) = rules.fold((true, false), |(all, some), rule| {
            let is_shadowed = rule.mode == RouteMode::Shadow;
            (all && is_shadowed, some || is_shadowed)
        });
        match (all, some) {
            (true, _) => ShadowRoutes::All,
            (false, true) => ShadowRoutes::Some,
            (false, false) => ShadowRoutes::None,
        }
    }

    /// Returns the rule of the route with this index.
    pub fn rule(&self, index: u16) -> Option<&Arc<Rule>> {
        self.routes.get(usize::from(index)).map(|(_, rule)| rule)
    }

    /// Returns the matcher of the route with this index.
    pub fn matcher(&self, index: u16) -> Option<&PathMatcher> {
        self.routes.get(usize::from(index)).map(|(matcher, _)| matcher)
    }
}

#[cfg(test)]
mod tests {
    use super::super::matching::PathPattern;
    use super::*;

    fn url(text: &str) -> CanonicalUrl {
        CanonicalUrl::parse_absolute(text).unwrap()
    }

    #[test]
    fn the_first_route_that_matches_wins() {
        let route = |index, path: &str, host: Option<&str>, methods: &[Method]| {
            let matcher = PathMatcher {
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
}
