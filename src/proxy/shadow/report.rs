//! Shadow mode's report, as JSON shows it: plain values with the units in their names, and advice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::advice::{self, Advice};
use crate::analytics::reasons;
use crate::analytics::shadow::{Difference, ShadowCounters};
use crate::key::ExtraSource;
use crate::metrics;
use crate::outcome::{Outcome, Reason, WouldBeOutcome};
use crate::proxy::state::Shared;
use crate::route::ShadowRoutes;

/// The most URLs that are listed as differing.
const DIFFERS_MAX: usize = 50;

/// The most parameters that are listed.
const PARAMETERS_MAX: usize = 100;

/// Shadow mode's report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// The extent of shadow mode now: `all`, `some` routes, or `none`.
    pub running: String,
    /// The same as a sentence.
    pub says: String,
    /// All requests that passed in shadow mode since the start.
    pub total: ShadowTotals,
    /// The same by route, for routes with requests.
    pub routes: Vec<ShadowRoute>,
    /// Why requests would not have been hits, the most frequent first.
    pub not_hits: Vec<NonHitReport>,
    /// Would-be hits, compared with the origin's responses.
    pub compared: CompareTotals,
    /// URLs whose bodies differed for one key, the most frequent first, at most 50.
    pub differs: Vec<DifferingUrl>,
    /// Query parameters that occurred with more than one value, at most 100.
    pub parameters: Vec<ParameterReport>,
    /// Advice on changes to the configuration or the app.
    pub advice: Vec<Advice>,
}

/// Would-be results of requests.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowTotals {
    /// Requests that have ended.
    pub requests: u64,
    /// By would-be outcome, every outcome listed.
    pub would_be: BTreeMap<String, u64>,
    /// Would-be hits / requests; `null` without requests.
    pub hit_ratio: Option<f64>,
    /// Body bytes of would-be hits / body bytes; `null` without any.
    pub hit_ratio_bytes: Option<f64>,
    /// Requests that would have waited for another's origin request.
    pub collapsed: u64,
    /// Requests that would have spared the origin: would-be hits, stale answers without asking, and
    /// collapsed ones.
    pub origin_requests_saved: u64,
    /// The time from the request's head to the response's, summed over all requests.
    pub origin_time_us: u64,
    /// The same, for the requests that would have spared the origin.
    pub origin_time_saved_us: u64,
    /// Body bytes that the origin sent.
    pub bytes: u64,
    /// Body bytes of would-be hits.
    pub bytes_saved: u64,
}

/// The totals of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowRoute {
    /// The name, as in `/stats`.
    pub name: String,
    /// The totals of its requests.
    #[serde(flatten)]
    pub total: ShadowTotals,
}

/// A reason why requests would not have been hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NonHitReport {
    /// The token of the outcome that the requests would have had in live mode.
    pub would_be: String,
    /// The reason for the would-be outcome.
    pub reason: String,
    /// The number of requests.
    pub requests: u64,
    /// The reason as a sentence.
    pub why: String,
    /// The change that makes them hits.
    pub change: String,
    /// The URLs with the most of the origin's time for this reason, at most 3.
    pub urls: Vec<String>,
}

/// Would-be hits, compared with the origin's responses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareTotals {
    /// The same body, or a 304 that names the kept entry.
    pub same: u64,
    /// Another body or status.
    pub differed: u64,
    /// Of these, responses with the same entity-tag: the app itself says that they are equivalent.
    pub differed_within_tag: u64,
    /// Not comparable: a part, a HEAD, an error, a body that broke off, or the first in its coding.
    pub not_compared: u64,
}

/// A URL whose bodies differed for one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifferingUrl {
    /// The canonical URL, or its first 512 bytes.
    pub url: String,
    /// How often the body differed from the kept one.
    pub times: u64,
    /// How often it was the same, since it first differed.
    pub same: u64,
    /// Of `times`, responses with the same entity-tag.
    pub same_tag: u64,
    /// Of `times`, cases in which nothing in the requests differed.
    pub by_itself: u64,
    /// The differences of the requests, the likeliest cause first.
    pub request: Vec<SuspectReport>,
    /// The differences of the responses' heads.
    pub response: Vec<String>,
}

/// A request field or cookie that differed between requests with different bodies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspectReport {
    /// `header` or `cookie`.
    pub kind: String,
    /// The name of the field or cookie.
    pub name: String,
    /// How often the value differed when the bodies did.
    pub times: u64,
    /// How often the value differed when the bodies were the same.
    pub harmless: u64,
    /// True if the value differed each time that the bodies did, and never otherwise.
    pub is_cause: bool,
}

/// A query parameter that occurred with more than one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterReport {
    /// The host of the page.
    pub host: String,
    /// The path of the page.
    pub path: String,
    /// The name, as it is written in the URL.
    pub name: String,
    /// How often another value, or no value, got the same body.
    pub same: u64,
    /// How often another value, or no value, got another body.
    pub different: u64,
    /// True if the page changed by itself: then other bodies say nothing of the parameter.
    pub page_changes: bool,
}

