//! Cache groups (RFC 9875): an unsafe request invalidates its own URL and the groups that its
//! response names, within the same origin.

use crate::harness::origin::Request;
use crate::harness::{Cache, Origin, Reply, Response};

/// A script: GETs get a fresh response in the groups that the query names; other requests get
/// `status` and a response that names `groups`.
fn script(status: &'static str, groups: &'static str) -> impl Fn(&Request) -> Reply + Send + Sync + 'static {
    move |request| {
        let target = request.target();
        if request.method() == "POST" {
            return Reply::status(status).header("Cache-Group-Invalidation", groups).body("done");
        }
        let reply = Reply::fresh(&target);
        match target.split_once('?').map(|(_, query)| query.split_once('=').unwrap_or((query, ""))) {
            Some(("group", name)) => reply.header("Cache-Groups", &format!("\"{name}\"")),
            Some(("key", name)) => reply.header("Surrogate-Key", name),
            _ => reply,
        }
    }
}

fn get(cache: &Cache, host: &str, target: &str) -> Response {
    let response = cache.client().host(host).get(target);
    cache.settle();
    response
}

#[track_caller]
fn check(status: &'static str, named: &'static str, method: &str, expected: [bool; 5]) {
    let origin = Origin::start(script(status, named));
    let cache = Cache::start(&origin);
    let stored = [
        ("a.example", "/1?group=a"),
        ("a.example", "/2?group=ab"),
        ("a.example", "/3?key=a"),
        ("b.example", "/1?group=a"),
        ("a.example", "/4"),
    ];
    for (host, target) in stored {
        get(&cache, host, target);
        assert!(get(&cache, host, target).is_hit());
    }
    cache.client().host("a.example").exchange(method, "/write", &[], b"");
    cache.settle();
    let is_hit = stored.map(|(host, target)| get(&cache, host, target).is_hit());
    assert_eq!(is_hit, expected, "{method} {status} {named}");
}

#[test]
fn rfc9875_s3_a_group_of_the_same_origin_is_invalidated_and_nothing_else() {
    check("200 OK", "\"a\"", "POST", [false, true, true, true, true]);
    check("303 See Other", "\"ab\", \"other\"", "POST", [true, false, true, true, true]);
}

#[test]
fn rfc9875_s3_errors_and_safe_methods_invalidate_nothing() {
    check("500 Internal Server Error", "\"a\"", "POST", [true; 5]);
    check("404 Not Found", "\"a\"", "POST", [true; 5]);
    check("200 OK", "\"a\"", "OPTIONS", [true; 5]);
    check("200 OK", "a, ?1", "POST", [true; 5]);
}

#[test]
fn rfc9875_s3_too_many_groups_stand_for_the_whole_origin() {
    let many = (0..129).map(|at| format!("\"g{at}\"")).collect::<Vec<_>>().join(", ");
    check("200 OK", many.leak(), "POST", [false, false, false, true, false]);
}

#[test]
fn a_confirmation_brings_its_own_groups() {
    let origin = Origin::start(|request| match (request.method().as_str(), request.header("if-none-match")) {
        ("POST", _) => Reply::ok().header("Cache-Group-Invalidation", "\"new\""),
        (_, Some(_)) => Reply::not_modified().header("Cache-Control", "max-age=60").header("Cache-Groups", "\"new\""),
        _ => Reply::fresh("x").header("ETag", "\"1\"").header("Cache-Groups", "\"old\""),
    });
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.step(61);
    cache.get("/").check(200, "x", "fwd-status=304");
    cache.get("/").check(200, "x", "hit");
    cache.request("POST", "/write", &[], b"");
    assert!(!cache.get("/").is_hit());
}
