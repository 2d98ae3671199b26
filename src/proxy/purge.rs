//! Purges: for the admin side, and for PURGE requests from listed networks.
//!
//! A URL is purged as the routes key it: the query parameters that its route drops are dropped here
//! too. Entries that cannot be found by key (prefixes, hosts, tags, URLs whose route adds to the
//! key) are left to the ledger and the sweep.
//!
//! PURGE is answered with 200 and JSON even if nothing was stored: the purge also covers responses
//! that are still on their way, and a deploy script need not tell a cold cache from a failure.
//! `entries` says how many responses there were.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use serde::Serialize;

use super::config::Config;
use super::request::context::RequestContext;
use super::respond::body::Body;
use super::respond::{record, rescue};
use super::state::{Shared, Worker};
use crate::key::CanonicalUrl;
use crate::outcome::{Outcome, Reason};
use crate::policy::PurgeState;
use crate::respond::head;
use crate::store::{PurgeKind, Selector};
use crate::syntax::list::FieldLines;

/// The request header that names the kind of purge.
const KIND: HeaderName = HeaderName::from_static("purge-kind");

/// The target of a purge.
#[derive(Clone, Debug, PartialEq)]
pub enum PurgeTarget {
    /// A URL, as clients request it.
    Url(CanonicalUrl),
    /// A selector that may cover more than one URL.
    Wide(Selector),
}

/// The result of a purge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PurgeResult {
    /// The purge's number in the ledger: responses requested from the origin before it count as
    /// purged.
    pub sequence: u64,
    /// How many stored responses the purge affected; `None` if only the sweep will find them.
    pub entries: Option<u64>,
}

/// Purges. When this returns, nothing that `target` covers is served as fresh.
pub(crate) fn purge(shared: &Shared, target: PurgeTarget, kind: PurgeKind) -> PurgeResult {
    match target {
        PurgeTarget::Wide(selector) => PurgeResult { sequence: shared.store.purge(selector, kind), entries: None },
        PurgeTarget::Url(url) => purge_url(shared, &url, kind),
    }
}

fn purge_url(shared: &Shared, url: &CanonicalUrl, kind: PurgeKind) -> PurgeResult {
    // Routes may treat the two methods that are looked up differently.
    let mut urls: Vec<CanonicalUrl> = Vec::with_capacity(2);
    let mut entries = Some(0);
    for method in [Method::GET, Method::HEAD] {
        let rule = shared.routes.choose(&method, url);
        let keyed = rule.query.apply(url.clone());
        if !urls.contains(&keyed) {
            let is_whole_key = rule.key_headers.is_empty() && rule.key_cookies.is_empty();
            let count = is_whole_key
                .then(|| count_affected(shared, rule.key_of(&shared.hasher, keyed.clone(), &HeaderMap::new())));
            entries = entries.zip(count).map(|(sum, count)| sum + count);
            urls.push(keyed);
        }
    }
    let record = |url: CanonicalUrl| shared.store.purge(Selector::Url(url.as_str().into()), kind);
    PurgeResult { sequence: urls.into_iter().map(record).max().unwrap_or_default(), entries }
}

/// Counts the responses stored under `key` that no earlier hard purge covers.
fn count_affected(shared: &Shared, key: crate::key::Key) -> u64 {
    let Some(stored) = shared.store.get(&key) else { return 0 };
    let now = shared.clock.now();
    let is_present = |entry: &&Arc<_>| shared.store.purge_state(&key, entry, now) != PurgeState::Purged;
    stored.entries.iter().filter(is_present).count() as u64
}

/// Decides what becomes of a PURGE.
///
/// # Errors
/// The refusal: 405 if no network is listed, 403 for a client in none of them, 400 for an unknown
/// kind.
pub(crate) fn decide(config: &Config, ctx: &RequestContext) -> Result<PurgeKind, (StatusCode, Reason)> {
    if config.purge_from.is_empty() {
        return Err((StatusCode::METHOD_NOT_ALLOWED, Reason::MethodRefused));
    }
    let is_listed = |addr: IpAddr| config.purge_from.iter().any(|net| net.contains(&addr));
    if !ctx.client.requester.is_some_and(is_listed) {
        return Err((StatusCode::FORBIDDEN, Reason::MethodRefused));
    }
    kind(&ctx.headers).ok_or((StatusCode::BAD_REQUEST, Reason::BadRequest))
}

/// The content of the response to a PURGE.
#[derive(Serialize)]
struct PurgeReceipt {
    /// The number of targets.
    purged: u64,
    sequence: u64,
    entries: Option<u64>,
}

/// Answers a PURGE, by purging if the client is in a listed network.
pub(crate) fn answer(worker: &Worker, ctx: &RequestContext) -> Response<Body> {
    let kind = match decide(&worker.shared.config, ctx) {
        Ok(kind) => kind,
        Err((StatusCode::METHOD_NOT_ALLOWED, _)) => return rescue::method_not_allowed(worker, ctx),
        Err((status, reason)) => return rescue::refusal(worker, ctx, status, reason),
    };
    let PurgeResult { sequence, entries } = purge(&worker.shared, PurgeTarget::Url(ctx.key.to_url()), kind);
    let receipt = PurgeReceipt { purged: 1, sequence, entries };
    let mut text = serde_json::to_vec(&receipt).expect("numbers can be written as JSON");
    text.push(b'\n');
    let mut response = Response::new(Body::whole(Bytes::from(text)));
    let headers = response.headers_mut();
    headers.insert(header::DATE, head::date(worker.shared.clock.now()));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    record::finish(worker, ctx, ctx.decision(Outcome::Own, Reason::Purge), response)
}

/// Returns the kind that the request names; `None` if it is not a known one.
fn kind(headers: &HeaderMap) -> Option<PurgeKind> {
    let value = match FieldLines::of(headers, KIND) {
        FieldLines::None => return Some(PurgeKind::Hard),
        FieldLines::One(value) => value.as_bytes().trim_ascii(),
        FieldLines::Several => return None,
    };
    match value {
        b"hard" => Some(PurgeKind::Hard),
        b"validate" => Some(PurgeKind::Validate),
        b"soft" => Some(PurgeKind::Soft),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_receipt_is_one_line_of_json() {
        let text = |entries| serde_json::to_string(&PurgeReceipt { purged: 1, sequence: 7, entries }).unwrap();
        assert_eq!(text(Some(2)), r#"{"purged":1,"sequence":7,"entries":2}"#);
        assert_eq!(text(None), r#"{"purged":1,"sequence":7,"entries":null}"#);
    }

    #[test]
    fn the_kind_is_one_of_three_words() {
        let check = |values: &[&'static str], expected: Option<PurgeKind>| {
            let headers = values.iter().map(|value| (KIND, HeaderValue::from_static(value)));
            assert_eq!(kind(&HeaderMap::from_iter(headers)), expected, "{values:?}");
        };
        check(&[], Some(PurgeKind::Hard));
        check(&["soft"], Some(PurgeKind::Soft));
        check(&["validate"], Some(PurgeKind::Validate));
        check(&["Soft"], None);
        check(&[""], None);
    }
}
