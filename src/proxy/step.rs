//! The result of a step of `serve` that waited for the origin.

use http::Response;

use super::decide::PassThrough;
use super::respond::body::Body;

/// The next step of a request after a wait for the origin.
pub(super) enum FetchStep {
    /// The request is answered.
    Response(Box<Response<Body>>),
    /// The store may have a response now. After too many look-ups, the request goes to the origin
    /// on its own.
    Retry(PassThrough),
    /// The request goes to the origin on its own.
    PassThrough(PassThrough),
}
