//! The front door: requests that can be read in two ways are refused before they reach the origin,
//! since one hop's content would be the next hop's request (RFC 9112 §11.2).

use crate::harness::{Cache, Origin, Reply};

/// Requests with one reading, which are served.
const UNAMBIGUOUS: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "GET / HTTP/1.0\r\nHost: example.org\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 4\r\n\r\nform",
    "POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nform\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: Chunked\r\n\r\n4\r\nform\r\n0\r\n\r\n",
];

/// Requests with two readings.
const AMBIGUOUS: &[&str] = &[
    // Lengths and codings.
    "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nforms",
    "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 4, 4\r\n\r\nform",
    "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: +4\r\n\r\nform",
    "POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "POST / HTTP/1.0\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    // A host other than the one in the key, or none.
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: example.org\r\nHost: another.example\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: user@example.org\r\n\r\n",
    // Lines and fields that end elsewhere for other parsers.
    "GET / HTTP/1.1\r\nHost: example.org\r\nX-A: 1\r\n folded\r\n\r\n",
    "GET / HTTP/1.1\r\nHost : example.org\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: example.org\r\nX-A: a\0b\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: example.org\r\nX-A: a\rb\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: example.org\r\nno colon\r\n\r\n",
    // Targets.
    "GET path HTTP/1.1\r\nHost: example.org\r\n\r\n",
    "GET /a b HTTP/1.1\r\nHost: example.org\r\n\r\n",
];

#[test]
fn requests_with_one_reading_are_served() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    for request in UNAMBIGUOUS {
        let mut client = cache.client();
        client.send(request);
        assert_eq!(client.response().status(), 200, "{request:?}");
    }
}

/// Sends each request, and checks that it is refused, that the connection ends with it, and that
/// the origin sees nothing.
#[track_caller]
fn check_refused(requests: &[&str]) {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let mut served = Vec::new();
    for request in requests {
        let mut client = cache.client();
        client.send(request);
        // A proxy that misread the request would pass this one on, and the origin would see it.
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: example.org\r\n\r\n");
        let status = client.response().status();
        let next = client.try_head().map(|head| head.status).ok();
        let seen = origin.targets();
        if !matches!(status, 400 | 501 | 505) || next.is_some() || !seen.is_empty() {
            served.push(format!("{status}, then {next:?}, and the origin saw {seen:?}: {request:?}"));
        }
        origin.forget();
    }
    assert!(served.is_empty(), "{}", served.join("\n"));
}

#[test]
fn requests_with_two_readings_are_refused_and_the_connection_closed() {
    check_refused(AMBIGUOUS);
}

#[test]
fn connect_and_trace_are_refused() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    for request in
        ["CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n"]
    {
        let mut client = cache.client();
        client.send(request);
        let refused = client.response();
        assert_eq!((refused.status(), origin.count()), (501, 0), "{request:?}");
        assert!(refused.has("detail=method-refused"), "{}", refused.cache_status());
    }
}

#[test]
fn malformed_chunks_end_the_request_and_the_connection() {
    let origin = Origin::at_heads(|_| {
        Reply::ok().first(|peer| {
            while !peer.chunk()?.is_empty() {}
            Ok(())
        })
    });
    let cache = Cache::start(&origin);
    for chunks in ["x\r\n", "4\nform\r\n0\r\n\r\n", "4\r\nformXX", "-4\r\nform\r\n", "0x4\r\nform\r\n"] {
        let mut client = cache.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
        let _ = client.try_send("GET /smuggled HTTP/1.1\r\nHost: example.org\r\n\r\n");
        let status = client.try_head().map(|head| head.status).unwrap_or(400);
        assert!(matches!(status, 400 | 502), "{status}: {chunks:?}");
        assert!(origin.targets().iter().all(|target| target != "/smuggled"), "{chunks:?}");
    }
}

#[test]
fn heads_are_bounded() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let long = format!("GET / HTTP/1.1\r\nHost: example.org\r\nX-Long: {}\r\n\r\n", "x".repeat(40 << 10));
    let many = format!("GET / HTTP/1.1\r\nHost: example.org\r\n{}\r\n", "X-Many: 1\r\n".repeat(1_000));
    let target = format!("GET /{} HTTP/1.1\r\nHost: example.org\r\n\r\n", "x".repeat(70_000));
    for request in [long, many, target] {
        let mut client = cache.client();
        let _ = client.try_send(&request);
        let status = client.response().status();
        assert!(matches!(status, 400 | 414 | 431), "{status}: {:.60}", request);
    }
    assert_eq!(origin.count(), 0);
}

#[test]
fn a_refused_request_says_why_and_leaves_others_alone() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, |setup| setup.config.proxy.hosts = vec!["*.example.org".to_owned()]);
    let served = cache.client().host("www.example.org").get("/");
    assert_eq!(served.status(), 200);
    let unknown = cache.client().host("stranger.example").get("/");
    assert_eq!(unknown.status(), 421);
    assert!(unknown.has("detail=site-unknown"), "{}", unknown.cache_status());
    assert_eq!(cache.stats()["store"]["entries"], 1);
}

#[test]
fn rfc9110_s7_6_2_an_options_without_forwards_left_is_answered_here() {
    let origin = Origin::start(|_| Reply::ok().body("app"));
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.send("OPTIONS * HTTP/1.1\r\nHost: example.org\r\n\r\n");
    let whole = client.response();
    let last = cache.request("OPTIONS", "/", &[("Max-Forwards", "0")], b"");
    for answer in [&whole, &last] {
        assert_eq!(answer.status(), 200, "{}", answer.cache_status());
        assert!(answer.header("allow").is_some_and(|allowed| allowed.contains("OPTIONS")));
    }
    assert_eq!(origin.count(), 0);
    assert_eq!(cache.request("OPTIONS", "/", &[("Max-Forwards", "5")], b"").text(), "app");
    assert_eq!(origin.last().header("max-forwards").as_deref(), Some("4"));
    client.send("OPTIONS * HTTP/1.1\r\n\r\n");
    assert_eq!(client.response().status(), 400);
}
