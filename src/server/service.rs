//! hyper's service over a plain function: one connection's requests go in, responses with a body that tells when it ended
//! come out.
//!
//! A ready answer stays a value: no await, no box. Panics of a handler end here with a count and a log line; the task that
//! hyper runs in is unwound, its core goes on.

use std::cell::RefCell;
use std::convert::Infallible;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper::upgrade::OnUpgrade;

use super::ServerCounters;
use super::activity::Protocol;
use super::connection_state::{ConnectionState, Shutdown};
use super::screen::ScreenRefusal;
use super::tracked::TrackedBody;
use crate::proxy::interim::Interim;
use crate::proxy::upload::UploadProgress;
use crate::proxy::{self, Answer, Peer, Worker};

/// What answers requests: the way of a core, or a test's closure with a body of its own.
pub(super) trait Serve: Send + Sync + 'static {
    /// The body of its responses.
    type Body: ServedBody;

    /// Whether hyper writes the Date of its responses, which else have their own.
    const DATED: bool = false;

    /// Answers a request.
    fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Answer<Self::Body>;

    /// Returns the bytes of the response to a head that hyper is not shown.
    fn refuse(&self, client: SocketAddr, refusal: &ScreenRefusal) -> Vec<u8> {
        let _ = client;
        let mut response = Response::new(Bytes::from_static(refusal.why.as_bytes()));
        *response.status_mut() = refusal.status;
        last_response(&response)
    }

    /// Returns the bytes of the response to a client for whom there is no room; `None`: it waits until there is.
    fn full(&self) -> Option<Vec<u8>> {
        None
    }
}

/// The way of a core, as what answers requests.
///
/// A request takes the way once, when it begins, and keeps it: a reload puts another one here.
pub(super) struct WorkerService(pub(super) ArcSwap<Worker>);

impl Serve for WorkerService {
    type Body = proxy::Body;

    fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Answer {
        proxy::serve(&self.0.load(), peer, request)
    }

    fn refuse(&self, client: SocketAddr, refusal: &ScreenRefusal) -> Vec<u8> {
        last_response(&proxy::refuse(&self.0.load(), client.ip(), refusal.status, refusal.reason, refusal.why))
    }
}

/// Writes a response that ends its connection.
pub(super) fn last_response(response: &Response<Bytes>) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {}\r\n", response.status()).into_bytes();
    for (name, value) in response.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    let length = response.body().len();
    bytes.extend_from_slice(format!("content-length: {length}\r\nconnection: close\r\n\r\n").as_bytes());
    bytes.extend_from_slice(response.body());
    bytes
}

impl<F, B> Serve for F
where
    F: Fn(&Peer, Request<Incoming>) -> Answer<B> + Send + Sync + 'static,
    B: ServedBody,
{
    type Body = B;

    fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Answer<B> {
        self(peer, request)
    }
}

/// What hyper needs of a response's body.
pub(super) trait ServedBody:
    Body<Data = Bytes, Error: Error + Send + Sync + 'static> + Send + Unpin + 'static
{
}

impl<B: Body<Data = Bytes, Error: Error + Send + Sync + 'static> + Send + Unpin + 'static> ServedBody for B {}

/// The service of one connection.
pub(super) struct ConnectionService<F> {
    connection: Arc<ConnectionState>,
    counters: Arc<ServerCounters>,
    serve: Arc<F>,
    /// The client with a way for interim responses, where the protocol has one.
    peer: RefCell<Peer>,
    /// The same client without: HTTP/1.0 knows no interim responses.
    plain: Peer,
}

impl<F: Serve> ConnectionService<F> {
    /// Makes the service of the connection behind `connection`, which speaks its protocol already.
    pub(super) fn new(connection: Arc<ConnectionState>, counters: Arc<ServerCounters>, serve: Arc<F>) -> Self {
        let interim = (connection.activity.protocol() == Protocol::Http1).then(Interim::default);
        let peer = |interim| Peer { addr: connection.addr, interim };
        Self { peer: RefCell::new(peer(interim)), plain: peer(None), connection, counters, serve }
    }
}

impl<F: Serve> Service<Request<Incoming>> for ConnectionService<F> {
    type Response = Response<TrackedBody<F::Body>>;
    type Error = Infallible;
    type Future = ServiceFuture<F::Body>;

