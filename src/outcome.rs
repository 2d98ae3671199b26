//! The result of a request: one closed list that `Cache-Status`, the access log, the metrics,
//! `/stats` and `explain` all read.
//!
//! A [`Decision`] is known when the response's head goes out, a [`ResponseEnd`] when its body ends.
//! Every [`Reason`] has a token (stable, for scripts), a sentence (why) and a remedy (what to
//! change to get another outcome). This module only names outcomes; `policy` and `proxy` decide
//! them.

use std::time::Duration;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $token:literal, $why:literal, $remedy:literal;)*) => {
        /// The reason for an outcome: a flat, closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Reason { $($(#[$doc])* #[doc = $why] $name,)* }

        impl Reason {
            /// Every reason, in the order of the reference table.
            pub const ALL: &'static [Reason] = &[$(Reason::$name,)*];

            /// Returns the stable token: lower case, words joined by `-`.
            pub const fn token(self) -> &'static str {
                match self { $(Reason::$name => $token,)* }
            }

            /// Returns the sentence that names the header, directive or key that decided.
            pub const fn why(self) -> &'static str {
                match self { $(Reason::$name => $why,)* }
            }

            /// Returns what to change to get another outcome.
            pub const fn remedy(self) -> &'static str {
                match self { $(Reason::$name => $remedy,)* }
            }
        }
    };
}

