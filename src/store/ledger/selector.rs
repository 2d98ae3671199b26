//! What a purge covers, and what it does to that.

use crate::key::CanonicalUrl;

/// What a purge does to what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PurgeKind {
    /// Never reused, its validator neither.
    Hard,
    /// Validated before its next use (RFC 9111 §4.4).
    Validate,
    /// Served stale while one request refreshes it, for a while.
    Soft,
}

/// What a purge covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Everything.
    All,
    /// Every URL of a host (authority in canonical form).
    Host(Box<str>),
    /// Every URL that starts with this canonical URL up to a `/`: `http://host/shop/` covers `/shop/x`, not `/shopping`.
    /// Without the last `/` it covers `/shop` itself too, with any query. A query is no part of a prefix.
    Prefix(Box<str>),
    /// One canonical URL, whatever its route adds to the key.
    Url(Box<str>),
    /// Everything that was tagged so, exactly, whichever field named the tag and on whichever host.
    Tag(Box<str>),
    /// Everything of one origin that `Cache-Groups` put into this group: see [`Selector::group`].
    Group(Box<str>),
}

impl Selector {
    /// Selects a group of the origin of `url` (RFC 9875 §2.1: a group of another origin is another group).
    pub fn group(url: &CanonicalUrl, name: &str) -> Self {
        Self::Group(group_text(url.origin(), name).into())
    }

    /// Selects every URL of the origin of `url`.
    pub fn origin(url: &CanonicalUrl) -> Self {
        Self::Prefix(url.origin().into())
    }
}

/// Writes a group's name as it is recorded: an origin has no line feed in it.
pub(super) fn group_text(origin: &str, name: &str) -> String {
    format!("{origin}\n{name}")
}
