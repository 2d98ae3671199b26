//! Clients that are silent, slow or stalled.

use super::*;

/// Waits for the server's close and checks that it came after about `limit`.
fn check_closed_after(client: &mut TestClient, began: Instant, limit: Duration) {
    let _ = client.rest();
    let took = began.elapsed();
    assert!(took >= limit && took < Duration::from_secs(10), "closed after {took:?}");
}

#[test]
fn silence_and_slow_heads_are_closed() {
    let quick = StageLimits { head: SHORT, idle: SHORT, body: LONG };
    let server = TestServer::start(quick, echo_path);
    for first in ["", "GET / HT", "PRI * HTTP/2.0\r\n"] {
        let mut client = server.client();
        let began = Instant::now();
        check_closed_after(client.send(first), began, SHORT);
    }
    assert_eq!(server.counters.closed_in_head.load(Ordering::Relaxed), 3);
    for (then, counter) in [("", &server.counters.closed_idle), ("GET / H", &server.counters.closed_in_head)] {
        let before = counter.load(Ordering::Relaxed);
        let mut client = server.client();
        client.send(&get("/x")).until("/x");
        let began = Instant::now();
        check_closed_after(client.send(then), began, SHORT);
        assert_eq!(counter.load(Ordering::Relaxed), before + 1);
    }
    let mut http2 = server.client();
    http2.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").0.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    check_closed_after(&mut http2, Instant::now(), SHORT);
}

#[test]
fn a_head_sent_byte_by_byte_is_closed_all_the_same() {
    let server = TestServer::start(StageLimits { head: SHORT, idle: LONG, body: LONG }, echo_path);
    let mut client = server.client();
    client.0.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    client.send("GET / HTTP/1.1\r\nX: ");
    let began = Instant::now();
    let mut byte = [0];
    loop {
        let _ = client.0.write_all(b"x");
        match client.0.read(&mut byte) {
            Ok(0) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => (),
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(10), "still open");
    }
}

#[test]
fn a_client_that_does_not_read_is_closed_and_its_response_dropped() {
    let (dropped, is_dropped) = mpsc::sync_channel::<&str>(2);
    let server = TestServer::start(StageLimits { body: SHORT, ..PATIENT }, move |_, _| {
        let (sender, body) = channel_body(None);
        let dropped = dropped.clone();
        tokio::spawn(async move {
            let chunk = Bytes::from(vec![b'x'; 1 << 20]);
            for _ in 0..64 {
                let _ = sender.send(Ok(chunk.clone()));
            }
            sender.closed().await;
            let _ = dropped.send("dropped");
        });
        Answer::Now(Response::new(body))
    });
    let mut client = server.client();
    client.send(&get("/"));
    assert_eq!(is_dropped.recv_timeout(Duration::from_secs(10)), Ok("dropped"));
    // The counter is incremented before the close.
    assert_eq!(server.counters.closed_in_body.load(Ordering::Relaxed), 1);
    with_http2(server.addr, async |mut sender| {
        // The response is kept and never read: the window stays shut.
        let response = sender.send_request(h2_get("/")).await.unwrap();
        let is_dropped_in_time = tokio::task::spawn_blocking(move || is_dropped.recv_timeout(Duration::from_secs(10)));
        assert_eq!(is_dropped_in_time.await.unwrap(), Ok("dropped"));
        drop(response);
    });
    assert_eq!(server.counters.closed_in_body.load(Ordering::Relaxed), 2);
}

#[test]
fn a_client_that_stops_sending_is_closed_but_not_one_that_waits_for_the_origin() {
    let go = Arc::new(Notify::new());
    let released = Arc::clone(&go);
    let server = TestServer::start(StageLimits { body: SHORT, ..PATIENT }, move |_, request| {
        if request.uri().path() == "/slow-origin" {
            let go = Arc::clone(&released);
            let Answer::Later(swallowed) = swallow(request) else { unreachable!() };
            return Answer::Later(Box::pin(async move {
                let response = swallowed.await;
                go.notified().await;
                response
            }));
        }
        swallow(request)
    });
    let mut waiting = server.client();
    waiting.send("POST /slow-origin HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    let mut stalled = server.client();
    let began = Instant::now();
    stalled.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    check_closed_after(&mut stalled, began, SHORT);
    with_http2(server.addr, async |mut sender| {
        let began = Instant::now();
        let post = |path: &str, body: &'static str, length: &str| {
            let body = http_body_util::Full::new(Bytes::from_static(body.as_bytes()));
            let request = Request::post(format!("http://a{path}")).header("content-length", length);
            request.body(body).unwrap()
        };
        assert!(sender.send_request(post("/", "abc", "3")).await.is_ok());
        drop(sender.send_request(post("/", "abc", "3")));
        assert!(began.elapsed() < Duration::from_secs(10));
    });
    // The stalled client was closed long after this one began to wait.
    go.notify_one();
    assert!(waiting.until("Ok(3)").contains(" 200 "));
    assert_eq!(server.counters.closed_in_body.load(Ordering::Relaxed), 1);
}
