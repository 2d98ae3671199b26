//! The fields of [`Stats`](super::Stats) that name URLs: what is asked for most, what is not answered from the cache, and
//! what went wrong last.

use serde::{Deserialize, Serialize};

use crate::analytics::reasons::Lost;
use crate::analytics::top::Counted;
use crate::analytics::trouble::{Fault, Trouble};
use crate::analytics::{By, Summary};

/// The URLs that weigh most, in four lists of at most 20, the heaviest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AskedMost {
    /// By requests.
    pub by_requests: Vec<Weighed>,
    /// By body bytes.
    pub by_bytes: Vec<Weighed>,
    /// By requests that were not answered from the cache.
    pub by_misses: Vec<Weighed>,
    /// By microseconds of waiting for the origin.
    pub by_origin_time_us: Vec<Weighed>,
}

/// A URL of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weighed {
    /// The canonical URL, or its beginning.
    pub url: String,
    /// What it weighs at the least.
    pub at_least: u64,
    /// What it weighs at the most.
    pub at_most: u64,
}

/// A reason that kept requests from being answered out of the cache.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NotFromCache {
    /// The reason's token.
    pub reason: String,
    /// The requests.
    pub requests: u64,
    /// Microseconds of waiting for the origin.
    pub origin_time_us: u64,
    /// The sentence of the reason.
    pub why: String,
    /// What to change.
    pub change: String,
    /// The URLs with the most of it, at most three.
    pub urls: Vec<String>,
}

/// A request that the origin or Larder failed on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecentError {
    /// When it came, in seconds of Unix time.
    pub at: i64,
    /// The canonical URL, or its beginning.
    pub url: String,
    /// The status that the client was sent.
    pub status: u16,
    /// What became of the request.
    pub outcome: String,
    /// What went wrong, as a sentence.
    pub what: String,
}

impl From<&Summary> for AskedMost {
    fn from(summary: &Summary) -> Self {
        let list = |by| summary.top(by).iter().map(Weighed::from).collect();
        Self {
            by_requests: list(By::Requests),
            by_bytes: list(By::Bytes),
            by_misses: list(By::Misses),
            by_origin_time_us: list(By::OriginTime),
        }
    }
}

impl From<&Counted> for Weighed {
    fn from(row: &Counted) -> Self {
        Self { url: row.url.to_string(), at_least: row.at_least, at_most: row.at_most }
    }
}

impl From<&Lost> for NotFromCache {
    fn from(lost: &Lost) -> Self {
        Self {
            reason: lost.reason.token().to_owned(),
            requests: lost.requests,
            origin_time_us: lost.origin_micros,
            why: lost.reason.why().to_owned(),
            change: lost.reason.remedy().to_owned(),
            urls: lost.urls.iter().map(|url| url.to_string()).collect(),
        }
    }
}

impl From<&Trouble> for RecentError {
    fn from(trouble: &Trouble) -> Self {
        let what = match trouble.fault {
            Fault::Failed(reason) => reason.why().to_owned(),
            Fault::Aborted(reason) => format!("The body broke off on the way: {}", reason.why()),
            Fault::ServerError(status) => format!("The origin answered {status}."),
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
