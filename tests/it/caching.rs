//! Caching by RFC 9111: which responses are stored, for how long, for whom, and which part of them
//! a client receives. Each file covers one theme and names the section in its tests.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::harness::origin::Request;
use crate::harness::{Cache, Gate, Origin, Reply, eventually, pattern};

#[test]
fn the_second_request_is_a_hit_and_cache_status_says_so() {
    let origin = Origin::replies([Reply::fresh("hello").header("X-Own", "kept")]);
    let cache = Cache::start(&origin);

    let miss = cache.get("/");
    miss.check(200, "hello", "fwd=uri-miss");
    assert!(miss.has("stored") && miss.has("fwd-status=200"), "{}", miss.cache_status());
    assert_eq!(miss.header("age"), None, "the origin made it for this very request");

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
fn a_head_is_answered_from_a_stored_get() {
    let origin = Origin::replies([Reply::fresh("hello").header("X-Own", "kept")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    let head = cache.request("HEAD", "/", &[], b"");
    head.check(200, "", "hit");
    assert_eq!(head.header("content-length").as_deref(), Some("5"));
    assert_eq!(head.header("x-own").as_deref(), Some("kept"));
    assert_eq!(origin.count(), 1);
}

#[test]
fn s4_3_5_a_head_updates_or_drops_the_stored_response() {
    let fresh = |etag: &str, body: &str| Reply::fresh(body).header("ETag", etag);
    let origin = Origin::replies([
        fresh("\"1\"", "one"),
        fresh("\"1\"", "one").header("X-Told", "by head"),
        fresh("\"2\"", "two!"),
        fresh("\"2\"", "two!"),
    ]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    cache.request("HEAD", "/", &[], b"");
    let hit = cache.get("/");
    hit.check(200, "one", "hit");
    assert_eq!(hit.header("x-told").as_deref(), Some("by head"));

    cache.step(61);
    cache.request("HEAD", "/", &[], b"");
    let fetched = cache.get("/");
    assert_eq!((fetched.text().as_str(), fetched.is_hit()), ("two!", false));
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

#[test]
fn rfc9110_s14_ranges_are_cut_from_the_stored_response() {
    let body = pattern(1_000);
    let origin = Origin::replies([Reply::fresh(&body).header("ETag", "\"v1\"").header("Content-Type", "text/x")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    for (range, expected, content_range) in [
        ("bytes=0-0", &body[..1], "bytes 0-0/1000"),
        ("bytes=990-", &body[990..], "bytes 990-999/1000"),
        ("bytes=-5", &body[995..], "bytes 995-999/1000"),
        ("bytes=500-5000", &body[500..], "bytes 500-999/1000"),
    ] {
        let part = cache.get_with("/", &[("Range", range)]);
        part.check(206, expected, "hit");
        assert_eq!(part.header("content-range").as_deref(), Some(content_range));
    }

    let parts = cache.get_with("/", &[("Range", "bytes=0-1, 10-11")]);
    assert_eq!(parts.status(), 206);
    let content_type = parts.header("content-type").unwrap();
    let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap().trim_matches('"').to_owned();
    let pieces: Vec<_> = parts.text().split(&format!("--{boundary}")).map(str::to_owned).collect();
    assert_eq!(pieces.len(), 4, "a preamble, two parts, the end");
    for (piece, content_range, at) in [(&pieces[1], "bytes 0-1/1000", 0), (&pieces[2], "bytes 10-11/1000", 10)] {
        let (head, content) = piece.split_once("\r\n\r\n").unwrap();
        assert!(head.to_lowercase().contains(&format!("content-range: {content_range}")), "{head}");
        assert_eq!(content.trim_end_matches("\r\n").as_bytes(), &body[at..at + 2]);
    }

    let beyond = cache.get_with("/", &[("Range", "bytes=1000-")]);
    assert_eq!((beyond.status(), beyond.header("content-range").as_deref()), (416, Some("bytes */1000")));
    cache.get_with("/", &[("Range", "lines=1-2")]).check(200, &body, "hit");
    cache.get_with("/", &[("Range", "bytes=0-1"), ("If-Range", "\"v1\"")]).check(206, &body[..2], "hit");
    cache.get_with("/", &[("Range", "bytes=0-1"), ("If-Range", "\"v2\"")]).check(200, &body, "hit");
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_cold_range_is_passed_and_the_next_is_fetched_whole() {
    let body = pattern(1_000);
    let whole = body.clone();
    let origin = Origin::start(move |request| match request.header("range") {
        Some(_) => Reply::status("206 Partial Content")
            .header("Cache-Control", "max-age=60")
            .header("ETag", "\"v1\"")
            .header("Content-Range", "bytes 0-9/1000")
            .body(&whole[..10]),
        None => Reply::fresh(&whole).header("ETag", "\"v1\""),
    });
    let cache = Cache::start(&origin);
    let range = [("Range", "bytes=0-9")];
    let cold = cache.get_with("/", &range);
    assert_eq!((cold.status(), cold.body.as_slice()), (206, &body[..10]));
    assert!(cold.has("detail=range-miss"), "{}", cold.cache_status());
    assert_eq!(origin.last().header("range").as_deref(), Some("bytes=0-9"));

    cache.get_with("/", &range).check(206, &body[..10], "stored");
    assert_eq!(origin.last().header("range"), None);
    cache.get("/").check(200, &body, "hit");
    assert_eq!(origin.count(), 2);
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
fn s4_4_unsafe_methods_invalidate_the_stored_response() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "FROBNICATE"] {
        let origin = Origin::start(|request| match request.method().as_str() {
            "GET" => Reply::fresh("x"),
            _ => Reply::ok().header("Location", "/other").header("Content-Location", "http://elsewhere.example/third"),
        });
        let cache = Cache::start(&origin);
        for target in ["/", "/other", "/third"] {
            cache.get(target);
        }
        cache.request(method, "/", &[], b"");
        assert!(!cache.get("/").is_hit(), "{method}");
        assert!(!cache.get("/other").is_hit(), "{method}: what Location names");
        assert!(cache.get("/third").is_hit(), "{method}: what another origin has is not touched");
    }
}

#[test]
fn s4_4_a_failed_unsafe_request_invalidates_nothing() {
    let origin = Origin::start(|request| match request.method().as_str() {
        "GET" => Reply::fresh("x"),
        _ => Reply::status("500 Internal Server Error"),
    });
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.request("POST", "/", &[], b"");
    cache.get("/").check(200, "x", "hit");
}

#[test]
fn rfc9110_s9_3_3_a_posts_response_is_stored_under_its_content_location() {
    let origin = Origin::start(|request| match request.method().as_str() {
        "POST" => Reply::fresh("from post").header("Content-Location", "/"),
        _ => Reply::fresh("from get"),
    });
    let cache = Cache::start(&origin);
    cache.request("POST", "/", &[], b"form").check(200, "from post", "fwd=method");
    eventually("the answer is stored", || cache.stats()["store"]["entries"] == 1);
    cache.get("/").check(200, "from post", "hit");
}

#[test]
fn s4_1_a_posts_response_in_its_clients_coding_is_not_stored_for_all() {
    let origin = Origin::start(|request| match request.method().as_str() {
        "POST" => Reply::fresh("coded")
            .header("Content-Location", "/")
            .header("Content-Encoding", "gzip")
            .header("Vary", "Accept-Encoding"),
        _ => Reply::fresh("from get"),
    });
    let cache = Cache::start(&origin);
    cache.request("POST", "/", &[("Accept-Encoding", "gzip")], b"form").check(200, "coded", "fwd=method");
    cache.settle();
    cache.get("/").check(200, "from get", "stored");
}

#[test]
fn s4_4_a_posts_response_under_way_is_invalidated_too() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.method().as_str() {
            "POST" => Reply::fresh("old ").header("Content-Location", "/").length(8).wait(&gate).body("page"),
            "PUT" => Reply::status("201 Created"),
            _ => Reply::fresh("new page"),
        })
    };
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.ask("POST", "/", &[], b"form");
    let head = client.final_head();
    assert_eq!(cache.client().exchange("PUT", "/", &[], b"page").status(), 201);
    gate.open();
    assert_eq!(client.rest(head).text(), "old page");
    cache.settle();
    cache.get("/").check(200, "new page", "stored");
}

/// A page of an app that gives each coding an entity-tag of its own.
fn tagged_by_coding(request: &Request) -> Reply {
    let tag = if request.header("accept-encoding").as_deref() == Some("gzip") { "\"1-gzip\"" } else { "\"1\"" };
    let reply = Reply::ok().header("Cache-Control", "max-age=60").header("ETag", tag);
    if request.method() == "HEAD" { reply.length(4) } else { reply.body("page") }
}

#[test]
fn s4_3_5_a_head_is_forwarded_in_the_stored_coding() {
    let origin = Origin::start(tagged_by_coding);
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "page", "stored");
    let fields = [("Cache-Control", "no-cache"), ("Accept-Encoding", "gzip")];
    assert_eq!(cache.request("HEAD", "/", &fields, b"").status(), 200);
    assert_eq!(origin.count(), 2);
    cache.get("/").check(200, "page", "hit");
}

#[test]
fn s4_3_5_a_head_that_is_passed_updates_nothing() {
    let origin = Origin::start(tagged_by_coding);
    let cache = Cache::with(&origin, |setup| setup.config.proxy.upgrades.push("other".to_owned()));
    cache.get("/").check(200, "page", "stored");
    assert_eq!(cache.request("HEAD", "/", &[("Accept-Encoding", "gzip")], b"x").status(), 200);
    let switch = [("Accept-Encoding", "gzip"), ("Connection", "upgrade"), ("Upgrade", "other")];
    assert_eq!(cache.request("HEAD", "/", &switch, b"").status(), 200);
    assert_eq!(origin.count(), 3);
    cache.get("/").check(200, "page", "hit");
}

#[test]
fn s4_3_5_a_head_sent_before_a_newer_get_does_not_undo_it() {
    let gate = Gate::new();
    let origin = {
        let (gate, gets) = (gate.clone(), AtomicUsize::new(0));
        Origin::start(move |request| match request.method().as_str() {
            "HEAD" => Reply::ok().header("Cache-Control", "max-age=86400").length(4).hold(&gate),
            _ if gets.fetch_add(1, Ordering::SeqCst) == 0 => {
                Reply::ok().header("Cache-Control", "max-age=86400").body("old.")
            }
            _ => Reply::ok().header("Cache-Control", "max-age=5").body("new."),
        })
    };
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "old.", "stored");
    let mut head = cache.client();
    head.ask("HEAD", "/", &[("Cache-Control", "no-cache")], b"");
    gate.arrived(1);
    cache.step(1);
    assert_eq!(cache.client().exchange("GET", "/", &[("Cache-Control", "no-cache")], b"").text(), "new.");
    gate.open();
    assert_eq!(head.final_head().status, 200);
    cache.settle();
    assert_eq!(cache.get("/").check(200, "new.", "hit").ttl(), Some(5));
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
        let odd = cache.get_with("/", &[("X-Odd", status), ("Cache-Control", "no-cache")]);
        assert_eq!(odd.text(), "no");
        cache.get("/").check(200, "page", "hit");
    }
    // A 404 holds for everybody and replaces the page. An error is stored where it replaces nothing
    // fresh.
    cache.get_with("/", &[("X-Odd", "404 Not Found"), ("Cache-Control", "no-cache")]);
    cache.get("/").check(404, "no", "hit");
    cache.get_with("/other", &[("X-Odd", "400 Bad Request")]).check(400, "no", "stored");
}

#[test]
fn after_an_origin_ignored_a_range_the_whole_is_fetched() {
    let origin = Origin::start(|_| Reply::fresh("the whole page"));
    let cache = Cache::start(&origin);
    let range = [("Range", "bytes=4-8")];
    cache.get_with("/", &range).check(200, "the whole page", "detail=range-miss");
    cache.get_with("/", &range).check(206, "whole", "stored");
    cache.get_with("/", &range).check(206, "whole", "hit");
    assert_eq!(origin.count(), 2);
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
    assert_eq!(hit.header("cache-control").as_deref(), Some("no-store"), "it is for the caches downstream");
}

/// Checks that all spellings of a URL share one entry, and that the origin is asked for the
/// canonical target.
#[track_caller]
fn check_one_key(canonical: &str, host: &str, spellings: &[(&str, &str)]) {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    for (at, (host, target)) in spellings.iter().enumerate() {
        let response = cache.client().host(host).get(target);
        cache.settle();
        assert_eq!((response.status(), response.is_hit()), (200, at > 0), "{host} {target}");
    }
    let asked = origin.last();
    assert_eq!((asked.target().as_str(), asked.header("host").as_deref()), (canonical, Some(host)));
    assert_eq!(origin.count(), 1);
}

#[test]
fn spellings_of_one_url_share_a_key_and_the_origin_gets_the_canonical_one() {
    let paths = ["/a/x/../b", "/a/./b", "/a/b", "/a/%2e%2e/a/b", "/%61/b", "/a/x/%2E%2e/b"];
    check_one_key("/a/b", "example.org", &paths.map(|path| ("example.org", path)));
    let cases = ["/%c3%a9?q=%2f", "/%C3%A9?q=%2F"];
    check_one_key("/%C3%A9?q=%2F", "example.org", &cases.map(|path| ("example.org", path)));
    let hosts = ["EXAMPLE.org", "example.org:80", "example.ORG:080", "example.org"];
    check_one_key("/", "example.org", &hosts.map(|host| (host, "/")));
    check_one_key("/p", "example.org:81", &[("Example.org:81", "/p"), ("EXAMPLE.org:81", "http://Example.org:81/p")]);
}

#[test]
fn different_urls_never_share_a_key() {
    let origin = Origin::start(|request| Reply::fresh(format!("{:?} {}", request.header("host"), request.target())));
    let cache = Cache::start(&origin);
    let mut seen = std::collections::HashSet::new();
    for (host, target) in [
        ("a.example", "/p"),
        ("b.example", "/p"),
        ("a.example:81", "/p"),
        ("a.example", "/P"),
        ("a.example", "/p/"),
        ("a.example", "//p"),
        ("a.example", "/p?"),
        ("a.example", "/p?a=1&b=2"),
        ("a.example", "/p?b=2&a=1"),
        ("a.example", "/%2Fp"),
    ] {
        let response = cache.client().host(host).get(target);
        cache.settle();
        assert!(!response.is_hit() && seen.insert(response.text()), "{host} {target}");
    }
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
