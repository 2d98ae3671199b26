//! The operator's rules: routes, their keys, cookies, trusted proxies, and who may see keys.

use std::time::Duration;

use larder::route::{CacheMode, PathMatcher, PathPattern, QueryRule, Rule, SetCookie};

use crate::harness::cache::Setup;
use crate::harness::{Cache, Origin, Reply};

/// Adds a route for a path.
fn route(setup: &mut Setup, path: &str, rule: Rule) {
    let matcher = PathMatcher { path: Some(PathPattern::parse(path).unwrap()), ..PathMatcher::default() };
    setup.routes.push((matcher, rule));
}

#[test]
fn the_first_route_that_matches_the_canonical_path_decides() {
    let origin = Origin::start(|_| Reply::ok().body("x"));
    let cache = Cache::with(&origin, |setup| {
        route(setup, "/shop/private/", Rule { cache: CacheMode::Bypass, ..Rule::default() });
        route(setup, "/shop/", Rule { ttl: Some(Duration::from_secs(60)), ..Rule::default() });
    });
    for target in ["/shop/private/cart", "/shop/x/../private/cart", "/shop/%70rivate/cart"] {
        for _ in 0..2 {
            cache.get(target).check(200, "x", "fwd=bypass");
        }
    }
    cache.get("/shop/page");
    assert!(cache.get("/shop/page").is_hit());
    cache.get("/else");
    assert!(!cache.get("/else").is_hit());
    let routes = cache.stats()["routes"].clone();
    let requests: Vec<_> = (0..3).map(|index| routes[index]["requests"].as_u64().unwrap()).collect();
    assert_eq!(requests, [6, 2, 2]);
}

#[test]
fn parameters_that_a_route_drops_reach_neither_key_nor_origin() {
    let origin = Origin::start(|request| Reply::fresh(request.target()));
    let cache = Cache::with(&origin, |setup| {
        let query = QueryRule::Drop(Box::new(["utm_*".into()]));
        setup.rule = Rule { query, ..Rule::default() };
    });
    cache.get("/?utm_source=a&id=1").check(200, "/?id=1", "stored");
    cache.get("/?id=1&utm_medium=b").check(200, "/?id=1", "hit");
    cache.get("/?id=1").check(200, "/?id=1", "hit");
    cache.get("/?id=2").check(200, "/?id=2", "fwd=uri-miss");
}

#[test]
fn headers_and_cookies_of_a_route_are_part_of_the_key() {
    let origin =
        Origin::start(|request| Reply::fresh(format!("{:?} {:?}", request.header("x-plan"), request.header("cookie"))));
    let cache = Cache::with(&origin, |setup| {
        setup.rule.key_headers = Box::new([http::HeaderName::from_static("x-plan")]);
        setup.rule.key_cookies = Box::new(["currency".into()]);
        // The app shows the cookies that it received, which the guard would take for a personal
        // page.
        setup.rule.personalisation_guard = false;
    });
    let get = |plan: &str, cookie: &str| cache.get_with("/", &[("X-Plan", plan), ("Cookie", cookie)]);
    assert!(!get("a", "currency=eur; session=1").is_hit());
    assert!(get("a", "session=2; currency=eur").is_hit(), "other cookies do not count");
    assert!(!get("b", "currency=eur").is_hit());
    assert!(!get("a", "currency=usd").is_hit());
}

#[test]
fn a_forced_route_stores_what_the_origin_forbids_but_nothing_private() {
    let origin = Origin::start(|request| match request.target().as_str() {
        "/private" => Reply::ok().header("Cache-Control", "private").body("x"),
        "/cookie" => Reply::ok().header("Set-Cookie", "a=b").body("x"),
        "/error" => Reply::status("500 Internal Server Error"),
        _ => Reply::ok().header("Cache-Control", "no-store").body("x"),
    });
    let cache = Cache::with(&origin, |setup| {
        setup.rule.cache = CacheMode::Force;
        setup.rule.ttl = Some(Duration::from_secs(60));
        setup.rule.set_cookie = SetCookie::Obey;
    });
    cache.get("/");
    cache.get("/").check(200, "x", "ttl=60");
    for target in ["/private", "/cookie", "/error"] {
        cache.get(target);
        assert!(!cache.get(target).is_hit(), "{target}");
    }
    let credentials = [("Cookie", "session=1")];
    cache.get_with("/other", &credentials);
    assert!(!cache.get_with("/other", &credentials).is_hit(), "a forced response with a cookie asked for");
}

#[test]
fn set_cookie_is_obeyed_stripped_or_prevents_storing() {
    let origin = Origin::start(|_| Reply::fresh("x").header("Set-Cookie", "session=1"));
    for (set_cookie, first, hit) in [
        (SetCookie::Obey, Some("session=1"), Some(Some("session=1"))),
        (SetCookie::Strip, None, Some(None)),
        (SetCookie::NeverStore, Some("session=1"), None),
    ] {
        let cache = Cache::with(&origin, |setup| setup.rule.set_cookie = set_cookie);
        assert_eq!(cache.get("/").header("set-cookie").as_deref(), first, "{set_cookie:?}");
        let second = cache.get("/");
        assert_eq!(second.is_hit(), hit.is_some(), "{set_cookie:?}");
        if let Some(cookie) = hit {
            assert_eq!(second.header("set-cookie").as_deref(), cookie, "{set_cookie:?}");
        }
    }
}

#[test]
fn only_a_trusted_proxy_may_name_the_client() {
    let origin = Origin::start(|_| Reply::fresh("x").header("Vary", "X-Round"));
    let spoofed = [("X-Forwarded-For", "6.6.6.6"), ("X-Forwarded-Proto", "https"), ("X-Original-URL", "/admin")];
    let plain = Cache::start(&origin);
    plain.get_with("/", &spoofed);
    let asked = origin.last();
    assert_eq!(asked.header("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(asked.header("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(asked.header("x-original-url"), None);

    let trusting = Cache::with(&origin, |setup| {
        setup.config.proxy.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    });
    trusting.get_with("/", &spoofed);
    let asked = origin.last();
    assert_eq!(asked.header("x-forwarded-for").as_deref(), Some("6.6.6.6, 127.0.0.1"));
    assert_eq!(asked.header("x-forwarded-proto").as_deref(), Some("https"));
    // The scheme is part of the key.
    assert!(!trusting.get("/").is_hit());
}

#[test]
fn keys_are_shown_as_text_only_to_listed_clients() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    assert!(!cache.get("/secret").cache_status().contains("/secret"));
    let debugging = Cache::with(&origin, |setup| {
        setup.config.proxy.debug_from = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let shown = debugging.get("/secret").cache_status();
    assert!(shown.contains("key=\"http://example.org/secret"), "{shown}");
}

#[test]
fn behind_a_trusted_proxy_its_client_decides_whether_keys_are_shown() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, |setup| {
        setup.config.proxy.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        setup.config.proxy.debug_from = vec!["127.0.0.1/32".parse().unwrap(), "203.0.113.7/32".parse().unwrap()];
    });
    let is_shown = |client: &str| cache.get_with("/", &[("X-Forwarded-For", client)]).cache_status().contains("key=");
    assert!(is_shown("203.0.113.7"));
    assert!(!is_shown("203.0.113.8"));
}
