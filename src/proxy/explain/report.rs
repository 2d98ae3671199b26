//! The report of `explain`, as JSON shows it: plain values with the units in their names.
//!
//! Tokens (`outcome`, `reason`, `lifetime_from`, …) are from closed lists; sentences are for people
//! and may change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::outcome::Reason;

/// The report of `explain` about one request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainReport {
    /// The subject of the request.
    pub request: Subject,
    /// The route that matches; `null` if the request cannot be read.
    pub route: Option<RouteReport>,
    /// The entries stored under the key, the newest first.
    pub stored: Vec<VariantReport>,
    /// The forecast of the request.
    pub now: NowReport,
    /// The steps of the decision, in order; the last one that says no decided.
    pub rules: Vec<RuleStep>,
    /// The judgement of the given response.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response: Option<JudgementReport>,
    /// Remarks about the question and the forecast, one sentence each.
    pub notes: Vec<String>,
}

/// The subject of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The request's method.
    pub method: String,
    /// The canonical URL, which routes match. `null` if there is none.
    pub url: Option<String>,
    /// The key's text: the URL with the part of its query that the route keeps, and the additions
    /// of the route, one in each line.
    pub key: Option<String>,
    /// The key's hash, as `Cache-Status` shows it.
    pub key_hash: Option<String>,
}

/// The route that matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// The number of the `[[route]]` in the file, counted from 1; `null` if none matches and the
    /// defaults apply.
    pub number: Option<u32>,
    /// The route's `path`.
    pub path: Option<String>,
    /// The route's `host`.
    pub host: Option<String>,
    /// The route's `methods`.
    pub methods: Vec<String>,
    /// The route's `mode`: `serve` or `shadow`.
    pub mode: String,
    /// The route's `cache`: `obey`, `force` or `bypass`.
    pub cache: String,
    /// The route's `ttl`.
    pub ttl_seconds: Option<u64>,
    /// The route's effects on the key, one sentence each.
    pub key: Vec<String>,
}

/// A stored response, as `explain` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantReport {
    /// True if this request selects it.
    pub selected: bool,
    /// The request fields that select it, with their values; `null`: the request had no such field.
    pub vary: BTreeMap<String, Option<String>>,
    /// The response's status.
    pub status: u16,
    /// The response's age and lifetime.
    #[serde(flatten)]
    pub freshness: FreshnessReport,
    /// The response's ETag.
    pub etag: Option<String>,
    /// The response's Last-Modified date.
    pub last_modified: Option<String>,
    /// The tags that the origin named.
    pub tags: Vec<String>,
    /// The length of the body as the origin sent it.
    pub body_bytes: u64,
    /// The codings in memory, the stored form first.
    pub held: Vec<RenditionReport>,
    /// All memory that the entry takes.
    pub memory_bytes: u64,
    /// The tier that has the entry: `memory`.
    pub tier: String,
    /// The personalisation guard's knowledge; `null` if the entry is for all.
    pub guard: Option<GuardReport>,
    /// The state in the purge ledger: `untouched`, `soft-purged`, `to-be-validated`, `purged`.
    pub purge: String,
}

/// The freshness of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FreshnessReport {
    /// The response's age (RFC 9111 §4.2.3).
    pub age_seconds: u64,
    /// The response's freshness lifetime (RFC 9111 §4.2.1).
    pub lifetime_seconds: u64,
    /// The source of the lifetime: `max-age`, `s-maxage`, `expires`, `heuristic`, `route-ttl`,
    /// `ttl-by-status`, ….
    pub lifetime_from: String,
    /// The same as a sentence with its RFC section.
    pub lifetime_says: String,
    /// Lifetime less age, rounded down; negative if stale by that much.
    pub ttl_seconds: i64,
    /// True if the response is fresh.
    pub fresh: bool,
    /// True if the response has to be validated on every use.
    pub no_cache: bool,
    /// How long after its lifetime the response may be used; `null` if it must not be.
    pub stale_use: Option<StaleUseReport>,
}

