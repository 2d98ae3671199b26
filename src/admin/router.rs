//! The router of the admin interface: the handler of each path.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde_json::json;
use tokio::time::Instant;

use super::answer::AdminProblem;
use super::auth::guard;
use super::events::{self, EventFeed};
use super::readings::Readings;
use super::sources::AdminSources;
use super::stats::Stats;
use super::{explain, log, monitor, page, prometheus, purge, reload};
use crate::proxy;

/// All routes, as the answer to a request for another one.
pub(super) const ROUTES: [&str; 13] = [
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

/// State that the handlers share.
struct AdminState {
    parts: AdminSources,
    /// The time at which the router was made, which counts as the start of the process. The
    /// runtime's clock is used, since wall time may jump.
    started: Instant,
}

/// Makes the router of the admin interface.
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
        .layer(axum::middleware::from_fn_with_state(access, guard))
}

/// Reports that the process runs: 200 as long as it can respond at all.
async fn live() -> Response {
    Json(json!({ "live": true })).into_response()
}

/// Reports whether requests should be sent here: 503 while draining.
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
        .map_err(|_| AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "cannot write the metrics"))
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

/// Makes the function that writes the stats as one line, for listeners.
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
    AdminProblem::new(StatusCode::NOT_FOUND, format!("not found: {}", request.uri().path()))
        .with("available", json!(ROUTES))
}

async fn method_not_allowed(method: Method) -> AdminProblem {
    AdminProblem::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not allowed for this path"))
        .with("available", json!(ROUTES))
}

impl AdminState {
    /// Takes a reading of every source.
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
