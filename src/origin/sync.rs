//! What the flight table synchronises with; a model test puts others in their place.

pub(super) use parking_lot::Mutex;
pub(super) use tokio::sync::Notify;
