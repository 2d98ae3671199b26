//! What shadow mode tells, as it goes over the wire: plain values with the units in their names, and what to write where.

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

/// The most URLs that are told of those that differ.
const DIFFERS_MAX: usize = 50;

/// The most parameters that are told.
const PARAMETERS_MAX: usize = 100;

/// The whole report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShadowReport {
    /// What is in shadow mode now: `all`, `some` routes, or `none`.
    pub running: String,
    /// The same as a sentence.
    pub says: String,
    /// All requests that were passed in shadow mode since the start.
    pub total: ShadowTotals,
    /// The same by route, those that had any.
    pub routes: Vec<ShadowRoute>,
    /// Why requests would not have been hits, the most frequent first.
    pub not_hits: Vec<NonHitReport>,
    /// Would-be hits held against what the origin sent.
    pub compared: CompareTotals,
    /// URLs whose bodies differed for one key, the most frequent first, at most 50.
    pub differs: Vec<DifferingUrl>,
    /// Query parameters that were seen with more than one value, at most 100.
    pub parameters: Vec<ParameterReport>,
    /// What to change.
    pub advice: Vec<Advice>,
}

/// What requests would have come to.
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
    /// Requests that the origin would have been spared: would-be hits, stale answers without asking, and collapsed ones.
    pub origin_requests_saved: u64,
    /// From the request's head to the response's, all requests together.
    pub origin_time_us: u64,
    /// The same of the requests that the origin would have been spared.
    pub origin_time_saved_us: u64,
    /// Body bytes that the origin sent.
    pub bytes: u64,
    /// Those of would-be hits.
    pub bytes_saved: u64,
}

/// The figures of a route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShadowRoute {
    /// Its name, as in `/stats`.
    pub name: String,
    /// Its requests.
    #[serde(flatten)]
    pub total: ShadowTotals,
}

/// Why requests would not have been hits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NonHitReport {
    /// What they would have been.
    pub would_be: String,
    /// The reason.
    pub reason: String,
    /// How many.
    pub requests: u64,
    /// The reason as a sentence.
    pub why: String,
    /// What to change.
    pub change: String,
    /// The URLs with the most of the origin's time for this reason, at most 3.
    pub urls: Vec<String>,
}

/// Would-be hits held against what the origin sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompareTotals {
    /// The same body, or a 304 that names what is kept.
    pub same: u64,
    /// Another body or status.
    pub differed: u64,
    /// Of these, those whose entity-tag was the same: the app itself says that they are equivalent.
    pub differed_within_tag: u64,
    /// Not comparable: a part, a HEAD, an error, a body that broke off, or the first in its coding.
    pub not_compared: u64,
}

/// A URL whose bodies differed for one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DifferingUrl {
    /// The canonical URL, or its first 512 bytes.
    pub url: String,
    /// How often the body differed from what was kept.
    pub times: u64,
    /// How often it was the same, since it first differed.
    pub same: u64,
    /// Of `times`, those with the same entity-tag.
    pub same_tag: u64,
    /// Of `times`, those in which nothing in the requests differed.
    pub by_itself: u64,
    /// What differed in the requests, the likeliest cause first.
    pub request: Vec<SuspectReport>,
    /// What differed in the responses' heads.
    pub response: Vec<String>,
}

/// A request field or cookie in which requests differed that got different bodies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SuspectReport {
    /// `header` or `cookie`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How often it differed where the bodies did.
    pub times: u64,
    /// How often it differed where they were the same.
    pub harmless: u64,
    /// Whether it differed each time that the bodies did, and never else.
    pub is_cause: bool,
}

/// A query parameter that was seen with more than one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParameterReport {
    /// The host.
    pub host: String,
    /// The path.
    pub path: String,
    /// Its name, as it is written.
    pub name: String,
    /// How often another value of it, or leaving it out, got the same body.
    pub same: u64,
    /// How often it got another body.
    pub different: u64,
    /// Whether the page was seen to change by itself: then other bodies tell nothing of the parameter.
    pub page_changes: bool,
}

/// Makes the report of what was seen; `None`: nothing yet.
pub fn report(shared: &Shared, snapshot: Option<metrics::ShadowSnapshot>) -> ShadowReport {
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
        (ShadowRoutes::All, false) => "Everything is in shadow mode: nothing is answered from the cache.",
        (ShadowRoutes::Some, false) => "Some routes are in shadow mode: nothing of theirs is answered from the cache.",
        (ShadowRoutes::All, true) => "Everything is in shadow mode, and no request has come yet.",
        (ShadowRoutes::Some, true) => "Some routes are in shadow mode, and no request has come for them yet.",
        (ShadowRoutes::None, true) => {
            "Nothing is in shadow mode: write `mode = \"shadow\"` at the top of the configuration, or on a [[route]], and reload."
        }
        (ShadowRoutes::None, false) => "Nothing is in shadow mode any more: these are the figures of when it was.",
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

/// Lists why requests would not have been hits, the most frequent first.
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
