//! The request's fields that go on to the origin, and their form.
//!
//! The fields are chosen once, before the request is keyed: the key, the selection of a stored
//! response and the origin's request are made of the same fields, so that nobody can fill a key
//! with a response that was made for another key (RFC 9111 §4.1).

use std::collections::HashSet;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::outcome::Reason;
use crate::policy::fields::{self, FIELDS_MAX};
use crate::syntax::token;

/// Fields by which a client could name another URL, host, method, scheme or client than the ones
/// that are keyed, sorted.
///
/// The origin, or a server between the origin and its app, would believe them. Only a trusted proxy
/// may send them.
static SPOOFABLE: [&str; 11] = [
    "base-url",
    "client-ip",
    "fly-client-ip",
    "front-end-https",
    "proxy",
    "proxy-client-ip",
    "proxy-host",
    "request-uri",
    "ssl-offloaded",
    "surrogate-capability",
    "true-client-ip",
];

/// The prefixes of further such fields. Cloudflare, CloudFront, Fastly and WebLogic's proxies write
/// some of them.
static SPOOFABLE_FAMILIES: [&str; 5] = ["cf-", "cloudfront-", "fastly-", "forwarded", "wl-proxy-"];

/// Further such fields that begin with `x-`, without that prefix, sorted.
static SPOOFABLE_X: [&str; 21] = [
    "backend-host",
    "client-ip",
    "cluster-client-ip",
    "forward-for",
    "host",
    "host-override",
    "http-destinationurl",
    "http-host-override",
    "http-path-override",
    "matched-path",
    "method-override",
    "now-route-matches",
    "proxyuser-ip",
    "real-ip",
    "remote-addr",
    "remote-ip",
    "request-uri",
    "scheme",
    "script-name",
    "sendfile-type",
    "url-scheme",
];

/// The prefixes, behind `x-`, of further such fields, such as those that nginx, IIS, Azure, Envoy
/// and Next.js send to the app.
static SPOOFABLE_X_FAMILIES: [&str; 13] = [
    "accel-",
    "arr-",
    "azure-",
    "envoy-",
    "forwarded",
    "http-method",
    "invoke-",
    "middleware-",
    "original-",
    "override-",
    "proxy-",
    "react-router-",
    "rewrite-",
];

/// Removes the fields that do not go on to the origin.
///
/// Removed are the fields that end here (RFC 9110 §7.6.1), and, unless the sender is `trusted`,
/// those that only a trusted proxy may send. `Expect` is removed too: Larder answers it when it
/// first reads the content.
///
/// Names with anything but letters, digits and `-` count as a trusted proxy's: an app that reads
/// its fields from CGI variables, as behind WSGI, Rack, PHP and FastCGI, cannot tell `_` or `.`
/// from `-`, so `Accept_Language` would choose a response that is then stored as chosen by
/// `Accept-Language`.
pub(crate) fn leave_onward(headers: &mut HeaderMap, trusted: bool) {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let is_proxys = |name: &str| !name.bytes().all(is_plain) || is_spoofable(name);
    let ends_too = |name: &HeaderName| *name == header::EXPECT || (!trusted && is_proxys(name.as_str()));
    for name in fields::ending(headers, ends_too) {
        headers.remove(name);
    }
}

/// Brings an HTTP/2 request's fields into their HTTP/1 form: Cookie in one line (RFC 9113 §8.2.3).
///
/// # Errors
/// The status and the reason to refuse fields that are malformed or too many.
pub(crate) fn from_http2(headers: &mut HeaderMap) -> Result<(), (StatusCode, Reason)> {
    if !are_well_formed(headers) {
        return Err((StatusCode::BAD_REQUEST, Reason::BadRequest));
    }
    if let Some(cookies) = joined_cookies(headers) {
        headers.insert(header::COOKIE, cookies);
    }
    if headers.len() > FIELDS_MAX {
        return Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Reason::HeadTooLarge));
    }
    Ok(())
}

/// Tells whether HTTP/1 can carry fields that arrived by HTTP/2.
///
/// Each name must be a token (RFC 9113 §10.3, RFC 9110 §5.1), and no value may begin or end with
/// white space (RFC 9113 §8.2.1). The `http` crate accepts a name with `"`.
pub(super) fn are_well_formed(fields: &HeaderMap) -> bool {
    let is_token = |name: &HeaderName| name.as_str().bytes().all(token::is_token_byte);
    let is_white = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let is_padded = |value: &HeaderValue| is_white(value.as_bytes().first()) || is_white(value.as_bytes().last());
    fields.keys().all(is_token) && !fields.values().any(is_padded)
}

/// Joins the distinct lines of Cookie; `None` if there are fewer than two.
///
/// Repeated lines are dropped because a client can repeat a line for one byte (RFC 7541 §6.1), and
/// joining would copy it each time.
fn joined_cookies(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut lines: Vec<_> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if lines.len() < 2 {
        return None;
    }
    let mut distinct = HashSet::new();
    lines.retain(|line| distinct.insert(*line));
    HeaderValue::from_bytes(&lines.join(&b"; "[..])).ok()
}

