//! The decision whether a response may be stored (RFC 9111 §3), with its facts or the reason why
//! not.

use std::time::Duration;

use http::header::{self, HeaderMap};
use http::{Method, StatusCode};

use crate::clock::Timestamp;
use crate::key::{CanonicalUrl, Scheme};
use crate::outcome::Reason;
use crate::policy::cache_control::ResponseCacheControl;
use crate::policy::fields;
use crate::policy::freshness;
use crate::policy::request::RequestFacts;
use crate::policy::vary::Vary;
use crate::route::{CacheMode, Rule, SetCookie};
use crate::stored::{Facts, LifetimeSource, StaleUse};
use crate::syntax::entity_tag::EntityTag;
use crate::syntax::{date, list};

/// The answer of [`storable`].
#[derive(Clone, Debug, PartialEq)]
pub enum Storable {
    /// The response may be stored, with these facts.
    Yes(Facts),
    /// The response may not be stored, for this reason.
    No(Reason),
}

/// The exchange in which a response was received.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The client's method; GET for a HEAD that was sent to the origin as a GET.
    pub method: &'a Method,
    /// The facts about the client's request.
    pub request: &'a RequestFacts,
    /// The time at which the request was sent to the origin.
    pub requested_at: Timestamp,
    /// The time at which the response's head had arrived.
    pub received_at: Timestamp,
    /// The route's rule.
    pub rule: &'a Rule,
}

/// Judges a GET's response by its status and fields, as the origin sent them.
///
/// The end of the body and the memory budget are judged later, elsewhere. `is_unsized` is judged
/// here: only the closing connection ends the body. For a 206 that carries the whole representation
/// the caller passes 200.
pub fn storable(exchange: &Exchange<'_>, status: StatusCode, headers: &HeaderMap, is_unsized: bool) -> Storable {
    // RFC 9111 §3: the request method must be understood. A HEAD's response has no content to
    // store.
    if *exchange.method != Method::GET {
        return Storable::No(Reason::Method);
    }
    answer(exchange, status, headers, is_unsized)
}

/// Judges a POST's response, which may be stored as a GET's (RFC 9110 §9.3.3).
///
/// The response must name its lifetime, and its Content-Location must be the request's URL.
pub fn storable_post(
    exchange: &Exchange<'_>,
    url: &CanonicalUrl,
    status: StatusCode,
    headers: &HeaderMap,
    is_unsized: bool,
) -> Storable {
    let is_retrievable = *exchange.method == Method::POST && status == StatusCode::OK && is_located_at(headers, url);
    if !is_retrievable {
        return Storable::No(Reason::Method);
    }
    match answer(exchange, status, headers, is_unsized) {
        Storable::Yes(facts) if !facts.lifetime_source.is_explicit() => Storable::No(Reason::NoLifetime),
        answer => answer,
    }
}

fn answer(exchange: &Exchange<'_>, status: StatusCode, headers: &HeaderMap, is_unsized: bool) -> Storable {
    let (facts, refusal) = judge(exchange, status, headers);
    match refusal {
        None if is_unsized && !exchange.rule.store_unsized => Storable::No(Reason::Unsized),
        None => Storable::Yes(facts),
        Some(reason) => Storable::No(reason),
    }
}

/// Reads the facts of a response, and the reason why it may not be stored, if there is one.
pub fn judge(exchange: &Exchange<'_>, status: StatusCode, headers: &HeaderMap) -> (Facts, Option<Reason>) {
    let received = ReceivedResponse::new(exchange, status, headers);
    let facts = received.facts();
    let refusal = received.refusal(&facts);
    (facts, refusal)
}

/// A response with the values that it is judged by.
struct ReceivedResponse<'a> {
    exchange: &'a Exchange<'a>,
    status: StatusCode,
    headers: &'a HeaderMap,
    cc: ResponseCacheControl,
    /// The stored response would set a cookie.
    sets_cookie: bool,
    /// The route's `cache = "force"` applies to the response.
    is_forced: bool,
}

