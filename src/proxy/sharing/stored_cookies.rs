//! Responses that are stored together with the cookie that they set, which only `set_cookie = "obey"` brings about.
//!
//! Every visitor who gets such a response from the cache gets that cookie. That is right for a cookie that says the same to
//! everybody, and gives a session away where it is not; so it is counted, and told once in the log.

use http::header;

use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Worker;
use crate::route::{RouteMode, SetCookie};
use crate::stored::FlatHead;

/// Counts a response whose `head` is about to be stored, where it sets a cookie.
pub(crate) fn note(worker: &Worker, ctx: &RequestContext, head: &FlatHead) {
    // What shadow mode stores is given to nobody.
    let may_be_given = ctx.rule.set_cookie == SetCookie::Obey && ctx.rule.mode == RouteMode::Serve;
    if !may_be_given || head.get(&header::SET_COOKIE).is_none() {
        return;
    }
    worker.metrics.record_stored_cookie();
    if worker.shared.has_stored_cookie.set(()).is_ok() {
        tracing::warn!(
            url = ctx.key.url(),
            "a response was stored with the cookie that it sets (`set_cookie = \"obey\"`): everybody who gets it from the \
             cache gets that cookie; further ones are counted in /stats (`storing.with_cookie`)"
        );
    }
}
