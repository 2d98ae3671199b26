//! The fields that Larder writes into a response's head.
//!
//! Larder writes Age, Date, Via, Cache-Status (RFC 9211), and Vary and ETag of transformed bodies.
//! [`stored_head`] makes the whole head of a response from the store, in one map. The smaller
//! functions serve responses that come straight from the origin. The caller writes the status line
//! and the body.

use std::cell::RefCell;
use std::time::Duration;

use http::header::{self, Entry, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, Version};

pub use super::status::{cache_status, proxy_status};
use super::{conditional, range};
use crate::clock::Timestamp;
use crate::stored::{Coding, FlatHead};
use crate::syntax::{self, list};

/// The form in which a stored response is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseForm {
    /// The whole body in this coding, with the stored status.
    Whole(Coding),
    /// One range of the identity form, with its Content-Range: 206.
    Part(HeaderValue),
    /// Several ranges, with the Content-Type of their multipart body: 206.
    Parts(HeaderValue),
    /// 304 in place of the whole body in this coding.
    NotModified(Coding),
    /// 416 in place of a range of this many bytes.
    Unsatisfiable(u64),
    /// 412.
    PreconditionFailed,
}

impl ResponseForm {
    /// Returns the status to send, given the `stored` one.
    pub fn status(&self, stored: StatusCode) -> StatusCode {
        match self {
            Self::Whole(_) => stored,
            Self::Part(_) | Self::Parts(_) => StatusCode::PARTIAL_CONTENT,
            Self::NotModified(_) => StatusCode::NOT_MODIFIED,
            Self::Unsatisfiable(_) => StatusCode::RANGE_NOT_SATISFIABLE,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        }
    }

    /// Tells whether a stored field is sent with this form. Age and Content-Length are always
    /// written anew.
    fn keeps(&self, name: &HeaderName, has_etag: bool) -> bool {
        let is_rewritten = name == header::AGE || name == header::CONTENT_LENGTH;
        match self {
            Self::Whole(Coding::Identity) => !is_rewritten,
            // Fields that describe the other form: digests of its bytes (RFC 9530 §2, §3; RFC
            // 3230), and ranges cut from it.
            Self::Whole(_) => !(is_rewritten || name == header::ACCEPT_RANGES || is_digest(name)),
            // Content-Digest is about this message's content; Repr-Digest and Digest still hold for
            // the whole.
            Self::Part(_) => !(is_rewritten || name == header::CONTENT_RANGE || is_content_digest(name)),
            Self::Parts(_) => {
                !(is_rewritten
                    || name == header::CONTENT_RANGE
                    || name == header::CONTENT_TYPE
                    || is_content_digest(name))
            }
            Self::NotModified(_) => goes_with_not_modified(name, has_etag) || is_cross_origin(name),
            // Larder's own answer to the request, not the stored response. The fields that let a
            // script read it stay.
            Self::Unsatisfiable(_) | Self::PreconditionFailed => name == header::VARY || is_cross_origin(name),
        }
    }

    /// Returns the coding that this form has, or would have had (RFC 9110 §15.4.5).
    fn coding(&self) -> Coding {
        match self {
            Self::Whole(coding) | Self::NotModified(coding) => *coding,
            _ => Coding::Identity,
        }
    }
}

/// Says whether the form that a client gets depends on its Accept-Encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Negotiation {
    /// The entry is compressible: every response from it says `Vary: Accept-Encoding`.
    AcceptEncoding,
    /// Every client gets the stored form.
    None,
}

/// The fields that Larder adds to a stored head.
#[derive(Clone, Debug)]
pub struct OwnFields {
    /// The current_age (RFC 9111 §4.2.3), sent in whole seconds; `None` if the origin makes the
    /// response for this very request, since Age implies that it did not (§5.1).
    pub age: Option<Duration>,
    /// Larder's member of Cache-Status.
    pub cache_status: HeaderValue,
    /// Says whether Accept-Encoding selects the form.
    pub negotiation: Negotiation,
    /// The length in bytes of the content that a GET gets; `None` if it is not known yet.
    pub content_length: Option<u64>,
}

