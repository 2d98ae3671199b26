//! HTTP/2 connections and their streams (RFC 9113), through hyper's own client.

use super::*;

/// Speaks HTTP/2 through hyper's own client, with requests whose content is empty or complete.
pub(super) fn with_http2<T>(
    addr: SocketAddr,
    run: impl AsyncFnOnce(hyper::client::conn::http2::SendRequest<http_body_util::Full<Bytes>>) -> T,
) -> T {
    with_http2_of(addr, run)
}

/// Speaks HTTP/2 through hyper's own client.
fn with_http2_of<B, T>(addr: SocketAddr, run: impl AsyncFnOnce(hyper::client::conn::http2::SendRequest<B>) -> T) -> T
where
    B: Body<Data: Send, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
{
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let socket = tokio::net::TcpStream::connect(addr).await.unwrap();
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.unwrap();
        tokio::spawn(connection);
        run(sender).await
    })
}

pub(super) fn h2_get(path: &str) -> Request<http_body_util::Full<Bytes>> {
    Request::get(format!("http://a{path}")).body(http_body_util::Full::default()).unwrap()
}

#[test]
fn http2_is_detected_by_its_preface() {
    let server = TestServer::start(PATIENT, |peer, request| {
        assert!(peer.interim.is_none());
        echo_path(peer, request)
    });
    with_http2(server.addr, async |mut sender| {
        let all: Vec<_> = (0..30).map(|n| sender.send_request(h2_get(&format!("/{n}")))).collect();
        for (n, response) in all.into_iter().enumerate() {
            let response = response.await.unwrap();
            assert!(response.headers().get("date").is_none(), "Date is the response's own");
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("/{n}"));
        }
    });
    // The preface may arrive in pieces.
    let mut client = server.client();
    for piece in ["PRI * HT", "TP/2.0\r\n\r\nSM", "\r\n\r\n"] {
        client.send(piece);
    }
    client.0.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    let mut settings = [0; 9];
    client.0.read_exact(&mut settings).unwrap();
    assert_eq!(settings[3], 4, "the server's SETTINGS");
}

