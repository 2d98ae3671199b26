//! Responses that are stored together with the cookie that they set, which only `set_cookie = "obey"` brings about.
//!
//! Every visitor who gets such a response from the cache gets that cookie. That is right for a cookie that says the same to
//! everybody, and gives a session away where it is not; so it is counted, and told once in the log.

use http::header;

use super::Way;
use super::asked::Asked;
use crate::route::{Mode, SetCookie};
use crate::stored::FlatHead;

/// Counts a response whose `head` is about to be stored, where it sets a cookie.
pub(super) fn note(way: &Way, asked: &Asked, head: &FlatHead) {
    // What shadow mode stores is given to nobody.
    let may_be_given = asked.rule.set_cookie == SetCookie::Obey && asked.rule.mode == Mode::Serve;
    if !may_be_given || head.get(&header::SET_COOKIE).is_none() {
        return;
    }
    way.metrics.record_stored_cookie();
    if way.shared.has_stored_cookie.set(()).is_ok() {
        tracing::warn!(
            url = asked.key.url(),
            "a response was stored with the cookie that it sets (`set_cookie = \"obey\"`): everybody who gets it from the \
             cache gets that cookie; further ones are counted in /stats (`storing.with_cookie`)"
        );
    }
}
