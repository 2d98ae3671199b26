//! Purge selectors, and the three kinds of purge.

use crate::key::CanonicalUrl;

/// The effect of a purge on the entries that it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PurgeKind {
    /// Never used again, not even the validator.
    Hard,
    /// Validated with the origin before the next use (RFC 9111 §4.4).
    Validate,
    /// Served stale while one request refreshes it, for at most `soft_max`.
    Soft,
}

/// The set of responses that a purge covers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Everything.
    All,
    /// Every URL of a host (authority in canonical form).
    Host(Box<str>),
    /// Every URL that starts with this canonical URL up to a `/`.
    ///
    /// `http://host/shop/` covers `/shop/x`, but not `/shopping`. Without the last `/` the prefix
    /// also covers `/shop` itself, with any query. A prefix contains no query.
    Prefix(Box<str>),
    /// One canonical URL, with all values that its route adds to the key.
    Url(Box<str>),
    /// Every response with exactly this tag, on any host and from any tag header.
    Tag(Box<str>),
    /// Every response of one origin that `Cache-Groups` put into this group; see
    /// [`Selector::group`].
    Group(Box<str>),
}

impl Selector {
    /// Selects a group of the origin of `url`. The same name at another origin is another group
    /// (RFC 9875 §2.1).
    pub fn group(url: &CanonicalUrl, name: &str) -> Self {
        Self::Group(group_text(url.origin(), name).into())
    }

    /// Selects every URL of the origin of `url`.
    pub fn origin(url: &CanonicalUrl) -> Self {
        Self::Prefix(url.origin().into())
    }
}

/// Returns the text under which a group is recorded. No origin contains a line feed.
pub(super) fn group_text(origin: &str, name: &str) -> String {
    format!("{origin}\n{name}")
}
