//! The counters of shadow mode: would-be outcomes, and what the origin would have been spared.

use std::collections::BTreeMap;

use super::differs::Comparison;
use crate::outcome::{Outcome, Reason, WouldBeOutcome};
use crate::stored::BodyComparison;

/// The most routes with counters of their own. The last row is for the routes beyond it and for
/// requests without one.
pub(crate) const ROWS_MAX: usize = 256;

/// A request that passed in shadow mode, and whose response has ended.
#[derive(Clone, Copy, Debug)]
pub struct ObservedRequest {
    /// The would-be outcome.
    pub would: WouldBeOutcome,
    /// The row of the request's route; `None` without a route.
    pub row: Option<usize>,
    /// The body's bytes, as the origin sent them.
    pub body_bytes: u64,
    /// The microseconds until the origin's response arrived.
    pub origin_micros: u64,
}

/// The counters of a set of requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShadowCounters {
    /// Requests.
    pub requests: u64,
    by_outcome: [u64; Outcome::ALL.len()],
    /// Requests that would have waited for another's origin request.
    pub collapsed: u64,
    /// Requests that the origin would have been spared.
    pub spared: u64,
    /// Body bytes.
    pub body_bytes: u64,
    /// Body bytes of would-be hits.
    pub body_bytes_hit: u64,
    /// The microseconds until the origin's responses arrived.
    pub origin_micros: u64,
    /// The part of `origin_micros` that the origin would have been spared.
    pub origin_micros_spared: u64,
    /// Requests by would-be outcome and reason.
    pub by_reason: BTreeMap<(Outcome, Reason), u64>,
    /// Would-be hits that the origin answered with the same body.
    pub same: u64,
    /// Would-be hits that the origin answered with another body.
    pub differed: u64,
    /// The part of `differed` whose entity-tag says that both bodies are equivalent to the app.
    pub differed_within_tag: u64,
    /// Would-be hits that could not be compared.
    pub uncompared: u64,
}

impl ShadowCounters {
    /// Returns the requests with this would-be outcome.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.by_outcome[outcome as usize]
    }

    fn add(&mut self, passed: &ObservedRequest) {
        let ObservedRequest { would, body_bytes, origin_micros, .. } = *passed;
        self.requests += 1;
        self.by_outcome[would.outcome as usize] += 1;
        self.collapsed += u64::from(would.collapsed);
        self.body_bytes = self.body_bytes.saturating_add(body_bytes);
        self.origin_micros = self.origin_micros.saturating_add(origin_micros);
        if would.outcome == Outcome::Hit {
            self.body_bytes_hit = self.body_bytes_hit.saturating_add(body_bytes);
        }
        if would.spares_origin() {
            self.spared += 1;
            self.origin_micros_spared = self.origin_micros_spared.saturating_add(origin_micros);
        }
    }
}

/// The counters of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShadowRouteCounters {
    /// The route's row; `None` for requests without a route.
    pub row: Option<usize>,
    /// The counters. Reasons and comparisons are counted for all routes together only.
    pub counts: ShadowCounters,
}

/// The counters of all requests and of each route.
#[derive(Debug, Default)]
pub(super) struct ShadowRouteTable {
    total: ShadowCounters,
    /// The counters by row; [`ROWS_MAX`] is the row of requests without a route.
    routes: BTreeMap<usize, ShadowCounters>,
}

impl ShadowRouteTable {
    pub(super) fn record(&mut self, passed: &ObservedRequest) {
        self.total.add(passed);
        *self.total.by_reason.entry((passed.would.outcome, passed.would.reason)).or_default() += 1;
        let row = passed.row.map_or(ROWS_MAX, |row| row.min(ROWS_MAX));
        self.routes.entry(row).or_default().add(passed);
    }

    pub(super) fn record_comparison(&mut self, against: &Comparison<'_>) {
        match against.compared {
            BodyComparison::Same => self.total.same += 1,
            BodyComparison::Unknown => self.total.uncompared += 1,
            BodyComparison::Different => {
                self.total.differed += 1;
                self.total.differed_within_tag += u64::from(against.is_same_tag);
            }
        }
    }

    pub(super) fn total(&self) -> &ShadowCounters {
        &self.total
    }

    pub(super) fn routes(&self) -> Vec<ShadowRouteCounters> {
        let row = |(row, counts): (&usize, &ShadowCounters)| ShadowRouteCounters {
            row: (*row < ROWS_MAX).then_some(*row),
            counts: counts.clone(),
        };
        self.routes.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn savings_of_the_origin_are_added_up() {
        let mut counters = ShadowRouteTable::default();
        let pass = |would, row| ObservedRequest { would, row, body_bytes: 100, origin_micros: 10 };
        let would = WouldBeOutcome::new;
        counters.record(&pass(would(Outcome::Hit, Reason::Fresh), Some(0)));
        counters.record(&pass(would(Outcome::Stale, Reason::WhileRevalidate), Some(0)));
        counters.record(&pass(would(Outcome::Stale, Reason::IfError), None));
        counters
            .record(&pass(WouldBeOutcome { collapsed: true, ..would(Outcome::Miss, Reason::UriMiss) }, Some(9_999)));
        counters.record(&pass(would(Outcome::Miss, Reason::NoStore), Some(1)));
        let total = counters.total();
        assert_eq!(
            (total.requests, total.of(Outcome::Hit), total.of(Outcome::Stale), total.of(Outcome::Miss)),
            (5, 1, 2, 2)
        );
        assert_eq!((total.spared, total.origin_micros_spared, total.origin_micros), (3, 30, 50));
        assert_eq!((total.body_bytes, total.body_bytes_hit, total.collapsed), (500, 100, 1));
        assert_eq!(total.by_reason[&(Outcome::Miss, Reason::NoStore)], 1);
        let rows: Vec<_> = counters.routes().into_iter().map(|route| (route.row, route.counts.requests)).collect();
        assert_eq!(rows, [(Some(0), 2), (Some(1), 1), (None, 2)]);
    }
}
