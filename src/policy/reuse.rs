//! The decision whether a stored response may answer a request now (RFC 9111 §4).

use std::time::Duration;

use crate::clock::Timestamp;
use crate::outcome::Reason;
use crate::policy::freshness;
use crate::policy::request::RequestFacts;
use crate::route::Rule;
use crate::stored::{Facts, StaleUse};

/// The purge ledger's verdict on a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PurgeState {
    /// No purge or invalidation covers the response.
    #[default]
    Good,
    /// The response must be validated before it is used (RFC 9111 §4.4).
    Invalid,
    /// The response is served stale while one request refreshes it.
    ///
    /// If it may not be served stale, this is the same as [`PurgeState::Invalid`].
    Soft,
    /// Neither the response nor its validator may ever be used.
    Purged,
}

/// The use of a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Serve it.
    Fresh,
    /// Serve it although it is stale.
    StaleNow {
        /// The reason why stale use is allowed.
        reason: Reason,
        /// Tells whether one request refreshes the response in the background.
        refresh: bool,
    },
    /// Ask the origin to validate it, for this reason.
    Revalidate(Reason),
    /// Fetch a new response from the origin, for this reason.
    Miss(Reason),
    /// Answer 504: the client accepts only a stored response, and this one cannot be used (RFC 9111
    /// §5.2.1.7).
    OnlyIfCached,
}

/// Decides about the selected response, in the order of RFC 9111 §4.
pub fn reuse(request: &RequestFacts, facts: &Facts, purge_state: PurgeState, now: Timestamp, rule: &Rule) -> Reuse {
    match usable(request, facts, purge_state, now, rule) {
        Ok(answer) => answer,
        Err(_) if request.cc.only_if_cached => Reuse::OnlyIfCached,
        Err(reason) if facts.has_validator && purge_state != PurgeState::Purged => Reuse::Revalidate(reason),
        Err(reason) => Reuse::Miss(reason),
    }
}

/// Returns how the response answers without contacting the origin, or why it does not.
fn usable(
    request: &RequestFacts,
    facts: &Facts,
    purge_state: PurgeState,
    now: Timestamp,
    rule: &Rule,
) -> Result<Reuse, Reason> {
    let while_revalidate = Ok(Reuse::StaleNow { reason: Reason::WhileRevalidate, refresh: true });
    let is_fresh = freshness::is_fresh(facts, now);
    match purge_state {
        PurgeState::Purged => return Err(Reason::Purged),
        // RFC 9111 §4.4: an invalidated response is validated before it is used.
        PurgeState::Invalid => return Err(Reason::Invalidated),
        PurgeState::Soft if facts.stale == StaleUse::Forbidden => return Err(Reason::Invalidated),
        PurgeState::Soft | PurgeState::Good => {}
    }
    // RFC 9111 §4: no-cache, unless the response is successfully validated (§5.2.2.4).
    if facts.no_cache {
        return Err(Reason::NoCache);
    }
    // The client's directives (§5.2.1). A reload of an immutable response is served from the store
    // while it is fresh (RFC 8246 §2).
    let is_settled = facts.immutable && is_fresh && purge_state == PurgeState::Good;
    if rule.obey_client_no_cache && !is_settled && wants_fresher(request, facts, now) {
        // RFC 9211 §2.2: the request is the reason only if the response would have been used
        // without it.
        return Err(if is_fresh { Reason::RequestNoCache } else { Reason::Expired });
    }
    // The response is fresh (§4.2), or may be served stale (§4.2.4).
    if is_fresh {
        return if purge_state == PurgeState::Soft { while_revalidate } else { Ok(Reuse::Fresh) };
    }
    let staleness = freshness::staleness(facts, now);
    match facts.stale {
        StaleUse::Within { while_revalidate: window, .. } if staleness < window => while_revalidate,
        StaleUse::Within { .. } if accepts_stale(request, facts, staleness) => {
            Ok(Reuse::StaleNow { reason: Reason::MaxStale, refresh: false })
        }
        _ => Err(Reason::Expired),
    }
}

/// Tells whether the client asks for a fresher response than the stored one.
///
/// A client that does so gets no stale response either, even if others may.
fn wants_fresher(request: &RequestFacts, facts: &Facts, now: Timestamp) -> bool {
    let age = freshness::current_age(facts, now);
    let is_fresh = freshness::is_fresh(facts, now);
    let is_too_stale = !is_fresh && !accepts_staleness(request, freshness::staleness(facts, now));
    request.cc.no_cache
        // RFC 9111 §5.2.1.1: without max-stale, the client does not wish to receive a stale
        // response.
        || request.cc.max_age.is_some_and(|max_age| age > max_age || is_too_stale)
        // RFC 9111 §5.2.1.3: the lifetime must be at least the age plus the seconds given.
        || request.cc.min_fresh.is_some_and(|min_fresh| facts.lifetime < age.saturating_add(min_fresh))
}

