//! HEAD (RFC 9111 §4.3.5): answered from a stored GET, and freshening it.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::origin::Request;
use crate::harness::{Cache, Gate, Origin, Reply};

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
