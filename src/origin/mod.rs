//! The origin side: one HTTP client per core, the permits of the whole process, and the checks on
//! every response's head.
//!
//! [`UpstreamClient`] takes requests whose heads are ready to be sent, and returns responses whose
//! heads were checked. Deliberately absent: caching, stale responses, and the client's view of a
//! failure.
//!
//! The engine is hyper's client: HTTP/1.1, one request at a time on a connection, with a pool of
//! our own, because each connection is driven by the request that uses it. A request that may have
//! reached the origin is never sent twice. Only a request of which nothing was written, because its
//! pooled connection turned out to be dead, goes to another connection.

mod body;
mod breaker;
mod config;
mod connection;
pub(crate) mod error;
mod framing;
mod permits;
mod pool;
mod screen;
mod sent;
#[cfg(test)]
mod tests;
mod timer;
mod upload;

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use tokio::time::Instant;

pub use body::ResponseBody;
use body::Silence;
pub use breaker::BreakerState;
pub use config::Config;
use error::SendError;
pub use error::{ContentFailed, Error};
pub use permits::{OriginStats, Permit, Permits};
use pool::{Checkout, Pool};
use sent::SentRequest;
pub use sent::check_head;
pub use upload::RequestBody;
use upload::{ResponseTimer, TimedUpload};

use crate::outcome::Reason;

/// The client of one core. Clones share its pool.
#[derive(Clone)]
pub struct UpstreamClient {
    pool: Arc<Pool>,
    config: Arc<Config>,
    permits: Arc<Permits>,
    host: Option<HeaderValue>,
}

impl UpstreamClient {
    /// Makes a client. Its connections belong to the runtime that sends on it first.
    ///
    /// # Panics
    /// If the configuration's authority or host is invalid; the configuration checks both.
    pub fn new(config: Arc<Config>, permits: Arc<Permits>) -> Self {
        let mut origin = Parts::default();
        origin.scheme = Some(Scheme::HTTP);
        origin.authority = Some(config.authority.parse().expect("the configuration's authority was checked"));
        origin.path_and_query = Some(PathAndQuery::from_static("/"));
        let origin = Uri::from_parts(origin).expect("all three parts are there");
        let host = config.host.as_deref().map(|host| host.parse().expect("the configuration's host was checked"));
        Self { pool: Pool::new(&config, origin), config, permits, host }
    }

    /// Returns the client for another configuration: this one with its pool if nothing differs,
    /// else a new one.
    ///
    /// Running requests end on the old client, whose idle connections then close.
    pub fn reconfigured(&self, config: &Arc<Config>) -> Self {
        if *self.config == **config { self.clone() } else { Self::new(Arc::clone(config), Arc::clone(&self.permits)) }
    }

    /// Returns `host:port` of the origin.
    pub fn authority(&self) -> &str {
        &self.config.authority
    }

    /// Returns the permits, for callers that hold one across decisions.
    pub fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    /// Sends `request` and returns the response once its head has arrived.
    ///
    /// The path and query of the URI are sent unchanged; Host comes from the request's headers,
    /// unless the configuration sets one. `on_interim` is called with each 1xx response (except 100
    /// and 101) as it arrives. The body holds the permit. A 101 carries hyper's upgrade in its
    /// extensions.
    ///
    /// Dropping the future, or the response's body before its end, cancels the request at the
    /// origin.
    ///
    /// # Errors
    /// The failure of the origin; [`Error::was_sent`] tells whether the request may have reached
    /// it.
    // Everything that needs no waiting, including the breaker's check, happens before the future
    // exists: a request is large, and a future copies everything that it holds from its start.
    // Inlined, because a returned future is copied once more.
    #[inline(always)]
    pub fn send(
        &self,
        request: Request<RequestBody>,
        permit: Permit,
        on_interim: Option<impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static>,
    ) -> impl Future<Output = Result<Response<ResponseBody>, Error>> + Send {
        let mut outgoing = self.outgoing(request, on_interim);
        async move {
            let Ok(OutgoingRequest { request, sent, response_timer, started_at }) = &mut outgoing else {
                return Err(outgoing.err().expect("it is one or the other"));
            };
            let head = self.pool.send(request, response_timer, *started_at).await;
            let (response, connection) = head.map_err(|failure| {
                if matches!(&failure, SendError::Unconnected(error) if !error.is_ours()) {
                    response_timer.attempt().connect_failed(Instant::now());
                }
                Error::before_head(&failure)
            })?;
            let silence = Silence::new(self.config.body_idle_timeout, Arc::clone(response_timer));
            self.receive(response, connection, sent, silence, permit)
        }
    }

