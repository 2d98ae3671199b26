//! Turns the bytes of a URL into canonical form (RFC 3986 §6.2.2 and §6.2.3), each part in one
//! pass.
//!
//! Bytes that are canonical already are copied as a run. From the first other byte on, one byte is
//! read at a time.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::Ipv6Addr;

use super::scheme::Scheme;

/// The reason why a host or a target has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TargetError(pub &'static str);

/// The longest URL, in bytes: the most that an `http::Uri` holds.
pub(super) const URL_BYTES_MAX: usize = u16::MAX as usize - 1;

/// The longest host, in bytes: the most that a DNS name holds (RFC 1035 §2.3.4).
const HOST_BYTES_MAX: usize = 255;

/// `unreserved` (RFC 3986 §2.3), also the set of characters in a host. The RFC's reg-name allows
/// `%` and sub-delims too, but no real host has them: `%` spells one name in two ways, and `,` or
/// `;` end list members downstream.
const UNRESERVED: u8 = 1;
/// Characters that stand for themselves in a path and a query: unreserved, sub-delims, `:@/?`. The
/// RFC's grammar has no brackets there, but queries such as `a[]=1` are everywhere, and encoding
/// them would change the origin's view.
const PLAIN: u8 = 2;

/// The classes of each byte.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut byte = 0;
    while byte < class.len() {
        class[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => UNRESERVED | PLAIN,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' => PLAIN,
            b':' | b'@' | b'/' | b'?' | b'[' | b']' => PLAIN,
            _ => 0,
        };
        byte += 1;
    }
    class
};

fn is(class: u8, byte: u8) -> bool {
    CLASS[usize::from(byte)] & class != 0
}

/// Splits a canonical or well-formed authority into its host, with brackets, and the text after the
/// colon.
pub(super) fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = if authority.starts_with('[') { authority.find(']').map_or(0, |at| at + 1) } else { 0 };
    match authority[host_end..].find(':') {
        Some(colon) => (&authority[..host_end + colon], Some(&authority[host_end + colon + 1..])),
        None => (authority, None),
    }
}

/// Appends `authority` in canonical form (RFC 9110 §4.2.3).
pub(super) fn write_authority(out: &mut String, scheme: Scheme, authority: &str) -> Result<(), TargetError> {
    if authority.contains('@') {
        return Err(TargetError("the URL has a user name, which HTTP requests forbid (RFC 9110 §4.2.4)"));
    }
    let (host, port) = split_port(authority);
    if host.is_empty() {
        return Err(TargetError("the host is empty"));
    }
    if host.len() > HOST_BYTES_MAX {
        return Err(TargetError("the host is longer than 255 bytes"));
    }
    if let Some(inside) = host.strip_prefix('[') {
        let address = inside.strip_suffix(']').and_then(|inside| inside.parse::<Ipv6Addr>().ok());
        let address = address.ok_or(TargetError("the host is not a valid IPv6 address"))?;
        let _ = write!(out, "[{address}]"); // Writing to a String cannot fail.
    } else {
        let mut previous = b'.';
        for &byte in host.as_bytes() {
            if !is(UNRESERVED, byte) {
                return Err(TargetError("the host has a character that no host name has"));
            }
            if byte == b'.' && previous == b'.' {
                return Err(TargetError("the host has an empty label"));
            }
            previous = byte;
        }
        let at = out.len();
        out.push_str(host);
        out[at..].make_ascii_lowercase();
    }
    match port {
        None | Some("") => Ok(()),
        Some(port) => write_port(out, scheme, port),
    }
}

fn write_port(out: &mut String, scheme: Scheme, port: &str) -> Result<(), TargetError> {
    let is_number = port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    match port.parse::<u16>() {
        Ok(number) if is_number && number != 0 => {
            if number != scheme.default_port() {
                out.push(':');
                out.push_str(port.trim_start_matches('0'));
            }
            Ok(())
        }
        _ => Err(TargetError("the port is not a number from 1 to 65535")),
    }
}

