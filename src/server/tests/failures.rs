//! Bodies that fail, handlers that panic, and clients that give up: no response ends cleanly by
//! mistake.

use super::*;

#[test]
fn a_body_that_fails_never_ends_cleanly() {
    let go = Arc::new(Notify::new());
    let cuts = Arc::clone(&go);
    let server = TestServer::start(PATIENT, move |_, request| {
        let length = (request.uri().path() == "/sized").then_some(100);
        let (sender, body) = channel_body(length);
        let cuts = Arc::clone(&cuts);
        tokio::spawn(async move {
            sender.send(Ok(Bytes::from_static(b"part"))).unwrap();
            cuts.notified().await;
            let _ = sender.send(Err(io::Error::other("cut")));
        });
        Answer::Now(Response::new(body))
    });
    // The client has read a part; nothing follows it, and a chunked body lacks its last chunk.
    for (path, framing) in [("/chunked", "transfer-encoding: chunked"), ("/sized", "content-length: 100")] {
        let mut client = server.client();
        let text = client.send(&get(path)).until("part");
        assert!(text.contains(framing), "{text}");
        go.notify_one();
        assert_eq!(client.text().trim_end(), "");
    }
    // RFC 9112 §6.3: only a reset tells an HTTP/1.0 client.
    let mut client = server.client();
    client.send("GET /ended-by-close HTTP/1.0\r\n\r\n").until("part");
    go.notify_one();
    let (all, end) = client.rest();
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{all:?}");
    with_http2(server.addr, async |mut sender| {
        let response = sender.send_request(h2_get("/")).await.unwrap();
        go.notify_one();
        assert!(response.into_body().collect().await.is_err());
        assert!(sender.send_request(h2_get("/sized")).await.is_ok(), "the connection stays open");
    });
}

#[test]
fn a_panic_ends_one_request_and_is_counted() {
    let server = TestServer::start(PATIENT, |peer, request| match request.uri().path() {
        "/panic" => panic!("on purpose"),
        "/later" => Answer::Later(Box::pin(async { panic!("on purpose, later") })),
        _ => echo_path(peer, request),
    });
    for path in ["/panic", "/later"] {
        assert_eq!(server.client().send(&get(path)).text(), "");
    }
    with_http2(server.addr, async |mut sender| {
        assert!(sender.send_request(h2_get("/later")).await.is_err());
        assert!(sender.send_request(h2_get("/fine")).await.is_ok(), "other streams continue");
    });
    assert_eq!(server.counters.panics.load(Ordering::Relaxed), 3);
    assert!(server.client().send(&get("/fine")).until("/fine").contains(" 200 "));
}

#[test]
fn a_body_that_panics_never_ends_cleanly() {
    let server = TestServer::start(PATIENT, |peer, request| {
        let length = match request.uri().path() {
            "/sized" => Some(100),
            "/unsized" => None,
            _ => return echo_path(peer, request),
        };
        let (feed, script) = channel_body(length);
        feed.send(Ok("part".into())).unwrap();
        feed.send(Ok(PANIC.into())).unwrap();
        Answer::Now(Response::new(script))
    });
    for path in ["/sized", "/unsized"] {
        let (all, _) = server.client().send(&get(path)).rest();
        let all = String::from_utf8_lossy(&all);
        assert!(!all.ends_with("0\r\n\r\n") && !all.contains(PANIC), "{all:?}");
        // RFC 9112 §6.3: only a reset tells an HTTP/1.0 client.
        let (all, end) = server.client().send(&format!("GET {path} HTTP/1.0\r\n\r\n")).rest();
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{all:?}");
    }
    with_http2(server.addr, async |mut sender| {
        let broken = match sender.send_request(h2_get("/unsized")).await {
            Ok(response) => response.into_body().collect().await.is_err(),
            Err(_) => true,
        };
        assert!(broken);
        assert!(sender.send_request(h2_get("/fine")).await.is_ok(), "other streams continue");
    });
    assert_eq!(server.counters.panics.load(Ordering::Relaxed), 5);
    assert!(server.client().send(&get("/fine")).until("/fine").contains(" 200 "));
}

#[test]
fn a_client_that_gives_up_is_noticed_while_the_origin_is_slow() {
    let (is_dropped_in_time, log_receiver) = mpsc::channel();
    let server = TestServer::start(PATIENT, move |_, _| {
        let is_dropped_in_time = TestLog(is_dropped_in_time.clone());
        Answer::Later(Box::pin(async move {
            let _log = is_dropped_in_time;
            std::future::pending().await
        }))
    });
    let mut client = server.client();
    client.send(&get("/"));
    assert!(log_receiver.try_recv().is_err());
    drop(client);
    assert_eq!(log_receiver.recv_timeout(Duration::from_secs(10)), Ok(()));
}
