//! What became of a request: one closed list that `Cache-Status`, the access log, the metrics, `/stats` and `explain`
//! all read.
//!
//! A [`Decision`] is known when the response's head goes out, an [`End`] where its body ends. Every [`Reason`] has a
//! token (stable, for machines), a sentence (why) and a remedy (what to change to get another outcome).
//! This module only names things; deciding is left to `policy` and `proxy`.

use std::time::Duration;

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $token:literal, $why:literal, $remedy:literal;)*) => {
        /// Why an outcome came about: a flat, closed list.
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

            /// Returns what to change where another outcome is wanted.
            pub const fn remedy(self) -> &'static str {
                match self { $(Reason::$name => $remedy,)* }
            }
        }
    };
}

reasons! {
    // --- answered from the cache ---
    Fresh = "fresh", "A stored response was within its freshness lifetime (RFC 9111 §4.2).",
        "Nothing: this is what a cache is for.";
    // --- looked up, and the origin had to be asked ---
    UriMiss = "uri-miss", "Nothing is stored under this key (RFC 9111 §4).",
        "Nothing for a first request; if it recurs, look at why the response was not stored.";
    VaryMiss = "vary-miss", "Responses are stored for this URL, but none for the request fields that Vary names (RFC 9111 §4.1).",
        "Let the origin vary on fewer fields, or let the proxy in front normalise them.";
    Expired = "stale", "The stored response is past its freshness lifetime (RFC 9111 §4.2).",
        "Send a longer max-age or s-maxage, or stale-while-revalidate to answer while it is refreshed.";
    NoCache = "no-cache", "The stored response says no-cache: it is validated on every use (RFC 9111 §5.2.2.4).",
        "Send max-age in place of no-cache, or set `cache = \"force\"` on the route.";
    RequestNoCache = "request", "The request asks for a fresher response: no-cache, max-age or min-fresh in Cache-Control, or Pragma (RFC 9111 §5.2.1, §5.4).",
        "Set `obey_client_no_cache = false` under [cache].";
    Purged = "purged", "What was stored has been purged.",
        "Nothing: the next response is stored again.";
    Invalidated = "invalidated", "An unsafe request to this URL invalidated what was stored (RFC 9111 §4.4).",
        "Nothing: the next response is stored again.";
    Probation = "probation", "Another user's request brought the stored response in: this one asked the origin whether it gets the same.",
        "Send public, s-maxage or must-revalidate if every user gets the same; name cookies that change nothing in `ignore_cookies`.";
    // --- never looked up ---
    Method = "method", "The method is neither GET nor HEAD (RFC 9111 §4).",
        "Nothing: such requests have effects at the origin.";
    Bypass = "bypass", "The route says `cache = \"bypass\"`.",
        "Change `cache` on the route.";
    RequestBody = "request-body", "A GET or HEAD with content is never answered from a cache (RFC 9110 §9.3.1).",
        "Send the request without content.";
    Upgrade = "upgrade", "The request asks to switch to a protocol that `server.upgrades` lists (RFC 9110 §7.8).",
        "Nothing: a WebSocket is not cacheable.";
    RangeMiss = "range-miss", "A range was asked for of a representation that is not stored: it was passed with its Range (RFC 9110 §14.2).",
        "Raise `object_bytes_max` if the object should be stored whole.";
    HitForMiss = "hit-for-miss", "A recent response for this key could not be stored, so requests for it do not wait for one another.",
        "Look at the reason of the response that was not stored.";
    Personalised = "personalised", "Recent responses for this URL differed from user to user although nothing in them says so.",
        "Send `Vary: Cookie` or `private`, or name the cookie that decides in `key.cookies` on a route.";
    Precondition = "precondition", "The request has If-Match or If-Unmodified-Since, and what is stored does not meet it: only the origin can tell (RFC 9111 §4.3.2).",
        "Nothing: the origin decides.";
    Shadow = "shadow", "Shadow mode: the request was passed as if there were no cache, and what would have become of it was counted.",
        "Set `mode = \"serve\"` once `larder shadow-report` has shown enough.";
    // --- asked the origin, and the response was not stored ---
    NoStore = "no-store", "The response says no-store (RFC 9111 §5.2.2.5).",
        "Drop no-store at the origin, or set `cache = \"force\"` on the route.";
    Private = "private", "The response says private (RFC 9111 §5.2.2.7).",
        "Send public or s-maxage if every user may get it.";
    RequestNoStore = "request-no-store", "The request says no-store (RFC 9111 §5.2.1.5).",
        "Drop no-store from the client's request.";
    Authorization = "authorization", "The request carries Authorization and the response does not permit sharing (RFC 9111 §3.5).",
        "Send public, s-maxage or must-revalidate if every user may get it.";
    SetCookie = "set-cookie", "The response sets a cookie, which would be given to other visitors (RFC 9111 §7.3).",
        "Stop setting the cookie on pages that are for everybody, or, where nobody needs it there, set `set_cookie = \"strip\"` on the route.";
    VaryStar = "vary-star", "The response says Vary: * (RFC 9111 §4.1).",
        "Name the request fields that the response depends on.";
    NoLifetime = "no-lifetime", "The response has no explicit lifetime, and none may be guessed for it (RFC 9111 §4.2.2).",
        "Send Cache-Control: max-age, or set `ttl` on the route.";
    AlreadyStale = "already-stale", "The response has no freshness left when it comes: it answers no other request, and without a validator it is not stored (RFC 9111 §4.2, §4.3.1).",
        "Send a longer max-age, or stale-while-revalidate; an ETag lets it be stored.";
    StatusNotUnderstood = "status", "The status code is not one that a cache may store here (RFC 9111 §3, §5.2.2.3).",
        "Nothing, unless the origin means another status.";
    TooLarge = "too-large", "The body is larger than `object_bytes_max`.",
        "Raise `object_bytes_max` on the route or under [memory].";
    Budget = "budget", "The memory budget was spent, so the response streamed through.",
        "Raise `capacity` under [memory].";
    Unsized = "unsized", "Only the closing connection ends the body, so a cut cannot be told from the end (RFC 9112 §8).",
        "Send Content-Length or chunked coding, or set `store_unsized = true` under [cache].";
    TooManyTags = "too-many-tags", "The response carries more tags than `tags_max`, so it could not be purged safely.",
        "Send fewer tags, or raise `tags_max` under [memory].";
    Incomplete = "incomplete", "The origin ended the body early: nothing partial is stored (RFC 9111 §3.3).",
        "Look at why the origin closed the connection.";
    InvalidatedMeanwhile = "invalidated-meanwhile", "The URL was purged or invalidated while the response was under way (RFC 9111 §4.4).",
        "Nothing: the next response is stored.";
    Outdated = "outdated", "A newer response for the same requests had been stored before this one was whole (RFC 9111 §4).",
        "Nothing: the newer one stays.";
    // --- answered by Larder itself ---
    Purge = "purge", "A PURGE from a network that `purge.method_from` lists: Larder carried it out.",
        "Nothing: it was asked for.";
    Options = "options", "An OPTIONS of the server as a whole, or one that is to go no further (RFC 9110 §7.6.2, §9.3.7).",
        "Nothing: the client asked for it.";
    // --- a stale response stood in ---
    WhileRevalidate = "stale-while-revalidate", "A stale response was served while one request refreshes it (RFC 5861 §3).",
        "Nothing: the next request gets the fresh one.";
    IfError = "stale-if-error", "The origin failed, and a stale response may stand in (RFC 5861 §4).",
        "Look at the origin's errors.";
    MaxStale = "max-stale", "The request accepts a stale response (max-stale, RFC 9111 §5.2.1.2).",
        "Nothing: the client asked for it.";
    // --- refused here ---
    BadRequest = "bad-request", "The request cannot be read in one way only (RFC 9112 §3, §6.3).",
        "Mend the client.";
    HeadTooLarge = "head-too-large", "The request's head is larger than `head_bytes_max`, or has more than 100 fields (RFC 9110 §5.4).",
        "Raise `head_bytes_max` under [server], or mend the client.";
    SiteUnknown = "site-unknown", "The Host is in no `[[site]]` (RFC 9110 §7.4).",
        "Add the host to `hosts` under `[[site]]`.";
    RequestTooLarge = "request-too-large", "The request's content is larger than `request_body_max` (RFC 9110 §15.5.14).",
        "Raise `request_body_max` under [server].";
    MethodRefused = "method-refused", "CONNECT and TRACE are refused, and so is PURGE from whom `purge.method_from` does not list (RFC 9110 §9.3.6, §9.3.8).",
        "Name the network in `purge.method_from` if it may purge; a reverse proxy has no use for the others.";
    OnlyIfCached = "only-if-cached", "The request says only-if-cached and nothing suitable is stored (RFC 9111 §5.2.1.7).",
        "Nothing: the client asked for it.";
    Overloaded = "overloaded", "All permits towards the origin were taken for too long.",
        "Raise `connections_max` under [origin], or give the origin more room.";
    Panic = "panic", "Larder failed on this request; the process went on.",
        "Report it with the log line.";
    // --- the origin failed (RFC 9209 §2.3) ---
    DestinationUnavailable = "destination_unavailable", "The origin could not be reached (RFC 9209 §2.3.4).",
        "Look at whether the origin runs at the `url` under [origin].";
    DnsError = "dns_error", "The origin's name could not be resolved (RFC 9209 §2.3.2).",
        "Look at the `url` under [origin].";
    ConnectionRefused = "connection_refused", "The origin refused the connection (RFC 9209 §2.3.7).",
        "Start the origin, or mend the `url` under [origin].";
    ConnectionTimeout = "connection_timeout", "The origin did not take the connection within `connect_timeout` (RFC 9209 §2.3.9).",
        "Raise `connect_timeout` under [origin], or look at the origin's load.";
    ConnectionTerminated = "connection_terminated", "The origin closed the connection before its response was whole (RFC 9209 §2.3.8).",
        "Look at the origin's log.";
    ResponseTimeout = "http_response_timeout", "The origin did not answer within `response_timeout` (RFC 9209 §2.3).",
        "Raise `response_timeout` under [origin], or look at the origin's load.";
    ProtocolError = "http_protocol_error", "The origin's response breaks HTTP (RFC 9209 §2.3).",
        "Look at what the origin sends.";
}

