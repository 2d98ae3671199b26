//! The admin interface: the dashboard at `/`, `/live`, `/ready`, `/stats`, `/shadow`, `/events`,
//! `/log`, `/metrics`, `/grafana.json`, `/alerts.yml`, `POST /explain`, `POST /purge`, `POST
//! /reload`.
//!
//! An axum router over the values and closures of [`AdminSources`]. Every request first passes
//! `admin/auth/guard.rs`, which keeps foreign web pages out and requires the token if one is set.
//! Every response is JSON, errors included, except for the dashboard, `/metrics`, `/alerts.yml` and
//! streams. Deliberately absent: how a tier works inside, configuration files, the path of a
//! request (explaining and purging are closures that the admin interface calls).

mod answer;
mod auth;
mod config;
mod content;
mod events;
pub(crate) mod explain;
mod figures;
pub(crate) mod log;
mod monitor;
mod page;
mod prometheus;
mod purge;
mod readings;
mod refusal;
mod reload;
mod router;
mod snapshots;
mod sources;
pub(crate) mod stats;
#[cfg(test)]
mod tests;

pub use auth::Token;
pub use config::Config;
pub use figures::figure_reference;
pub use refusal::{full, refusal};
pub use reload::{ConfigFault, ReloadHandle, ReloadResult};
pub use router::router;
pub use snapshots::{AdminConnections, ReadingOf, ServerSnapshot};
pub use sources::AdminSources;
