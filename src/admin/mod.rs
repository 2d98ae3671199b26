//! The admin listener: the dashboard at `/`, `/live`, `/ready`, `/stats`, `/shadow`, `/events`, `/log`, `/metrics`,
//! `/grafana.json`, `/alerts.yml`, `POST /explain`, `POST /purge`, `POST /reload`.
//!
//! An axum router over what it is handed. Every request passes `guard` first, which keeps web pages elsewhere from
//! reaching it through a browser, and asks for the token where one is set; every answer but the dashboard, `/metrics`,
//! `/alerts.yml` and streams is JSON, errors too. Deliberately absent: how a tier works inside, configuration files, the
//! way of a request (what explaining and purging are made of is handed to it).

mod answer;
mod auth;
mod config;
mod content;
mod events;
pub mod explain;
pub mod log;
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
pub mod stats;
#[cfg(test)]
mod tests;

pub use auth::Token;
pub use config::Config;
pub use refusal::{full, refusal};
pub use reload::{ConfigFault, ReloadHandle, ReloadResult};
pub use router::router;
pub use snapshots::{AdminConnections, ReadingOf, ServerSnapshot};
pub use sources::AdminSources;
