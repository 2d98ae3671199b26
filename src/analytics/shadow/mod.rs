//! What shadow mode has seen: what would have become of requests, which would-be hits the origin answered differently, and
//! which query parameters change nothing. Bounded tables that are filled by whoever passes requests, and copied by readers.
//!
//! A body that differs has a cause or none. Where two requests for one key got different bodies, the fields and cookies in
//! which they differ are suspects; one that also differed where the bodies were the same is none (`differs`). Where nothing
//! differed in the requests, the page changes by itself. Deliberately absent: locks (the owner has one), clocks, sentences.

mod counts;
mod differs;
mod names;
mod parameters;

use std::hash::{BuildHasher, RandomState};

pub use counts::{ObservedRequest, ROWS_MAX, ShadowCounters, ShadowRouteCounters};
pub use differs::{Comparison, Difference, RESPONSE_FIELDS, Suspect};
pub use names::{FIELDS_MAX, ShadowName, is_noise};
pub use parameters::{Parameter, QueryResponse};

use counts::ShadowTally;
use differs::DifferingUrls;
use names::ShadowNames;
use parameters::Parameters;

use super::reasons::{self, NonHitCounters, NonHitReason};
use super::top::TopItem;
use crate::outcome::Outcome;

/// What shadow mode has seen.
#[derive(Debug, Default)]
pub struct ShadowTables {
    names: ShadowNames,
    counters: ShadowTally,
    not_hits: NonHitCounters,
    hasher: RandomState,
    differs: DifferingUrls,
    parameters: Parameters,
}

impl ShadowTables {
    /// Returns the number of a field's or cookie's name; `None` where there are too many names, or it is too long.
    pub fn name(&mut self, name: ShadowName<'_>) -> Option<u16> {
        self.names.number(name)
    }

    /// Counts a request whose response has ended.
    pub fn record(&mut self, url: &str, passed: &ObservedRequest) {
        self.counters.record(passed);
        if !matches!(passed.would.outcome, Outcome::Hit | Outcome::Stale | Outcome::Refused) {
            let url = super::truncate(url);
            let item = TopItem::new(url, self.hasher.hash_one(url));
            self.not_hits.add(passed.would.reason, passed.origin_micros);
            self.not_hits.add_example(passed.would.reason, &item, passed.origin_micros.saturating_add(1));
        }
    }

    /// Counts a would-be hit that was held against what the origin sent.
    pub fn record_comparison(&mut self, against: &Comparison<'_>) {
        self.counters.record_comparison(against);
        self.differs.add(against);
    }

    /// Looks at a response that was held against one which another user's request brought in, and which would not have been
    /// served unseen: no would-be hit, but it shows what pages are written from.
    pub fn record_on_probation(&mut self, against: &Comparison<'_>) {
        self.differs.add(against);
    }

    /// Looks at a whole response to a URL, for what its parameters change.
    pub fn record_query(&mut self, query: &QueryResponse<'_>) {
        self.parameters.record(query);
    }

    /// Copies what was seen.
    pub fn summary(&self) -> ShadowSummary {
        ShadowSummary {
            total: self.counters.total().clone(),
            routes: self.counters.routes(),
            not_hits: reasons::merge(|reason| self.not_hits.part(reason).into_iter().collect()),
            differs: self.differs.rows(&self.names),
            parameters: self.parameters.rows(),
        }
    }
}

/// What was seen since the start.
#[derive(Clone, Debug, Default)]
pub struct ShadowSummary {
    /// All requests.
    pub total: ShadowCounters,
    /// Those of each route that had any.
    pub routes: Vec<ShadowRouteCounters>,
    /// Why requests would not have been answered from the cache, the most origin time first.
    pub not_hits: Vec<NonHitReason>,
    /// The URLs whose would-be hits differed from what the origin sent, those that did most often first.
    pub differs: Vec<Difference>,
    /// The query parameters that were seen with more than one value.
    pub parameters: Vec<Parameter>,
}