impl<'a> ReceivedResponse<'a> {
    fn new(exchange: &'a Exchange<'a>, status: StatusCode, headers: &'a HeaderMap) -> Self {
        let cc = ResponseCacheControl::parse(headers);
        let Exchange { request, rule, .. } = exchange;
        // One look at each name costs less than a search for two.
        let has_cookie = headers.keys().any(|name| name == header::SET_COOKIE || name == fields::SET_COOKIE2);
        let sets_cookie = match rule.set_cookie {
            // A field that no-cache="…" or private="…" names is not stored, so it is not judged
            // either.
            SetCookie::Obey => {
                has_cookie && !cc.no_cache.names(&header::SET_COOKIE) && !cc.private.names(&header::SET_COOKIE)
            }
            SetCookie::NeverStore => has_cookie,
            SetCookie::Strip => false,
        };
        // Cases that force must not override follow the response. `private` and Vary: * are refused
        // below.
        let is_forced = rule.cache == CacheMode::Force
            && *exchange.method == Method::GET
            && !request.has_authorization
            && !request.has_cookie
            && !sets_cookie
            && status.as_u16() < 400;
        Self { exchange, status, headers, cc, sets_cookie, is_forced }
    }

    fn facts(&self) -> Facts {
        let &Exchange { rule, requested_at, received_at, .. } = self.exchange;
        let (cc, headers) = (&self.cc, self.headers);
        let forced = rule.ttl.filter(|_| self.is_forced).map(|ttl| (ttl, LifetimeSource::RouteForce));
        let (lifetime, lifetime_source) = forced
            .or_else(|| freshness::lifetime(cc, self.status, headers, received_at, rule))
            .unwrap_or((Duration::ZERO, LifetimeSource::None));
        let last_modified = headers.get(header::LAST_MODIFIED).and_then(|line| date::parse(line.as_bytes()));
        let is_encoded = |line: &http::HeaderValue| !line.as_bytes().eq_ignore_ascii_case(b"identity");
        Facts {
            status: self.status,
            received_at,
            initial_age: freshness::initial_age(headers, requested_at, received_at),
            lifetime,
            lifetime_source,
            no_cache: self.no_cache(),
            stale: self.stale_use(),
            has_validator: EntityTag::of(headers).is_some() || last_modified.is_some(),
            no_transform: cc.no_transform || headers.get_all(header::CONTENT_ENCODING).iter().any(is_encoded),
            immutable: cc.immutable,
            permits_sharing: cc.must_revalidate || cc.public || cc.s_maxage.is_some(),
            has_s_maxage: cc.s_maxage.is_some(),
        }
    }

    fn no_cache(&self) -> bool {
        self.cc.no_cache.is_whole() && !self.is_forced
    }

    /// Returns when the response may be used stale (RFC 9111 §4.2.4, RFC 5861).
    ///
    /// The response's directives replace the rule's: `stale-if-error=0` closes the window.
    fn stale_use(&self) -> StaleUse {
        let (cc, rule) = (&self.cc, self.exchange.rule);
        if cc.must_revalidate || cc.proxy_revalidate || self.no_cache() {
            return StaleUse::Forbidden;
        }
        // RFC 9111 §5.2.2.10: s-maxage forbids stale use as proxy-revalidate does. Frameworks that
        // send stale-while-revalidate with it mean the latter, so the windows that the response
        // names are allowed, and no more.
        if cc.s_maxage.is_some() {
            let opens_none = cc.stale_while_revalidate.is_none() && cc.stale_if_error.is_none();
            if rule.strict_s_maxage || opens_none {
                return StaleUse::Forbidden;
            }
            let on_error = cc.stale_if_error.unwrap_or_default();
            return StaleUse::Within {
                while_revalidate: cc.stale_while_revalidate.unwrap_or_default(),
                if_unreachable: on_error,
                if_error_status: on_error,
            };
        }
        let on_status = if rule.stale_if_error_covers_status { rule.stale_if_error } else { Duration::ZERO };
        StaleUse::Within {
            while_revalidate: cc.stale_while_revalidate.unwrap_or(rule.stale_while_revalidate),
            if_unreachable: cc.stale_if_error.unwrap_or(rule.stale_if_error),
            if_error_status: cc.stale_if_error.unwrap_or(on_status),
        }
    }

