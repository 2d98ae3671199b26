//! What shadow mode has seen, of all cores together: one table behind one lock, made when the first request is passed.
//!
//! Requests in shadow mode all go to the origin, so that a lock which they share for a microsecond is not felt.

use parking_lot::Mutex;

use super::LocalMetrics;
use crate::analytics::reasons::NonHitReason;
use crate::analytics::shadow::{Difference, Parameter, ShadowCounters, ShadowSummary, ShadowTables};

/// What was seen, with the names of routes.
#[derive(Clone, Debug, Default)]
pub struct ShadowSnapshot {
    /// All requests.
    pub total: ShadowCounters,
    /// Those of each route that had any.
    pub routes: Vec<(String, ShadowCounters)>,
    /// Why requests would not have been answered from the cache, the most origin time first.
    pub not_hits: Vec<NonHitReason>,
    /// The URLs whose would-be hits differed from what the origin sent, those that did most often first.
    pub differs: Vec<Difference>,
    /// The query parameters that were seen with more than one value.
    pub parameters: Vec<Parameter>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct ShadowRegister {
    /// Guards the table, which is not there before it is needed. Nothing awaits under it.
    tables: Mutex<Option<Box<ShadowTables>>>,
}

impl ShadowRegister {
    /// Copies what was seen; `None` where nothing was ever passed in shadow mode.
    pub(super) fn snapshot(&self, names: &[String], unrouted: &str) -> Option<ShadowSnapshot> {
        let ShadowSummary { total, routes, not_hits, differs, parameters } = self.tables.lock().as_ref()?.summary();
        let name = |row: Option<usize>| row.and_then(|row| names.get(row)).map_or(unrouted, String::as_str).to_owned();
        let routes = routes.into_iter().map(|route| (name(route.row), route.counts)).collect();
        Some(ShadowSnapshot { total, routes, not_hits, differs, parameters })
    }
}

impl LocalMetrics {
    /// Does something with the table of shadow mode.
    pub fn shadow<T>(&self, act: impl FnOnce(&mut ShadowTables) -> T) -> T {
        act(self.shadow.tables.lock().get_or_insert_default())
    }

    /// Returns the row that a route's figures are counted in; `None`: that of requests without a route.
    pub fn row(&self, route: Option<u16>) -> Option<usize> {
        route.and_then(|route| *self.rows.0.get(usize::from(route))?)
    }
}