/// Tells whether the client accepts this staleness (RFC 9111 §5.2.1.2).
///
/// If the response has s-maxage, stale use ends with the windows that the response itself opened,
/// whatever the client accepts (§5.2.2.10) and whatever the source of its lifetime.
fn accepts_stale(request: &RequestFacts, facts: &Facts, staleness: Duration) -> bool {
    !facts.has_s_maxage && accepts_staleness(request, staleness)
}

fn accepts_staleness(request: &RequestFacts, staleness: Duration) -> bool {
    let is_within = |limit: Option<Duration>| limit.is_none_or(|limit| staleness <= limit);
    request.cc.max_stale.is_some_and(is_within)
}

/// The result for a request that waited for another request's response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Collapse {
    /// The response answers this request, too.
    Shared,
    /// The response could have been shared, but has expired meanwhile: one waiter fetches again for
    /// all.
    Outlived,
    /// The response answers only the request that it was fetched for, for this reason.
    Unshared(Reason),
}

/// Decides whether a request that waited may use a response that another request fetched or
/// validated.
///
/// The request may if a cache could reuse the response for it without contacting the origin (RFC
/// 9111 §4). A request that arrived before the response's head counts the response as new, however
/// fresh a stored one it asks for.
pub fn collapse(request: &RequestFacts, asked_at: Timestamp, facts: &Facts, now: Timestamp, rule: &Rule) -> Collapse {
    if let Some(reason) = why_unshareable(facts) {
        return Collapse::Unshared(reason);
    }
    let is_old = rule.obey_client_no_cache && asked_at > facts.received_at && wants_fresher(request, facts, now);
    if is_old || !is_usable_at(facts, now) { Collapse::Outlived } else { Collapse::Shared }
}

/// Returns why a response can only answer the request that it was fetched or validated for; `None`
/// if it can be shared.
///
/// Either every use has to be validated (RFC 9111 §5.2.2.4), or the response was stale on arrival
/// and may not be used stale (§4.2).
pub fn why_unshareable(facts: &Facts) -> Option<Reason> {
    if facts.no_cache {
        return Some(Reason::NoCache);
    }
    (!is_usable_at(facts, facts.received_at)).then_some(Reason::AlreadyStale)
}

/// Tells whether a response answers at `at` without contacting the origin: fresh, or while it is
/// revalidated.
fn is_usable_at(facts: &Facts, at: Timestamp) -> bool {
    let window = match facts.stale {
        StaleUse::Within { while_revalidate, .. } => while_revalidate,
        StaleUse::Forbidden => Duration::ZERO,
    };
    freshness::is_fresh(facts, at) || freshness::staleness(facts, at) < window
}

/// Decides for a request that selects no response: `reason` is [`Reason::UriMiss`] or
/// [`Reason::VaryMiss`].
pub fn nothing_stored(request: &RequestFacts, reason: Reason) -> Reuse {
    if request.cc.only_if_cached { Reuse::OnlyIfCached } else { Reuse::Miss(reason) }
}

/// The kinds of origin failure that the stale windows distinguish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginFailure {
    /// No head arrived: the origin could not be reached, timed out or closed the connection.
    Unreachable,
    /// The origin answered with a 5xx.
    ServerError,
}

/// Tells whether a purge or an invalidation forbids using a response without contacting the origin.
pub fn is_barred(facts: &Facts, purge_state: PurgeState) -> bool {
    match purge_state {
        PurgeState::Purged | PurgeState::Invalid => true,
        PurgeState::Soft => facts.stale == StaleUse::Forbidden,
        PurgeState::Good => false,
    }
}

