//! Streaming: open-ended streams, uploads, interim responses, upgrades, trailers, and clients of
//! HTTP/1.0 and HTTP/2.

use crate::harness::{Cache, Cut, End, Gate, Http2, Origin, Reply, WEBSOCKET, pattern};

#[test]
fn server_sent_events_arrive_one_by_one() {
    let gates: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let origin = {
        let gates = gates.clone();
        Origin::start(move |_| {
            let head = Reply::ok().header("Content-Type", "text/event-stream").header("Cache-Control", "no-cache");
            let stream = gates
                .iter()
                .enumerate()
                .fold(head.chunked(), |reply, (at, gate)| reply.wait(gate).body(format!("data: {at}\n\n")));
            stream.cut(Cut::Fin)
        })
    };
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.ask("GET", "/events", &[], b"");
    assert_eq!(client.final_head().status, 200, "the head arrives before the first event");
    for (at, gate) in gates.iter().enumerate() {
        gate.open();
        assert_eq!(client.at_least(9), format!("data: {at}\n\n").as_bytes());
    }
}

#[test]
fn a_client_that_leaves_a_stream_ends_the_origins_connection() {
    let (sent, gone) = (Gate::new(), Gate::new());
    let origin = {
        let (sent, gone) = (sent.clone(), gone.clone());
        Origin::start(move |_| {
            let (sent, gone) = (sent.clone(), gone.clone());
            Reply::ok().header("Cache-Control", "no-store").chunked().body("first").then(move |peer| {
                sent.open();
                // The read ends when the cache closes the connection.
                let _ = peer.exactly(1);
                gone.open();
                Ok(())
            })
        })
    };
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.ask("GET", "/", &[], b"");
    client.final_head();
    client.at_least(5);
    sent.wait();
    drop(client);
    gone.wait();
}

#[test]
fn an_upload_streams_after_100_continue() {
    let seen: Vec<Gate> = (0..3).map(|_| Gate::new()).collect();
    let origin = {
        let seen = seen.clone();
        Origin::at_heads(move |_| {
            let seen = seen.clone();
            Reply::ok().body("thanks").first(move |peer| {
                for (at, gate) in seen.iter().enumerate() {
                    assert_eq!(peer.chunk()?, format!("part {at}").as_bytes());
                    gate.open();
                }
                assert!(peer.chunk()?.is_empty());
                Ok(())
            })
        })
    };
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.send(
        "POST /upload HTTP/1.1\r\nHost: example.org\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    assert_eq!(client.head().status, 100);
    for (at, gate) in seen.iter().enumerate() {
        client.send(format!("6\r\npart {at}\r\n"));
        // The origin has this part before the next is sent, so nothing is buffered on the way.
        gate.wait();
    }
    client.send("0\r\n\r\n");
    client.response().check(200, "thanks", "fwd=method");
}

#[test]
fn a_large_upload_arrives_whole() {
    let origin = Origin::start(|request| Reply::ok().body(format!("{}", request.body == pattern(1 << 20))));
    let cache = Cache::start(&origin);
    let response = cache.request("PUT", "/", &[], &pattern(1 << 20));
    response.check(200, "true", "fwd=method");
}

#[test]
fn too_large_an_upload_is_refused() {
    let origin = Origin::start(|_| Reply::ok());
    let cache = Cache::with(&origin, |setup| setup.config.proxy.request_body_max = 1_000);
    cache.request("POST", "/", &[], &[b'x'; 1_000]).check(200, "", "fwd=method");

    let mut client = cache.client();
    client.send("POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 1001\r\n\r\n");
    let announced = client.response();
    assert_eq!((announced.status(), origin.count()), (413, 1));
    assert!(announced.has("detail=request-too-large"), "{}", announced.cache_status());

    let mut client = cache.client();
    client.send("POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("3e9\r\n{}\r\n", "x".repeat(1_001)));
    let on_the_way = client.response();
    assert_eq!(on_the_way.status(), 413);
    assert!(on_the_way.has("detail=request-too-large"), "{}", on_the_way.cache_status());
}

#[test]
fn content_that_is_not_allowed_is_refused_rather_than_dropped() {
    let origin = Origin::start(|_| Reply::ok());
    let cache = Cache::with(&origin, |setup| setup.config.proxy.request_body_max = 0);
    cache.request("POST", "/", &[], b"").check(200, "", "fwd=method");
    let mut client = cache.client();
    client.send("POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n");
    assert_eq!((client.response().status(), origin.count()), (413, 1));
}

#[test]
fn rfc8297_early_hints_arrive_before_the_final_head() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| {
            Reply::fresh("x").interim("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n").hold(&gate)
        })
    };
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.ask("GET", "/", &[], b"");
    let hints = client.head();
    assert_eq!((hints.status, hints.header("link").as_deref()), (103, Some("</style.css>; rel=preload")));
    gate.open();
    client.response().check(200, "x", "fwd=uri-miss");
    cache.settle();
    client.get("/").check(200, "x", "hit");
}

