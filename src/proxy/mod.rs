//! The path of a request, from a parsed head to a response.
//!
//! [`serve()`] answers one request; `proxy/serve.rs` holds the control flow and is the file to read
//! first. `decide` makes the decisions that `serve`, `explain` and shadow mode share. The steps are
//! in folders: `request` reads the request, `fetch` asks the origin and fills the store, `sharing`
//! decides who may get a body that another user's request brought in, `respond` makes the response
//! and records how it ended. Beside them, `collapse` answers the requests that wait for one fetch,
//! `pass` forwards a request past the store, `purge` removes stored responses, `shadow` decides
//! without serving, `explain` reports a decision without acting on it, and `trace` records spans.
//!
//! [`Worker`] and [`Shared`] carry state only: the steps are functions that take them.
//!
//! Deliberately absent: admin routes, files, TOML, sockets.

mod collapse;
mod config;
mod decide;
pub(crate) mod explain;
mod fetch;
mod pass;
pub(crate) mod purge;
mod request;
mod respond;
mod serve;
pub(crate) mod shadow;
mod sharing;
mod state;
mod step;
pub mod trace;

pub use self::config::Config;
pub(crate) use self::request::upload;
pub use self::respond::body::Body;
pub(crate) use self::respond::interim;
pub use self::respond::rescue::refuse;
pub use self::respond::tunnel;
pub use self::serve::{Answer, serve};
pub use self::state::{Peer, Shared, Worker};
