//! The fields of [`Stats`](super::Stats) that name URLs: the top URLs, reasons for not being served
//! from cache, and recent errors.

use serde::{Deserialize, Serialize};

use crate::analytics::reasons::NonHitReason;
use crate::analytics::top::WeightedUrl;
use crate::analytics::trouble::{FaultyRequest, RequestFault};
use crate::analytics::{UrlRanking, UrlSummary};

/// The top URLs, in four lists of at most 20, the heaviest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TopUrls {
    /// By requests.
    pub by_requests: Vec<TopUrl>,
    /// By body bytes.
    pub by_bytes: Vec<TopUrl>,
    /// By requests that were not served from cache.
    pub by_misses: Vec<TopUrl>,
    /// By microseconds of waiting for the origin.
    pub by_origin_time_us: Vec<TopUrl>,
}

/// A URL of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TopUrl {
    /// The canonical URL, or its beginning.
    pub url: String,
    /// The lower bound of its weight.
    pub at_least: u64,
    /// The upper bound of its weight.
    pub at_most: u64,
}

/// A reason for requests not served from cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct NonHitStats {
    /// The token of the reason.
    pub reason: String,
    /// The requests.
    pub requests: u64,
    /// Microseconds of waiting for the origin.
    pub origin_time_us: u64,
    /// The reason as a sentence.
    pub why: String,
    /// The fix.
    pub change: String,
    /// The URLs with the most requests for this reason, at most three.
    pub urls: Vec<String>,
}

/// A request that the origin or Larder failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RecentError {
    /// The time of the request, in seconds of Unix time.
    pub at: i64,
    /// The canonical URL, or its beginning.
    pub url: String,
    /// The status that the client received.
    pub status: u16,
    /// The outcome of the request.
    pub outcome: String,
    /// The error, as a sentence.
    pub what: String,
}

impl From<&UrlSummary> for TopUrls {
    fn from(summary: &UrlSummary) -> Self {
        let list = |by| summary.top(by).iter().map(TopUrl::from).collect();
        Self {
            by_requests: list(UrlRanking::Requests),
            by_bytes: list(UrlRanking::Bytes),
            by_misses: list(UrlRanking::Misses),
            by_origin_time_us: list(UrlRanking::OriginTime),
        }
    }
}

impl From<&WeightedUrl> for TopUrl {
    fn from(row: &WeightedUrl) -> Self {
        Self { url: row.url.to_string(), at_least: row.at_least, at_most: row.at_most }
    }
}

impl From<&NonHitReason> for NonHitStats {
    fn from(row: &NonHitReason) -> Self {
        Self {
            reason: row.reason.token().to_owned(),
            requests: row.requests,
            origin_time_us: row.origin_micros,
            why: row.reason.why().to_owned(),
            change: row.reason.remedy().to_owned(),
            urls: row.urls.iter().map(|url| url.to_string()).collect(),
        }
    }
}

impl From<&FaultyRequest> for RecentError {
    fn from(trouble: &FaultyRequest) -> Self {
        let what = match trouble.fault {
            RequestFault::Failed(reason) => reason.why().to_owned(),
            RequestFault::Aborted(reason) => format!("The body was aborted: {}", reason.why()),
            RequestFault::ServerError(status) => format!("The origin answered {status}."),
        };
        Self {
            at: trouble.at.as_secs(),
            url: trouble.url.to_string(),
            status: trouble.status,
            outcome: trouble.outcome.token().to_owned(),
            what,
        }
    }
}
