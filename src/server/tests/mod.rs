//! Behaviour over real sockets: cores with a closure as the request handler, and a client that
//! speaks raw bytes. Tests of HTTP/2 alone are in `http2`.

mod http2;

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::{Notify, mpsc as frames};

use self::http2::{h2_get, with_http2};
use super::connection::StageLimits;
use super::cores::{Cores, CoresShared, LiveConfig, Successor};
use super::driver::Protocols;
use super::{ServerCounters, listener};
use crate::proxy::upload::Upload;
use crate::proxy::{Answer, Peer};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(120);
const PATIENT: StageLimits = StageLimits { head: LONG, idle: LONG, body: LONG };

/// The frame at which a body panics.
const PANIC: &str = "panic!";

/// The body of a test's response: frames from a channel, an error that aborts it, and a length if
/// one is announced.
struct TestBody {
    frames: frames::UnboundedReceiver<Result<Bytes, io::Error>>,
    length: Option<u64>,
}

impl Body for TestBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = self.frames.poll_recv(cx);
        assert!(!matches!(&next, Poll::Ready(Some(Ok(frame))) if frame == PANIC), "on purpose, in the body");
        next.map(|next| next.map(|item| item.map(Frame::data)))
    }

    /// Tells the end only if a length is announced: otherwise the end is known when the next frame
    /// was asked for, as with a body that is still arriving.
    fn is_end_stream(&self) -> bool {
        self.length.is_some() && self.frames.is_closed() && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

type TestAnswer = Answer<TestBody>;

/// Answers with `text` once `go` is notified.
fn when(go: &Arc<Notify>, text: &'static str) -> TestAnswer {
    let go = Arc::clone(go);
    Answer::Later(Box::pin(async move {
        go.notified().await;
        Response::new(whole(text))
    }))
}

/// A body of one frame, complete.
fn whole(bytes: impl Into<Bytes>) -> TestBody {
    let bytes = bytes.into();
    let (sender, frames) = frames::unbounded_channel();
    let length = Some(bytes.len() as u64);
    if !bytes.is_empty() {
        sender.send(Ok(bytes)).unwrap();
    }
    TestBody { frames, length }
}

/// A body that the test feeds.
fn channel_body(length: Option<u64>) -> (frames::UnboundedSender<Result<Bytes, io::Error>>, TestBody) {
    let (sender, frames) = frames::unbounded_channel();
    (sender, TestBody { frames, length })
}

/// Answers with the request's path.
fn echo_path(_: &Peer, request: Request<Incoming>) -> TestAnswer {
    Answer::Now(Response::new(whole(request.uri().path().to_owned())))
}

struct TestServer {
    addr: SocketAddr,
    cores: Cores,
    shared: Arc<CoresShared>,
    counters: Arc<ServerCounters>,
}

impl TestServer {
    fn start(
        limits: StageLimits,
        serve: impl Fn(&Peer, Request<Incoming>) -> TestAnswer + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::sized(limits, 2, 1000, serve)
    }

    fn sized(
        limits: StageLimits,
        cores: usize,
        connections_max: usize,
        serve: impl Fn(&Peer, Request<Incoming>) -> TestAnswer + Clone + Send + Sync + 'static,
    ) -> Self {
        let (addr, listeners) = listener::bind("127.0.0.1:0".parse().unwrap(), cores).unwrap();
        let counters = Arc::<ServerCounters>::default();
        let protocols = Protocols::new(16 << 10, 100, Arc::clone(&counters));
        let live = Arc::new(ArcSwap::from_pointee(LiveConfig { protocols, limits }));
        let shared = CoresShared::new("core", live, connections_max, Arc::clone(&counters), Arc::new(|| false));
        let shared = Arc::new(shared);
        let listeners = listeners.into_iter().map(|listener| vec![listener]).collect();
        let cores = Cores::start(listeners, Arc::clone(&shared), |_| Arc::new(serve.clone())).unwrap();
        Self { addr, cores, shared, counters }
    }

    fn client(&self) -> TestClient {
        let socket = TcpStream::connect(self.addr).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        TestClient(socket)
    }
}

struct TestClient(TcpStream);

impl TestClient {
    fn send(&mut self, bytes: &str) -> &mut Self {
        self.0.write_all(bytes.as_bytes()).unwrap();
        self
    }

    /// Reads until the bytes end with `end`.
    fn until(&mut self, end: &str) -> String {
        let mut all = Vec::new();
        let mut byte = [0];
        while !all.ends_with(end.as_bytes()) {
            match self.0.read(&mut byte) {
                Ok(1) => all.push(byte[0]),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&all)),
            }
        }
        String::from_utf8(all).unwrap()
    }

    /// Reads to the end: returns the bytes, and whether the end was a clean one.
    fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        let mut all = Vec::new();
        let end = self.0.read_to_end(&mut all).map(drop);
        (all, end)
    }

    fn text(&mut self) -> String {
        let (all, end) = self.rest();
        end.unwrap();
        String::from_utf8(all).unwrap()
    }
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = TestServer::start(PATIENT, echo_path);
    let mut client = server.client();
    let requests: String = (0..40).map(|n| get(&format!("/{n}"))).collect();
    let answers = client.send(&requests).send("GET /end HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").text();
    let bodies: Vec<&str> = answers.split("\r\n\r\n").skip(1).collect();
    let paths: Vec<String> = bodies.iter().map(|body| body.split("HTTP/1.1").next().unwrap().to_owned()).collect();
    let expected: Vec<String> = (0..40).map(|n| format!("/{n}")).chain(["/end".to_owned()]).collect();
    assert_eq!(paths, expected);
}

