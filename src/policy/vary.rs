//! Vary: the secondary key (RFC 9111 §4.1).
//!
//! A stored response keeps the values that its selecting fields had in the request to the origin.
//! The response may answer a request with the same values, up to the normalisation that §4.1
//! allows.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};

use crate::clock::Timestamp;
use crate::stored::{Selecting, StoredEntry};
use crate::syntax::{date, list};

/// The most fields that a Vary may name. Each costs a comparison per variant on every hit; real
/// responses name one to five.
const FIELDS_MAX: usize = 32;

/// Fields that are no lists. White space around their commas is part of the value, so they are
/// compared as they are.
static SINGLE: [HeaderName; 7] = [
    header::AUTHORIZATION,
    header::COOKIE,
    header::FROM,
    header::HOST,
    header::ORIGIN,
    header::REFERER,
    header::USER_AGENT,
];

/// Fields whose values mean the same in any case (RFC 9110 §8.4.1, RFC 4647 §2).
static CASELESS: [HeaderName; 2] = [header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE];

/// Fields that carry the client's address: a response that depends on one is for that client alone.
static BY_CLIENT: [HeaderName; 2] = [header::FORWARDED, HeaderName::from_static("x-forwarded-for")];

/// The request fields that a response depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vary {
    /// The response depends on more than request fields, so it is never selected.
    Star,
    /// The response depends on these request fields, sorted and distinct; empty without a Vary.
    Fields(Box<[HeaderName]>),
}

