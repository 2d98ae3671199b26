//! A stale stored response, served instead of the origin's failure.

use std::sync::Arc;

use http::Response;

use super::body::Body;
use super::encode;
use crate::policy::reuse::OriginFailure;
use crate::proxy::decide;
use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Worker;
use crate::stored::StoredEntry;

/// Answers with `stand_in` if it may be used stale for this failure.
pub(crate) async fn stale_response(
    worker: &Arc<Worker>,
    ctx: &RequestContext,
    failure: OriginFailure,
    stand_in: Option<&Arc<StoredEntry>>,
) -> Option<Response<Body>> {
    let entry = decide::usable_stand_in(&worker.shared, ctx, stand_in, failure, worker.shared.clock.now())?;
    Some(encode::answer_stored(worker, ctx, entry, decide::stale_decision(&worker.shared, ctx, entry)).await)
}