/// How long after its lifetime a response may be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StaleUseReport {
    /// While one request refreshes it (RFC 5861 §3).
    pub while_revalidate_seconds: u64,
    /// When the origin cannot be reached.
    pub if_unreachable_seconds: u64,
    /// When the origin answers with a 5xx (RFC 5861 §4).
    pub if_error_seconds: u64,
}

/// A body in one coding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RenditionReport {
    /// `identity`, `zstd`, `br` or `gzip`.
    pub coding: String,
    /// The length of the body in this coding.
    pub bytes: u64,
}

/// The personalisation guard's knowledge of a stored response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardReport {
    /// `shared` once another user was found to get the same, else `probation`.
    pub state: String,
    /// The credentials of the request that brought it in: `Cookie`, `Authorization`; empty: an
    /// anonymous request.
    pub brought_in_with: Vec<String>,
    /// The decision for this request: `open`, `watched` (may answer, and a sample is checked),
    /// `probation`.
    pub to_this_request: String,
}

/// The forecast of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NowReport {
    /// `answer` (from the store), `fetch` (for all who ask), `compare` (for the guard), `pass`
    /// (alone), `refuse`, `fail`.
    pub action: String,
    /// The same as a sentence.
    pub says: String,
    /// The outcome, as far as it does not depend on the origin's answer.
    pub outcome: String,
    /// The reason for that outcome.
    #[serde(flatten)]
    pub because: Explanation,
    /// True if the origin is asked before the client is answered.
    pub asks_origin: bool,
    /// True if the origin is asked conditionally: its 304 would make the outcome `revalidated`.
    pub conditional: bool,
    /// True if the request waits for another request's fetch.
    pub waits: bool,
    /// True if the entry that answers is refreshed in the background.
    pub refreshes: bool,
    /// The status, if it does not depend on the origin.
    pub status: Option<u16>,
    /// The coding, if it does not depend on the origin.
    pub coding: Option<String>,
    /// Lifetime less age of the entry that answers.
    pub ttl_seconds: Option<i64>,
    /// The answer if the origin fails; `null` if it is not asked.
    pub if_origin_fails: Option<FailureReport>,
    /// The forecast for live mode; `null` if the route is not in shadow mode.
    pub would_be: Option<WouldBeReport>,
}

/// The forecast of a request for live mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WouldBeReport {
    /// The outcome, as far as it does not depend on the origin's answer.
    pub outcome: String,
    /// The reason for that outcome.
    #[serde(flatten)]
    pub because: Explanation,
}

/// The answer if the origin fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureReport {
    /// If the origin cannot be reached: `stale` (a stored response is served instead) or `failed`.
    pub unreachable: String,
    /// If the origin answers with a 5xx: `stale`, or `passed` on.
    pub server_error: String,
}

/// A reason with its explanation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The reason's token.
    pub reason: String,
    /// The sentence that names the header, directive or key that decided.
    pub why: String,
    /// The section of the specification; `null` if the rule is Larder's own.
    pub section: Option<String>,
    /// The change that leads to another outcome.
    pub to_change: String,
}

impl From<Reason> for Explanation {
    fn from(reason: Reason) -> Self {
        Self {
            reason: reason.token().to_owned(),
            why: reason.why().to_owned(),
            section: reason.section().map(str::to_owned),
            to_change: reason.remedy().to_owned(),
        }
    }
}

/// A step of the decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleStep {
    /// The subject: `url`, `route`, `request`, `store`, `freshness`, `purge`, `guard`, `flight`,
    /// `origin`, `answer`.
    pub about: String,
    /// The step as a sentence.
    pub says: String,
    /// The section of the specification; `null` if the rule is Larder's own.
    pub section: Option<String>,
}

/// The judgement of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgementReport {
    /// The response's status.
    pub status: u16,
    /// True if the response would be stored, as far as its head shows.
    pub stored: bool,
    /// The reason why not; `null` if it would be stored.
    pub because: Option<Explanation>,
    /// The age and lifetime when it was received.
    #[serde(flatten)]
    pub freshness: FreshnessReport,
    /// The request fields that select it.
    pub vary: Vec<String>,
    /// The tags in the response.
    pub tags: Vec<String>,
    /// True if the personalisation guard would watch the response.
    pub guarded: bool,
}
