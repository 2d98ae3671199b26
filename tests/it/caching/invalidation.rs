//! Unsafe methods: invalidation (RFC 9111 §4.4), and responses to POST that are stored
//! (RFC 9110 §9.3.3).

use crate::harness::{Cache, Gate, Origin, Reply, eventually};

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
        assert!(!cache.get("/other").is_hit(), "{method}: the URL in Location");
        assert!(cache.get("/third").is_hit(), "{method}: the URL of another origin");
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
    eventually("the response is stored", || cache.stats()["store"]["entries"] == 1);
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
