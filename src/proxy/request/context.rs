//! Reads a request into its context: canonical URL, route, key, and the parsed fields, each once.
//! All later steps take the context.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::client::{self, Client};
use crate::clock::Timestamp;
use crate::key::{CanonicalUrl, Key, Scheme};
use crate::outcome::{Decision, Outcome, Reason};
use crate::policy::fields::onward;
use crate::policy::request::{self, Intent, RequestFacts};
use crate::policy::storable::Exchange;
use crate::policy::{credentials, validate};
use crate::proxy::config::Config;
use crate::proxy::state::{Peer, Shared};
use crate::proxy::trace::Trace;
use crate::route::{self, Rule};
use crate::stored::{CredentialValues, Credentials};
use crate::syntax::list::FieldLines;

/// A request as read.
pub(crate) struct RequestContext {
    /// The cache key: the canonical URL, and what the route adds to it.
    pub(crate) key: Key,
    /// The rule of the request's route.
    pub(crate) rule: Arc<Rule>,
    /// The request's method.
    pub(crate) method: Method,
    /// The request's HTTP version.
    pub(crate) version: Version,
    /// The fields that go on to the origin (`policy::fields::onward`).
    pub(crate) headers: HeaderMap,
    /// The protocols that the client asks to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The facts parsed from the fields.
    pub(crate) facts: RequestFacts,
    /// The client that sent the request.
    pub(crate) client: Client,
    /// When the head had arrived, by the clock.
    pub(crate) at: Timestamp,
    /// When the head had arrived, for measuring.
    pub(crate) started: Instant,
    /// The request's trace; `None` if traces are off.
    pub(crate) trace: Option<Trace>,
}

/// The content of a request, as far as it is known before it is read.
#[derive(Clone, Copy)]
pub(crate) struct ContentHint {
    /// True if there is no content.
    pub(crate) is_empty: bool,
    /// The least number of bytes that the content has.
    pub(crate) bytes: u64,
}

/// The action that a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Look into the store first.
    LookUp,
    /// Pass to the origin, for this reason.
    Pass(Reason),
    /// Purge the URL.
    Purge,
}

/// A request that is answered before it is read completely: refused, or for Larder itself.
pub(crate) struct EarlyResponse {
    /// The response's status.
    pub(crate) status: StatusCode,
    /// The reason for the response.
    pub(crate) reason: Reason,
    /// When the request began.
    pub(crate) started: Instant,
}

impl EarlyResponse {
    /// Makes the decision about the request.
    pub(crate) fn decision(&self) -> Decision {
        let outcome = if self.reason == Reason::Options { Outcome::Own } else { Outcome::Refused };
        Decision::new(outcome, self.reason)
    }
}

impl RequestContext {
    /// Reads a request into a context that all later steps share by reference.
    pub(crate) fn read(
        shared: &Shared,
        peer: &Peer,
        request: Request<Incoming>,
    ) -> Result<(Arc<Self>, Action, Request<Incoming>), EarlyResponse> {
        let (mut parts, body) = request.into_parts();
        let config = &shared.config;
        let client = Client::of(config, peer, &parts);
        let (scheme, trusted) = (client::scheme(config, client.trusted, &parts.headers), client.trusted);
        let content = ContentHint { is_empty: body.is_end_stream(), bytes: body.size_hint().lower() };
        let (mut ctx, action) = Self::from_head(shared, client, scheme, &mut parts, content)?;
        ctx.trace = Trace::of(shared, trusted, &ctx.headers);
        Ok((Arc::new(ctx), action, Request::from_parts(parts, body)))
    }

    /// Reads a request's head and takes its fields. The context has no trace.
    pub(crate) fn from_head(
        shared: &Shared,
        client: Client,
        scheme: Scheme,
        parts: &mut http::request::Parts,
        content: ContentHint,
    ) -> Result<(Self, Action), EarlyResponse> {
        let started = Instant::now();
        let refusal = |status, reason| EarlyResponse { status, reason, started };
        let config = &shared.config;
        if parts.version == Version::HTTP_2 {
            onward::from_http2(&mut parts.headers).map_err(|(status, reason)| refusal(status, reason))?;
        }
        let url = canonical(scheme, parts).ok_or_else(|| refusal(StatusCode::BAD_REQUEST, Reason::BadRequest))?;
        if !config.hosts.is_empty() && !config.hosts.iter().any(|pattern| route::host_matches(pattern, &url)) {
            return Err(refusal(StatusCode::MISDIRECTED_REQUEST, Reason::SiteUnknown));
        }
        // A PURGE is routed as a GET: it purges what a GET would find.
        let routed = if parts.method.as_str() == "PURGE" { &Method::GET } else { &parts.method };
        let rule = Arc::clone(shared.routes.choose(routed, &url));
        let http::request::Parts { method, version, headers, .. } = &*parts;
        let (action, facts, upgrade) =
            match request::classify(method, *version, headers, !content.is_empty, &rule, &config.upgrades) {
                Intent::LookUp(facts) => (Action::LookUp, facts, None),
                Intent::Pass(reason, facts) => (Action::Pass(reason), facts, None),
                Intent::Upgrade(protocols, facts) => (Action::Pass(Reason::Upgrade), facts, Some(protocols)),
                Intent::Purge(facts) => (Action::Purge, facts, None),
                Intent::Refuse(status, reason) => return Err(refusal(status, reason)),
            };
        if content.bytes > config.request_body_max {
            return Err(refusal(StatusCode::PAYLOAD_TOO_LARGE, Reason::RequestTooLarge));
        }
        if request::is_for_us(&parts.method, parts.uri.path(), &parts.headers) {
            return Err(refusal(StatusCode::OK, Reason::Options));
        }
        request::count_hop(&parts.method, &mut parts.headers);
        onward::leave_onward(&mut parts.headers, client.trusted);
        let key = rule.key_of(&shared.hasher, url, &parts.headers);
        let ctx = Self {
            key,
            rule,
            method: parts.method.clone(),
            version: parts.version,
            headers: std::mem::take(&mut parts.headers),
            upgrade,
            facts,
            client,
            at: shared.clock.now(),
            started,
            trace: None,
        };
        Ok((ctx, action))
    }