/// Appends the path and query in canonical form, and returns the position of the query's `?`, or
/// the end.
pub(super) fn write_target(out: &mut String, target: &str) -> Result<usize, TargetError> {
    let (path, query) = match memchr::memchr(b'?', target.as_bytes()) {
        Some(at) => (&target[..at], Some(&target[at + 1..])),
        None => (target, None),
    };
    if path.is_empty() {
        // Only an absolute form arrives without a path (RFC 3986 §6.2.3).
        out.push('/');
    } else {
        write_path(out, path)?;
    }
    let query_at = out.len();
    if let Some(query) = query {
        out.push('?');
        let plain = query.bytes().position(|byte| !is(PLAIN, byte)).unwrap_or(query.len());
        out.push_str(&query[..plain]);
        let mut rest = &query.as_bytes()[plain..];
        while !rest.is_empty() {
            rest = push_canonical(out, rest)?;
        }
    }
    Ok(query_at)
}

fn write_path(out: &mut String, path: &str) -> Result<(), TargetError> {
    if !path.starts_with('/') {
        return Err(TargetError("the target does not start with a slash"));
    }
    let path_at = out.len();
    // A dot after a slash may start a dot segment. Most paths have none.
    let mut previous = b'/';
    let plain = path.bytes().position(|byte| {
        let stops = !is(PLAIN, byte) || (byte == b'.' && previous == b'/');
        previous = byte;
        stops
    });
    let Some(plain) = plain else {
        out.push_str(path);
        return Ok(());
    };
    out.push_str(&path[..plain]);
    let mut rest = &path.as_bytes()[plain..];
    while let Some(&byte) = rest.first() {
        if byte != b'/' {
            rest = push_canonical(out, rest)?;
            continue;
        }
        if !close_dot_segment(out, path_at) {
            out.push('/');
        }
        rest = &rest[1..];
    }
    close_dot_segment(out, path_at);
    Ok(())
}

/// Removes the last segment of the path that starts at `path_at` if it is a dot segment, and for
/// `..` the segment before it (RFC 3986 §5.2.4). Returns whether it was one, in which case the path
/// ends with a slash.
fn close_dot_segment(out: &mut String, path_at: usize) -> bool {
    let slash = path_at + out[path_at..].rfind('/').unwrap_or(0);
    let end = match &out[slash + 1..] {
        "." => slash + 1,
        ".." => path_at + out[path_at..slash].rfind('/').unwrap_or(0) + 1,
        _ => return false,
    };
    out.truncate(end);
    true
}

/// Appends the first byte or percent-encoding of `bytes` in canonical form and returns what
/// follows.
fn push_canonical<'a>(out: &mut String, bytes: &'a [u8]) -> Result<&'a [u8], TargetError> {
    if let Some((byte, rest)) = percent_encoded(bytes) {
        if is(UNRESERVED, byte) {
            out.push(char::from(byte));
        } else {
            push_encoded(out, byte);
        }
        return Ok(rest);
    }
    match bytes {
        [byte, rest @ ..] if is(PLAIN, *byte) => {
            out.push(char::from(*byte));
            Ok(rest)
        }
        [b'#', ..] => Err(TargetError("the target has a fragment")),
        [byte, ..] if byte.is_ascii_control() => Err(TargetError("the target has a control character")),
        [byte, rest @ ..] => {
            push_encoded(out, *byte);
            Ok(rest)
        }
        [] => Ok(bytes),
    }
}

/// Reads the percent-encoding at the start of `bytes`; returns its byte and the rest.
fn percent_encoded(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, rest @ ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    Some((digit(*high)? << 4 | digit(*low)?, rest))
}

/// Appends `%` and the byte in upper-case hexadecimal.
fn push_encoded(out: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    out.push(char::from(DIGITS[usize::from(byte >> 4)]));
    out.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Appends a name or a value of any bytes so that it can be read back: controls, `%`, `=` and bytes
/// above 0x7f are percent-encoded.
pub(super) fn push_opaque(out: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        if byte.is_ascii_control() || !byte.is_ascii() || matches!(byte, b'%' | b'=') {
            push_encoded(out, byte);
        } else {
            out.push(char::from(byte));
        }
    }
}

