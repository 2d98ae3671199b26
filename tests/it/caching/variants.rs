//! Variants (RFC 9111 §4.1): Vary selects the stored response, also after an update changes it.

use crate::harness::{Cache, Origin, Reply};

#[test]
fn s4_1_each_variant_answers_the_requests_that_select_it() {
    let origin = Origin::start(|request| {
        let language = request.header("accept-language").unwrap_or_else(|| "none".to_owned());
        Reply::fresh(language).header("Vary", "Accept-Language")
    });
    let cache = Cache::start(&origin);
    let get = |language: &str| cache.get_with("/", &[("Accept-Language", language)]);

    get("de").check(200, "de", "fwd=uri-miss");
    get("en").check(200, "en", "fwd=vary-miss");
    cache.get("/").check(200, "none", "fwd=vary-miss");
    get("de").check(200, "de", "hit");
    get("en").check(200, "en", "hit");
    cache.get("/").check(200, "none", "hit");
    assert_eq!(origin.count(), 3);
}

#[test]
fn s4_3_4_a_variant_that_vary_excludes_is_neither_offered_nor_confirmed() {
    // The entity-tag identifies the record in the app, not the page that is built from it for one
    // user.
    let origin = Origin::start(|request| {
        let reply = match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("Cache-Control", "max-age=60"),
            None => Reply::fresh(format!("page of {}", request.header("cookie").unwrap_or_default())),
        };
        reply.header("ETag", "\"post-1\"").header("Vary", "Cookie")
    });
    let cache = Cache::start(&origin);
    let get = |user: &str| cache.get_with("/", &[("Cookie", user)]);
    get("alice").check(200, "page of alice", "fwd=uri-miss");
    get("bob").check(200, "page of bob", "fwd=vary-miss");
    assert_eq!(origin.last().header("if-none-match"), None);
    cache.step(61);
    get("bob").check(200, "page of bob", "fwd-status=304");
    get("alice").check(200, "page of alice", "fwd-status=304");
    get("bob").check(200, "page of bob", "hit");
}

#[test]
fn s4_1_an_update_with_a_new_vary_answers_only_requests_with_the_same_values() {
    for (method, before, after) in [
        ("GET", None, "Accept-Language"),
        ("HEAD", None, "Accept-Language"),
        // The update omits the field that the variants differ by, and the variants still differ by
        // it.
        ("GET", Some("Accept-Language"), "X-Other"),
        ("HEAD", Some("Accept-Language"), "X-Other"),
    ] {
        let origin = Origin::start(move |request| {
            let language = request.header("accept-language").unwrap_or_default();
            let asks_again = request.header("if-none-match").is_some();
            let reply = match asks_again {
                true => Reply::not_modified().header("Cache-Control", "max-age=60"),
                false => Reply::fresh(&language),
            };
            let is_first = language == "de" && !asks_again && request.method() == "GET";
            let vary = if is_first { before } else { Some(after) };
            vary.iter().fold(reply.header("ETag", "\"1\""), |reply, vary| reply.header("Vary", vary))
        });
        let cache = Cache::start(&origin);
        let get = |language: &str| cache.get_with("/", &[("Accept-Language", language)]);
        get("de").check(200, "de", "stored");
        cache.step(61);
        assert_eq!(cache.request(method, "/", &[("Accept-Language", "de")], b"").status(), 200);
        get("de").check(200, "de", "hit");
        get("en").check(200, "en", "fwd=vary-miss");
    }
}

#[test]
fn s4_1_an_update_that_says_vary_star_answers_once() {
    let origin = Origin::replies([
        Reply::fresh("one").header("ETag", "\"1\""),
        Reply::not_modified().header("ETag", "\"1\"").header("Vary", "*"),
        Reply::fresh("two").header("ETag", "\"2\""),
    ]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    cache.get("/").check(200, "one", "fwd-status=304");
    cache.get("/").check(200, "two", "fwd=uri-miss");
    cache.get("/").check(200, "two", "hit");
}

#[test]
fn variants_of_a_key_are_bounded_and_the_oldest_is_dropped() {
    let origin = Origin::start(|request| Reply::fresh(request.header("x-n").unwrap_or_default()).header("Vary", "X-N"));
    let cache = Cache::with(&origin, |setup| setup.config.store.variants_max = 2);
    for n in ["1", "2", "3"] {
        cache.get_with("/", &[("X-N", n)]);
        cache.step(1);
    }
    assert!(cache.get_with("/", &[("X-N", "3")]).is_hit());
    assert!(cache.get_with("/", &[("X-N", "2")]).is_hit());
    cache.get_with("/", &[("X-N", "1")]).check(200, "1", "fwd=vary-miss");
}
