//! The store: what is held, what was purged, and what may still be held.
//!
//! One [`Store`] serves all cores. It is asked with a [`Key`] and answers with [`Variants`]; whether these may be used is
//! decided in `policy`. Deliberately absent: HTTP semantics, the origin, axum.

pub mod budget;
mod config;
mod counters;
pub mod ledger;
pub mod memory;
mod state;
mod stats;
mod sweep;
mod sweeper;
#[cfg(test)]
mod tests;

pub use budget::{Budget, Reservation};
pub use config::Config;
pub use ledger::{Ledger, PurgeKind, Selector};
pub use state::Store;
pub use stats::StoreStats;
