//! The admin listener: the dashboard at `/`, `/live`, `/ready`, `/stats`, `/shadow`, `/events`, `/log`, `/metrics`,
//! `/grafana.json`, `/alerts.yml`, `POST /explain`, `POST /purge`, `POST /reload`.
//!
//! An axum router over what it is handed. Every request passes `guard` first, which keeps web pages elsewhere from
//! reaching it through a browser, and asks for the token where one is set; every answer but the dashboard, `/metrics`,
//! `/alerts.yml` and streams is JSON, errors too. Deliberately absent: how a tier works inside, configuration files, the
//! way of a request (what explaining and purging are made of is handed to it).

mod answer;
mod content;
mod events;
pub mod explain;
mod guard;
pub mod log;
mod monitor;
mod page;
mod prometheus;
mod purge;
mod readings;
mod reload;
mod selectors;
pub mod stats;
mod token;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::Instant;

use crate::access::Followers;
use crate::metrics::Metrics;
use crate::origin;
use crate::proxy;
use crate::proxy::purge::{PurgeResult, PurgeTarget};
use crate::store::{PurgeKind, Store};
use answer::AdminProblem;
use events::EventFeed;
use guard::{Access, Reach};
use readings::Readings;
pub use reload::{ConfigFault, ReloadHandle, ReloadResult};
use stats::Stats;

pub use token::Token;

/// What exists, for whoever asks for something else.
const ROUTES: [&str; 13] = [
    "GET /",
    "GET /live",
    "GET /ready",
    "GET /stats",
    "GET /shadow",
    "GET /events",
    "GET /log",
    "GET /metrics",
    "GET /grafana.json",
    "GET /alerts.yml",
    "POST /explain",
    "POST /purge",
    "POST /reload",
];

/// What the admin side keeps to.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where it listens; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// What who asks has to show; `None`: nothing, which is for loopback addresses only.
    pub token: Option<Token>,
    /// The most connections at once, who follows what happens among them.
    pub connections_max: usize,
}

impl Config {
    /// Says who may ask.
    fn access(&self) -> Access {
        let is_loopback = self.listen.is_none_or(|listen| listen.ip().is_loopback());
        let reach = if is_loopback { Reach::Loopback } else { Reach::Elsewhere };
        Access { token: self.token.clone(), reach }
    }
}

/// A question that the admin side asks of the others.
pub type ReadingOf<T> = Arc<dyn Fn() -> T + Send + Sync>;

/// What the admin side looks at, handed to it.
#[derive(Clone)]
pub struct AdminSources {
    /// What it keeps to.
    pub config: Config,
    /// The store, for its figures.
    pub store: Arc<Store>,
    /// Purges.
    pub purge: Arc<dyn Fn(PurgeTarget, PurgeKind) -> PurgeResult + Send + Sync>,
    /// The figures.
    pub metrics: Arc<Metrics>,
    /// Whether requests are served: false while draining.
    pub ready: ReadingOf<bool>,
    /// How many flights are under way.
    pub flights: ReadingOf<usize>,
    /// How many client connections are open.
    pub connections: ReadingOf<usize>,
    /// The most of them at once.
    pub connections_max: usize,
    /// The figures of the origin's side.
    pub origin: ReadingOf<origin::OriginStats>,
    /// Who is connected to the admin side itself.
    pub admin_connections: ReadingOf<AdminConnections>,
    /// What the server counts of itself.
    pub server: ReadingOf<ServerSnapshot>,
    /// What would happen to a request.
    pub explain: explain::Explain,
    /// What shadow mode tells.
    pub shadow: ReadingOf<proxy::shadow::ShadowReport>,
    /// Those who follow requests live.
    pub followers: Arc<Followers>,
    /// How many access log lines were dropped.
    pub log_dropped: ReadingOf<u64>,
    /// What became of the spans of traces.
    pub traces: ReadingOf<proxy::trace::ExportStats>,
    /// What the configuration warns of, for `/stats`.
    pub warnings: ReadingOf<Vec<String>>,
    /// How the configuration is read again.
    pub reload: ReloadHandle,
}

/// What the server counts of itself since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerSnapshot {
    /// Connections accepted.
    pub accepted: u64,
    /// Times that accepting failed for want of descriptors or memory.
    pub accept_errors: u64,
    /// Handlers that panicked.
    pub panics: u64,
    /// Connections closed because a head did not become complete in time.
    pub closed_in_head: u64,
    /// Connections closed because they were silent between requests.
    pub closed_idle: u64,
    /// Connections closed because content did not move for too long.
    pub closed_in_body: u64,
    /// Reloads of the configuration that were applied.
    pub reloads_applied: u64,
    /// Reloads that were refused: the configuration before stayed.
    pub reloads_refused: u64,
}

/// Who is, and was, connected to the admin side itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminConnections {
    /// Connections open now.
    pub connections: usize,
    /// The most of them at once.
    pub connections_max: usize,
    /// Connections for which there was no room.
    pub turned_away: u64,
    /// Connections closed because they were silent, or slow, for too long.
    pub closed: u64,
}