/// Makes the head of a response that is answered from the store.
///
/// The stored head has a Date: the origin's, or the time of receipt (RFC 9110 §6.6.1). The stored
/// Via stays and gets Larder's member. 412 and 416 are Larder's own and made now: they have no Age,
/// and the sender adds Date.
pub fn stored_head(stored: &FlatHead, form: &ResponseForm, own: OwnFields) -> HeaderMap {
    let has_etag = matches!(form, ResponseForm::NotModified(_)) && stored.get(&header::ETAG).is_some();
    let mut head = HeaderMap::with_capacity(24);
    stored.append_to(&mut head, |name| form.keeps(name, has_etag));

    let coding = form.coding();
    if coding != Coding::Identity {
        weaken_etag(&mut head);
    }
    match form {
        ResponseForm::Whole(Coding::Identity) | ResponseForm::NotModified(_) | ResponseForm::PreconditionFailed => {}
        ResponseForm::Whole(coding) => {
            head.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.token()));
        }
        ResponseForm::Part(content_range) => {
            head.insert(header::CONTENT_RANGE, content_range.clone());
        }
        ResponseForm::Parts(content_type) => {
            head.insert(header::CONTENT_TYPE, content_type.clone());
        }
        ResponseForm::Unsatisfiable(length) => {
            head.insert(header::CONTENT_RANGE, range::unsatisfied(*length));
        }
    }
    match form {
        ResponseForm::Whole(_) | ResponseForm::Part(_) | ResponseForm::Parts(_) => {
            if let Some(length) = own.content_length {
                head.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
            }
        }
        ResponseForm::NotModified(_) | ResponseForm::Unsatisfiable(_) | ResponseForm::PreconditionFailed => {}
    }
    let is_ours = matches!(form, ResponseForm::Unsatisfiable(_) | ResponseForm::PreconditionFailed);
    add_own(&mut head, own, is_ours);
    head
}

/// Makes the head of a whole response for the client whose request fetched it, from the origin's
/// `fields` that go on.
pub fn first_head(mut fields: HeaderMap, own: OwnFields) -> HeaderMap {
    if let Some(length) = own.content_length {
        fields.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    add_own(&mut fields, own, false);
    fields
}

/// Adds the fields that every response gets; Age and Via only if the response is not Larder's own.
fn add_own(head: &mut HeaderMap, own: OwnFields, is_ours: bool) {
    if !is_ours {
        if let Some(age) = own.age {
            set_age(head, age);
        }
        append_via(head, Version::HTTP_11);
    }
    if own.negotiation == Negotiation::AcceptEncoding {
        vary_on_accept_encoding(head);
    }
    append_cache_status(head, own.cache_status);
}

/// Tells whether a field is sent with a 304.
///
/// Sent are the fields that a 304 repeats from its 200 (RFC 9110 §15.4.5), and others that guide
/// the caches on the path back. Last-Modified is one of those only if there is no ETag. Set-Cookie
/// and representation metadata are not sent: the client has them already.
fn goes_with_not_modified(name: &HeaderName, has_etag: bool) -> bool {
    name == header::CACHE_CONTROL
        || name == header::CACHE_STATUS
        || name == header::CDN_CACHE_CONTROL
        || name == header::CONTENT_LOCATION
        || name == header::DATE
        || name == header::ETAG
        || name == header::EXPIRES
        || name == header::VARY
        || name == header::VIA
        || name == header::LAST_MODIFIED && !has_etag
}

/// Tells whether a browser needs a field on every response, even a 304, before it lets a script
/// read it.
///
/// Such a field says nothing about the representation, so RFC 9110 §15.4.5 does not exclude it.
fn is_cross_origin(name: &HeaderName) -> bool {
    name == header::ACCESS_CONTROL_ALLOW_ORIGIN
        || name == header::ACCESS_CONTROL_ALLOW_CREDENTIALS
        || name == header::ACCESS_CONTROL_EXPOSE_HEADERS
}

static CONTENT_DIGEST: HeaderName = HeaderName::from_static("content-digest");
static CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
static DIGEST: HeaderName = HeaderName::from_static("digest");
static REPR_DIGEST: HeaderName = HeaderName::from_static("repr-digest");

fn is_digest(name: &HeaderName) -> bool {
    is_content_digest(name) || *name == DIGEST || *name == REPR_DIGEST
}

fn is_content_digest(name: &HeaderName) -> bool {
    *name == CONTENT_DIGEST || *name == CONTENT_MD5
}

/// Makes the head's ETag weak: the bytes that it names are no longer the origin's (RFC 9110
/// §8.8.1).
fn weaken_etag(head: &mut HeaderMap) {
    if let Some(weak) = head.get(header::ETAG).map(conditional::weaken) {
        head.insert(header::ETAG, weak);
    }
}

/// Sets Age in whole seconds, replacing any that is there (RFC 9111 §5.1).
pub fn set_age(headers: &mut HeaderMap, age: Duration) {
    headers.insert(header::AGE, HeaderValue::from(age.as_secs()));
}

/// Appends Larder's member to Cache-Status.
///
/// The members of caches nearer to the origin stay in front of it (RFC 9211 §2). Lines that are not
/// lists are dropped: with them nobody could parse the others either (RFC 9651 §4.2).
pub fn append_cache_status(headers: &mut HeaderMap, value: HeaderValue) {
    match headers.entry(header::CACHE_STATUS) {
        Entry::Vacant(none) => {
            none.insert(value);
        }
        Entry::Occupied(mut lines) if lines.iter().all(is_list) => lines.append(value),
        Entry::Occupied(lines) => {
            let sound: Vec<_> = lines.iter().filter(|line| is_list(line)).cloned().collect();
            lines.remove();
            for line in sound.into_iter().chain([value]) {
                headers.append(header::CACHE_STATUS, line);
            }
        }
    }
}

/// Tells whether a line is a structured list that is not empty.
fn is_list(line: &HeaderValue) -> bool {
    sfv::Parser::new(line.as_bytes()).parse::<sfv::List>().is_ok_and(|list| !list.is_empty())
}

/// Returns Larder's member of Via for a message that was received with `version` (RFC 9110 §7.6.3).
pub fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_09 | Version::HTTP_10 => "1.0 larder",
        // §2.5: a major version without minor versions is written with a zero.
        Version::HTTP_2 => "2.0 larder",
        Version::HTTP_3 => "3.0 larder",
        _ => "1.1 larder",
    })
}

