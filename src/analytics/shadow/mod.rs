//! The tables of shadow mode: would-be outcomes, would-be hits that the origin answered
//! differently, and query parameters that change nothing.
//!
//! The tables are bounded. The code that passes requests fills them; readers copy them. If two
//! requests for one key got different bodies, the fields and cookies in which the requests differ
//! are suspects, unless they also differed while the bodies were the same (`differs`). If nothing
//! in the requests differed, the page changes by itself. Deliberately absent: locks (the owner has
//! one), clocks, sentences.

mod counts;
mod differs;
mod names;
mod parameters;

use std::hash::{BuildHasher, RandomState};

pub(crate) use counts::{ObservedRequest, ShadowCounters, ShadowRouteCounters};
pub(crate) use differs::{Comparison, Difference, RESPONSE_FIELDS, Suspect};
pub(crate) use names::{FIELDS_MAX, ShadowName, is_noise};
pub(crate) use parameters::{Parameter, QueryResponse};

use counts::ShadowRouteTable;
use differs::DifferingUrls;
use names::ShadowNames;
use parameters::Parameters;

use super::reasons::{self, NonHitCounters, NonHitReason};
use super::top::TopItem;
use crate::outcome::Outcome;

/// The tables of shadow mode.
#[derive(Debug, Default)]
pub struct ShadowTables {
    names: ShadowNames,
    counters: ShadowRouteTable,
    not_hits: NonHitCounters,
    hasher: RandomState,
    differs: DifferingUrls,
    parameters: Parameters,
}

impl ShadowTables {
    /// Returns the number of a field's or cookie's name; `None` if the name is too long, or there
    /// are too many.
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

    /// Counts a would-be hit that was compared with the origin's response.
    pub fn record_comparison(&mut self, against: &Comparison<'_>) {
        self.counters.record_comparison(against);
        self.differs.add(against);
    }

    /// Records a comparison with a stored response that another user's request fetched.
    ///
    /// That response would not have been served without a check, so this was no would-be hit. But
    /// the comparison shows what pages depend on.
    pub fn record_on_probation(&mut self, against: &Comparison<'_>) {
        self.differs.add(against);
    }

    /// Records a whole response to a URL, to learn which query parameters matter.
    pub fn record_query(&mut self, query: &QueryResponse<'_>) {
        self.parameters.record(query);
    }

    /// Copies the tables.
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

/// A copy of the tables, counted since the start.
#[derive(Clone, Debug, Default)]
pub struct ShadowSummary {
    /// The counters of all requests.
    pub total: ShadowCounters,
    /// The counters of each route that had requests.
    pub routes: Vec<ShadowRouteCounters>,
    /// The reasons for which requests would not have been answered from the cache, sorted by origin
    /// time.
    pub not_hits: Vec<NonHitReason>,
    /// The URLs whose would-be hits differed from the origin's response, the most frequent first.
    pub differs: Vec<Difference>,
    /// The query parameters that occurred with more than one value.
    pub parameters: Vec<Parameter>,
}
