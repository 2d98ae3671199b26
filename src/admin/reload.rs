//! `POST /reload`: has the configuration read again, and tells what came of it.
//!
//! How that is done is handed in; the admin side knows no configuration, only what is told about it.

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Ask;
use super::answer::Problem;
use super::content::Content;
use crate::clock::Timestamp;

/// How to reload, and what came of it the last time.
#[derive(Clone)]
pub struct Reload {
    /// Reloads; it reads files, so it may block.
    pub now: Ask<Reloaded>,
    /// What came of the last reload, whoever asked for it.
    pub last: Ask<Option<Reloaded>>,
    /// When the configuration in force was read.
    pub in_force_since: Ask<Timestamp>,
}

/// What came of a reload: all of it is in force, or nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// When it was, in seconds since the Unix epoch.
    pub at_unix_seconds: i64,
    /// Who asked for it: `SIGHUP`, `POST /reload`, `file`.
    pub by: String,
    /// Whether the new configuration is in force.
    pub applied: bool,
    /// What is wrong with it; the old one stays in force.
    pub problems: Vec<Fault>,
    /// What differs from what runs and has to wait for a restart: a sentence each.
    pub needs_restart: Vec<String>,
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
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
const CONTENT: Content = Content { what: "a reload", bytes_max: 1 << 10, example: || json!({}) };

/// Reloads on a thread that may block: 200 where the new configuration is in force, 422 where the old one stays.
pub(super) async fn reload(reload: Reload, request: Request) -> Result<Response, Problem> {
    CONTENT.pass_over(request).await?;
    let done = tokio::task::spawn_blocking(move || (reload.now)()).await;
    let reloaded =
        done.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the reload broke off; the old one stays"))?;
    let status = if reloaded.applied { StatusCode::OK } else { StatusCode::UNPROCESSABLE_ENTITY };
    Ok((status, Json(reloaded)).into_response())
}
