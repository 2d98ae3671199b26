//! The personalisation guard's questions: what a stored body that another user's request brought in is to a request, and
//! what is remembered of keys whose responses were found to differ by user. `compare` asks the origin.

use http::header::{self, HeaderName};

use crate::policy::{Admission, credentials};
use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Shared;
use crate::route::SetCookie;
use crate::stored::{Credentials, Facts, FlatHead, Selecting, StoredEntry};

/// Tells whether a response is guarded: unless it permits sharing (RFC 9111 §3.5), or varies on Cookie. An app that says so
/// knows what it builds its pages from.
pub(crate) fn is_guarded(ctx: &RequestContext, facts: &Facts, selecting: &Selecting) -> bool {
    ctx.rule.personalisation_guard && !facts.permits_sharing && !varies_by_user(selecting)
}

/// Tells whether a cookie that a response with these facts sets is taken for one user's: the key's responses were found to differ
/// by user, and nothing in this one says that it is for all.
pub(crate) fn distrusts_cookies(shared: &Shared, ctx: &RequestContext, facts: &Facts) -> bool {
    ctx.rule.personalisation_guard
        && ctx.rule.set_cookie != SetCookie::Strip
        && !facts.permits_sharing
        && is_suspect(shared, ctx)
}

/// Tells whether Cookie is among the fields that a response is selected by.
pub(crate) fn varies_by_user(selecting: &Selecting) -> bool {
    selecting.iter().any(|(name, _)| *name == header::COOKIE)
}

/// Decides what a usable entry is to a request; unguarded ones cost one branch.
pub(crate) fn admission(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> Admission {
    let Some(guard) = &entry.guard else { return Admission::Open };
    let (credentials, values) = (|| ctx.credentials(shared), || ctx.values(shared));
    credentials::admission(guard, &ctx.facts, || is_suspect(shared, ctx), credentials, values)
}

/// Tells whether an entry may answer a request, or be confirmed by what the origin tells it.
pub(crate) fn admits(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> bool {
    admission(shared, ctx, entry) != Admission::Probation
}

/// Tells whether a request may have what a request with these credentials is just bringing in.
pub(crate) fn admits_from(shared: &Shared, ctx: &RequestContext, leader: Credentials) -> bool {
    (leader.is_none() && !is_suspect(shared, ctx)) || leader == ctx.credentials(shared)
}

/// Tells whether the responses for a request's key were found to differ by user lately.
fn is_suspect(shared: &Shared, ctx: &RequestContext) -> bool {
    shared.sharing.personalised_until(ctx.key.hash(), shared.clock.now()).is_some()
}

/// Tells whether an entry may stand in for the origin. One that an anonymous request brought in shows nobody's data: while
/// the app is down it is better than an error.
pub(crate) fn may_stand_in(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> bool {
    entry.guard.as_ref().is_none_or(|guard| guard.leader().is_none()) || admits(shared, ctx, entry)
}

/// Tells whether a request carries credentials for a key whose responses were found to differ by user, so that it passes.
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

/// What the names of fields contain that tell who somebody is, or are a secret of theirs. Other fields change with every
/// response of many apps, such as the request's number.
const PERSONAL: [&str; 8] = ["csrf", "xsrf", "token", "session", "user", "account", "customer", "email"];

/// Tells whether two stored heads say the same where they are likely to say something of one user.
pub(crate) fn says_same_of_users(one: &FlatHead, other: &FlatHead) -> bool {
    let is_personal = |name: &HeaderName| PERSONAL.iter().any(|part| name.as_str().contains(part));
    let personal = |head: &FlatHead| {
        let fields = head.iter().filter(|(name, _)| is_personal(name));
        fields.map(|(name, value)| (name, value.to_vec())).collect::<Vec<_>>()
    };
    personal(one) == personal(other)
}
