//! The origin side: one HTTP client per core, the permits of the whole process, and what an answer may look like.
//!
//! Takes requests whose heads are ready to be sent, and returns responses whose heads were checked. Deliberately absent:
//! caching, stale responses, what a client is told of a failure.
//!
//! The engine is hyper's client: HTTP/1.1, one connection per request at a time, idle ones kept in a pool of our own, since
//! each is driven by the request that uses it. What may have reached the origin is not sent twice: only a request that was
//! never begun, since its pooled connection turned out to be dead, goes to another connection.

mod body;
mod breaker;
mod connection;
pub mod error;
mod framing;
mod permits;
mod pool;
mod screen;
#[cfg(test)]
mod tests;
mod timer;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, TRANSFER_ENCODING, UPGRADE};
use http::uri::{Parts, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use tokio::time::Instant;

pub use body::ResponseBody;
use body::Silence;
pub use breaker::BreakerState;
use error::SendError;
pub use error::{ContentFailed, Error};
pub use permits::{Permit, Permits};
use pool::{Checkout, Pool};
use upload::{ResponseTimer, TimedUpload};

use crate::outcome::Reason;

/// What a connection buffers in each direction, in bytes: about the largest head of a response (four times what servers
/// commonly allow), and the most that is read of a body at a time.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// Where the origin is and how long it may take.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `host:port` of the origin, as connected to.
    pub authority: String,
    /// The Host to send; `None`: the client's.
    pub host: Option<String>,
    /// The longest wait for a connection.
    pub connect_timeout: Duration,
    /// The longest wait for the response's head, once the request is sent.
    pub response_timeout: Duration,
    /// The longest silence inside a response's body.
    pub body_idle_timeout: Duration,
    /// How long an idle connection is kept where the origin does not announce a `Keep-Alive: timeout`. Where it does, that
    /// less a second holds, and at most a minute.
    pub pool_idle_timeout: Duration,
    /// The most requests at the origin at once, of the whole process.
    pub connections_max: usize,
    /// How long a request waits for a permit.
    pub permit_timeout: Duration,
    /// How many requests wait for a permit at the most.
    pub permit_queue_max: usize,
    /// How many failures to connect in a row open the breaker; zero: it never opens.
    pub breaker_failures: u32,
    /// How long requests fail at once then, before one sees whether the origin is back.
    pub breaker_interval: Duration,
}

/// What the origin's side counts, of the whole process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OriginStats {
    /// The most permits at once.
    pub permits_max: usize,
    /// Permits given out now.
    pub permits_in_use: usize,
    /// Requests that wait for one now.
    pub permits_waiting: usize,
    /// Requests that were turned away for want of one.
    pub permits_refused: u64,
    /// How far the breaker is.
    pub breaker: BreakerState,
    /// How often it has opened.
    pub breaker_opened: u64,
    /// Requests that it refused.
    pub breaker_refused: u64,
}

/// The body of a request to the origin. Where it fails, it fails with [`ContentFailed`], so that the reason is told.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// The client of one core. A clone shares its pool.
#[derive(Clone)]
pub struct UpstreamClient {
    pool: Arc<Pool>,
    config: Arc<Config>,
    permits: Arc<Permits>,
    host: Option<HeaderValue>,
}

impl UpstreamClient {
    /// Makes a client; what it sends is sent on the runtime that asks first.
    ///
    /// # Panics
    /// When the configuration's authority or host is none: it is checked before it comes here.
    pub fn new(config: Arc<Config>, permits: Arc<Permits>) -> Self {
        let mut origin = Parts::default();
        origin.scheme = Some(Scheme::HTTP);
        origin.authority = Some(config.authority.parse().expect("the configuration's authority was checked"));
        origin.path_and_query = Some(PathAndQuery::from_static("/"));
        let origin = Uri::from_parts(origin).expect("all three parts are there");
        let host = config.host.as_deref().map(|host| host.parse().expect("the configuration's host was checked"));
        Self { pool: Pool::new(&config, origin), config, permits, host }
    }

    /// Makes the client of a configuration that takes this one's place: itself, pool and all, where nothing is different.
    /// What is under way ends on the old one, whose idle connections then close.
    pub fn reconfigured(&self, config: &Arc<Config>) -> Self {
        if *self.config == **config { self.clone() } else { Self::new(Arc::clone(config), Arc::clone(&self.permits)) }
    }

    /// Returns `host:port` of the origin.
    pub fn authority(&self) -> &str {
        &self.config.authority
    }

    /// Returns the permits, for those who hold one across decisions.
    pub fn permits(&self) -> &Arc<Permits> {
        &self.permits
    }

    /// Sends `request` (its URI's path and query go out as they are, its Host is taken from its fields) and returns the
    /// response once its head has come. `on_interim` is called with each 1xx response (but 100 and 101) as it comes. The permit is
    /// held by the body. A 101 comes with hyper's upgrade in its extensions.
    ///
    /// Dropping the future, or the response's body before its end, cancels the request at the origin.
    ///
    /// # Errors
    /// How the origin failed; [`Error::was_sent`] tells whether the request may have reached it.
    // What can be done before anything is waited for, to ask the breaker too, is done at once: a request is large, and what a
    // future holds from its beginning is copied with it. Inlined, since what a function returns is copied once more.
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