impl Vary {
    /// Parses a response's fields.
    ///
    /// [`Vary::Star`] stands for `*` in any line, for a member that is not a field name (its
    /// meaning is unknown), for a field that Larder writes for each client, and for more than 32
    /// names.
    pub fn parse(headers: &HeaderMap) -> Self {
        let mut names = Vec::new();
        for member in list::field_members(headers, header::VARY) {
            // `*` is a token, so it would pass as a name.
            match HeaderName::from_bytes(member) {
                Ok(name) if member != b"*" && !BY_CLIENT.contains(&name) => names.push(name),
                _ => return Self::Star,
            }
        }
        names.sort_unstable_by(|a: &HeaderName, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        if names.len() > FIELDS_MAX { Self::Star } else { Self::Fields(names.into()) }
    }
}

/// Returns the request's normalised values of `names`.
///
/// Lines are joined with a comma; white space around commas and at the ends is removed outside of
/// quoted strings; `Accept-Encoding` and `Accept-Language` become lower case. Fields that are no
/// lists (Cookie, User-Agent and others) are taken as they are.
pub fn selecting(names: &[HeaderName], request: &HeaderMap) -> Selecting {
    let value = |name: &HeaderName| {
        let mut value = Vec::new();
        let is_present = each_piece(name, request, |piece| {
            value.extend_from_slice(piece);
            true
        });
        if CASELESS.contains(name) {
            value.make_ascii_lowercase();
        }
        is_present.map(|_| value.into_boxed_slice())
    };
    names.iter().map(|name| (name.clone(), value(name))).collect()
}

/// Returns the selecting values of a stored response after a 304 to `request` whose Vary names
/// `named`.
///
/// `None` if the names become more than `FIELDS_MAX`. The earlier names stay. By RFC 9111 §3.2
/// the new Vary replaces the old one, but the body was made under the old one, and an origin whose
/// 304 leaves a field out has more often forgotten it than dropped it.
pub fn selecting_on(selected_by: &Selecting, named: &[HeaderName], request: &HeaderMap) -> Option<Selecting> {
    let mut names: Vec<_> = selected_by.iter().map(|(name, _)| name).chain(named).cloned().collect();
    names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    (names.len() <= FIELDS_MAX).then(|| selecting(&names, request))
}

/// Tells whether `request` has the values in `selecting`.
pub fn matches(selecting: &Selecting, request: &HeaderMap) -> bool {
    selecting.iter().all(|(name, stored)| match (stored, request.get(name)) {
        (None, None) => true,
        (Some(stored), Some(_)) => has_value(name, stored, request),
        // A field that is absent from one must be absent from the other; an empty field is not
        // absent.
        _ => false,
    })
}

/// Compares a normalised value with the request's, piece by piece, without making a normalised
/// copy.
fn has_value(name: &HeaderName, stored: &[u8], request: &HeaderMap) -> bool {
    let is_caseless = CASELESS.contains(name);
    let mut rest = stored;
    let is_same_so_far = each_piece(name, request, |piece| match rest.split_at_checked(piece.len()) {
        Some((head, tail)) if head == piece || (is_caseless && head.eq_ignore_ascii_case(piece)) => {
            rest = tail;
            true
        }
        _ => false,
    });
    is_same_so_far == Some(true) && rest.is_empty()
}

/// Passes the pieces of a field's normalised value to `take` until that returns false.
///
/// Returns whether `take` accepted all of them; `None` if the request has no such field.
fn each_piece(name: &HeaderName, request: &HeaderMap, mut take: impl FnMut(&[u8]) -> bool) -> Option<bool> {
    let mut lines = request.get_all(name).iter().map(|line| line.as_bytes()).peekable();
    lines.peek()?;
    if SINGLE.contains(name) {
        // HTTP/2 splits cookies into lines (RFC 9113 §8.2.3).
        let separator: &[u8] = if name == header::COOKIE { b"; " } else { b", " };
        return Some(lines.enumerate().all(|(index, line)| (index == 0 || take(separator)) && take(line)));
    }
    // Inside a quoted string nothing is removed, even if the string stays open at the end of a
    // line.
    let mut is_quoted = false;
    Some(lines.enumerate().all(|(index, line)| {
        let joint: &[u8] = if is_quoted { b", " } else { b"," };
        (index == 0 || take(joint)) && each_member(line, &mut is_quoted, &mut take)
    }))
}

/// Passes the members of one line, and the commas between them, to `take` until that returns false.
fn each_member(line: &[u8], is_quoted: &mut bool, take: &mut impl FnMut(&[u8]) -> bool) -> bool {
    let mut begins_quoted = *is_quoted;
    let (mut start, mut at) = (0, 0);
    while at < line.len() {
        match line[at] {
            b'"' => *is_quoted = !*is_quoted,
            b'\\' if *is_quoted => at += 1,
            b',' if !*is_quoted => {
                let member = if begins_quoted { &line[start..at] } else { line[start..at].trim_ascii_start() };
                if !take(member.trim_ascii_end()) || !take(b",") {
                    return false;
                }
                begins_quoted = false;
                start = at + 1;
            }
            _ => {}
        }
        at += 1;
    }
    let member = if begins_quoted { &line[start..] } else { line[start..].trim_ascii_start() };
    take(if *is_quoted { member } else { member.trim_ascii_end() })
}

/// Returns the stored response to use: of those whose Vary matches, the one with the most recent
/// Date (RFC 9111 §4.1).
///
/// Without a valid Date the time of receipt counts. Of equally recent ones the first wins, which is
/// the newest.
pub fn select<'a>(entries: &'a [Arc<StoredEntry>], request: &HeaderMap) -> Option<&'a Arc<StoredEntry>> {
    let mut matching = entries.iter().filter(|entry| matches(&entry.selecting, request));
    let mut best = matching.next()?;
    for other in matching {
        if dated(other) > dated(best) {
            best = other;
        }
    }
    Some(best)
}

