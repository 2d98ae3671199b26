//! A connection's state and IO, shared by hyper and the connection's driver, and the sweep that watches both.
//!
//! - `state`: the shared part of a connection: its writing half, its orders, its wakers.
//! - `io`: the socket as hyper sees it.
//! - `buffer`, `deferred_writes`: small writes are gathered, and written after the turns of the core's other connections.
//! - `activity`, `streams`: who is being waited for, on the connection and on each stream of HTTP/2.
//! - `sweep`: closes what has been waited for too long.
//!
//! Deliberately absent: hyper's connection types, which are `driver`'s, and what a request is, which is `service`'s.

mod activity;
mod buffer;
mod deferred_writes;
mod io;
mod state;
mod streams;
mod sweep;

pub(crate) use self::activity::{Protocol, Stage, StageLimits};
pub(crate) use self::deferred_writes::{count_turn, defer, writer};
pub(crate) use self::io::ConnectionIo;
pub(crate) use self::state::{ConnectionState, Shutdown};
pub(crate) use self::streams::{HTTP2_CONNECTION_WINDOW, HTTP2_STREAM_WINDOW};
pub(crate) use self::sweep::{ConnectionRoster, sweep};
