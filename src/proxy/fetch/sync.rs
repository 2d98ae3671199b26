//! The synchronisation of the flight table; `tests/model.rs` compiles the table with another one.

pub(super) use std::sync::atomic::AtomicU64;

pub(super) use parking_lot::Mutex;
pub(super) use tokio::sync::Notify;
