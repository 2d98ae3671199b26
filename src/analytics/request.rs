//! The request that the tables of this module count.

use std::time::Duration;

use crate::clock::Timestamp;

/// A request that was not a plain hit, with the facts known when its response's head goes out.
#[derive(Debug)]
pub struct NonHitRequest {
    /// The canonical URL.
    pub url: Box<str>,
    /// The status that the client is sent.
    pub status: u16,
    /// The time from the request's head to the response's head; `None` if the origin was not
    /// contacted.
    pub origin_time: Option<Duration>,
    /// The time at which the request arrived.
    pub at: Timestamp,
}