/// Tells whether a stored response may be served instead of a failed origin's (RFC 9111 §4.2.4, RFC
/// 5861 §4).
///
/// A response that is still fresh (the client had asked for a fresher one) may be served if the
/// origin cannot be reached, even if stale use is forbidden; after a 5xx only if a window was
/// opened for that.
pub fn stands_in(facts: &Facts, purge_state: PurgeState, failure: OriginFailure, now: Timestamp) -> bool {
    if is_barred(facts, purge_state) || facts.no_cache {
        return false;
    }
    let window = match (facts.stale, failure) {
        (StaleUse::Forbidden, _) => Duration::ZERO,
        (StaleUse::Within { if_unreachable, .. }, OriginFailure::Unreachable) => if_unreachable,
        (StaleUse::Within { if_error_status, .. }, OriginFailure::ServerError) => if_error_status,
    };
    let is_fresh = failure == OriginFailure::Unreachable && freshness::is_fresh(facts, now);
    is_fresh || freshness::staleness(facts, now) < window
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::cache_control::RequestCacheControl;
    use crate::policy::testing::{RECEIVED, stored, within};

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn request(cc: RequestCacheControl) -> RequestFacts {
        RequestFacts { cc, ..RequestFacts::default() }
    }

    fn plain() -> RequestFacts {
        RequestFacts::default()
    }

    const WHILE_REVALIDATE: Reuse = Reuse::StaleNow { reason: Reason::WhileRevalidate, refresh: true };
    const MAX_STALE: Reuse = Reuse::StaleNow { reason: Reason::MaxStale, refresh: false };

    #[track_caller]
    fn check(request: &RequestFacts, facts: &Facts, purge_state: PurgeState, at_ms: u64, expected: Reuse) {
        let found = reuse(request, facts, purge_state, RECEIVED + Duration::from_millis(at_ms), &Rule::default());
        assert_eq!(found, expected, "at {at_ms} ms");
        // only-if-cached affects only the cases that contact the origin (RFC 9111 §5.2.1.7).
        let only = asked_only(request);
        let found = reuse(&only, facts, purge_state, RECEIVED + Duration::from_millis(at_ms), &Rule::default());
        let is_answer = matches!(expected, Reuse::Fresh | Reuse::StaleNow { .. });
        assert_eq!(found, if is_answer { expected } else { Reuse::OnlyIfCached }, "only-if-cached at {at_ms} ms");
    }

    fn asked_only(request: &RequestFacts) -> RequestFacts {
        let mut only = request.clone();
        only.cc.only_if_cached = true;
        only
    }

    #[test]
    fn s4_2_fresh_answers_expired_is_validated() {
        check(&plain(), &stored(), PurgeState::Good, 0, Reuse::Fresh);
        check(&plain(), &stored(), PurgeState::Good, 9_999, Reuse::Fresh);
        check(&plain(), &stored(), PurgeState::Good, 10_000, Reuse::Revalidate(Reason::Expired));
        let bare = Facts { has_validator: false, ..stored() };
        check(&plain(), &bare, PurgeState::Good, 10_000, Reuse::Miss(Reason::Expired));
        let aged = Facts { initial_age: secs(7), ..stored() };
        check(&plain(), &aged, PurgeState::Good, 2_999, Reuse::Fresh);
        check(&plain(), &aged, PurgeState::Good, 3_000, Reuse::Revalidate(Reason::Expired));
    }

    #[test]
    fn s5_2_2_4_no_cache_is_validated_even_when_fresh() {
        let facts = Facts { no_cache: true, stale: StaleUse::Forbidden, ..stored() };
        check(&plain(), &facts, PurgeState::Good, 0, Reuse::Revalidate(Reason::NoCache));
        let bare = Facts { has_validator: false, ..facts };
        check(&plain(), &bare, PurgeState::Good, 0, Reuse::Miss(Reason::NoCache));
    }

    #[test]
    fn s4_4_purged_and_invalidated() {
        check(&plain(), &stored(), PurgeState::Purged, 0, Reuse::Miss(Reason::Purged));
        check(&plain(), &stored(), PurgeState::Invalid, 0, Reuse::Revalidate(Reason::Invalidated));
        let bare = Facts { has_validator: false, ..stored() };
        check(&plain(), &bare, PurgeState::Invalid, 0, Reuse::Miss(Reason::Invalidated));
        check(&plain(), &stored(), PurgeState::Soft, 0, WHILE_REVALIDATE);
        // A soft purge does not allow stale use of a response that forbids it.
        check(&plain(), &stored(), PurgeState::Soft, 10_000, Reuse::Revalidate(Reason::Expired));
        let strict = Facts { stale: StaleUse::Forbidden, ..stored() };
        check(&plain(), &strict, PurgeState::Soft, 0, Reuse::Revalidate(Reason::Invalidated));
    }

    #[test]
    fn rfc5861_s3_within_the_window() {
        let facts = Facts { stale: within(4, 3600, 0), ..stored() };
        check(&plain(), &facts, PurgeState::Good, 9_999, Reuse::Fresh);
        check(&plain(), &facts, PurgeState::Good, 10_000, WHILE_REVALIDATE);
        check(&plain(), &facts, PurgeState::Good, 13_999, WHILE_REVALIDATE);
        check(&plain(), &facts, PurgeState::Good, 14_000, Reuse::Revalidate(Reason::Expired));
    }

    #[test]
    fn s5_2_1_what_the_client_asks_for() {
        let fresher = Reuse::Revalidate(Reason::RequestNoCache);
        let no_cache = request(RequestCacheControl { no_cache: true, ..Default::default() });
        check(&no_cache, &stored(), PurgeState::Good, 0, fresher);
        check(&no_cache, &stored(), PurgeState::Soft, 0, fresher);
        // A reload never gets a stale response.
        let lenient = Facts { stale: within(60, 0, 0), ..stored() };
        check(&no_cache, &lenient, PurgeState::Good, 10_000, Reuse::Revalidate(Reason::Expired));
        let max_age = request(RequestCacheControl { max_age: Some(secs(5)), ..Default::default() });
        check(&max_age, &stored(), PurgeState::Good, 5_000, Reuse::Fresh);
        check(&max_age, &stored(), PurgeState::Good, 5_001, fresher);
        let min_fresh = request(RequestCacheControl { min_fresh: Some(secs(4)), ..Default::default() });
        check(&min_fresh, &stored(), PurgeState::Good, 6_000, Reuse::Fresh);
        check(&min_fresh, &stored(), PurgeState::Good, 6_001, fresher);
        check(&min_fresh, &stored(), PurgeState::Good, 10_000, Reuse::Revalidate(Reason::Expired));
        // A client that names a limit gets nothing stale, whatever windows the response opens; with
        // max-stale it gets what it accepts.
        let lenient = Facts { stale: within(60, 0, 0), ..stored() };
        let expired = Reuse::Revalidate(Reason::Expired);
        check(&plain(), &lenient, PurgeState::Good, 10_000, WHILE_REVALIDATE);
        check(&min_fresh, &lenient, PurgeState::Good, 9_999, fresher);
        check(&min_fresh, &lenient, PurgeState::Good, 10_000, expired);
        let roomy = request(RequestCacheControl { max_age: Some(secs(1000)), ..Default::default() });
        check(&roomy, &lenient, PurgeState::Good, 9_999, Reuse::Fresh);
        check(&roomy, &lenient, PurgeState::Good, 10_000, expired);
        let both = |max_stale| {
            request(RequestCacheControl { max_age: Some(secs(1000)), max_stale: Some(max_stale), ..Default::default() })
        };
        check(&both(None), &lenient, PurgeState::Good, 10_000, WHILE_REVALIDATE);
        check(&both(None), &stored(), PurgeState::Good, 10_000, MAX_STALE);
        check(&both(Some(secs(5))), &lenient, PurgeState::Good, 15_000, WHILE_REVALIDATE);
        check(&both(Some(secs(5))), &lenient, PurgeState::Good, 15_001, expired);
        // Neither is obeyed if the configuration says so.
        let rule = Rule { obey_client_no_cache: false, ..Rule::default() };
        for request in [no_cache, max_age, min_fresh] {
            let now = RECEIVED + secs(9);
            assert_eq!(reuse(&request, &stored(), PurgeState::Good, now, &rule), Reuse::Fresh);
        }
    }

    #[test]
    fn s4_requests_are_collapsed_onto_what_may_be_reused_for_them() {
        let check = |request: &RequestFacts, asked_ms: u64, facts: &Facts, at_ms: u64, expected: Collapse| {
            let (asked_at, now) = (RECEIVED + Duration::from_millis(asked_ms), RECEIVED + Duration::from_millis(at_ms));
            assert_eq!(
                collapse(request, asked_at, facts, now, &Rule::default()),
                expected,
                "{asked_ms} ms, {at_ms} ms"
            );
        };
        check(&plain(), 0, &stored(), 0, Collapse::Shared);
        check(&plain(), 9_999, &stored(), 9_999, Collapse::Shared);
        check(&plain(), 10_000, &stored(), 10_000, Collapse::Outlived);
        let lenient = Facts { stale: within(4, 3600, 3600), ..stored() };
        check(&plain(), 13_999, &lenient, 13_999, Collapse::Shared);
        check(&plain(), 14_000, &lenient, 14_000, Collapse::Outlived);
        // A reload gets a response that arrived after it, never one that arrived before.
        let reload = request(RequestCacheControl { no_cache: true, ..Default::default() });
        check(&reload, 0, &stored(), 0, Collapse::Shared);
        check(&reload, 1, &stored(), 1, Collapse::Outlived);
        let none = |facts: Facts, reason| check(&plain(), 0, &facts, 0, Collapse::Unshared(reason));
        none(Facts { no_cache: true, ..stored() }, Reason::NoCache);
        none(Facts { lifetime: Duration::ZERO, ..stored() }, Reason::AlreadyStale);
        none(Facts { initial_age: secs(10), ..stored() }, Reason::AlreadyStale);
        let at_once = Facts { lifetime: Duration::ZERO, stale: within(1, 0, 0), ..stored() };
        check(&plain(), 0, &at_once, 999, Collapse::Shared);
    }

    #[test]
    fn s5_2_1_2_max_stale_within_its_limit_and_never_where_stale_is_forbidden() {
        let any = request(RequestCacheControl { max_stale: Some(None), ..Default::default() });
        let some = request(RequestCacheControl { max_stale: Some(Some(secs(5))), ..Default::default() });
        check(&any, &stored(), PurgeState::Good, 100_000_000, MAX_STALE);
        check(&some, &stored(), PurgeState::Good, 15_000, MAX_STALE);
        check(&some, &stored(), PurgeState::Good, 15_001, Reuse::Revalidate(Reason::Expired));
        let strict = Facts { stale: StaleUse::Forbidden, ..stored() };
        check(&any, &strict, PurgeState::Good, 10_000, Reuse::Revalidate(Reason::Expired));
        let shared = Facts { stale: within(2, 0, 0), has_s_maxage: true, ..stored() };
        check(&any, &shared, PurgeState::Good, 11_000, WHILE_REVALIDATE);
        check(&any, &shared, PurgeState::Good, 12_000, Reuse::Revalidate(Reason::Expired));
    }

    #[test]
    fn rfc8246_s2_a_reload_of_what_is_immutable_is_answered_while_it_is_fresh() {
        let facts = Facts { immutable: true, ..stored() };
        let reload = request(RequestCacheControl { max_age: Some(Duration::ZERO), ..Default::default() });
        check(&reload, &facts, PurgeState::Good, 9_999, Reuse::Fresh);
        check(&reload, &facts, PurgeState::Good, 10_000, Reuse::Revalidate(Reason::Expired));
        check(&reload, &facts, PurgeState::Soft, 1, Reuse::Revalidate(Reason::RequestNoCache));
        check(&reload, &facts, PurgeState::Invalid, 1, Reuse::Revalidate(Reason::Invalidated));
    }

    #[test]
    fn s5_2_1_7_nothing_stored() {
        assert_eq!(nothing_stored(&plain(), Reason::UriMiss), Reuse::Miss(Reason::UriMiss));
        assert_eq!(nothing_stored(&asked_only(&plain()), Reason::UriMiss), Reuse::OnlyIfCached);
    }

    #[track_caller]
    fn check_stand_in(facts: &Facts, purge_state: PurgeState, failure: OriginFailure, at_ms: u64, expected: bool) {
        let found = stands_in(facts, purge_state, failure, RECEIVED + Duration::from_millis(at_ms));
        assert_eq!(found, expected, "{purge_state:?} {failure:?} at {at_ms} ms");
    }

    #[test]
    fn s4_2_4_a_stale_response_replaces_a_failure_within_its_window() {
        use OriginFailure::{ServerError, Unreachable};
        let facts = Facts { stale: within(0, 5, 3), ..stored() };
        check_stand_in(&facts, PurgeState::Good, Unreachable, 14_999, true);
        check_stand_in(&facts, PurgeState::Good, Unreachable, 15_000, false);
        check_stand_in(&facts, PurgeState::Good, ServerError, 12_999, true);
        check_stand_in(&facts, PurgeState::Good, ServerError, 13_000, false);
        check_stand_in(&facts, PurgeState::Soft, Unreachable, 12_000, true);
        check_stand_in(&facts, PurgeState::Invalid, Unreachable, 0, false);
        check_stand_in(&facts, PurgeState::Purged, Unreachable, 0, false);
        check_stand_in(&stored(), PurgeState::Good, ServerError, 10_000, false);
        check_stand_in(&stored(), PurgeState::Good, ServerError, 0, false);
        let strict = Facts { stale: StaleUse::Forbidden, ..stored() };
        check_stand_in(&strict, PurgeState::Good, Unreachable, 9_999, true);
        check_stand_in(&strict, PurgeState::Good, Unreachable, 10_000, false);
        check_stand_in(&strict, PurgeState::Soft, Unreachable, 0, false);
        let no_cache = Facts { no_cache: true, ..strict };
        check_stand_in(&no_cache, PurgeState::Good, Unreachable, 0, false);
    }
}