    fn call(&self, mut request: Request<Incoming>) -> ServiceFuture<F::Body> {
        let http10 = request.version() == Version::HTTP_10;
        let exchange = RequestInProgress::begin(&self.connection, &self.counters, &mut request);
        let answer = if http10 {
            self.serve.answer(&self.plain, request)
        } else {
            let mut peer = self.peer.borrow_mut();
            if let Some(interim) = &mut peer.interim {
                interim.begin();
            }
            self.serve.answer(&peer, request)
        };
        match answer {
            Answer::Now(response) => ServiceFuture::Now(Some((response, exchange))),
            Answer::Later(future) => {
                let interim = if http10 { None } else { self.peer.borrow().interim.clone() };
                ServiceFuture::Later { future, interim, exchange: Some(exchange) }
            }
        }
    }
}

/// A request whose response has not ended. Dropping it ends it, however that comes about.
pub(super) struct RequestInProgress {
    connection: Arc<ConnectionState>,
    counters: Arc<ServerCounters>,
    had_content: bool,
    /// The number of its stream, and whether a piece of the response waits there, on HTTP/2.
    stream: Option<(usize, bool)>,
}

impl RequestInProgress {
    fn begin(
        connection: &Arc<ConnectionState>,
        counters: &Arc<ServerCounters>,
        request: &mut Request<Incoming>,
    ) -> Self {
        let had_content = !request.body().is_end_stream();
        connection.activity.begin(request.version() == Version::HTTP_10);
        if let Some(left) = request.extensions().get::<OnUpgrade>() {
            connection.offer_upgrade(left.clone());
        }
        let stream = (connection.activity.protocol() == Protocol::Http2).then(|| {
            let content = had_content.then(UploadProgress::default);
            if let Some(content) = &content {
                request.extensions_mut().insert(content.clone());
            }
            (connection.streams.open(content), false)
        });
        Self { connection: Arc::clone(connection), counters: Arc::clone(counters), had_content, stream }
    }

    /// Has the client go after this response, where that is the order.
    fn part<B>(&self, response: &mut Response<B>) {
        let is_last = !self.is_http2() && self.connection.requested_shutdown() == Shutdown::AfterNext;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.connection.activity.switch();
        } else if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Tells whether it has a stream of its own.
    pub(super) fn is_http2(&self) -> bool {
        self.stream.is_some()
    }

    /// Notes that a piece of the response was handed over. hyper asks for the next one once this has found room in the
    /// client's window, so that it waits for the client until then.
    pub(super) fn hand_over(&mut self) {
        if let Some((number, waits)) = &mut self.stream {
            *waits = true;
            self.connection.streams.hand_over(*number);
        }
    }

    /// Notes that hyper has asked for the next piece, and that it is not there yet.
    pub(super) fn await_piece(&mut self) {
        if let Some((number, waits)) = &mut self.stream
            && std::mem::take(waits)
        {
            self.connection.streams.await_piece(*number);
        }
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        if let Some((number, _)) = self.stream {
            self.connection.streams.close(number);
        }
        self.connection.activity.end(self.had_content);
        if std::thread::panicking() {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(client = %self.connection.addr, "a request's handler panicked; its response is cut off");
        }
    }
}

/// The service's future: ready at once, or to be waited for.
pub(super) enum ServiceFuture<B> {
    /// `None` once it was taken.
    Now(Option<(Response<B>, RequestInProgress)>),
    /// The response is under way.
    Later {
        /// The handler.
        future: Pin<Box<dyn Future<Output = Response<B>> + Send>>,
        /// Where interim responses come from meanwhile.
        interim: Option<Interim>,
        /// `None` once the response is out.
        exchange: Option<RequestInProgress>,
    },
}

impl<B: ServedBody> Future for ServiceFuture<B> {
    type Output = Result<Response<TrackedBody<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (mut response, exchange) = match &mut *self {
            Self::Now(ready) => ready.take().expect("hyper polls no future that was ready"),
            Self::Later { future, interim, exchange } => {
                let polled = future.as_mut().poll(cx);
                let known = exchange.as_ref().expect("hyper polls no future that was ready");
                // Also when the response is ready: what was pushed before it has to precede it on the wire, and hyper
                // writes its head only after this returns.
                if let Some(interim) = interim {
                    let heads = interim.take(cx.waker());
                    if !heads.is_empty() {
                        known.connection.splice(&heads);
                    }
                }
                let response = ready!(polled);
                (response, exchange.take().expect("it was there a moment ago"))
            }
        };
        exchange.part(&mut response);
        Poll::Ready(Ok(response.map(|body| TrackedBody::new(body, exchange))))
    }
}
