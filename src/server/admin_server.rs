//! The admin interface, as one more core.
//!
//! The core has a thread of its own, so that no admin request delays a client's request. Screen,
//! sweep and timeouts are those of clients' connections; the bound on connections is its own.
//!
//! A connection beyond that bound gets a response at once: an operator would rather know than wait,
//! and a queued connection would hold a descriptor that a client may need.
//!
//! Deliberately absent: the admin requests and their responses, which are `admin`'s.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use http::Request;
use hyper::body::Incoming;
use tower::ServiceExt;

use super::cores::{Cores, CoresShared, LiveConfig, Successor};
use super::screen::ScreenRefusal;
use super::service::{Serve, last_response};
use crate::admin;
use crate::proxy::{Answer, Peer};

/// How long a drain waits for requests in flight; admin responses take milliseconds.
const DRAIN: Duration = Duration::from_secs(1);

/// A running admin interface. Dropping it stops it at once.
pub(super) struct AdminServer(Cores);

impl AdminServer {
    /// Starts the admin interface on `listener`.
    ///
    /// `shared` is the state of the admin interface's own core, which shares only the live
    /// configuration with the proxy's cores; `sources` are what the admin interface reports on.
    ///
    /// # Errors
    /// A runtime or a thread that cannot be created.
    pub(super) fn start(
        listener: TcpListener,
        shared: Arc<CoresShared>,
        sources: admin::AdminSources,
    ) -> io::Result<Self> {
        let connections_max = shared.connections_max();
        let service = Arc::new(AdminService { router: admin::router(sources), connections_max });
        Cores::start(vec![vec![listener]], shared, |_| Arc::clone(&service)).map(Self)
    }

    /// Drains requests in flight and stops. `after` tells whether another process keeps listening.
    pub(super) fn stop(mut self, after: Successor) {
        self.0.stop(after, DRAIN);
    }
}

/// Creates the state of the admin interface's core, which shares only the live configuration with
/// the other cores.
pub(super) fn shared_state(live: Arc<ArcSwap<LiveConfig>>, connections_max: usize) -> Arc<CoresShared> {
    Arc::new(CoresShared::new("larder-admin", live, connections_max, Arc::default(), Arc::new(|| false)))
}

/// Returns how many connections the admin interface has, and how many it rejected or closed.
pub(super) fn connections(shared: &CoresShared) -> admin::AdminConnections {
    let admin::ServerSnapshot { closed_in_head, closed_idle, closed_in_body, .. } = shared.counters.snapshot();
    admin::AdminConnections {
        connections: shared.connections(),
        connections_max: shared.connections_max(),
        turned_away: shared.counters.turned_away.load(Ordering::Relaxed),
        closed: closed_in_head + closed_idle + closed_in_body,
    }
}

/// The admin router as a request handler.
struct AdminService {
    router: Router,
    connections_max: usize,
}

impl Serve for AdminService {
    type Body = axum::body::Body;

    const DATED: bool = true;

    fn answer(&self, _: &Peer, request: Request<Incoming>) -> Answer<Self::Body> {
        let response = self.router.clone().oneshot(request);
        Answer::Later(Box::pin(async { response.await.unwrap_or_else(|never: Infallible| match never {}) }))
    }

    fn refuse(&self, _: SocketAddr, refusal: &ScreenRefusal) -> Vec<u8> {
        last_response(&admin::refusal(refusal.status, refusal.why))
    }

    fn full(&self) -> Option<Vec<u8>> {
        Some(last_response(&admin::full(self.connections_max)))
    }
}