/// Tells whether a field, by its name in lower case, could make the origin see another request than
/// the keyed one.
pub(super) fn is_spoofable(name: &str) -> bool {
    let is_among = |name: &str, listed: &[&str], families: &[&str]| {
        listed.binary_search(&name).is_ok() || families.iter().any(|family| name.starts_with(family))
    };
    match name.strip_prefix("x-") {
        Some(rest) => is_among(rest, &SPOOFABLE_X, &SPOOFABLE_X_FAMILIES),
        // The first byte rules out most names.
        None => {
            matches!(name.as_bytes(), [b'b' | b'c' | b'f' | b'p' | b'r' | b's' | b't' | b'w', ..])
                && is_among(name, &SPOOFABLE, &SPOOFABLE_FAMILIES)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::fields;

    #[test]
    fn spoofable_fields_are_known_by_name_or_family() {
        assert!(SPOOFABLE.is_sorted() && SPOOFABLE_X.is_sorted());
        for name in [
            "forwarded",
            "x-forwarded-host",
            "x-forwarded",
            "x-original-url",
            "x-rewrite-url",
            "client-ip",
            "x-real-ip",
            "proxy",
            "request-uri",
            "x-request-uri",
            "cf-connecting-ip",
            "cf-ipcountry",
            "fly-client-ip",
            "proxy-client-ip",
            "true-client-ip",
            "wl-proxy-client-ip",
            "x-accel-redirect",
            "x-accel-mapping",
            "x-arr-ssl",
            "x-azure-clientip",
            "x-backend-host",
            "x-client-ip",
            "x-envoy-original-path",
            "x-host",
            "x-host-override",
            "x-http-destinationurl",
            "x-http-path-override",
            "x-invoke-path",
            "x-matched-path",
            "x-middleware-subrequest",
            "x-now-route-matches",
            "x-sendfile-type",
        ] {
            assert!(is_spoofable(name), "{name}");
        }
        for name in [
            "from",
            "cookie",
            "range",
            "referer",
            "x-requested-with",
            "x-api-key",
            "x-nextjs-data",
            "x-hostname",
            "x-",
            "cdn-loop",
            "priority",
            "via",
            "accept",
            "x-request-id",
            "traceparent",
        ] {
            assert!(!is_spoofable(name), "{name}");
        }
    }

    #[track_caller]
    fn check(given: &[(&str, &str)], trusted: bool, left: &[&str]) {
        let mut headers = fields(given);
        leave_onward(&mut headers, trusted);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), left, "{given:?}");
    }

    #[test]
    fn rfc9110_s7_6_1_what_connection_lists_ends_before_the_request_is_keyed() {
        check(&[("rsc", "1"), ("connection", "close, RSC")], false, &[]);
        check(&[("rsc", "1"), ("connection", "close")], false, &["rsc"]);
        check(&[("cookie", "a=b"), ("connection", "cookie")], false, &["cookie"]);
        check(&[("te", "trailers"), ("upgrade", "x"), ("expect", "100-continue")], false, &[]);
    }

    #[test]
    fn only_a_trusted_proxy_sends_forwarding_fields() {
        let given = [("x-forwarded-host", "evil.example"), ("accept", "*/*")];
        check(&given, false, &["accept"]);
        check(&given, true, &["x-forwarded-host", "accept"]);
    }

    #[test]
    fn only_a_trusted_proxy_sends_names_that_cgi_confuses() {
        let given =
            [("accept_language", "de"), ("x.forwarded.host", "evil.example"), ("accept-language", "en"), ("_", "1")];
        check(&given, false, &["accept-language"]);
        check(&given, true, &["accept_language", "x.forwarded.host", "accept-language", "_"]);
    }

    #[test]
    fn rfc9113_s8_2_3_cookies_come_in_one_line() {
        let mut headers = fields(&[("cookie", "a=1"), ("accept", "*/*"), ("cookie", "b=2"), ("cookie", "a=1")]);
        assert_eq!(from_http2(&mut headers), Ok(()));
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn http2_fields_are_checked_like_those_of_http1() {
        for padded in [" a", "a\t", "\t"] {
            let refused = Err((StatusCode::BAD_REQUEST, Reason::BadRequest));
            assert_eq!(from_http2(&mut fields(&[("x", padded)])), refused, "{padded:?}");
        }
        for name in ["x\"", "\"", "\"content-length\""] {
            let mut headers = HeaderMap::new();
            // As h2 reads the name.
            headers.insert(HeaderName::from_lowercase(name.as_bytes()).unwrap(), HeaderValue::from_static("1"));
            assert_eq!(from_http2(&mut headers), Err((StatusCode::BAD_REQUEST, Reason::BadRequest)), "{name:?}");
        }
        assert_eq!(from_http2(&mut fields(&[("!#$%&'*+-.^_`|~9a", "1")])), Ok(()));
        let many = |count: usize| {
            let names: Vec<_> = (0..count).map(|nth| format!("x-{nth}")).collect();
            from_http2(&mut fields(&names.iter().map(|name| (name.as_str(), "1")).collect::<Vec<_>>()))
        };
        assert_eq!(many(FIELDS_MAX), Ok(()));
        assert_eq!(many(FIELDS_MAX + 1), Err((StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, Reason::HeadTooLarge)));
        let crumbs = vec![("cookie", "a=1"); 2 * FIELDS_MAX];
        assert_eq!(from_http2(&mut fields(&crumbs)), Ok(()));
    }
}
