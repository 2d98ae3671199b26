//! Preconditions, in the order of RFC 9110 §13.2.2.
//!
//! They are evaluated against a stored representation, before ranges and coding. Malformed input
//! never matches: a date that cannot be read is no condition, and a list of entity-tags ends at the
//! first malformed one, so that the client gets the whole response rather than a 304 that it did
//! not ask for. The caller decides whether preconditions apply to the method.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::clock::Timestamp;
use crate::stored::FlatHead;
use crate::syntax::entity_tag::{EntityTag, TagComparison};
use crate::syntax::{date, list};

/// The validators of the selected representation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validators<'a> {
    /// The ETag as received.
    pub etag: Option<&'a [u8]>,
    /// The Last-Modified as received.
    pub last_modified: Option<&'a [u8]>,
    /// The Date as received, which decides whether Last-Modified is strong (RFC 9110 §8.8.2.2).
    pub date: Option<&'a [u8]>,
}

impl<'a> Validators<'a> {
    /// Reads the validators of a stored head.
    pub(crate) fn of(head: &'a FlatHead) -> Self {
        Self {
            etag: head.get(&header::ETAG),
            last_modified: head.get(&header::LAST_MODIFIED),
            date: head.get(&header::DATE),
        }
    }
}

/// The result of evaluating the preconditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// Perform the method.
    Proceed,
    /// Answer 304.
    NotModified,
    /// Answer 412.
    Failed,
}

/// Tells whether a stored representation does not meet If-Match or If-Unmodified-Since.
///
/// A cache does not fail a request by these: the origin may have another representation by now (RFC
/// 9111 §4.3.2).
pub(crate) fn is_for_origin(request: &HeaderMap, status: StatusCode, validators: Validators<'_>) -> bool {
    status.is_success() && !meets_state(request, validators)
}

/// Steps 1 and 2: §13.1.1 If-Match, else §13.1.4 If-Unmodified-Since.
fn meets_state(request: &HeaderMap, validators: Validators<'_>) -> bool {
    if request.contains_key(header::IF_MATCH) {
        return lists(request, header::IF_MATCH, validators.etag, TagComparison::Strong);
    }
    let modified = || validators.last_modified.and_then(date::parse);
    date_of(request, header::IF_UNMODIFIED_SINCE)
        .is_none_or(|bound| modified().is_none_or(|modified| modified <= bound))
}

/// Evaluates the preconditions of a GET or HEAD against a representation with `status`.
///
/// The preconditions are If-Match, If-Unmodified-Since, If-None-Match and If-Modified-Since. A
/// status other than 2xx proceeds.
pub(crate) fn evaluate(request: &HeaderMap, status: StatusCode, validators: Validators<'_>) -> Precondition {
    // §13.2.1: preconditions are ignored if the answer without them would be neither 2xx nor 412.
    if !status.is_success() {
        return Precondition::Proceed;
    }
    let last_modified = || validators.last_modified.and_then(date::parse);

    if !meets_state(request, validators) {
        return Precondition::Failed;
    }

    // Steps 3 and 4: §13.1.2 If-None-Match, else §13.1.3 If-Modified-Since. RFC 9111 §4.3.2 would
    // compare Date if there is no Last-Modified; by §13.1.3 the field is ignored then, and a 200 is
    // right either way.
    if request.contains_key(header::IF_NONE_MATCH) {
        if lists(request, header::IF_NONE_MATCH, validators.etag, TagComparison::Weak) {
            return Precondition::NotModified;
        }
    } else if let (Some(bound), Some(modified)) = (date_of(request, header::IF_MODIFIED_SINCE), last_modified())
        && modified <= bound
    {
        return Precondition::NotModified;
    }
    Precondition::Proceed
}

