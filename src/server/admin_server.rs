//! The admin side, as one more core: a thread of its own, so that no question of it delays a request, with the screen, the
//! sweep and the timeouts that clients have, and a bound of its own on connections.
//!
//! Whoever comes beyond that bound is told so at once: an operator would rather know than wait, and what waited would hold
//! a descriptor that a client may need. What is asked and answered is `admin`'s.

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

/// How long it may take to end what is under way; its answers take milliseconds.
const DRAIN: Duration = Duration::from_secs(1);

/// An admin side that runs. Dropping it stops it at once.
pub(super) struct AdminServer(Cores);

impl AdminServer {
    /// Starts it on `listener`; `shared` is its own but for what a reload changes, and `parts` are what it is about.
    ///
    /// # Errors
    /// A runtime or a thread that cannot be made.
    pub(super) fn start(
        listener: TcpListener,
        shared: Arc<CoresShared>,
        parts: admin::AdminSources,
    ) -> io::Result<Self> {
        let connections_max = shared.connections_max();
        let answering = Arc::new(AdminService { router: admin::router(parts), connections_max });
        Cores::start(vec![vec![listener]], shared, |_| Arc::clone(&answering)).map(Self)
    }

    /// Ends what is under way; `after` says who listens then.
    pub(super) fn stop(mut self, after: Successor) {
        self.0.stop(after, DRAIN);
    }
}

/// Makes what the admin side's thread shares with nobody, but for what a reload changes.
pub(super) fn shared_state(live: Arc<ArcSwap<LiveConfig>>, connections_max: usize) -> Arc<CoresShared> {
    Arc::new(CoresShared::new("larder-admin", live, connections_max, Arc::default(), Arc::new(|| false)))
}

/// Tells who is at the admin side's door.
pub(super) fn connections(shared: &CoresShared) -> admin::AdminConnections {
    let admin::ServerSnapshot { closed_in_head, closed_idle, closed_in_body, .. } = shared.counters.snapshot();
    admin::AdminConnections {
        connections: shared.connections(),
        connections_max: shared.connections_max(),
        turned_away: shared.counters.turned_away.load(Ordering::Relaxed),
        closed: closed_in_head + closed_idle + closed_in_body,
    }
}

/// The router, as what answers requests.
struct AdminService {
    router: Router,
    connections_max: usize,
}

impl Serve for AdminService {
    type Body = axum::body::Body;

    const DATED: bool = true;

    fn answer(&self, _: &Peer, request: Request<Incoming>) -> Answer<Self::Body> {
        let answer = self.router.clone().oneshot(request);
        Answer::Later(Box::pin(async { answer.await.unwrap_or_else(|never: Infallible| match never {}) }))
    }

    fn refuse(&self, _: SocketAddr, refusal: &ScreenRefusal) -> Vec<u8> {
        last_response(&admin::refusal(refusal.status, refusal.why))
    }

    fn full(&self) -> Option<Vec<u8>> {
        Some(last_response(&admin::full(self.connections_max)))
    }
}