    /// Makes the request as it goes out, if the breaker lets it.
    fn outgoing(
        &self,
        request: Request<RequestBody>,
        on_interim: Option<impl Fn(StatusCode, &HeaderMap) + Send + Sync + 'static>,
    ) -> Result<OutgoingRequest, Error> {
        let started_at = Instant::now();
        let response_timer = Arc::new(ResponseTimer::new(started_at, self.permits.breaker().pass(started_at)?));
        let sent = SentRequest::of(&request);
        let (mut parts, body) = request.into_parts();
        parts.version = Version::HTTP_11;
        if let Some(host) = &self.host {
            parts.headers.insert(HOST, host.clone());
        }
        upload::frame_content(&parts.method, &mut parts.headers, &body);
        let mut request = Request::from_parts(parts, TimedUpload::new(body, Arc::clone(&response_timer)));
        if let Some(on_interim) = on_interim {
            hyper::ext::on_informational(&mut request, move |response| {
                let (status, fields) = (response.status(), response.headers());
                // 100 is between the two ends of this connection; 101 is no interim response here; and one that claims to
                // have content (RFC 9112 §6.1, RFC 9110 §8.6) is kept from a client who might believe it.
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
        // The bytes that follow may be another response for another reader: the connection goes with the error.
        let framing = framing.map_err(|what| Error::sent(Reason::ProtocolError, what))?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response.map(|_empty| ResponseBody::of_upgrade(silence, permit, connection)));
        }
        framing::normalise_length(response.headers_mut());
        // On a connection that answered with 1.0 hyper drops content whose length it does not know.
        // One that ignored an Upgrade may still take what the client sends next for another protocol, or for a request.
        let is_last = response.version() < Version::HTTP_11
            || sent.upgrade.is_some()
            || framing::may_send_a_body_all_the_same(&sent.method, response.status(), response.headers());
        if is_last {
            connection.retire();
        } else {
            connection.apply_keep_alive(response.headers());
        }
        Ok(response.map(|incoming| ResponseBody::new(incoming, framing, silence, permit, connection)))
    }
}

/// Checks a response's head as the client does on its arrival, for a request with or without a Range and preconditions.
/// Tells whether only the closing connection would end its body, as [`ResponseBody::is_unsized`] does.
///
/// # Errors
/// What is wrong with it.
pub fn check_head(
    request: &Request<()>,
    version: Version,
    status: StatusCode,
    fields: &HeaderMap,
) -> Result<bool, &'static str> {
    let sent = SentRequest::of(request);
    sent.allows(status, fields)?;
    Ok(framing::framing(&sent.method, version, status, fields)? == framing::ResponseFraming::Unsized)
}

/// A request that is ready to go out.
struct OutgoingRequest {
    /// `None` once a connection has it.
    request: Option<Request<TimedUpload>>,
    sent: SentRequest,
    response_timer: Arc<ResponseTimer>,
    started_at: Instant,
}

/// What a response has to be read against.
struct SentRequest {
    method: Method,
    /// The protocols that were offered.
    upgrade: Option<HeaderValue>,
    has_range: bool,
    has_condition: bool,
}

impl SentRequest {
    fn of<B>(request: &Request<B>) -> Self {
        let mut sent = Self { method: request.method().clone(), upgrade: None, has_range: false, has_condition: false };
        // One look at each name costs less than a search for each of four.
        for (name, value) in request.headers() {
            sent.has_range |= name == RANGE;
            sent.has_condition |= name == IF_NONE_MATCH || name == IF_MODIFIED_SINCE;
            if name == UPGRADE {
                sent.upgrade.get_or_insert_with(|| value.clone());
            }
        }
        sent
    }

    /// Tells whether such a response may answer this request; the error says what is wrong.
    fn allows(&self, status: StatusCode, fields: &HeaderMap) -> Result<(), &'static str> {
        match status {
            StatusCode::SWITCHING_PROTOCOLS => self.allows_switch(fields),
            // RFC 9110 §15.3.7: it answers a range.
            StatusCode::PARTIAL_CONTENT if !self.has_range => Err("a 206 to a request without Range"),
            // RFC 9110 §15.4.5: it answers a condition.
            StatusCode::NOT_MODIFIED if !self.has_condition => Err("a 304 to a request without a condition"),
            // RFC 9110 §15: such a status is invalid.
            status if status.as_u16() >= 600 => Err("a status beyond 599"),
            _ => Ok(()),
        }
    }

    /// RFC 9110 §7.8: a server must not switch to a protocol that was not asked for, and says which it switches to.
    fn allows_switch(&self, fields: &HeaderMap) -> Result<(), &'static str> {
        let Some(offered) = &self.upgrade else { return Err("a 101 to a request without Upgrade") };
        let mut chosen = fields.get_all(UPGRADE).iter().flat_map(protocols).peekable();
        if chosen.peek().is_none() {
            return Err("a 101 that does not say what it switches to");
        }
        let is_offered = |chosen: &[u8]| protocols(offered).any(|offered| offered.eq_ignore_ascii_case(chosen));
        if chosen.all(is_offered) { Ok(()) } else { Err("a 101 to a protocol that was not asked for") }
    }
}

/// Returns the protocols that an Upgrade field lists.
fn protocols(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|protocol| !protocol.is_empty())
}
