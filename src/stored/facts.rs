//! The facts of a stored response: what was parsed from its head once.

use std::time::Duration;

use http::StatusCode;

use crate::clock::Timestamp;

/// Where a lifetime came from, in the order of precedence (RFC 9213 §2.1, RFC 9111 §4.2.1).
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
    /// `Expires` less `Date`.
    Expires,
    /// The route's `ttl`, where the response has no explicit lifetime.
    RouteTtl,
    /// `ttl_by_status`, where the response has no explicit lifetime.
    StatusTtl,
    /// A fraction of the time since `Last-Modified` (RFC 9111 §4.2.2).
    Heuristic,
    /// None applies: stored for validation only.
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

    /// Returns the sentence that says where the lifetime came from, with the section of the RFC.
    pub const fn says(self) -> &'static str {
        match self {
            Self::RouteForce => "The route's `cache = \"force\"` with its `ttl` replaces what the response says.",
            Self::LarderCacheControl => "`Larder-Cache-Control` names it, before all else (RFC 9213 §2.1).",
            Self::CdnCacheControl => "`CDN-Cache-Control` names it, before Cache-Control and Expires (RFC 9213 §2.1).",
            Self::SMaxage => "`s-maxage` of Cache-Control names it for shared caches (RFC 9111 §5.2.2.10).",
            Self::MaxAge => "`max-age` of Cache-Control names it (RFC 9111 §5.2.2.1).",
            Self::Expires => "It is Expires less Date (RFC 9111 §5.3).",
            Self::RouteTtl => "The response names none; the route's `ttl` does.",
            Self::StatusTtl => "The response names none; `ttl_by_status` under [cache] does for its status.",
            Self::Heuristic => "Nothing names one: it is a fraction of the time since Last-Modified (RFC 9111 §4.2.2).",
            Self::None => "Nothing names one, and none is guessed: it is stored to be validated (RFC 9111 §4.2.2).",
        }
    }

    /// Tells whether the response itself named the lifetime.
    pub const fn is_explicit(self) -> bool {
        matches!(self, Self::LarderCacheControl | Self::CdnCacheControl | Self::SMaxage | Self::MaxAge | Self::Expires)
    }
}

/// When a stale response may be used without asking the origin first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleUse {
    /// Never: must-revalidate, proxy-revalidate, s-maxage or no-cache forbids it (RFC 9111 §4.2.4).
    Forbidden,
    /// Within the windows, counted from the end of freshness.
    Within {
        /// While one request refreshes it (RFC 5861 §3). Zero: not at all.
        while_revalidate: Duration,
        /// When the origin cannot be reached or is silent before its head.
        if_unreachable: Duration,
        /// When the origin answers with a 5xx: only where the response or the route says so (RFC 5861 §4).
        if_error_status: Duration,
    },
}

/// What was parsed from a response once, when it was stored or updated.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The response's status.
    pub status: StatusCode,
    /// When the response was received (response_time, RFC 9111 §4.2.3).
    pub received_at: Timestamp,
    /// Its age when it was received (corrected_initial_age, RFC 9111 §4.2.3).
    pub initial_age: Duration,
    /// Its freshness lifetime.
    pub lifetime: Duration,
    /// Where the lifetime came from.
    pub lifetime_source: LifetimeSource,
    /// Whether it must be validated on every use (no-cache).
    pub no_cache: bool,
    /// When it may be used stale.
    pub stale: StaleUse,
    /// Whether it has an ETag or a Last-Modified to validate it with.
    pub has_validator: bool,
    /// Whether its coding must be left alone (no-transform, or it came encoded).
    pub no_transform: bool,
    /// Whether a reload may be answered from the store while it is fresh (RFC 8246).
    pub immutable: bool,
    /// Whether it permits to share what a request with credentials brought in: public, s-maxage or must-revalidate
    /// (RFC 9111 §3.5).
    pub permits_sharing: bool,
    /// Whether s-maxage is among its directives, in whichever field: then a client's max-stale counts for nothing
    /// (RFC 9111 §5.2.2.10).
    pub has_s_maxage: bool,
}