reasons! {
    // --- answered from the cache ---
    Fresh = "fresh", "A stored response was fresh (RFC 9111 §4.2).",
        "Nothing to fix: this is a cache hit.";
    // --- looked up, and the origin had to be contacted ---
    UriMiss = "uri-miss", "Nothing is stored under this key (RFC 9111 §4).",
        "Expected on a first request; if it recurs, find out why the response was not stored.";
    VaryMiss = "vary-miss", "Responses are stored for this URL, but none for the values of the headers that Vary names (RFC 9111 §4.1).",
        "Vary on fewer headers at the origin, or normalise them in the proxy in front of Larder.";
    Expired = "stale", "The stored response is stale (RFC 9111 §4.2).",
        "Send a longer max-age or s-maxage, or stale-while-revalidate to serve it while it is refreshed.";
    NoCache = "no-cache", "The stored response says no-cache, so every use is validated with the origin (RFC 9111 §5.2.2.4).",
        "Send max-age instead of no-cache, or set `cache = \"force\"` on the route.";
    RequestNoCache = "request", "The request asks for a fresher response: no-cache, max-age or min-fresh in Cache-Control, or Pragma (RFC 9111 §5.2.1, §5.4).",
        "Set `obey_client_no_cache = false` under [cache].";
    Purged = "purged", "The cached response was purged.",
        "Nothing to fix: the next response is stored again.";
    Invalidated = "invalidated", "An unsafe request to this URL invalidated the stored response (RFC 9111 §4.4).",
        "Nothing to fix: the next response is stored again.";
    Probation = "probation", "Cached from another user's request; Larder checked with the origin that this user gets the same content.",
        "Send public, s-maxage or must-revalidate if every user gets the same; list cookies that change nothing in `ignore_cookies`.";
    // --- never looked up ---
    Method = "method", "The method is neither GET nor HEAD (RFC 9111 §4).",
        "Nothing to fix: such requests have effects at the origin.";
    Bypass = "bypass", "The route says `cache = \"bypass\"`.",
        "Change `cache` on the route.";
    RequestBody = "request-body", "A GET or HEAD with content is never answered from the cache (RFC 9110 §9.3.1).",
        "Send the request without content.";
    Upgrade = "upgrade", "The request asks to switch to a protocol that `server.upgrades` lists (RFC 9110 §7.8).",
        "Nothing to fix: a WebSocket cannot be cached.";
    RangeMiss = "range-miss", "The request asks for a range of a response that is not stored, and was passed on with its Range (RFC 9110 §14.2).",
        "Raise `object_bytes_max` if the object should be stored whole.";
    HitForMiss = "hit-for-miss", "A recent response for this key could not be stored, so requests for it go to the origin without waiting for one another.",
        "Find the reason why the earlier response was not stored, and fix that.";
    Personalised = "personalised", "Recent responses for this URL differed between users, without `Vary: Cookie` or `private`.",
        "Send `Vary: Cookie` or `private`, or name the cookie that decides in `key.cookies` on a route.";
    Precondition = "precondition", "The stored response does not meet the request's If-Match or If-Unmodified-Since, and only the origin knows the current one (RFC 9111 §4.3.2).",
        "Nothing to fix: the origin decides.";
    Shadow = "shadow", "Shadow mode: the request was passed as if there were no cache, and its would-be outcome was counted.",
        "Set `mode = \"serve\"` once `larder shadow-report` has shown enough.";
    // --- fetched from the origin, and the response was not stored ---
    NoStore = "no-store", "The response says no-store (RFC 9111 §5.2.2.5).",
        "Drop no-store at the origin, or set `cache = \"force\"` on the route.";
    Private = "private", "The response says private (RFC 9111 §5.2.2.7).",
        "Send public or s-maxage if every user may get it.";
    RequestNoStore = "request-no-store", "The request says no-store (RFC 9111 §5.2.1.5).",
        "Drop no-store from the client's request.";
    Authorization = "authorization", "The request carries Authorization and the response does not permit sharing (RFC 9111 §3.5).",
        "Send public, s-maxage or must-revalidate if every user may get it.";
    SetCookie = "set-cookie", "The response sets a cookie, which other visitors would get too (RFC 9111 §7.3).",
        "Stop setting the cookie on shared pages, or, if every visitor gets the same page without it, set `set_cookie = \"strip\"` on the route.";
    VaryStar = "vary-star", "The response says Vary: * (RFC 9111 §4.1).",
        "Name the request headers that the response depends on.";
    NoLifetime = "no-lifetime", "The response has no explicit lifetime, and none may be guessed for it (RFC 9111 §4.2.2).",
        "Send Cache-Control: max-age, or set `ttl` on the route.";
    AlreadyStale = "already-stale", "The response is already stale on arrival, so it answers no other request; without a validator it is not stored (RFC 9111 §4.2, §4.3.1).",
        "Send a longer max-age, or stale-while-revalidate; with an ETag it is stored to be validated.";
    StatusNotUnderstood = "status", "A cache may not store a response with this status code here (RFC 9111 §3, §5.2.2.3).",
        "If the origin meant another status, send that one.";
    TooLarge = "too-large", "The body is larger than `object_bytes_max`.",
        "Raise `object_bytes_max` on the route or under [memory].";
    Budget = "budget", "Cache memory was full; the response was not stored.",
        "Raise `capacity` under [memory].";
    Unsized = "unsized", "The body has no length, so a truncated response cannot be detected (RFC 9112 §8).",
        "Send Content-Length or chunked coding, or set `store_unsized = true` under [cache].";
    TooManyTags = "too-many-tags", "The response carries more tags than `tags_max`, so a purge could miss it.",
        "Send fewer tags, or raise `tags_max` under [memory].";
    Incomplete = "incomplete", "The origin ended the body early; a truncated response is never stored (RFC 9111 §3.3).",
        "Find out why the origin closed the connection.";
    InvalidatedMeanwhile = "invalidated-meanwhile", "The URL was purged or invalidated while the response was in transit (RFC 9111 §4.4).",
        "Nothing to fix: the next response is stored.";
    Outdated = "outdated", "A newer response was cached first (RFC 9111 §4).",
        "Nothing to fix: the newer response stays.";
    // --- answered by Larder itself ---
    Purge = "purge", "A PURGE from a network that `purge.method_from` lists; Larder carried it out.",
        "Nothing to fix: the client asked for it.";
    Options = "options", "An OPTIONS for the server as a whole, or one that must not be forwarded (RFC 9110 §7.6.2, §9.3.7).",
        "Nothing to fix: the client asked for it.";
    // --- a stale response was served instead ---
    WhileRevalidate = "stale-while-revalidate", "A stale response was served while one request refreshes it (RFC 5861 §3).",
        "Nothing to fix: the next request gets the fresh response.";
    IfError = "stale-if-error", "The origin failed, and a stale response was served instead (RFC 5861 §4).",
        "Fix the origin's errors.";
    MaxStale = "max-stale", "The request accepts a stale response (max-stale, RFC 9111 §5.2.1.2).",
        "Nothing to fix: the client asked for it.";
    // --- refused here ---
    BadRequest = "bad-request", "The request is malformed or ambiguous (RFC 9112 §3, §6.3).",
        "Fix the client.";
    HeadTooLarge = "head-too-large", "The request's head is larger than `head_bytes_max`, or has more than 100 header lines (RFC 9110 §5.4).",
        "Raise `head_bytes_max` under [server], or send fewer and shorter headers.";
    SiteUnknown = "site-unknown", "The Host is in no `[[site]]` (RFC 9110 §7.4).",
        "Add the host to `hosts` under `[[site]]`.";
    RequestTooLarge = "request-too-large", "The request's content is larger than `request_body_max` (RFC 9110 §15.5.14).",
        "Raise `request_body_max` under [server].";
    MethodRefused = "method-refused", "CONNECT and TRACE are not supported, and PURGE is only allowed from `purge.method_from` (RFC 9110 §9.3.6, §9.3.8).",
        "Add the client's network to `purge.method_from` if it may purge.";
    OnlyIfCached = "only-if-cached", "The request says only-if-cached, and no suitable response is stored (RFC 9111 §5.2.1.7).",
        "Nothing to fix: the client asked for it.";
    Overloaded = "overloaded", "Too many concurrent requests to the origin (`connections_max`), and the queue was full or the wait too long.",
        "Raise `connections_max` under [origin] if the origin can take more, or give the origin more capacity.";
    Panic = "panic", "Larder hit an internal error on this request; the process is still running.",
        "Report the bug with the matching log line.";
    // --- the origin failed (RFC 9209 §2.3) ---
    DestinationUnavailable = "destination_unavailable", "The origin could not be reached (RFC 9209 §2.3.4).",
        "Check that the origin is running at `url` under [origin].";
    DnsError = "dns_error", "The origin's host name could not be resolved (RFC 9209 §2.3.2).",
        "Check the host name in `url` under [origin].";
    ConnectionRefused = "connection_refused", "The origin refused the connection (RFC 9209 §2.3.7).",
        "Start the origin, or correct `url` under [origin].";
    ConnectionTimeout = "connection_timeout", "The origin did not accept the connection within `connect_timeout` (RFC 9209 §2.3.9).",
        "Check the origin's load, or raise `connect_timeout` under [origin].";
    ConnectionTerminated = "connection_terminated", "The origin closed the connection before the response was complete (RFC 9209 §2.3.8).",
        "Check the origin's log.";
    ResponseTimeout = "http_response_timeout", "The origin did not answer within `response_timeout` (RFC 9209 §2.3).",
        "Check the origin's load, or raise `response_timeout` under [origin].";
    ProtocolError = "http_protocol_error", "The origin sent an invalid HTTP response (RFC 9209 §2.3).",
        "Check the response that the origin sends.";
}

