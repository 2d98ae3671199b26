//! Refusals that are sent before a request reaches the router: no room, or an unreadable request.

use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use bytes::Bytes;
use serde_json::json;

use super::auth::protect;

/// Returns the response for a connection beyond `connections_max`.
pub fn full(connections_max: usize) -> axum::http::Response<Bytes> {
    let what = format!(
        "too many connections ({connections_max}): close some, or raise `connections_max` under [admin]; clients of \
         the proxy are not affected"
    );
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, &what);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    response
}

/// Returns the response for a request that cannot be read.
pub fn refusal(status: StatusCode, why: &str) -> axum::http::Response<Bytes> {
    let mut response = axum::http::Response::new(Bytes::from(json!({ "error": why }).to_string()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    protect(headers);
    response
}