    /// Returns why the response may not be stored: first by RFC 9111 §3, in its order, then by
    /// Larder's own rules.
    fn refusal(&self, facts: &Facts) -> Option<Reason> {
        let (cc, exchange) = (&self.cc, self.exchange);
        if exchange.rule.cache == CacheMode::Bypass {
            return Some(Reason::Bypass);
        }
        // The status is final, and understood if the response says must-understand (§5.2.2.3). A
        // 206 is not stored as such (§3.3): Larder requests the whole representation whenever it
        // fetches for the store.
        if self.status == StatusCode::UNAUTHORIZED && exchange.request.has_authorization {
            // A 401 is about the credentials that were sent (RFC 9110 §15.5.2), not about the
            // resource.
            return Some(Reason::Authorization);
        }
        if self.status == StatusCode::PARTIAL_CONTENT
            || !is_storable_status(self.status)
            || (cc.must_understand && !is_understood(self.status))
        {
            return Some(Reason::StatusNotUnderstood);
        }
        // No no-store (§5.2.2.5), unless must-understand lifts it for an understood status; nor in
        // the request.
        if cc.no_store && !cc.must_understand && !self.is_forced {
            return Some(Reason::NoStore);
        }
        if exchange.request.cc.no_store {
            return Some(Reason::RequestNoStore);
        }
        // A shared cache stores nothing private (§5.2.2.7).
        if cc.private.is_whole() {
            return Some(Reason::Private);
        }
        // Authorization is stored only if the response permits sharing (§3.5).
        if exchange.request.has_authorization && !facts.permits_sharing {
            return Some(Reason::Authorization);
        }
        // A cookie needs an explicit lifetime (§7.3) above zero: a response without one could only
        // be somebody's session, served to others while the origin is down.
        let is_explicit = facts.lifetime_source.is_explicit() && !facts.lifetime.is_zero();
        if self.sets_cookie && (exchange.rule.set_cookie == SetCookie::NeverStore || !is_explicit) {
            return Some(Reason::SetCookie);
        }
        // The response names its lifetime, or a heuristic one is allowed. Without a lifetime,
        // storing is only worthwhile with a validator.
        let is_worth_validating = facts.has_validator && freshness::may_be_guessed(cc, self.status);
        if facts.lifetime_source == LifetimeSource::None && !is_worth_validating {
            return Some(Reason::NoLifetime);
        }
        // A response that can never be selected (§4.1) or used is not stored.
        if Vary::parse(self.headers) == Vary::Star {
            return Some(Reason::VaryStar);
        }
        let is_useful = facts.has_validator || facts.stale != StaleUse::Forbidden;
        match (is_useful, facts.no_cache, facts.lifetime <= facts.initial_age) {
            (false, true, _) => Some(Reason::NoCache),
            (false, false, true) => Some(Reason::AlreadyStale),
            _ => None,
        }
    }
}

/// Tells whether responses with this status may be stored at all.
fn is_storable_status(status: StatusCode) -> bool {
    match status.as_u16() {
        // Not final (RFC 9110 §15.2), or no status of HTTP (RFC 9110 §15).
        ..200 | 600.. => false,
        // A 304 has no content of its own; it updates a stored response (RFC 9111 §4.3.3).
        304 => false,
        // MUST NOT be stored (RFC 6585).
        511 => false,
        _ => !answers_the_request(status),
    }
}