#[test]
fn a_request_in_pieces_followed_by_fin_is_answered() {
    let server = TestServer::start(PATIENT, echo_path);
    let mut client = server.client();
    for piece in ["P", "OST /pi", "ece HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: cl", "ose\r\n\r\n"] {
        client.send(piece);
    }
    client.0.shutdown(Shutdown::Write).unwrap();
    assert!(client.text().ends_with("/piece"));
    let mut client = server.client();
    client.send("PRI");
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.text(), "");
}

#[test]
fn a_malformed_or_large_head_is_answered_although_the_client_still_sends() {
    let server = TestServer::start(PATIENT, echo_path);
    let large = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(200_000));
    for (bytes, status) in [("GET\r\n\r\n", " 400 "), (large.as_str(), " 431 ")] {
        let mut client = server.client();
        // The server may shut down before all is sent; for that case it lingers.
        let _ = client.0.write_all(bytes.as_bytes());
        let head = client.until("\r\n\r\n");
        assert!(head.contains(status), "{head}");
    }
}

/// A head that is refused, and after it bytes that would be taken for another request.
const REFUSED: &str = "GET /x HTTP/1.1\nHost: a\n\nGET /behind HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_refused_head_is_answered_after_the_requests_before_it() {
    let go = Arc::new(Notify::new());
    let gone = Arc::clone(&go);
    let server = TestServer::start(PATIENT, move |_, request| {
        let (path, go) = (request.uri().path().to_owned(), Arc::clone(&gone));
        Answer::Later(Box::pin(async move {
            if path == "/slow" {
                go.notified().await;
            }
            Response::new(whole(path))
        }))
    });
    let mut client = server.client();
    client.send(&get("/slow")).send(&get("/next")).send(REFUSED);
    go.notify_one();
    let all = client.text();
    let statuses: Vec<&str> = all.match_indices("HTTP/1.1 ").map(|(at, _)| &all[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{all}");
    assert!(all.find("/slow") < all.find("/next") && !all.contains("/behind"), "{all}");
}

#[test]
fn a_refusal_waits_for_a_client_that_reads_slowly() {
    const LARGE: usize = 16 << 20;
    let server = TestServer::start(PATIENT, |_, _| Answer::Now(Response::new(whole(vec![b'x'; LARGE]))));
    let mut client = server.client();
    client.send(&(get("/") + REFUSED));
    client.until("\r\n\r\n");
    let mut body = vec![0; LARGE];
    client.0.read_exact(&mut body).unwrap();
    assert!(body.iter().all(|&byte| byte == b'x'));
    assert!(client.text().starts_with("HTTP/1.1 400 "));
}

#[test]
fn s7_8_bytes_after_an_upgrade_request_are_screened_if_the_connection_stays_http() {
    let server = TestServer::start(PATIENT, echo_path);
    let upgrade = "GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let mut client = server.client();
    client.send(&format!("{upgrade}{}{upgrade}{REFUSED}", get("/b")));
    let all = client.text();
    let statuses: Vec<&str> = all.match_indices("HTTP/1.1 ").map(|(at, _)| &all[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "200", "400"], "{all}");
}

#[test]
fn large_bodies_pass_whole_and_in_pieces() {
    let piece: Bytes = (0..300_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>().into();
    let twin = piece.clone();
    let server = TestServer::start(PATIENT, move |_, request| {
        let (sender, body) = channel_body(None);
        for chunk in piece.chunks(if request.uri().path() == "/small" { 1_000 } else { 100_000 }) {
            sender.send(Ok(piece.slice_ref(chunk))).unwrap();
        }
        Answer::Later(Box::pin(async move { Response::new(body) }))
    });
    for path in ["/small", "/large"] {
        let mut client = server.client();
        client.send(&format!("GET {path} HTTP/1.0\r\n\r\n")).until("\r\n\r\n");
        let (all, end) = client.rest();
        end.unwrap();
        assert!(all == twin, "{path}: {} bytes", all.len());
    }
}

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
fn s15_2_interim_responses_precede_the_final_one_and_reach_only_their_own_request() {
    let late = Arc::new(parking_lot::Mutex::new(None));
    let server = TestServer::start(PATIENT, move |peer, request| {
        let Some(interim) = peer.interim.clone() else { return Answer::Now(Response::new(whole("none"))) };
        let mut hint = HeaderMap::new();
        hint.insert("link", "</style.css>".parse().unwrap());
        match request.uri().path() {
            "/hints" => {
                let late = Arc::clone(&late);
                Answer::Later(Box::pin(async move {
                    interim.push(StatusCode::EARLY_HINTS, &hint);
                    tokio::task::yield_now().await;
                    // Pushed in the same poll that makes the response.
                    interim.push(StatusCode::PROCESSING, &HeaderMap::new());
                    *late.lock() = Some(interim);
                    Response::new(whole("final"))
                }))
            }
            _ => {
                if let Some(late) = late.lock().take() {
                    late.push(StatusCode::EARLY_HINTS, &hint);
                }
                Answer::Later(Box::pin(async { Response::new(whole("second")) }))
            }
        }
    });
    let mut client = server.client();
    let first = client.send(&get("/hints")).until("final");
    let heads: Vec<&str> = first.split("\r\n\r\n").map(|head| head.lines().next().unwrap_or_default()).collect();
    assert_eq!(heads, ["HTTP/1.1 103 Early Hints", "HTTP/1.1 102 Processing", "HTTP/1.1 200 OK", "final"]);
    assert!(first.contains("link: </style.css>"));
    let second = client.send(&get("/second")).until("second");
    assert!(second.starts_with("HTTP/1.1 200 OK"), "{second}");
    assert!(server.client().send("GET /hints HTTP/1.0\r\n\r\n").text().ends_with("none"));
}

#[test]
fn s15_2_a_late_interim_response_reaches_nobody() {
    let server = TestServer::start(PATIENT, |peer, request| {
        if request.uri().path() == "/first" {
            // No one takes it: the response is ready already.
            peer.interim.as_ref().unwrap().push(StatusCode::EARLY_HINTS, &HeaderMap::new());
            return echo_path(peer, request);
        }
        Answer::Later(Box::pin(async { Response::new(whole("second")) }))
    });
    let mut client = server.client();
    client.send(&get("/first")).until("/first");
    let second = client.send(&get("/second")).until("second");
    assert!(second.starts_with("HTTP/1.1 200 OK"), "{second}");
}

#[test]
fn s15_2_an_interim_response_does_not_wait_for_the_final_one() {
    let go = Arc::new(Notify::new());
    let gone = Arc::clone(&go);
    let server = TestServer::start(PATIENT, move |peer, _| {
        let interim = peer.interim.clone().unwrap();
        // Pushed by another task, as the origin's connection does.
        tokio::spawn(async move { interim.push(StatusCode::EARLY_HINTS, &HeaderMap::new()) });
        when(&gone, "final")
    });
    let mut client = server.client();
    assert_eq!(client.send(&get("/")).until("\r\n\r\n"), "HTTP/1.1 103 Early Hints\r\n\r\n");
    go.notify_one();
    assert!(client.until("final").starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn s7_8_an_upgraded_socket_writes_through() {
    let server = TestServer::start(PATIENT, |_, mut request| {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut tunnel = TokioIo::new(upgrade.await.unwrap());
            let mut byte = [0];
            // The tunnel reads first: the 101 has to go out all the same.
            while tunnel.read(&mut byte).await.unwrap() == 1 {
                tunnel.write_all(&[byte[0].to_ascii_uppercase()]).await.unwrap();
                tunnel.flush().await.unwrap();
            }
            tunnel.write_all(b"bye").await.unwrap();
            tunnel.shutdown().await.unwrap();
        });
        let mut response = Response::new(whole(""));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("upgrade", "echo".parse().unwrap());
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        Answer::Now(response)
    });
    let mut client = server.client();
    let head = client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nab").until("AB");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client.send("hello").until("HELLO"), "HELLO");
    client.0.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.text(), "bye");
}

#[test]
fn s7_8_a_client_whose_upgrade_is_declined_gets_the_whole_response() {
    /// Less than the buffer of a socket that is full.
    const STEP: usize = 3 << 10;
    let server = TestServer::start(PATIENT, |_, request| {
        let steps: usize = request.uri().path()[1..].parse().unwrap();
        let (frames, body) = channel_body(None);
        (0..steps).for_each(|_| frames.send(Ok(Bytes::from(vec![b'x'; STEP]))).unwrap());
        Answer::Now(Response::new(body))
    });
    // One of these lengths is what an unread socket takes, without the buffer.
    for steps in 1..(1 << 20) / STEP {
        let mut client = server.client();
        client.send(&format!("GET /{steps} HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: close\r\n\r\n"));
        std::thread::sleep(Duration::from_millis(4));
        let text = client.text();
        assert!(text.ends_with("\r\n0\r\n\r\n"), "{steps}: {} bytes", text.len());
    }
}

#[test]
fn s9_6_a_client_whose_upgrade_is_declined_and_that_still_sends_gets_the_response() {
    let server = TestServer::start(PATIENT, |_, _| Answer::Now(Response::new(whole("no"))));
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nContent-Length: 1000000\r\n\r\n");
    // Bytes that arrive after the close of a socket that does not linger reset it.
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(5));
        client.0.write_all(&[b'x'; 4 << 10]).unwrap();
    }
    assert!(client.text().ends_with("\r\n\r\nno"));
}

