//! Refusals of the admin interface: a status, what is wrong, and what would have been right. Always
//! JSON.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Map, Value};

/// A refusal, as `{"error": …}` with helpful details.
#[derive(Debug)]
pub(super) struct AdminProblem {
    pub(super) status: StatusCode,
    body: Map<String, Value>,
}

impl AdminProblem {
    /// Makes a refusal that says what is wrong.
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, body: Map::from_iter([("error".to_owned(), Value::String(error.into()))]) }
    }

    /// Adds a detail that helps to fix the request.
    pub(super) fn with(mut self, name: &str, value: Value) -> Self {
        self.body.insert(name.to_owned(), value);
        self
    }
}

impl IntoResponse for AdminProblem {
    fn into_response(self) -> Response {
        (self.status, Json(Value::Object(self.body))).into_response()
    }
}
