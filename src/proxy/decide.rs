//! Decides what becomes of a request, from what is known before anything is done.
//!
//! `serve` acts on these decisions and `explain` reports them: both call the same functions, so
//! what is reported is what happens. The functions read the store, the purge ledger, the sharing
//! guard, the uncacheable keys and the flights, and change none of them (except that a look-up
//! counts as a use for eviction).
//!
//! Deliberately absent: the origin, waiting, responses.

use std::sync::Arc;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

use super::config::Config;
use super::fetch::received::ReceivedHead;
use super::fetch::uncacheable::StoreAttempt;
use super::request::context::RequestContext;
use super::sharing::probation;
use super::state::Shared;
use crate::clock::Timestamp;
use crate::outcome::{Decision, Outcome, Reason};
use crate::policy::reuse::OriginFailure;
use crate::policy::validate::{self, Candidates};
use crate::policy::vary::{self, Vary};
use crate::policy::{Admission, PurgeState, Reuse, freshness, reuse, tags};
use crate::respond::conditional::{self, Validators};
use crate::respond::encoding;
use crate::route::Rule;
use crate::stored::{Facts, StoredEntry, Variants};

/// The result of a look-up in the store.
pub(crate) enum LookupResult {
    Usable(UsableEntry),
    /// A stored response that another user's request brought in: the origin has to show whether
    /// this requester gets the same.
    OnProbation(Arc<StoredEntry>),
    Missing(CacheMiss),
    /// The request goes to the origin alone, for this reason. The entry may be served if the origin
    /// fails.
    PassThrough(Reason, Option<Arc<StoredEntry>>),
    OnlyIfCached,
}

/// A stored response that may answer.
pub(crate) struct UsableEntry {
    pub(crate) entry: Arc<StoredEntry>,
    pub(crate) decision: Decision,
    /// True if a background request refreshes the entry.
    pub(crate) refresh: bool,
    /// True if another user's request brought the entry in, so that a sample of its uses is
    /// checked.
    pub(crate) is_watched: bool,
}

/// A request that nothing stored answers without the origin.
pub(crate) struct CacheMiss {
    pub(crate) reason: Reason,
    /// All variants under the key.
    pub(crate) stored: Option<Arc<Variants>>,
    /// The stored response that the origin may confirm, or that may be served stale if the origin
    /// fails.
    pub(crate) selected: Option<Arc<StoredEntry>>,
    /// How many flights had left the table when the store was read.
    pub(crate) departures: u64,
}

/// The decision about a request that goes to the origin alone, and the entry that may be served if
/// the origin fails.
pub(crate) struct PassThrough {
    pub(crate) decision: Decision,
    pub(crate) stand_in: Option<Arc<StoredEntry>>,
}

/// Looks into the store and decides whether the entry there may answer.
pub(crate) fn look_up(shared: &Shared, ctx: &RequestContext, now: Timestamp) -> LookupResult {
    let store = &shared.store;
    let flights_left = shared.flights.departures();
    let stored = store.get(&ctx.key);
    let selected = stored.as_ref().and_then(|stored| vary::select(&stored.entries, &ctx.headers)).cloned();
    let Some(entry) = selected else {
        let reason = if stored.is_some() { Reason::VaryMiss } else { Reason::UriMiss };
        return match reuse::nothing_stored(&ctx.facts, reason) {
            Reuse::OnlyIfCached => LookupResult::OnlyIfCached,
            _ => on_miss(shared, ctx, CacheMiss { reason, stored, selected: None, departures: flights_left }),
        };
    };
    let purge_state = store.purge_state(&ctx.key, &entry, now);
    let (outcome, reason, refresh) = match reuse::reuse(&ctx.facts, &entry.facts, purge_state, now, &ctx.rule) {
        Reuse::Fresh => (Outcome::Hit, Reason::Fresh, false),
        Reuse::StaleNow { reason, refresh } => (Outcome::Stale, reason, refresh),
        Reuse::Revalidate(reason) | Reuse::Miss(reason) => {
            let is_usable = purge_state != PurgeState::Purged && probation::may_stand_in(shared, ctx, &entry);
            let selected = is_usable.then_some(entry);
            return on_miss(shared, ctx, CacheMiss { reason, stored, selected, departures: flights_left });
        }
        Reuse::OnlyIfCached => return LookupResult::OnlyIfCached,
    };
    let admission = probation::admission(shared, ctx, &entry);
    let decision = Decision { ttl: Some(freshness::ttl(&entry.facts, now)), ..ctx.decision(outcome, reason) };
    let usable = UsableEntry { entry, decision, refresh, is_watched: admission == Admission::Watched };
    match admission {
        Admission::Open | Admission::Watched if is_for_origin(ctx, &usable.entry) => {
            match ctx.facts.cc.only_if_cached {
                true => LookupResult::OnlyIfCached,
                false => LookupResult::PassThrough(Reason::Precondition, None),
            }
        }
        Admission::Open | Admission::Watched => LookupResult::Usable(usable),
        Admission::Probation if ctx.facts.cc.only_if_cached => LookupResult::OnlyIfCached,
        Admission::Probation if probation::is_personalised(shared, ctx) => {
            let stands_in = probation::may_stand_in(shared, ctx, &usable.entry);
            LookupResult::PassThrough(Reason::Personalised, stands_in.then_some(usable.entry))
        }
        Admission::Probation => LookupResult::OnProbation(usable.entry),
    }
}

