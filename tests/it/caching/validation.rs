//! Validation (RFC 9111 §4.3): of stored responses at the origin, and of clients' conditions
//! against stored responses (RFC 9110 §13).

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Cache, Origin, Reply};

#[test]
fn s4_3_a_304_refreshes_the_stored_response_with_its_fields() {
    let origin = Origin::replies([
        Reply::fresh("body").header("ETag", "\"v1\"").header("X-Round", "1").header("X-Kept", "yes"),
        Reply::not_modified().header("Cache-Control", "max-age=30").header("ETag", "\"v1\"").header("X-Round", "2"),
    ]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);

    let confirmed = cache.get("/");
    confirmed.check(200, "body", "fwd=stale");
    assert!(confirmed.has("fwd-status=304"), "{}", confirmed.cache_status());
    assert_eq!(confirmed.header("x-round").as_deref(), Some("2"));
    assert_eq!(origin.last().header("if-none-match").as_deref(), Some("\"v1\""));

    cache.step(29);
    let hit = cache.get("/");
    hit.check(200, "body", "hit");
    assert_eq!((hit.header("x-round").as_deref(), hit.header("x-kept").as_deref()), (Some("2"), Some("yes")));
    assert_eq!(hit.ttl(), Some(1));
}

#[test]
fn s4_3_1_a_stored_date_validates_where_there_is_no_etag() {
    let modified = "Wed, 31 Dec 2025 00:00:00 GMT";
    let origin = Origin::replies([
        Reply::fresh("body").header("Last-Modified", modified),
        Reply::not_modified().header("Cache-Control", "max-age=60").header("Last-Modified", modified),
    ]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    cache.get("/").check(200, "body", "fwd=stale");
    assert_eq!(origin.last().header("if-modified-since").as_deref(), Some(modified));
}

#[test]
fn s4_3_3_a_full_response_to_validation_replaces_the_stored_one() {
    let origin =
        Origin::replies([Reply::fresh("one").header("ETag", "\"v1\""), Reply::fresh("two").header("ETag", "\"v2\"")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    cache.get("/").check(200, "two", "fwd=stale");
    cache.get("/").check(200, "two", "hit");
    assert_eq!(origin.count(), 2);
}

#[test]
fn s4_3_4_after_a_304_with_another_etag_the_response_is_fetched_whole() {
    let origin = Origin::replies([
        Reply::fresh("one").header("ETag", "\"v1\""),
        Reply::not_modified().header("ETag", "\"v2\""),
        Reply::fresh("two").header("ETag", "\"v2\""),
    ]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    cache.get("/").check(200, "two", "fwd-status=200");
    assert_eq!(origin.last().header("if-none-match"), None);
    cache.get("/").check(200, "two", "hit");
}

#[test]
fn rfc9110_s13_conditions_are_evaluated_against_the_stored_response() {
    let modified = "Wed, 31 Dec 2025 00:00:00 GMT";
    let origin =
        Origin::start(move |_| Reply::fresh("body").header("ETag", "\"v1\"").header("Last-Modified", modified));
    let cache = Cache::start(&origin);
    cache.get("/");
    for (name, value, status) in [
        ("If-None-Match", "\"v1\"", 304),
        ("If-None-Match", "W/\"v1\", \"v9\"", 304),
        ("If-None-Match", "*", 304),
        ("If-None-Match", "\"v2\"", 200),
        ("If-Modified-Since", modified, 304),
        ("If-Modified-Since", "Tue, 30 Dec 2025 00:00:00 GMT", 200),
        ("If-Match", "\"v1\"", 200),
        ("If-Unmodified-Since", modified, 200),
    ] {
        let response = cache.get_with("/", &[(name, value)]);
        assert_eq!(response.status(), status, "{name}: {value}");
        if status == 304 {
            assert_eq!(response.header("etag").as_deref(), Some("\"v1\""));
            assert!(response.is_hit(), "{}", response.cache_status());
        }
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn s4_3_2_the_stored_response_fails_no_precondition_for_the_origin() {
    let modified = ["Wed, 31 Dec 2025 00:00:00 GMT", "Wed, 31 Dec 2025 01:00:00 GMT"];
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |request| {
        let version = asked.fetch_add(1, Ordering::SeqCst).min(1);
        let tag = ["\"v1\"", "\"v2\""][version];
        match request.header("if-match") {
            Some(wanted) if wanted != tag => Reply::status("412 Precondition Failed"),
            _ => Reply::fresh(tag).header("ETag", tag).header("Last-Modified", modified[version]),
        }
    });
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "\"v1\"", "stored");
    // The app has a newer version by now, which these clients know.
    cache.get_with("/", &[("If-Match", "\"v2\"")]).check(200, "\"v2\"", "detail=precondition");
    assert_eq!(cache.get_with("/", &[("If-Match", "\"v3\"")]).status(), 412);
    let before = "Tue, 30 Dec 2025 00:00:00 GMT";
    cache.get_with("/", &[("If-Unmodified-Since", before)]).check(200, "\"v2\"", "fwd=request");
    let only_stored = cache.get_with("/", &[("If-Match", "\"v2\""), ("Cache-Control", "only-if-cached")]);
    assert_eq!((only_stored.status(), origin.count()), (504, 4));
    cache.get("/").check(200, "\"v1\"", "hit");
}

#[test]
fn a_304_to_a_clients_condition_is_not_stored_for_others() {
    let origin = Origin::start(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("ETag", "\"v1\""),
        None => Reply::fresh("body").header("ETag", "\"v1\""),
    });
    let cache = Cache::start(&origin);
    let conditional = cache.get_with("/", &[("If-None-Match", "\"v1\"")]);
    assert_eq!(conditional.status(), 304);
    cache.get("/").check(200, "body", "stored");
    cache.get("/").check(200, "body", "hit");
}
