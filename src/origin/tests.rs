//! The client against raw TCP origins: the bytes on the wire, and the result of each kind of
//! failure.
//!
//! Sections are those of RFC 9112, except for methods, upgrades and 1xx (RFC 9110).

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::UPGRADE;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::pool::BUFFER_BYTES_MAX;
use super::screen::INTERIM_MAX;
use super::*;

/// Makes a configuration with generous timeouts.
pub(super) fn config(authority: &str) -> Config {
    Config {
        authority: authority.to_owned(),
        host: None,
        connect_timeout: Duration::from_secs(20),
        response_timeout: Duration::from_secs(20),
        body_idle_timeout: Duration::from_secs(20),
        pool_idle_timeout: Duration::from_secs(20),
        connections_max: 8,
        permit_timeout: Duration::from_secs(20),
        permit_queue_max: 8,
        breaker_failures: 3,
        breaker_interval: Duration::from_secs(20),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Frames = mpsc::UnboundedSender<Result<Frame<Bytes>, ContentFailed>>;

/// Makes content of unknown length that the test feeds.
pub(super) fn channel() -> (Frames, RequestBody) {
    struct ChannelBody(mpsc::UnboundedReceiver<Result<Frame<Bytes>, ContentFailed>>);
    impl Body for ChannelBody {
        type Data = Bytes;
        type Error = BoxError;
        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            self.0.poll_recv(cx).map_err(Into::into)
        }
    }
    let (frames, received) = mpsc::unbounded_channel();
    (frames, ChannelBody(received).boxed_unsync())
}

fn data(bytes: &'static str) -> Result<Frame<Bytes>, ContentFailed> {
    Ok(Frame::data(Bytes::from_static(bytes.as_bytes())))
}

/// Ignores interim responses.
const IGNORE_INTERIM: Option<fn(StatusCode, &HeaderMap)> = None;

/// A raw origin, and a client connected to it.
struct OriginPair {
    origin: TcpListener,
    client: UpstreamClient,
}

/// Waits for `future`, for half as long as the client is configured to wait for anything.
async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("it did not happen")
}

/// The origin's end of a connection.
struct OriginPeer(TcpStream);

async fn pair(change: impl FnOnce(&mut Config)) -> OriginPair {
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = config(&origin.local_addr().unwrap().to_string());
    change(&mut config);
    let config = Arc::new(config);
    let permits = Arc::new(Permits::new(&config));
    OriginPair { origin, client: UpstreamClient::new(config, permits) }
}

impl OriginPair {
    async fn accept(&self) -> OriginPeer {
        OriginPeer(soon(self.origin.accept()).await.unwrap().0)
    }

    async fn send(&self, request: Request<RequestBody>) -> Result<Response<ResponseBody>, Error> {
        let permit = self.client.permits().acquire().await.unwrap();
        soon(self.client.send(request, permit, IGNORE_INTERIM)).await
    }

    /// Sends a GET, answers it on a new connection with `response`, and returns the client's
    /// result.
    async fn answered(&self, response: &str) -> (Result<Response<ResponseBody>, Error>, OriginPeer) {
        let origin = async {
            let mut peer = self.accept().await;
            peer.head().await;
            peer.write(response).await;
            peer
        };
        tokio::join!(self.send(get("/")), origin)
    }
}

impl OriginPeer {
    /// Reads a request's head, including its empty line.
    async fn head(&mut self) -> String {
        self.until("\r\n\r\n").await
    }

