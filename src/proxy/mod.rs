//! The way of a request, from a parsed head to a response.
//!
//! `serve.rs` holds the control flow; the rest are its steps. Deliberately absent: admin routes, files,
//! TOML, sockets.

mod answer;
pub mod body;
mod client;
mod compare;
mod confirm;
mod context;
mod cross_user_check;
mod decide;
mod encode;
pub mod explain;
mod fetch;
mod flight;
#[cfg(test)]
mod flight_faults;
mod forward;
pub mod interim;
mod log;
mod pass;
mod probation;
pub mod purge;
mod receive;
mod rescue;
mod serve;
pub mod shadow;
mod shared_body;
mod shared_cookies;
pub mod trace;
pub mod tunnel;
mod uncacheable;
pub mod upload;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

pub use self::body::Body;
use self::body::Observer;
use self::context::{EarlyResponse, RequestContext};
use self::decide::PassThrough;
use self::log::LogRecord;
use self::uncacheable::UncacheableKeys;
use crate::clock::Clock;
use crate::key::{KeyHasher, Scheme};
use crate::origin::coalesce::Flights;
use crate::outcome::{Decision, Reason};
use crate::respond::head;
use crate::route::Table;
use crate::store::Store;
use crate::{access, metrics, origin};

/// What the way keeps to.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The scheme that clients use, where no trusted proxy says otherwise.
    pub scheme: Scheme,
    /// Who may say for whom a request is forwarded (X-Forwarded-*, Forwarded).
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Who is shown keys as text.
    pub debug_from: Vec<ipnet::IpNet>,
    /// Who may send PURGE; empty: nobody.
    pub purge_from: Vec<ipnet::IpNet>,
    /// The hosts that are served; empty: all. `*.example.org` matches below it.
    pub hosts: Vec<String>,
    /// The largest content of a request, in bytes.
    pub request_body_max: u64,
    /// The protocols to which a client's connection may be switched, in lower case (`websocket`).
    pub upgrades: Vec<String>,
    /// How long an upgraded connection may be silent.
    pub tunnel: tunnel::TunnelLimits,
    /// How long the slowest reader may hold up the others of an unstored body.
    pub reader_stall: Duration,
    /// The longest wait for another's flight.
    pub flight_timeout: Duration,
    /// How long a key is remembered whose response could not be stored.
    pub hit_for_miss: Duration,
    /// How long requests with credentials pass for a key whose responses were found to be personalised.
    pub personalised_for: Duration,
    /// One in how many uses of a shared body, by requests that did not bring it in, is checked with the origin.
    pub guard_sample: u32,
    /// Whether bodies are compressed in the store.
    pub compress: bool,
    /// zstd's level.
    pub compress_level: i32,
    /// The smallest body that is compressed.
    pub compress_min_bytes: u64,
    /// Whether the origin is asked for identity or with the client's own Accept-Encoding.
    pub ask_identity: bool,
    /// What is traced, where anybody exports traces.
    pub traces: trace::Config,
}

/// The client's end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub addr: SocketAddr,
    /// The way to send it 1xx responses; `None` where there is none (HTTP/2, HTTP/1.0).
    pub interim: Option<interim::Interim>,
}

/// A response at once, or one to wait for.
pub enum Answer<B = Body> {
    /// Without await or box: a hit.
    Now(Response<B>),
    /// Everything else.
    Later(Pin<Box<dyn Future<Output = Response<B>> + Send>>),
}

/// What became of a request after a wait for the origin.
enum FetchStep {
    Response(Box<Response<Body>>),
    /// The store may have it now; where it has been looked at often enough, the request asks alone.
    Retry(PassThrough),
    PassThrough(PassThrough),
}

/// Encodings under way at once, of the whole process: enough for the blocking threads, and a bound on what they hold.
const ENCODINGS_MAX: usize = 32;

/// What all cores share on the way.
pub struct Shared {
    config: Config,
    routes: Table,
    store: Arc<Store>,
    clock: Clock,
    readers: access::LogReaders,
    exporter: Option<trace::Exporter>,
    hasher: Arc<KeyHasher>,
    flights: Arc<Flights<flight::FlightResult>>,
    renditions: Arc<Flights<Option<Bytes>>>,
    uncacheable: Arc<UncacheableKeys>,
    probation: Arc<probation::Probation>,
    encoding_permits: Arc<Semaphore>,
    /// Set once a response has been stored with the cookie that it sets.
    has_stored_cookie: Arc<OnceLock<()>>,
}

impl Shared {
    /// Puts the shared parts together; `readers` are shown a line for each request. Nothing is traced.
    pub fn new(
        config: Config,
        routes: Table,
        store: Arc<Store>,
        clock: Clock,
        readers: access::LogReaders,
    ) -> Arc<Self> {
        Self::with_exporter(config, routes, store, clock, readers, None)
    }

