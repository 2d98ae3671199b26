//! The way of a request, from a parsed head to a response.
//!
//! `serve.rs` holds the control flow; the rest are its steps. Deliberately absent: admin routes, files,
//! TOML, sockets.

mod answer;
mod asked;
pub mod body;
mod client;
mod compare;
mod confirm;
mod decide;
pub mod explain;
mod fill;
mod filling;
mod flight;
#[cfg(test)]
mod flight_faults;
mod forward;
pub mod interim;
mod log;
mod pass;
mod pour;
mod probation;
pub mod purge;
mod recode;
mod remember;
mod rescue;
mod serve;
pub mod shadow;
mod shared_cookies;
pub mod trace;
mod trial;
pub mod tunnel;
pub mod upload;

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::Semaphore;

use self::asked::{Asked, Refusal};
pub use self::body::Body;
use self::body::Observer;
use self::decide::Alone;
use self::log::Logged;
use self::remember::{Memories, Note};
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
    pub tunnel: tunnel::Limits,
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
enum Turn {
    Response(Box<Response<Body>>),
    /// The store may have it now; where it has been looked at often enough, the request asks alone.
    Again(Alone),
    Alone(Alone),
}

/// Encodings under way at once, of the whole process: enough for the blocking threads, and a bound on what they hold.
const RECODING_MAX: usize = 32;

/// What all cores share on the way.
pub struct Shared {
    config: Config,
    routes: Table,
    store: Arc<Store>,
    clock: Clock,
    readers: access::Readers,
    exporter: Option<trace::Exporter>,
    hasher: Arc<KeyHasher>,
    flights: Arc<Flights<flight::Landed>>,
    renditions: Arc<Flights<Option<Bytes>>>,
    memories: Arc<Memories<Note>>,
    probation: Arc<probation::Probation>,
    recoding: Arc<Semaphore>,
    /// Set once a response has been stored with the cookie that it sets.
    has_stored_cookie: Arc<OnceLock<()>>,
}

impl Shared {
    /// Puts the shared parts together; `readers` are shown a line for each request. Nothing is traced.
    pub fn new(config: Config, routes: Table, store: Arc<Store>, clock: Clock, readers: access::Readers) -> Arc<Self> {
        Self::traced(config, routes, store, clock, readers, None)
    }

    /// Puts the shared parts together as [`Shared::new`] does; `exporter` is given the spans of what is traced.
    pub fn traced(
        config: Config,
        routes: Table,
        store: Arc<Store>,
        clock: Clock,
        readers: access::Readers,
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
            memories: Arc::new(Memories::new()),
            probation: Arc::new(probation::Probation::new()),
            recoding: Arc::new(Semaphore::new(RECODING_MAX)),
            has_stored_cookie: Arc::default(),
        })
    }

    /// Makes the shared parts of a configuration that takes this one's place. What is stored, remembered and under way is
    /// the same for both: a request that began under the old one ends under it, and may be followed by one of the new.
    pub fn renewed(&self, config: Config, routes: Table, access: Option<access::Log>) -> Arc<Self> {
        Arc::new(Self {
            config,
            routes,
            readers: access::Readers { log: access, followers: Arc::clone(&self.readers.followers) },
            exporter: self.exporter.clone(),
            store: Arc::clone(&self.store),
            clock: self.clock.clone(),
            hasher: Arc::clone(&self.hasher),
            flights: Arc::clone(&self.flights),
            renditions: Arc::clone(&self.renditions),
            memories: Arc::clone(&self.memories),
            probation: Arc::clone(&self.probation),
            recoding: Arc::clone(&self.recoding),
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
pub struct Way {
    shared: Arc<Shared>,
    origin: origin::Client,
    metrics: Arc<metrics::Local>,
}

impl Way {
    /// Makes a core's way; call it on the core's runtime.
    pub fn new(shared: Arc<Shared>, origin: origin::Client, metrics: Arc<metrics::Local>) -> Arc<Self> {
        Arc::new(Self { shared, origin, metrics })
    }

    /// Makes the same core's way under another configuration: with the same pool of connections to the origin where
    /// nothing is different there, and counting into the same figures.
    pub fn renewed(&self, shared: &Arc<Shared>, origin: &Arc<origin::Config>, rows: &metrics::Rows) -> Arc<Self> {
        Self::new(Arc::clone(shared), self.origin.renewed(origin), self.metrics.counting_in(rows))
    }

    /// Answers a request.
    pub fn serve(self: &Arc<Self>, peer: &Peer, request: Request<Incoming>) -> Answer {
        serve::serve(self, peer, request)
    }

    /// Answers `client` for bytes that are no request; `why` says what is wrong with them, without a full stop. The
    /// connection is to be closed behind the response.
    pub fn refuse(&self, client: IpAddr, status: StatusCode, reason: Reason, why: &str) -> Response<Bytes> {
        let refusal = Refusal { status, reason, started: Instant::now() };
        rescue::unscreened(self, client, &refusal, why)
    }

    /// Writes the decision into the head, and has the end recorded.
    fn finish(&self, asked: &Asked, decision: Decision, mut response: Response<Body>) -> Response<Body> {
        let key = asked.may_debug(&self.shared.config).then(|| asked.key.text());
        head::append_cache_status(response.headers_mut(), head::cache_status(&decision, key));
        self.observe(asked, decision, &mut response);
        response
    }

    /// Has the end recorded of a response whose head tells the decision already.
    fn observe(&self, asked: &Asked, decision: Decision, response: &mut Response<Body>) {
        let readers = &self.shared.readers;
        let logged = readers.is_any().then(|| Box::new(Logged::new(readers, asked, response.status())));
        let heading = metrics::Heading {
            url: asked.key.url(),
            status: response.status().as_u16(),
            body_bytes: response.body().length().unwrap_or_default(),
            at: asked.at,
            started: asked.started,
        };
        let noted = self.metrics.heads_out(&decision, &heading);
        let traced = trace::Answered::new(&self.shared, asked, &decision, response.status());
        let observer =
            Observer::new(Arc::clone(&self.metrics), decision, asked.started, logged).noted(noted).traced(traced);
        response.body_mut().observe(observer);
    }
}
