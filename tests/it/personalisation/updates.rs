//! Updates by 304, and cookies in responses: neither carries one user's data to another.

use std::sync::atomic::{AtomicUsize, Ordering};

use larder::route::SetCookie;

use super::{as_user, page_of, personal};
use crate::harness::{Cache, Origin, Reply, Response, eventually};

#[test]
fn a_validator_shared_by_all_users_confirms_nobody_elses_page() {
    let origin = Origin::start(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("ETag", "\"template\"").header("Cache-Control", "max-age=60"),
        None => personal(request).header("ETag", "\"template\""),
    });
    let cache = Cache::with(&origin, |setup| setup.config.proxy.personalised_for = std::time::Duration::ZERO);
    as_user(&cache, "user=1").check(200, page_of(Some("user=1"), None), "stored");
    cache.step(61);
    as_user(&cache, "user=2").check(200, page_of(Some("user=2"), None), "stored");
    cache.step(61);
    // A HEAD does not touch another user's entry either.
    let head = cache.request("HEAD", "/", &[("Cookie", "user=3")], b"");
    assert_eq!(head.header("content-length"), Some(page_of(Some("user=3"), None).len().to_string()));
    as_user(&cache, "user=3").check(200, page_of(Some("user=3"), None), "hit");
    cache.step(61);
    as_user(&cache, "user=3").check(200, page_of(Some("user=3"), None), "fwd-status=304");
    as_user(&cache, "user=3").check(200, page_of(Some("user=3"), None), "hit");
    as_user(&cache, "user=4").check(200, page_of(Some("user=4"), None), "detail=probation");
}

#[test]
fn a_304_with_a_cookie_sets_it_for_its_own_client_only() {
    let origin = Origin::start(|request| {
        let user = request.header("cookie").unwrap_or_default();
        let reply = match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("Cache-Control", "max-age=60"),
            None => Reply::fresh("for all"),
        };
        let reply = reply.header("ETag", "\"1\"");
        if request.header("if-none-match").is_some() { reply.header("Set-Cookie", &user) } else { reply }
    });
    let cache = Cache::with(&origin, |setup| setup.rule.set_cookie = SetCookie::Obey);
    as_user(&cache, "user=1");
    as_user(&cache, "user=2");
    as_user(&cache, "user=3").check(200, "for all", "hit");
    cache.step(61);
    let fourth = as_user(&cache, "user=4");
    assert_eq!(fourth.check(200, "for all", "fwd-status=304").header("set-cookie").as_deref(), Some("user=4"));
    let fifth = as_user(&cache, "user=5");
    assert_eq!(fifth.check(200, "for all", "detail=probation").header("set-cookie"), None);
}

#[test]
fn a_304_with_a_users_token_shows_it_to_nobody_else() {
    let origin = Origin::start(|request| {
        let reply = match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("Cache-Control", "max-age=60"),
            None => Reply::fresh("for all"),
        };
        let reply = reply.header("ETag", "\"1\"");
        match request.header("cookie") {
            Some(user) => reply.header("X-CSRF-Token", &user),
            None => reply,
        }
    });
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "for all", "stored");
    cache.step(61);
    let bob = as_user(&cache, "user=bob");
    assert_eq!(bob.check(200, "for all", "fwd-status=304").header("x-csrf-token").as_deref(), Some("user=bob"));
    assert_eq!(cache.get("/").header("x-csrf-token"), None);
}

#[test]
fn a_304_that_is_no_longer_for_all_sets_its_cookie_for_its_own_client_only() {
    let origin = Origin::start(|request| {
        let reply = match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("Cache-Control", "max-age=60"),
            None => Reply::ok().header("Cache-Control", "public, max-age=60").body("for all"),
        };
        let reply = reply.header("ETag", "\"1\"");
        match request.header("cookie") {
            Some(user) => reply.header("Set-Cookie", &user).header("X-CSRF-Token", &user),
            None => reply,
        }
    });
    // With the default the cookie alone keeps the 304 from being stored.
    for set_cookie in [SetCookie::NeverStore, SetCookie::Obey] {
        let cache = Cache::with(&origin, |setup| setup.rule.set_cookie = set_cookie);
        cache.get("/").check(200, "for all", "stored");
        cache.step(61);
        let bob = as_user(&cache, "user=bob");
        assert_eq!(bob.check(200, "for all", "fwd-status=304").header("set-cookie").as_deref(), Some("user=bob"));
        for next in [cache.get("/"), as_user(&cache, "user=eve")] {
            assert_ne!(next.header("set-cookie").as_deref(), Some("user=bob"), "{set_cookie:?}");
            assert_ne!(next.header("x-csrf-token").as_deref(), Some("user=bob"), "{set_cookie:?}");
        }
    }
}

#[test]
fn a_cookie_found_to_differ_is_not_replayed_any_more() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let session = format!("session={}", number.fetch_add(1, Ordering::SeqCst));
        Reply::fresh("for all").header("Set-Cookie", &session)
    });
    let cache = Cache::with(&origin, |setup| {
        setup.config.proxy.guard_sample = 1;
        setup.rule.set_cookie = SetCookie::Obey;
    });
    let set = |response: &Response| response.header("set-cookie").unwrap();
    assert_eq!(set(&cache.get("/")), "session=0");
    // The first use by a request with credentials is checked in the background.
    as_user(&cache, "user=1");
    eventually("the page was found to be personal", || cache.stats()["personalised"]["found"] == 1);
    let later = [(); 5].map(|()| cache.get("/"));
    let mut sessions: Vec<_> = later.iter().map(set).collect();
    assert!(later[2..].iter().all(|response| response.has("detail=hit-for-miss")), "{}", later[4].cache_status());
    sessions.push("session=0".to_owned());
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 6, "visitors share no session");
}

#[test]
fn a_cookie_of_a_304_is_not_replayed() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |request| {
        let session = format!("session={}", number.fetch_add(1, Ordering::SeqCst));
        match (request.header("cookie"), request.header("if-none-match")) {
            (Some(user), _) => Reply::fresh(user),
            (None, None) => Reply::fresh("for all").header("ETag", "\"1\""),
            (None, Some(_)) => Reply::not_modified().header("ETag", "\"1\"").header("Set-Cookie", &session),
        }
    });
    for set_cookie in [SetCookie::NeverStore, SetCookie::Obey] {
        let cache = Cache::with(&origin, |setup| {
            setup.config.proxy.guard_sample = 1;
            setup.rule.set_cookie = set_cookie;
        });
        cache.get("/").check(200, "for all", "stored");
        as_user(&cache, "user=1");
        eventually("the page was found to be personal", || cache.stats()["personalised"]["found"] == 1);
        cache.step(61);
        let sessions =
            [(); 3].map(|()| cache.get("/").check(200, "for all", "fwd-status=304").header("set-cookie").unwrap());
        assert!(sessions[0] != sessions[1] && sessions[1] != sessions[2], "{set_cookie:?} {sessions:?}");
    }
}
