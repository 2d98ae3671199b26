//! Refusals that are sent before a request reaches the router: no room, or an unreadable request.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use bytes::Bytes;
use serde_json::json;

use super::auth::protect;

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
    protect(headers);
    response
}