fn dated(entry: &StoredEntry) -> Timestamp {
    entry.head.get(&header::DATE).and_then(date::parse).unwrap_or(entry.facts.received_at)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::stored::{Facts, FlatHead, StoredBody};
    use http::HeaderValue;
    use proptest::prelude::*;

    fn map(fields: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        map
    }

    fn names(list: &[&'static str]) -> Vec<HeaderName> {
        list.iter().copied().map(HeaderName::from_static).collect()
    }

    #[test]
    fn s4_1_what_an_update_adds_to_vary_selects_by_this_requests_value() {
        let request = map(&[("x-a", b"1"), ("x-b", b"2"), ("x-c", b"3")]);
        let check = |old: &[&'static str], named: &[&'static str], expected: &[&'static str]| {
            let found = selecting_on(&selecting(&names(old), &request), &names(named), &request);
            assert_eq!(found, Some(selecting(&names(expected), &request)), "{old:?} {named:?}");
        };
        check(&[], &[], &[]);
        check(&[], &["x-b", "x-none"], &["x-b", "x-none"]);
        check(&["x-a"], &["x-a"], &["x-a"]);
        check(&["x-a", "x-c"], &["x-b"], &["x-a", "x-b", "x-c"]);
        check(&["x-a"], &[], &["x-a"]);
        let many: Vec<_> = (0..FIELDS_MAX).map(|n| HeaderName::try_from(format!("x-{n}")).unwrap()).collect();
        assert!(selecting_on(&Selecting::default(), &many, &request).is_some());
        assert!(selecting_on(&selecting(&names(&["x-a"]), &request), &many, &request).is_none());
    }

    #[track_caller]
    fn check_parse(lines: &[&str], expected: Option<&[&'static str]>) {
        let lines: Vec<_> = lines.iter().map(|line| ("vary", line.as_bytes())).collect();
        let expected = expected.map_or(Vary::Star, |list| Vary::Fields(names(list).into()));
        assert_eq!(Vary::parse(&map(&lines)), expected, "{lines:?}");
    }

    #[test]
    fn s4_1_names_are_sorted_and_distinct() {
        check_parse(&[], Some(&[]));
        check_parse(&[""], Some(&[]));
        check_parse(&["Foo"], Some(&["foo"]));
        check_parse(&["Foo, bar ,,foo", "Accept,BAR"], Some(&["accept", "bar", "foo"]));
    }

    #[test]
    fn s4_1_a_star_anywhere_and_a_malformed_name_are_a_star() {
        for lines in [
            &["*"][..],
            &["*, *"],
            &["*", "*"],
            &[", *"],
            &["", "*"],
            &["*, Foo"],
            &["Foo, *"],
            &["a b"],
            &["\"foo\""],
            &["Foo", "b\u{e9}"],
            &["foo;bar"],
        ] {
            check_parse(lines, None);
        }
    }

    #[test]
    fn at_most_thirty_two_fields() {
        let list = |count: usize| (0..count).map(|n| format!("x{n}")).collect::<Vec<_>>().join(",");
        assert!(
            matches!(Vary::parse(&map(&[("vary", list(32).as_bytes())])), Vary::Fields(names) if names.len() == 32)
        );
        assert_eq!(Vary::parse(&map(&[("vary", list(33).as_bytes())])), Vary::Star);
    }

    #[track_caller]
    fn check_value(name: &'static str, lines: &[&[u8]], expected: Option<&[u8]>) {
        let fields: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
        let selecting = selecting(&names(&[name]), &map(&fields));
        assert_eq!(selecting[0].1.as_deref(), expected, "{name} {lines:?}");
        assert!(matches(&selecting, &map(&fields)));
    }

    #[test]
    fn s4_1_values_are_normalised() {
        check_value("foo", &[], None);
        check_value("foo", &[b""], Some(b""));
        check_value("foo", &[b" 1 ,\t2 "], Some(b"1,2"));
        check_value("foo", &[b"1", b"2"], Some(b"1,2"));
        check_value("foo", &[b"a b, A"], Some(b"a b,A"));
        check_value("foo", &[b"\"a , \\\" , b\" , c"], Some(b"\"a , \\\" , b\",c"));
        check_value("foo", &[b"x, \"a ", b" b\" , c"], Some(b"x,\"a ,  b\",c"));
        check_value("foo", &[b"caf\xe9 , b"], Some(b"caf\xe9,b"));
        check_value("accept-language", &[b" eN ,   De"], Some(b"en,de"));
        check_value("accept-encoding", &[b"GZIP", b"br"], Some(b"gzip,br"));
        check_value("accept", &[b"text/HTML, */*"], Some(b"text/HTML,*/*"));
    }

    #[test]
    fn s4_1_fields_that_are_no_lists_are_taken_as_they_are() {
        check_value("user-agent", &[b"A/1 (KHTML, like B)"], Some(b"A/1 (KHTML, like B)"));
        check_value("cookie", &[b"a=1, 2", b"b=3"], Some(b"a=1, 2; b=3"));
    }

    #[track_caller]
    fn check_match(stored: &[(&'static str, &[u8])], request: &[(&'static str, &[u8])], expected: bool) {
        let selecting = selecting(&names(&["accept-language", "foo"]), &map(stored));
        assert_eq!(matches(&selecting, &map(request)), expected, "{stored:?} {request:?}");
    }

    #[test]
    fn s4_1_all_selecting_fields_must_match() {
        check_match(&[("foo", b"1, 2")], &[("foo", b"1"), ("foo", b"2"), ("other", b"x")], true);
        check_match(&[("foo", b"1,2")], &[("foo", b" 1, 2 ")], true);
        check_match(&[("foo", b"1")], &[("foo", b"2")], false);
        check_match(&[("foo", b"1")], &[("foo", b"1, 2")], false);
        check_match(&[("foo", b"1, 2")], &[("foo", b"1")], false);
        check_match(&[("foo", b"a")], &[("foo", b"A")], false);
        check_match(&[("accept-language", b"en, de")], &[("accept-language", b"EN,dE")], true);
        check_match(&[("accept-language", b"en, de")], &[("accept-language", b"de, en")], false);
        check_match(&[("foo", b"1")], &[("foo", b"1"), ("accept-language", b"en")], false);
    }

    #[test]
    fn s4_1_absent_matches_absent_only() {
        check_match(&[], &[("bar", b"1")], true);
        check_match(&[("foo", b"1")], &[], false);
        check_match(&[], &[("foo", b"1")], false);
        check_match(&[], &[("foo", b"")], false);
        check_match(&[("foo", b"")], &[("foo", b" ")], true);
    }

    fn entry(
        vary: &[&'static str],
        request: &HeaderMap,
        date: Option<&'static str>,
        received_at: i64,
    ) -> Arc<StoredEntry> {
        let date = date.map(|date| (header::DATE, date));
        let facts = Facts { received_at: Timestamp::from_secs(received_at), ..crate::policy::testing::stored() };
        let head = FlatHead::from_fields(date.iter().map(|(name, date)| (name, date.as_bytes())));
        let selecting = selecting(&names(vary), request);
        Arc::new(StoredEntry::new(head, facts, StoredBody::default(), selecting, Box::default(), 0))
    }

    #[track_caller]
    fn check_select(entries: &[Arc<StoredEntry>], expected: Option<usize>) {
        let found = select(entries, &map(&[("foo", b"1")]));
        let at = found.map(|found| entries.iter().position(|entry| Arc::ptr_eq(entry, found)).unwrap());
        assert_eq!(at, expected);
    }

    #[test]
    fn s4_1_the_most_recent_date_of_those_that_match() {
        const EARLY: Option<&str> = Some("Thu, 01 Jan 1970 00:00:10 GMT");
        const LATE: Option<&str> = Some("Thu, 01 Jan 1970 00:00:20 GMT");
        let (one, two) = (map(&[("foo", b"1")]), map(&[("foo", b"2")]));
        check_select(&[], None);
        check_select(&[entry(&["foo"], &two, LATE, 0)], None);
        check_select(&[entry(&["foo"], &two, LATE, 0), entry(&["foo"], &one, EARLY, 0)], Some(1));
        check_select(&[entry(&["foo"], &one, EARLY, 99), entry(&[], &two, LATE, 0)], Some(1));
        check_select(&[entry(&["foo"], &one, LATE, 0), entry(&[], &two, EARLY, 0)], Some(0));
        check_select(&[entry(&["foo"], &one, LATE, 0), entry(&[], &two, LATE, 99)], Some(0));
        check_select(&[entry(&["foo"], &one, EARLY, 0), entry(&[], &two, None, 15)], Some(1));
        check_select(&[entry(&["foo"], &one, LATE, 0), entry(&[], &two, Some("0"), 15)], Some(0));
    }

    fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = proptest::sample::select(&b"aA1 ,\t\"\\\xe9"[..]);
        proptest::collection::vec(proptest::collection::vec(byte, 0..6), 1..3)
    }

    proptest! {
        #[test]
        fn s4_1_matching_is_equality_of_normal_forms_and_these_are_stable(one in lines(), two in lines()) {
            for name in ["foo", "accept-language", "cookie"] {
                let request = |lines: &[Vec<u8>]| map(&lines.iter().map(|line| (name, &line[..])).collect::<Vec<_>>());
                let (first, second) = (request(&one), request(&two));
                let stored = selecting(&names(&[name]), &first);
                prop_assert!(matches(&stored, &first));
                let same = stored == selecting(&names(&[name]), &second);
                prop_assert_eq!(matches(&stored, &second), same);
                let normal = stored[0].1.as_deref().unwrap();
                prop_assert_eq!(&selecting(&names(&[name]), &map(&[(name, normal)])), &stored);
            }
        }
    }
}
