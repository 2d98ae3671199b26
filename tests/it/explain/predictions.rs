//! Explanations of what depends on the origin: its failures, and judgements of its response.

use serde_json::json;

use super::{disagreement, explained, question};
use crate::harness::{Cache, Cut, Origin, Reply};

#[test]
fn a_failing_origin_is_predicted_where_it_is_known() {
    let mut origin = Origin::start(|_| Reply::ok().header("Cache-Control", "max-age=5").body("x"));
    let lines = "[origin]\nbreaker_failures = 1\nbreaker_interval = \"10m\"";
    let cache = Cache::configured(&origin, lines);
    cache.get("/a");
    cache.step(6);
    let before = cache.explain(&question("GET", "/a", &[]));
    assert_eq!(before["now"]["if_origin_fails"], json!({ "unreachable": "stale", "server_error": "passed" }));
    origin.stop();
    // The first failure to connect opens the breaker.
    cache.get("/other");
    let stale = explained(&cache, "GET", "/a", &[]);
    assert_eq!((&stale["now"]["action"], &stale["now"]["reason"]), (&json!("answer"), &json!("stale-if-error")));
    let failed = explained(&cache, "GET", "/b", &[]);
    assert_eq!((&failed["now"]["action"], &failed["now"]["status"]), (&json!("fail"), &json!(503)));
    assert_eq!(failed["now"]["reason"], "destination_unavailable");
}

#[test]
fn the_status_of_a_conditional_or_range_request_is_predicted() {
    let origin = Origin::start(|_| Reply::fresh("0123456789").header("ETag", "\"1\""));
    let cache = Cache::start(&origin);
    cache.get("/a");
    for (name, value, status) in [
        ("If-None-Match", "\"1\"", 304),
        ("If-Match", "\"1\"", 200),
        ("Range", "bytes=2-3", 206),
        ("Range", "bytes=20-", 416),
        ("Range", "bytes=0-0,9-9", 206),
    ] {
        let report = explained(&cache, "GET", "/a", &[(name, value)]);
        assert_eq!(report["now"]["status"], status, "{name}: {value}");
    }
    let unmet = explained(&cache, "GET", "/a", &[("If-Match", "\"2\"")]);
    assert_eq!((&unmet["now"]["action"], &unmet["now"]["reason"]), (&json!("pass"), &json!("precondition")));
}

#[test]
fn a_response_is_judged_as_the_fill_does() {
    let replies = [
        ("Cache-Control: max-age=60", true),
        ("Cache-Control: no-store", false),
        ("Cache-Control: private, max-age=60", false),
        ("Cache-Control: max-age=60\r\nVary: *", false),
        ("Cache-Control: max-age=60\r\nSurrogate-Key: a b c", false),
        ("Cache-Control: max-age=60\r\nContent-Length: 2000", false),
        ("X: y", false),
    ];
    for (fields, stored) in replies {
        let origin = Origin::start(move |_| {
            let length = if fields.contains("Content-Length") { 2_000 } else { 1 };
            let lines = fields.split("\r\n").filter_map(|line| line.split_once(": "));
            let lines = lines.filter(|(name, _)| *name != "Content-Length");
            lines.fold(Reply::ok().body(vec![b'x'; length]), |reply, (name, value)| reply.header(name, value))
        });
        let cache = Cache::configured(&origin, "[memory]\ntags_max = 2\nobject_bytes_max = \"1KiB\"");
        let mut asked = question("GET", "/", &[]);
        let sized = if fields.contains("Content-Length") { "" } else { "\r\nContent-Length: 1" };
        asked["response"] = json!(format!("HTTP/1.1 200 OK\r\n{fields}{sized}\r\n\r\n"));
        asked["received"] = json!("now");
        let report = cache.explain(&asked);
        assert_eq!(report["response"]["stored"], stored, "{fields}: {report:#}");
        let response = cache.get("/");
        assert_eq!(disagreement(&report, &response), None, "{fields}");
    }
}

#[test]
fn an_error_that_may_be_stored_is_judged_by_what_it_would_replace() {
    let origin = Origin::start(|request| match request.header("x-odd") {
        Some(_) => Reply::status("500 Internal Server Error").header("Cache-Control", "max-age=60").body("no"),
        None => Reply::fresh("page"),
    });
    let cache = Cache::start(&origin);
    let failing = [("X-Odd", "1"), ("Cache-Control", "no-cache")];
    for stored in [true, false] {
        let path = if stored { "/new" } else { "/stored" };
        if !stored {
            cache.get(path);
        }
        let mut asked = question("GET", path, &failing);
        let head = "HTTP/1.1 500 Internal Server Error\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\n";
        (asked["response"], asked["received"]) = (json!(head), json!("now"));
        let report = cache.explain(&asked);
        assert_eq!(report["response"]["stored"], stored, "{report:#}");
        assert_eq!(disagreement(&report, &cache.get_with(path, &failing)), None);
    }
}

#[test]
fn a_response_that_breaks_http_is_reported_as_refused() {
    let origin = Origin::start(|_| Reply::ok());
    let cache = Cache::start(&origin);
    for (head, reason) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n", "http_protocol_error"),
        ("HTTP/1.1 700 Odd\r\nContent-Length: 1\r\n", "http_protocol_error"),
        ("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n", "http_protocol_error"),
        ("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n", "unsized"),
    ] {
        let mut asked = question("GET", "/", &[]);
        asked["response"] = json!(head);
        let report = cache.explain(&asked);
        assert_eq!(report["response"]["because"]["reason"], reason, "{head}");
    }
}

#[test]
fn an_origin_that_hangs_up_cannot_be_predicted() {
    let origin =
        Origin::replies([Reply::ok().header("Cache-Control", "max-age=5").body("x"), Reply::hang_up(Cut::Fin)]);
    let cache = Cache::start(&origin);
    cache.get("/a");
    cache.step(6);
    let report = explained(&cache, "GET", "/a", &[]);
    assert_eq!(report["now"]["if_origin_fails"]["unreachable"], "stale");
}