#[test]
fn an_interim_response_to_a_refresh_reaches_no_client() {
    let origin = Origin::start(|request| match request.target().as_str() {
        "/" => Reply::ok()
            .header("Cache-Control", "max-age=1, stale-while-revalidate=60")
            .interim("HTTP/1.1 103 Early Hints\r\nLink: </for-the-first.css>\r\n\r\n")
            .body("x"),
        _ => Reply::fresh("another"),
    });
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.get("/");
    cache.step(1);
    client.get("/").check(200, "x", "detail=stale-while-revalidate");
    origin.wait_for(2);
    cache.settle();
    client.ask("GET", "/another", &[], b"");
    let head = client.head();
    assert_eq!(head.status, 200, "{head:?}");
    client.rest(head);
}

#[test]
fn interim_responses_do_not_reach_clients_that_cannot_read_them() {
    let origin = Origin::start(|_| Reply::fresh("x").interim("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"));
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.send("GET / HTTP/1.0\r\nHost: example.org\r\n\r\n");
    assert_eq!(client.head().status, 200);
    let mut client = Http2::connect(cache.addr());
    assert_eq!(client.get("/other").head.status, 200);
}

#[test]
fn rfc9110_s7_8_an_upgraded_connection_passes_bytes_both_ways() {
    let origin = Origin::at_heads(|request| {
        let asked = (request.header("upgrade"), request.header("connection").map(|value| value.to_lowercase()));
        assert_eq!(asked, (Some("websocket".to_owned()), Some("upgrade".to_owned())));
        Reply::raw("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
            .then(|peer| {
                for _ in 0..3 {
                    let bytes = peer.exactly(4)?;
                    peer.send(&bytes)?;
                }
                Ok(())
            })
            .cut(Cut::Fin)
    });
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.ask("GET", "/chat", &WEBSOCKET, b"");
    let head = client.head();
    assert_eq!((head.status, head.header("upgrade").as_deref()), (101, Some("websocket")));
    assert_eq!(client.exactly(5), b"hello");
    for word in ["ping", "pong", "bye!"] {
        client.send(word);
        assert_eq!(client.exactly(4), word.as_bytes());
    }
    assert_eq!(client.closed(), End::Clean);
}

#[test]
fn rfc9110_s7_8_an_origin_may_refuse_to_switch() {
    let origin = Origin::start(|_| Reply::status("426 Upgrade Required").body("no"));
    let cache = Cache::start(&origin);
    cache.request("GET", "/chat", &WEBSOCKET, b"").check(426, "no", "detail=upgrade");
}

#[test]
fn rfc9110_s6_5_trailers_pass() {
    let origin = Origin::start(|request| {
        let lifetime = if request.target() == "/stored" { "max-age=60" } else { "no-store" };
        let head = Reply::ok().header("Cache-Control", lifetime).header("Trailer", "X-Sum");
        head.chunked().body("content").trailer("X-Sum", "abc")
    });
    let cache = Cache::start(&origin);
    for target in ["/stored", "/passed"] {
        let response = cache.get_with(target, &[("TE", "trailers")]);
        assert_eq!((response.text().as_str(), response.end), ("content", End::Clean), "{target}");
        assert_eq!(response.trailers.len(), 1, "{target}: {:?}", response.trailers);
        assert!(response.trailers[0].eq_ignore_ascii_case("x-sum: abc"), "{target}: {:?}", response.trailers);
    }
    // A stored response has a length and no trailers.
    let hit = cache.get("/stored");
    hit.check(200, "content", "hit");
    assert_eq!(hit.trailers.len(), 0);
}

#[test]
fn http2_clients_share_what_http1_clients_stored() {
    let body = pattern(300_000);
    let origin = Origin::replies([Reply::fresh(&body)]);
    let cache = Cache::start(&origin);
    cache.get("/");
    let mut client = Http2::connect(cache.addr());
    for response in client.all(&["/"; 10]) {
        assert!(response.failed.is_none() && response.body == body);
        assert!(response.head.headers["cache-status"].to_str().unwrap().contains("; hit"));
    }
    assert_eq!(origin.count(), 1);
}

#[test]
fn http2_misses_stream() {
    let origin = Origin::start(|request| Reply::fresh(request.target()));
    let cache = Cache::start(&origin);
    let targets: Vec<String> = (0..50).map(|at| format!("/{at}")).collect();
    let targets: Vec<&str> = targets.iter().map(String::as_str).collect();
    for (target, response) in targets.iter().zip(Http2::connect(cache.addr()).all(&targets)) {
        assert_eq!((response.head.status.as_u16(), response.body.as_slice()), (200, target.as_bytes()));
    }
}

#[test]
fn http10_clients_are_served_and_closed_unless_they_ask_otherwise() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    for round in ["miss", "hit"] {
        let mut client = cache.client();
        client.send("GET / HTTP/1.0\r\nHost: example.org\r\n\r\n");
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str(), response.end), (200, "x", End::Clean), "{round}");
        assert_eq!(client.closed(), End::Clean, "{round}");
        cache.settle();
    }
    let mut client = cache.client();
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nHost: example.org\r\nConnection: keep-alive\r\n\r\n");
        assert!(client.response().is_hit());
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|request| Reply::fresh(request.target()));
    let cache = Cache::start(&origin);
    cache.get("/2");
    let mut client = cache.client();
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: example.org\r\n\r\n");
    client.send(["/1", "/2", "/3"].map(request).concat());
    for target in ["/1", "/2", "/3"] {
        assert_eq!(client.response().text(), target);
    }
}

