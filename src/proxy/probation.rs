//! The personalisation guard's questions: what a stored body that another user's request brought in is to a request, and
//! what is remembered of keys whose responses were found to differ by user. `compare` asks the origin.

use std::sync::Arc;
use std::time::Duration;

use http::header::{self, HeaderName};

use super::Shared;
use super::context::RequestContext;
use super::uncacheable::KeyMemory;
use crate::clock::Timestamp;
use crate::origin::coalesce::{FlightRole, Flights};
use crate::policy::{Admission, credentials};
use crate::route::SetCookie;
use crate::stored::{Credentials, Facts, FlatHead, Selecting, SharingGuard, StoredEntry};

/// How long a key is suspect whose responses were found to differ by user: after requests with credentials have passed for
/// `personalised_for`, what an anonymous request brings in is not handed to them unseen.
const SUSPECT_FOR: Duration = Duration::from_secs(24 * 3600);

/// What a comparison came to. One that comes to nothing is lost, and then nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CompareResult {
    /// The requester got the same.
    Same,
    /// The requester got something else.
    Different,
}

/// What the guard remembers beside what hangs on the entries.
pub(super) struct Probation {
    /// Comparisons under way, named after the guard whose body they judge.
    flights: Arc<Flights<CompareResult>>,
    /// Keys whose responses were found to differ by user, and until when requests with credentials pass.
    personalised: KeyMemory<Timestamp>,
}

impl Probation {
    /// Makes one that remembers nothing.
    pub(super) fn new() -> Self {
        Self { flights: Flights::new(), personalised: KeyMemory::new() }
    }

    /// Remembers that the responses for a request's key differ by user; requests with credentials pass for `pass_for`.
    pub(super) fn mark_personalised(&self, ctx: &RequestContext, now: Timestamp, pass_for: Duration) {
        self.personalised.put(ctx.key.hash(), now + pass_for, now + SUSPECT_FOR);
    }

    /// Joins the comparison of the body that a guard hangs on, or leads it.
    pub(super) fn join(&self, guard: &Arc<SharingGuard>) -> FlightRole<CompareResult> {
        self.flights.join(flight_name(guard))
    }

    /// Returns how many comparisons are under way.
    pub(super) fn flights(&self) -> usize {
        self.flights.len()
    }
}

/// Tells whether a response is guarded: unless it permits sharing (RFC 9111 §3.5), or varies on Cookie. An app that says so
/// knows what it builds its pages from.
pub(super) fn is_guarded(ctx: &RequestContext, facts: &Facts, selecting: &Selecting) -> bool {
    ctx.rule.personalisation_guard && !facts.permits_sharing && !varies_by_user(selecting)
}

/// Tells whether a cookie that a response with these facts sets is taken for one user's: the key's responses were found to differ
/// by user, and nothing in this one says that it is for all.
pub(super) fn distrusts_cookies(shared: &Shared, ctx: &RequestContext, facts: &Facts) -> bool {
    ctx.rule.personalisation_guard
        && ctx.rule.set_cookie != SetCookie::Strip
        && !facts.permits_sharing
        && is_suspect(shared, ctx)
}

/// Tells whether Cookie is among the fields that a response is selected by.
pub(super) fn varies_by_user(selecting: &Selecting) -> bool {
    selecting.iter().any(|(name, _)| *name == header::COOKIE)
}

/// Decides what a usable entry is to a request; unguarded ones cost one branch.
pub(super) fn admission(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> Admission {
    let Some(guard) = &entry.guard else { return Admission::Open };
    let (credentials, values) = (|| ctx.credentials(shared), || ctx.values(shared));
    credentials::admission(guard, &ctx.facts, || is_suspect(shared, ctx), credentials, values)
}

/// Tells whether an entry may answer a request, or be confirmed by what the origin tells it.
pub(super) fn admits(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> bool {
    admission(shared, ctx, entry) != Admission::Probation
}

/// Tells whether a request may have what a request with these credentials is just bringing in.
pub(super) fn admits_from(shared: &Shared, ctx: &RequestContext, leader: Credentials) -> bool {
    (leader.is_none() && !is_suspect(shared, ctx)) || leader == ctx.credentials(shared)
}

/// Tells whether the responses for a request's key were found to differ by user lately.
fn is_suspect(shared: &Shared, ctx: &RequestContext) -> bool {
    shared.probation.personalised.get(ctx.key.hash(), shared.clock.now()).is_some()
}

/// Tells whether an entry may stand in for the origin. One that an anonymous request brought in shows nobody's data: while
/// the app is down it is better than an error.
pub(super) fn may_stand_in(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> bool {
    entry.guard.as_ref().is_none_or(|guard| guard.leader().is_none()) || admits(shared, ctx, entry)
}

/// Tells whether a request carries credentials for a key whose responses were found to differ by user, so that it passes.
pub(super) fn is_personalised(shared: &Shared, ctx: &RequestContext) -> bool {
    ctx.rule.personalisation_guard
        && (ctx.facts.has_cookie || ctx.facts.has_authorization)
        && is_passing(shared, ctx)
        && !ctx.credentials(shared).is_none()
}

fn is_passing(shared: &Shared, ctx: &RequestContext) -> bool {
    let now = shared.clock.now();
    shared.probation.personalised.get(ctx.key.hash(), now).is_some_and(|until| now < until)
}

/// Tells whether two stored heads set the same cookies.
pub(super) fn sets_same_cookies(one: &FlatHead, other: &FlatHead) -> bool {
    one.get_all(&header::SET_COOKIE).eq(other.get_all(&header::SET_COOKIE))
}

/// What the names of fields contain that tell who somebody is, or are a secret of theirs. Other fields change with every
/// response of many apps, such as the request's number.
const PERSONAL: [&str; 8] = ["csrf", "xsrf", "token", "session", "user", "account", "customer", "email"];

/// Tells whether two stored heads say the same where they are likely to say something of one user.
pub(super) fn says_same_of_users(one: &FlatHead, other: &FlatHead) -> bool {
    let is_personal = |name: &HeaderName| PERSONAL.iter().any(|part| name.as_str().contains(part));
    let personal = |head: &FlatHead| {
        let fields = head.iter().filter(|(name, _)| is_personal(name));
        fields.map(|(name, value)| (name, value.to_vec())).collect::<Vec<_>>()
    };
    personal(one) == personal(other)
}

/// Tells whether a comparison of the body that a guard hangs on is under way.
pub(super) fn is_being_compared(shared: &Shared, guard: &Arc<SharingGuard>) -> bool {
    shared.probation.flights.find(&flight_name(guard)).is_some()
}

/// Names a flight. The guard lives for as long as it does, so that no other guard has its address meanwhile.
fn flight_name(guard: &Arc<SharingGuard>) -> [u8; size_of::<usize>()] {
    (Arc::as_ptr(guard) as usize).to_le_bytes()
}
