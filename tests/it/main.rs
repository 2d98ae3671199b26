//! Behaviour tests. Each scripts an origin, starts the cache, acts as the client, and reads in that
//! order. [`harness`] has the parts.
//!
//! - Caching by the RFCs: `caching/`, `stale`, `groups`, `model_rfc9111/` (random, against a
//!   model), `replay` (the public cache tests, through `explain`)
//! - One fetch for many clients: `coalescing/`, `collapse`, `flights` (random faults)
//! - Users apart: `personalisation/`, `cookies`, `isolation`
//! - Routes and keys: `routes`, `compression`
//! - Purging: `purge`, `purge_model` (random, against a model)
//! - Malformed and hostile input: `front_door`, `origin_answers/`, `hostile/`, `admin_safety`
//! - The wire: `streaming`, `switching`, `stalled`, `cut`
//! - Failures and limits: `faults`, `memory`, `soak`
//! - What Larder reports: `reasons`, `access_log`, `log`, `metrics`, `monitoring`, `traces`,
//!   `explain/`, `shadow/`, `dashboard/`, `watch`
//! - Operation: `check`, `reload`, `drain`, `upgrade`, `demo`
//! - The project itself: `surface/` (names that scripts depend on), `tidy` (layers and style),
//!   `readme`

// Tests and their helpers fail by panicking.
#![allow(clippy::unwrap_used)]

mod access_log;
mod admin_safety;
mod caching;
mod check;
mod coalescing;
mod collapse;
mod compression;
mod cookies;
mod cut;
mod dashboard;
mod demo;
mod drain;
mod explain;
mod faults;
mod flights;
mod front_door;
mod groups;
mod harness;
mod hostile;
mod isolation;
mod log;
mod memory;
mod metrics;
mod model_rfc9111;
mod monitoring;
mod origin_answers;
mod personalisation;
mod purge;
mod purge_model;
mod readme;
mod reasons;
mod reload;
mod replay;
mod routes;
mod shadow;
mod soak;
mod stale;
mod stalled;
mod streaming;
mod surface;
mod switching;
mod tidy;
mod traces;
mod upgrade;
mod watch;
