//! The request's head, read once: is the request looked up in the store, passed to the origin, or
//! refused?
//!
//! The framing was checked earlier, on the raw bytes, by `server::screen`.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use crate::outcome::Reason;
use crate::policy::cache_control::RequestCacheControl;
use crate::route::{CacheMode, Rule};
use crate::syntax::list;

/// The facts about a request that caching decisions need.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The cache directives.
    pub cc: RequestCacheControl,
    /// The request is a HEAD.
    pub is_head: bool,
    /// The request has Authorization.
    pub has_authorization: bool,
    /// The request has Cookie.
    pub has_cookie: bool,
    /// The request is a GET with Range: only there the field has a meaning (RFC 9110 §14.2).
    pub has_range: bool,
    /// The request has If-None-Match, If-Modified-Since, If-Match or If-Unmodified-Since.
    pub is_conditional: bool,
    /// The request has If-Match or If-Unmodified-Since, by which no cache fails a request (RFC 9111
    /// §4.3.2).
    pub has_origins_condition: bool,
}

impl RequestFacts {
    /// Reads a request's head.
    pub fn of(method: &Method, headers: &HeaderMap) -> Self {
        let mut facts = Self { is_head: *method == Method::HEAD, ..Self::default() };
        let mut has_directives = false;
        // One look at each name costs less than nine searches.
        for name in headers.keys() {
            facts.has_authorization |= name == header::AUTHORIZATION;
            facts.has_cookie |= name == header::COOKIE;
            facts.has_range |= name == header::RANGE && *method == Method::GET;
            facts.is_conditional |= PRECONDITIONS.contains(name);
            facts.has_origins_condition |= PRECONDITIONS[2..].contains(name);
            has_directives |= name == header::CACHE_CONTROL || name == header::PRAGMA;
        }
        if has_directives {
            facts.cc = RequestCacheControl::parse(headers);
        }
        facts
    }
}

/// The fields that make a request conditional on the state of its target (RFC 9110 §13.1).
///
/// If-Range is not among them, since it conditions the Range only. The last two are for the origin
/// to evaluate.
static PRECONDITIONS: [HeaderName; 4] =
    [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::IF_MATCH, header::IF_UNMODIFIED_SINCE];

/// The treatment of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Look in the store first.
    LookUp(RequestFacts),
    /// Pass to the origin without a lookup. The response may invalidate, and a POST's may be
    /// stored.
    Pass(Reason, RequestFacts),
    /// Pass to the origin, which may switch to one of these protocols: the value of the Upgrade
    /// field to send.
    Upgrade(HeaderValue, RequestFacts),
    /// Purge this URL. Such a request never goes to the origin.
    Purge(RequestFacts),
    /// Refuse with this status; the connection stays open.
    Refuse(StatusCode, Reason),
}

/// Reads a request's head.
///
/// `has_content` tells whether the request has a body: a length above zero, or chunks. `upgrades`
/// are the protocols to which a connection may be switched.
pub fn classify(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    has_content: bool,
    rule: &Rule,
    upgrades: &[String],
) -> Intent {
    // A reverse proxy has no use for tunnels, and TRACE would show a client the fields that other
    // proxies added to its request.
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Intent::Refuse(StatusCode::NOT_IMPLEMENTED, Reason::MethodRefused);
    }
    // RFC 9112 §6.1: an unknown transfer coding hides the end of the content.
    if !is_at_most_chunked(headers) {
        return Intent::Refuse(StatusCode::NOT_IMPLEMENTED, Reason::BadRequest);
    }
    let facts = RequestFacts::of(method, headers);
    // Caches treat PURGE as addressed to them. Passed on, it could reach a cache behind Larder with
    // weaker access control.
    if method.as_str() == "PURGE" {
        return Intent::Purge(facts);
    }
    // RFC 9111 §4: only GET and HEAD are answered from the store.
    let is_retrieval = *method == Method::GET || *method == Method::HEAD;
    let upgrade = if has_content { None } else { upgrade(method, version, headers, upgrades) };
    let reason = if upgrade.is_some() {
        Reason::Upgrade
    } else if rule.cache == CacheMode::Bypass {
        Reason::Bypass
    } else if !is_retrieval {
        Reason::Method
    } else if has_content {
        Reason::RequestBody
    } else {
        return Intent::LookUp(facts);
    };
    // RFC 9111 §5.2.1.7: a client that accepts only a stored response gets none, since none is
    // looked up.
    if is_retrieval && facts.cc.only_if_cached {
        return Intent::Refuse(StatusCode::GATEWAY_TIMEOUT, Reason::OnlyIfCached);
    }
    match upgrade {
        Some(protocols) => Intent::Upgrade(protocols, facts),
        None => Intent::Pass(reason, facts),
    }
}

