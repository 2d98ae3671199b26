//! Freshness (RFC 9111 §4.2, §5): lifetimes of the origin and of routes, Age, and Cache-Control of
//! requests.

use std::time::Duration;

use crate::harness::{Cache, Origin, Reply};

#[test]
fn the_second_request_is_a_hit_and_cache_status_says_so() {
    let origin = Origin::replies([Reply::fresh("hello").header("X-Own", "kept")]);
    let cache = Cache::start(&origin);

    let miss = cache.get("/");
    miss.check(200, "hello", "fwd=uri-miss");
    assert!(miss.has("stored") && miss.has("fwd-status=200"), "{}", miss.cache_status());
    assert_eq!(miss.header("age"), None, "a response made for this very request has no Age");

    cache.step(7);
    let hit = cache.get("/");
    hit.check(200, "hello", "hit");
    assert_eq!((hit.ttl(), hit.header("age").as_deref()), (Some(53), Some("7")));
    assert_eq!(hit.header("x-own").as_deref(), Some("kept"));
    assert_eq!(origin.count(), 1);
}

#[test]
fn s4_2_freshness_ends_at_the_second() {
    let origin = Origin::replies([Reply::fresh("one"), Reply::fresh("two")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(59);
    cache.get("/").check(200, "one", "ttl=1");
    cache.step(1);
    cache.get("/").check(200, "two", "fwd=stale");
    cache.get("/").check(200, "two", "hit");
}

#[test]
fn s5_1_the_age_of_a_received_response_counts() {
    let origin = Origin::replies([Reply::fresh("old").header("Age", "50"), Reply::fresh("new")]);
    let cache = Cache::start(&origin);
    assert_eq!(cache.get("/").header("age").as_deref(), Some("50"));
    cache.step(9);
    assert_eq!(cache.get("/").header("age").as_deref(), Some("59"));
    cache.step(1);
    cache.get("/").check(200, "new", "fwd=stale");
}

#[test]
fn s5_2_1_cache_control_of_requests_is_obeyed() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let get = |cache_control: &str| cache.get_with("/", &[("Cache-Control", cache_control)]);

    let nothing = get("only-if-cached");
    assert_eq!((nothing.status(), origin.count()), (504, 0));
    assert!(nothing.has("detail=only-if-cached"), "{}", nothing.cache_status());
    cache.get("/");
    get("only-if-cached").check(200, "x", "hit");
    get("no-cache").check(200, "x", "fwd=request");
    cache.step(10);
    get("max-age=20").check(200, "x", "hit");
    get("max-age=5").check(200, "x", "fwd=request");
    cache.step(10);
    get("min-fresh=40").check(200, "x", "hit");
    get("min-fresh=55").check(200, "x", "fwd=request");
    cache.step(70);
    get("max-stale=5").check(200, "x", "fwd=stale");
    cache.step(70);
    get("max-stale=15").check(200, "x", "detail=max-stale");
    assert_eq!(origin.count(), 5);
}

#[test]
fn a_route_can_ignore_no_cache_of_requests() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, |setup| setup.rule.obey_client_no_cache = false);
    cache.get("/");
    cache.get_with("/", &[("Cache-Control", "no-cache"), ("Pragma", "no-cache")]).check(200, "x", "hit");
}

#[test]
fn s4_2_2_the_heuristic_lifetime_is_a_tenth_of_the_time_since_the_last_change() {
    // Ten hours before every test begins.
    let modified = "Wed, 31 Dec 2025 14:00:00 GMT";
    let origin = Origin::start(move |_| Reply::ok().header("Last-Modified", modified).body("x"));
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(3_599);
    cache.get("/").check(200, "x", "ttl=1");
    cache.step(1);
    assert!(!cache.get("/").is_hit());
}

#[test]
fn a_route_gives_a_lifetime_where_the_origin_gives_none() {
    let origin = Origin::start(|request| match request.target().as_str() {
        "/missing" => Reply::status("404 Not Found").body("no"),
        _ => Reply::ok().body("x"),
    });
    let cache = Cache::with(&origin, |setup| {
        let by_status = [(http::StatusCode::NOT_FOUND, Duration::from_secs(5))];
        setup.rule.ttl_by_status = by_status.into();
        setup.rule.ttl = Some(Duration::from_secs(9));
    });
    cache.get("/").check(200, "x", "stored");
    cache.get("/").check(200, "x", "ttl=9");
    cache.get("/missing");
    assert!(cache.get("/missing").is_hit());
}

#[test]
fn rfc9213_a_targeted_field_replaces_cache_control() {
    let origin = Origin::start(|_| {
        Reply::ok().header("Cache-Control", "no-store").header("CDN-Cache-Control", "max-age=60").body("x")
    });
    let cache = Cache::start(&origin);
    cache.get("/");
    let hit = cache.get("/");
    hit.check(200, "x", "ttl=60");
    assert_eq!(hit.header("cache-control").as_deref(), Some("no-store"), "the field is for caches downstream");
}
