//! The tables of shadow mode, shared by all cores behind one lock, and made when the first request
//! passes.
//!
//! In shadow mode every request goes to the origin, so the microsecond for which requests share a
//! lock does not matter.

use parking_lot::Mutex;

use crate::analytics::reasons::NonHitReason;
use crate::analytics::shadow::{Difference, Parameter, ShadowCounters, ShadowSummary, ShadowTables};

/// The readings of shadow mode, with the names of routes.
#[derive(Clone, Debug, Default)]
pub struct ShadowSnapshot {
    /// The counters of all requests.
    pub total: ShadowCounters,
    /// The counters of each route that had requests.
    pub routes: Vec<(String, ShadowCounters)>,
    /// The reasons for which requests would not have been answered from the cache, sorted by origin
    /// time.
    pub not_hits: Vec<NonHitReason>,
    /// The URLs whose would-be hits differed from the origin's response, the most frequent first.
    pub differs: Vec<Difference>,
    /// The query parameters that occurred with more than one value.
    pub parameters: Vec<Parameter>,
}

/// The tables, once there are any.
#[derive(Debug, Default)]
pub(super) struct ShadowRegister {
    /// Guards the tables, which are made on first use. Nothing awaits under it.
    tables: Mutex<Option<Box<ShadowTables>>>,
}

impl ShadowRegister {
    /// Calls `act` with the tables, under their lock.
    pub(super) fn with_tables<T>(&self, act: impl FnOnce(&mut ShadowTables) -> T) -> T {
        act(self.tables.lock().get_or_insert_default())
    }

    /// Copies the readings; `None` if no request ever passed in shadow mode.
    pub(super) fn snapshot(&self, names: &[String], unrouted: &str) -> Option<ShadowSnapshot> {
        let ShadowSummary { total, routes, not_hits, differs, parameters } = self.tables.lock().as_ref()?.summary();
        let name = |row: Option<usize>| row.and_then(|row| names.get(row)).map_or(unrouted, String::as_str).to_owned();
        let routes = routes.into_iter().map(|route| (name(route.row), route.counts)).collect();
        Some(ShadowSnapshot { total, routes, not_hits, differs, parameters })
    }
}
