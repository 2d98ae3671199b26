//! Behaviour tests. Each scripts an origin, starts the cache, acts as the client, and reads in that
//! order.

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
