//! The personalisation guard: may a request with these credentials get a body that was fetched with
//! others?
//!
//! RFC 9111 lets a shared cache answer any user with the response that it stored for another,
//! unless the response forbids it. Apps that forget to forbid it (no `Vary: Cookie`, no `private`)
//! personalise all the same. So a body is *on probation* for requests whose Cookie or Authorization
//! differ from those of the request that fetched it, until one of them is seen to get the same
//! body.
//!
//! A body that was fetched without credentials is not private, so it is served (the public cache
//! tests ask for that). Yet a signed-in user should not see a visitor's page: the first use by a
//! request with credentials is checked in the background, and a key that was found to be
//! personalised before puts such a body on probation like any other.

use std::num::NonZeroU128;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::key::KeyHasher;
use crate::policy::request::RequestFacts;
use crate::route::{self, Rule};
use crate::stored::{CredentialValues, Credentials, SharingGuard};
use crate::syntax::cookie;

/// The admission of a request to a guarded body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The body answers.
    Open,
    /// The body answers, and this use may be due for a check: see [`is_due`].
    Watched,
    /// The origin must first show that this request gets the same body.
    Probation,
}

/// Decides whether a guarded body may answer a request.
///
/// `is_suspect` tells whether the key was recently found to be personalised; `credentials` returns
/// the request's credentials, and `values` the single values behind them. Each is called only if
/// the decision depends on it.
pub(crate) fn admission(
    guard: &SharingGuard,
    request: &RequestFacts,
    is_suspect: impl FnOnce() -> bool,
    credentials: impl FnOnce() -> Credentials,
    values: impl FnOnce() -> CredentialValues,
) -> Admission {
    let leader = guard.leader();
    if leader.is_none() && !request.has_cookie && !request.has_authorization {
        return Admission::Open;
    }
    if guard.is_shared() || (leader.is_none() && !is_suspect()) {
        return Admission::Watched;
    }
    if credentials() == leader {
        Admission::Open
    } else if guard.is_shared_with(values) {
        Admission::Watched
    } else {
        Admission::Probation
    }
}

/// Tells whether this use of a watched body is to be checked with the origin.
///
/// One use in `sample_every` is. Of a body that was not compared yet, so is the first use by a
/// request with other credentials.
pub(crate) fn is_due(guard: &SharingGuard, sample_every: u32, credentials: impl FnOnce() -> Credentials) -> bool {
    let differs = || credentials() != guard.leader();
    if !guard.is_shared() {
        return differs() && guard.is_due(sample_every);
    }
    // Once the body is shared, requests are counted without reading their credentials.
    guard.is_due(sample_every) && differs()
}

/// Reads a request's credentials, without the cookies that the rule ignores and the fields that are
/// part of the key.
pub(crate) fn credentials(hasher: &KeyHasher, headers: &HeaderMap, rule: &Rule) -> Credentials {
    Credentials {
        cookie: fingerprint(hasher, COOKIE, cookies(headers, rule)),
        authorization: fingerprint(hasher, AUTHORIZATION, authorizations(headers, rule)),
    }
}

/// Reads the single values that make up a request's [`credentials`].
pub(crate) fn values(hasher: &KeyHasher, headers: &HeaderMap, rule: &Rule) -> CredentialValues {
    let one = |kind, value| fingerprint(hasher, kind, std::iter::once(value)).map(|found| found.get() as u64);
    let cookies = cookies(headers, rule).filter_map(|pair| one(COOKIE, pair));
    cookies.chain(authorizations(headers, rule).filter_map(|value| one(AUTHORIZATION, value))).collect()
}

const COOKIE: &[u8] = b"cookie";
const AUTHORIZATION: &[u8] = b"authorization";

/// Iterates over the cookies that count as credentials, each with its value.
fn cookies<'a>(headers: &'a HeaderMap, rule: &'a Rule) -> impl Iterator<Item = &'a [u8]> {
    let cookies = unkeyed(headers, rule, header::COOKIE).flat_map(cookie::cookies_of);
    cookies.filter(|cookie| !is_ignored(rule, cookie.name)).map(|cookie| cookie.pair)
}

