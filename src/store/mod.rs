//! The store: the responses in memory, the purges that cover them, and the budget for both.
//!
//! One [`Store`] serves all cores. A lookup takes a [`Key`](crate::key::Key) and returns
//! [`Variants`](crate::stored::Variants); `policy` decides whether they may be used. Deliberately
//! absent: HTTP semantics, the origin, axum.
//!
//! Where to read on: `state` has every operation but the sweep, `memory` the map, `ledger` the
//! purges, and `sweep` frees entries that were purged or have outlived their use. The [`Budget`]
//! stands with the bodies that it counts, in `stored`.

mod config;
mod counters;
pub(crate) mod ledger;
pub(crate) mod memory;
mod state;
mod stats;
mod sweep;
mod sweeper;
#[cfg(test)]
mod tests;

pub use config::Config;
pub use ledger::{Ledger, PurgeKind, Selector};
pub use state::Store;
pub use stats::StoreStats;

pub use crate::stored::{Budget, Reservation};