    /// Makes the outgoing request, if the breaker lets it pass.
    fn outgoing(
        &self,
        request: Request<RequestBody>,
        on_interim: Option<impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static>,
    ) -> Result<OutgoingRequest, Error> {
        let started_at = Instant::now();
        let response_timer = Arc::new(ResponseTimer::new(started_at, self.permits.breaker().pass(started_at)?));
        let mut sent = SentRequest::of(&request);
        let (mut parts, body) = request.into_parts();
        sent.has_stray_content =
            !http_body::Body::is_end_stream(&body) && !upload::gives_content_meaning(&parts.method);
        parts.version = Version::HTTP_11;
        if let Some(host) = &self.host {
            parts.headers.insert(HOST, host.clone());
        }
        upload::frame_content(&parts.method, &mut parts.headers, &body);
        let mut request = Request::from_parts(parts, TimedUpload::new(body, Arc::clone(&response_timer)));
        if let Some(on_interim) = on_interim {
            hyper::ext::on_informational(&mut request, move |response| {
                let (status, fields) = (response.status(), response.headers());
                // 100 concerns only this connection, 101 is no interim response here, and an
                // interim response that claims to have content (RFC 9112 §6.1, RFC 9110 §8.6) is
                // kept from a client that might believe it.
                if !matches!(status, StatusCode::CONTINUE | StatusCode::SWITCHING_PROTOCOLS)
                    && !fields.contains_key(CONTENT_LENGTH)
                    && !fields.contains_key(TRANSFER_ENCODING)
                {
                    on_interim(status, fields);
                }
            });
        }
        Ok(OutgoingRequest { request: Some(request), sent, response_timer, started_at })
    }

    /// Checks the response's head, and ties its body to the permit and the connection.
    fn receive(
        &self,
        mut response: Response<Incoming>,
        mut connection: Checkout,
        sent: &SentRequest,
        silence: Silence,
        permit: Permit,
    ) -> Result<Response<ResponseBody>, Error> {
        let framing = sent
            .allows(response.status(), response.headers())
            .and_then(|()| framing::framing(&sent.method, response.version(), response.status(), response.headers()));
        // The bytes that follow may be another response to another reader, so the connection is
        // closed with the error.
        let framing = framing.map_err(|what| Error::sent(Reason::ProtocolError, what))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(|_empty| ResponseBody::of_upgrade(silence, permit, connection)));
        }
        framing::normalise_length(response.headers_mut());
        // On a connection that answered with HTTP/1.0, hyper drops content of unknown length. A
        // server that ignored an Upgrade, or content without a meaning, may read the next bytes as
        // a request, and answer that on this connection.
        let is_last = response.version() < Version::HTTP_11
            || sent.upgrade.is_some()
            || sent.has_stray_content
            || framing::may_send_body_anyway(&sent.method, response.status(), response.headers());
        if is_last {
            connection.retire();
        } else {
            connection.apply_keep_alive(response.headers());
        }
        Ok(response.map(|incoming| ResponseBody::new(incoming, framing, silence, permit, connection)))
    }
}

/// A request that is ready to be sent.
struct OutgoingRequest {
    /// `None` once a connection has taken the request.
    request: Option<Request<TimedUpload>>,
    sent: SentRequest,
    response_timer: Arc<ResponseTimer>,
    started_at: Instant,
}