    async fn until(&mut self, end: &str) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(end.as_bytes()) {
            bytes.push(self.0.read_u8().await.expect("more bytes"));
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Writes bytes. A client that has read enough may have closed meanwhile.
    async fn write(&mut self, bytes: &str) {
        let _ = self.0.write_all(bytes.as_bytes()).await;
    }

    /// Waits until the client has closed the connection, by an end or a reset.
    async fn closed(mut self) {
        assert!(matches!(soon(self.0.read(&mut [0; 64])).await, Ok(0) | Err(_)), "bytes in place of the end");
    }
}

fn get(target: &str) -> Request<RequestBody> {
    request(Method::GET, target, Empty::new().map_err(|never| match never {}).boxed_unsync())
}

fn request(method: Method, target: &str, body: RequestBody) -> Request<RequestBody> {
    Request::builder().method(method).uri(target).header(HOST, "shop.example").body(body).unwrap()
}

async fn text(response: Response<ResponseBody>) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&response.into_body().collect().await?.to_bytes()).into_owned())
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Makes the runtime see everything that has arrived on any socket, by a round trip.
async fn round_trip() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (mut here, there) =
        tokio::join!(async { TcpStream::connect(listener.local_addr().unwrap()).await.unwrap() }, listener.accept());
    let mut there = there.unwrap().0;
    for _ in 0..3 {
        let (written, read) = tokio::join!(there.write_u8(1), here.read_u8());
        written.unwrap();
        read.unwrap();
    }
}

#[tokio::test]
async fn the_client_is_sync_and_its_futures_are_send() {
    fn check_shared<T: Send + Sync>(_: &T) {}
    fn check_sent<T: Send>(value: T) -> T {
        value
    }
    let pair = pair(|_| ()).await;
    check_shared(&pair.client);
    let permit = pair.client.permits().acquire().await.unwrap();
    let response = check_sent(pair.client.send(get("/"), permit, IGNORE_INTERIM));
    let (response, _peer) = tokio::join!(response, async {
        let mut peer = pair.accept().await;
        peer.head().await;
        peer.write(OK).await;
        peer
    });
    check_sent(response.unwrap());
}

