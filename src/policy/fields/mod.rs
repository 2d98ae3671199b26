//! The fields that end at Larder, and the fields that are not stored (RFC 9110 §7.6.1, RFC 9111
//! §3.1).
//!
//! [`onward`] adds the request fields that only a trusted proxy may send, [`trailers`] the fields
//! that may follow the content.

pub(crate) mod onward;
pub(crate) mod trailers;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::policy::cache_control::directive::{self, Directive, DirectiveName};
use crate::route::SetCookie;
use crate::syntax::list;

/// Tells whether a field ends at Larder, even if `Connection` does not list it.
///
/// The proxy fields do: they concern the next hop only (RFC 9110 §11.7), and Larder neither asks
/// for credentials nor has any to pass on. `Trailer` does not: trailers pass, and hyper sends only
/// the trailers that it announces.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// The fields that say how a response may be cached (RFC 9111 §5.2, RFC 9213).
static CACHE_CONTROLS: [HeaderName; 3] =
    [header::CACHE_CONTROL, header::CDN_CACHE_CONTROL, HeaderName::from_static("larder-cache-control")];

/// Fields that `Connection` cannot remove, sorted.
///
/// They are meant for every recipient (RFC 9110 §7.6.1 calls it wrong to list such a field), and
/// without them a request would be framed, routed, keyed or authorised as another one.
static END_TO_END: [&str; 34] = [
    "age",
    "authorization",
    "cache-control",
    "cache-groups",
    "cache-status",
    "cdn-cache-control",
    "content-digest",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "etag",
    "expires",
    "forwarded",
    "host",
    "larder-cache-control",
    "last-modified",
    "location",
    "origin",
    "pragma",
    "range",
    "repr-digest",
    "set-cookie",
    "strict-transport-security",
    "user-agent",
    "vary",
    "via",
    "www-authenticate",
];

/// The prefixes of further such fields.
static END_TO_END_FAMILIES: [&str; 5] = ["accept", "access-control-", "if-", "sec-", "x-forwarded-"];

/// Fields that a qualified no-cache or private cannot keep from storage, sorted.
///
/// A cache decides by them, or frames and decodes the body by them. They stay true even if they
/// must not be shown.
static NEEDED_IN_STORE: [&str; 9] = [
    "cache-control",
    "cdn-cache-control",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "expires",
    "larder-cache-control",
    "vary",
];

/// The maximum number of fields in a request's head, and in a trailer section: hyper's own limit,
/// and more than browsers and the proxies in front of Larder ever send together.
pub const FIELDS_MAX: usize = 100;

/// A short list of field names.
pub type FieldNames = SmallVec<[HeaderName; 4]>;

/// Returns the fields that end here: the hop-by-hop ones and those that `Connection` lists.
///
/// `Cache-Control`, `Host` and other fields that every recipient needs are never among them, even
/// if they are listed.
pub fn hop_by_hop(headers: &HeaderMap) -> FieldNames {
    ending(headers, |_| false)
}

/// Returns the fields that end here, as [`hop_by_hop`] does, and those for which `ends_too` holds.
pub(super) fn ending(headers: &HeaderMap, ends_too: impl Fn(&HeaderName) -> bool) -> FieldNames {
    let lines = headers.get_all(header::CONNECTION).iter().map(HeaderValue::as_bytes);
    let listed = lines.filter(|line| !lists_nothing(line)).flat_map(list::members).filter_map(field_name);
    let mut ending: FieldNames = listed.filter(|name| !is_end_to_end(name.as_str())).collect();
    // Most messages have at most one of these: one look at each name costs less than ten searches.
    ending.extend(headers.keys().filter(|name| is_hop_by_hop(name.as_str()) || ends_too(name)).cloned());
    ending
}

/// Tells whether a Connection line is one of the two common ones, which list no field.
fn lists_nothing(line: &[u8]) -> bool {
    line.eq_ignore_ascii_case(b"keep-alive") || line.eq_ignore_ascii_case(b"close")
}

/// Removes the fields that end here.
pub fn strip_hop_by_hop(headers: &mut HeaderMap) {
    for name in hop_by_hop(headers) {
        headers.remove(name);
    }
}