/// Tells whether Larder itself answers an OPTIONS.
///
/// That is one of the server as a whole (RFC 9110 §9.3.7), or one whose Max-Forwards is used up
/// (§7.6.2).
pub fn is_for_us(method: &Method, target: &str, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && (target == "*" || hops_left(headers) == Some(0))
}

/// Decrements Max-Forwards, if the method uses it (RFC 9110 §7.6.2).
pub fn count_hop(method: &Method, headers: &mut HeaderMap) {
    if *method == Method::OPTIONS
        && let Some(remaining) = hops_left(headers)
    {
        headers.insert(header::MAX_FORWARDS, HeaderValue::from(remaining.saturating_sub(1)));
    }
}

/// Returns the remaining hops of a request; `None` if it does not give one number.
fn hops_left(headers: &HeaderMap) -> Option<u64> {
    let digits = std::str::from_utf8(list::only_line(headers, header::MAX_FORWARDS)?).ok()?;
    if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
}

/// Tells whether the content has no transfer coding, or chunked alone.
fn is_at_most_chunked(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::TRANSFER_ENCODING)
        || list::only_line(headers, header::TRANSFER_ENCODING)
            .is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"))
}

/// Returns the protocols that a request may be upgraded to (RFC 9110 §7.8); `None` if there are
/// none.
///
/// Only protocols in `allowed` are passed on, only on a request without content, and WebSocket only
/// with a complete handshake. RFC 9110 lets a server ignore Upgrade, and some servers that ignore a
/// protocol read the bytes behind the head as another request. So Larder sends an Upgrade only if
/// it is certain to mean something to the origin.
fn upgrade(method: &Method, version: Version, headers: &HeaderMap, allowed: &[String]) -> Option<HeaderValue> {
    // RFC 9110 §7.8: Upgrade must be ignored in an HTTP/1.0 request; HTTP/2 has none (RFC 9113
    // §8.6).
    if version != Version::HTTP_11 || !headers.contains_key(header::UPGRADE) {
        return None;
    }
    if !list::lists(headers, header::CONNECTION, b"upgrade") {
        return None;
    }
    let is_passed = |protocol: &&[u8]| {
        allowed.iter().any(|name| protocol.eq_ignore_ascii_case(name.as_bytes()))
            && (!protocol.eq_ignore_ascii_case(b"websocket") || is_websocket_handshake(method, headers))
    };
    let passed: Vec<_> = list::field_members(headers, header::UPGRADE).filter(is_passed).collect();
    if passed.is_empty() { None } else { HeaderValue::from_bytes(&passed.join(&b", "[..])).ok() }
}