    /// Makes the GET of the same URL, with the same fields.
    pub(crate) fn as_get(&self, shared: &Shared) -> Self {
        let rule = Arc::clone(shared.routes.choose(&Method::GET, &self.key.to_url()));
        Self {
            key: rule.key_of(&shared.hasher, self.key.to_url(), &self.headers),
            rule,
            method: Method::GET,
            headers: self.headers.clone(),
            upgrade: None,
            facts: RequestFacts { is_head: false, ..self.facts.clone() },
            client: Client { interim: None, ..self.client },
            ..*self
        }
    }

    /// Makes the same request without preconditions.
    pub(crate) fn unconditional(&self) -> Self {
        let mut headers = self.headers.clone();
        validate::drop_preconditions(&mut headers);
        Self {
            key: self.key.clone(),
            rule: Arc::clone(&self.rule),
            method: self.method.clone(),
            headers,
            upgrade: None,
            facts: RequestFacts { is_conditional: false, has_origins_condition: false, ..self.facts.clone() },
            client: Client { interim: None, ..self.client },
            ..*self
        }
    }

    /// Makes a decision about this request.
    pub(crate) fn decision(&self, outcome: Outcome, reason: Reason) -> Decision {
        Decision { key_hash: Some(self.key.hash()), route: self.rule.index, ..Decision::new(outcome, reason) }
    }

    /// Makes the exchange of this request and its response.
    pub(crate) fn exchange(&self, requested_at: Timestamp, received_at: Timestamp) -> Exchange<'_> {
        Exchange { method: &self.method, request: &self.facts, requested_at, received_at, rule: &self.rule }
    }

    /// Returns the request's credentials; each call hashes them.
    pub(crate) fn credentials(&self, shared: &Shared) -> Credentials {
        if !self.facts.has_cookie && !self.facts.has_authorization {
            return Credentials::NONE;
        }
        credentials::credentials(&shared.hasher, &self.headers, &self.rule)
    }

    /// Returns the single values of the request's credentials; each call hashes them.
    pub(crate) fn values(&self, shared: &Shared) -> CredentialValues {
        credentials::values(&shared.hasher, &self.headers, &self.rule)
    }

    /// Tells whether the client may see keys as text.
    pub(crate) fn may_debug(&self, config: &Config) -> bool {
        self.client.requester.is_some_and(|addr| config.debug_from.iter().any(|net| net.contains(&addr)))
    }
}

/// Makes the canonical URL. The authority of an absolute form or of HTTP/2 wins over Host (RFC 9112
/// §3.2.2).
///
/// Returns `None` if the request names no host, or more than one, counting Host and the authority
/// (RFC 9113 §8.3.1); if its target is a bare authority, which only CONNECT may have (`GET path` is
/// none of the forms of RFC 9112 §3.2); or if its scheme is neither http nor https.
pub(crate) fn canonical(scheme: Scheme, parts: &http::request::Parts) -> Option<CanonicalUrl> {
    let host = match FieldLines::of(&parts.headers, header::HOST) {
        FieldLines::None => None,
        FieldLines::One(host) => Some(host.to_str().ok()?),
        FieldLines::Several => return None,
    };
    if parts.uri.scheme().is_none() && parts.uri.authority().is_some() && parts.method != Method::CONNECT {
        return None;
    }
    if parts.uri.scheme_str().is_some_and(|scheme| !matches!(scheme, "http" | "https")) {
        return None;
    }
    let (authority, other) = match (parts.uri.authority(), host) {
        (Some(authority), host) => {
            (authority.as_str(), host.filter(|host| !host.eq_ignore_ascii_case(authority.as_str())))
        }
        (None, host) => (host?, None),
    };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    // The server as a whole (RFC 9112 §3.2.4) has no URL; its host has one.
    let target = if target == "*" && parts.method == Method::OPTIONS { "/" } else { target };
    let url = CanonicalUrl::new(scheme, authority, target).ok()?;
    match other {
        Some(host) => CanonicalUrl::new(scheme, host, "/").ok().filter(|named| named.is_same_origin(&url)).map(|_| url),
        None => Some(url),
    }
}
