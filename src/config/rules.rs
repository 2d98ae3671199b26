//! The table of [`Rule`]s that the routes of a configuration make; defaults come from `[cache]` and
//! `[memory]`.

use std::sync::Arc;

use super::keys::{CacheSection, Settings};
use super::route::RouteSection;
use crate::route::{CacheMode, PathMatcher, PathPattern, QueryRule, RouteMode, Rule, Table};

/// Makes the table of routes.
pub(super) fn table(checked: &Settings) -> Table {
    let base = base_rule(checked.mode, &checked.cache, checked.memory.object_bytes_max);
    // There are at most 255 routes, so the index fits.
    let routes =
        (0u16..).zip(&checked.routes).map(|(index, route)| (route.matcher(), Arc::new(route.rule(index, &base))));
    Table::new(routes.collect(), Arc::new(base.clone()))
}

impl RouteSection {
    fn matcher(&self) -> PathMatcher {
        let parse = |path: &String| PathPattern::parse(path).expect("the path was parsed when the file was read");
        PathMatcher {
            path: self.path.as_ref().map(parse),
            host: self.host.as_deref().map(Box::from),
            methods: self.methods.clone().into_boxed_slice(),
        }
    }

    /// Makes the complete rule: `base` with the settings that the route overrides.
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

/// Makes the rule for requests that no route matches.
fn base_rule(mode: RouteMode, cache: &CacheSection, object_bytes_max: u64) -> Rule {
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

/// Boxes the patterns for ignored cookies.
fn patterns(names: &[String]) -> Arc<[Box<str>]> {
    names.iter().map(|name| name.as_str().into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::bounds::SECOND;
    use crate::route::SetCookie;

    #[test]
    fn the_base_rule_of_the_defaults_is_the_default_rule() {
        let checked = Settings::default();
        let base = base_rule(checked.mode, &checked.cache, checked.memory.object_bytes_max);
        assert_eq!(base, Rule::default());
    }

    #[test]
    fn a_route_overrides_what_it_names_and_nothing_else() {
        let base =
            base_rule(RouteMode::Shadow, &CacheSection { stale_if_error: 5 * SECOND, ..CacheSection::default() }, 1000);
        let plain = RouteSection::default().rule(3, &base);
        assert_eq!(plain, Rule { index: Some(3), ..base.clone() });
        let route = RouteSection {
            stale_if_error: Some(SECOND),
            set_cookie: Some(SetCookie::Strip),
            ..RouteSection::default()
        };
        let rule = route.rule(0, &base);
        assert_eq!((rule.stale_if_error, rule.stale_if_error_covers_status), (SECOND, true));
        assert_eq!((rule.set_cookie, rule.object_bytes_max), (SetCookie::Strip, 1000));
        let modes = [None, Some(RouteMode::Serve)]
            .map(|mode| RouteSection { mode, ..RouteSection::default() }.rule(0, &base).mode);
        assert_eq!(modes, [RouteMode::Shadow, RouteMode::Serve]);
        let ignore_cookies = Some(vec!["consent".to_owned()]);
        let rule = RouteSection { personalisation_guard: Some(false), ignore_cookies, ..RouteSection::default() }
            .rule(0, &base);
        assert_eq!((rule.personalisation_guard, rule.ignore_cookies), (false, Arc::from(["consent".into()])));
    }
}
