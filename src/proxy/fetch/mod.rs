//! Fetching from the origin and filling the store.
//!
//! One flight per key (`coalesce`) is led by a task of its own (`leader`). Its result (`flight`) is
//! a body that many read while it fills (`shared_body`, filled by `receive`), an entry that a 304
//! confirmed (`confirm`), a stale entry, or the news that the response cannot be shared
//! (`uncacheable` remembers the key).

pub(super) mod coalesce;
#[cfg(test)]
mod coalesce_tests;
pub(super) mod confirm;
pub(super) mod flight;
#[cfg(test)]
mod flight_faults;
pub(super) mod key_memory;
pub(super) mod leader;
pub(super) mod receive;
pub(super) mod received;
pub(super) mod shared_body;
mod sync;
pub(super) mod uncacheable;