#[test]
fn obs_text_reaches_the_origin_unchanged() {
    let origin = Origin::start(|_| {
        Reply::raw(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nX-Name: caf\xe9\r\nContent-Length: 1\r\n\r\nx")
    });
    let cache = Cache::start(&origin);
    for round in ["miss", "hit"] {
        let mut client = cache.client();
        client.send(b"GET / HTTP/1.1\r\nHost: example.org\r\nX-Mine: na\xefve\r\n\r\n");
        let response = client.response();
        let head = &response.head.bytes;
        assert!(head.windows(4).any(|four| four == b"caf\xe9"), "{round}");
        cache.settle();
    }
    assert!(origin.last().head.windows(5).any(|five| five == b"na\xefve"));
}

#[test]
fn an_aborted_upload_is_aborted_at_the_origin_too() {
    let (begun, broken) = (Gate::new(), Gate::new());
    let origin = {
        let (begun, broken) = (begun.clone(), broken.clone());
        Origin::at_heads(move |_| {
            let (begun, broken) = (begun.clone(), broken.clone());
            Reply::ok().first(move |peer| {
                assert_eq!(peer.exactly(5)?, b"first");
                begun.open();
                let rest = peer.exactly(5);
                assert!(rest.is_err(), "{rest:?}");
                broken.open();
                rest.map(drop)
            })
        })
    };
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.send("POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 10\r\n\r\nfirst");
    begun.wait();
    drop(client);
    broken.wait();
}