    /// Puts the shared parts together as [`Shared::new`] does; `exporter` is given the spans of what is traced.
    pub fn with_exporter(
        config: Config,
        routes: Table,
        store: Arc<Store>,
        clock: Clock,
        readers: access::LogReaders,
        exporter: Option<trace::Exporter>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            routes,
            store,
            clock,
            readers,
            exporter,
            hasher: Arc::new(KeyHasher::new()),
            flights: Flights::new(),
            renditions: Flights::new(),
            uncacheable: Arc::new(UncacheableKeys::new()),
            probation: Arc::new(probation::Probation::new()),
            encoding_permits: Arc::new(Semaphore::new(ENCODINGS_MAX)),
            has_stored_cookie: Arc::default(),
        })
    }

    /// Makes the shared parts of a configuration that takes this one's place. What is stored, remembered and under way is
    /// the same for both: a request that began under the old one ends under it, and may be followed by one of the new.
    pub fn reconfigured(&self, config: Config, routes: Table, access: Option<access::AccessLogWriter>) -> Arc<Self> {
        Arc::new(Self {
            config,
            routes,
            readers: access::LogReaders { log: access, followers: Arc::clone(&self.readers.followers) },
            exporter: self.exporter.clone(),
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            hasher: Arc::clone(&self.hasher),
            flights: Arc::clone(&self.flights),
            renditions: Arc::clone(&self.renditions),
            uncacheable: Arc::clone(&self.uncacheable),
            probation: Arc::clone(&self.probation),
            encoding_permits: Arc::clone(&self.encoding_permits),
            has_stored_cookie: Arc::clone(&self.has_stored_cookie),
        })
    }

    /// Returns those who follow requests live; a reload keeps them.
    pub fn followers(&self) -> &Arc<access::Followers> {
        &self.readers.followers
    }

    /// Returns how many flights are under way.
    pub fn flights(&self) -> usize {
        self.flights.len() + self.probation.flights()
    }
}

/// Everything that a core needs to serve.
pub struct Worker {
    shared: Arc<Shared>,
    origin: origin::UpstreamClient,
    metrics: Arc<metrics::LocalMetrics>,
}

impl Worker {
    /// Makes a core's way; call it on the core's runtime.
    pub fn new(shared: Arc<Shared>, origin: origin::UpstreamClient, metrics: Arc<metrics::LocalMetrics>) -> Arc<Self> {
        Arc::new(Self { shared, origin, metrics })
    }

    /// Makes the same core's way under another configuration: with the same pool of connections to the origin where
    /// nothing is different there, and counting into the same figures.
    pub fn reconfigured(
        &self,
        shared: &Arc<Shared>,
        origin: &Arc<origin::Config>,
        rows: &metrics::RouteRows,
    ) -> Arc<Self> {
        Self::new(Arc::clone(shared), self.origin.reconfigured(origin), self.metrics.with_rows(rows))
    }

    /// Answers a request.
    pub fn serve(self: &Arc<Self>, peer: &Peer, request: Request<Incoming>) -> Answer {
        serve::serve(self, peer, request)
    }

    /// Answers `client` for bytes that are no request; `why` says what is wrong with them, without a full stop. The
    /// connection is to be closed behind the response.
    pub fn refuse(&self, client: IpAddr, status: StatusCode, reason: Reason, why: &str) -> Response<Bytes> {
        let refusal = EarlyResponse { status, reason, started: Instant::now() };
        rescue::unparsed_response(self, client, &refusal, why)
    }

    /// Writes the decision into the head, and has the end recorded.
    fn finish(&self, ctx: &RequestContext, decision: Decision, mut response: Response<Body>) -> Response<Body> {
        let key = ctx.may_debug(&self.shared.config).then(|| ctx.key.text());
        head::append_cache_status(response.headers_mut(), head::cache_status(&decision, key));
        self.observe(ctx, decision, &mut response);
        response
    }

    /// Has the end recorded of a response whose head tells the decision already.
    fn observe(&self, ctx: &RequestContext, decision: Decision, response: &mut Response<Body>) {
        let readers = &self.shared.readers;
        let logged = readers.is_any().then(|| Box::new(LogRecord::new(readers, ctx, response.status())));
        let heading = metrics::ResponseStart {
            url: ctx.key.url(),
            status: response.status().as_u16(),
            body_bytes: response.body().length().unwrap_or_default(),
            at: ctx.at,
            started: ctx.started,
        };
        let non_hit = self.metrics.record_start(&decision, &heading);
        let traced = trace::ResponseSpan::new(&self.shared, ctx, &decision, response.status());
        let observer = Observer::new(Arc::clone(&self.metrics), decision, ctx.started, logged)
            .with_non_hit(non_hit)
            .with_span(traced);
        response.body_mut().observe(observer);
    }
}
