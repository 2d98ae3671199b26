//! Storing (RFC 9111 §3): which responses are stored, and which of their fields are kept.

use crate::harness::{Cache, Origin, Reply};

/// Sends two requests with `fields`, and checks that the origin received both, the first for this
/// reason.
#[track_caller]
fn check_not_stored(reply: Reply, fields: &[(&str, &str)], detail: &str) {
    let origin = Origin::start(move |_| reply.clone());
    let cache = Cache::start(&origin);
    let first = cache.get_with("/", fields);
    assert!(first.has(&format!("detail={detail}")), "no `{detail}` in `{}`", first.cache_status());
    assert!(!first.has("stored"), "{}", first.cache_status());
    assert!(!cache.get_with("/", fields).is_hit());
    assert_eq!(origin.count(), 2);
}

#[test]
fn s3_responses_that_the_origin_forbids_to_store_are_not_stored() {
    let with = |cache_control: &str| Reply::ok().header("Cache-Control", cache_control).body("x");
    check_not_stored(with("max-age=60, no-store"), &[], "no-store");
    check_not_stored(with("max-age=60, private"), &[], "private");
    check_not_stored(Reply::fresh("x").header("Vary", "*"), &[], "vary-star");
    check_not_stored(Reply::ok().body("x"), &[], "no-lifetime");
    check_not_stored(Reply::fresh("x"), &[("Cache-Control", "no-store")], "request-no-store");
    check_not_stored(Reply::fresh("x"), &[("Authorization", "Basic eDp5")], "authorization");
    check_not_stored(Reply::ok().header("ETag", "\"1\"").header("Set-Cookie", "a=b").body("x"), &[], "set-cookie");
    check_not_stored(Reply::fresh("").until_close().body("x"), &[], "unsized");
}

#[test]
fn s3_5_authorized_requests_share_a_response_that_permits_it() {
    let origin = Origin::start(|_| Reply::ok().header("Cache-Control", "s-maxage=60").body("x"));
    let cache = Cache::start(&origin);
    cache.get_with("/", &[("Authorization", "Basic eDp5")]).check(200, "x", "stored");
    cache.get("/").check(200, "x", "hit");
}

#[test]
fn s4_an_error_with_a_lifetime_does_not_replace_a_fresh_page() {
    let origin = Origin::start(|request| match request.header("x-odd") {
        Some(status) => Reply::status(&status).header("Cache-Control", "max-age=60").body("no"),
        None => Reply::fresh("page"),
    });
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "page", "stored");
    for status in ["400 Bad Request", "500 Internal Server Error"] {
        let error = cache.get_with("/", &[("X-Odd", status), ("Cache-Control", "no-cache")]);
        assert_eq!(error.text(), "no");
        cache.get("/").check(200, "page", "hit");
    }
    // A 404 holds for everybody and replaces the page. An error is stored where it replaces nothing
    // fresh.
    cache.get_with("/", &[("X-Odd", "404 Not Found"), ("Cache-Control", "no-cache")]);
    cache.get("/").check(404, "no", "hit");
    cache.get_with("/other", &[("X-Odd", "400 Bad Request")]).check(400, "no", "stored");
}

#[test]
fn hop_by_hop_fields_are_neither_forwarded_nor_stored() {
    let origin = Origin::start(|_| {
        Reply::fresh("x").header("Connection", "X-Hop").header("X-Hop", "1").header("Keep-Alive", "timeout=9")
    });
    let cache = Cache::start(&origin);
    let fields = [("Connection", "X-Mine"), ("X-Mine", "1"), ("X-Forwarded-For", "6.6.6.6"), ("TE", "trailers")];
    for round in ["miss", "hit"] {
        let response = cache.get_with("/", &fields);
        assert_eq!((response.header("x-hop"), response.header("keep-alive")), (None, None), "{round}");
        assert!(
            response.header("via").is_some_and(|via| via.contains("larder")),
            "{round}: {:?}",
            response.header("via")
        );
    }
    let asked = origin.last();
    assert_eq!((asked.header("x-mine"), asked.header("x-forwarded-for").as_deref()), (None, Some("127.0.0.1")));
    assert_eq!(asked.header("x-forwarded-host").as_deref(), Some("example.org"));
}