fn is_end_to_end(name: &str) -> bool {
    END_TO_END.binary_search(&name).is_ok() || END_TO_END_FAMILIES.iter().any(|family| name.starts_with(family))
}

/// Returns the fields of a response that must not be stored, in addition to its hop-by-hop ones.
///
/// Not stored are the fields named by `no-cache="…"` and `private="…"` (RFC 9111 §5.2.2.4,
/// §5.2.2.7), `Set-Cookie` if the rule strips it, `Age`, which is written anew on each use, and
/// `Trailer`, since trailers are not stored.
pub fn unstored(headers: &HeaderMap, set_cookie: SetCookie) -> FieldNames {
    let mut qualified = FieldNames::new();
    for (name, line) in headers {
        if CACHE_CONTROLS.contains(name) && may_qualify(line.as_bytes()) {
            qualified.extend(qualified_names(line.as_bytes()));
        }
    }
    qualified.retain(|name| NEEDED_IN_STORE.binary_search(&name.as_str()).is_err());
    qualified.extend([header::AGE, header::TRAILER]);
    qualified.extend(stripped_cookies(set_cookie));
    qualified
}

/// Removes the fields that must not be stored. Call this once the response's facts are known.
pub fn strip_for_storage(headers: &mut HeaderMap, set_cookie: SetCookie) {
    for name in unstored(headers, set_cookie) {
        headers.remove(name);
    }
}

/// The older form of Set-Cookie (RFC 2965), which RFC 6265 made obsolete.
pub(crate) const SET_COOKIE2: HeaderName = HeaderName::from_static("set-cookie2");

/// Returns the fields that set cookies, if the rule strips them.
///
/// They are kept from the store, and from the client whose request led the fetch.
pub fn stripped_cookies(set_cookie: SetCookie) -> FieldNames {
    if set_cookie == SetCookie::Strip {
        [header::SET_COOKIE, SET_COOKIE2].into_iter().collect()
    } else {
        FieldNames::new()
    }
}

/// Tells whether a line may have `no-cache=` or `private=`. Most lines have neither and need no
/// parsing.
fn may_qualify(line: &[u8]) -> bool {
    memchr::memchr_iter(b'=', line).any(|at| {
        let before = line[..at].trim_ascii_end();
        let ends_with = |name: &[u8]| {
            before.len().checked_sub(name.len()).is_some_and(|start| before[start..].eq_ignore_ascii_case(name))
        };
        ends_with(b"no-cache") || ends_with(b"private")
    })
}

/// Iterates over the field names in the arguments of no-cache and private.
///
/// Senders should use the quoted form only. For storage the other forms count as well: a field that
/// a sender meant to keep out of storage stays out, however it is written.
fn qualified_names(line: &[u8]) -> impl Iterator<Item = HeaderName> {
    let qualified = |found: &Directive<'_>| matches!(found.name, DirectiveName::NoCache | DirectiveName::Private);
    directive::directives(line).filter(qualified).flat_map(|found| list::members(found.text)).filter_map(field_name)
}

