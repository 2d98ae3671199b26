//! The facts of a stored response, parsed from its head once.

use std::time::Duration;

use http::StatusCode;

use crate::clock::Timestamp;

/// The source of a lifetime, in order of precedence (RFC 9213 §2.1, RFC 9111 §4.2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LifetimeSource {
    /// The route's `cache = "force"` with its `ttl`.
    RouteForce,
    /// `Larder-Cache-Control`.
    LarderCacheControl,
    /// `CDN-Cache-Control`.
    CdnCacheControl,
    /// `s-maxage` of `Cache-Control`.
    SMaxage,
    /// `max-age` of `Cache-Control`.
    MaxAge,
    /// `Expires` minus `Date`.
    Expires,
    /// The route's `ttl`, for a response without an explicit lifetime.
    RouteTtl,
    /// `ttl_by_status`, for a response without an explicit lifetime.
    StatusTtl,
    /// A fraction of the time since `Last-Modified` (RFC 9111 §4.2.2).
    Heuristic,
    /// No lifetime: stored for validation only.
    None,
}

impl LifetimeSource {
    /// Returns the stable token: the directive, field or key, as it is written.
    pub const fn token(self) -> &'static str {
        match self {
            Self::RouteForce => "route-force",
            Self::LarderCacheControl => "larder-cache-control",
            Self::CdnCacheControl => "cdn-cache-control",
            Self::SMaxage => "s-maxage",
            Self::MaxAge => "max-age",
            Self::Expires => "expires",
            Self::RouteTtl => "route-ttl",
            Self::StatusTtl => "ttl-by-status",
            Self::Heuristic => "heuristic",
            Self::None => "none",
        }
    }

    /// Returns the sentence that names the source, with its RFC section.
    pub const fn says(self) -> &'static str {
        match self {
            Self::RouteForce => "The route's `cache = \"force\"` with its `ttl` overrides the response.",
            Self::LarderCacheControl => "`Larder-Cache-Control` sets it, before all other headers (RFC 9213 §2.1).",
            Self::CdnCacheControl => "`CDN-Cache-Control` sets it, before Cache-Control and Expires (RFC 9213 §2.1).",
            Self::SMaxage => "`s-maxage` of Cache-Control sets it for shared caches (RFC 9111 §5.2.2.10).",
            Self::MaxAge => "`max-age` of Cache-Control sets it (RFC 9111 §5.2.2.1).",
            Self::Expires => "The lifetime is Expires minus Date (RFC 9111 §5.3).",
            Self::RouteTtl => "The response has no explicit lifetime; the route's `ttl` applies.",
            Self::StatusTtl => "The response has no explicit lifetime; `ttl_by_status` under [cache] applies.",
            Self::Heuristic => "No explicit lifetime: a fraction of the time since Last-Modified (RFC 9111 §4.2.2).",
            Self::None => "No explicit lifetime, no heuristic (RFC 9111 §4.2.2).",
        }
    }

    /// Returns whether the response itself named the lifetime.
    pub const fn is_explicit(self) -> bool {
        matches!(self, Self::LarderCacheControl | Self::CdnCacheControl | Self::SMaxage | Self::MaxAge | Self::Expires)
    }
}

/// When a stale response may be used without contacting the origin first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleUse {
    /// Never: must-revalidate, proxy-revalidate, s-maxage or no-cache forbids it (RFC 9111 §4.2.4).
    Forbidden,
    /// Within these windows, which count from the end of freshness.
    Within {
        /// While one request refreshes the response (RFC 5861 §3). Zero: not at all.
        while_revalidate: Duration,
        /// When the origin cannot be reached or sends no head in time.
        if_unreachable: Duration,
        /// When the origin answers with a 5xx, and the response or the route allows it (RFC 5861
        /// §4).
        if_error_status: Duration,
    },
}

impl StaleUse {
    /// Returns the longest of the stale windows; zero where stale use is forbidden.
    pub fn longest_window(self) -> Duration {
        match self {
            Self::Forbidden => Duration::ZERO,
            Self::Within { while_revalidate, if_unreachable, if_error_status } => {
                while_revalidate.max(if_unreachable).max(if_error_status)
            }
        }
    }
}