/// Tells whether If-Range, if there is one, permits applying the Range (RFC 9110 §13.1.5).
pub(crate) fn if_range_holds(request: &HeaderMap, validators: Validators<'_>) -> bool {
    if !request.contains_key(header::IF_RANGE) {
        return true;
    }
    let Some(value) = list::only_line(request, header::IF_RANGE) else { return false };
    if let Some(requested) = EntityTag::parse(value) {
        let own = validators.etag.and_then(EntityTag::parse);
        return own.is_some_and(|own| requested.matches(own, TagComparison::Strong));
    }
    // A date holds if it equals Last-Modified, and that is strong: a second or more before Date
    // (§8.8.2.2).
    let (Some(modified), Some(sent)) = (validators.last_modified, validators.date) else { return false };
    value == modified.trim_ascii()
        && date::parse(modified).zip(date::parse(sent)).is_some_and(|(modified, sent)| {
            sent.as_millis().saturating_sub(modified.as_millis()) >= STRONG_AFTER_MILLIS
        })
}

/// The minimum time from Last-Modified to Date that makes Last-Modified a strong validator (RFC
/// 9110 §8.8.2.2).
const STRONG_AFTER_MILLIS: i64 = 1000;

/// Makes a strong ETag weak; leaves a weak or malformed one as it is.
pub(crate) fn weaken(etag: &HeaderValue) -> HeaderValue {
    match EntityTag::parse(etag.as_bytes()) {
        Some(tag) if !tag.is_weak() => {
            let weak = [b"W/", tag.text()].concat();
            HeaderValue::from_bytes(&weak).unwrap_or_else(|_| etag.clone())
        }
        _ => etag.clone(),
    }
}

/// Tells whether the field is `*` or lists `etag`.
fn lists(request: &HeaderMap, name: HeaderName, etag: Option<&[u8]>, comparison: TagComparison) -> bool {
    // `*` holds for any current representation, and one is stored. Among other members it means
    // nothing.
    if list::only_line(request, &name) == Some(b"*") {
        return true;
    }
    let Some(own) = etag.and_then(EntityTag::parse) else { return false };
    request.get_all(name).iter().any(|line| line_lists(line.as_bytes(), own, comparison))
}

/// Tells whether one line lists `own`.
///
/// An unquoted member is skipped, since it matches nothing. Anything else that is no entity-tag
/// ends the list: behind it, opening and closing quotes cannot be told apart.
fn line_lists(mut line: &[u8], own: EntityTag<'_>, comparison: TagComparison) -> bool {
    loop {
        line = line.trim_ascii_start();
        let rest = match EntityTag::split_first(line) {
            Some((tag, rest)) => {
                let rest = rest.trim_ascii_start();
                // A tag counts only if the list continues or ends behind it.
                if !matches!(rest.first(), None | Some(b',')) {
                    return false;
                }
                if tag.matches(own, comparison) {
                    return true;
                }
                rest
            }
            None => {
                let end = line.iter().position(|&byte| byte == b',').unwrap_or(line.len());
                if line[..end].contains(&b'"') {
                    return false;
                }
                &line[end..]
            }
        };
        match rest.split_first() {
            Some((_, after_comma)) => line = after_comma,
            None => return false,
        }
    }
}

