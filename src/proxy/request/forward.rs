//! Writes the head of the origin's request anew from the request as read (RFC 9110 §7.6, RFC 7239).

use std::cell::RefCell;
use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, Version, header, uri};

use super::context::RequestContext;
use crate::key::Scheme;
use crate::origin::RequestBody;
use crate::policy::fields;
use crate::proxy::config::Config;
use crate::respond::head;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How many fields are added here.
const OWN_FIELDS: usize = 8;

/// The coding that the origin is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AskFor {
    /// Identity, which may be stored and encoded here.
    Identity,
    /// Any coding that the client accepts.
    ClientsChoice,
}

/// Makes the head of the origin's request. Preconditions and Range are the client's; callers change
/// them as needed.
pub(crate) fn head(config: &Config, ctx: &RequestContext, coding: AskFor) -> HeaderMap {
    let claims = ProxyClaims::of(ctx);
    let mut headers = HeaderMap::with_capacity(ctx.headers.len() + OWN_FIELDS);
    for (name, value) in ctx.headers.iter().filter(|(name, _)| *name != header::HOST) {
        headers.append(name, value.clone());
    }
    let fields = ForwardedFields::of(ctx.client.addr, ctx.key.scheme(), ctx.key.authority());
    if !claims.host {
        headers.insert(X_FORWARDED_HOST, fields.host.clone());
    }
    headers.insert(header::HOST, fields.host);
    headers.insert(X_FORWARDED_FOR, append_member(claims.forwarded_for, fields.forwarded_for));
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(ctx.key.scheme().as_str()));
    headers.insert(header::FORWARDED, append_member(claims.forwarded, fields.forwarded));
    head::append_via(&mut headers, ctx.version);
    if coding == AskFor::Identity && config.ask_identity {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    headers
}

/// Builds the request to send to the origin: the client's method, the path and query of the
/// canonical URL, and these headers and this body.
pub(crate) fn request(ctx: &RequestContext, headers: HeaderMap, body: RequestBody) -> Request<RequestBody> {
    let target = uri::PathAndQuery::try_from(ctx.key.path_and_query()).unwrap_or(uri::PathAndQuery::from_static("/"));
    let mut request = Request::new(body);
    *request.method_mut() = ctx.method.clone();
    *request.uri_mut() = Uri::from(target);
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request
}

/// Returns the callback that passes the origin's 1xx responses on to the client.
pub(crate) fn on_interim(ctx: &RequestContext) -> Option<impl Fn(StatusCode, &HeaderMap) + use<>> {
    let interim = ctx.client.interim.clone()?;
    Some(move |status, headers: &HeaderMap| {
        let mut headers = headers.clone();
        fields::strip_hop_by_hop(&mut headers);
        interim.push(status, &headers);
    })
}

/// The claims of a trusted proxy about the client that it forwards for; empty for other clients.
#[derive(Default)]
struct ProxyClaims {
    /// The list of X-Forwarded-For, ready to be appended to.
    forwarded_for: String,
    /// The list of Forwarded, ready to be appended to.
    forwarded: String,
    /// True if the proxy named the host.
    host: bool,
}

impl ProxyClaims {
    fn of(ctx: &RequestContext) -> Self {
        let headers = &ctx.headers;
        if !ctx.client.trusted {
            return Self::default();
        }
        Self {
            forwarded_for: chain(headers, &X_FORWARDED_FOR),
            forwarded: chain(headers, &header::FORWARDED),
            host: headers.contains_key(X_FORWARDED_HOST),
        }
    }
}

/// Joins the lines of a list field, ready to be appended to.
fn chain(headers: &HeaderMap, name: &HeaderName) -> String {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.fold(String::new(), |chain, line| chain + line + ", ")
}

/// Appends our member to the list of the trusted proxies.
fn append_member(chain: String, member: HeaderValue) -> HeaderValue {
    if chain.is_empty() {
        return member;
    }
    let list = [chain.as_bytes(), member.as_bytes()].concat();
    HeaderValue::from_maybe_shared(Bytes::from(list)).unwrap_or(member)
}

/// The fields that describe the client and its request to the origin.
#[derive(Clone)]
struct ForwardedFields {
    host: HeaderValue,
    forwarded_for: HeaderValue,
    forwarded: HeaderValue,
}

impl ForwardedFields {
    /// Makes the fields. The last ones are kept per thread: writing them costs more than the rest
    /// of the head, and a client usually sends more than one request.
    fn of(client: IpAddr, scheme: Scheme, authority: &str) -> Self {
        thread_local! {
            static LAST: RefCell<Option<(IpAddr, Scheme, ForwardedFields)>> = const { RefCell::new(None) };
        }
        LAST.with_borrow_mut(|last| match last {
            Some((of, by, fields)) if (*of, *by) == (client, scheme) && fields.host == *authority => fields.clone(),
            _ => last.insert((client, scheme, Self::build(client, scheme, authority))).2.clone(),
        })
    }

    fn build(client: IpAddr, scheme: Scheme, authority: &str) -> Self {
        let addr = client.to_string();
        // IPv6 addresses and hosts with a port are quoted (RFC 7239 §6).
        let (open, close) = if client.is_ipv6() { ("\"[", "]\"") } else { ("", "") };
        let value =
            |text: &str| HeaderValue::from_str(text).expect("a canonical authority and an address are printable");
        Self {
            host: value(authority),
            forwarded_for: value(&addr),
            forwarded: value(&format!("for={open}{addr}{close};host=\"{authority}\";proto={}", scheme.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_fields_are_used_for_the_same_client_only() {
        let check = |client: &str, scheme, authority: &str, forwarded: &str| {
            let fields = ForwardedFields::of(client.parse().unwrap(), scheme, authority);
            assert_eq!((fields.host, fields.forwarded_for), (authority.parse().unwrap(), client.parse().unwrap()));
            assert_eq!(fields.forwarded, *forwarded);
        };
        for _ in 0..2 {
            check("10.0.0.1", Scheme::Http, "a.example", "for=10.0.0.1;host=\"a.example\";proto=http");
            check("10.0.0.2", Scheme::Http, "a.example", "for=10.0.0.2;host=\"a.example\";proto=http");
            check("10.0.0.2", Scheme::Https, "a.example", "for=10.0.0.2;host=\"a.example\";proto=https");
            check("10.0.0.2", Scheme::Https, "a.example:81", "for=10.0.0.2;host=\"a.example:81\";proto=https");
            check("::1", Scheme::Https, "[::1]:81", "for=\"[::1]\";host=\"[::1]:81\";proto=https");
        }
    }

    #[test]
    fn our_member_is_appended_to_those_of_trusted_proxies() {
        let behind = |chain: &str| append_member(chain.to_owned(), HeaderValue::from_static("c"));
        assert_eq!((behind(""), behind("a, b, ")), ("c".parse().unwrap(), "a, b, c".parse().unwrap()));
    }
}