/// Tells whether a cookie of this name says nothing about the user.
///
/// That is so if the rule ignores the cookie, or if the cookie is part of the key. A name that is
/// not text is never ignored, since patterns are text.
pub(crate) fn is_ignored(rule: &Rule, name: &[u8]) -> bool {
    std::str::from_utf8(name).is_ok_and(|name| {
        rule.key_cookies.iter().any(|keyed| **keyed == *name)
            || rule.ignore_cookies.iter().any(|pattern| ignores(pattern, name))
    })
}

/// Tells whether a pattern matches a cookie's name.
///
/// A star never matches a session: many frameworks name theirs after the app, and an app's name may
/// begin like a tracking script's cookies (`_hjelp_session`).
fn ignores(pattern: &str, name: &str) -> bool {
    pattern == name || (!name.ends_with("_session") && route::wildcard(pattern, name))
}

fn authorizations<'a>(headers: &'a HeaderMap, rule: &'a Rule) -> impl Iterator<Item = &'a [u8]> {
    unkeyed(headers, rule, header::AUTHORIZATION)
}

/// Iterates over the lines of a field, unless the field is part of the key.
fn unkeyed<'a>(headers: &'a HeaderMap, rule: &Rule, name: HeaderName) -> impl Iterator<Item = &'a [u8]> {
    let is_keyed = rule.key_headers.contains(&name);
    headers.get_all(name).iter().map(HeaderValue::as_bytes).filter(move |_| !is_keyed)
}

