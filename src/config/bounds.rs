//! Bounds and units that several keys share.

use std::time::Duration;

/// The most routes: a decision carries a route's number, and the figures are kept for each.
pub(super) const ROUTES_MAX: usize = 255;
/// An object takes at most this share of the capacity, so that one cannot push out all others.
pub(super) const OBJECT_SHARE: u64 = 8;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const KIB: u64 = 1 << 10;
pub(super) const TIB: u64 = 1 << 40;
/// The largest object: sizes of entries are weighed in 32 bits, and the head needs room beside the body.
pub(super) const OBJECT_MOST: u64 = 3 << 30;
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(86_400);
/// A year, as spans are written: 365.25 days.
pub(super) const YEAR: Duration = Duration::from_secs(31_557_600);
