//! The head of the request that goes to the origin, written anew from what was read (RFC 9110 §7.6, RFC 7239).

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, Version, header, uri};

use super::Config;
use super::asked::Asked;
use crate::origin::{OnInterim, RequestBody};
use crate::policy::fields;
use crate::respond::head;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How many fields are written here.
const OWN_FIELDS: usize = 8;

/// Which coding the origin is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum AskFor {
    /// What may be stored and recoded here.
    Identity,
    /// Whatever the client accepts.
    ClientsChoice,
}

/// Makes the head of the origin's request. Preconditions and Range are the client's; whoever wants others changes them.
pub(super) fn head(config: &Config, asked: &Asked, coding: AskFor) -> HeaderMap {
    let said = Said::by(asked);
    let mut headers = HeaderMap::with_capacity(asked.headers.len() + OWN_FIELDS);
    headers.extend(asked.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    let authority = asked.key.authority();
    let scheme = asked.key.scheme().as_str();
    insert(&mut headers, header::HOST, authority);
    let client = told(asked.client.addr);
    insert(&mut headers, X_FORWARDED_FOR, &(said.forwarded_for + &client));
    if !said.host {
        insert(&mut headers, X_FORWARDED_HOST, authority);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    insert(&mut headers, header::FORWARDED, &element(said.forwarded, &client, authority, scheme));
    head::append_via(&mut headers, asked.version);
    if coding == AskFor::Identity && config.ask_identity {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    }
    headers
}

/// Makes the request.
pub(super) fn request(asked: &Asked, headers: HeaderMap, body: RequestBody) -> Request<RequestBody> {
    let target = uri::PathAndQuery::try_from(asked.key.path_and_query()).unwrap_or(uri::PathAndQuery::from_static("/"));
    let mut request = Request::new(body);
    *request.method_mut() = asked.method.clone();
    *request.uri_mut() = Uri::from(target);
    *request.version_mut() = Version::HTTP_11;
    *request.headers_mut() = headers;
    request
}

/// Returns the callback that sends the origin's 1xx responses on to the client.
pub(super) fn on_interim(asked: &Asked) -> Option<OnInterim> {
    let interim = asked.client.interim.clone()?;
    Some(Arc::new(move |status, headers| {
        let mut headers = headers.clone();
        fields::strip_hop_by_hop(&mut headers);
        interim.push(status, &headers);
    }))
}

/// What a trusted proxy said of whom it forwards for; empty for everybody else.
#[derive(Default)]
struct Said {
    /// The chain of X-Forwarded-For, ready to be appended to.
    forwarded_for: String,
    /// The chain of Forwarded, likewise.
    forwarded: String,
    /// Whether it named the host.
    host: bool,
}

impl Said {
    fn by(asked: &Asked) -> Self {
        let headers = &asked.headers;
        if !asked.client.trusted {
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

/// Prints an address. The last one is kept: printing costs more than all else here, and clients ask more than once.
fn told(client: IpAddr) -> String {
    thread_local! {
        static LAST: RefCell<Option<(IpAddr, String)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((addr, text)) if *addr == client => text.clone(),
        _ => last.insert((client, client.to_string())).1.clone(),
    })
}

/// Appends our element to Forwarded. IPv6 addresses and hosts with a port are quoted (RFC 7239 §6).
fn element(mut chain: String, client: &str, authority: &str, scheme: &str) -> String {
    chain.reserve(32 + client.len() + authority.len());
    let (open, close) = if client.contains(':') { ("for=\"[", "]\"") } else { ("for=", "") };
    for part in [open, client, close, ";host=\"", authority, "\";proto=", scheme] {
        chain.push_str(part);
    }
    chain
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
