//! Counts responses that are stored together with a cookie that they set, which only `set_cookie =
//! "obey"` allows.
//!
//! Every visitor who gets such a response from the cache gets that cookie. That is right for a
//! cookie that says the same to everyone, and gives a session away otherwise. So each such response
//! is counted, and the first one is logged.

use http::header;

use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Worker;
use crate::route::{RouteMode, SetCookie};
use crate::stored::FlatHead;

/// Counts a response whose `head` is about to be stored, if it sets a cookie.
pub(crate) fn note(worker: &Worker, ctx: &RequestContext, head: &FlatHead) {
    // Entries of shadow mode are never served.
    let may_be_given = ctx.rule.set_cookie == SetCookie::Obey && ctx.rule.mode == RouteMode::Serve;
    if !may_be_given || head.get(&header::SET_COOKIE).is_none() {
        return;
    }
    worker.metrics.record_stored_cookie();
    if worker.shared.has_stored_cookie.set(()).is_ok() {
        tracing::warn!(
            url = ctx.key.url(),
            "a response was stored together with a cookie that it sets (`set_cookie = \"obey\"`): every visitor who gets it from the \
             cache gets that cookie; further responses are counted in /stats (`storing.with_cookie`)"
        );
    }
}
