//! The request that the tables of this module count.

use std::time::Duration;

use crate::clock::Timestamp;

/// A request that was not a plain hit, as it is known when its response's head goes out.
#[derive(Debug)]
pub struct NonHitRequest {
    /// The canonical URL.
    pub url: Box<str>,
    /// The status that the client is sent.
    pub status: u16,
    /// How long the origin took: from the request's head to the response's. `None` where it was not asked.
    pub origin_time: Option<Duration>,
    /// When the request came.
    pub at: Timestamp,
}
