//! The synchronisation primitives of the flight table; a model test replaces them.

pub(super) use std::sync::atomic::AtomicU64;

pub(super) use parking_lot::Mutex;
pub(super) use tokio::sync::Notify;
