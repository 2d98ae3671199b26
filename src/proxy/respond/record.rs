//! Records a response: the decision goes into its head, and an observer is attached to its body.

use std::sync::Arc;

use http::Response;

use super::body::Body;
use super::log::LogRecord;
use super::observer::Observer;
use crate::metrics;
use crate::outcome::Decision;
use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Worker;
use crate::proxy::trace;
use crate::respond::head;

/// Writes the decision into the response's head, and has its end recorded.
pub(crate) fn finish(
    worker: &Worker,
    ctx: &RequestContext,
    decision: Decision,
    mut response: Response<Body>,
) -> Response<Body> {
    let key = ctx.may_debug(&worker.shared.config).then(|| ctx.key.text());
    head::append_cache_status(response.headers_mut(), head::cache_status(&decision, key));
    observe(worker, ctx, decision, &mut response);
    response
}

/// Has the end of a response recorded whose head shows the decision already.
pub(crate) fn observe(worker: &Worker, ctx: &RequestContext, decision: Decision, response: &mut Response<Body>) {
    let readers = &worker.shared.readers;
    let logged = readers.is_any().then(|| Box::new(LogRecord::new(readers, ctx, response.status())));
    let start = metrics::ResponseStart {
        url: ctx.key.url(),
        status: response.status().as_u16(),
        body_bytes: response.body().length().unwrap_or_default(),
        at: ctx.at,
        started: ctx.started,
    };
    let non_hit = worker.metrics.record_start(&decision, &start);
    let span = trace::ResponseSpan::new(&worker.shared, ctx, &decision, response.status());
    let observer =
        Observer::new(Arc::clone(&worker.metrics), decision, ctx.started, logged).with_non_hit(non_hit).with_span(span);
    response.body_mut().observe(observer);
}