/// Tells whether a status is about the individual request: its fields, its content, or its
/// connection.
///
/// No key holds these, so a cache that stored such a response would hand one client's mistake to
/// all others; RFC 6585 forbids it for the statuses that it defines.
///
/// 405, 414 and 501 are about the method and the URL, and cacheable by default (RFC 9110 §15.1);
/// apps send 400 for a URL that they do not have.
pub fn answers_the_request(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        401 | 406..=408 | 411..=413 | 415..=417 | 421 | 422 | 424..=426 | 428 | 429 | 431
    )
}

/// Tells whether Larder knows the caching requirements of a status, for must-understand (RFC 9111
/// §5.2.2.3).
///
/// Known are the statuses of RFC 9110 §15 that require nothing beyond what is done for every
/// response.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200..=205 | 300..=303 | 307 | 308 | 400..=406 | 408..=411 | 413..=415 | 422 | 426 | 500..=505
    )
}

/// Tells whether a response's Content-Location is `url` (RFC 9110 §8.7).
fn is_located_at(headers: &HeaderMap, url: &CanonicalUrl) -> bool {
    let line = list::only_line(headers, header::CONTENT_LOCATION).filter(|line| line.is_ascii());
    let reference = line.and_then(|line| std::str::from_utf8(line).ok());
    reference.and_then(|reference| absolute(reference, url)).is_some_and(|located| located == *url)
}

