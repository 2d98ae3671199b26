//! Age and freshness (RFC 9111 §4.2): the only place that decides whether a stored response is
//! fresh.
//!
//! [`lifetime`] and [`initial_age`] are computed once, when a response is stored or updated;
//! [`current_age`] and [`ttl`] at every use. Ages count milliseconds since the response was
//! received; fields count whole seconds.

use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};

use crate::clock::Timestamp;
use crate::policy::cache_control::directive;
use crate::policy::cache_control::{DirectiveSource, ResponseCacheControl};
use crate::route::Rule;
use crate::stored::{Facts, LifetimeSource};
use crate::syntax::{date, list};

/// Returns the age of a stored response now (current_age, RFC 9111 §4.2.3).
pub fn current_age(facts: &Facts, now: Timestamp) -> Duration {
    facts.initial_age.saturating_add(now.saturating_since(facts.received_at))
}

/// Tells whether a stored response is fresh now (response_is_fresh, RFC 9111 §4.2).
pub fn is_fresh(facts: &Facts, now: Timestamp) -> bool {
    facts.lifetime > current_age(facts, now)
}

/// Returns how long a stored response has been stale; zero while it is fresh, and at the very end
/// of its freshness.
pub fn staleness(facts: &Facts, now: Timestamp) -> Duration {
    current_age(facts, now).saturating_sub(facts.lifetime)
}

/// Returns the remaining freshness in seconds, rounded down; negative if the response is stale.
pub fn ttl(facts: &Facts, now: Timestamp) -> i64 {
    let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
    millis(facts.lifetime).saturating_sub(millis(current_age(facts, now))).div_euclid(1000)
}

/// Returns the age that a response has when it is received (corrected_initial_age, RFC 9111
/// §4.2.3).
pub fn initial_age(headers: &HeaderMap, requested_at: Timestamp, received_at: Timestamp) -> Duration {
    // Date counts whole seconds, rounded down by its sender, so a difference below one second means
    // nothing.
    let apparent_age = date_value(headers)
        .map_or(Duration::ZERO, |date| Duration::from_secs(received_at.saturating_since(date).as_secs()));
    let response_delay = received_at.saturating_since(requested_at);
    apparent_age.max(age_value(headers).saturating_add(response_delay))
}

/// Returns the freshness lifetime and its source; `None` if a response has no lifetime at all.
///
/// The order is that of RFC 9213 §2.1, RFC 9111 §4.2.1, the configuration, and RFC 9111 §4.2.2.
pub fn lifetime(
    cc: &ResponseCacheControl,
    status: StatusCode,
    headers: &HeaderMap,
    received_at: Timestamp,
    rule: &Rule,
) -> Option<(Duration, LifetimeSource)> {
    explicit_lifetime(cc, headers, received_at).or_else(|| configured_lifetime(cc, status, rule)).or_else(|| {
        may_be_guessed(cc, status)
            .then(|| heuristic_lifetime(headers, received_at, rule))
            .flatten()
            .map(|lifetime| (lifetime, LifetimeSource::Heuristic))
    })
}

/// Returns the lifetime that the response itself names (RFC 9111 §4.2.1, for a shared cache).
fn explicit_lifetime(
    cc: &ResponseCacheControl,
    headers: &HeaderMap,
    received_at: Timestamp,
) -> Option<(Duration, LifetimeSource)> {
    let targeted = match cc.source {
        DirectiveSource::LarderCacheControl => Some(LifetimeSource::LarderCacheControl),
        DirectiveSource::CdnCacheControl => Some(LifetimeSource::CdnCacheControl),
        DirectiveSource::CacheControl => None,
    };
    if let Some(source) = targeted {
        return cc.s_maxage.or(cc.max_age).map(|lifetime| (lifetime, source));
    }
    let s_maxage = cc.s_maxage.map(|lifetime| (lifetime, LifetimeSource::SMaxage));
    let max_age = cc.max_age.map(|lifetime| (lifetime, LifetimeSource::MaxAge));
    s_maxage.or(max_age).or_else(|| {
        let expires = expires_value(headers)?;
        let date = date_value(headers).unwrap_or(received_at);
        let lifetime = expires.map_or(Duration::ZERO, |expires| expires.saturating_since(date));
        Some((lifetime, LifetimeSource::Expires))
    })
}

