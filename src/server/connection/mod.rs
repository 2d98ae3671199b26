//! A connection's state and IO, shared by hyper and the connection's driver, and the sweep that
//! watches them.
//!
//! - `socket`: the client's socket, in two halves. Another transport than plain TCP goes here.
//! - `state`: the shared state of a connection: its writing half, the requested shutdown, its
//!   wakers.
//! - `io`: the socket as hyper sees it.
//! - `buffer`, `deferred_writes`: buffer small writes, and write them after the core's other
//!   connections were polled.
//! - `activity`, `streams`: tell who is being waited for, on a connection and on each HTTP/2
//!   stream.
//! - `sweep`: closes connections, and resets streams, that waited for their client for too long.
//!
//! Deliberately absent: hyper's connection types, which are `driver`'s, and requests, which are
//! `service`'s.

mod activity;
mod buffer;
pub(crate) mod deferred_writes;
mod io;
mod socket;
mod state;
mod streams;
mod sweep;

pub(crate) use self::activity::{Protocol, Stage, StageLimits};
pub(crate) use self::io::ConnectionIo;
pub(crate) use self::socket::{ReadHalf, split};
pub(crate) use self::state::{ConnectionState, Shutdown};
pub(crate) use self::streams::{HTTP2_CONNECTION_WINDOW, HTTP2_STREAM_WINDOW};
pub(crate) use self::sweep::{ConnectionRoster, sweep};