/// Tells whether the origin has to evaluate the request's preconditions because the stored response
/// does not meet them.
fn is_for_origin(ctx: &RequestContext, entry: &StoredEntry) -> bool {
    ctx.facts.has_origins_condition
        && conditional::is_for_origin(&ctx.headers, entry.facts.status, Validators::of(&entry.head))
}

/// Decides about a request that nothing stored answers.
fn on_miss(shared: &Shared, ctx: &RequestContext, missing: CacheMiss) -> LookupResult {
    if probation::is_personalised(shared, ctx) {
        LookupResult::PassThrough(Reason::Personalised, missing.selected)
    } else {
        LookupResult::Missing(missing)
    }
}

/// How a missing response is asked for.
pub(crate) enum FetchPlan {
    /// Alone, with this decision.
    PassThrough(Decision),
    /// Together with other requests for the same, in the flight of this name.
    Join(Vec<u8>),
    /// In a flight of its own: what the origin confirms of the stored response holds for this
    /// request only.
    Unshared,
}

/// Decides how a missing response is asked for. `known` are the selecting fields of a flight's
/// response, in case the store does not know them yet.
pub(crate) fn plan_fetch(
    shared: &Shared,
    ctx: &RequestContext,
    missing: &CacheMiss,
    known: Option<Vec<HeaderName>>,
) -> FetchPlan {
    // A HEAD may update the stored response (RFC 9111 §4.3.5); if none is stored, the GET is
    // fetched.
    if ctx.facts.is_head && missing.selected.is_some() {
        return FetchPlan::PassThrough(ctx.decision(Outcome::Miss, missing.reason));
    }
    let name = flight_name(ctx, &known.unwrap_or_else(|| vary_of(missing.stored.as_deref())));
    match why_not_joined(shared, ctx, missing, &name) {
        Some(reason) => FetchPlan::PassThrough(ctx.decision(Outcome::Pass, reason)),
        None if missing.selected.as_ref().is_some_and(|entry| reuse::why_unshareable(&entry.facts).is_some()) => {
            FetchPlan::Unshared
        }
        None => FetchPlan::Join(name),
    }
}

/// Returns why a request does not join others in the flight called `name`.
fn why_not_joined(shared: &Shared, ctx: &RequestContext, missing: &CacheMiss, name: &[u8]) -> Option<Reason> {
    let attempt = shared.uncacheable.get(ctx.key.hash(), ctx.at);
    if matches!(attempt, Some(StoreAttempt::NotStored(_))) {
        return Some(Reason::HitForMiss);
    }
    let fits = matches!(attempt, Some(StoreAttempt::Size(bytes)) if bytes <= ctx.rule.object_bytes_max);
    if !ctx.facts.has_range || fits || missing.selected.is_some() {
        return None;
    }
    shared.flights.find(name).is_none().then_some(Reason::RangeMiss)
}

/// Returns the fields that select the newest stored response: a guess at the next one's.
pub(crate) fn vary_of(stored: Option<&Variants>) -> Vec<HeaderName> {
    let newest = stored.and_then(|stored| stored.entries.first());
    newest.map(|entry| entry.selecting.iter().map(|(name, _)| name.clone()).collect()).unwrap_or_default()
}

/// Names a flight: the whole key, and the request's values of `names`.
pub(crate) fn flight_name(ctx: &RequestContext, names: &[HeaderName]) -> Vec<u8> {
    let mut name = ctx.key.text().as_bytes().to_vec();
    for (field, value) in vary::selecting(names, &ctx.headers) {
        name.extend_from_slice(b"\n\n");
        name.extend_from_slice(field.as_str().as_bytes());
        match value {
            Some(value) => {
                name.push(b'=');
                name.extend_from_slice(&value);
            }
            None => name.push(b'-'),
        }
    }
    name
}

/// Returns the stored entries that the origin may validate: `selected`, and the other entries under
/// the key that this request could have selected (RFC 9111 §4.3.4).
///
/// If there are none, entries that Vary excludes are offered, as the RFC allows (§4.1), but no 304
/// that names one of them is accepted: in many apps the entity-tag names the record, not the page
/// made from it for one user or in one language.
pub(crate) fn candidates(
    shared: &Shared,
    ctx: &RequestContext,
    stored: Option<&Variants>,
    selected: Option<&Arc<StoredEntry>>,
) -> Candidates {
    if stored.is_none() && selected.is_none() {
        return Candidates::default();
    }
    let now = shared.clock.now();
    let usable = |entry: &&Arc<StoredEntry>| {
        // An entry that another user's request brought in is fetched again, not confirmed: an app
        // that does not say whose a page is may give all users' pages one validator.
        shared.store.purge_state(&ctx.key, entry, now) != PurgeState::Purged && probation::admits(shared, ctx, entry)
    };
    let others = stored.into_iter().flat_map(|stored| &stored.entries);
    let others = others.filter(|entry| selected.is_none_or(|selected| !Arc::ptr_eq(selected, entry)));
    let (others, excluded): (Vec<_>, Vec<_>) =
        others.filter(usable).partition(|entry| vary::matches(&entry.selecting, &ctx.headers));
    let candidates = Candidates::new(selected.filter(usable).cloned(), others.into_iter().cloned());
    match candidates.is_empty() && selected.is_none() {
        true => Candidates::offering(excluded.into_iter().cloned()),
        false => candidates,
    }
}