/// Tells when it is dropped.
struct TestLog(mpsc::Sender<()>);

impl Drop for TestLog {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

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

/// Reads all content, then answers; the status is decided by the content's end or failure.
fn swallow(request: Request<Incoming>) -> TestAnswer {
    let (mut parts, body) = request.into_parts();
    let body = Upload::new(body, &mut parts.extensions);
    Answer::Later(Box::pin(async move {
        let length = body.collect().await.map(|all| all.to_bytes().len());
        Response::new(whole(format!("{length:?}")))
    }))
}

#[test]
fn a_client_that_stops_sending_is_closed_but_not_one_that_waits_for_the_origin() {
    let go = Arc::new(Notify::new());
    let gone = Arc::clone(&go);
    let server = TestServer::start(StageLimits { body: SHORT, ..PATIENT }, move |_, request| {
        if request.uri().path() == "/slow-origin" {
            let go = Arc::clone(&gone);
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

#[test]
fn s10_1_1_the_client_is_told_to_continue_once_its_content_is_read() {
    let server = TestServer::start(PATIENT, |_, request| swallow(request));
    let mut client = server.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    assert!(client.send("abc").until("Ok(3)").contains(" 200 "));
}

#[test]
fn connections_are_bounded_and_the_next_one_waits() {
    let server = TestServer::sized(PATIENT, 2, 2, echo_path);
    let open = || server.shared.connections();
    let (mut first, mut second) = (server.client(), server.client());
    first.send(&get("/1")).until("/1");
    second.send(&get("/2")).until("/2");
    assert_eq!(open(), 2);
    let mut third = server.client();
    third.send(&get("/3"));
    third.0.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(third.0.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    third.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    drop(first);
    third.until("/3");
}

#[test]
fn a_drain_finishes_requests_in_flight_and_refuses_the_rest() {
    let (go, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (released, begins) = (Arc::clone(&go), Arc::clone(&began));
    // One core, so that what one connection sees of the drain all have seen.
    let mut server = TestServer::sized(PATIENT, 1, 10, move |peer, request| {
        if request.uri().path() != "/slow" {
            return echo_path(peer, request);
        }
        begins.notify_one();
        when(&released, "done")
    });
    let addr = server.addr;
    let (mut idle, mut fresh, mut slow) = (server.client(), server.client(), server.client());
    idle.send(&get("/idle")).until("/idle");
    slow.send(&get("/slow"));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(began.notified());
    let draining = std::thread::spawn(move || server.cores.stop(Successor::Nobody, Duration::from_secs(20)));
    // Their ends show that the drain has begun; the slow request is still running.
    assert_eq!((idle.text(), fresh.text()), (String::new(), String::new()));
    assert!(!draining.is_finished());
    go.notify_one();
    let answer = slow.text();
    assert!(answer.ends_with("done") && answer.contains("connection: close"), "{answer}");
    draining.join().unwrap();
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn a_drain_ends_at_its_deadline_and_a_half_sent_body_is_reset() {
    let mut server = TestServer::start(PATIENT, |_, _| {
        let (sender, body) = channel_body(None);
        sender.send(Ok(Bytes::from_static(b"part"))).unwrap();
        std::mem::forget(sender);
        Answer::Now(Response::new(body))
    });
    let mut old = server.client();
    old.send("GET / HTTP/1.0\r\n\r\n").until("part");
    let began = Instant::now();
    server.cores.stop(Successor::Nobody, SHORT);
    assert!(began.elapsed() >= SHORT);
    assert_eq!(old.rest().1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_runtime_stays_while_it_is_busy() {
    let (addr, listeners) = listener::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let counters = Arc::<ServerCounters>::default();
    let flights = Arc::new(());
    let (twin, was_asked) = (Arc::downgrade(&flights), Arc::new(Notify::new()));
    let asks = Arc::clone(&was_asked);
    let protocols = Protocols::new(16 << 10, 100, Arc::clone(&counters));
    let live = Arc::new(ArcSwap::from_pointee(LiveConfig { protocols, limits: PATIENT }));
    let is_busy = move || {
        asks.notify_one();
        twin.strong_count() > 0
    };
    let shared = CoresShared::new("core", live, 10, counters, Arc::new(is_busy));
    let mut cores = Cores::start(vec![listeners], Arc::new(shared), |_| Arc::new(echo_path)).unwrap();
    drop(TcpStream::connect(addr).unwrap());
    let draining = std::thread::spawn(move || cores.stop(Successor::Nobody, Duration::from_secs(20)));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(was_asked.notified());
    assert!(!draining.is_finished());
    drop(flights);
    draining.join().unwrap();
}