/// Appends Larder's member to Via.
pub fn append_via(headers: &mut HeaderMap, version: Version) {
    headers.append(header::VIA, via(version));
}

/// Returns the Date field's value; printed at most once a second per thread.
pub fn date(now: Timestamp) -> HeaderValue {
    thread_local! {
        /// The last second that was printed, and its text.
        static LAST: RefCell<Option<(i64, HeaderValue)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((at, text)) if *at == now.as_secs() => text.clone(),
        _ => {
            let text = syntax::date::header_value(now);
            *last = Some((now.as_secs(), text.clone()));
            text
        }
    })
}

/// Adds `Accept-Encoding` to Vary unless it is there or Vary is `*`.
pub fn vary_on_accept_encoding(headers: &mut HeaderMap) {
    let is_covered = list::field_members(headers, header::VARY)
        .any(|name| name == b"*" || name.eq_ignore_ascii_case(b"accept-encoding"));
    if !is_covered {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        map
    }

    const PAGE: &[(&str, &str)] = &[
        ("accept-ranges", "bytes"),
        ("access-control-allow-origin", "*"),
        ("age", "99"),
        ("cache-control", "max-age=60"),
        ("cache-status", "Upstream; hit"),
        ("content-digest", "sha-256=:AA==:"),
        ("content-length", "5000"),
        ("content-md5", "AA=="),
        ("content-type", "text/html"),
        ("date", "Mon, 02 Nov 2026 10:00:00 GMT"),
        ("digest", "sha-256=AA=="),
        ("etag", "\"a\u{fc}\""),
        ("last-modified", "Sun, 01 Nov 2026 10:00:00 GMT"),
        ("repr-digest", "sha-256=:AA==:"),
        ("set-cookie", "a=1"),
        ("vary", "Accept"),
        ("via", "1.1 upstream"),
        ("x-own", "1"),
    ];

    fn own(negotiation: Negotiation) -> OwnFields {
        OwnFields {
            age: Some(Duration::from_millis(7999)),
            cache_status: HeaderValue::from_static("Larder; hit; ttl=53"),
            negotiation,
            content_length: Some(1234),
        }
    }

    #[test]
    fn r9211_s2_what_makes_the_list_unreadable_is_left_out() {
        let check = |upstream: &[&str], kept: &[&str]| {
            let fields: Vec<_> = upstream.iter().map(|line| ("cache-status", *line)).collect();
            let mut headers = map(&fields);
            append_cache_status(&mut headers, HeaderValue::from_static("Larder; hit"));
            let lines: Vec<&[u8]> = headers.get_all("cache-status").iter().map(HeaderValue::as_bytes).collect();
            let expected: Vec<&[u8]> = kept.iter().map(|line| line.as_bytes()).chain([&b"Larder; hit"[..]]).collect();
            assert_eq!(lines, expected, "{upstream:?}");
            assert!(sfv::Parser::new(&lines.join(&b", "[..])).parse::<sfv::List>().is_ok(), "{upstream:?}");
        };
        check(&[], &[]);
        check(&["A; hit"], &["A; hit"]);
        check(&["A; hit, \"B\"; fwd=miss", "C; key=\"x, y\""], &["A; hit, \"B\"; fwd=miss", "C; key=\"x, y\""]);
        for odd in ["HIT from proxy", "A; key=\"x", "A; hit,", "", "A; detail=\u{e9}", "A;; hit"] {
            check(&[odd], &[]);
            check(&["A; hit", odd, "C"], &["A; hit", "C"]);
        }
    }

    /// Compares the head as lines, sorted by name; lines of one name stay in order.
    #[track_caller]
    fn check(fields: &[(&'static str, &str)], form: ResponseForm, negotiation: Negotiation, want: &[&str]) {
        let head = stored_head(&FlatHead::from_map(&map(fields)), &form, own(negotiation));
        let mut got: Vec<String> =
            head.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))).collect();
        got.sort_by_key(|line| line.split(':').next().unwrap_or_default().to_owned());
        assert_eq!(got, want, "{form:?}");
    }

    #[test]
    fn a_whole_identity_answer_keeps_what_the_origin_sent() {
        check(
            PAGE,
            ResponseForm::Whole(Coding::Identity),
            Negotiation::None,
            &[
                "accept-ranges: bytes",
                "access-control-allow-origin: *",
                "age: 7",
                "cache-control: max-age=60",
                "cache-status: Upstream; hit",
                "cache-status: Larder; hit; ttl=53",
                "content-digest: sha-256=:AA==:",
                "content-length: 1234",
                "content-md5: AA==",
                "content-type: text/html",
                "date: Mon, 02 Nov 2026 10:00:00 GMT",
                "digest: sha-256=AA==",
                "etag: \"a\u{fc}\"",
                "last-modified: Sun, 01 Nov 2026 10:00:00 GMT",
                "repr-digest: sha-256=:AA==:",
                "set-cookie: a=1",
                "vary: Accept",
                "via: 1.1 upstream",
                "via: 1.1 larder",
                "x-own: 1",
            ],
        );
    }

    #[test]
    fn s8_8_1_a_coded_answer_is_another_form() {
        check(
            PAGE,
            ResponseForm::Whole(Coding::Zstd),
            Negotiation::AcceptEncoding,
            &[
                "access-control-allow-origin: *",
                "age: 7",
                "cache-control: max-age=60",
                "cache-status: Upstream; hit",
                "cache-status: Larder; hit; ttl=53",
                "content-encoding: zstd",
                "content-length: 1234",
                "content-type: text/html",
                "date: Mon, 02 Nov 2026 10:00:00 GMT",
                "etag: W/\"a\u{fc}\"",
                "last-modified: Sun, 01 Nov 2026 10:00:00 GMT",
                "set-cookie: a=1",
                "vary: Accept",
                "vary: Accept-Encoding",
                "via: 1.1 upstream",
                "via: 1.1 larder",
                "x-own: 1",
            ],
        );
    }

    #[test]
    fn s15_4_5_a_304_carries_what_caches_need() {
        let common = |etag: &'static str| {
            [
                "access-control-allow-origin: *",
                "age: 7",
                "cache-control: max-age=60",
                "cache-status: Upstream; hit",
                "cache-status: Larder; hit; ttl=53",
                "date: Mon, 02 Nov 2026 10:00:00 GMT",
                etag,
                "vary: Accept",
                "vary: Accept-Encoding",
                "via: 1.1 upstream",
                "via: 1.1 larder",
            ]
        };
        let identity = common("etag: \"a\u{fc}\"");
        check(PAGE, ResponseForm::NotModified(Coding::Identity), Negotiation::AcceptEncoding, &identity);
        check(
            PAGE,
            ResponseForm::NotModified(Coding::Gzip),
            Negotiation::AcceptEncoding,
            &common("etag: W/\"a\u{fc}\""),
        );
        let without_etag: Vec<_> = PAGE.iter().copied().filter(|(name, _)| *name != "etag").collect();
        check(
            &without_etag,
            ResponseForm::NotModified(Coding::Identity),
            Negotiation::AcceptEncoding,
            &common("last-modified: Sun, 01 Nov 2026 10:00:00 GMT"),
        );
    }

    #[test]
    fn s15_3_7_a_part_says_which_and_drops_the_digest_of_the_whole_content() {
        let fields = [("content-type", "text/html"), ("content-md5", "AA=="), ("etag", "\"a\""), ("repr-digest", "x")];
        check(
            &fields,
            ResponseForm::Part(HeaderValue::from_static("bytes 0-1/10")),
            Negotiation::None,
            &[
                "age: 7",
                "cache-status: Larder; hit; ttl=53",
                "content-length: 1234",
                "content-range: bytes 0-1/10",
                "content-type: text/html",
                "etag: \"a\"",
                "repr-digest: x",
                "via: 1.1 larder",
            ],
        );
        check(
            &fields,
            ResponseForm::Parts(HeaderValue::from_static("multipart/byteranges; boundary=B")),
            Negotiation::None,
            &[
                "age: 7",
                "cache-status: Larder; hit; ttl=53",
                "content-length: 1234",
                "content-type: multipart/byteranges; boundary=B",
                "etag: \"a\"",
                "repr-digest: x",
                "via: 1.1 larder",
            ],
        );
    }

    #[test]
    fn s15_5_what_larder_answers_itself_is_not_the_stored_response() {
        let cors = "access-control-allow-origin: *";
        let status = "cache-status: Larder; hit; ttl=53";
        check(
            PAGE,
            ResponseForm::Unsatisfiable(10),
            Negotiation::None,
            &[cors, status, "content-range: bytes */10", "vary: Accept"],
        );
        check(PAGE, ResponseForm::PreconditionFailed, Negotiation::None, &[cors, status, "vary: Accept"]);
    }

    #[test]
    fn a_form_has_its_status() {
        for (form, want) in [
            (ResponseForm::Whole(Coding::Gzip), 404),
            (ResponseForm::Part(range::content_range(&(0..1), 2)), 206),
            (ResponseForm::Parts(HeaderValue::from_static("x")), 206),
            (ResponseForm::NotModified(Coding::Zstd), 304),
            (ResponseForm::Unsatisfiable(1), 416),
            (ResponseForm::PreconditionFailed, 412),
        ] {
            assert_eq!(form.status(StatusCode::NOT_FOUND).as_u16(), want, "{form:?}");
        }
    }

    #[test]
    fn a_length_that_is_not_known_yet_is_left_out() {
        let own = OwnFields { content_length: None, ..own(Negotiation::None) };
        let stored = FlatHead::from_map(&map(&[("content-length", "10")]));
        assert!(
            !stored_head(&stored, &ResponseForm::Whole(Coding::Identity), own).contains_key(header::CONTENT_LENGTH)
        );
    }

    #[test]
    fn s12_5_5_vary_names_accept_encoding_once() {
        for (before, want) in [
            (vec![], vec!["Accept-Encoding"]),
            (vec!["Accept"], vec!["Accept", "Accept-Encoding"]),
            (vec!["Accept, accept-ENCODING"], vec!["Accept, accept-ENCODING"]),
            (vec!["Accept", "Accept-Encoding"], vec!["Accept", "Accept-Encoding"]),
            (vec!["X-Accept-Encoding"], vec!["X-Accept-Encoding", "Accept-Encoding"]),
            (vec!["*"], vec!["*"]),
            (vec!["Accept, *"], vec!["Accept, *"]),
        ] {
            let fields: Vec<_> = before.iter().map(|value| ("vary", *value)).collect();
            let mut headers = map(&fields);
            vary_on_accept_encoding(&mut headers);
            let got: Vec<_> = headers.get_all("vary").iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(got, want);
        }
    }

    #[test]
    fn s5_6_7_dates_are_fixed_length_and_change_with_the_second() {
        let at = |millis| date(Timestamp::from_millis(millis));
        assert_eq!(at(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(784_111_777_000), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_777_999), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(at(784_111_778_000), "Sun, 06 Nov 1994 08:49:38 GMT");
        assert_eq!(at(-1), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(at(i64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn s7_6_3_via_names_the_version_received() {
        let mut headers = map(&[("via", "1.0 fred")]);
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            append_via(&mut headers, version);
        }
        let got: Vec<_> = headers.get_all("via").iter().collect();
        assert_eq!(got, ["1.0 fred", "1.0 larder", "1.1 larder", "2.0 larder"]);
    }
}
