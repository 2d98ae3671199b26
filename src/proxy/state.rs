//! The state that requests are served with: per process ([`Shared`]), per core ([`Worker`]), per
//! connection ([`Peer`]).
//!
//! Deliberately absent: the steps. No method here serves, fetches, answers or records anything; the
//! steps are functions that take these values.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::Semaphore;

use super::config::Config;
use super::fetch::coalesce::Flights;
use super::fetch::flight::FlightResult;
use super::fetch::uncacheable::UncacheableKeys;
use super::respond::interim::Interim;
use super::sharing::memory::SharingMemory;
use super::trace::span::Exporter;
use crate::clock::Clock;
use crate::key::KeyHasher;
use crate::route::Table;
use crate::store::Store;
use crate::{access, metrics, origin, random};

/// The client's end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub addr: SocketAddr,
    /// Queues 1xx responses for the client; `None` if the connection cannot send them (HTTP/2,
    /// HTTP/1.0).
    pub interim: Option<Interim>,
}

/// Encodings that run at once in the whole process: enough for the blocking threads, and a bound on
/// the memory that they use.
const ENCODINGS_MAX: usize = 32;

/// The state that all cores share.
pub struct Shared {
    pub(super) config: Config,
    pub(super) routes: Table,
    pub(super) store: Arc<Store>,
    pub(super) clock: Clock,
    pub(super) readers: access::LogReaders,
    pub(super) exporter: Option<Exporter>,
    pub(super) hasher: Arc<KeyHasher>,
    pub(super) flights: Arc<Flights<FlightResult>>,
    pub(super) renditions: Arc<Flights<Option<Bytes>>>,
    pub(super) uncacheable: Arc<UncacheableKeys>,
    pub(super) sharing: Arc<SharingMemory>,
    pub(super) encoding_permits: Arc<Semaphore>,
    /// Set once a response has been stored together with a cookie that it sets.
    pub(super) has_stored_cookie: Arc<OnceLock<()>>,
}

impl Shared {
    /// Makes the shared state; `readers` get a log line for each request. Nothing is traced.
    pub fn new(
        config: Config,
        routes: Table,
        store: Arc<Store>,
        clock: Clock,
        readers: access::LogReaders,
    ) -> Arc<Self> {
        Self::with_exporter(config, routes, store, clock, readers, None)
    }

    /// Makes the shared state as [`Shared::new`] does; `exporter` gets the spans of sampled
    /// requests.
    pub fn with_exporter(
        config: Config,
        routes: Table,
        store: Arc<Store>,
        clock: Clock,
        readers: access::LogReaders,
        exporter: Option<Exporter>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            routes,
            store,
            clock,
            readers,
            exporter,
            hasher: Arc::new(KeyHasher::new()),
            flights: Flights::new(random::bits()),
            renditions: Flights::new(random::bits()),
            uncacheable: Arc::new(UncacheableKeys::new()),
            sharing: Arc::new(SharingMemory::new()),
            encoding_permits: Arc::new(Semaphore::new(ENCODINGS_MAX)),
            has_stored_cookie: Arc::default(),
        })
    }

    /// Makes the shared state of a configuration that replaces this one. Stored responses, memories
    /// and flights are common to both: a request that began under the old configuration ends under
    /// it, and a request of the new one may follow its flight.
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
            sharing: Arc::clone(&self.sharing),
            encoding_permits: Arc::clone(&self.encoding_permits),
            has_stored_cookie: Arc::clone(&self.has_stored_cookie),
        })
    }

    /// Returns the clients that follow requests live; a reload keeps them.
    pub fn followers(&self) -> &Arc<access::Followers> {
        &self.readers.followers
    }

    /// Returns how many flights are under way.
    pub fn flights(&self) -> usize {
        self.flights.len() + self.sharing.flights()
    }
}

/// The state that one core serves with.
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) origin: origin::UpstreamClient,
    pub(super) metrics: Arc<metrics::LocalMetrics>,
}

impl Worker {
    /// Makes a core's state; call it on the core's runtime.
    pub fn new(shared: Arc<Shared>, origin: origin::UpstreamClient, metrics: Arc<metrics::LocalMetrics>) -> Arc<Self> {
        Arc::new(Self { shared, origin, metrics })
    }

    /// Makes the same core's state under another configuration. The pool of origin connections is
    /// kept if nothing in its own configuration changed, and the counters go on.
    pub fn reconfigured(
        &self,
        shared: &Arc<Shared>,
        origin: &Arc<origin::Config>,
        rows: &metrics::RouteRows,
    ) -> Arc<Self> {
        Self::new(Arc::clone(shared), self.origin.reconfigured(origin), self.metrics.with_rows(rows))
    }
}
