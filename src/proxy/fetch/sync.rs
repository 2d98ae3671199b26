//! What the flight table synchronises with; a model test puts others in their place.

pub(super) use std::sync::atomic::AtomicU64;

pub(super) use parking_lot::Mutex;
pub(super) use tokio::sync::Notify;