/// Returns `text` percent-decoded. Invalid UTF-8 is replaced by U+FFFD.
pub(super) fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let (byte, tail) = percent_encoded(rest).unwrap_or((first, tail));
        bytes.push(byte);
        rest = tail;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{CanonicalUrl, KeyHasher};
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(target: &str, expected: &str) {
        let url = CanonicalUrl::new(Scheme::Http, "h", target).unwrap();
        assert_eq!(url.path_and_query(), expected, "{target:?}");
        let again = CanonicalUrl::new(Scheme::Http, "h", url.path_and_query()).unwrap();
        assert_eq!(again, url, "{target:?}");
    }

    #[track_caller]
    fn check_authority(scheme: Scheme, authority: &str, expected: Option<&str>) {
        let url = CanonicalUrl::new(scheme, authority, "/").ok();
        assert_eq!(url.as_ref().map(CanonicalUrl::authority), expected, "{authority:?}");
    }

    #[test]
    fn s6_2_3_an_empty_path_is_the_root() {
        check("", "/");
        check("/", "/");
        check("?", "/?");
        check("?a", "/?a");
        check("/?", "/?");
    }

    #[test]
    fn s6_2_2_3_dot_segments_are_removed() {
        check("/.", "/");
        check("/..", "/");
        check("/a/.", "/a/");
        check("/a/..", "/");
        check("/a/./b/../c", "/a/c");
        check("/a/b/../../../../c", "/c");
        check("/a//../b", "/a/b");
        check("//..", "/");
        check("/../", "/");
        check("/./", "/");
        check("/...", "/...");
        check("/.a/..b/c.", "/.a/..b/c.");
        check("/a/..;/b", "/a/..;/b");
        check("/a/..//b", "//b");
        check("/a?b/../c/./d", "/a?b/../c/./d");
        check("/a/..?b", "/?b");
    }

    #[test]
    fn s6_2_2_3_dot_segments_may_be_spelled_with_encoded_dots() {
        for dots in ["..", "%2e%2e", "%2E.", ".%2e", "%2E%2e"] {
            check(&format!("/a/b/{dots}/c"), "/a/c");
            check(&format!("/{dots}"), "/");
        }
        check("/a/%2e/b", "/a/b");
        check("/a/%252e%252e/b", "/a/%252e%252e/b");
        check("/a/..%2fb", "/a/..%2Fb");
        check("/a/..%5cb", "/a/..%5Cb");
    }

    #[test]
    fn slashes_are_kept() {
        check("//a//b", "//a//b");
        check("/a///", "/a///");
    }

    #[test]
    fn s6_2_2_1_the_case_of_hexadecimal_does_not_count() {
        check("/%c3%a9?%c3%a9", "/%C3%A9?%C3%A9");
        check("/a%2fb", "/a%2Fb");
        check("/a%00b", "/a%00b");
        check("/%3f%23%25", "/%3F%23%25");
    }

    #[test]
    fn s6_2_2_2_unreserved_characters_are_decoded() {
        check("/%41%7a%30%2D%5f%7E?%61=%7e", "/Az0-_~?a=~");
        check("/%21%2b?%26=%3D", "/%21%2B?%26=%3D");
        check("/a%2Ephp", "/a.php");
    }

    #[test]
    fn a_backslash_is_never_a_slash() {
        check("/a\\b", "/a%5Cb");
        check("/a\\..\\b", "/a%5C..%5Cb");
        check("/a/..\\b?c\\d", "/a/..%5Cb?c%5Cd");
    }

    #[test]
    fn characters_that_no_uri_contains_are_encoded() {
        check("/a b\"<>^`{|}?a b\"<>^`{|}", "/a%20b%22%3C%3E%5E%60%7B%7C%7D?a%20b%22%3C%3E%5E%60%7B%7C%7D");
        check("/caf\u{e9}?\u{20ac}", "/caf%C3%A9?%E2%82%AC");
        check("/a[0]!$&'()*+,;=:@?a[]=1/?", "/a[0]!$&'()*+,;=:@?a[]=1/?");
    }

    #[test]
    fn a_stray_percent_sign_is_encoded() {
        check("/%zz", "/%25zz");
        check("/100%", "/100%25");
        check("/%2", "/%252");
        check("/%%32e%%32%65", "/%252e%252e");
        check("/?q=100%&r=%u0041", "/?q=100%25&r=%25u0041");
    }

    #[test]
    fn ambiguous_targets_are_refused() {
        for target in ["*", "a", "a/b", "http://h/", "\\a", "/a#b", "/a?b#c", "#", "/a\0b", "/a\nb", "/a\tb", "/a\x7f"]
        {
            assert!(CanonicalUrl::new(Scheme::Http, "h", target).is_err(), "{target:?}");
        }
        let fits = format!("/{}", "a".repeat(URL_BYTES_MAX - "http://h/".len()));
        assert!(CanonicalUrl::new(Scheme::Http, "h", &fits).is_ok());
        assert!(CanonicalUrl::new(Scheme::Http, "h", &format!("{fits}a")).is_err());
    }

    #[test]
    fn s4_2_3_host_case_and_default_port_do_not_count() {
        use Scheme::{Http, Https};
        check_authority(Http, "EXAMPLE.Org", Some("example.org"));
        check_authority(Http, "example.org:", Some("example.org"));
        check_authority(Http, "example.org:80", Some("example.org"));
        check_authority(Http, "example.org:443", Some("example.org:443"));
        check_authority(Https, "example.org:443", Some("example.org"));
        check_authority(Https, "example.org:80", Some("example.org:80"));
        check_authority(Http, "example.org:08080", Some("example.org:8080"));
        check_authority(Http, "127.0.0.1:3000", Some("127.0.0.1:3000"));
        check_authority(Http, "a_b-c.example.org.", Some("a_b-c.example.org."));
        check_authority(Http, "[0:0::1]:80", Some("[::1]"));
        check_authority(Http, "[2001:DB8::1]:81", Some("[2001:db8::1]:81"));
        check_authority(Http, "[::ffff:1.2.3.4]", Some("[::ffff:1.2.3.4]"));
    }

    #[test]
    fn s4_2_4_and_s7_2_malformed_hosts_are_refused() {
        for authority in [
            "",
            ":80",
            "a b",
            " a",
            "a ",
            "a/b",
            "a\\b",
            "a?b",
            "a#b",
            "user@a",
            "u:p@a",
            "a:b",
            "a:0",
            "a:65536",
            "a:+1",
            "a:-1",
            "a: 80",
            "a:80:80",
            "a:080808",
            "a,b",
            "a%2eb",
            "a..b",
            ".a",
            ".",
            "..",
            "caf\u{e9}",
            "a\tb",
            "[]",
            "[::1",
            "::1",
            "[::1]a",
            "[::1]80",
            "[::1]]",
            "[1.2.3.4]",
            "[::1%25eth0]",
            "[v1.a]",
            "[::g]",
            "]",
        ] {
            check_authority(Scheme::Http, authority, None);
        }
        let label = "a".repeat(HOST_BYTES_MAX);
        check_authority(Scheme::Http, &label, Some(&label));
        check_authority(Scheme::Http, &format!("{label}a"), None);
    }

    /// A second implementation of the path's canonical form, step by step as in the RFC: decode,
    /// split, remove, encode.
    fn canonical_path_by_the_book(path: &str) -> String {
        let segments = path.split('/').skip(1).map(|segment| {
            let mut units = Vec::new();
            let mut rest = segment.as_bytes();
            while let Some((&first, tail)) = rest.split_first() {
                let hex = rest.get(1..3).and_then(|hex| std::str::from_utf8(hex).ok());
                let hex = hex.filter(|hex| first == b'%' && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
                let encoded = hex.map(|hex| u8::from_str_radix(hex, 16).unwrap());
                rest = if encoded.is_some() { &rest[3..] } else { tail };
                let byte = encoded.unwrap_or(first);
                let is_unreserved = byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
                let stands = is_unreserved || (encoded.is_none() && b"!$&'()*+,;=:@[]".contains(&byte));
                units.push(if stands { char::from(byte).to_string() } else { format!("%{byte:02X}") });
            }
            units.concat()
        });
        let mut kept: Vec<String> = Vec::new();
        let mut ends_in_slash = false;
        for segment in segments {
            ends_in_slash = segment == "." || segment == "..";
            match &*segment {
                "." => {}
                ".." => drop(kept.pop()),
                _ => kept.push(segment),
            }
        }
        if ends_in_slash {
            kept.push(String::new());
        }
        format!("/{}", kept.join("/"))
    }

    /// Pieces of a target that matter; few, so that two of them often meet.
    fn target() -> impl Strategy<Value = String> {
        let piece = proptest::sample::select(vec![
            "/", "/", "/", ".", "..", "%2e", "%2E", "a", "A", "%61", "%2f", "%2F", "%5c", "\\", "%", "%2", "%25",
            "%00", "?", "&", "=", ";", " ", "\"", "[", "\u{e9}", "%c3%a9", "~", "%7e", "+",
        ]);
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| format!("/{}", pieces.concat()))
    }

    fn authority() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["a", "A", "a:80", "a:", "a:443", "a:0443", "b.", "[::1]", "[0::1]:80"])
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2048))]

        #[test]
        fn a_canonical_url_stays_as_it_is_and_is_a_valid_uri(authority in authority(), target in target()) {
            let url = CanonicalUrl::new(Scheme::Http, authority, &target).unwrap();
            let again = CanonicalUrl::new(Scheme::Http, url.authority(), url.path_and_query()).unwrap();
            prop_assert_eq!(&again, &url);
            let whole = CanonicalUrl::parse_absolute(url.as_str()).unwrap();
            prop_assert_eq!(&whole, &url);
            let sent = http::uri::PathAndQuery::try_from(url.path_and_query()).unwrap();
            prop_assert_eq!(sent.as_str(), url.path_and_query());
            prop_assert_eq!((sent.path(), sent.query()), (url.path(), url.query()));
            let uri = http::Uri::try_from(url.as_str()).unwrap();
            prop_assert_eq!(uri.authority().unwrap().as_str(), url.authority());
            let origin_form = http::Uri::try_from(url.path_and_query()).unwrap();
            prop_assert_eq!((origin_form.path(), origin_form.query()), (url.path(), url.query()));
        }

        #[test]
        fn any_text_is_refused_or_becomes_a_valid_uri(target in "(?s)/.{0,20}") {
            if let Ok(url) = CanonicalUrl::new(Scheme::Https, "h", &target) {
                let sent = http::uri::PathAndQuery::try_from(url.path_and_query()).unwrap();
                prop_assert_eq!(sent.as_str(), url.path_and_query());
            } else {
                prop_assert!(target.contains(|c: char| c == '#' || c.is_ascii_control()), "{:?}", target);
            }
        }

        #[test]
        fn the_path_is_what_the_rfc_makes_of_it(target in target()) {
            let url = CanonicalUrl::new(Scheme::Http, "h", &target).unwrap();
            let path = target.split('?').next().unwrap();
            prop_assert_eq!(url.path(), canonical_path_by_the_book(path));
            prop_assert_eq!(url.query().is_some(), target.contains('?'));
        }

        #[test]
        fn two_requests_share_a_key_only_if_the_origin_is_sent_the_same(
            one in (authority(), target()), two in (authority(), target()), is_same in any::<bool>(),
        ) {
            let hasher = KeyHasher::new();
            let (one, two) = (
                CanonicalUrl::new(Scheme::Http, one.0, &one.1).unwrap(),
                CanonicalUrl::new(Scheme::Http, if is_same { one.0 } else { two.0 }, &two.1).unwrap(),
            );
            let (first, second) = (hasher.key(one.clone(), []), hasher.key(two.clone(), []));
            let sends_the_same = one.authority() == two.authority() && one.path_and_query() == two.path_and_query();
            prop_assert_eq!(first.text() == second.text(), sends_the_same);
            prop_assert_eq!(first.hash() == second.hash(), sends_the_same);
            prop_assert_eq!(first.path_and_query(), one.path_and_query());
            prop_assert_eq!(first.authority(), one.authority());
        }
    }
}
