//! `Cache-Status` (RFC 9211) and `Proxy-Status` (RFC 9209): the outcome of a request, as structured
//! fields.
//!
//! A member is written by hand into one buffer, which becomes the value. A test parses every
//! combination back.

use bytes::Bytes;
use http::HeaderValue;

use crate::outcome::{Decision, Outcome, Reason, StoreOutcome};

/// Renders `decision` as a member of Cache-Status.
///
/// Examples: `Larder; hit; ttl=30`, or `Larder; fwd=uri-miss; fwd-status=200; stored; …`. `key` is
/// the key's text if the client may see it; otherwise the key's hash is sent. A hit, and a request
/// that was refused here, carry the key only as text, to stay short.
pub fn cache_status(decision: &Decision, key: Option<&str>) -> HeaderValue {
    let mut member = StatusMember::new(b"Larder");
    let forward = forward_token(decision);
    // RFC 9211 §2.1, §2.2: `hit` and `fwd` exclude each other. A response that the origin confirmed
    // was forwarded. A response that is served instead of a failing origin's came from the store,
    // so it is a hit with a negative ttl.
    match (forward, decision.outcome) {
        (Some(token), outcome) => {
            member.parameter(b"fwd").raw(token.as_bytes());
            let confirmed = (outcome == Outcome::Revalidated).then_some(304);
            if let Some(status) = decision.fwd_status.or(confirmed) {
                member.parameter(b"fwd-status").integer(i64::from(status));
            }
        }
        (None, Outcome::Hit | Outcome::Stale) => member.flag(b"hit"),
        // Refused here, or failed on the way: neither parameter applies, and `detail` says why.
        (None, _) => {}
    }
    if let Some(ttl) = decision.ttl {
        member.parameter(b"ttl").integer(ttl);
    }
    if forward.is_some() {
        if decision.stored == StoreOutcome::Started {
            member.flag(b"stored");
        }
        if decision.collapsed {
            member.flag(b"collapsed");
        }
    }
    match (key, decision.key_hash) {
        (Some(text), _) => member.parameter(b"key").string(text),
        (None, Some(hash)) if forward.is_some() => member.parameter(b"key").hash(hash),
        _ => {}
    }
    if let Some(detail) = detail(decision, forward) {
        member.parameter(b"detail").raw(detail.token().as_bytes());
        // RFC 9211 §2.8: the content of `detail` is up to the cache. A token may have colons.
        if let Some(would) = decision.would {
            for part in [would.outcome.token(), would.reason.token()] {
                member.raw(b":");
                member.raw(part.as_bytes());
            }
        }
    }
    member.finish()
}

/// Returns the token of `fwd` (RFC 9211 §2.2), if the request was forwarded and an answer came
/// back.
fn forward_token(decision: &Decision) -> Option<&'static str> {
    let token = match decision.reason {
        Reason::Method => "method",
        Reason::Bypass | Reason::RequestBody | Reason::Upgrade => "bypass",
        Reason::UriMiss | Reason::RangeMiss => "uri-miss",
        Reason::VaryMiss => "vary-miss",
        Reason::RequestNoCache | Reason::Precondition => "request",
        Reason::Expired | Reason::NoCache | Reason::Invalidated => "stale",
        // Purged, hit-for-miss, and all that only `detail` can say.
        _ if decision.outcome == Outcome::Pass => "bypass",
        _ => "miss",
    };
    match decision.outcome {
        Outcome::Miss | Outcome::Pass => Some(token),
        // A confirmed response was stored: it was stale, or fresh and the request wanted it
        // checked.
        Outcome::Revalidated if token == "request" => Some(token),
        Outcome::Revalidated => Some("stale"),
        Outcome::Hit | Outcome::Stale | Outcome::Refused | Outcome::Failed | Outcome::Own => None,
    }
}

/// Returns the reason that says more than `hit` or `fwd`.
///
/// For a miss that is why the response was not stored, since that can be fixed; for a request that
/// was not looked up, why not.
fn detail(decision: &Decision, forward: Option<&str>) -> Option<Reason> {
    let not_stored = match decision.stored {
        StoreOutcome::No(reason) => Some(reason),
        StoreOutcome::Started | StoreOutcome::NothingTo => None,
    };
    let candidates = match decision.outcome {
        Outcome::Hit => [None, None],
        Outcome::Miss | Outcome::Revalidated => [not_stored, Some(decision.reason)],
        Outcome::Stale | Outcome::Pass | Outcome::Refused | Outcome::Failed | Outcome::Own => {
            [Some(decision.reason), not_stored]
        }
    };
    candidates.into_iter().flatten().find(|reason| Some(reason.token()) != forward)
}

