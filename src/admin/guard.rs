//! What stands before every admin request: no web page elsewhere gets through a browser, and no panic gets out.
//!
//! The admin side has no password yet and listens on loopback, where any page that a browser on the same machine shows can
//! send requests. Two checks stop that:
//! - *Host* must be a loopback name or an IP address. A page that rebinds its own name to 127.0.0.1 still sends its own
//!   name there (DNS rebinding). Answered with 421.
//! - *Origin* and *Sec-Fetch-Site* of a request that may change something must be of the same origin. Browsers send them
//!   with every such request from a page; tools send none (cross-site request forgery). Answered with 403.
//!
//! No answer may be cached or read as another type.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::uri::Authority;
use axum::http::{Method, StatusCode, Uri, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::answer::Problem;

/// Lets a request through that cannot come from a page elsewhere.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let checked = check_host(request.version(), request.uri(), request.headers())
        .and_then(|authority| check_origin(request.method(), authority.as_ref(), request.headers()));
    let mut response = match checked {
        Ok(()) => without_panic(next.run(request)).await,
        Err(problem) => problem.into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Returns the authority that the request is meant for; `None` only where HTTP/1.0 names none, which no browser speaks.
/// An absolute target's authority stands above Host, which is checked all the same (RFC 9112 §3.2.2).
fn check_host(version: Version, uri: &Uri, headers: &HeaderMap) -> Result<Option<Authority>, Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Problem::new(StatusCode::BAD_REQUEST, "there is more than one Host"));
    }
    let host = match host {
        None => None,
        Some(value) => Some(Authority::try_from(value.as_bytes()).map_err(|_| misdirected())?),
    };
    for authority in uri.authority().into_iter().chain(&host) {
        if !is_local(authority) {
            return Err(misdirected());
        }
    }
    match uri.authority().cloned().or(host) {
        None if version >= Version::HTTP_11 => Err(Problem::new(StatusCode::BAD_REQUEST, "there is no Host")),
        authority => Ok(authority),
    }
}

fn misdirected() -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "the admin side answers only to a Host that is a loopback name or an IP address, so that no web page can reach \
         it under a name of its own",
    )
    .with("example", json!("Host: localhost"))
}

/// Tells whether a page cannot have this authority: an address, or a name that always means this machine (RFC 6761 §6.3).
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

/// Refuses what a page of another origin sends, unless it can change nothing.
fn check_origin(method: &Method, authority: Option<&Authority>, headers: &HeaderMap) -> Result<(), Problem> {
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(method) {
        return Ok(());
    }
    let origins = headers.get_all(header::ORIGIN).iter();
    let sites = headers.get_all("sec-fetch-site").iter();
    let is_same = origins.into_iter().all(|origin| is_same_origin(origin, authority))
        && sites.into_iter().all(|site| site == "same-origin" || site == "none");
    if is_same {
        return Ok(());
    }
    Err(Problem::new(StatusCode::FORBIDDEN, "a web page of another origin may not change anything here"))
}

/// Tells whether `origin` is the admin side itself; the scheme is `http`, or `https` where something in front ends TLS.
fn is_same_origin(origin: &HeaderValue, authority: Option<&Authority>) -> bool {
    let Some(authority) = authority else { return false };
    let Ok(origin) = origin.to_str() else { return false };
    ["http://", "https://"]
        .iter()
        .any(|scheme| origin.strip_prefix(scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(authority.as_str())))
}

/// Answers with 500 where the handler panics; the process and the connection go on.
async fn without_panic(handler: impl Future<Output = Response>) -> Response {
    let mut handler = Box::pin(handler);
    std::future::poll_fn(move |cx| {
        // What the handler shares stays whole: it reads figures, and purges only in calls that do not panic half-way.
        catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))).unwrap_or_else(|_| {
            tracing::error!("an admin request panicked");
            let problem = Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Larder failed on this request; see its log");
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
    fn origins() {
        let check = |method: Method, fields: &[(&'static str, &str)], is_let_through: bool| {
            let authority = Authority::from_static("localhost:9000");
            let checked = check_origin(&method, Some(&authority), &headers(fields));
            assert_eq!(checked.is_ok(), is_let_through, "{method} {fields:?}");
        };
        check(Method::POST, &[], true);
        check(Method::POST, &[("origin", "http://localhost:9000")], true);
        check(Method::POST, &[("origin", "https://LOCALHOST:9000"), ("sec-fetch-site", "same-origin")], true);
        check(Method::POST, &[("sec-fetch-site", "none")], true);
        check(Method::POST, &[("origin", "http://localhost:9001")], false);
        check(Method::POST, &[("origin", "http://localhost")], false);
        check(Method::POST, &[("origin", "http://evil.example")], false);
        check(Method::POST, &[("origin", "null")], false);
        check(Method::POST, &[("origin", "")], false);
        check(Method::POST, &[("origin", "http://localhost:9000"), ("origin", "http://evil.example")], false);
        check(Method::POST, &[("sec-fetch-site", "cross-site")], false);
        check(Method::POST, &[("sec-fetch-site", "same-site")], false);
        check(Method::DELETE, &[("origin", "http://evil.example")], false);
        check(Method::GET, &[("origin", "http://evil.example")], true);
        check(Method::OPTIONS, &[("origin", "http://evil.example")], true);
        let without_host = check_origin(&Method::POST, None, &headers(&[("origin", "http://localhost")]));
        assert!(without_host.is_err());
    }

    #[tokio::test]
    async fn a_panic_is_a_500() {
        let response = without_panic(async { panic!("on purpose") }).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