/// Returns `stand_in` if it may be used stale for this failure of the origin.
pub(crate) fn usable_stand_in<'a>(
    shared: &Shared,
    ctx: &RequestContext,
    stand_in: Option<&'a Arc<StoredEntry>>,
    failure: OriginFailure,
    now: Timestamp,
) -> Option<&'a Arc<StoredEntry>> {
    stand_in.filter(|entry| {
        let purge_state = shared.store.purge_state(&ctx.key, entry, now);
        reuse::stands_in(&entry.facts, purge_state, failure, now)
    })
}

/// Makes the decision about a stale response that is served because the origin failed.
pub(crate) fn stale_decision(shared: &Shared, ctx: &RequestContext, entry: &StoredEntry) -> Decision {
    Decision {
        ttl: Some(freshness::ttl(&entry.facts, shared.clock.now())),
        ..ctx.decision(Outcome::Stale, Reason::IfError)
    }
}

/// Returns what keeps a response out of the store although it says that it may be stored.
pub(crate) fn storage_refusal(
    shared: &Shared,
    ctx: &RequestContext,
    facts: &Facts,
    head: &ReceivedHead,
) -> Option<Reason> {
    if yields_to_stored(shared, ctx, head.status, facts.received_at) {
        return Some(Reason::StatusNotUnderstood);
    }
    // A cookie on a response that was found to differ by user belongs to one user, even if it is
    // the first cookie that a visitor gets.
    let is_personal = probation::distrusts_cookies(shared, ctx, facts) && head.headers.contains_key(header::SET_COOKIE);
    is_personal.then_some(Reason::Personalised)
}

/// Tells whether a response leaves a fresh stored one in place although it may be stored itself:
/// its status says nothing of the resource, may be due to the one request, and would be served to
/// everyone.
fn yields_to_stored(shared: &Shared, ctx: &RequestContext, status: StatusCode, now: Timestamp) -> bool {
    let store = &shared.store;
    !validate::supersedes(status)
        && store.get(&ctx.key).is_some_and(|stored| {
            vary::select(&stored.entries, &ctx.headers).is_some_and(|existing| {
                freshness::is_fresh(&existing.facts, now)
                    && store.purge_state(&ctx.key, existing, now) == PurgeState::Good
            })
        })
}

/// How a response is stored.
pub(crate) struct StoragePlan {
    /// The tags that the origin named.
    pub(crate) tags: Box<[Box<str>]>,
    /// The request fields that select the response.
    pub(crate) names: Vec<HeaderName>,
}

/// Decides whether a response that policy allows to be stored has room, going by its head.
///
/// # Errors
/// The reason why it has not.
pub(crate) fn plan_storage(shared: &Shared, rule: &Rule, head: &ReceivedHead) -> Result<StoragePlan, Reason> {
    if head.length.is_some_and(|length| length > rule.object_bytes_max) {
        return Err(Reason::TooLarge);
    }
    if head.length.is_some_and(|length| length > shared.store.budget().object_max()) {
        return Err(Reason::Budget);
    }
    let tags = tags::parse(&head.headers);
    if tags.len() > shared.store.config().tags_max {
        return Err(Reason::TooManyTags);
    }
    let names = selecting_fields(shared.config.ask_identity, &head.headers).ok_or(Reason::VaryStar)?;
    Ok(StoragePlan { tags, names })
}

/// Returns the request fields that select among stored responses; `None` if no request can select
/// one (`Vary: *`). Accept-Encoding selects nothing if the origin is always asked for identity.
pub(crate) fn selecting_fields(ask_identity: bool, headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    match Vary::parse(headers) {
        Vary::Star => None,
        Vary::Fields(names) => {
            Some(names.iter().filter(|name| !(ask_identity && **name == header::ACCEPT_ENCODING)).cloned().collect())
        }
    }
}

/// Makes the decision about a request on probation whose comparison had no result: it goes to the
/// origin alone.
pub(crate) fn pass_uncompared(shared: &Shared, ctx: &RequestContext, entry: &Arc<StoredEntry>) -> PassThrough {
    let stand_in = probation::may_stand_in(shared, ctx, entry).then(|| Arc::clone(entry));
    PassThrough { decision: ctx.decision(Outcome::Miss, Reason::Probation), stand_in }
}

/// Tells whether the store may hold a body in another coding than the origin sent.
pub(crate) fn is_compressible(config: &Config, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> bool {
    config.compress
        && status == StatusCode::OK
        && encoding::is_compressible(headers, length.unwrap_or(u64::MAX), config.compress_min_bytes)
}