/// Renders `Proxy-Status` for a response that Larder made in the origin's place.
///
/// Example: `larder; error=connection_refused`, with `details` if they are not empty.
pub fn proxy_status(reason: Reason, details: &str) -> HeaderValue {
    let mut member = StatusMember::new(b"larder");
    member.parameter(b"error").raw(proxy_error(reason).as_bytes());
    if !details.is_empty() {
        member.parameter(b"details").string(details);
    }
    member.finish()
}

/// Returns the proxy error type (RFC 9209 §2.3) of a reason. The reasons of a failing origin use
/// its tokens.
fn proxy_error(reason: Reason) -> &'static str {
    match reason {
        Reason::DestinationUnavailable
        | Reason::DnsError
        | Reason::ConnectionRefused
        | Reason::ConnectionTimeout
        | Reason::ConnectionTerminated
        | Reason::ResponseTimeout
        | Reason::ProtocolError => reason.token(),
        Reason::Incomplete => "http_response_incomplete",
        Reason::TooLarge => "http_response_body_size",
        Reason::Overloaded => "connection_limit_reached",
        Reason::BadRequest | Reason::HeadTooLarge | Reason::RequestTooLarge => "http_request_error",
        Reason::SiteUnknown | Reason::MethodRefused => "http_request_denied",
        Reason::Panic => "proxy_internal_error",
        _ => "proxy_internal_response",
    }
}

/// One member of a structured list, while it is written (RFC 9651 §4.1).
struct StatusMember(Vec<u8>);

impl StatusMember {
    fn new(name: &[u8]) -> Self {
        let mut text = Vec::with_capacity(128);
        text.extend_from_slice(name);
        Self(text)
    }

    /// Writes a parameter whose value is true, which is omitted.
    fn flag(&mut self, name: &[u8]) {
        self.raw(b"; ");
        self.raw(name);
    }