impl Reason {
    /// Returns the section of the RFC that the sentence of [`Reason::why`] names, such as `RFC 9111 §4.2`; `None` where the
    /// rule is Larder's own.
    pub fn section(self) -> Option<&'static str> {
        let why = self.why();
        let named = &why[why.rfind("RFC ")?..];
        named.find(')').map(|end| &named[..end])
    }
}

/// Renders the reference of all reasons as a table in Markdown, a row for each.
pub fn reference() -> String {
    // What would end a cell or begin emphasis inside it.
    let cell = |text: &str| text.replace('|', "\\|").replace('*', "\\*");
    let mut table = String::from("| reason | what it means | which rule | to change it |\n|---|---|---|---|\n");
    for reason in Reason::ALL {
        let (token, section) = (reason.token(), reason.section());
        let why = section.map_or(reason.why().to_owned(), |section| without(reason.why(), section));
        let row = [&format!("`{token}`"), &*cell(&why), section.unwrap_or("Larder's own"), &cell(reason.remedy())];
        table.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    table
}

/// Returns a sentence without the section that stands in brackets at its end.
fn without(sentence: &str, section: &str) -> String {
    sentence.replace(&format!(" ({section})"), "").replace(&format!(", {section})"), ")")
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.token())
    }
}

/// What kind of answer a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Answered from the store, fresh.
    Hit,
    /// Answered from the store with a stale response.
    Stale,
    /// Answered from the store after the origin confirmed it.
    Revalidated,
    /// Looked up, not usable: the origin answered.
    Miss,
    /// Not looked up: the origin answered.
    Pass,
    /// Refused here.
    Refused,
    /// The origin failed and nothing could stand in.
    Failed,
    /// Answered by Larder itself: neither the store nor the origin has the answer.
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