#[tokio::test]
async fn s3_2_1_the_target_is_sent_unchanged_and_nothing_is_added() {
    let pair = pair(|_| ()).await;
    let target = r#"/a/../b//c/%2e%2E;x/"{}'|^[\]~é?q={'a':[1]}&b=\^`|%zz?"#;
    let mut request = get(target);
    request.headers_mut().insert("x-text", HeaderValue::from_bytes(b"caf\xe9").unwrap());
    let origin = async {
        let mut peer = pair.accept().await;
        let mut head = vec![0; 4096];
        let n = peer.0.read(&mut head).await.unwrap();
        peer.0.write_all(b"HTTP/1.1 200 OK\r\nX-Text: \xfc\xff\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        head.truncate(n);
        head
    };
    let (response, head) = tokio::join!(pair.send(request), origin);
    let mut expected = format!("GET {target} HTTP/1.1\r\nhost: shop.example\r\nx-text: caf").into_bytes();
    expected.extend_from_slice(b"\xe9\r\n\r\n");
    assert_eq!(String::from_utf8_lossy(&head), String::from_utf8_lossy(&expected));
    assert_eq!(head, expected);
    assert_eq!(response.unwrap().headers()["x-text"].as_bytes(), b"\xfc\xff");
}

#[tokio::test]
async fn s3_2_4_asterisk_form_and_a_configured_host() {
    let pair = pair(|config| config.host = Some("app.internal:81".to_owned())).await;
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let origin = async {
        let mut peer = pair.accept().await;
        let head = peer.head().await;
        peer.write(OK).await;
        head
    };
    let (response, head) = tokio::join!(pair.send(request(Method::OPTIONS, "*", body)), origin);
    assert_eq!(head, "OPTIONS * HTTP/1.1\r\nhost: app.internal:81\r\n\r\n");
    assert_eq!(response.unwrap().status(), 200);
}

#[tokio::test]
async fn s9_3_a_connection_is_reused_and_its_permit_returned_at_the_end() {
    let pair = pair(|_| ()).await;
    let (response, mut peer) = pair.answered(OK).await;
    let response = response.unwrap();
    assert_eq!(pair.client.permits().in_use(), 1);
    assert_eq!(response.body().size_hint().exact(), Some(2));
    assert!(response.extensions().is_empty());
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(pair.client.permits().in_use(), 0, "the last byte ends it, not the drop");

    let (response, ()) = tokio::join!(pair.send(get("/next")), async {
        assert!(peer.head().await.starts_with("GET /next "));
        peer.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    });
    assert!(response.unwrap().body().is_end_stream());
    assert_eq!(pair.client.permits().in_use(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_on_time() {
    let pair = pair(|config| config.pool_idle_timeout = Duration::from_millis(30)).await;
    let (response, peer) = pair.answered(OK).await;
    text(response.unwrap()).await.unwrap();
    peer.closed().await;
}

#[tokio::test]
async fn an_announced_timeout_overrides_a_longer_and_a_shorter_one() {
    // Less than a second is left of the announced timeout, so the connection is closed at once.
    let short = pair(|_| ()).await;
    let announced = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok";
    let (response, peer) = short.answered(announced).await;
    text(response.unwrap()).await.unwrap();
    let (response, fresh) = short.answered(OK).await;
    text(response.unwrap()).await.unwrap();
    peer.closed().await;
    drop(fresh);

    // Without the announcement, this connection would not be kept for another request.
    let long = pair(|config| config.pool_idle_timeout = Duration::ZERO).await;
    let announced = "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5, max=9\r\nContent-Length: 2\r\n\r\nok";
    let (response, mut peer) = long.answered(announced).await;
    text(response.unwrap()).await.unwrap();
    round_trip().await;
    let (response, ()) = tokio::join!(long.send(get("/")), async {
        peer.head().await;
        peer.write(OK).await;
    });
    text(response.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_pooled_connection_that_died_costs_nothing() {
    let pair = pair(|_| ()).await;
    let (response, peer) = pair.answered(OK).await;
    text(response.unwrap()).await.unwrap();
    drop(peer);
    round_trip().await;
    let body = Full::new(Bytes::from("once")).map_err(|never| match never {}).boxed_unsync();
    let (response, ()) = tokio::join!(pair.send(request(Method::POST, "/order", body)), async {
        let mut peer = pair.accept().await;
        assert!(peer.head().await.starts_with("POST /order "));
        assert_eq!(peer.until("once").await, "once");
        peer.write(OK).await;
    });
    assert_eq!(text(response.unwrap()).await.unwrap(), "ok");
}

#[tokio::test]
async fn s9_2_a_request_that_may_have_reached_the_origin_is_not_sent_twice() {
    let pair = pair(|_| ()).await;
    let (response, mut peer) = pair.answered(OK).await;
    text(response.unwrap()).await.unwrap();
    let (response, ()) = tokio::join!(pair.send(get("/once")), async move {
        assert!(peer.head().await.starts_with("GET /once "));
    });
    let error = response.map(|_| ()).unwrap_err();
    assert_eq!((error.reason, error.was_sent), (Reason::ConnectionTerminated, true), "{error}");
    assert_eq!(pair.client.permits().in_use(), 0);

    // The next connection brings the next request, not the first one again.
    let (_response, ()) = tokio::join!(pair.send(get("/other")), async {
        let mut peer = pair.accept().await;
        assert!(peer.head().await.starts_with("GET /other "));
        peer.write(OK).await;
    });
}

#[tokio::test]
async fn failures_to_connect_name_their_reason() {
    let refused = pair(|_| ()).await;
    let address = refused.client.config.authority.clone();
    drop(refused.origin);
    check_unsent(&address, Reason::ConnectionRefused).await;
    // A label of more than 63 bytes is in no name, whatever the network says.
    check_unsent(&format!("{}.example:80", "a".repeat(70)), Reason::DnsError).await;

    // A full backlog drops further connections.
    let backlog = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    backlog.bind(&std::net::SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    backlog.listen(0).unwrap();
    let address = backlog.local_addr().unwrap().as_socket().unwrap();
    let mut filling = Vec::new();
    while let Ok(socket) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(20)) {
        filling.push(socket);
    }
    check_unsent(&address.to_string(), Reason::ConnectionTimeout).await;

    async fn check_unsent(authority: &str, reason: Reason) {
        let config = Arc::new(Config { connect_timeout: Duration::from_millis(200), ..config(authority) });
        let client = UpstreamClient::new(Arc::clone(&config), Arc::new(Permits::new(&config)));
        let permit = client.permits().acquire().await.unwrap();
        let error = client.send(get("/"), permit, IGNORE_INTERIM).await.map(|_| ()).unwrap_err();
        assert_eq!((error.reason, error.was_sent), (reason, false), "{authority}: {error}");
        assert_eq!(client.permits().in_use(), 0);
    }
}

#[tokio::test]
async fn a_silent_origin_is_waited_for_until_the_response_timeout() {
    let pair = pair(|config| config.response_timeout = Duration::from_millis(30)).await;
    let (response, peer) = tokio::join!(pair.send(get("/")), async {
        let mut peer = pair.accept().await;
        peer.head().await;
        peer
    });
    let error = response.map(|_| ()).unwrap_err();
    assert_eq!((error.reason, error.was_sent), (Reason::ResponseTimeout, true), "{error}");
    peer.closed().await;
}

#[tokio::test]
async fn a_slow_client_does_not_look_like_a_slow_origin() {
    let pair = pair(|config| config.response_timeout = Duration::from_millis(150)).await;
    let (frames, body) = channel();
    frames.send(data("first")).unwrap();
    let upload = pair.send(request(Method::POST, "/upload", body));
    let origin = async {
        let mut peer = pair.accept().await;
        assert!(peer.head().await.contains("transfer-encoding: chunked\r\n"));
        peer.until("5\r\nfirst\r\n").await;
        // Two other requests time out meanwhile, so the client is silent for at least that long.
        for _ in 0..2 {
            let (silent, _peer) = tokio::join!(pair.send(get("/silent")), pair.accept());
            assert_eq!(silent.map(|_| ()).unwrap_err().reason, Reason::ResponseTimeout);
        }
        frames.send(data("last")).unwrap();
        drop(frames);
        peer.until("4\r\nlast\r\n0\r\n\r\n").await;
        peer.write(OK).await;
        peer
    };
    let (response, _peer) = tokio::join!(upload, origin);
    assert_eq!(text(response.unwrap()).await.unwrap(), "ok");
}

#[tokio::test]
async fn a_client_that_still_sends_after_the_head_does_not_look_like_a_slow_origin() {
    let pair = pair(|config| config.body_idle_timeout = Duration::from_millis(150)).await;
    let (frames, body) = channel();
    frames.send(data("first")).unwrap();
    let upload = async {
        let response = pair.send(request(Method::POST, "/upload", body)).await;
        text(response.unwrap()).await
    };
    let origin = async {
        let mut peer = pair.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
        // Two other requests are cut off meanwhile, so the client is silent for at least that long.
        for _ in 0..2 {
            let (silent, _peer) = pair.answered("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").await;
            assert_eq!(text(silent.unwrap()).await.unwrap_err().reason, Reason::ResponseTimeout);
        }
        frames.send(data("last")).unwrap();
        drop(frames);
        peer.until("4\r\nlast\r\n0\r\n\r\n").await;
        peer.write("ok").await;
        peer
    };
    let (received, _peer) = tokio::join!(upload, origin);
    assert_eq!(received.unwrap(), "ok");
}

#[tokio::test]
async fn content_that_fails_is_not_the_origins_fault() {
    let pair = pair(|_| ()).await;
    let (frames, body) = channel();
    frames.send(data("first")).unwrap();
    let (response, ()) = tokio::join!(pair.send(request(Method::POST, "/upload", body)), async {
        let mut peer = pair.accept().await;
        peer.head().await;
        peer.until("first\r\n").await;
        frames.send(Err(ContentFailed(Reason::RequestTooLarge))).unwrap();
        peer.closed().await;
    });
    let error = response.map(|_| ()).unwrap_err();
    assert_eq!((error.reason, error.was_sent), (Reason::RequestTooLarge, true), "{error}");
}

/// Checks the result of a body: its text, or its failure.
async fn check_body(response: &str, end: bool, expected: Result<&str, Reason>) {
    let pair = pair(|config| config.body_idle_timeout = Duration::from_millis(150)).await;
    let (received, peer) = pair.answered(response).await;
    let mut peer = Some(peer);
    if end {
        peer = None;
    }
    let received = text(received.unwrap()).await.map_err(|error| {
        assert!(error.was_sent);
        error.reason
    });
    assert_eq!(received.as_deref().map_err(|reason| *reason), expected, "{response:?}");
    assert_eq!(pair.client.permits().in_use(), 0);
    if let (Some(peer), Err(_)) = (peer, expected) {
        peer.closed().await;
    }
}

#[tokio::test]
async fn s8_a_cut_body_is_never_whole() {
    let cut = Err(Reason::Incomplete);
    check_body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", true, cut).await;
    check_body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, cut).await;
    for bytes in ["", "5", "5\r\n", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n", "5\r\nhello\r\n0\r\n"] {
        check_body(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes}"), true, cut).await;
    }
    check_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", false, Ok("hello"))
        .await;
}

#[tokio::test]
async fn s7_1_malformed_chunks_and_silence() {
    let broken = Err(Reason::ProtocolError);
    for bytes in ["x\r\n", "5\r\nhelloX", "-1\r\n", "5 5\r\n", "ffffffffffffffffff\r\n"] {
        check_body(&format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{bytes}"), false, broken).await;
    }
    let silent = Err(Reason::ResponseTimeout);
    check_body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", false, silent).await;
    check_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", false, silent).await;
    check_body("HTTP/1.1 200 OK\r\n\r\nhel", false, silent).await;
}

#[tokio::test]
async fn s6_3_8_the_closing_connection_ends_an_unsized_body() {
    check_body("HTTP/1.1 200 OK\r\n\r\nhello", true, Ok("hello")).await;
    check_body("HTTP/1.0 200 OK\r\n\r\nhello", true, Ok("hello")).await;
    let pair = pair(|_| ()).await;
    for (head, expected) in [
        ("HTTP/1.0 200 OK\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
    ] {
        let (response, _peer) = pair.answered(head).await;
        assert_eq!(response.unwrap().body().is_unsized(), expected, "{head:?}");
    }
}

#[tokio::test]
async fn s7_1_2_trailers_pass() {
    let pair = pair(|_| ()).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n";
    let (response, _peer) = pair.answered(chunked).await;
    let collected = response.unwrap().into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["x-sum"], "7");
}

/// Checks that a head is refused, and that its connection is never used again.
async fn check_refused(response: &str) {
    let pair = pair(|_| ()).await;
    let (received, peer) = pair.answered(response).await;
    let error = received.map(|_| ()).expect_err(response);
    assert_eq!((error.reason, error.was_sent), (Reason::ProtocolError, true), "{response:?}: {error}");
    assert_eq!(pair.client.permits().in_use(), 0);
    let (response, _fresh) = pair.answered(OK).await;
    text(response.unwrap()).await.unwrap();
    peer.closed().await;
}

#[tokio::test]
async fn s6_3_ambiguous_heads_are_refused_and_the_connection_with_them() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
        "hello world, this is no HTTP at all\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n",
        "HTTP/1.1 600 Beyond\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nok",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ] {
        check_refused(response).await;
    }
    check_refused(&"HTTP/1.1 102 Processing\r\n\r\n".repeat(INTERIM_MAX + 1)).await;
}

#[tokio::test]
async fn s7_8_a_switch_must_be_to_an_offered_protocol() {
    for (chosen, is_allowed) in [
        ("Upgrade: chat\r\n", true),
        ("Upgrade: CHAT\r\n", true),
        ("Upgrade: h2c\r\n", false),
        ("Upgrade: chat, h2c\r\n", false),
        ("", false),
    ] {
        let pair = pair(|_| ()).await;
        let mut request = get("/chat");
        request.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
        request.headers_mut().insert(UPGRADE, HeaderValue::from_static("news, chat"));
        let (response, _peer) = tokio::join!(pair.send(request), async {
            let mut peer = pair.accept().await;
            peer.head().await;
            peer.write(&format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{chosen}\r\n")).await;
            peer
        });
        assert_eq!(response.is_ok(), is_allowed, "{chosen:?}");
    }
}

#[tokio::test]
async fn s9_2_unsolicited_bytes_answer_no_request() {
    // Bytes with the response and after it, also when the runtime has not seen them before the next
    // request is written.
    for (first, later, is_seen) in
        [(OK.to_owned() + OK, "", false), (OK.to_owned(), OK, false), (OK.to_owned(), OK, true)]
    {
        let pair = pair(|_| ()).await;
        let (response, mut peer) = pair.answered(&first).await;
        text(response.unwrap()).await.unwrap();
        // Sent past the runtime, so that nothing wakes the connection.
        socket2::SockRef::from(&peer.0).send(later.as_bytes()).unwrap();
        if is_seen {
            round_trip().await;
        }
        let (response, mut fresh) = pair.answered("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfresh").await;
        assert_eq!(text(response.unwrap()).await.unwrap(), "fresh");
        peer.write("").await;
        fresh.write("").await;
        peer.closed().await;
    }
}

#[tokio::test]
async fn the_breaker_opens_closes_and_probes_one_at_a_time() {
    let down = pair(|config| config.breaker_interval = Duration::from_millis(50)).await;
    let address = down.client.config.authority.clone();
    let OriginPair { origin, client } = down;
    drop(origin);
    let ask = || async {
        let permit = client.permits().acquire().await?;
        client.send(get("/"), permit, IGNORE_INTERIM).await
    };
    for _ in 0..3 {
        assert_eq!(ask().await.map(|_| ()).unwrap_err().reason, Reason::ConnectionRefused);
    }
    let error = ask().await.map(|_| ()).unwrap_err();
    assert_eq!((error.reason, error.was_sent), (Reason::DestinationUnavailable, false), "{error}");
    assert!(error.retry_after.is_some());
    assert_eq!(client.permits().stats().breaker, BreakerState::Open);

    // The origin is back, and one request finds out. Its connection closes the breaker before any
    // response.
    let origin = TcpListener::bind(&address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    let (response, ()) = tokio::join!(ask(), async {
        let mut peer = OriginPeer(soon(origin.accept()).await.unwrap().0);
        peer.head().await;
        assert_eq!(client.permits().stats().breaker, BreakerState::Closed);
        peer.write(OK).await;
    });
    assert_eq!(response.unwrap().status(), 200);
    assert_eq!(client.permits().stats().breaker_opened, 1);
}

#[tokio::test]
async fn a_head_has_bounds() {
    check_refused(&format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(4 * BUFFER_BYTES_MAX))).await;
    check_refused(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(101))).await;
}

#[tokio::test]
async fn http_1_0_connections_are_not_used_twice() {
    let pair = pair(|_| ()).await;
    let kept = "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok";
    let (response, peer) = pair.answered(kept).await;
    text(response.unwrap()).await.unwrap();
    let (response, _fresh) = pair.answered(OK).await;
    text(response.unwrap()).await.unwrap();
    peer.closed().await;
}

#[tokio::test]
async fn s7_8_an_upgrade_lives_on_with_its_permit() {
    // Idle connections would be closed at once. This one is in use.
    let pair = pair(|config| config.pool_idle_timeout = Duration::ZERO).await;
    let mut request = get("/chat");
    request.headers_mut().insert("connection", HeaderValue::from_static("upgrade"));
    request.headers_mut().insert(UPGRADE, HeaderValue::from_static("chat"));
    let (response, mut peer) = tokio::join!(pair.send(request), async {
        let mut peer = pair.accept().await;
        assert!(peer.head().await.contains("upgrade: chat\r\n"));
        peer.write("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhi").await;
        peer
    });
    let mut response = response.unwrap();
    assert_eq!(response.status(), 101);
    let permit = response.body_mut().take_permit();
    let upgraded = hyper::upgrade::on(response).await.unwrap();
    let mut upgraded = hyper_util::rt::TokioIo::new(upgraded);
    let mut greeting = [0; 2];
    upgraded.read_exact(&mut greeting).await.unwrap();
    // Nothing was written since the 101, and still the client waits.
    let (read, ()) = tokio::join!(upgraded.read_u8(), async {
        round_trip().await;
        peer.write("!").await;
    });
    assert_eq!((&greeting, read.unwrap()), (b"hi", b'!'));
    let (written, read) = tokio::join!(upgraded.write_all(b"hello"), peer.until("hello"));
    written.unwrap();
    assert_eq!(read, "hello");
    assert_eq!(pair.client.permits().in_use(), 1);
    drop(permit);
    assert_eq!(pair.client.permits().in_use(), 0);
}

#[tokio::test]
async fn s15_2_interim_responses_are_passed_on_except_100_and_those_with_content() {
    let pair = pair(|_| ()).await;
    let statuses = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&statuses);
    let on_interim = move |status: StatusCode, fields: &HeaderMap| {
        let link = fields.get("link").map(|link| link.to_str().unwrap().to_owned());
        sink.lock().unwrap().push((status.as_u16(), link));
    };
    let permit = pair.client.permits().acquire().await.unwrap();
    let (response, _peer) = tokio::join!(pair.client.send(get("/"), permit, Some(on_interim)), async {
        let mut peer = pair.accept().await;
        peer.head().await;
        peer.write("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n").await;
        peer.write("HTTP/1.1 103 Early Hints\r\nContent-Length: 9\r\n\r\n").await;
        peer.write(&"HTTP/1.1 102 Processing\r\n\r\n".repeat(INTERIM_MAX - 3)).await;
        peer.write(OK).await;
        peer
    });
    assert_eq!(text(response.unwrap()).await.unwrap(), "ok");
    let statuses = statuses.lock().unwrap();
    assert_eq!(statuses.len(), INTERIM_MAX - 2);
    assert_eq!(statuses[0], (103, Some("</a.css>".to_owned())));
    assert_eq!(statuses[1], (102, None));
}

#[tokio::test]
async fn dropping_the_future_cancels_the_request_at_the_origin() {
    let pair = pair(|_| ()).await;
    let mut peer = None;
    tokio::select! {
        _ = pair.send(get("/")) => panic!("there was no answer"),
        () = async {
            let mut accepted = pair.accept().await;
            accepted.head().await;
            peer = Some(accepted);
        } => {}
    }
    peer.unwrap().closed().await;
    assert_eq!(pair.client.permits().in_use(), 0);

    // The same while the body is in transit.
    let (response, peer) = pair.answered("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhello").await;
    drop(response);
    peer.closed().await;
}

#[tokio::test]
async fn s9_3_2_head_has_no_body_whatever_its_length_says_and_its_connection_is_not_used_twice() {
    let pair = pair(|_| ()).await;
    let head = || request(Method::HEAD, "/", Empty::new().map_err(|never| match never {}).boxed_unsync());
    for _ in 0..2 {
        let (response, peer) = tokio::join!(pair.send(head()), async {
            let mut peer = pair.accept().await;
            peer.head().await;
            peer.write("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n").await;
            peer
        });
        let response = response.unwrap();
        assert!(response.body().is_end_stream() && !response.body().is_unsized());
        assert_eq!(response.headers()["content-length"], "99");
        peer.closed().await;
    }
}
