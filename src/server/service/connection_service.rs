//! hyper's service over a plain function: the requests of one connection come in, and responses go
//! out with a body that records its end.
//!
//! A ready answer stays a value: no await, no box. A panic of a handler unwinds the task that hyper
//! runs in, is counted and logged, and leaves the core running.

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
    /// The client, with a queue for interim responses if the protocol has them.
    peer: RefCell<Peer>,
    /// The same client without that queue: HTTP/1.0 has no interim responses.
    http10_peer: Peer,
}

impl<F: Serve> ConnectionService<F> {
    /// Creates the service of `connection`, whose protocol is known already.
    pub(crate) fn new(connection: Arc<ConnectionState>, counters: Arc<ServerCounters>, serve: Arc<F>) -> Self {
        let interim = (connection.activity.protocol() == Protocol::Http1).then(Interim::default);
        let peer = |interim| Peer { addr: connection.addr, interim };
        Self { peer: RefCell::new(peer(interim)), http10_peer: peer(None), connection, counters, serve }
    }
}

impl<F: Serve> Service<Request<Incoming>> for ConnectionService<F> {
    type Response = Response<TrackedBody<F::Body>>;
    type Error = Infallible;
    type Future = ServiceFuture<F::Body>;

    fn call(&self, mut request: Request<Incoming>) -> ServiceFuture<F::Body> {
        let http10 = request.version() == Version::HTTP_10;
        let in_progress = RequestInProgress::begin(&self.connection, &self.counters, &mut request);
        let answer = if http10 {
            self.serve.answer(&self.http10_peer, request)
        } else {
            let mut peer = self.peer.borrow_mut();
            if let Some(interim) = &mut peer.interim {
                interim.begin();
            }
            self.serve.answer(&peer, request)
        };
        match answer {
            Answer::Now(response) => ServiceFuture::Now(Some((response, in_progress))),
            Answer::Later(future) => {
                let interim = if http10 { None } else { self.peer.borrow().interim.clone() };
                ServiceFuture::Later { future, interim, in_progress: Some(in_progress) }
            }
        }
    }
}

/// The service's future: a ready response, or one to wait for.
pub(crate) enum ServiceFuture<B> {
    /// `None` once the response was taken.
    Now(Option<(Response<B>, RequestInProgress)>),
    /// The response is not ready yet.
    Later {
        /// The handler's future.
        future: Pin<Box<dyn Future<Output = Response<B>> + Send>>,
        /// The queue of interim responses.
        interim: Option<Interim>,
        /// `None` once the response was taken.
        in_progress: Option<RequestInProgress>,
    },
}

impl<B: ServedBody> Future for ServiceFuture<B> {
    type Output = Result<Response<TrackedBody<B>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (mut response, in_progress) = match &mut *self {
            Self::Now(ready) => ready.take().expect("hyper does not poll a future that was ready"),
            Self::Later { future, interim, in_progress } => {
                let polled = future.as_mut().poll(cx);
                let waiting = in_progress.as_ref().expect("hyper does not poll a future that was ready");
                // Also when the response is ready: interim responses that were pushed before it
                // have to precede it on the wire, and hyper writes its head only after this
                // returns.
                if let Some(interim) = interim {
                    let heads = interim.take(cx.waker());
                    if !heads.is_empty() {
                        waiting.splice_interim(&heads);
                    }
                }
                let response = ready!(polled);
                (response, in_progress.take().expect("it was there when the poll began"))
            }
        };
        in_progress.prepare_head(&mut response);
        Poll::Ready(Ok(response.map(|body| TrackedBody::new(body, in_progress))))
    }
}