impl Reason {
    /// Returns the RFC section that the sentence of [`Reason::why`] names, such as `RFC 9111 §4.2`;
    /// `None` for rules of Larder's own.
    pub fn section(self) -> Option<&'static str> {
        let why = self.why();
        let named = &why[why.rfind("RFC ")?..];
        named.find(')').map(|end| &named[..end])
    }
}

/// Renders the reference of all reasons as a Markdown table, one row per reason.
pub fn reference() -> String {
    // A pipe would end a cell, and an asterisk would begin emphasis.
    let cell = |text: &str| text.replace('|', "\\|").replace('*', "\\*");
    let mut table = String::from("| reason | meaning | rule | fix |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let (token, section) = (reason.token(), reason.section());
        let why = section.map_or(reason.why().to_owned(), |section| without(reason.why(), section));
        let row = [&format!("`{token}`"), &*cell(&why), section.unwrap_or("Larder's own"), &cell(reason.remedy())];
        table.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    table
}

/// Returns the sentence without the section in brackets at its end.
fn without(sentence: &str, section: &str) -> String {
    sentence.replace(&format!(" ({section})"), "").replace(&format!(", {section})"), ")")
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.token())
    }
}

/// The kind of answer that a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Answered from the store, fresh.
    Hit,
    /// Answered from the store with a stale response.
    Stale,
    /// Answered from the store after the origin confirmed it.
    Revalidated,
    /// Looked up, but nothing usable was stored: the origin answered.
    Miss,
    /// Not looked up: the origin answered.
    Pass,
    /// Refused by Larder.
    Refused,
    /// The origin failed, and nothing stored could be served instead.
    Failed,
    /// Answered by Larder itself, as neither the store nor the origin has the answer.
    Own,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: &'static [Outcome] =
        &[Self::Hit, Self::Stale, Self::Revalidated, Self::Miss, Self::Pass, Self::Refused, Self::Failed, Self::Own];

    /// Returns the stable token: lower case.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Own => "own",
        }
    }
}

