//! hyper's service over a plain function: one connection's requests go in, responses with a body that tells when it ended
//! come out.
//!
//! A ready answer stays a value: no await, no box. Panics of a handler end here with a count and a log line; the task that
//! hyper runs in is unwound, its core goes on.

use std::cell::RefCell;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::Service;

use super::in_progress::RequestInProgress;
use super::serve::{Serve, ServedBody};
use super::tracked_body::TrackedBody;
use crate::proxy::interim::Interim;
use crate::proxy::{Answer, Peer};
use crate::server::ServerCounters;
use crate::server::connection::{ConnectionState, Protocol};

/// The service of one connection.
pub(crate) struct ConnectionService<F> {
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
    pub(crate) fn new(connection: Arc<ConnectionState>, counters: Arc<ServerCounters>, serve: Arc<F>) -> Self {
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

/// The service's future: ready at once, or to be waited for.
pub(crate) enum ServiceFuture<B> {
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
                        known.splice_interim(&heads);
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