/// Returns the lifetime that the configuration fills in.
///
/// A route's `ttl` is meant for pages: it applies neither to errors nor to statuses that are not
/// cacheable by default (RFC 9110 §15.1). `ttl_by_status` names those.
fn configured_lifetime(
    cc: &ResponseCacheControl,
    status: StatusCode,
    rule: &Rule,
) -> Option<(Duration, LifetimeSource)> {
    let by_route = rule.ttl.filter(|_| may_be_guessed(cc, status) && status.as_u16() < 400);
    let by_status = || rule.ttl_by_status.iter().find(|(of, _)| *of == status).map(|(_, ttl)| *ttl);
    by_route
        .map(|ttl| (ttl, LifetimeSource::RouteTtl))
        .or_else(|| by_status().map(|ttl| (ttl, LifetimeSource::StatusTtl)))
}

/// Returns a fraction of the time since the representation was last modified (RFC 9111 §4.2.2).
fn heuristic_lifetime(headers: &HeaderMap, received_at: Timestamp, rule: &Rule) -> Option<Duration> {
    let last_modified = date_field(headers, &header::LAST_MODIFIED)?;
    let since = date_value(headers).unwrap_or(received_at).saturating_since(last_modified);
    // Written so that no fraction, not even NaN, can make an invalid lifetime.
    let is_usable = rule.heuristic_fraction > 0.0 && !since.is_zero();
    is_usable.then(|| since.mul_f64(rule.heuristic_fraction.min(1.0)).min(rule.heuristic_max))
}

/// Tells whether a heuristic lifetime is allowed if the response names none (RFC 9111 §4.2.2).
///
/// The same condition lets a response without a lifetime be stored (RFC 9111 §3).
pub fn may_be_guessed(cc: &ResponseCacheControl, status: StatusCode) -> bool {
    cc.public || is_heuristically_cacheable(status)
}

/// Tells whether a status is heuristically cacheable (RFC 9110 §15.1).
fn is_heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// Returns the time at which a response was made (date_value, RFC 9111 §4.2.3); `None` if it does
/// not say.
pub fn date_value(headers: &HeaderMap) -> Option<Timestamp> {
    date_field(headers, &header::DATE)
}

fn date_field(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    headers.get(name).and_then(|line| date::parse(line.as_bytes()))
}

/// Returns the time in Expires, if there is one.
///
/// `Some(None)` is a time in the past: an invalid date, or two lines that differ (RFC 9111 §5.3).
fn expires_value(headers: &HeaderMap) -> Option<Option<Timestamp>> {
    let mut lines = headers.get_all(header::EXPIRES).iter();
    let first = lines.next()?;
    let is_one = lines.all(|line| line == first);
    Some(date::parse(first.as_bytes()).filter(|_| is_one))
}