/// The result of storing the response that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreOutcome {
    /// Storing has started; [`ResponseEnd`] says whether the whole body arrived.
    Started,
    /// The response was not stored, for this reason.
    No(Reason),
    /// Nothing to store: the response came from the store, or from Larder itself.
    NothingTo,
}

/// The would-be outcome of a request that was passed in shadow mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WouldBeOutcome {
    /// The kind of answer that the request would have got.
    pub outcome: Outcome,
    /// The reason that would have kept the response from being stored; if none would have, the
    /// reason for the kind of answer.
    pub reason: Reason,
    /// True if the request would have waited for another request's fetch.
    pub collapsed: bool,
}

impl WouldBeOutcome {
    /// Makes a would-be outcome that is not collapsed.
    pub const fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason, collapsed: false }
    }

    /// Returns whether the cache would have saved the origin this request.
    pub fn spares_origin(self) -> bool {
        let is_stale_if_error = self.outcome == Outcome::Stale && self.reason == Reason::IfError;
        self.collapsed || (matches!(self.outcome, Outcome::Hit | Outcome::Stale) && !is_stale_if_error)
    }
}

/// Everything known about a request when its response's head is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The kind of answer.
    pub outcome: Outcome,
    /// The reason for that kind of answer.
    pub reason: Reason,
    /// The result of storing the response.
    pub stored: StoreOutcome,
    /// True if this request waited for another request's fetch (RFC 9211 §2.6).
    pub collapsed: bool,
    /// The status that the origin answered with, if it was contacted.
    pub fwd_status: Option<u16>,
    /// Freshness lifetime minus age, in seconds; negative when stale (RFC 9211 §2.4).
    pub ttl: Option<i64>,
    /// The key's hash, if a key was made.
    pub key_hash: Option<u128>,
    /// The index of the `[[route]]` that matched.
    pub route: Option<u16>,
    /// The would-be outcome, if the request was passed in shadow mode.
    pub would: Option<WouldBeOutcome>,
}

impl Decision {
    /// Makes a decision that has only a kind and a reason.
    pub const fn new(outcome: Outcome, reason: Reason) -> Self {
        Self {
            outcome,
            reason,
            stored: StoreOutcome::NothingTo,
            collapsed: false,
            fwd_status: None,
            ttl: None,
            key_hash: None,
            route: None,
            would: None,
        }
    }
}

/// How a response's body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Every byte was handed to the client's connection.
    Complete,
    /// The client disconnected before the end.
    ClientGone,
    /// The body failed in transit, and the client saw it fail.
    Aborted(Reason),
}

/// Everything known about a response once its body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseEnd {
    /// How the body ended.
    pub ending: Ending,
    /// Body bytes handed to the client's connection.
    pub body_bytes: u64,
    /// Time from the request's head to the response's end.
    pub elapsed: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn tokens_are_distinct_and_sentences_are_sentences() {
        let tokens: HashSet<_> = Reason::ALL.iter().map(|reason| reason.token()).collect();
        assert_eq!(tokens.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert!(reason.why().ends_with('.') && reason.remedy().ends_with('.'), "{reason}");
        }
    }

    #[test]
    fn sections_are_read_off_the_sentences() {
        let check = |reason: Reason, section: Option<&str>| assert_eq!(reason.section(), section, "{reason}");
        check(Reason::Fresh, Some("RFC 9111 §4.2"));
        check(Reason::MaxStale, Some("RFC 9111 §5.2.1.2"));
        check(Reason::StatusNotUnderstood, Some("RFC 9111 §3, §5.2.2.3"));
        check(Reason::HitForMiss, None);
        for reason in Reason::ALL {
            let is_read = reason.section().is_none_or(|section| section.contains('§') && section.len() < 40);
            assert!(is_read && reason.section().is_some() == reason.why().contains("RFC "), "{reason}");
        }
    }

    #[test]
    fn the_reference_has_a_row_for_each_reason() {
        let table = reference();
        assert_eq!(table.lines().count(), 2 + Reason::ALL.len());
        let row = "| `max-stale` | The request accepts a stale response (max-stale). | RFC 9111 §5.2.1.2 | ";
        assert!(table.contains(row), "{table}");
        assert!(table.lines().skip(2).all(|row| row.replace("\\|", "").matches('|').count() == 5), "{table}");
    }
}
