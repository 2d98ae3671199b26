//! Stale responses: served while they are refreshed, and when the origin fails (RFC 5861, RFC 9111
//! §4.2.4).

use std::time::Duration;

use crate::harness::{Cache, Cut, Gate, Origin, Reply, eventually};

fn with(cache_control: &str, body: &str) -> Reply {
    Reply::ok().header("Cache-Control", cache_control).body(body)
}

#[test]
fn rfc5861_s3_stale_is_served_at_once_and_refreshed_once_in_the_background() {
    let gate = Gate::new();
    let directives = "max-age=60, stale-while-revalidate=30";
    let origin = Origin::replies([with(directives, "one"), with(directives, "two").hold(&gate)]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(89);

    let mut client = cache.client();
    for _ in 0..5 {
        let stale = client.get("/");
        stale.check(200, "one", "detail=stale-while-revalidate");
        assert_eq!((stale.ttl(), stale.header("age").as_deref()), (Some(-29), Some("89")));
        // The origin has not answered, and nobody has waited for it.
        gate.arrived(1);
    }
    gate.open();
    cache.settle();
    cache.get("/").check(200, "two", "hit");
    assert_eq!(origin.count(), 2);
}

#[test]
fn s5_2_1_a_client_that_sets_a_limit_gets_nothing_stale_within_the_window() {
    for asked in ["min-fresh=5", "max-age=1000", "max-age=1000, only-if-cached"] {
        let directives = "max-age=60, stale-while-revalidate=30";
        let origin = Origin::replies([with(directives, "one"), with(directives, "two")]);
        let cache = Cache::start(&origin);
        cache.get("/");
        cache.step(61);
        let response = cache.get_with("/", &[("Cache-Control", asked)]);
        if asked.contains("only-if-cached") {
            assert_eq!(response.status(), 504, "{}", response.cache_status());
        } else {
            response.check(200, "two", "fwd=stale");
        }
    }
}

#[test]
fn rfc5861_s3_past_the_window_the_client_waits() {
    let directives = "max-age=60, stale-while-revalidate=30";
    let origin = Origin::replies([with(directives, "one"), with(directives, "two")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(90);
    cache.get("/").check(200, "two", "fwd=stale");
}

#[test]
fn a_route_gives_the_window_where_the_response_does_not() {
    let origin = Origin::replies([with("max-age=60", "one"), with("max-age=60", "two")]);
    let cache = Cache::with(&origin, |setup| setup.rule.stale_while_revalidate = Duration::from_secs(10));
    cache.get("/");
    cache.step(65);
    cache.get("/").check(200, "one", "detail=stale-while-revalidate");
    cache.settle();
    cache.get("/").check(200, "two", "hit");
}

#[test]
fn a_background_refresh_that_fails_leaves_the_stale_response() {
    let directives = "max-age=60, stale-while-revalidate=30";
    let origin = Origin::replies([with(directives, "one"), Reply::hang_up(Cut::Rst), with(directives, "two")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(70);
    cache.get("/").check(200, "one", "detail=stale-while-revalidate");
    origin.wait_for(2);
    cache.get("/").check(200, "one", "detail=stale-while-revalidate");
    eventually("the page is refreshed after all", || cache.get("/").is_hit());
}

#[test]
fn rfc5861_s4_stale_is_served_while_the_origin_is_down() {
    let mut origin = Origin::replies([with("max-age=60", "one")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    origin.stop();
    cache.step(60 + 3_599);
    let stale = cache.get("/");
    stale.check(200, "one", "detail=stale-if-error");
    assert!(stale.ttl().is_some_and(|ttl| ttl < 0), "{}", stale.cache_status());
    cache.step(2);
    let failed = cache.get("/");
    assert_eq!(failed.status(), 502, "an hour later the page may not be served");
    assert!(failed.has("detail=connection_refused"), "{}", failed.cache_status());
    assert!(failed.header("proxy-status").unwrap().contains("error=connection_refused"));
}

#[test]
fn rfc5861_s4_stale_is_served_where_the_origin_hangs_up() {
    for reply in [
        Reply::hang_up(Cut::Fin),
        Reply::hang_up(Cut::Rst),
        Reply::raw("HTTP/1.1 200 OK\r\nContent-Le").cut(Cut::Fin),
        Reply::raw("what is this?\r\n\r\n").cut(Cut::Fin),
    ] {
        let asked = std::sync::atomic::AtomicBool::new(false);
        let origin = Origin::start(move |_| {
            let again = asked.swap(true, std::sync::atomic::Ordering::SeqCst);
            if again { reply.clone() } else { with("max-age=60", "one") }
        });
        let cache = Cache::start(&origin);
        cache.get("/");
        cache.step(61);
        cache.get("/").check(200, "one", "detail=stale-if-error");
    }
}

#[test]
fn stale_is_served_where_the_origin_is_silent() {
    let never = Gate::new();
    let origin = Origin::replies([with("max-age=60", "one"), with("max-age=60", "two").hold(&never)]);
    let cache = Cache::with(&origin, |setup| setup.config.origin.response_timeout = Duration::from_millis(50));
    cache.get("/");
    cache.step(61);
    cache.get("/").check(200, "one", "detail=stale-if-error");
    let nothing = cache.get("/other");
    never.open();
    assert!(matches!(nothing.status(), 500), "the script is over: {}", nothing.status());
}

#[test]
fn s4_2_4_a_response_that_forbids_it_is_never_served_stale() {
    for directives in [
        "max-age=60, must-revalidate",
        "max-age=60, proxy-revalidate",
        "s-maxage=60",
        "max-age=60, must-revalidate, stale-if-error=900, stale-while-revalidate=900",
        "max-age=60, stale-if-error=0",
    ] {
        let mut origin = Origin::replies([with(directives, "one")]);
        let cache = Cache::start(&origin);
        cache.get("/");
        cache.step(61);
        origin.stop();
        let failed = cache.get("/");
        assert_eq!(failed.status(), 502, "{directives}");
        assert!(failed.header("proxy-status").unwrap().starts_with("larder; error="), "{directives}");
        assert!(failed.has("detail=connection_refused"), "{directives}: {}", failed.cache_status());
    }
}

#[test]
fn s5_2_2_10_s_maxage_beats_max_stale() {
    for (field, directives) in [
        ("Cache-Control", "s-maxage=60"),
        ("Cache-Control", "s-maxage=60, stale-if-error=60"),
        ("CDN-Cache-Control", "s-maxage=60"),
        ("CDN-Cache-Control", "s-maxage=60, stale-if-error=60"),
        ("Larder-Cache-Control", "max-age=90, s-maxage=60, stale-if-error=60"),
    ] {
        let reply = |body| Reply::ok().header(field, directives).body(body);
        let origin = Origin::replies([reply("one"), reply("two")]);
        let cache = Cache::start(&origin);
        cache.get("/");
        cache.step(61);
        cache.get_with("/", &[("Cache-Control", "max-stale")]).check(200, "two", "fwd=stale");
    }
}

#[test]
fn nothing_stored_and_a_silent_origin_is_a_gateway_timeout() {
    let never = Gate::new();
    let origin = {
        let never = never.clone();
        Origin::start(move |_| with("max-age=60", "x").hold(&never))
    };
    let cache = Cache::with(&origin, |setup| setup.config.origin.response_timeout = Duration::from_millis(50));
    let failed = cache.get("/");
    assert_eq!(failed.status(), 504);
    assert!(failed.header("proxy-status").unwrap().contains("error=http_response_timeout"));
    never.open();
}

#[test]
fn rfc5861_s4_a_5xx_is_hidden_only_where_the_response_or_the_route_says_so() {
    let error = || Reply::status("503 Service Unavailable").body("down");
    let check = |directives: &str, route: bool, hidden: bool| {
        let origin = Origin::replies([with(directives, "one"), error(), error()]);
        let cache = Cache::with(&origin, |setup| setup.rule.stale_if_error_covers_status = route);
        cache.get("/");
        cache.step(61);
        let response = cache.get("/");
        if hidden {
            response.check(200, "one", "detail=stale-if-error");
        } else {
            assert_eq!((response.status(), response.text().as_str()), (503, "down"), "{directives}");
        }
    };
    check("max-age=60", false, false);
    check("max-age=60, stale-if-error=100", false, true);
    check("max-age=60", true, true);
    check("max-age=60, must-revalidate, stale-if-error=100", false, false);
}

/// Refreshes a page with this response. Tells whether the page is still served once the app is
/// down.
fn survives(refreshed: Reply) -> bool {
    let mut origin = Origin::replies([with("max-age=60, stale-if-error=900", "old"), refreshed]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    cache.get("/");
    assert_eq!(origin.count(), 2);
    origin.stop();
    let last = cache.get("/");
    if last.status() == 200 {
        last.check(200, "old", "detail=stale-if-error");
    }
    last.status() == 200
}

#[test]
fn s4_3_3_a_page_replaced_by_an_unstored_response_is_not_served_stale() {
    let unstored = |status: &str| Reply::status(status).header("Cache-Control", "no-store").body("news");
    for status in ["200 OK", "302 Found", "401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone"] {
        assert!(!survives(unstored(status)), "{status}");
    }
    for status in ["400 Bad Request", "429 Too Many Requests", "500 Internal Server Error"] {
        assert!(survives(unstored(status)), "{status}");
    }
}

#[test]
fn s4_3_3_a_response_with_another_vary_replaces_the_one_it_refreshed() {
    for status in ["200 OK", "404 Not Found"] {
        // The new response's clock is behind: by Date alone, the old response would be selected for
        // ever (§4.1).
        let news = Reply::status(status).header("Cache-Control", "max-age=600").header("Vary", "X-A");
        let news = news.header("Date", "Wed, 31 Dec 2025 23:59:00 GMT").body("new");
        let origin = Origin::replies([with("max-age=60, stale-while-revalidate=300", "old"), news, with("", "other")]);
        let cache = Cache::start(&origin);
        cache.get("/");
        cache.step(61);
        cache.get("/").check(200, "old", "detail=stale-while-revalidate");
        cache.settle();
        let next = cache.get("/");
        assert_eq!((next.status().to_string(), next.text().as_str()), (status[..3].to_owned(), "new"));
        cache.get_with("/", &[("X-A", "1")]).check(200, "other", "fwd=vary-miss");
    }
}

#[test]
fn a_5xx_that_passes_leaves_the_stored_response() {
    let origin = Origin::replies([
        with("max-age=60", "one").header("ETag", "\"1\""),
        Reply::status("500 Internal Server Error").body("down"),
        Reply::not_modified().header("ETag", "\"1\"").header("Cache-Control", "max-age=60"),
    ]);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    assert_eq!(cache.get("/").status(), 500);
    cache.get("/").check(200, "one", "fwd-status=304");
}

#[test]
fn a_head_gets_the_stale_response_in_whatever_coding_it_is_stored() {
    let page = "a line of a page that repeats itself\n".repeat(100);
    let reply = with("max-age=60, stale-if-error=900", &page).header("Content-Type", "text/html");
    let down = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut origin = {
        let down = std::sync::Arc::clone(&down);
        Origin::start(move |_| match down.load(std::sync::atomic::Ordering::SeqCst) {
            true => Reply::status("503 Service Unavailable").body("down"),
            false => reply.clone(),
        })
    };
    let cache = Cache::start(&origin);
    cache.get("/");
    let zstd = [("Accept-Encoding", "zstd")];
    eventually("the page is stored as zstd", || cache.get_with("/", &zstd).header("content-encoding").is_some());
    cache.step(61);
    down.store(true, std::sync::atomic::Ordering::SeqCst);
    for round in ["it answers 503", "it is gone"] {
        for (method, fields) in
            [("GET", &[][..]), ("HEAD", &zstd), ("HEAD", &[]), ("HEAD", &[("Accept-Encoding", "gzip")])]
        {
            let response = cache.request(method, "/", fields, b"");
            assert_eq!(response.status(), 200, "{round}: {method} {fields:?}");
            assert!(response.has("detail=stale-if-error"), "{round}: {method} {}", response.cache_status());
        }
        origin.stop();
    }
}

#[test]
fn rfc9110_s9_2_2_a_request_that_may_have_reached_the_origin_is_not_resent() {
    for (method, expected) in [("POST", 1), ("GET", 1)] {
        let origin = Origin::start(|_| Reply::hang_up(Cut::Rst));
        let cache = Cache::start(&origin);
        let failed = cache.request(method, "/", &[], b"");
        assert_eq!(failed.status(), 502, "{method}");
        assert_eq!(origin.count(), expected, "{method}");
    }
}

#[test]
fn connections_closed_by_the_origin_while_idle_cost_no_request() {
    let closed = Gate::new();
    let origin = {
        let closed = closed.clone();
        Origin::start(move |_| {
            let closed = closed.clone();
            Reply::fresh("x").then(move |peer| {
                peer.finish()?;
                closed.wait();
                Ok(())
            })
        })
    };
    let cache = Cache::start(&origin);
    closed.open();
    for at in 1..=5 {
        assert_eq!(cache.request("POST", "/", &[], b"form").status(), 200);
        // The cache has seen the close, so that the next request meets no race.
        closed.arrived(at);
    }
}