/// The facts of a response, parsed once when it is stored or updated.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The response's status.
    pub status: StatusCode,
    /// The time of receipt (response_time, RFC 9111 §4.2.3).
    pub received_at: Timestamp,
    /// The age on receipt (corrected_initial_age, RFC 9111 §4.2.3).
    pub initial_age: Duration,
    /// The freshness lifetime.
    pub lifetime: Duration,
    /// The source of the lifetime.
    pub lifetime_source: LifetimeSource,
    /// True if every use must be validated (no-cache).
    pub no_cache: bool,
    /// When the response may be served stale.
    pub stale: StaleUse,
    /// True if the response has an ETag or a Last-Modified to validate it with.
    pub has_validator: bool,
    /// True if the coding must not be changed (no-transform, or a response that arrived encoded).
    pub no_transform: bool,
    /// True if a reload may be answered from the store while the response is fresh (RFC 8246).
    pub immutable: bool,
    /// True if a response to a request with credentials may be shared: public, s-maxage or
    /// must-revalidate (RFC 9111 §3.5).
    pub permits_sharing: bool,
    /// True if any field contains s-maxage, in which case a client's max-stale is ignored (RFC 9111
    /// §5.2.2.10).
    pub has_s_maxage: bool,
}

impl Facts {
    /// Returns the time until which the response is worth its bytes.
    ///
    /// Every response may be served while it is fresh and within its stale windows, which count
    /// from the end of freshness. A validator is worth keeping for `keep` more, from the end of
    /// freshness or from receipt, whichever is later: a response that arrived stale can be
    /// validated too.
    ///
    /// The store frees bytes by this time. Whether a response may be used is decided in `policy`.
    pub fn kept_until(&self, keep: Duration) -> Timestamp {
        let served_until = self.received_at + self.lifetime + self.stale.longest_window() - self.initial_age;
        if !self.has_validator {
            return served_until;
        }
        let remaining = self.lifetime.saturating_sub(self.initial_age);
        served_until.max(self.received_at + remaining.saturating_add(keep))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECEIVED: Timestamp = Timestamp::from_millis(784_111_777_400);

    /// A response with a lifetime of 10 s and a validator, which is never served stale.
    fn stored() -> Facts {
        Facts {
            status: StatusCode::OK,
            received_at: RECEIVED,
            initial_age: Duration::ZERO,
            lifetime: Duration::from_secs(10),
            lifetime_source: LifetimeSource::MaxAge,
            no_cache: false,
            stale: StaleUse::Forbidden,
            has_validator: true,
            no_transform: false,
            immutable: false,
            permits_sharing: false,
            has_s_maxage: false,
        }
    }

    /// Stale windows in seconds.
    const fn within(while_revalidate: u64, if_unreachable: u64, if_error_status: u64) -> StaleUse {
        StaleUse::Within {
            while_revalidate: Duration::from_secs(while_revalidate),
            if_unreachable: Duration::from_secs(if_unreachable),
            if_error_status: Duration::from_secs(if_error_status),
        }
    }

    #[test]
    fn a_response_is_kept_while_it_can_be_served_or_validated() {
        let keep = Duration::from_secs(100);
        let validated = stored();
        let arrived_stale = Facts { initial_age: Duration::from_secs(7200), ..validated.clone() };
        let bare = Facts { has_validator: false, ..validated.clone() };
        let check = |facts: &Facts, secs: u64| {
            assert_eq!(facts.kept_until(keep), RECEIVED + Duration::from_secs(secs), "{facts:?}");
        };
        check(&bare, 10);
        check(&Facts { stale: within(3, 5, 0), ..bare.clone() }, 15);
        check(&Facts { initial_age: Duration::from_secs(4), ..bare.clone() }, 6);
        check(&Facts { initial_age: Duration::from_secs(12), stale: within(3, 5, 0), ..bare.clone() }, 3);
        check(&validated, 110);
        check(&Facts { stale: within(3, 5, 0), ..validated.clone() }, 110);
        check(&Facts { stale: within(0, 0, 500), ..validated }, 510);
        check(&arrived_stale, 100);
    }
}
