//! Behaviour over real sockets: cores with a closure as the request handler, and a client that
//! speaks raw bytes. Tests of HTTP/2 alone are in `http2`.

mod drain;
mod failures;
mod http2;
mod interim;
mod requests;
mod timeouts;
mod upgrade;

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

/// Tells when it is dropped.
struct TestLog(mpsc::Sender<()>);

impl Drop for TestLog {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
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