/// Makes the canonical form of a reference that starts with a scheme, `//` or `/`.
///
/// References relative to a path are not resolved: a response that names its own URL does not need
/// them.
fn absolute(reference: &str, base: &CanonicalUrl) -> Option<CanonicalUrl> {
    let without_scheme = |scheme: Scheme| {
        let (name, rest) = reference.split_once(':')?;
        name.eq_ignore_ascii_case(scheme.as_str()).then_some((scheme, rest))
    };
    let (scheme, rest) =
        [Scheme::Http, Scheme::Https].into_iter().find_map(without_scheme).unwrap_or((base.scheme(), reference));
    let (authority, target) = match rest.strip_prefix("//") {
        Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None if reference.starts_with('/') => (base.authority(), reference),
        None => return None,
    };
    CanonicalUrl::new(scheme, authority, target).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::cache_control::RequestCacheControl;
    use crate::policy::testing::{RECEIVED, exchange, fields, within};

    /// A request, a rule and a status that a table varies.
    #[derive(Clone)]
    struct StorableCase {
        rule: Rule,
        request: RequestFacts,
        status: u16,
    }

    fn plain() -> StorableCase {
        StorableCase { rule: Rule::default(), request: RequestFacts::default(), status: 200 }
    }

    fn status(status: u16) -> StorableCase {
        StorableCase { status, ..plain() }
    }

    fn rule(rule: Rule) -> StorableCase {
        StorableCase { rule, ..plain() }
    }

    impl StorableCase {
        #[track_caller]
        fn facts(&self, given: &[(&str, &str)]) -> Facts {
            match self.judge(given) {
                Storable::Yes(facts) => facts,
                Storable::No(reason) => panic!("{reason}: {given:?}"),
            }
        }

        fn judge(&self, given: &[(&str, &str)]) -> Storable {
            let status = StatusCode::from_u16(self.status).unwrap();
            storable(&exchange(&self.request, &self.rule), status, &fields(given), false)
        }

        /// Checks whether a response is stored: `Ok` with the source of its lifetime, or the reason
        /// why not.
        #[track_caller]
        fn check(&self, given: &[(&str, &str)], expected: Result<LifetimeSource, Reason>) {
            let found = match self.judge(given) {
                Storable::Yes(facts) => Ok(facts.lifetime_source),
                Storable::No(reason) => Err(reason),
            };
            assert_eq!(found, expected, "{} {given:?}", self.status);
        }

        #[track_caller]
        fn check_cc(&self, cc: &str, expected: Result<LifetimeSource, Reason>) {
            self.check(&[("cache-control", cc)], expected);
        }
    }

    #[test]
    fn s3_only_get_is_stored_as_it_is() {
        let (request, rule) = (RequestFacts::default(), Rule::default());
        for method in [Method::HEAD, Method::POST, Method::PUT, Method::OPTIONS] {
            let exchange = Exchange { method: &method, ..exchange(&request, &rule) };
            let headers = fields(&[("cache-control", "max-age=60")]);
            assert_eq!(storable(&exchange, StatusCode::OK, &headers, false), Storable::No(Reason::Method));
        }
    }

    #[test]
    fn s3_status_is_final_and_understood() {
        for code in [
            200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 423, 451, 499, 500, 501, 502,
            503, 504, 599,
        ] {
            status(code).check_cc("max-age=60", Ok(LifetimeSource::MaxAge));
        }
        for code in [
            101, 103, 206, 304, 401, 406, 407, 408, 411, 412, 413, 415, 416, 417, 421, 422, 424, 425, 426, 428, 429,
            431, 511, 600, 999,
        ] {
            status(code).check_cc("max-age=60", Err(Reason::StatusNotUnderstood));
        }
    }

    #[test]
    fn s5_2_2_3_must_understand_lifts_no_store_where_the_status_is_understood() {
        plain().check_cc("max-age=60, no-store, must-understand", Ok(LifetimeSource::MaxAge));
        status(599).check_cc("max-age=60, no-store, must-understand", Err(Reason::StatusNotUnderstood));
        status(599).check_cc("max-age=60, must-understand", Err(Reason::StatusNotUnderstood));
        status(299).check_cc("max-age=60, must-understand", Err(Reason::StatusNotUnderstood));
        plain().check_cc("max-age=60, no-store; must-understand", Err(Reason::NoStore));
    }

    #[test]
    fn s3_no_store_and_private() {
        plain().check_cc("No-Store", Err(Reason::NoStore));
        plain().check_cc("max-age=60, no-store", Err(Reason::NoStore));
        plain().check_cc("private, max-age=60", Err(Reason::Private));
        plain().check_cc("private=\"x-user\", max-age=60", Ok(LifetimeSource::MaxAge));
        for unquoted in ["private=true, max-age=60", "private=1, max-age=60", "max-age=60, private='x-user'"] {
            plain().check_cc(unquoted, Err(Reason::Private));
        }
        let request = RequestFacts {
            cc: RequestCacheControl { no_store: true, ..Default::default() },
            ..RequestFacts::default()
        };
        StorableCase { request, ..plain() }.check_cc("max-age=60", Err(Reason::RequestNoStore));
    }

    #[test]
    fn s3_5_authorization_needs_a_response_that_permits_sharing() {
        let case = StorableCase { request: RequestFacts { has_authorization: true, ..Default::default() }, ..plain() };
        case.check_cc("max-age=60", Err(Reason::Authorization));
        case.check_cc("max-age=60, proxy-revalidate", Err(Reason::Authorization));
        case.check_cc("max-age=60, public", Ok(LifetimeSource::MaxAge));
        case.check_cc("max-age=60, must-revalidate", Ok(LifetimeSource::MaxAge));
        case.check_cc("s-maxage=60", Ok(LifetimeSource::SMaxage));
        // Cache-Control permits nothing if a targeted field replaces it.
        let replaced = [("cache-control", "public"), ("cdn-cache-control", "max-age=60")];
        case.check(&replaced, Err(Reason::Authorization));
    }

    #[test]
    fn s3_a_lifetime_or_a_validator_for_a_status_that_is_cacheable_by_default() {
        plain().check(&[], Err(Reason::NoLifetime));
        plain().check_cc("public", Err(Reason::NoLifetime));
        plain().check(&[("etag", "\"1\"")], Ok(LifetimeSource::None));
        plain().check(&[("etag", "1")], Err(Reason::NoLifetime));
        plain().check(&[("last-modified", "@0"), ("date", "@0")], Ok(LifetimeSource::None));
        status(302).check(&[("etag", "\"1\"")], Err(Reason::NoLifetime));
        status(302).check(&[("etag", "\"1\""), ("cache-control", "public")], Ok(LifetimeSource::None));
        let modified = [("last-modified", "@-100"), ("date", "@0")];
        plain().check(&modified, Ok(LifetimeSource::Heuristic));
        status(502).check(&modified, Err(Reason::NoLifetime));
        // A response that is stale on arrival is stored: it can be validated, or be served instead
        // of a dead origin's.
        plain()
            .check(&[("expires", "@-5000"), ("last-modified", "@-100"), ("date", "@0")], Ok(LifetimeSource::Expires));
        plain().check_cc("max-age=0", Ok(LifetimeSource::MaxAge));
        plain().check_cc("max-age=0, must-revalidate", Err(Reason::AlreadyStale));
        plain().check(&[("cache-control", "max-age=5, must-revalidate"), ("age", "5")], Err(Reason::AlreadyStale));
        plain().check(&[("cache-control", "max-age=5, must-revalidate"), ("age", "4")], Ok(LifetimeSource::MaxAge));
        plain().check_cc("max-age=60, no-cache", Err(Reason::NoCache));
        plain().check(&[("cache-control", "no-cache"), ("etag", "\"1\"")], Ok(LifetimeSource::None));
    }

    #[test]
    fn s4_1_vary_star_is_not_stored() {
        for vary in ["*", "foo, *", ", *"] {
            plain().check(&[("cache-control", "max-age=60"), ("vary", vary)], Err(Reason::VaryStar));
        }
        plain().check(&[("cache-control", "max-age=60"), ("vary", "foo")], Ok(LifetimeSource::MaxAge));
    }

    #[test]
    fn s7_3_a_cookie_needs_a_lifetime_that_the_response_names() {
        let cookie = ("set-cookie", "a=b");
        let silent = [cookie, ("last-modified", "@-100"), ("etag", "\"1\"")];
        let plain = || rule(Rule { set_cookie: SetCookie::Obey, ..Rule::default() });
        plain().check(&[cookie, ("cache-control", "max-age=60")], Ok(LifetimeSource::MaxAge));
        plain().check(&[cookie, ("expires", "@60")], Ok(LifetimeSource::Expires));
        plain().check(&[cookie, ("cdn-cache-control", "max-age=60")], Ok(LifetimeSource::CdnCacheControl));
        plain().check(&[cookie, ("cache-control", "max-age=0")], Err(Reason::SetCookie));
        plain().check(&silent, Err(Reason::SetCookie));
        let ttl = Some(Duration::from_secs(9));
        rule(Rule { ttl, set_cookie: SetCookie::Obey, ..Rule::default() }).check(&silent, Err(Reason::SetCookie));
        // A qualified directive keeps the cookie from storage, so the rest is judged without it.
        let named = [silent[0], silent[1], ("cache-control", "no-cache=\"set-cookie\"")];
        plain().check(&named, Ok(LifetimeSource::Heuristic));
        let strip = rule(Rule { set_cookie: SetCookie::Strip, ..Rule::default() });
        strip.check(&silent, Ok(LifetimeSource::Heuristic));
        // The default.
        let never = self::plain();
        for lifetime in ["public, max-age=60", "s-maxage=60", "max-age=60, no-cache=\"set-cookie\""] {
            never.check(&[cookie, ("cache-control", lifetime)], Err(Reason::SetCookie));
            never.check(&[("set-cookie2", "a=b"), ("cache-control", lifetime)], Err(Reason::SetCookie));
        }
        never.check(&[cookie, ("cache-control", "max-age=60")], Err(Reason::SetCookie));
        never.check_cc("max-age=60", Ok(LifetimeSource::MaxAge));
    }

    #[test]
    fn a_route_may_bypass_and_refuse_what_is_unsized() {
        let bypass = rule(Rule { cache: CacheMode::Bypass, ..Rule::default() });
        bypass.check_cc("max-age=60", Err(Reason::Bypass));
        let headers = fields(&[("cache-control", "max-age=60")]);
        for (store_unsized, is_stored) in [(false, false), (true, true)] {
            let case = rule(Rule { store_unsized, ..Rule::default() });
            let found = storable(&exchange(&case.request, &case.rule), StatusCode::OK, &headers, true);
            assert_eq!(matches!(found, Storable::Yes(_)), is_stored);
            assert!(is_stored || found == Storable::No(Reason::Unsized));
        }
    }

    #[test]
    fn force_overrides_lifetime_no_cache_and_no_store_and_nothing_else() {
        let force = Rule { cache: CacheMode::Force, ttl: Some(Duration::from_secs(9)), ..Rule::default() };
        let case = rule(force);
        for cc in ["", "max-age=60", "no-store", "no-cache", "max-age=0, no-store, no-cache", "foo"] {
            case.check_cc(cc, Ok(LifetimeSource::RouteForce));
        }
        let facts = case.facts(&[("cache-control", "no-cache")]);
        assert!(!facts.no_cache && facts.lifetime == Duration::from_secs(9) && facts.stale == within(0, 3600, 0));
        case.check_cc("private", Err(Reason::Private));
        case.check(&[("vary", "*")], Err(Reason::VaryStar));
        case.check(&[("set-cookie", "a=b")], Err(Reason::SetCookie));
        case.check(&[("set-cookie", "a=b"), ("cache-control", "no-store")], Err(Reason::NoStore));
        StorableCase { status: 302, ..case.clone() }.check(&[], Ok(LifetimeSource::RouteForce));
        StorableCase { status: 404, ..case.clone() }.check(&[], Err(Reason::NoLifetime));
        StorableCase { status: 500, ..case.clone() }.check_cc("no-store", Err(Reason::NoStore));
        let signed_in = RequestFacts { has_cookie: true, ..RequestFacts::default() };
        StorableCase { request: signed_in, ..case.clone() }.check_cc("no-store", Err(Reason::NoStore));
        let authorized = RequestFacts { has_authorization: true, ..RequestFacts::default() };
        StorableCase { request: authorized, ..case }.check_cc("max-age=60", Err(Reason::Authorization));
    }

    #[test]
    fn s4_2_4_when_a_response_may_be_used_stale() {
        let configured = Rule {
            stale_while_revalidate: Duration::from_secs(7),
            stale_if_error: Duration::from_secs(8),
            stale_if_error_covers_status: true,
            ..Rule::default()
        };
        let strict = Rule { strict_s_maxage: true, ..Rule::default() };
        for (rule, cc, expected) in [
            (&Rule::default(), "max-age=60", within(0, 3600, 0)),
            (&Rule::default(), "max-age=60, stale-while-revalidate=5", within(5, 3600, 0)),
            (&Rule::default(), "max-age=60, stale-if-error=5", within(0, 5, 5)),
            (&Rule::default(), "max-age=60, stale-if-error=0", within(0, 0, 0)),
            (&Rule::default(), "max-age=60, must-revalidate, stale-if-error=5", StaleUse::Forbidden),
            (&Rule::default(), "max-age=60, proxy-revalidate", StaleUse::Forbidden),
            (&Rule::default(), "s-maxage=60", StaleUse::Forbidden),
            (&Rule::default(), "s-maxage=60, stale-while-revalidate=5", within(5, 0, 0)),
            (&Rule::default(), "s-maxage=60, stale-if-error=5", within(0, 5, 5)),
            (&strict, "s-maxage=60, stale-while-revalidate=5", StaleUse::Forbidden),
            (&configured, "max-age=60", within(7, 8, 8)),
            (&configured, "max-age=60, stale-while-revalidate=1, stale-if-error=2", within(1, 2, 2)),
            (&configured, "s-maxage=60", StaleUse::Forbidden),
        ] {
            let facts = rule_facts(rule, &[("cache-control", cc)]);
            assert_eq!(facts.stale, expected, "{cc}");
        }
        let facts = plain().facts(&[("cache-control", "no-cache"), ("etag", "\"1\"")]);
        assert_eq!((facts.no_cache, facts.stale), (true, StaleUse::Forbidden));
        // A targeted field replaces directives of Cache-Control that forbid.
        let facts = plain().facts(&[("cache-control", "must-revalidate"), ("cdn-cache-control", "max-age=1")]);
        assert_eq!(facts.stale, within(0, 3600, 0));
    }

    fn rule_facts(of: &Rule, given: &[(&str, &str)]) -> Facts {
        rule(of.clone()).facts(given)
    }

    #[test]
    fn the_other_facts_of_the_head() {
        let given = [("cache-control", "max-age=60, immutable"), ("etag", "W/\"1\""), ("age", "7")];
        let facts = plain().facts(&given);
        assert_eq!(facts.received_at, RECEIVED);
        assert_eq!((facts.initial_age, facts.lifetime), (Duration::from_secs(7), Duration::from_secs(60)));
        assert!(facts.immutable && facts.has_validator && !facts.no_transform);
        for (name, value, expected) in [
            ("content-encoding", "gzip", true),
            ("content-encoding", "identity", false),
            ("cache-control", "no-transform", true),
        ] {
            assert_eq!(plain().facts(&[given[0], (name, value)]).no_transform, expected, "{name}: {value}");
        }
        assert!(!plain().facts(&[given[0], ("last-modified", "yesterday")]).has_validator);
    }

    #[test]
    fn rfc9110_s9_3_3_a_post_is_stored_where_its_response_is_what_a_get_would_get() {
        let url = CanonicalUrl::new(Scheme::Http, "example.org", "/a?b=1").unwrap();
        let (request, rule) = (RequestFacts::default(), Rule::default());
        let post = Exchange { method: &Method::POST, ..exchange(&request, &rule) };
        let lives = ("cache-control", "max-age=60");
        let judge = |exchange: &Exchange<'_>, code: u16, given: &[(&str, &str)]| {
            let status = StatusCode::from_u16(code).unwrap();
            match storable_post(exchange, &url, status, &fields(given), false) {
                Storable::Yes(_) => Ok(()),
                Storable::No(reason) => Err(reason),
            }
        };
        for here in ["/a?b=1", "http://example.org/a?b=1", "HTTP://EXAMPLE.org:80/a?b=1", "//example.org/a?b=1"] {
            assert_eq!(judge(&post, 200, &[lives, ("content-location", here)]), Ok(()), "{here}");
        }
        for elsewhere in ["/a", "/a?b=2", "//example.com/a?b=1", "https://example.org/a?b=1", "a?b=1", ""] {
            let given = [lives, ("content-location", elsewhere)];
            assert_eq!(judge(&post, 200, &given), Err(Reason::Method), "{elsewhere}");
        }
        let here = ("content-location", "/a?b=1");
        assert_eq!(judge(&post, 200, &[lives]), Err(Reason::Method));
        assert_eq!(judge(&post, 200, &[lives, here, here]), Err(Reason::Method));
        assert_eq!(judge(&post, 201, &[lives, here]), Err(Reason::Method));
        assert_eq!(judge(&exchange(&request, &rule), 200, &[lives, here]), Err(Reason::Method));
        assert_eq!(judge(&post, 200, &[here, ("last-modified", "@-100")]), Err(Reason::NoLifetime));
        assert_eq!(judge(&post, 200, &[here, ("cache-control", "private, max-age=60")]), Err(Reason::Private));
    }
}
