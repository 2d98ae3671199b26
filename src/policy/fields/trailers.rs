//! The fields that may follow a message's content.

use http::header::{HeaderMap, HeaderName};

use super::{FIELDS_MAX, onward};

/// The largest trailer section, in bytes: room for checksums and signatures.
pub(crate) const BYTES_MAX: usize = 8 << 10;

/// Fields that must not follow the content, in lower case (RFC 9110 §6.5.1).
///
/// They frame, route, authenticate, modify or describe the request as a whole: a recipient that
/// merged them into the head would read another request. The fields that [`onward`] calls spoofable
/// are not repeated here.
static FORBIDDEN: [&str; 35] = [
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "early-data",
    "expect",
    "from",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "method",
    "origin",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "referer",
    "set-cookie",
    "set-cookie2",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "warning",
    "www-authenticate",
];

/// The prefixes of further such fields.
static FORBIDDEN_FAMILIES: [&str; 6] = ["accept", "access-control-", "if-", "proxy-", "sec-", "x-host"];

/// Tells whether a field must not follow the content, whoever sends it.
///
/// Bytes other than letters and digits count as `-`, since apps that read their fields from CGI
/// variables cannot tell them apart.
pub(crate) fn is_forbidden(name: &[u8]) -> bool {
    let known = |byte: &u8| if byte.is_ascii_alphanumeric() { char::from(byte.to_ascii_lowercase()) } else { '-' };
    let name: String = name.iter().map(known).collect();
    FORBIDDEN.contains(&name.as_str())
        || FORBIDDEN_FAMILIES.iter().any(|family| name.starts_with(family))
        || onward::is_spoofable(&name)
}

/// Tells whether HTTP/1 can carry the trailers of an HTTP/2 request, within the bounds that the
/// screen sets for HTTP/1.
pub(crate) fn are_sound(trailers: &HeaderMap) -> bool {
    let written = trailers.iter().map(|(name, value)| name.as_str().len() + value.len() + ":\r\n".len());
    trailers.len() <= FIELDS_MAX && written.sum::<usize>() <= BYTES_MAX && onward::are_well_formed(trailers)
}

/// Removes the fields that must not follow the content.
pub(crate) fn strip_forbidden(trailers: &mut HeaderMap) {
    let forbidden: Vec<HeaderName> =
        trailers.keys().filter(|name| is_forbidden(name.as_str().as_bytes())).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::fields;
    use http::HeaderValue;

    #[test]
    fn rfc9110_s6_5_1_fields_of_the_head_are_known_in_any_spelling() {
        for name in [
            "Content-Length",
            "content_length",
            "Transfer_Encoding",
            "Cookie",
            "Accept_Language",
            "Accept.Language",
            "If-None-Match",
            "Proxy-Anything",
            "Forwarded",
            "X-Forwarded-Host",
            "X_Forwarded-Host",
            "X-HTTP-Method-Override",
            "X-Original-URL",
            "X-Hostname",
            "Client-IP",
            "CF-Connecting-IP",
            "X-Middleware-Subrequest",
            "X-Envoy-Original-Path",
        ] {
            assert!(is_forbidden(name.as_bytes()), "{name}");
        }
        for name in ["X-Check", "x_check", "Server-Timing", "Content-Digest", "Signature", "ETag", "grpc-status"] {
            assert!(!is_forbidden(name.as_bytes()), "{name}");
        }
        let mut trailers = fields(&[("cookie", "a=1"), ("x-check", "1"), ("x_real_ip", "::1")]);
        strip_forbidden(&mut trailers);
        assert_eq!(trailers, fields(&[("x-check", "1")]));
    }

    #[test]
    fn rfc9113_s8_2_1_what_http1_cannot_carry_is_unsound() {
        assert!(are_sound(&fields(&[])) && are_sound(&fields(&[("x-check", "a b")])));
        assert!(!are_sound(&fields(&[("x-check", " a")])) && !are_sound(&fields(&[("x-check", "a\t")])));
        let quoted = HeaderName::from_lowercase(b"x\"").unwrap();
        assert!(!are_sound(&HeaderMap::from_iter([(quoted, HeaderValue::from_static("a"))])));
        let many = |count: usize| are_sound(&fields(&vec![("x", "a"); count]));
        assert!(many(FIELDS_MAX) && !many(FIELDS_MAX + 1));
        let large = |bytes: usize| are_sound(&fields(&[("x", &"a".repeat(bytes - "x:\r\n".len()))]));
        assert!(large(BYTES_MAX) && !large(BYTES_MAX + 1));
    }
}
