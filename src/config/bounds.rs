//! Bounds and units that several keys share.

use std::time::Duration;

/// The maximum number of routes. A decision carries the number of its route in 8 bits, and stats
/// are kept per route.
pub(super) const ROUTES_MAX: usize = 255;
/// The maximum share of the capacity that one object may take, so that it cannot evict all others.
pub(super) const OBJECT_SHARE: u64 = 8;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const KIB: u64 = 1 << 10;
pub(super) const TIB: u64 = 1 << 40;
/// The largest object. Sizes of entries are weighed in 32 bits, and the head needs room next to the
/// body.
pub(super) const OBJECT_MOST: u64 = 3 << 30;
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// A year, as durations are written: 365.25 days.
pub(super) const YEAR: Duration = Duration::from_secs(31_557_600);
