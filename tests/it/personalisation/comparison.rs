//! The comparison of two users' responses: what is compared, what the compared client receives, and
//! how long a verdict lasts.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::route::SetCookie;
use serde_json::{Value, json};

use super::{as_user, counted, page_of, personal};
use crate::harness::origin::Request;
use crate::harness::{Cache, Cut, End, Origin, Reply, eventually};

#[test]
fn personalised_urls_are_listed_with_their_fix() {
    let origin = Origin::start(personal);
    let cache = Cache::start(&origin);
    let ask = |path: &str, cookie: &str| cache.get_with(path, &[("Cookie", cookie)]);
    for path in ["/a?x=1", "/b"] {
        ask(path, "user=1").check(200, page_of(Some("user=1"), None), "stored");
        ask(path, "user=2").check(200, page_of(Some("user=2"), None), "detail=probation");
        ask(path, "user=1").check(200, page_of(Some("user=1"), None), "detail=personalised");
    }
    let stats = cache.stats();
    let fix =
        "Send `Vary: Cookie` or `Cache-Control: private`, or name the cookie that decides in `key.cookies` on a route.";
    let row = |url| json!({"url": url, "times": 1, "differed": ["Cookie"], "fix": fix});
    let rows = [row("http://example.org/b"), row("http://example.org/a?x=1")];
    assert_eq!(stats["personalised"], json!({"found": 2, "urls": rows}));
    assert!(stats["warnings"].as_array().unwrap().iter().any(|warning| warning.as_str().unwrap().contains("2 URLs")));
    // The verdict expires: the app is tried again, since it may have been fixed.
    cache.step(601);
    ask("/b", "user=1").check(200, page_of(Some("user=1"), None), "stored");
    ask("/b", "user=2").check(200, page_of(Some("user=2"), None), "detail=probation");
    assert_eq!(cache.stats()["personalised"]["urls"][0]["times"], 2);
}

#[test]
fn the_verdict_stays_with_the_body_through_updates_and_codings() {
    let page = "for all, and long enough to be worth packing. ".repeat(100);
    let (origin, count) = {
        let page = page.clone();
        counted(move |request| match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("ETag", "\"1\"").header("Cache-Control", "max-age=60"),
            None => Reply::fresh(&page).header("Content-Type", "text/html").header("ETag", "\"1\""),
        })
    };
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1").check(200, &page, "stored");
    as_user(&cache, "user=2").check(200, &page, "detail=probation");
    as_user(&cache, "user=3").check(200, &page, "hit");
    // The page has been requested twice, so it is compressed.
    eventually("the page is compressed", || cache.stats()["store"]["compressed_bytes"].as_u64().unwrap() < 1_000);
    as_user(&cache, "user=4").check(200, &page, "hit");
    cache.step(61);
    as_user(&cache, "user=5").check(200, &page, "fwd-status=304");
    as_user(&cache, "user=6").check(200, &page, "hit");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn set_cookie_location_status_and_other_fields_are_compared() {
    type App = fn(&str) -> Reply;
    let answers: [(&str, App); 6] = [
        ("a token", |user| Reply::fresh("same").header("X-CSRF-Token", user)),
        ("a cookie", |user| Reply::fresh("same").header("Set-Cookie", &format!("seen={user}"))),
        ("a place", |user| Reply::fresh("same").status_line("301 Moved Permanently", "").header("Location", user)),
        ("a status", |user| match user {
            "user=1" => Reply::fresh("same"),
            _ => Reply::fresh("same").status_line("404 Not Found", ""),
        }),
        ("private", |user| match user {
            "user=1" => Reply::fresh("same"),
            _ => Reply::ok().header("Cache-Control", "private, max-age=60").body("same"),
        }),
        ("vary", |user| match user {
            "user=1" => Reply::fresh("same"),
            _ => Reply::fresh("same").header("Vary", "Cookie"),
        }),
    ];
    for (what, answer) in answers {
        let origin = Origin::start(move |request| answer(&request.header("cookie").unwrap_or_default()));
        let cache = Cache::with(&origin, |setup| setup.rule.set_cookie = SetCookie::Obey);
        as_user(&cache, "user=1");
        let other = as_user(&cache, "user=2");
        assert!(other.has("detail=probation"), "{what}: {}", other.cache_status());
        assert_eq!(cache.stats()["personalised"]["found"], 1, "{what}");
        assert_eq!(other.header("set-cookie"), (what == "a cookie").then(|| "seen=user=2".to_owned()));
    }
}