    /// Starts a parameter whose value follows.
    fn parameter(&mut self, name: &[u8]) -> &mut Self {
        self.flag(name);
        self.0.push(b'=');
        self
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Writes an integer, clamped to the fifteen digits that a structured integer may have.
    fn integer(&mut self, number: i64) {
        const MAX: i64 = 999_999_999_999_999;
        self.raw(itoa::Buffer::new().format(number.clamp(-MAX, MAX)).as_bytes());
    }

    /// Writes a hash as a string of 32 hexadecimal digits.
    fn hash(&mut self, hash: u128) {
        let mut text = [b'"'; 34];
        for (byte, digits) in hash.to_be_bytes().into_iter().zip(text[1..33].as_chunks_mut::<2>().0) {
            *digits = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]].map(|digit| digit | 0x20);
        }
        self.raw(&text);
    }

    /// Writes a string. Bytes other than printable ASCII are percent-encoded, since a structured
    /// string cannot hold them.
    fn string(&mut self, text: &str) {
        self.0.push(b'"');
        for &byte in text.as_bytes() {
            match byte {
                b'"' | b'\\' => self.raw(&[b'\\', byte]),
                0x20..=0x7e => self.0.push(byte),
                _ => self.raw(&[b'%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]),
            }
        }
        self.0.push(b'"');
    }

    fn finish(self) -> HeaderValue {
        HeaderValue::from_maybe_shared(Bytes::from(self.0)).expect("only printable ASCII was written")
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use sfv::{BareItem, Item, List, ListEntry, Parser};

    use super::*;
    use crate::outcome::WouldBeOutcome;

    fn decision(outcome: Outcome, reason: Reason) -> Decision {
        Decision::new(outcome, reason)
    }

    #[track_caller]
    fn check(decision: Decision, key: Option<&str>, want: &str) {
        assert_eq!(cache_status(&decision, key), want);
    }

    /// Parses a field of one member back.
    fn parse(value: &HeaderValue) -> Item {
        let list: List = Parser::new(value.as_bytes()).parse().unwrap_or_else(|error| panic!("{value:?}: {error}"));
        match <[ListEntry; 1]>::try_from(list) {
            Ok([ListEntry::Item(item)]) => item,
            _ => panic!("{value:?}"),
        }
    }

    fn token<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
        item.params.get(name).map(|value| value.as_token().unwrap().as_str())
    }

    use Outcome::{Failed, Hit, Miss, Pass, Refused, Revalidated, Stale};
    use Reason as R;

    #[test]
    fn r9211_s2_1_hits_are_short() {
        let fresh = Decision { ttl: Some(30), key_hash: Some(7), ..decision(Hit, R::Fresh) };
        check(fresh, None, "Larder; hit; ttl=30");
        check(fresh, Some("http://a/"), "Larder; hit; ttl=30; key=\"http://a/\"");
        let stale = Decision { ttl: Some(-5), ..decision(Stale, R::WhileRevalidate) };
        check(stale, None, "Larder; hit; ttl=-5; detail=stale-while-revalidate");
        let stands_in = Decision { ttl: Some(-5), fwd_status: Some(503), ..decision(Stale, R::IfError) };
        check(stands_in, None, "Larder; hit; ttl=-5; detail=stale-if-error");
    }

    #[test]
    fn r9211_s2_8_shadow_mode_tells_what_would_have_been() {
        let passed =
            Decision { stored: StoreOutcome::No(R::Shadow), fwd_status: Some(200), ..decision(Pass, R::Shadow) };
        let would = |outcome, reason| Decision { would: Some(WouldBeOutcome::new(outcome, reason)), ..passed };
        check(would(Hit, R::Fresh), None, "Larder; fwd=bypass; fwd-status=200; detail=shadow:hit:fresh");
        check(would(Miss, R::NoStore), None, "Larder; fwd=bypass; fwd-status=200; detail=shadow:miss:no-store");
    }

    #[test]
    fn r9211_s2_2_forwarded_requests_say_why_and_with_which_result() {
        let ok = |outcome, reason| Decision { fwd_status: Some(200), ..decision(outcome, reason) };
        let stored = Decision { stored: StoreOutcome::Started, ..ok(Miss, R::UriMiss) };
        check(stored, None, "Larder; fwd=uri-miss; fwd-status=200; stored");
        let full = Decision { collapsed: true, key_hash: Some(0xab), ttl: Some(60), ..stored };
        check(
            full,
            None,
            "Larder; fwd=uri-miss; fwd-status=200; ttl=60; stored; collapsed; key=\"000000000000000000000000000000ab\"",
        );
        check(
            Decision { stored: StoreOutcome::No(R::NoStore), ..ok(Miss, R::UriMiss) },
            None,
            "Larder; fwd=uri-miss; fwd-status=200; detail=no-store",
        );
        check(
            Decision { stored: StoreOutcome::No(R::Private), ..ok(Miss, R::NoCache) },
            None,
            "Larder; fwd=stale; fwd-status=200; detail=private",
        );
        check(ok(Miss, R::VaryMiss), None, "Larder; fwd=vary-miss; fwd-status=200");
        check(ok(Miss, R::Expired), None, "Larder; fwd=stale; fwd-status=200");
        check(ok(Miss, R::NoCache), None, "Larder; fwd=stale; fwd-status=200; detail=no-cache");
        check(ok(Miss, R::RequestNoCache), None, "Larder; fwd=request; fwd-status=200");
        check(ok(Miss, R::Purged), None, "Larder; fwd=miss; fwd-status=200; detail=purged");
        check(ok(Miss, R::HitForMiss), None, "Larder; fwd=miss; fwd-status=200; detail=hit-for-miss");
        check(ok(Pass, R::Method), None, "Larder; fwd=method; fwd-status=200");
        check(
            Decision { stored: StoreOutcome::No(R::Method), ..ok(Pass, R::Method) },
            None,
            "Larder; fwd=method; fwd-status=200",
        );
        check(ok(Pass, R::Bypass), None, "Larder; fwd=bypass; fwd-status=200");
        check(ok(Pass, R::Upgrade), None, "Larder; fwd=bypass; fwd-status=200; detail=upgrade");
        check(ok(Pass, R::RangeMiss), None, "Larder; fwd=uri-miss; fwd-status=200; detail=range-miss");
    }

    #[test]
    fn r9211_s2_3_a_confirmed_response_is_forwarded_with_304() {
        check(decision(Revalidated, R::Expired), None, "Larder; fwd=stale; fwd-status=304");
        check(decision(Revalidated, R::NoCache), None, "Larder; fwd=stale; fwd-status=304; detail=no-cache");
        check(decision(Revalidated, R::RequestNoCache), None, "Larder; fwd=request; fwd-status=304");
        check(decision(Revalidated, R::UriMiss), None, "Larder; fwd=stale; fwd-status=304; detail=uri-miss");
    }

    #[test]
    fn responses_of_larders_own_say_only_why() {
        check(decision(Refused, R::BadRequest), None, "Larder; detail=bad-request");
        check(decision(Failed, R::ConnectionRefused), None, "Larder; detail=connection_refused");
    }

    #[test]
    fn every_combination_is_a_structured_field_with_registered_words() {
        const FORWARDS: [&str; 7] = ["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale"];
        let all_stored = [StoreOutcome::Started, StoreOutcome::No(R::NoStore), StoreOutcome::NothingTo];
        for &outcome in Outcome::ALL {
            for &reason in Reason::ALL {
                for stored in all_stored {
                    for (collapsed, key) in [(false, None), (true, Some("http://\u{e4}/\"\\%\n"))] {
                        let decision = Decision {
                            outcome,
                            reason,
                            stored,
                            collapsed,
                            fwd_status: Some(200),
                            ttl: Some(i64::MIN),
                            key_hash: Some(u128::MAX),
                            route: None,
                            would: (reason == R::Shadow && outcome == Pass).then(|| WouldBeOutcome::new(Hit, R::Fresh)),
                        };
                        let value = cache_status(&decision, key);
                        let item = parse(&value);
                        assert_eq!(item.bare_item.as_token().unwrap().as_str(), "Larder");
                        let hit = item.params.get("hit") == Some(&BareItem::Boolean(true));
                        let forward = token(&item, "fwd");
                        assert_eq!(hit, matches!(outcome, Hit | Stale), "{value:?}");
                        assert_eq!(forward.is_some(), matches!(outcome, Miss | Pass | Revalidated), "{value:?}");
                        assert!(forward.is_none_or(|token| FORWARDS.contains(&token)), "{value:?}");
                        assert!(!(item.params.contains_key("stored") && forward.is_none()), "{value:?}");
                        assert_eq!(item.params.contains_key("collapsed"), collapsed && forward.is_some(), "{value:?}");
                        assert_eq!(item.params.contains_key("fwd-status"), forward.is_some(), "{value:?}");
                        assert!(token(&item, "detail").is_none_or(|detail| Some(detail) != forward), "{value:?}");
                        if decision.would.is_some() {
                            assert_eq!(token(&item, "detail"), Some("shadow:hit:fresh"), "{value:?}");
                        }
                        if matches!(outcome, Stale | Refused | Failed) {
                            assert_eq!(token(&item, "detail"), Some(reason.token()), "{value:?}");
                        }
                        let text = item.params.get("key").map(|key| key.as_string().unwrap().as_str());
                        match key {
                            Some(_) => assert_eq!(text, Some("http://%C3%A4/\"\\%%0A")),
                            None => assert_eq!(text.map(str::len), forward.map(|_| 32), "{value:?}"),
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn r9209_every_reason_has_a_registered_error() {
        const ERRORS: [&str; 14] = [
            "destination_unavailable",
            "dns_error",
            "connection_refused",
            "connection_timeout",
            "connection_terminated",
            "http_response_timeout",
            "http_protocol_error",
            "http_response_incomplete",
            "http_response_body_size",
            "connection_limit_reached",
            "http_request_error",
            "http_request_denied",
            "proxy_internal_error",
            "proxy_internal_response",
        ];
        for &reason in Reason::ALL {
            let item = parse(&proxy_status(reason, "tcp: \"reset\" \u{2014} by peer\r\n"));
            assert_eq!(item.bare_item.as_token().unwrap().as_str(), "larder");
            assert!(ERRORS.contains(&token(&item, "error").unwrap()), "{reason}");
            let details = item.params.get("details").unwrap().as_string().unwrap().as_str();
            assert_eq!(details, "tcp: \"reset\" %E2%80%94 by peer%0D%0A");
        }
        assert_eq!(proxy_status(R::ConnectionRefused, ""), "larder; error=connection_refused");
    }
}
