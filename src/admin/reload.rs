//! `POST /reload`: has the configuration read again, and tells what came of it.
//!
//! How that is done is handed in; the admin side knows no configuration, only what is told about it.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::answer::AdminProblem;
use super::content::ExpectedContent;
use super::snapshots::ReadingOf;
use crate::clock::Timestamp;

/// How to reload, and what came of it the last time.
#[derive(Clone)]
pub struct ReloadHandle {
    /// Reloads; it reads files, so it may block.
    pub now: ReadingOf<ReloadResult>,
    /// What came of the last reload, whoever asked for it.
    pub last: ReadingOf<Option<ReloadResult>>,
    /// When the configuration in force was read.
    pub in_force_since: ReadingOf<Timestamp>,
}

/// What came of a reload: all of it is in force, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadResult {
    /// When it was, in seconds since the Unix epoch.
    pub at_unix_seconds: i64,
    /// Who asked for it: `SIGHUP`, `POST /reload`, `file`.
    pub by: String,
    /// Whether the new configuration is in force.
    pub applied: bool,
    /// What is wrong with it; the old one stays in force.
    pub problems: Vec<ConfigFault>,
    /// What differs from what runs and has to wait for a restart: a sentence each.
    pub needs_restart: Vec<String>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFault {
    /// The file.
    pub file: String,
    /// The line, from 1; `None` where it is not in the file.
    pub line: Option<usize>,
    /// The key; empty where there is none.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What is allowed.
    pub allowed: String,
}

/// Nothing has to be sent, and nothing that is sent is read.
const CONTENT: ExpectedContent = ExpectedContent { what: "a reload", bytes_max: 1 << 10, example: || json!({}) };

/// Reloads on a thread that may block: 200 where the new configuration is in force, 422 where the old one stays.
pub(super) async fn reload(reload: ReloadHandle, request: Request) -> Result<Response, AdminProblem> {
    CONTENT.pass_over(request).await?;
    let done = tokio::task::spawn_blocking(move || (reload.now)()).await;
    let reloaded = done
        .map_err(|_| AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "the reload broke off; the old one stays"))?;
    let status = if reloaded.applied { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok((status, Json(reloaded)).into_response())
}
