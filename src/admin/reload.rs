//! `POST /reload`: reloads the configuration, and reports the result.
//!
//! A closure does the work; the admin interface knows no configuration, only the result.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::AdminProblem;
use super::content::ExpectedContent;
use super::snapshots::ReadingOf;
use crate::clock::Timestamp;

/// The way to reload, and the last result.
#[derive(Clone)]
pub struct ReloadHandle {
    /// Reloads. The call reads files, so it may block.
    pub now: ReadingOf<ReloadResult>,
    /// Returns the result of the last reload, whatever triggered it.
    pub last: ReadingOf<Option<ReloadResult>>,
    /// Returns the time at which the configuration in force was read.
    pub in_force_since: ReadingOf<Timestamp>,
}

/// The result of a reload: either all of it is in force, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResult {
    /// The time of the reload, in seconds since the Unix epoch.
    pub at_unix_seconds: i64,
    /// The trigger: `SIGHUP`, `POST /reload`, `file`.
    pub by: String,
    /// True if the new configuration is in force.
    pub applied: bool,
    /// The faults of the new configuration; the previous one stays in force.
    pub problems: Vec<ConfigFault>,
    /// The keys that differ and need a restart: a sentence each.
    pub needs_restart: Vec<String>,
}

/// One fault of a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFault {
    /// The file.
    pub file: String,
    /// The line, from 1; `None` if the fault is not in the file.
    pub line: Option<usize>,
    /// The key; empty if there is none.
    pub key: String,
    /// The fault.
    pub what: String,
    /// The values that are allowed.
    pub allowed: String,
}

/// No content is needed, and any content is ignored.
const CONTENT: ExpectedContent = ExpectedContent { what: "a reload", bytes_max: 1 << 10, example: || json!({}) };

/// Reloads on a thread that may block: 200 if the new configuration is in force, 422 if the
/// previous one stays.
pub(super) async fn reload(reload: ReloadHandle, request: Request) -> Result<Response, AdminProblem> {
    CONTENT.pass_over(request).await?;
    let done = tokio::task::spawn_blocking(move || (reload.now)()).await;
    let reloaded = done.map_err(|_| {
        AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "reload aborted; keeping the previous configuration")
    })?;
    let status = if reloaded.applied { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok((status, Json(reloaded)).into_response())
}