/// Whether the response that went out was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// Storing has begun; whether it ends well is told by [`End`].
    Begun,
    /// It was not stored, for this reason.
    No(Reason),
    /// There was nothing to store: it came from the store, or from Larder itself.
    NothingTo,
}

/// What would have become of a request that was passed in shadow mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Would {
    /// What kind of answer it would have got.
    pub outcome: Outcome,
    /// Why: what would have kept the response from being stored, where something would, else why it would be that kind.
    pub reason: Reason,
    /// Whether it would have waited for another's origin request.
    pub collapsed: bool,
}

impl Would {
    /// Makes one of a kind and a reason.
    pub const fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { outcome, reason, collapsed: false }
    }

    /// Tells whether the origin would have been spared a request.
    pub fn spares_origin(self) -> bool {
        let asked = self.outcome == Outcome::Stale && self.reason == Reason::IfError;
        self.collapsed || (matches!(self.outcome, Outcome::Hit | Outcome::Stale) && !asked)
    }
}

/// Everything that is known about a request when its response's head goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What kind of answer it is.
    pub outcome: Outcome,
    /// Why it is that kind.
    pub reason: Reason,
    /// Whether the response was stored.
    pub stored: Stored,
    /// Whether this request waited for another's origin request (RFC 9211 §2.6).
    pub collapsed: bool,
    /// The status that the origin answered with, where it was asked.
    pub fwd_status: Option<u16>,
    /// Freshness lifetime less age, in seconds; negative when stale (RFC 9211 §2.4).
    pub ttl: Option<i64>,
    /// The key's hash, where one was made.
    pub key_hash: Option<u128>,
    /// The index of the `[[route]]` that matched.
    pub route: Option<u16>,
    /// What would have become of it, where it was passed in shadow mode.
    pub would: Option<Would>,
}

impl Decision {
    /// Makes a decision that has nothing but a kind and a reason.
    pub const fn new(outcome: Outcome, reason: Reason) -> Self {
        Self {
            outcome,
            reason,
            stored: Stored::NothingTo,
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
    /// Every byte was handed to the connection.
    Complete,
    /// The client went away first.
    ClientGone,
    /// The body failed on the way, and the client saw it fail.
    Aborted(Reason),
}

/// What is known about a response once its body has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub ending: Ending,
    /// Body bytes handed to the connection.
    pub body_bytes: u64,
    /// From the request's head to the response's end.
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
