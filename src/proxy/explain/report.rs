//! What `explain` answers, as it goes over the wire: plain values with the units in their names.
//!
//! Tokens (`outcome`, `reason`, `lifetime_from`, …) are from closed lists; sentences are for people and may change.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::outcome::Reason;

/// The whole answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainReport {
    /// What the request is about.
    pub request: Subject,
    /// The route that matches; `null` where the request cannot be read.
    pub route: Option<RouteReport>,
    /// What is stored under the key, the newest first.
    pub stored: Vec<VariantReport>,
    /// What would happen to the request now.
    pub now: NowReport,
    /// The rules that were gone through, in order; the last one that says no decided.
    pub rules: Vec<RuleStep>,
    /// What would become of the response that was given.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub response: Option<JudgementReport>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The method.
    pub method: String,
    /// The canonical URL: what routes match. `null` where there is none.
    pub url: Option<String>,
    /// The key's text: the URL with what the route keeps of its query, and what the route adds, a line each.
    pub key: Option<String>,
    /// The key's hash, as `Cache-Status` shows it.
    pub key_hash: Option<String>,
}

/// The route that matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteReport {
    /// Which `[[route]]` of the file it is, counted from 1; `null` where none matches and the defaults hold.
    pub number: Option<u32>,
    /// Its `path`.
    pub path: Option<String>,
    /// Its `host`.
    pub host: Option<String>,
    /// Its `methods`.
    pub methods: Vec<String>,
    /// Its `mode`: `serve` or `shadow`.
    pub mode: String,
    /// Its `cache`: `obey`, `force` or `bypass`.
    pub cache: String,
    /// Its `ttl`.
    pub ttl_seconds: Option<u64>,
    /// What it does to the key, a sentence each.
    pub key: Vec<String>,
}

/// A stored response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VariantReport {
    /// Whether this request selects it.
    pub selected: bool,
    /// The request fields that it was selected by, with their values; `null`: the request had none.
    pub vary: BTreeMap<String, Option<String>>,
    /// Its status.
    pub status: u16,
    /// Its age and lifetime.
    #[serde(flatten)]
    pub freshness: FreshnessReport,
    /// Its ETag.
    pub etag: Option<String>,
    /// Its Last-Modified.
    pub last_modified: Option<String>,
    /// The tags that the origin named.
    pub tags: Vec<String>,
    /// The length of its body as the origin sent it.
    pub body_bytes: u64,
    /// The codings that it is held in, the stored form first.
    pub held: Vec<RenditionReport>,
    /// All that it takes in memory.
    pub memory_bytes: u64,
    /// Where it is: `memory`.
    pub tier: String,
    /// What the personalisation guard knows; `null` where it is for all.
    pub guard: Option<GuardReport>,
    /// What the purge ledger says: `untouched`, `soft-purged`, `to-be-validated`, `purged`.
    pub purge: String,
}

/// How fresh a response is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FreshnessReport {
    /// Its age.
    pub age_seconds: u64,
    /// Its lifetime.
    pub lifetime_seconds: u64,
    /// Where the lifetime came from: `max-age`, `s-maxage`, `expires`, `heuristic`, `route-ttl`, `ttl-by-status`, ….
    pub lifetime_from: String,
    /// The same as a sentence with its RFC section.
    pub lifetime_says: String,
    /// Lifetime less age, rounded down; negative when stale by that much.
    pub ttl_seconds: i64,
    /// Whether it is fresh.
    pub fresh: bool,
    /// Whether it has to be validated on every use.
    pub no_cache: bool,
    /// How long past freshness it may be used; `null` where it must not be.
    pub stale_use: Option<StaleUseReport>,
}

/// How long past freshness a response may be used.
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
    /// Its bytes.
    pub bytes: u64,
}

/// What the personalisation guard knows of a stored response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GuardReport {
    /// `shared` once another user was seen to get the same, else `probation`.
    pub state: String,
    /// The credentials of the request that brought it in: `Cookie`, `Authorization`; empty: an anonymous one.
    pub brought_in_with: Vec<String>,
    /// What it is to this request: `open`, `watched` (answers, and is checked at times), `probation`.
    pub to_this_request: String,
}

/// What would happen to the request now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NowReport {
    /// `answer` (from the store), `fetch` (for all who ask), `compare` (for the guard), `pass` (alone), `refuse`, `fail`.
    pub action: String,
    /// The same as a sentence.
    pub says: String,
    /// The outcome, as far as the origin's answer does not decide it.
    pub outcome: String,
    /// The reason.
    #[serde(flatten)]
    pub because: Explanation,
    /// Whether the origin is asked before the client is answered.
    pub asks_origin: bool,
    /// Whether the origin is asked conditionally: its 304 would make the outcome `revalidated`.
    pub conditional: bool,
    /// Whether the request waits for another's, which is under way.
    pub waits: bool,
    /// Whether what answers is refreshed in the background.
    pub refreshes: bool,
    /// The status, where it does not depend on the origin.
    pub status: Option<u16>,
    /// The coding, where it does not depend on the origin.
    pub coding: Option<String>,
    /// Lifetime less age of what answers.
    pub ttl_seconds: Option<i64>,
    /// What answers where the origin fails; `null` where it is not asked.
    pub if_origin_fails: Option<FailureReport>,
    /// What would happen, were the route not in shadow mode; `null` where it is not.
    pub would_be: Option<WouldBeReport>,
}

/// What would happen to a request in earnest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WouldBeReport {
    /// The outcome, as far as the origin's answer does not decide it.
    pub outcome: String,
    /// The reason.
    #[serde(flatten)]
    pub because: Explanation,
}

/// What answers where the origin fails.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailureReport {
    /// When it cannot be reached: `stale` (what is stored stands in) or `failed`.
    pub unreachable: String,
    /// When it answers with a 5xx: `stale`, or `passed` on.
    pub server_error: String,
}

/// A reason with its page of the reference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// Its token.
    pub reason: String,
    /// The sentence that names the header, directive or key that decided.
    pub why: String,
    /// The section that says so; `null` where the rule is Larder's own.
    pub section: Option<String>,
    /// What to change where another outcome is wanted.
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

/// A rule that was gone through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleStep {
    /// What it is about: `url`, `route`, `request`, `store`, `freshness`, `purge`, `guard`, `flight`, `origin`, `answer`.
    pub about: String,
    /// What it says.
    pub says: String,
    /// The section that it stands in; `null` where it is Larder's own.
    pub section: Option<String>,
}

/// What would become of a response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JudgementReport {
    /// Its status.
    pub status: u16,
    /// Whether it would be stored, as far as its head tells.
    pub stored: bool,
    /// Why not; `null` where it would be.
    pub because: Option<Explanation>,
    /// Its age and lifetime when it was received.
    #[serde(flatten)]
    pub freshness: FreshnessReport,
    /// The request fields that select it.
    pub vary: Vec<String>,
    /// The tags that it names.
    pub tags: Vec<String>,
    /// Whether the personalisation guard would watch it.
    pub guarded: bool,
}
