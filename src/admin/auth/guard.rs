//! Access checks for every admin request, and a barrier that no panic passes.
//!
//! Access depends on the request, the address of the listener, and whether a token is set:
//! - `/live`, `/ready` and the dashboard's own files are open on every address.
//! - On loopback, reads are open. Changes need the token, if one is set.
//! - On other addresses, everything else needs the token. The configuration does not allow such an
//!   address without a token.
//!
//! Even on loopback, a page in a browser on the same machine can send requests. Two checks stop
//! such pages:
//! - *Host* must be a loopback name or an IP address; otherwise the response is 421. A page that
//!   rebinds its own name to 127.0.0.1 still sends that name (DNS rebinding). A request with the
//!   token cannot come from such a page, and health checks use all kinds of names for what is open
//!   on other addresses: both may use any Host.
//! - *Origin* and *Sec-Fetch-Site* must name the same origin, unless somebody follows a link to a
//!   page; otherwise the response is 403. Browsers send these headers with every request from a
//!   page; tools send none. So no foreign page can change anything (cross-site request forgery), or
//!   use up the places for live listeners.
//!
//! No response may be cached, or be read as another type.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::token::{self, Token};
use crate::admin::answer::AdminProblem;
use crate::syntax::list::FieldLines;

/// Tells whether a path is open: health checks have no token, and a browser that opens the
/// dashboard has none yet. The dashboard's files are the same everywhere; its data needs the token.
fn is_open(path: &str) -> bool {
    matches!(path, "/" | "/live" | "/ready") || path.starts_with("/page/")
}

/// The rule for who may use the admin interface.
#[derive(Clone, Debug)]
pub(in crate::admin) struct Access {
    pub(in crate::admin) token: Option<Token>,
    pub(in crate::admin) reach: Reach,
}

/// The machines that can reach the admin interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::admin) enum Reach {
    /// This machine only.
    Loopback,
    /// Other machines too.
    Elsewhere,
}

impl Access {
    /// Returns the reason to refuse a request.
    fn check(&self, request: &Request) -> Result<(), AdminProblem> {
        let (method, uri, headers) = (request.method(), request.uri(), request.headers());
        let is_open = is_safe(method) && is_open(uri.path());
        let token_matches = self.token.as_ref().and_then(|token| token::presented(headers).map(|text| token.is(text)));
        let takes_any_name = token_matches == Some(true) || is_open && self.reach == Reach::Elsewhere;
        let authority = if takes_any_name {
            checked_authority(request.version(), uri, headers, |_| true)?
        } else {
            check_host(request.version(), uri, headers)?
        };
        if !(is_safe(method) && (is_open || is_link(headers))) {
            check_origin(authority.as_ref(), headers)?;
        }
        match (token_matches, self.reach) {
            _ if is_open => Ok(()),
            (Some(true), _) => Ok(()),
            (None, Reach::Loopback) if self.token.is_none() || is_safe(method) => Ok(()),
            (Some(false), _) => Err(unauthorized("wrong token")),
            (None, _) => Err(unauthorized("the token is required")),
        }
    }
}

fn unauthorized(error: &str) -> AdminProblem {
    AdminProblem::new(StatusCode::UNAUTHORIZED, error)
        .with("example", json!("Authorization: Bearer (the `token` of [admin])"))
}

/// Forwards requests that pass the checks.
pub(in crate::admin) async fn guard(State(access): State<Access>, request: Request, next: Next) -> Response {
    let checked = access.check(&request);
    let mut response = match checked {
        Ok(()) => without_panic(next.run(request)).await,
        Err(problem) => problem.into_response(),
    };
    let is_unauthorized = response.status() == StatusCode::UNAUTHORIZED;
    let headers = response.headers_mut();
    if is_unauthorized {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"larder\""));
    }
    protect(headers);
    response
}