/// Tells whether a request is a WebSocket handshake (RFC 6455 §4.1).
///
/// That is a GET with a key of 16 bytes in base64, and the only version there is.
fn is_websocket_handshake(method: &Method, headers: &HeaderMap) -> bool {
    let is_key = |key: &[u8]| {
        let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
        key.strip_suffix(b"==").is_some_and(|digits| digits.len() == 22 && digits.iter().all(is_digit))
    };
    *method == Method::GET
        && list::only_line(headers, header::SEC_WEBSOCKET_KEY).is_some_and(is_key)
        && list::only_line(headers, header::SEC_WEBSOCKET_VERSION) == Some(b"13")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::testing::fields;

    /// Classifies a request with the default `upgrades`.
    fn read(method: &Method, version: Version, headers: &HeaderMap, has_content: bool, rule: &Rule) -> Intent {
        classify(method, version, headers, has_content, rule, &["websocket".to_owned()])
    }

    /// Checks the treatment of a request: `Ok` for a lookup or a purge, else the reason.
    #[track_caller]
    fn check(method: &str, given: &[(&str, &str)], has_content: bool, expected: Result<(), Reason>) {
        check_with(&Rule::default(), method, given, has_content, expected);
    }

    #[track_caller]
    fn check_with(rule: &Rule, method: &str, given: &[(&str, &str)], has_content: bool, expected: Result<(), Reason>) {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let found = match read(&method, Version::HTTP_11, &fields(given), has_content, rule) {
            Intent::LookUp(_) | Intent::Purge(_) => Ok(()),
            Intent::Upgrade(..) => Err(Reason::Upgrade),
            Intent::Pass(reason, _) | Intent::Refuse(_, reason) => Err(reason),
        };
        assert_eq!(found, expected, "{method} {given:?}");
    }

    #[test]
    fn s4_only_get_and_head_without_content_are_looked_up() {
        check("GET", &[], false, Ok(()));
        check("HEAD", &[], false, Ok(()));
        check("GET", &[], true, Err(Reason::RequestBody));
        check("HEAD", &[], true, Err(Reason::RequestBody));
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "M-SEARCH", "get"] {
            check(method, &[], false, Err(Reason::Method));
        }
        let purge = Method::from_bytes(b"PURGE").unwrap();
        let bypass = Rule { cache: CacheMode::Bypass, ..Rule::default() };
        assert!(matches!(read(&purge, Version::HTTP_11, &HeaderMap::new(), false, &bypass), Intent::Purge(_)));
        check("purge", &[], false, Err(Reason::Method));
        for method in [Method::CONNECT, Method::TRACE] {
            let expected = Intent::Refuse(StatusCode::NOT_IMPLEMENTED, Reason::MethodRefused);
            assert_eq!(read(&method, Version::HTTP_11, &HeaderMap::new(), false, &Rule::default()), expected);
        }
    }

    #[test]
    fn rfc9112_s6_1_no_transfer_coding_but_chunked() {
        let check = |lines: &[(&str, &str)], is_read: bool| {
            let found = read(&Method::POST, Version::HTTP_11, &fields(lines), true, &Rule::default());
            let refused = Intent::Refuse(StatusCode::NOT_IMPLEMENTED, Reason::BadRequest);
            assert_eq!(found != refused, is_read, "{lines:?}");
        };
        let coding = "transfer-encoding";
        check(&[], true);
        check(&[(coding, "Chunked")], true);
        check(&[(coding, "gzip, chunked")], false);
        check(&[(coding, "gzip"), (coding, "chunked")], false);
        check(&[(coding, "identity")], false);
        check(&[(coding, "chunked"), (coding, "chunked")], false);
    }

    #[test]
    fn a_bypassed_route_passes() {
        let rule = Rule { cache: CacheMode::Bypass, ..Rule::default() };
        check_with(&rule, "GET", &[], false, Err(Reason::Bypass));
        check_with(&rule, "POST", &[], true, Err(Reason::Bypass));
        check_with(&rule, "GET", &[("cache-control", "only-if-cached")], false, Err(Reason::OnlyIfCached));
    }

    /// The fields of a WebSocket handshake (RFC 6455 §1.3), with another Upgrade.
    fn handshake(protocols: &str) -> [(&'static str, &str); 4] {
        [
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", protocols),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
        ]
    }

    #[test]
    fn rfc9110_s7_8_an_upgrade_passes_where_it_can_mean_something() {
        let passed = |method, given: &[(&str, &str)], has_content, allowed: &[&str]| {
            let allowed: Vec<_> = allowed.iter().map(|name| (*name).to_owned()).collect();
            match classify(&method, Version::HTTP_11, &fields(given), has_content, &Rule::default(), &allowed) {
                Intent::Upgrade(protocols, _) => Some(protocols.to_str().unwrap().to_owned()),
                _ => None,
            }
        };
        let websocket = |upgrade: &str| passed(Method::GET, &handshake(upgrade), false, &["websocket"]);
        assert_eq!(websocket("websocket").as_deref(), Some("websocket"));
        assert_eq!(websocket("h2c, WebSocket,h2c/1.0").as_deref(), Some("WebSocket"));
        for other in ["foo", "h2c", "H2C, HTTP/2.0, TLS/1.2", "websocket/13", "websockets", "", "websocket;x"] {
            assert_eq!(websocket(other), None, "{other:?}");
        }
        // RFC 9110 §7.8: the upgrade would take effect behind the content, and a server may ignore
        // it.
        assert_eq!(passed(Method::GET, &handshake("websocket"), true, &["websocket"]), None);
        assert_eq!(passed(Method::GET, &handshake("websocket"), false, &[]), None);
        let lines = [("connection", "upgrade"), ("upgrade", "h2c"), ("upgrade", "tcp/1, b")];
        assert_eq!(passed(Method::POST, &lines, false, &["b", "tcp/1"]).as_deref(), Some("tcp/1, b"));
        assert_eq!(passed(Method::POST, &lines, true, &["b", "tcp/1"]), None);
    }

    #[test]
    fn rfc6455_s4_1_a_websocket_needs_its_whole_handshake() {
        check("GET", &handshake("websocket"), false, Err(Reason::Upgrade));
        check("GET", &handshake("foo"), false, Ok(()));
        check("HEAD", &handshake("websocket"), false, Ok(()));
        check("POST", &handshake("websocket"), false, Err(Reason::Method));
        check("GET", &handshake("websocket"), true, Err(Reason::RequestBody));
        let whole = handshake("websocket");
        for missing in 0..whole.len() {
            let rest: Vec<_> = (0..whole.len()).filter(|nth| *nth != missing).map(|nth| whole[nth]).collect();
            check("GET", &rest, false, Ok(()));
        }
        for (nth, value) in [
            (2, "dGhlIHNhbXBsZSBub25jZQ"),
            (2, "dGhlIHNhbXBsZSBub25j=ZQ="),
            (2, "dGhlIHNhbXBsZSBub25jZQAA=="),
            (2, "GET / HTTP/1.1dGhlIHNh=="),
            (3, "8"),
            (3, "13, 8"),
        ] {
            let mut fields = whole;
            fields[nth].1 = value;
            check("GET", &fields, false, Ok(()));
            check("GET", &[&whole[..], &whole[nth..=nth]].concat(), false, Ok(()));
        }
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let found = read(&Method::GET, version, &fields(&whole), false, &Rule::default());
            assert!(matches!(found, Intent::LookUp(_)), "{version:?}");
        }
    }

    #[test]
    fn rfc9110_s7_6_2_hops_are_counted_for_options() {
        let check = |method: Method, lines: &[&str], is_for_us_expected: bool, remaining: &[&str]| {
            let mut headers = fields(&lines.iter().map(|line| ("max-forwards", *line)).collect::<Vec<_>>());
            assert_eq!(is_for_us(&method, "/", &headers), is_for_us_expected, "{method} {lines:?}");
            count_hop(&method, &mut headers);
            assert_eq!(headers.get_all("max-forwards").iter().collect::<Vec<_>>(), remaining, "{method} {lines:?}");
        };
        check(Method::OPTIONS, &[], false, &[]);
        check(Method::OPTIONS, &["0"], true, &["0"]);
        check(Method::OPTIONS, &["007"], false, &["6"]);
        check(Method::OPTIONS, &["-1"], false, &["-1"]);
        check(Method::OPTIONS, &["1", "1"], false, &["1", "1"]);
        check(Method::GET, &["0"], false, &["0"]);
        assert!(
            is_for_us(&Method::OPTIONS, "*", &HeaderMap::new()) && !is_for_us(&Method::GET, "*", &HeaderMap::new())
        );
    }

    #[test]
    fn the_facts_of_the_head() {
        let given = fields(&[("authorization", "x"), ("cookie", "a=b"), ("range", "bytes=0-1"), ("if-match", "*")]);
        let expected = RequestFacts {
            has_authorization: true,
            has_cookie: true,
            has_range: true,
            is_conditional: true,
            has_origins_condition: true,
            ..RequestFacts::default()
        };
        assert_eq!(RequestFacts::of(&Method::GET, &given), expected);
        let head = RequestFacts { is_head: true, has_range: false, ..expected };
        assert_eq!(RequestFacts::of(&Method::HEAD, &given), head);
        let validating = RequestFacts::of(&Method::GET, &fields(&[("if-none-match", "*"), ("if-modified-since", "x")]));
        assert_eq!(validating, RequestFacts { is_conditional: true, ..RequestFacts::default() });
    }
}
