//! Responses that settle the question themselves: explicit permission to share, Vary, and a route.

use std::sync::atomic::Ordering;

use larder::route::{PathMatcher, PathPattern, Rule};

use super::{as_user, counted, page_of, personal};
use crate::harness::cache::Setup;
use crate::harness::{Cache, Origin, Reply};

#[test]
fn a_response_that_permits_sharing_is_shared_unchecked() {
    for (name, value) in [
        ("Cache-Control", "public, max-age=60"),
        ("Cache-Control", "s-maxage=60"),
        ("Cache-Control", "max-age=60, must-revalidate"),
        ("CDN-Cache-Control", "max-age=60, public"),
        ("Larder-Cache-Control", "s-maxage=60"),
    ] {
        let origin = Origin::start(move |_| Reply::ok().header(name, value).body("x"));
        let cache = Cache::start(&origin);
        as_user(&cache, "user=1").check(200, "x", "stored");
        as_user(&cache, "user=2").check(200, "x", "hit");
        as_user(&cache, "").check(200, "x", "hit");
        cache.get_with("/", &[("Authorization", "Basic eDp5")]).check(200, "x", "hit");
        assert_eq!(origin.count(), 1, "{name}: {value}");
    }
    // The governing field decides, not one that it replaces (RFC 9213 §2.1).
    let reply = Reply::ok().header("CDN-Cache-Control", "max-age=60").header("Cache-Control", "public").body("x");
    let origin = Origin::start(move |_| reply.clone());
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1").check(200, "x", "stored");
    as_user(&cache, "user=2").check(200, "x", "detail=probation");
}

#[test]
fn an_app_that_sends_vary_cookie_is_believed() {
    let (origin, count) = counted(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("ETag", "\"1\"").header("Cache-Control", "max-age=60"),
        None => Reply::fresh("x").header("Vary", "Cookie").header("ETag", "\"1\""),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1").check(200, "x", "stored");
    as_user(&cache, "user=1").check(200, "x", "hit");
    as_user(&cache, "user=2").check(200, "x", "fwd=vary-miss");
    as_user(&cache, "user=2").check(200, "x", "hit");
    // The second user's page was requested twice: the app's 304 to the first user's entity-tag is
    // not used.
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn an_app_that_sends_vary_cookie_in_an_update_is_believed_too() {
    let (origin, count) = counted(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("Vary", "Cookie").header("Cache-Control", "max-age=60"),
        None => personal(request).header("ETag", "\"1\""),
    });
    let cache = Cache::start(&origin);
    let page = |user| page_of(Some(user), None);
    as_user(&cache, "user=1").check(200, page("user=1"), "stored");
    cache.step(61);
    as_user(&cache, "user=1").check(200, page("user=1"), "fwd-status=304");
    as_user(&cache, "user=1").check(200, page("user=1"), "hit");
    as_user(&cache, "user=2").check(200, page("user=2"), "fwd=vary-miss");
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[test]
fn a_route_turns_the_guard_off() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, |setup: &mut Setup| {
        let matcher = PathMatcher { path: Some(PathPattern::parse("/assets/").unwrap()), ..PathMatcher::default() };
        setup.routes.push((matcher, Rule { personalisation_guard: false, ..Rule::default() }));
    });
    for (path, expected) in [("/assets/a", "hit"), ("/a", "detail=probation")] {
        cache.get_with(path, &[("Cookie", "user=1")]).check(200, "x", "stored");
        cache.get_with(path, &[("Cookie", "user=2")]).check(200, "x", expected);
    }
}