/// Returns the date in a field; `None` if it is missing, repeated or malformed, and so ignored
/// (§13.1.3, §13.1.4).
fn date_of(request: &HeaderMap, name: HeaderName) -> Option<Timestamp> {
    list::only_line(request, name).and_then(date::parse)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MONDAY: &str = "Mon, 02 Nov 2026 10:00:00 GMT";
    const MONDAY_RFC850: &str = "Monday, 02-Nov-26 10:00:00 GMT";
    const SECOND_LATER: &str = "Mon, 02 Nov 2026 10:00:01 GMT";
    const TUESDAY: &str = "Tue, 03 Nov 2026 10:00:00 GMT";
    const SUNDAY: &str = "Sun, 01 Nov 2026 10:00:00 GMT";

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    fn validators<'a>(etag: &'a str, last_modified: &'a str, date: &'a str) -> Validators<'a> {
        let given = |text: &'a str| (!text.is_empty()).then_some(text.as_bytes());
        Validators { etag: given(etag), last_modified: given(last_modified), date: given(date) }
    }

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], etag: &str, last_modified: &str, want: Precondition) {
        let got = evaluate(&map(fields), StatusCode::OK, validators(etag, last_modified, TUESDAY));
        assert_eq!(got, want, "{fields:?} of {etag} {last_modified}");
    }

    use Precondition::{Failed, NotModified, Proceed};

    #[test]
    fn s13_1_1_if_match_compares_strongly() {
        check(&[("if-match", "\"a\"")], "\"a\"", "", Proceed);
        check(&[("if-match", "\"b\", \"a\"")], "\"a\"", "", Proceed);
        check(&[("if-match", "*")], "", "", Proceed);
        check(&[("if-match", "\"b\"")], "\"a\"", "", Failed);
        check(&[("if-match", "W/\"a\"")], "\"a\"", "", Failed);
        check(&[("if-match", "\"a\"")], "W/\"a\"", "", Failed);
        check(&[("if-match", "\"a\"")], "", "", Failed);
    }

    #[test]
    fn s13_1_2_if_none_match_compares_weakly() {
        for (asked, own) in [("\"a\"", "\"a\""), ("W/\"a\"", "\"a\""), ("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\"")] {
            check(&[("if-none-match", asked)], own, "", NotModified);
        }
        check(&[("if-none-match", "*")], "", "", NotModified);
        check(&[("if-none-match", " * ")], "", "", NotModified);
        check(&[("if-none-match", "\"b\"")], "\"a\"", "", Proceed);
        check(&[("if-none-match", "\"A\"")], "\"a\"", "", Proceed);
        check(&[("if-none-match", "\"a\"")], "", "", Proceed);
    }

    #[test]
    fn s8_8_3_lists_are_read_leniently_and_never_match_what_is_not_there() {
        let own = "\"a\"";
        for list in ["\"a\", \"b\"", "\"b\",\"a\"", ", ,\"a\"", "\"b\" ,\t\"a\" ,", "bare, \"a\"", "*, \"a\""] {
            check(&[("if-none-match", list)], own, "", NotModified);
        }
        check(&[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")], own, "", NotModified);
        for list in
            ["a", "", ",", "\"a", "a\"", "\"b\" \"a\"", "\"a\"x", "x\"a\"", "\"b, \"a\", \"c\"", "w/\"a\"", "W\"a\""]
        {
            check(&[("if-none-match", list)], own, "", Proceed);
        }
        // `*` has a meaning only as the whole value.
        check(&[("if-none-match", "*, \"b\"")], own, "", Proceed);
        check(&[("if-none-match", "*"), ("if-none-match", "\"b\"")], own, "", Proceed);
        // Commas and obs-text may be part of a tag; a tag without quotes matches nothing, not even
        // itself.
        check(&[("if-none-match", "\"x,y\", \"z\"")], "\"x,y\"", "", NotModified);
        check(&[("if-none-match", "\"x,y\"")], "\"y\"", "", Proceed);
        check(&[("if-none-match", "\"x\", \"y\"")], "\", \"", "", Proceed);
        check(&[("if-none-match", "\"abcdef\u{fc}\"")], "\"abcdef\u{fc}\"", "", NotModified);
        check(&[("if-none-match", "abc")], "abc", "", Proceed);
        check(&[("if-none-match", "\"abc\"")], "abc", "", Proceed);
    }

    #[test]
    fn s13_1_3_if_modified_since_is_a_bound_that_includes_its_second() {
        check(&[("if-modified-since", MONDAY)], "", MONDAY, NotModified);
        check(&[("if-modified-since", MONDAY_RFC850)], "", MONDAY, NotModified);
        check(&[("if-modified-since", TUESDAY)], "", MONDAY, NotModified);
        check(&[("if-modified-since", MONDAY)], "", SECOND_LATER, Proceed);
        check(&[("if-modified-since", SUNDAY)], "", MONDAY, Proceed);
        check(&[("if-modified-since", TUESDAY)], "", "", Proceed);
        check(&[("if-modified-since", "yesterday")], "", MONDAY, Proceed);
        check(&[("if-modified-since", TUESDAY), ("if-modified-since", TUESDAY)], "", MONDAY, Proceed);
    }

    #[test]
    fn s13_1_4_if_unmodified_since_fails_past_its_second() {
        check(&[("if-unmodified-since", MONDAY)], "", MONDAY, Proceed);
        check(&[("if-unmodified-since", MONDAY)], "", SECOND_LATER, Failed);
        check(&[("if-unmodified-since", SUNDAY)], "", "", Proceed);
        check(&[("if-unmodified-since", "never")], "", MONDAY, Proceed);
    }

    #[test]
    fn s13_2_2_entity_tags_come_before_dates_and_failing_before_not_modified() {
        check(&[("if-none-match", "\"b\""), ("if-modified-since", TUESDAY)], "\"a\"", MONDAY, Proceed);
        check(&[("if-none-match", "\"a\""), ("if-modified-since", SUNDAY)], "\"a\"", MONDAY, NotModified);
        check(&[("if-match", "\"a\""), ("if-unmodified-since", SUNDAY)], "\"a\"", MONDAY, Proceed);
        check(&[("if-match", "\"b\""), ("if-none-match", "\"a\"")], "\"a\"", MONDAY, Failed);
        check(&[("if-match", "\"a\""), ("if-none-match", "\"a\"")], "\"a\"", MONDAY, NotModified);
        check(&[("if-unmodified-since", SUNDAY), ("if-modified-since", TUESDAY)], "", MONDAY, Failed);
        check(&[], "\"a\"", MONDAY, Proceed);
    }

    #[test]
    fn s13_2_1_only_successful_responses_have_preconditions() {
        let request = map(&[("if-none-match", "\"a\""), ("if-match", "\"b\"")]);
        for (status, want) in [(204, Failed), (206, Failed), (301, Proceed), (404, Proceed), (500, Proceed)] {
            let status = StatusCode::from_u16(status).unwrap();
            assert_eq!(evaluate(&request, status, validators("\"a\"", "", "")), want, "{status}");
        }
    }

    #[test]
    fn s13_1_5_if_range_needs_a_strong_validator() {
        #[track_caller]
        fn check(if_range: &str, etag: &str, last_modified: &str, date: &str, want: bool) {
            let got = if_range_holds(&map(&[("if-range", if_range)]), validators(etag, last_modified, date));
            assert_eq!(got, want, "{if_range} of {etag} {last_modified} at {date}");
        }
        assert!(if_range_holds(&map(&[]), validators("", "", "")));
        check("\"a\"", "\"a\"", "", "", true);
        check(" \"a\" ", "\"a\"", "", "", true);
        check("\"b\"", "\"a\"", "", "", false);
        check("W/\"a\"", "W/\"a\"", "", "", false);
        check("\"a\"", "W/\"a\"", "", "", false);
        check("\"a\", \"b\"", "\"a\"", "", "", false);
        check("a", "a", "", "", false);
        check("*", "\"a\"", MONDAY, TUESDAY, false);
        check("", "", MONDAY, TUESDAY, false);
        check(MONDAY, "\"a\"", MONDAY, SECOND_LATER, true);
        check(MONDAY, "", MONDAY, MONDAY, false);
        check(MONDAY, "", MONDAY, SUNDAY, false);
        check(MONDAY, "", MONDAY, "", false);
        check(TUESDAY, "", MONDAY, TUESDAY, false);
        check("soon", "", "soon", TUESDAY, false);
        let twice = map(&[("if-range", "\"a\""), ("if-range", "\"a\"")]);
        assert!(!if_range_holds(&twice, validators("\"a\"", "", "")));
    }

    #[test]
    fn s8_8_3_weakening_touches_strong_tags_only() {
        for (etag, want) in [
            ("\"a\"", "W/\"a\""),
            ("\"\"", "W/\"\""),
            ("W/\"a\"", "W/\"a\""),
            ("a", "a"),
            ("\"a", "\"a"),
            ("\"a\"b\"", "\"a\"b\""),
            ("\"\u{fc}\"", "W/\"\u{fc}\""),
        ] {
            let got = weaken(&HeaderValue::from_bytes(etag.as_bytes()).unwrap());
            assert_eq!(got.as_bytes(), want.as_bytes(), "{etag}");
        }
    }
}
