//! Request handlers: a core's worker, the admin router, or a test's closure.

use std::error::Error;
use std::net::SocketAddr;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;

use crate::proxy::{self, Answer, Peer, Worker};
use crate::server::screen::ScreenRefusal;

/// Answers requests: a core's worker, the admin router, or a test's closure with a body of its own.
pub(crate) trait Serve: Send + Sync + 'static {
    /// The body of the responses.
    type Body: ServedBody;

    /// True if hyper adds a Date to the responses; otherwise they bring their own.
    const DATED: bool = false;

    /// Answers a request.
    fn answer(&self, peer: &Peer, request: Request<Incoming>) -> Answer<Self::Body>;

    /// Returns the bytes of the response to a head that hyper does not get to see.
    fn refuse(&self, client: SocketAddr, refusal: &ScreenRefusal) -> Vec<u8> {
        let _ = client;
        let mut response = Response::new(Bytes::from_static(refusal.why.as_bytes()));
        *response.status_mut() = refusal.status;
        last_response(&response)
    }

    /// Returns the bytes of the response to a client for whom there is no room; `None`: the client
    /// waits until there is.
    fn full(&self) -> Option<Vec<u8>> {
        None
    }
}

/// A core's worker as a request handler.
///
/// A request takes the worker once, when it begins, and keeps it: a reload puts another worker
/// here.
pub(crate) struct WorkerService(pub(crate) ArcSwap<Worker>);

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
pub(crate) fn last_response(response: &Response<Bytes>) -> Vec<u8> {
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

/// The bounds that hyper puts on a response body.
pub(crate) trait ServedBody:
    Body<Data = Bytes, Error: Error + Send + Sync + 'static> + Send + Unpin + 'static
{
}

impl<B: Body<Data = Bytes, Error: Error + Send + Sync + 'static> + Send + Unpin + 'static> ServedBody for B {}
