//! What a response to an unsafe or unknown method makes invalid (RFC 9111 §4.4).
//!
//! Only names URLs: which keys these have is the routes' affair, what invalid means is the ledger's.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::key::CanonicalUrl;

/// Returns the URLs to invalidate: the request's own, and those of Location and Content-Location on the same origin.
/// Empty for safe methods and for error statuses.
pub fn targets(method: &Method, url: &CanonicalUrl, status: StatusCode, headers: &HeaderMap) -> Vec<CanonicalUrl> {
    // A non-error response is one with a 2xx or 3xx status.
    if is_safe(method) || !(status.is_success() || status.is_redirection()) {
        return Vec::new();
    }
    let mut targets = vec![url.clone()];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        // Of another origin it must not be invalidated: anybody could empty anybody's cache.
        if let Some(other) = resolved(url, headers, &name)
            && other.is_same_origin(url)
            && !targets.contains(&other)
        {
            targets.push(other);
        }
    }
    targets
}

/// Tells whether a method is known to be safe (RFC 9110 §9.2.1; QUERY is by its own definition).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) || method.as_str() == "QUERY"
}

fn resolved(base: &CanonicalUrl, headers: &HeaderMap, name: &HeaderName) -> Option<CanonicalUrl> {
    base.join(&as_reference(headers.get(name)?))
}

/// Returns a value as a reference in ASCII: other bytes percent-encoded, as a client sends them.
fn as_reference(value: &HeaderValue) -> String {
    let mut reference = String::with_capacity(value.len());
    for &byte in value.as_bytes().trim_ascii() {
        match byte {
            0x80.. => reference.push_str(&format!("%{byte:02X}")),
            _ => reference.push(char::from(byte)),
        }
    }
    reference
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Scheme;

    #[track_caller]
    fn check(method: &str, status: u16, fields: &[(HeaderName, &[u8])], expected: &[&str]) {
        let url = CanonicalUrl::new(Scheme::Http, "Example.org:80", "/shop/cart?x=1").unwrap();
        let fields = fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_bytes(value).unwrap()));
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let found = targets(&method, &url, StatusCode::from_u16(status).unwrap(), &fields.collect());
        assert_eq!(found.iter().map(CanonicalUrl::as_str).collect::<Vec<_>>(), expected);
    }

    const OWN: &str = "http://example.org/shop/cart?x=1";

    #[test]
    fn s4_4_unsafe_and_unknown_methods_invalidate() {
        for method in ["POST", "PUT", "DELETE", "PATCH", "M-SEARCH", "get", "PURGE"] {
            check(method, 200, &[], &[OWN]);
        }
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"] {
            check(method, 200, &[(header::LOCATION, b"/x")], &[]);
        }
    }

    #[test]
    fn s4_4_only_non_error_responses_invalidate() {
        for (status, expected) in
            [(200, &[OWN][..]), (204, &[OWN]), (303, &[OWN]), (399, &[OWN]), (199, &[]), (400, &[]), (500, &[])]
        {
            check("POST", status, &[], expected);
        }
    }

    #[test]
    fn s4_4_locations_of_the_same_origin_are_resolved() {
        let (place, content) = (header::LOCATION, header::CONTENT_LOCATION);
        check("POST", 201, &[(place.clone(), b"items/%7e1")], &[OWN, "http://example.org/shop/items/~1"]);
        check(
            "POST",
            303,
            &[(content.clone(), b"/b"), (place.clone(), b"http://EXAMPLE.org:80/a#part")],
            &[OWN, "http://example.org/a", "http://example.org/b"],
        );
        check("POST", 200, &[(content.clone(), b"?x=1"), (place.clone(), b"/shop/./cart?x=1")], &[OWN]);
        check("PUT", 200, &[(place.clone(), b"/caf\xc3\xa9 a")], &[OWN, "http://example.org/caf%C3%A9%20a"]);
    }

    #[test]
    fn s4_4_other_origins_and_odd_references_are_left_alone() {
        for value in [
            &b"http://other.org/a"[..],
            b"https://example.org/a",
            b"http://example.org:81/a",
            b"//other.org/a",
            b"mailto:a@example.org",
            b"http://user@example.org/a",
            b"http:///a",
        ] {
            check("POST", 200, &[(header::LOCATION, value), (header::CONTENT_LOCATION, value)], &[OWN]);
        }
    }
}
