//! What may come behind a message's content.

use http::header::{HeaderMap, HeaderName};

/// Fields that must not come behind the content, in lower case (RFC 9110 §6.5.1): those that frame, route, authenticate,
/// modify or describe the request as a whole. Whoever merged them into the head would read another request.
static FORBIDDEN: [&[u8]; 39] = [
    b"authorization",
    b"cache-control",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"cookie2",
    b"date",
    b"early-data",
    b"expect",
    b"forwarded",
    b"from",
    b"host",
    b"http2-settings",
    b"keep-alive",
    b"max-forwards",
    b"method",
    b"origin",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"proxy-connection",
    b"range",
    b"referer",
    b"set-cookie",
    b"set-cookie2",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"user-agent",
    b"via",
    b"warning",
    b"www-authenticate",
    b"x-real-ip",
    b"x-http-method",
    b"x-method-override",
];

/// How the names of further such fields begin.
static FORBIDDEN_FAMILIES: [&[u8]; 10] = [
    b"accept",
    b"access-control-",
    b"if-",
    b"proxy-",
    b"sec-",
    b"x-forwarded-",
    b"x-host",
    b"x-http-method-",
    b"x-original-",
    b"x-rewrite-",
];

/// Tells whether a field must not come behind the content.
pub fn is_forbidden(name: &[u8]) -> bool {
    let begins = |family: &&[u8]| name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family));
    FORBIDDEN.iter().any(|known| name.eq_ignore_ascii_case(known)) || FORBIDDEN_FAMILIES.iter().any(begins)
}

/// Removes what must not come behind the content.
pub fn strip_forbidden(trailers: &mut HeaderMap) {
    let forbidden: Vec<HeaderName> =
        trailers.keys().filter(|name| is_forbidden(name.as_str().as_bytes())).cloned().collect();
    for name in forbidden {
        trailers.remove(name);
    }
}
