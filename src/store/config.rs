//! The configuration of the store.

use std::time::Duration;

/// The limits of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The maximum number of bytes in use: stored responses, responses being fetched, and evicted
    /// bodies that a client still reads.
    pub capacity: u64,
    /// The most variants of one key.
    pub variants_max: usize,
    /// The most tags of one entry.
    pub tags_max: usize,
    /// The most purge records; the oldest fold into one.
    pub ledger_max: usize,
    /// How long past freshness an entry is kept to be validated.
    pub keep: Duration,
    /// How long a soft purge lets an entry be served stale.
    pub soft_max: Duration,
}
