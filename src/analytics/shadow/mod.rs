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

pub use counts::{Counts, Passed, ROWS_MAX, RouteCounts};
pub use differs::{Against, Difference, RESPONSE_FIELDS, Suspect};
pub use names::{FIELDS_MAX, Name, is_noise};
pub use parameters::{Parameter, Query};

use counts::Tally;
use differs::Differs;
use names::Names;
use parameters::Parameters;

use super::reasons::{self, Lost, NotFromCache};
use super::top::Item;
use crate::outcome::Outcome;

/// What shadow mode has seen.
#[derive(Debug, Default)]
pub struct Tables {
    names: Names,
    tally: Tally,
    not_hits: NotFromCache,
    hasher: RandomState,
    differs: Differs,
    parameters: Parameters,
}

impl Tables {
    /// Returns the number of a field's or cookie's name; `None` where there are too many names, or it is too long.
    pub fn name(&mut self, name: Name<'_>) -> Option<u16> {
        self.names.number(name)
    }

    /// Counts a request whose response has ended.
    pub fn passed(&mut self, url: &str, passed: &Passed) {
        self.tally.passed(passed);
        if !matches!(passed.would.outcome, Outcome::Hit | Outcome::Stale | Outcome::Refused) {
            let url = super::cut(url);
            let item = Item::new(url, self.hasher.hash_one(url));
            self.not_hits.add(passed.would.reason, passed.origin_micros);
            self.not_hits.add_example(passed.would.reason, &item, passed.origin_micros.saturating_add(1));
        }
    }

    /// Counts a would-be hit that was held against what the origin sent.
    pub fn compared(&mut self, against: &Against<'_>) {
        self.tally.compared(against);
        self.differs.add(against);
    }

    /// Looks at a response that was held against one which another user's request brought in, and which would not have been
    /// served unseen: no would-be hit, but it shows what pages are written from.
    pub fn doubted(&mut self, against: &Against<'_>) {
        self.differs.add(against);
    }

    /// Looks at a whole response to a URL, for what its parameters change.
    pub fn queried(&mut self, query: &Query<'_>) {
        self.parameters.see(query);
    }

    /// Copies what was seen.
    pub fn summary(&self) -> Summary {
        Summary {
            total: self.tally.total().clone(),
            routes: self.tally.routes(),
            not_hits: reasons::merge(|reason| self.not_hits.part(reason).into_iter().collect()),
            differs: self.differs.rows(&self.names),
            parameters: self.parameters.rows(),
        }
    }
}

/// What was seen since the start.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// All requests.
    pub total: Counts,
    /// Those of each route that had any.
    pub routes: Vec<RouteCounts>,
    /// Why requests would not have been answered from the cache, the most origin time first.
    pub not_hits: Vec<Lost>,
    /// The URLs whose would-be hits differed from what the origin sent, those that did most often first.
    pub differs: Vec<Difference>,
    /// The query parameters that were seen with more than one value.
    pub parameters: Vec<Parameter>,
}
