//! The bounds on heads and trailer sections.

/// The longest request-target, in bytes: four times the 8,000 that RFC 9112 §3 asks every recipient
/// to support, and a bound on what is keyed and logged where `head_bytes_max` is set high.
pub(super) const TARGET_BYTES_MAX: usize = 32 << 10;

/// The bounds that are configured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScreenLimits {
    /// The largest head, in bytes.
    pub(crate) head_bytes_max: usize,
}