fn field_name(member: &[u8]) -> Option<HeaderName> {
    HeaderName::from_bytes(member).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const HOP_BY_HOP: [&str; 10] = [
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    ];

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        map
    }

    /// Checks which of the fields named in `fields` (each with a value) remain.
    #[track_caller]
    fn check(fields: &[(&str, &str)], strip: impl Fn(&mut HeaderMap), left: &[&str]) {
        let mut headers = map(fields);
        strip(&mut headers);
        let mut found: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        found.sort_unstable();
        assert_eq!(found, left, "{fields:?}");
    }

    #[test]
    fn tables_are_sorted_for_the_search() {
        assert!(END_TO_END.is_sorted() && NEEDED_IN_STORE.is_sorted());
    }

    #[test]
    fn s7_6_1_hop_by_hop_fields_end_here() {
        let mut all: Vec<_> = HOP_BY_HOP.iter().map(|name| (*name, "x")).collect();
        all.extend([("trailer", "x-sum"), ("x-own", "1"), ("cache-control", "no-store")]);
        check(&all, strip_hop_by_hop, &["cache-control", "trailer", "x-own"]);
    }

    #[test]
    fn s7_6_1_listed_fields_end_here_too() {
        check(
            &[
                ("connection", "A, close,,\t b"),
                ("Connection", "D"),
                ("a", "1"),
                ("b", "2"),
                ("c", "3"),
                ("d", "4"),
                ("d", "5"),
            ],
            strip_hop_by_hop,
            &["c"],
        );
        check(
            &[("connection", "\"a\", b c, \u{e9}"), ("a", "1"), ("b", "2"), ("c", "3")],
            strip_hop_by_hop,
            &["a", "b", "c"],
        );
    }

    #[test]
    fn s7_6_1_fields_for_every_recipient_cannot_be_listed() {
        let protected = [
            "accept-encoding",
            "age",
            "authorization",
            "cache-control",
            "content-length",
            "content-type",
            "cookie",
            "date",
            "etag",
            "forwarded",
            "host",
            "if-none-match",
            "set-cookie",
            "vary",
            "via",
            "x-forwarded-for",
            "x-forwarded-proto",
        ];
        let list = protected.join(", ");
        let mut fields: Vec<_> = protected.iter().map(|name| (*name, "x")).collect();
        fields.push(("connection", &list));
        check(&fields, strip_hop_by_hop, &protected);
    }

    fn obeying(headers: &mut HeaderMap) {
        strip_hop_by_hop(headers);
        strip_for_storage(headers, SetCookie::Obey);
    }

    #[test]
    fn s3_1_hop_by_hop_fields_are_not_stored() {
        let mut all: Vec<_> = HOP_BY_HOP.iter().map(|name| (*name, "x")).collect();
        all.extend([
            ("trailer", "x-sum"),
            ("age", "1"),
            ("content-length", "3"),
            ("set-cookie", "a=1"),
            ("x-own", "1"),
        ]);
        check(&all, obeying, &["content-length", "set-cookie", "x-own"]);
    }

    #[test]
    fn s5_2_2_4_and_s5_2_2_7_qualified_fields_are_not_stored() {
        let rest = [("a", "1"), ("b", "2"), ("c", "3"), ("set-cookie", "d=4")];
        for (line, left) in [
            ("no-cache=\"a\"", &["b", "c", "cache-control", "set-cookie"][..]),
            ("max-age=1, No-Cache = \"A, b\" , public", &["c", "cache-control", "set-cookie"]),
            ("private=\"Set-Cookie\", x=\"no-cache=b, private=c\"", &["a", "b", "c", "cache-control"]),
            ("private=a, no-cache=\"b", &["c", "cache-control", "set-cookie"]),
            ("private, no-cache, a", &["a", "b", "c", "cache-control", "set-cookie"]),
            ("no-cache=\"\", private=", &["a", "b", "c", "cache-control", "set-cookie"]),
            ("no-cache=\"cache-control, content-length, vary, b\"", &["a", "c", "cache-control", "set-cookie"]),
            ("my-private=\"a\", max-age=\"5, a\"", &["a", "b", "c", "cache-control", "set-cookie"]),
        ] {
            let fields: Vec<_> = rest.into_iter().chain([("cache-control", line)]).collect();
            check(&fields, obeying, left);
        }
        check(
            &[("cache-control", "no-cache=\"a\""), ("cdn-cache-control", "private=\"b\""), ("a", "1"), ("b", "2")],
            obeying,
            &["cache-control", "cdn-cache-control"],
        );
    }

    #[test]
    fn every_line_that_may_name_fields_is_parsed() {
        for line in ["no-cache=a", "x, Private = \"a\"", "max-age=1, no-cache\t=a", "my-private=a", "private=a=b"] {
            assert!(may_qualify(line.as_bytes()), "{line}");
        }
        for line in ["", "=", "no-cache, private", "public, max-age=1", "cache=a"] {
            assert!(!may_qualify(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_rule_strips_cookies() {
        let fields = [("set-cookie", "a=1"), ("set-cookie2", "b=2"), ("x-own", "1")];
        check(&fields, |headers| strip_for_storage(headers, SetCookie::Strip), &["x-own"]);
        let obeying = |headers: &mut HeaderMap| strip_for_storage(headers, SetCookie::NeverStore);
        check(&fields, obeying, &["set-cookie", "set-cookie2", "x-own"]);
        assert_eq!(stripped_cookies(SetCookie::Strip).to_vec(), ["set-cookie", "set-cookie2"]);
    }
}