/// Keeps a response from being stored, or read as another type.
pub(in crate::admin) fn protect(headers: &mut HeaderMap) {
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Returns the authority of the request, if no foreign page can have it.
fn check_host(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, AdminProblem> {
    checked_authority(version, uri, headers, is_local)
}

/// Returns the authority of the request, if it `may_be`; `None` only for HTTP/1.0 without a Host,
/// which no browser speaks. The authority of an absolute target overrides Host, which is checked as
/// well (RFC 9112 §3.2.2).
fn checked_authority(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    may_be: impl Fn(&Authority) -> bool,
) -> Result<Option<Authority>, AdminProblem> {
    let host = match FieldLines::of(headers, header::HOST) {
        FieldLines::None => None,
        FieldLines::One(value) => Some(Authority::try_from(value.as_bytes()).map_err(|_| misdirected())?),
        FieldLines::Several => {
            return Err(AdminProblem::new(StatusCode::BAD_REQUEST, "more than one Host header"));
        }
    };
    for authority in uri.authority().into_iter().chain(&host) {
        if !may_be(authority) {
            return Err(misdirected());
        }
    }
    match uri.authority().cloned().or(host) {
        None if version >= Version::HTTP_11 => Err(AdminProblem::new(StatusCode::BAD_REQUEST, "no Host header")),
        authority => Ok(authority),
    }
}

fn misdirected() -> AdminProblem {
    AdminProblem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "the Host header must be a loopback name or an IP address, so that no web page can reach the admin interface \
         under a name of its own",
    )
    .with("example", json!("Host: localhost"))
}

/// Tells whether no page can have this authority: an address, or a name that always means this
/// machine (RFC 6761 §6.3).
fn is_local(authority: &Authority) -> bool {
    let host = authority.host();
    if authority.as_str().contains('@') {
        return false;
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || host.parse::<Ipv4Addr>().is_ok()
}

/// Tells whether a method changes nothing.
fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Tells whether a browser follows a link, and shows the response on its own instead of inside a
/// page.
fn is_link(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-dest").is_some_and(|kind| kind == "document")
}

/// Refuses requests from pages of another origin.
fn check_origin(authority: Option<&Authority>, headers: &HeaderMap) -> Result<(), AdminProblem> {
    let origins = headers.get_all(header::ORIGIN).iter();
    let sites = headers.get_all("sec-fetch-site").iter();
    let is_same = origins.into_iter().all(|origin| is_same_origin(origin, authority))
        && sites.into_iter().all(|site| site == "same-origin" || site == "none");
    if is_same {
        return Ok(());
    }
    Err(AdminProblem::new(StatusCode::FORBIDDEN, "web pages of another origin have no access"))
}

/// Tells whether `origin` is the admin interface itself; the scheme is `http`, or `https` if TLS
/// terminates in front.
fn is_same_origin(origin: &HeaderValue, authority: Option<&Authority>) -> bool {
    let Some(authority) = authority else { return false };
    let Ok(origin) = origin.to_str() else { return false };
    ["http://", "https://"]
        .iter()
        .any(|scheme| origin.strip_prefix(scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(authority.as_str())))
}

/// Responds with 500 if the handler panics; the process and the connection go on.
async fn without_panic(handler: impl Future<Output = Response>) -> Response {
    let mut handler = Box::pin(handler);
    std::future::poll_fn(move |cx| {
        // The shared state stays consistent: handlers read stats, and purge only by calls that do
        // not panic half-way.
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))).unwrap_or_else(|_| {
            tracing::error!("an admin request panicked");
            let problem = AdminProblem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal error; see Larder's log");
            Poll::Ready(problem.into_response())
        })
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).fold(
            HeaderMap::new(),
            |mut map, (name, value): (header::HeaderName, HeaderValue)| {
                map.append(name, value);
                map
            },
        )
    }

    #[test]
    fn hosts() {
        let check = |host: &str, status: u16| {
            let checked = check_host(Version::HTTP_11, &Uri::from_static("/stats"), &headers(&[("host", host)]));
            assert_eq!(checked.err().map_or(200, |problem| problem.status.as_u16()), status, "{host:?}");
        };
        for host in ["localhost", "LOCALHOST:9000", "localhost.", "a.localhost", "127.0.0.1", "10.1.2.3:80", "[::1]:9"]
        {
            check(host, 200);
        }
        for host in [
            "example.org",
            "localhost.example.org",
            "notlocalhost",
            "127.0.0.1.nip.io",
            "127.1",
            "0x7f000001",
            "user@localhost",
            "localhost@example.org",
            "[localhost]",
            "[::1",
            "::1",
            "",
            "a b",
            "127.0.0.1/x",
            "localhost,evil",
        ] {
            check(host, 421);
        }
    }

    #[test]
    fn s3_2_host_once_and_the_targets_authority_above_it() {
        let check = |version, target: &'static str, fields: &[(&'static str, &str)], status: u16| {
            let checked = check_host(version, &Uri::from_static(target), &headers(fields));
            assert_eq!(checked.err().map_or(200, |problem| problem.status.as_u16()), status, "{target} {fields:?}");
        };
        check(Version::HTTP_11, "/", &[], 400);
        check(Version::HTTP_10, "/", &[], 200);
        check(Version::HTTP_11, "/", &[("host", "localhost"), ("host", "localhost")], 400);
        check(Version::HTTP_11, "http://localhost/", &[("host", "localhost")], 200);
        check(Version::HTTP_11, "http://example.org/", &[("host", "localhost")], 421);
        check(Version::HTTP_11, "http://localhost/", &[("host", "example.org")], 421);
        check(Version::HTTP_2, "http://localhost/", &[], 200);
        check(Version::HTTP_2, "http://example.org/", &[], 421);
    }

    #[test]
    fn access() {
        let request = |method: &str, path: &str, fields: &[(&str, &str)]| {
            let mut request = Request::builder().method(method).uri(path);
            if !fields.iter().any(|(name, _)| *name == "host") {
                request = request.header("host", "localhost:9000");
            }
            for (name, value) in fields {
                request = request.header(*name, *value);
            }
            request.body(axum::body::Body::empty()).unwrap()
        };
        const RIGHT: (&str, &str) = ("authorization", "Bearer right");
        const WRONG: (&str, &str) = ("authorization", "Bearer wrong");
        const NAME: (&str, &str) = ("host", "larder.internal:9180");
        // The request, then its status: without a token on loopback, with one on loopback, with one
        // elsewhere, without one elsewhere.
        let check = |method: &str, path: &str, fields: &[(&str, &str)], expected: [u16; 4]| {
            let with = |token: Option<&str>, reach| Access { token: token.map(Token::new), reach };
            let accesses = [
                with(None, Reach::Loopback),
                with(Some("right"), Reach::Loopback),
                with(Some("right"), Reach::Elsewhere),
                with(None, Reach::Elsewhere),
            ];
            let results = accesses.map(|access| {
                let checked = access.check(&request(method, path, fields));
                checked.err().map_or(200, |problem| problem.status.as_u16())
            });
            assert_eq!(results, expected, "{method} {path} {fields:?}");
        };
        check("GET", "/stats", &[], [200, 200, 401, 401]);
        check("GET", "/stats", &[RIGHT], [200, 200, 200, 401]);
        check("GET", "/stats", &[WRONG], [200, 401, 401, 401]);
        check("POST", "/purge", &[], [200, 401, 401, 401]);
        check("POST", "/purge", &[RIGHT], [200, 200, 200, 401]);
        check("POST", "/purge", &[WRONG], [200, 401, 401, 401]);
        check("POST", "/purge", &[("authorization", "Basic cmlnaHQ=")], [200, 401, 401, 401]);
        check("POST", "/purge", &[RIGHT, RIGHT], [200, 401, 401, 401]);
        check("POST", "/live", &[], [200, 401, 401, 401]);
        check("POST", "/purge", &[RIGHT, ("origin", "http://evil.example")], [403; 4]);
        const EVIL: (&str, &str) = ("origin", "http://evil.example");
        const CROSS: (&str, &str) = ("sec-fetch-site", "cross-site");
        check("GET", "/events", &[EVIL, CROSS], [403; 4]);
        check("GET", "/log", &[CROSS, ("sec-fetch-dest", "iframe")], [403; 4]);
        // Somebody follows a link.
        check("GET", "/stats", &[CROSS, ("sec-fetch-dest", "document")], [200, 200, 401, 401]);
        check("GET", "/", &[CROSS], [200; 4]);
        check("GET", "/live", &[WRONG], [200; 4]);
        check("GET", "/", &[], [200; 4]);
        check("GET", "/page/app.js", &[], [200; 4]);
        check("POST", "/", &[], [200, 401, 401, 401]);
        check("GET", "/events", &[], [200, 200, 401, 401]);
        // A name of its own is allowed only if no page can profit by it.
        check("GET", "/live", &[NAME], [421, 421, 200, 200]);
        check("GET", "/stats", &[NAME], [421; 4]);
        check("GET", "/stats", &[NAME, RIGHT], [421, 200, 200, 421]);
        check("POST", "/purge", &[NAME, RIGHT, ("origin", "http://larder.internal:9180")], [421, 200, 200, 421]);
        check("GET", "/live/../stats", &[], [200, 200, 401, 401]);
    }

    #[test]
    fn origins() {
        let check = |fields: &[(&'static str, &str)], is_allowed: bool| {
            let authority = Authority::from_static("localhost:9000");
            let checked = check_origin(Some(&authority), &headers(fields));
            assert_eq!(checked.is_ok(), is_allowed, "{fields:?}");
        };
        check(&[], true);
        check(&[("origin", "http://localhost:9000")], true);
        check(&[("origin", "https://LOCALHOST:9000"), ("sec-fetch-site", "same-origin")], true);
        check(&[("sec-fetch-site", "none")], true);
        check(&[("origin", "http://localhost:9001")], false);
        check(&[("origin", "http://localhost")], false);
        check(&[("origin", "http://evil.example")], false);
        check(&[("origin", "null")], false);
        check(&[("origin", "")], false);
        check(&[("origin", "http://localhost:9000"), ("origin", "http://evil.example")], false);
        check(&[("sec-fetch-site", "cross-site")], false);
        check(&[("sec-fetch-site", "same-site")], false);
        let without_host = check_origin(None, &headers(&[("origin", "http://localhost")]));
        assert!(without_host.is_err());
    }

    #[tokio::test]
    async fn a_panic_is_a_500() {
        let response = without_panic(async { panic!("on purpose") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