#[test]
fn http2_bodies_pass_whole() {
    let body: Bytes = (0..3_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let twin = body.clone();
    let server = TestServer::start(PATIENT, move |_, _| Answer::Now(Response::new(whole(body.clone()))));
    with_http2(server.addr, async |mut sender| {
        let response = sender.send_request(h2_get("/")).await.unwrap();
        assert!(response.into_body().collect().await.unwrap().to_bytes() == twin);
    });
}

#[test]
fn stalled_http2_content_is_reset() {
    let server = TestServer::start(StageLimits { body: SHORT, ..PATIENT }, |_, request| swallow(request));
    let mut client = server.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").0.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
    // HEADERS with END_HEADERS but not END_STREAM: `:method: POST`, `:scheme: http`, `:path: /`,
    // `:authority: a`.
    let block = [0x83, 0x86, 0x84, 0x41, 0x01, b'a'];
    let mut frame = vec![0, 0, block.len() as u8, 1, 4, 0, 0, 0, 1];
    frame.extend_from_slice(&block);
    client.0.write_all(&frame).unwrap();
    // RST_STREAM of stream 1, CANCEL.
    let reset = [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8];
    let (mut all, mut byte) = (Vec::new(), [0]);
    while !all.ends_with(&reset) {
        client.0.read_exact(&mut byte).unwrap();
        all.push(byte[0]);
    }
    assert_eq!(server.counters.closed_in_body.load(Ordering::Relaxed), 1);
}

/// Makes bytes that tell when the last of them is dropped.
fn owned(length: usize, log: TestLog) -> Bytes {
    struct Owned {
        bytes: Vec<u8>,
        _log: TestLog,
    }
    impl AsRef<[u8]> for Owned {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    Bytes::from_owner(Owned { bytes: vec![b'x'; length], _log: log })
}

/// Keeps an HTTP/2 connection busy with requests for `/x` until `is_done`.
async fn busy_until(sender: &mut hyper::client::conn::http2::SendRequest<TestBody>, mut is_done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_done() {
        assert!(began.elapsed() < Duration::from_secs(10), "not done");
        let request = Request::get("http://a/x").body(whole("")).unwrap();
        let response = sender.send_request(request).await.expect("the connection is left alone");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "/x");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn s5_2_2_streams_that_nobody_reads_are_reset_although_their_connection_is_busy() {
    let (log, log_receiver) = mpsc::channel();
    let server = TestServer::start(StageLimits { body: SHORT, ..PATIENT }, move |peer, request| {
        let length = match request.uri().path() {
            // Many frames, and one large frame: the first bytes find room, the others keep all in
            // memory.
            "/frames" => 1 << 10,
            "/whole" => 4 << 20,
            _ => return echo_path(peer, request),
        };
        let (sender, body) = channel_body(None);
        let bytes = owned(length, TestLog(log.clone()));
        for _ in 0..(4 << 20) / length {
            sender.send(Ok(bytes.clone())).unwrap();
        }
        Answer::Now(Response::new(body))
    });
    with_http2_of(server.addr, async |mut sender| {
        for (cut, path) in [(1, "/frames"), (2, "/whole")] {
            let request = Request::get(format!("http://a{path}")).body(whole("")).unwrap();
            let unread = sender.send_request(request).await.unwrap();
            busy_until(&mut sender, || log_receiver.try_recv().is_ok()).await;
            let error = unread.into_body().collect().await.unwrap_err();
            assert!(format!("{error:?}").contains("CANCEL"), "{path}: {error:?}");
            assert_eq!(server.counters.closed_in_body.load(Ordering::Relaxed), cut);
        }
    });
}

#[test]
fn the_unread_rest_of_an_ended_http2_body_keeps_nothing_else_alive() {
    /// The initial window of a stream of hyper's client.
    const WINDOW: usize = 2 << 20;
    let (log, log_receiver) = mpsc::channel();
    let server = TestServer::start(PATIENT, move |peer, request| {
        let (sender, body) = match request.uri().path() {
            "/sized" => channel_body(Some(WINDOW as u64 + 1)),
            "/unsized" => channel_body(None),
            _ => return echo_path(peer, request),
        };
        // The window takes all but the last byte, so that hyper has no piece to wait with.
        sender.send(Ok("x".into())).unwrap();
        sender.send(Ok(owned(WINDOW, TestLog(log.clone())))).unwrap();
        Answer::Now(Response::new(body))
    });
    with_http2_of(server.addr, async |mut sender| {
        for path in ["/sized", "/unsized"] {
            let request = Request::get(format!("http://a{path}")).body(whole("")).unwrap();
            let unread = sender.send_request(request).await.unwrap();
            busy_until(&mut sender, || log_receiver.try_recv().is_ok()).await;
            assert_eq!(unread.into_body().collect().await.unwrap().to_bytes().len(), WINDOW + 1, "{path}");
        }
    });
}

#[test]
fn stalled_http2_content_ends_its_stream_although_its_connection_is_busy() {
    let server =
        TestServer::start(StageLimits { body: SHORT, ..PATIENT }, |peer, request| match request.uri().path() {
            "/x" => echo_path(peer, request),
            _ => swallow(request),
        });
    with_http2_of(server.addr, async |mut sender| {
        for first in ["", "a part"] {
            let (feed, content) = channel_body(Some(9));
            feed.send(Ok(first.into())).unwrap();
            let request = Request::post("http://a/up").header("content-length", "9").body(content).unwrap();
            let answered = tokio::spawn(sender.send_request(request));
            busy_until(&mut sender, || answered.is_finished()).await;
            let error = answered.await.unwrap().unwrap_err();
            assert!(format!("{error:?}").contains("CANCEL"), "{error:?}");
        }
    });
    assert_eq!(server.counters.closed_in_body.load(Ordering::Relaxed), 2);
}

#[test]
fn http2_streams_that_progress_or_wait_for_the_origin_are_left_alone() {
    const PIECES: usize = 12;
    let (wanted, to_feed) = mpsc::channel();
    let server = TestServer::start(StageLimits { body: 4 * SHORT, ..PATIENT }, move |peer, request| {
        match request.uri().path() {
            "/slow" => {
                let (sender, body) = channel_body(None);
                wanted.send(sender).unwrap();
                Answer::Now(Response::new(body))
            }
            "/up" => swallow(request),
            _ => echo_path(peer, request),
        }
    });
    with_http2_of(server.addr, async |mut sender| {
        let request = Request::get("http://a/slow").body(whole("")).unwrap();
        let slow = sender.send_request(request).await.unwrap().into_body();
        let origin = to_feed.recv().unwrap();
        let (feed, content) = channel_body(None);
        let upload = tokio::spawn(sender.send_request(Request::post("http://a/up").body(content).unwrap()));
        // Three times as long as either may be silent: the one because its origin is silent, the
        // other sends piece by piece.
        for _ in 0..PIECES {
            let next = Instant::now() + SHORT;
            feed.send(Ok("x".into())).unwrap();
            busy_until(&mut sender, || Instant::now() >= next).await;
        }
        drop(feed);
        let text = upload.await.unwrap().unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(text, format!("Ok({PIECES})"));
        origin.send(Ok("late".into())).unwrap();
        drop(origin);
        assert_eq!(slow.collect().await.unwrap().to_bytes(), "late");
    });
    assert_eq!(server.counters.closed_in_body.load(Ordering::Relaxed), 0);
}

#[test]
fn a_drain_finishes_http2_streams_too() {
    let (go, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (released, begins) = (Arc::clone(&go), Arc::clone(&began));
    let mut server = TestServer::start(PATIENT, move |_, _| {
        begins.notify_one();
        when(&released, "done")
    });
    let addr = server.addr;
    with_http2(addr, async |mut sender| {
        let mut slow = Box::pin(sender.send_request(h2_get("/slow")));
        tokio::select! {
            _ = &mut slow => panic!("answered before its time"),
            () = began.notified() => (),
        }
        let draining = std::thread::spawn(move || {
            let began = Instant::now();
            server.cores.stop(Successor::Nobody, Duration::from_secs(20));
            began.elapsed()
        });
        while TcpStream::connect(addr).is_ok() {
            tokio::task::yield_now().await;
        }
        go.notify_one();
        assert_eq!(slow.await.unwrap().into_body().collect().await.unwrap().to_bytes(), "done");
        let took = tokio::task::spawn_blocking(move || draining.join().unwrap()).await.unwrap();
        assert!(took < Duration::from_secs(10), "the client was told to go away: {took:?}");
    });
}