/// Returns the number in Age (age_value): its first member if that is a number, else zero (RFC 9111
/// §5.1).
fn age_value(headers: &HeaderMap) -> Duration {
    let first_member = headers.get(header::AGE).and_then(|line| list::members(line.as_bytes()).next());
    first_member.and_then(directive::delta_seconds).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::{RECEIVED, fields, stored};

    fn facts(initial_age: u64, lifetime: u64) -> Facts {
        Facts { initial_age: Duration::from_secs(initial_age), lifetime: Duration::from_secs(lifetime), ..stored() }
    }

    #[track_caller]
    fn check_age(given: &[(&str, &str)], delay_ms: u64, expected_ms: u64) {
        let age = initial_age(&fields(given), RECEIVED - Duration::from_millis(delay_ms), RECEIVED);
        assert_eq!(age, Duration::from_millis(expected_ms), "{given:?}");
    }

    #[test]
    fn s4_2_3_initial_age_is_the_larger_of_apparent_and_corrected() {
        check_age(&[], 0, 0);
        check_age(&[], 1500, 1500);
        check_age(&[("date", "@0")], 0, 0);
        check_age(&[("date", "@-7200")], 0, 7_200_000);
        check_age(&[("date", "@100")], 0, 0);
        check_age(&[("date", "foo")], 0, 0);
        check_age(&[("date", "@-5"), ("age", "3")], 1000, 5000);
        check_age(&[("date", "@-5"), ("age", "7")], 1000, 8000);
    }

    #[test]
    fn s5_1_age_is_its_first_member_where_that_is_a_number() {
        for (value, secs) in [
            ("7200", 7200),
            ("7200, 0", 7200),
            ("0, 7200", 0),
            (" 30 ,x", 30),
            // RFC 9110 §5.6.1.2: empty members are ignored.
            (", 30", 30),
            ("2147483649", 1 << 31),
            ("99999999999999999999", 1 << 31),
            ("abc", 0),
            ("-7200", 0),
            ("7200.0", 0),
            ("7200;foo=bar", 0),
            ("", 0),
        ] {
            check_age(&[("age", value)], 0, secs * 1000);
        }
        check_age(&[("age", "7200"), ("age", "0")], 0, 7_200_000);
        check_age(&[("age", "0"), ("age", "7200")], 0, 0);
    }

    #[test]
    fn s4_2_fresh_until_the_age_reaches_the_lifetime() {
        for (initial_age, lifetime, after_ms, fresh, expected_ttl) in [
            (0, 10, 0, true, 10),
            (0, 10, 1, true, 9),
            (0, 10, 9_999, true, 0),
            (0, 10, 10_000, false, 0),
            (0, 10, 10_001, false, -1),
            (4, 10, 6_000, false, 0),
            (0, 0, 0, false, 0),
            (7200, 3600, 0, false, -3600),
        ] {
            let (facts, now) = (facts(initial_age, lifetime), RECEIVED + Duration::from_millis(after_ms));
            assert_eq!(is_fresh(&facts, now), fresh, "{initial_age} {lifetime} {after_ms}");
            assert_eq!(ttl(&facts, now), expected_ttl, "{initial_age} {lifetime} {after_ms}");
        }
        // The clock stepped backward.
        assert_eq!(current_age(&facts(3, 10), RECEIVED - Duration::from_secs(60)), Duration::from_secs(3));
        assert_eq!(staleness(&facts(0, 10), RECEIVED + Duration::from_secs(12)), Duration::from_secs(2));
    }

    #[track_caller]
    fn check_with(
        rule: &Rule,
        status: u16,
        given: &[(&str, &str)],
        expected: impl Into<Option<(u64, LifetimeSource)>>,
    ) {
        let headers = fields(given);
        let cc = ResponseCacheControl::parse(&headers);
        let found = lifetime(&cc, StatusCode::from_u16(status).unwrap(), &headers, RECEIVED, rule);
        let expected = expected.into().map(|(ms, source)| (Duration::from_millis(ms), source));
        assert_eq!(found, expected, "{status} {given:?}");
    }

    #[track_caller]
    fn check(given: &[(&str, &str)], expected: impl Into<Option<(u64, LifetimeSource)>>) {
        check_with(&Rule::default(), 200, given, expected);
    }

    #[test]
    fn s4_2_1_s_maxage_beats_max_age_beats_expires() {
        use LifetimeSource::{Expires, MaxAge, SMaxage};
        let expires = ("expires", "@30");
        check(&[("cache-control", "max-age=20, s-maxage=10"), expires], (10_000, SMaxage));
        check(&[("cache-control", "s-maxage=10"), ("cache-control", "max-age=20")], (10_000, SMaxage));
        check(&[("cache-control", "max-age=20"), expires], (20_000, MaxAge));
        check(&[("cache-control", "max-age=0"), expires], (0, MaxAge));
        check(&[("cache-control", "max-age=oops"), expires], (0, MaxAge));
        check(&[("cache-control", "public"), expires, ("date", "@0")], (30_000, Expires));
        check(&[], None);
    }

    #[test]
    fn s5_3_expires_less_date_and_the_past_if_malformed() {
        use LifetimeSource::Expires;
        check(&[("expires", "@30"), ("date", "@10")], (20_000, Expires));
        check(&[("expires", "@30"), ("date", "@-10")], (40_000, Expires));
        check(&[("expires", "@0"), ("date", "@0")], (0, Expires));
        check(&[("expires", "@300"), ("date", "@400")], (0, Expires));
        // Without a valid Date the time of receipt is used, which has milliseconds.
        check(&[("expires", "@10")], (9_600, Expires));
        check(&[("expires", "@10"), ("date", "foo")], (9_600, Expires));
        check(&[("expires", "0"), ("date", "@0")], (0, Expires));
        check(&[("expires", ""), ("date", "@0")], (0, Expires));
        check(&[("expires", "@10"), ("expires", "@20"), ("date", "@0")], (0, Expires));
        check(&[("expires", "@10"), ("expires", "@10"), ("date", "@0")], (10_000, Expires));
    }

    #[test]
    fn rfc9213_s2_1_targeted_fields_replace_cache_control_and_expires() {
        use LifetimeSource::{CdnCacheControl, LarderCacheControl};
        let general = [("cache-control", "max-age=1, s-maxage=2"), ("expires", "@9")];
        check(&[general[0], general[1], ("cdn-cache-control", "max-age=5")], (5_000, CdnCacheControl));
        check(
            &[general[0], ("cdn-cache-control", "max-age=5"), ("larder-cache-control", "max-age=6, s-maxage=7")],
            (7_000, LarderCacheControl),
        );
        check(&[general[0], general[1], ("cdn-cache-control", "must-revalidate")], None);
    }

    #[test]
    fn s4_2_2_a_fraction_of_the_time_since_last_modified() {
        use LifetimeSource::Heuristic;
        check(&[("last-modified", "@-60"), ("date", "@0")], (6_000, Heuristic));
        check(&[("last-modified", "@-10000000"), ("date", "@0")], (86_400_000, Heuristic));
        check(&[("last-modified", "@5"), ("date", "@0")], None);
        check(&[("last-modified", "foo"), ("date", "@0")], None);
        check(&[("last-modified", "@-60"), ("cache-control", "max-age=1")], (1_000, LifetimeSource::MaxAge));
        for (status, expected) in [
            (200, true),
            (203, true),
            (204, true),
            (300, true),
            (301, true),
            (308, true),
            (404, true),
            (405, true),
            (410, true),
            (414, true),
            (501, true),
            (201, false),
            (202, false),
            (302, false),
            (307, false),
            (403, false),
            (502, false),
            (503, false),
            (504, false),
            (599, false),
        ] {
            let given = [("last-modified", "@-60"), ("date", "@0"), ("cache-control", "public")];
            check_with(&Rule::default(), status, &given[..2], expected.then_some((6_000, Heuristic)));
            check_with(&Rule::default(), status, &given, (6_000, Heuristic));
        }
        for fraction in [0.0, -1.0, f64::NAN] {
            let rule = Rule { heuristic_fraction: fraction, ..Rule::default() };
            check_with(&rule, 200, &[("last-modified", "@-60"), ("date", "@0")], None);
        }
        let rule = Rule { heuristic_fraction: f64::INFINITY, ..Rule::default() };
        check_with(&rule, 200, &[("last-modified", "@-60"), ("date", "@0")], (60_000, Heuristic));
    }

    #[test]
    fn the_configuration_fills_in_before_anything_is_guessed() {
        use LifetimeSource::{Expires, RouteTtl, StatusTtl};
        let by_status = [(StatusCode::NOT_FOUND, Duration::from_secs(3)), (StatusCode::OK, Duration::from_secs(4))];
        let silent = Rule { ttl_by_status: by_status.into(), ..Rule::default() };
        let rule = Rule { ttl: Some(Duration::from_secs(7)), ..silent.clone() };
        let modified = [("last-modified", "@-60")];
        check_with(&rule, 200, &modified, (7_000, RouteTtl));
        check_with(&silent, 200, &modified, (4_000, StatusTtl));
        check_with(&rule, 200, &[("expires", "0")], (0, Expires));
        check_with(&rule, 404, &modified, (3_000, StatusTtl));
        check_with(&rule, 302, &[], None);
        check_with(&rule, 500, &[("cache-control", "public")], None);
    }
}