/// Makes the keyed fingerprint of `values`, none of which has a line feed; `None` if there are
/// none.
fn fingerprint<'a>(hasher: &KeyHasher, kind: &[u8], values: impl Iterator<Item = &'a [u8]>) -> Option<NonZeroU128> {
    let mut values = values.peekable();
    values.peek()?;
    let mut text = SmallVec::<[u8; 512]>::from_slice(kind);
    for value in values {
        text.push(b'\n');
        text.extend_from_slice(value);
    }
    // Zero means no credentials. That one value in 2^128 shares its fingerprint with another does
    // no harm.
    NonZeroU128::new(hasher.fingerprint(&text).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::fields;
    use http::Method;

    fn rule() -> Rule {
        Rule { key_cookies: Box::new(["lang".into()]), ..Rule::default() }
    }

    #[track_caller]
    fn check(one: &[(&str, &str)], other: &[(&str, &str)], is_same: bool) {
        let hasher = KeyHasher::new();
        let read = |given: &[(&str, &str)]| credentials(&hasher, &fields(given), &rule());
        assert_eq!(read(one) == read(other), is_same, "{one:?} {other:?}");
    }

    #[test]
    fn cookies_that_do_not_count_are_left_out() {
        check(&[], &[("cookie", "_ga=1; _ga_7Q=1; _gat=1; _gid=GA1.2; __utma=3; _fbp=fb; lang=de")], true);
        check(&[], &[("cookie", "")], true);
        check(&[], &[("cookie", " ; ;")], true);
        check(&[("cookie", "sid=1")], &[("cookie", "_ga=1; sid=1;lang=en; _hjid=x")], true);
        check(&[("cookie", "a=1; b=2")], &[("cookie", "a=1"), ("cookie", "b=2")], true);
    }

    #[test]
    fn cookies_that_count_do() {
        check(&[], &[("cookie", "sid=1")], false);
        check(&[], &[("cookie", "sid")], false);
        check(&[("cookie", "sid=1")], &[("cookie", "sid=2")], false);
        check(&[("cookie", "sid=1")], &[("cookie", "Sid=1")], false);
        check(&[("cookie", "a=1; b=2")], &[("cookie", "a=1")], false);
        check(&[], &[("cookie", "my_ga=1")], false);
        // The sessions of apps whose names begin like a tracking script's cookies.
        for session in ["_gallery_session=1", "_ga_session=1", "_hjelp_session=1", "_pk_session=1", "_uetli_session=1"]
        {
            check(&[], &[("cookie", session)], false);
        }
        check(&[], &[("cookie", "languages=1")], false);
    }

    #[test]
    fn a_session_is_ignored_only_by_its_whole_name() {
        let ignored = |pattern: &str| {
            let rule = Rule { ignore_cookies: [pattern.into()].into(), ..Rule::default() };
            credentials(&KeyHasher::new(), &fields(&[("cookie", "_app_session=1")]), &rule).is_none()
        };
        assert!(ignored("_app_session") && !ignored("_app_*") && !ignored("*"));
    }

    #[test]
    fn authorization_is_a_credential_of_its_own() {
        check(&[], &[("authorization", "Basic eDp5")], false);
        check(&[("authorization", "Basic eDp5")], &[("authorization", "Basic eDp6")], false);
        check(&[("authorization", "x")], &[("cookie", "x")], false);
        check(&[("authorization", "Basic eDp5")], &[("authorization", "Basic eDp5"), ("cookie", "_ga=1")], true);
    }

    #[test]
    fn fields_that_are_keyed_do_not_count() {
        let rule = Rule { key_headers: Box::new([header::COOKIE, header::AUTHORIZATION]), ..Rule::default() };
        let given = fields(&[("cookie", "sid=1"), ("authorization", "x")]);
        assert!(credentials(&KeyHasher::new(), &given, &rule).is_none());
    }

    /// Checks the admission of a request to a body that `leader` fetched.
    ///
    /// The admissions are: on probation, the same with a suspect key, and shared. `due` tells
    /// whether the first use is checked before the body is shared, and the second use after.
    #[track_caller]
    fn check_admission(
        leader: &[(&str, &str)],
        request: &[(&str, &str)],
        expected: (Admission, Admission, Admission),
        due: (bool, bool),
    ) {
        let hasher = KeyHasher::new();
        let read = |given: &[(&str, &str)]| credentials(&hasher, &fields(given), &rule());
        let values = |given: &[(&str, &str)]| values(&hasher, &fields(given), &rule());
        let guard = SharingGuard::new(read(leader), values(leader), 0);
        let facts = RequestFacts::of(&Method::GET, &fields(request));
        let admission = |is_suspect| admission(&guard, &facts, || is_suspect, || read(request), || values(request));
        let is_due = || is_due(&guard, 2, || read(request));
        let (before, suspect, is_due_before) = (admission(false), admission(true), is_due());
        guard.share(&CredentialValues::default());
        assert_eq!((before, suspect, admission(true)), expected, "{leader:?} {request:?}");
        assert_eq!((is_due_before, is_due()), (due.0, false), "{leader:?} {request:?} is checked at once");
        assert_eq!(is_due(), due.1, "{leader:?} {request:?} is checked again");
    }

    #[test]
    fn a_user_whose_other_cookies_change_stays_the_same_user() {
        let hasher = KeyHasher::new();
        let read = |cookies: &str| {
            let given = fields(&[("cookie", cookies), ("authorization", "x")]);
            (credentials(&hasher, &given, &rule()), values(&hasher, &given, &rule()))
        };
        let (leader, suspects) = read("sid=alice; seen=1; consent=yes");
        let guard = SharingGuard::new(leader, suspects, 0);
        let facts = RequestFacts { has_cookie: true, ..RequestFacts::default() };
        let admission = |cookies| {
            let (own, values) = read(cookies);
            admission(&guard, &facts, || false, || own, || values)
        };
        guard.share(&read("sid=alice; seen=2; consent=yes").1);
        assert_eq!(admission("sid=alice; seen=3; consent=yes"), Admission::Watched);
        assert_eq!(admission("sid=bob; seen=1; consent=yes"), Admission::Probation);
        guard.share(&read("sid=bob; consent=yes").1);
        assert_eq!(admission("sid=carol; consent=yes"), Admission::Watched);
        assert_eq!(admission("sid=carol; consent=no"), Admission::Probation);
        assert!(!guard.is_shared());
        guard.share(&values(&hasher, &fields(&[]), &rule()));
        assert!(guard.is_shared());
    }

    #[test]
    fn others_are_on_probation_and_then_watched() {
        use Admission::{Open, Probation, Watched};
        let (user, other) = ([("cookie", "sid=1")], [("cookie", "sid=2; _ga=1")]);
        let (analytics, signed) = ([("cookie", "_ga=1")], [("authorization", "x")]);
        check_admission(&[], &[], (Open, Open, Open), (false, false));
        check_admission(&user, &user, (Open, Open, Watched), (false, false));
        check_admission(&[], &analytics, (Watched, Open, Watched), (false, false));
        check_admission(&user, &other, (Probation, Probation, Watched), (true, true));
        check_admission(&user, &[], (Probation, Probation, Watched), (true, true));
        check_admission(&[], &user, (Watched, Probation, Watched), (true, true));
        check_admission(&[], &signed, (Watched, Probation, Watched), (true, true));
    }
}