#[test]
fn a_stored_error_for_one_clients_malformed_request_makes_no_page_personal() {
    let origin = Origin::start(|request| match request.header("cookie").as_deref() {
        Some("user=junk") => Reply::status("400 Bad Request").header("Cache-Control", "max-age=60").body("no"),
        _ => Reply::fresh("for all"),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=junk").check(400, "no", "stored");
    assert_eq!(as_user(&cache, "user=1").text(), "for all");
    as_user(&cache, "user=2").check(200, "for all", "stored");
    assert_eq!(as_user(&cache, "user=3").text(), "for all");
    as_user(&cache, "user=4").check(200, "for all", "hit");
    assert_eq!(cache.stats()["personalised"]["found"], 0);
}

#[test]
fn one_clients_malformed_request_makes_no_page_personal() {
    for (status, field) in [
        ("401 Unauthorized", ("Authorization", "Bearer junk")),
        ("431 Request Header Fields Too Large", ("Cookie", "large=1")),
    ] {
        let is_malformed = move |request: &Request| request.header(field.0).is_some_and(|value| value == field.1);
        let origin = Origin::start(move |request| match is_malformed(request) {
            true => Reply::status(status).header("Cache-Control", "max-age=60").body("no"),
            false => Reply::fresh("for all"),
        });
        let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 1);
        as_user(&cache, "user=1").check(200, "for all", "stored");
        cache.get_with("/", &[field]);
        assert_eq!(as_user(&cache, "user=2").text(), "for all");
        as_user(&cache, "user=3").check(200, "for all", "hit");
        assert_eq!(cache.stats()["personalised"]["found"], 0, "{status}");
    }
}

#[test]
fn samples_find_a_difference_that_the_first_comparison_missed() {
    let origin = Origin::start(|request| match request.header("cookie").as_deref() {
        Some("basket=full") => Reply::fresh("three apples"),
        _ => Reply::fresh("an empty basket"),
    });
    let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 10);
    as_user(&cache, "user=1");
    as_user(&cache, "user=2").check(200, "an empty basket", "detail=probation");
    for _ in 0..9 {
        as_user(&cache, "user=3").check(200, "an empty basket", "hit");
    }
    assert_eq!(origin.count(), 2);
    as_user(&cache, "basket=full").check(200, "an empty basket", "hit");
    assert_eq!((origin.count(), cache.stats()["personalised"]["found"].as_u64()), (3, Some(1)));
    as_user(&cache, "basket=full").check(200, "three apples", "detail=personalised");
}

#[test]
fn while_the_app_is_down_nobody_gets_anothers_page() {
    let mut origin = Origin::start(personal);
    let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 1);
    let ask = |path: &str, cookie: &str| cache.get_with(path, &[("Cookie", cookie)]);
    ask("/user", "user=1");
    cache.get("/nobody");
    origin.stop();
    for (seconds, how) in [(0, "hit"), (61, "detail=stale-if-error")] {
        cache.step(seconds);
        assert_eq!(ask("/user", "user=2").status(), 502);
        assert_eq!(cache.get("/user").status(), 502);
        assert_eq!(ask("/user", "user=1").text(), page_of(Some("user=1"), None));
        // A body that an anonymous request had stored is nobody's secret.
        ask("/nobody", "user=2").check(200, page_of(None, None), how);
    }
}

#[test]
fn a_check_that_fails_changes_nothing() {
    let mut origin = Origin::start(|_| Reply::fresh("for all"));
    let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 1);
    as_user(&cache, "user=1");
    as_user(&cache, "user=2").check(200, "for all", "detail=probation");
    as_user(&cache, "user=3").check(200, "for all", "hit");
    assert_eq!(origin.count(), 3, "every use is checked");
    origin.stop();
    as_user(&cache, "user=4").check(200, "for all", "hit");
}

#[test]
fn the_compared_client_gets_what_it_asked_for() {
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(|request| {
        let partial = ["range", "if-none-match", "if-match"].iter().any(|name| request.header(name).is_some());
        assert!(!partial, "the comparison requests the whole body");
        Reply::fresh("0123456789").header("ETag", "\"1\"")
    });
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(&str, Fields, u16, &str); 5] = [
        ("GET", &[("Range", "bytes=2-4")], 206, "234"),
        ("GET", &[("If-None-Match", "\"1\"")], 304, ""),
        ("GET", &[("If-Match", "\"2\"")], 412, ""),
        ("HEAD", &[], 200, ""),
        ("GET", &[("Cache-Control", "only-if-cached")], 504, ""),
    ];
    for (method, fields, status, body) in cases {
        let cache = Cache::start(&origin);
        as_user(&cache, "user=1").check(200, "0123456789", "stored");
        let mut fields = fields.to_vec();
        fields.push(("Cookie", "user=2"));
        let response = cache.request(method, "/", &fields, b"");
        assert_eq!(response.status(), status, "{method} {fields:?}");
        if status == 504 {
            continue;
        }
        assert_eq!(response.text(), body);
        assert!(response.has("detail=probation"), "{}", response.cache_status());
        as_user(&cache, "user=3").check(200, "0123456789", "hit");
        asked.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[test]
fn a_cut_body_is_no_verdict() {
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        1 => Reply::fresh("for").length(7).cut(Cut::Fin),
        _ => Reply::fresh("for all"),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1");
    assert_ne!(as_user(&cache, "user=2").end, End::Clean);
    as_user(&cache, "user=3").check(200, "for all", "detail=probation");
    as_user(&cache, "user=4").check(200, "for all", "hit");
    let stats: Value = cache.stats();
    assert_eq!(stats["personalised"]["found"], 0);
}

#[test]
fn a_longer_body_counts_as_different_and_arrives_whole() {
    let long = "x".repeat(300_000);
    let origin = {
        let long = long.clone();
        Origin::start(move |request| match request.header("cookie").as_deref() {
            Some("user=1") => Reply::fresh("short").chunked(),
            _ => Reply::fresh(&long[..100_000]).chunked().body(&long[100_000..]),
        })
    };
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1").check(200, "short", "stored");
    as_user(&cache, "user=2").check(200, &long, "detail=probation");
    as_user(&cache, "user=3").check(200, &long, "detail=personalised");
    assert_eq!(cache.stats()["personalised"]["found"], 1);
}
