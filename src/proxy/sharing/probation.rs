//! The questions of the personalisation guard: may a stored body that another user's request
//! brought in answer this request, and were the key's responses found to differ by user?
//! `proxy/sharing/compare.rs` asks the origin where that is not known.

use http::header::{self, HeaderName};

use crate::policy::{Admission, credentials};
use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Shared;
use crate::route::SetCookie;
use crate::stored::{Credentials, Facts, FlatHead, Selecting, StoredEntry};

/// Tells whether a response is guarded. A response is not guarded if it permits sharing (RFC 9111
/// §3.5) or varies on Cookie: an app that says so knows what it makes its pages from.
pub(crate) fn is_guarded(ctx: &RequestContext, facts: &Facts, selecting: &Selecting) -> bool {
    ctx.rule.personalisation_guard && !facts.permits_sharing && !varies_by_user(selecting)
}

/// Tells whether a cookie that a response with these facts sets counts as one user's: the key's
/// responses were found to differ by user, and this response does not say that it is for all.
pub(crate) fn distrusts_cookies(shared: &Shared, ctx: &RequestContext, facts: &Facts) -> bool {
    ctx.rule.personalisation_guard
        && ctx.rule.set_cookie != SetCookie::Strip
        && !facts.permits_sharing
        && is_suspect(shared, ctx)
}

/// Tells whether Cookie is among the fields that select a response.
pub(crate) fn varies_by_user(selecting: &Selecting) -> bool {
    selecting.iter().any(|(name, _)| *name == header::COOKIE)
}

/// Decides whether a usable entry may answer a request; an unguarded entry costs one branch.
pub(crate) fn admission(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> Admission {
    let Some(guard) = &entry.guard else { return Admission::Open };
    let (credentials, values) = (|| ctx.credentials(shared), || ctx.values(shared));
    credentials::admission(guard, &ctx.facts, || is_suspect(shared, ctx), credentials, values)
}

/// Tells whether an entry may answer a request, or be confirmed by the origin's answer to it.
pub(crate) fn admits(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> bool {
    admission(shared, ctx, entry) != Admission::Probation
}

/// Tells whether a request may have the response that a request with these credentials is bringing
/// in.
pub(crate) fn admits_from(shared: &Shared, ctx: &RequestContext, leader: Credentials) -> bool {
    (leader.is_none() && !is_suspect(shared, ctx)) || leader == ctx.credentials(shared)
}

/// Tells whether the responses for the request's key were found to differ by user lately.
fn is_suspect(shared: &Shared, ctx: &RequestContext) -> bool {
    shared.sharing.personalised_until(ctx.key.hash(), shared.clock.now()).is_some()
}

/// Tells whether an entry may be served to a request if the origin fails. An entry that an
/// anonymous request brought in shows no user's data: while the app is down it is better than an
/// error.
pub(crate) fn may_stand_in(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> bool {
    entry.guard.as_ref().is_none_or(|guard| guard.leader().is_none()) || admits(shared, ctx, entry)
}

/// Tells whether a request passes because it carries credentials for a key whose responses were
/// found to differ by user.
pub(crate) fn is_personalised(shared: &Shared, ctx: &RequestContext) -> bool {
    ctx.rule.personalisation_guard
        && (ctx.facts.has_cookie || ctx.facts.has_authorization)
        && is_passing(shared, ctx)
        && !ctx.credentials(shared).is_none()
}

fn is_passing(shared: &Shared, ctx: &RequestContext) -> bool {
    let now = shared.clock.now();
    shared.sharing.personalised_until(ctx.key.hash(), now).is_some_and(|until| now < until)
}

/// Tells whether two stored heads set the same cookies.
pub(crate) fn sets_same_cookies(one: &FlatHead, other: &FlatHead) -> bool {
    one.get_all(&header::SET_COOKIE).eq(other.get_all(&header::SET_COOKIE))
}

/// Substrings of header names that identify a user or carry a secret. Other headers of many apps
/// differ with every response, such as a request id.
const PERSONAL: [&str; 8] = ["csrf", "xsrf", "token", "session", "user", "account", "customer", "email"];

/// Tells whether two stored heads agree in the fields that are likely to identify a user.
pub(crate) fn says_same_of_users(one: &FlatHead, other: &FlatHead) -> bool {
    let is_personal = |name: &HeaderName| PERSONAL.iter().any(|part| name.as_str().contains(part));
    let personal = |head: &FlatHead| {
        let fields = head.iter().filter(|(name, _)| is_personal(name));
        fields.map(|(name, value)| (name, value.to_vec())).collect::<Vec<_>>()
    };
    personal(one) == personal(other)
}