/// Makes the report from a snapshot; `None`: no request has been counted yet.
pub(crate) fn report(shared: &Shared, snapshot: Option<metrics::ShadowSnapshot>) -> ShadowReport {
    let is_empty = snapshot.is_none();
    let snapshot = snapshot.unwrap_or_default();
    let shadowed = shared.routes.shadow_routes();
    let advice = advice::advice(&shared.routes, &snapshot);
    let metrics::ShadowSnapshot { total, routes, not_hits, mut differs, mut parameters } = snapshot;
    differs.truncate(DIFFERS_MAX);
    parameters.truncate(PARAMETERS_MAX);
    ShadowReport {
        running: match shadowed {
            ShadowRoutes::All => "all",
            ShadowRoutes::Some => "some",
            ShadowRoutes::None => "none",
        }
        .to_owned(),
        says: headline(shadowed, is_empty).to_owned(),
        routes: routes.iter().map(|(name, counts)| ShadowRoute { name: name.clone(), total: counts.into() }).collect(),
        not_hits: non_hit_reasons(&total, &not_hits),
        compared: CompareTotals {
            same: total.same,
            differed: total.differed,
            differed_within_tag: total.differed_within_tag,
            not_compared: total.uncompared,
        },
        total: (&total).into(),
        differs: differs.iter().map(DifferingUrl::from).collect(),
        parameters: parameters
            .into_iter()
            .map(|row| ParameterReport {
                host: row.host.into(),
                path: row.path.into(),
                name: row.name.into(),
                same: row.same,
                different: row.different,
                page_changes: row.is_restless,
            })
            .collect(),
        advice,
    }
}

fn headline(shadowed: ShadowRoutes, is_empty: bool) -> &'static str {
    match (shadowed, is_empty) {
        (ShadowRoutes::All, false) => "Everything is in shadow mode: every request goes to the app.",
        (ShadowRoutes::Some, false) => "Some routes are in shadow mode: their requests go to the app.",
        (ShadowRoutes::All, true) => "Everything is in shadow mode; no request has arrived yet.",
        (ShadowRoutes::Some, true) => "Some routes are in shadow mode; none of their requests has arrived yet.",
        (ShadowRoutes::None, true) => {
            "Nothing is in shadow mode: set `mode = \"shadow\"` at the top of the configuration or in a [[route]], and reload."
        }
        (ShadowRoutes::None, false) => "Nothing is in shadow mode any more: these statistics are from when it was.",
    }
}

impl From<&ShadowCounters> for ShadowTotals {
    fn from(counts: &ShadowCounters) -> Self {
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        Self {
            requests: counts.requests,
            would_be: Outcome::ALL.iter().map(|outcome| (outcome.token().to_owned(), counts.of(*outcome))).collect(),
            hit_ratio: ratio(counts.of(Outcome::Hit), counts.requests),
            hit_ratio_bytes: ratio(counts.body_bytes_hit, counts.body_bytes),
            collapsed: counts.collapsed,
            origin_requests_saved: counts.spared,
            origin_time_us: counts.origin_micros,
            origin_time_saved_us: counts.origin_micros_spared,
            bytes: counts.body_bytes,
            bytes_saved: counts.body_bytes_hit,
        }
    }
}

impl From<&Difference> for DifferingUrl {
    fn from(row: &Difference) -> Self {
        let causes: Vec<_> = row.causes().map(|cause| (cause.source, cause.name.clone())).collect();
        let suspect = |suspect: &crate::analytics::shadow::Suspect| SuspectReport {
            kind: kind(suspect.source).to_owned(),
            name: suspect.name.to_string(),
            times: suspect.times,
            harmless: suspect.harmless,
            is_cause: causes.contains(&(suspect.source, suspect.name.clone())),
        };
        Self {
            url: row.url.to_string(),
            times: row.times,
            same: row.same,
            same_tag: row.same_tag,
            by_itself: row.by_itself,
            request: row.suspects.iter().map(suspect).collect(),
            response: row.response.iter().map(|&name| name.to_owned()).collect(),
        }
    }
}

fn kind(source: ExtraSource) -> &'static str {
    match source {
        ExtraSource::Cookie => "cookie",
        ExtraSource::Header | ExtraSource::Mode => "header",
    }
}

/// Lists why requests would not have been hits, the most frequent reason first.
fn non_hit_reasons(total: &ShadowCounters, urls: &[reasons::NonHitReason]) -> Vec<NonHitReport> {
    let is_lost = |outcome: Outcome, reason: Reason| {
        !WouldBeOutcome::new(outcome, reason).spares_origin() && outcome != Outcome::Refused
    };
    let urls = |reason: Reason| {
        let row = urls.iter().find(|row| row.reason == reason);
        row.map(|row| row.urls.iter().map(|url| url.to_string()).collect()).unwrap_or_default()
    };
    let mut rows: Vec<_> = total
        .by_reason
        .iter()
        .filter(|((outcome, reason), _)| is_lost(*outcome, *reason))
        .map(|((outcome, reason), requests)| NonHitReport {
            would_be: outcome.token().to_owned(),
            reason: reason.token().to_owned(),
            requests: *requests,
            why: reason.why().to_owned(),
            change: reason.remedy().to_owned(),
            urls: urls(*reason),
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.requests));
    rows
}