/// Returns what is said to one for whom there is no room among `connections_max`.
pub fn full(connections_max: usize) -> axum::http::Response<Bytes> {
    let what = format!(
        "{connections_max} connections are open: close some, or raise `connections_max` under [admin]; clients are \
         served all the same"
    );
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, &what);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

/// Returns what is said where a request could not be read.
pub fn refusal(status: StatusCode, why: &str) -> axum::http::Response<Bytes> {
    let mut response = axum::http::Response::new(Bytes::from(json!({ "error": why }).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    guard::protect(headers);
    response
}

/// What the handlers share.
struct AdminState {
    parts: AdminSources,
    /// When the router was made, which counts as the start of the process. The runtime's clock: wall time may jump.
    started: Instant,
}

/// Makes the admin side's router.
pub fn router(parts: AdminSources) -> Router {
    let access = parts.config.access();
    let admin = Arc::new(AdminState { parts, started: Instant::now() });
    let feed = Arc::new(EventFeed::new(event_maker(Arc::clone(&admin))));
    Router::new()
        .route("/", get(page::index))
        .route("/page/{name}", get(part))
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/stats", get(stats))
        .route("/shadow", get(shadow))
        .route("/events", get(move || async move { feed.listen() }))
        .route("/log", get(log))
        .route("/metrics", get(metrics))
        .route("/grafana.json", get(monitor::grafana))
        .route("/alerts.yml", get(monitor::alerts))
        .route("/explain", post(explain))
        .route("/purge", post(purge))
        .route("/reload", post(reload))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .with_state(admin)
        .layer(axum::middleware::from_fn_with_state(access, guard::guard))
}

/// Says that the process runs: 200 for as long as it can answer at all.
async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

/// Says whether requests should be sent here: 503 while draining.
async fn ready(State(admin): State<Arc<AdminState>>) -> Response {
    let ready = (admin.parts.ready)();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready }))).into_response()
}

async fn stats(State(admin): State<Arc<AdminState>>) -> Json<Stats> {
    Json(Stats::from(&admin.readings()))
}

async fn shadow(State(admin): State<Arc<AdminState>>) -> Json<proxy::shadow::ShadowReport> {
    Json((admin.parts.shadow)())
}

async fn metrics(State(admin): State<Arc<AdminState>>, headers: HeaderMap) -> Result<Response, AdminProblem> {
    prometheus::answer(admin.readings(), &headers)
        .map_err(|_| AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "the figures could not be written"))
}

async fn log(State(admin): State<Arc<AdminState>>, pairs: log::Pairs) -> Result<Response, AdminProblem> {
    log::follow(&admin.parts.followers, pairs)
}

async fn explain(
    State(admin): State<Arc<AdminState>>,
    request: axum::extract::Request,
) -> Result<Response, AdminProblem> {
    let question = explain::read(request).await?;
    Ok(Json((admin.parts.explain)(&question).map_err(explain::problem)?).into_response())
}

async fn purge(
    State(admin): State<Arc<AdminState>>,
    request: axum::extract::Request,
) -> Result<Response, AdminProblem> {
    let purge = purge::read(request).await?;
    Ok(Json(purge.apply(|target, kind| (admin.parts.purge)(target, kind))).into_response())
}

async fn reload(
    State(admin): State<Arc<AdminState>>,
    request: axum::extract::Request,
) -> Result<Response, AdminProblem> {
    reload::reload(admin.parts.reload.clone(), request).await
}

/// Tells the figures as one line, for who listens.
fn event_maker(admin: Arc<AdminState>) -> events::MakeEvent {
    Arc::new(move || serde_json::to_string(&Stats::from(&admin.readings())).unwrap_or_else(|_| "null".to_owned()))
}

async fn part(path: axum::extract::Path<String>, request: axum::extract::Request) -> Response {
    match page::part(path).await {
        Some(response) => response,
        None => not_found(request).await.into_response(),
    }
}

async fn not_found(request: axum::extract::Request) -> AdminProblem {
    AdminProblem::new(StatusCode::NOT_FOUND, format!("there is no {} here", request.uri().path()))
        .with("available", json!(ROUTES))
}

async fn method_not_allowed(method: Method) -> AdminProblem {
    AdminProblem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not for this path"))
        .with("available", json!(ROUTES))
}

impl AdminState {
    /// Asks everybody for their figures.
    fn readings(&self) -> Readings {
        let parts = &self.parts;
        Readings {
            requests: parts.metrics.snapshot(),
            store: parts.store.stats(),
            is_ready: (parts.ready)(),
            flights: (parts.flights)(),
            connections: (parts.connections)(),
            connections_max: parts.connections_max,
            origin: (parts.origin)(),
            admin_connections: (parts.admin_connections)(),
            server: (parts.server)(),
            log_dropped: (parts.log_dropped)(),
            traces: (parts.traces)(),
            warnings: (parts.warnings)(),
            reload: (parts.reload.last)(),
            in_force_since: (parts.reload.in_force_since)(),
            uptime: self.started.elapsed(),
        }
    }
}

#[cfg(test)]
mod tests;
