//! The URLs and groups that a response to an unsafe or unknown method makes invalid (RFC 9111
//! §4.4).
//!
//! The module only names them: the routes know the keys of a URL, and the purge ledger knows what
//! being invalid means.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::tags;
use crate::key::CanonicalUrl;

/// The most groups that one response invalidates by name.
///
/// A response that names more invalidates everything of its origin: too much is safe, too little is
/// not.
const GROUPS_MAX: usize = 128;

/// The groups that a response invalidates.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Groups {
    /// The named groups of the request's origin.
    Named(Vec<Box<str>>),
    /// Everything of the request's origin.
    All,
}

/// Returns the groups to invalidate, all of the request's own origin (RFC 9875 §3).
///
/// Like [`targets`], it returns nothing for safe methods and for error statuses.
pub(crate) fn groups(method: &Method, status: StatusCode, headers: &HeaderMap) -> Groups {
    if !invalidates(method, status) {
        return Groups::Named(Vec::new());
    }
    let named = tags::invalidated_groups(headers);
    if named.len() > GROUPS_MAX { Groups::All } else { Groups::Named(named) }
}

/// Returns the URLs to invalidate: the request's own, and those of Location and Content-Location on
/// the same origin.
///
/// Empty for safe methods and for error statuses.
pub(crate) fn targets(
    method: &Method,
    url: &CanonicalUrl,
    status: StatusCode,
    headers: &HeaderMap,
) -> Vec<CanonicalUrl> {
    if !invalidates(method, status) {
        return Vec::new();
    }
    let mut targets = vec![url.clone()];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        // A URL of another origin must not be invalidated: anybody could empty anybody's cache.
        if let Some(other) = resolve(url, headers, &name)
            && other.is_same_origin(url)
            && !targets.contains(&other)
        {
            targets.push(other);
        }
    }
    targets
}

/// Tells whether a response is a non-error one (2xx or 3xx) to a method that is not known to be
/// safe.
fn invalidates(method: &Method, status: StatusCode) -> bool {
    !is_safe(method) && (status.is_success() || status.is_redirection())
}

/// Tells whether a method is known to be safe (RFC 9110 §9.2.1; QUERY by its own definition).
fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) || method.as_str() == "QUERY"
}

fn resolve(base: &CanonicalUrl, headers: &HeaderMap, name: &HeaderName) -> Option<CanonicalUrl> {
    base.join(&as_reference(headers.get(name)?))
}

/// Returns a value as a reference in ASCII, with other bytes percent-encoded as a client sends
/// them.
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
    fn s4_4_other_origins_and_malformed_references_are_ignored() {
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

    #[test]
    fn rfc9875_s3_groups_are_invalidated_by_unsafe_requests_that_succeeded() {
        let check = |method: &str, status: u16, value: &str, expected: Groups| {
            let fields = HeaderMap::from_iter([(
                HeaderName::from_static("cache-group-invalidation"),
                HeaderValue::from_str(value).unwrap(),
            )]);
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(groups(&method, StatusCode::from_u16(status).unwrap(), &fields), expected, "{method} {status}");
        };
        let named = |names: &[&str]| Groups::Named(names.iter().map(|name| Box::from(*name)).collect());
        check("POST", 200, r#""a", "b""#, named(&["a", "b"]));
        check("DELETE", 303, r#""a""#, named(&["a"]));
        check("POST", 200, "a", named(&[]));
        for (method, status) in [("GET", 200), ("HEAD", 200), ("OPTIONS", 200), ("POST", 400), ("POST", 500)] {
            check(method, status, r#""a""#, named(&[]));
        }
        let many = |count: usize| (0..count).map(|at| format!("\"{at}\"")).collect::<Vec<_>>().join(", ");
        check("POST", 200, &many(GROUPS_MAX + 1), Groups::All);
        let at_most: Vec<String> = (0..GROUPS_MAX).map(|at| at.to_string()).collect();
        check("POST", 200, &many(GROUPS_MAX), named(&at_most.iter().map(String::as_str).collect::<Vec<_>>()));
    }
}
