//! Validation: the conditional request, and the effect of its 304 (RFC 9111 §4.3).

use std::sync::Arc;

use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use crate::outcome::Reason;
use crate::policy::storable::{self, Exchange};
use crate::policy::{fields, freshness};
use crate::route::SetCookie;
use crate::stored::{Facts, FlatHead, StoredEntry};
use crate::syntax::date;
use crate::syntax::entity_tag::{EntityTag, TagComparison};

/// The most bytes of entity-tags in one request: origins commonly refuse heads above 8 KiB.
const TAGS_BYTES_MAX: usize = 4 << 10;

/// The stored responses that a conditional request is about.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// The response that the request selects, if it may be confirmed. Only its date is sent, and
    /// only it can be meant by a 304 that names nothing.
    selected: Option<Arc<StoredEntry>>,
    /// Other responses that the request could have selected: their entity-tags are sent.
    others: Vec<Arc<StoredEntry>>,
    /// If the request selects nothing, the responses that Vary excludes. Their entity-tags are
    /// offered (RFC 9111 §4.1), but a 304 to them is not accepted.
    offered: Vec<Arc<StoredEntry>>,
}

impl Candidates {
    /// Makes the set of those responses that have a usable validator (RFC 9111 §4.3.1).
    pub(crate) fn new(selected: Option<Arc<StoredEntry>>, others: impl IntoIterator<Item = Arc<StoredEntry>>) -> Self {
        let has_tag =
            |entry: &Arc<StoredEntry>| entity_tag(&entry.head).is_some_and(|tag| tag.text().len() <= TAGS_BYTES_MAX);
        Self {
            selected: selected.filter(|entry| has_tag(entry) || last_modified(entry).is_some()),
            others: others.into_iter().filter(has_tag).collect(),
            offered: Vec::new(),
        }
    }

    /// Offers responses whose Vary excludes the request (RFC 9111 §4.1), by their strong
    /// entity-tags.
    ///
    /// A weak tag may belong to several representations (RFC 9110 §8.8.1). Since an app may give
    /// all its variants the same strong tag, none is confirmed by it: after a 304 the whole
    /// response is requested.
    pub(crate) fn offering(entries: impl IntoIterator<Item = Arc<StoredEntry>>) -> Self {
        let has_strong_tag = |entry: &Arc<StoredEntry>| {
            entity_tag(&entry.head).is_some_and(|tag| !tag.is_weak() && tag.text().len() <= TAGS_BYTES_MAX)
        };
        Self { offered: entries.into_iter().filter(has_strong_tag).collect(), ..Self::default() }
    }

    /// Tells whether there is nothing to validate: then the request stays as the client sent it.
    pub(crate) fn is_empty(&self) -> bool {
        self.selected.is_none() && self.others.is_empty() && self.offered.is_empty()
    }

    /// Iterates over the responses that may be confirmed, the selected one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<StoredEntry>> {
        self.selected.iter().chain(&self.others)
    }

    /// Keeps only responses that may be confirmed, and for which `keep` holds.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&Arc<StoredEntry>) -> bool) {
        self.selected = self.selected.take().filter(&mut keep);
        self.others.retain(keep);
        self.offered.clear();
    }
}

/// Replaces the client's preconditions in `headers` with the validators of `candidates` (RFC 9111
/// §4.3.1).
///
/// All entity-tags go into one If-None-Match, the selected entry's Last-Modified into
/// If-Modified-Since. Without candidates the request stays as the client sent it.
pub(crate) fn make_conditional(headers: &mut HeaderMap, candidates: &Candidates) {
    if candidates.is_empty() {
        return;
    }
    // The origin should send the whole representation, or a 304 to Larder's own validators. The
    // client's preconditions and range are applied to the result.
    drop_preconditions(headers);
    headers.remove(header::RANGE);
    entity_tags(candidates).map(|tags| headers.insert(header::IF_NONE_MATCH, tags));
    let last_modified = candidates.selected.as_deref().and_then(last_modified);
    last_modified.map(|date| headers.insert(header::IF_MODIFIED_SINCE, date));
}

/// Removes all preconditions, including If-Range (RFC 9110 §13.1).
pub(crate) fn drop_preconditions(headers: &mut HeaderMap) {
    for name in [
        header::IF_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_NONE_MATCH,
        header::IF_RANGE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        headers.remove(name);
    }
}

/// Joins the distinct entity-tags of `candidates`, up to [`TAGS_BYTES_MAX`]; `None` if there are
/// none.
fn entity_tags(candidates: &Candidates) -> Option<HeaderValue> {
    let mut tags: Vec<&[u8]> = Vec::new();
    let mut bytes = 0;
    for tag in candidates.iter().chain(&candidates.offered).filter_map(|entry| entity_tag(&entry.head)) {
        if !tags.contains(&tag.text()) && bytes + tag.text().len() <= TAGS_BYTES_MAX {
            bytes += tag.text().len() + 2;
            tags.push(tag.text());
        }
    }
    HeaderValue::from_bytes(&tags.join(&b", "[..])).ok().filter(|value| !value.is_empty())
}

fn entity_tag(head: &FlatHead) -> Option<EntityTag<'_>> {
    EntityTag::only(head.get_all(&header::ETAG))
}

/// Returns an entry's Last-Modified as it was written, if it is a date.
fn last_modified(entry: &StoredEntry) -> Option<HeaderValue> {
    let line = entry.head.get(&header::LAST_MODIFIED)?;
    date::parse(line)?;
    HeaderValue::from_bytes(line).ok()
}

/// Tells whether the origin would have confirmed a stored response, judging by its answer to an
/// unconditional request.
///
/// Entity-tags are compared weakly, dates only if there are no entity-tags (RFC 9110 §13.1.2,
/// §13.1.3).
pub(crate) fn would_confirm(stored: &FlatHead, headers: &HeaderMap) -> bool {
    match (entity_tag(stored), EntityTag::of(headers)) {
        (Some(own), Some(received)) => received.matches(own, TagComparison::Weak),
        (None, None) => {
            let own = stored.get(&header::LAST_MODIFIED).and_then(date::parse);
            own.is_some() && own == headers.get(header::LAST_MODIFIED).and_then(|line| date::parse(line.as_bytes()))
        }
        _ => false,
    }
}

/// The effect of a 304, or of the response to a HEAD, on one stored entry.
#[derive(Debug)]
pub enum Update {
    /// The entry is confirmed, with this new head and these facts.
    Confirmed(FlatHead, Facts),
    /// The entry is confirmed for this request alone, which is answered with this head; the stored
    /// entry does not change.
    ///
    /// The reason says why the update is not for others: the request carried Authorization or
    /// no-store, or the response sets a cookie.
    Once(FlatHead, Facts, Reason),
    /// The entry is confirmed and answers this request with this head, but may no longer be stored,
    /// for this reason.
    Withdrawn(FlatHead, Facts, Reason),
    /// The response is about another representation: the entry does not change.
    Other,
    /// The response contradicts the stored bytes: the entry is invalid, and the whole response has
    /// to be fetched.
    Contradicted,
}

/// Applies a 304 to the entries whose validators were sent, the selected one first (RFC 9111
/// §4.3.4).
///
/// The updates are returned in the same order. A 304 that confirms none of the entries contradicts
/// the selected one.
pub(crate) fn updates(candidates: &Candidates, exchange: &Exchange<'_>, headers: &HeaderMap) -> Vec<Update> {
    let entries: Vec<_> = candidates.iter().collect();
    let agreements: Vec<_> = entries.iter().map(|entry| agreement(&entry.head, headers)).collect();
    let is_strong = agreements.contains(&Agreement::Strong);
    // The first weak agreement is the RFC's "most recent" one: of the entries that suit this
    // request, the selected one is the most recent.
    let weak = agreements.iter().position(|found| *found == Agreement::Weak);
    let confirms = |at: usize| match agreements[at] {
        Agreement::Strong => true,
        Agreement::Weak => !is_strong && weak == Some(at),
        // A 304 that names nothing can only mean the entry that was sent alone, and proves nothing
        // unless that is the selected one.
        Agreement::Unstated => candidates.selected.is_some() && candidates.others.is_empty(),
        Agreement::None => false,
    };
    let mut updates: Vec<_> = (0..entries.len())
        .map(|at| if confirms(at) { confirm(entries[at], exchange, headers) } else { Update::Other })
        .collect();
    if updates.iter().all(|update| matches!(update, Update::Other))
        && candidates.selected.is_some()
        && let Some(selected) = updates.first_mut()
    {
        *selected = Update::Contradicted;
    }
    updates
}

/// Applies the response to a HEAD to one entry (RFC 9111 §4.3.5).
///
/// A 200 that agrees updates the entry, a 200 that does not contradicts it, another status leaves
/// it unchanged.
pub(crate) fn update_by_head(
    entry: &StoredEntry,
    exchange: &Exchange<'_>,
    status: StatusCode,
    headers: &HeaderMap,
) -> Update {
    if status != StatusCode::OK {
        return Update::Other;
    }
    let is_same = |name: &header::HeaderName| {
        headers.get(name).is_none_or(|received| entry.head.get(name) == Some(received.as_bytes()))
    };
    let length = headers.get(header::CONTENT_LENGTH).map(|line| std::str::from_utf8(line.as_bytes()));
    let has_same_length = length.is_none_or(|text| {
        text.is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|bytes| bytes == entry.body.identity_bytes))
    });
    let agrees = entry.facts.status == StatusCode::OK
        && is_same(&header::ETAG)
        && is_same(&header::LAST_MODIFIED)
        && has_same_length;
    // The RFC lets a HEAD without any validator update a stored response. If the stored response
    // has a validator, such a HEAD may as well describe its replacement, and then the old bytes
    // would be fresh for as long as the new ones: it proves nothing and changes nothing. For an
    // origin that never sends validators the RFC's rule applies.
    let is_in_both = |name: header::HeaderName| headers.contains_key(&name) && entry.head.get(&name).is_some();
    let is_proof = !entry.facts.has_validator || is_in_both(header::ETAG) || is_in_both(header::LAST_MODIFIED);
    if agrees && !is_proof {
        return Update::Other;
    }
    if agrees { confirm(entry, exchange, headers) } else { Update::Contradicted }
}

/// Tells whether a complete response to the request of a stored one replaces it, even if it is not
/// stored itself.
///
/// The response does if it says what is now at the URL, that nothing is, or that the content is no
/// longer for everybody (RFC 9111 §4.3.3). A 304 is about the stored response. A 5xx says nothing
/// about the URL, and neither do statuses about the form or the rate of requests: these leave the
/// stored response in place.
pub(crate) fn supersedes(status: StatusCode) -> bool {
    match status.as_u16() {
        304 => false,
        200..=399 => true,
        401 | 403 | 404 | 410 | 451 => true,
        _ => false,
    }
}

/// The agreement of a 304's validators with those of a stored response (RFC 9111 §4.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Agreement {
    /// The same strong entity-tag.
    Strong,
    /// The same weak entity-tag, or the same date.
    Weak,
    /// There is no validator in both that could be compared.
    ///
    /// By the RFC that confirms only a stored response without validator. But many origins leave
    /// the entity-tag out of a 304 to that very entity-tag, and such a 304 can mean nothing else.
    Unstated,
    /// The 304 names another representation.
    None,
}

fn agreement(stored: &FlatHead, headers: &HeaderMap) -> Agreement {
    let received = EntityTag::of(headers);
    match (received, entity_tag(stored)) {
        // A strong entity-tag is compared strongly: against a weak one it proves nothing.
        (Some(received), Some(own)) if !received.is_weak() => {
            return if received == own { Agreement::Strong } else { Agreement::None };
        }
        (Some(received), Some(own)) => {
            return if received.matches(own, TagComparison::Weak) { Agreement::Weak } else { Agreement::None };
        }
        _ => {}
    }
    let moment = |line: &[u8]| date::parse(line);
    let received_date = headers.get(header::LAST_MODIFIED).and_then(|line| moment(line.as_bytes()));
    let own_date = stored.get(&header::LAST_MODIFIED).and_then(moment);
    match (received_date, own_date) {
        (Some(received), Some(own)) if received == own => Agreement::Weak,
        (Some(_), Some(_)) => Agreement::None,
        // An entity-tag that the stored response lacks belongs to another representation.
        _ if received.is_some() => Agreement::None,
        _ => Agreement::Unstated,
    }
}

/// Merges the fields of a response that confirms `entry` into its head, and judges the result like
/// a new response.
fn confirm(entry: &StoredEntry, exchange: &Exchange<'_>, headers: &HeaderMap) -> Update {
    let mut merged = merge(entry, exchange, headers);
    let as_get = Exchange { method: &http::Method::GET, ..*exchange };
    let (facts, refusal) = storable::judge(&as_get, entry.facts.status, &merged);
    merged.remove(header::AGE);
    match refusal {
        Some(reason @ (Reason::Authorization | Reason::RequestNoStore | Reason::SetCookie)) => {
            Update::Once(FlatHead::from_map(&merged), facts, reason)
        }
        Some(reason) => Update::Withdrawn(FlatHead::from_map(&merged), facts, reason),
        None => {
            fields::strip_for_storage(&mut merged, exchange.rule.set_cookie);
            Update::Confirmed(FlatHead::from_map(&merged), facts)
        }
    }
}

/// Replaces stored fields by received ones of the same name (RFC 9111 §3.2).
///
/// Content-Length is excluded: it describes the content of a message that has none.
/// Content-Encoding, Content-Type and Content-Range, which the RFC lets a cache leave alone, are
/// replaced too: the origin knows what its bytes are. Age stays in the result as received, for the
/// facts to be read from.
fn merge(entry: &StoredEntry, exchange: &Exchange<'_>, headers: &HeaderMap) -> HeaderMap {
    let mut received = headers.clone();
    fields::strip_hop_by_hop(&mut received);
    received.remove(header::CONTENT_LENGTH);
    // RFC 9111 §3.2 exempts these for a cache that decodes or cuts what it stores: they are
    // updated, but never added.
    for name in [header::CONTENT_ENCODING, header::CONTENT_RANGE] {
        if entry.head.get(&name).is_none() {
            received.remove(name);
        }
    }
    if exchange.rule.set_cookie == SetCookie::Strip {
        received.remove(header::SET_COOKIE);
    }
    // RFC 9110 §6.6.1: a response without Date is dated at its receipt. The stored Date would make
    // it older.
    if freshness::date_value(&received).is_none() {
        received.insert(header::DATE, date::header_value(exchange.received_at));
    }
    let mut merged = entry.head.to_map();
    merged.remove(header::AGE);
    for name in received.keys() {
        merged.remove(name);
    }
    for (name, value) in &received {
        merged.append(name, value.clone());
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::policy::request::RequestFacts;
    use crate::policy::testing::{RECEIVED, date, exchange, fields, stored};
    use crate::route::Rule;
    use crate::stored::{LifetimeSource, StoredBody};
    use http::header::HeaderName;

    const DAY: Timestamp = Timestamp::from_millis(RECEIVED.as_millis() - 86_400_000);

    /// Makes an entry that was received a day before [`RECEIVED`], with a body of three bytes.
    fn entry(given: &[(&str, &str)]) -> Arc<StoredEntry> {
        let (head, facts) = (FlatHead::from_map(&fields(given)), Facts { received_at: DAY, ..stored() });
        let body = StoredBody::identity("abc".into());
        Arc::new(StoredEntry::new(head, facts, body, Box::default(), Box::default(), 0))
    }

    /// Takes the first of `entries` as the selected one.
    fn selected_first(entries: &[Arc<StoredEntry>]) -> Candidates {
        Candidates::new(entries.first().cloned(), entries.iter().skip(1).cloned())
    }

    #[track_caller]
    fn check_conditional(candidates: &Candidates, tags: Option<&str>, since: Option<&str>) {
        let client = [("if-none-match", "\"own\""), ("if-match", "*"), ("range", "bytes=0-1"), ("if-range", "\"own\"")];
        let mut headers = fields(&client);
        let is_conditional = !candidates.is_empty();
        make_conditional(&mut headers, candidates);
        let value = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(is_conditional, tags.or(since).is_some());
        if is_conditional {
            assert_eq!(value(header::IF_NONE_MATCH).as_deref(), tags);
            assert_eq!(value(header::IF_MODIFIED_SINCE).as_deref(), since);
            assert_eq!(headers.len(), usize::from(tags.is_some()) + usize::from(since.is_some()));
        } else {
            assert_eq!(headers, fields(&client));
        }
    }

    #[test]
    fn s4_3_1_what_an_origin_would_confirm() {
        let (old, new) = (date(-500), date(-100));
        let check = |own: &[(&str, &str)], sent: &[(&str, &str)], expected| {
            assert_eq!(would_confirm(&FlatHead::from_map(&fields(own)), &fields(sent)), expected, "{own:?} {sent:?}");
        };
        check(&[("etag", "\"1\"")], &[("etag", "W/\"1\"")], true);
        check(&[("etag", "\"1\"")], &[("etag", "\"2\"")], false);
        check(&[("etag", "\"1\""), ("last-modified", &old)], &[("etag", "\"1\""), ("last-modified", &new)], true);
        check(&[("last-modified", &old)], &[("last-modified", &old)], true);
        check(&[("last-modified", &old)], &[("last-modified", &new)], false);
        check(&[("etag", "\"1\""), ("last-modified", &old)], &[("last-modified", &old)], false);
        check(&[], &[], false);
    }

    #[test]
    fn s4_3_1_every_entity_tag_and_the_selected_date() {
        let (old, new) = (date(-500), date(-100));
        let first = entry(&[("etag", "W/\"1\""), ("last-modified", &old)]);
        let second = entry(&[("etag", "\"2\""), ("last-modified", &new)]);
        let dated = entry(&[("last-modified", &new)]);
        let check = |entries: &[&Arc<StoredEntry>], tags, since| {
            let entries: Vec<_> = entries.iter().copied().cloned().collect();
            check_conditional(&selected_first(&entries), tags, since);
        };
        check(&[], None, None);
        check(&[&entry(&[])], None, None);
        check(&[&entry(&[("etag", "unquoted"), ("last-modified", "never")])], None, None);
        check(&[&first], Some("W/\"1\""), Some(&old));
        check(&[&dated], None, Some(&new));
        check(&[&first, &second, &first], Some("W/\"1\", \"2\""), Some(&old));
        // The date of an entry that is not selected is never sent.
        check(&[&entry(&[]), &second], Some("\"2\""), None);
        check(&[&entry(&[]), &dated], None, None);
        check_conditional(&Candidates::new(None, [second.clone(), dated.clone()]), Some("\"2\""), None);
        check_conditional(&Candidates::new(None, [dated]), None, None);
        check_conditional(&Candidates::offering([first.clone(), second.clone()]), Some("\"2\""), None);
        let long = entry(&[("etag", &format!("\"{}\"", "x".repeat(TAGS_BYTES_MAX)))]);
        check(&[&first, &long, &second], Some("W/\"1\", \"2\""), Some(&old));
        check(&[&long], None, None);
    }

    /// Applies the fields of a 304 to the entries, the first of which is selected, and names each
    /// update.
    fn apply(entries: &[Arc<StoredEntry>], given: &[(&str, &str)]) -> Vec<&'static str> {
        apply_to(&selected_first(entries), given)
    }

    fn apply_to(candidates: &Candidates, given: &[(&str, &str)]) -> Vec<&'static str> {
        let (request, rule) = (RequestFacts::default(), Rule::default());
        let name = |update: &Update| match update {
            Update::Confirmed(..) => "confirmed",
            Update::Once(..) => "once",
            Update::Withdrawn(..) => "withdrawn",
            Update::Other => "other",
            Update::Contradicted => "contradicted",
        };
        updates(candidates, &exchange(&request, &rule), &fields(given)).iter().map(name).collect()
    }

    #[test]
    fn s4_3_4_which_entries_a_304_is_about() {
        let cc = ("cache-control", "max-age=60");
        let strong = |tag: &str| entry(&[cc, ("etag", tag), ("last-modified", "@-500")]);
        let one = [strong("\"1\"")];
        for (given, expected) in [
            (&[("etag", "\"1\"")][..], "confirmed"),
            (&[("etag", "W/\"1\"")], "confirmed"),
            (&[("etag", "\"2\"")], "contradicted"),
            (&[("etag", "W/\"2\"")], "contradicted"),
            (&[("etag", "\"2\""), ("last-modified", "@-500")], "contradicted"),
            (&[("last-modified", "@-500")], "confirmed"),
            (&[("last-modified", "@-499")], "contradicted"),
            (&[], "confirmed"),
        ] {
            assert_eq!(apply(&one, given), [expected], "{given:?}");
        }
        let weak = [entry(&[cc, ("etag", "W/\"1\"")])];
        assert_eq!(apply(&weak, &[("etag", "W/\"1\"")]), ["confirmed"]);
        assert_eq!(apply(&weak, &[("etag", "\"1\"")]), ["contradicted"]);
        let dated = [entry(&[cc, ("last-modified", "@-500")])];
        assert_eq!(apply(&dated, &[("last-modified", "@-500"), ("etag", "\"new\"")]), ["confirmed"]);
        assert_eq!(apply(&dated, &[("etag", "\"new\"")]), ["contradicted"]);
        // Among several: all with the strong entity-tag, one that agrees weakly, none if nothing is
        // named.
        let three = [strong("\"1\""), strong("\"2\""), strong("\"1\"")];
        assert_eq!(apply(&three, &[("etag", "\"1\"")]), ["confirmed", "other", "confirmed"]);
        assert_eq!(apply(&three, &[("etag", "\"2\"")]), ["other", "confirmed", "other"]);
        assert_eq!(apply(&three, &[("etag", "W/\"1\"")]), ["confirmed", "other", "other"]);
        assert_eq!(apply(&three, &[("etag", "\"3\"")]), ["contradicted", "other", "other"]);
        assert_eq!(apply(&three, &[]), ["contradicted", "other", "other"]);
        assert!(apply(&[], &[]).is_empty());
        // If the selected entry's validators were not sent, a 304 that names nothing confirms
        // nothing and contradicts nothing.
        let unselected = Candidates::new(None, [strong("\"1\"")]);
        assert_eq!(apply_to(&unselected, &[]), ["other"]);
        assert_eq!(apply_to(&unselected, &[("etag", "\"2\"")]), ["other"]);
        assert_eq!(apply_to(&unselected, &[("etag", "\"1\"")]), ["confirmed"]);
        assert!(apply_to(&Candidates::offering([strong("\"1\"")]), &[("etag", "\"1\"")]).is_empty());
    }

    /// Applies a 304 to one selected entry.
    fn update(entry: &Arc<StoredEntry>, exchange: &Exchange<'_>, headers: &HeaderMap) -> Update {
        updates(&selected_first(std::slice::from_ref(entry)), exchange, headers).remove(0)
    }

    #[track_caller]
    fn confirmed(update: Update) -> (HeaderMap, Facts) {
        match update {
            Update::Confirmed(head, facts) => (head.to_map(), facts),
            update => panic!("{update:?}"),
        }
    }

    #[test]
    fn s3_2_received_fields_replace_stored_ones_but_for_what_frames_the_content() {
        let stored = entry(&[
            ("cache-control", "max-age=2"),
            ("content-encoding", "bar"),
            ("content-length", "3"),
            ("content-type", "text/plain"),
            ("date", "@-86400"),
            ("etag", "\"1\""),
            ("x-kept", "a"),
            ("x-many", "1"),
            ("x-many", "2"),
        ]);
        let received = fields(&[
            ("age", "4"),
            ("cache-control", "max-age=60"),
            ("connection", "x-hop"),
            ("content-encoding", "foo"),
            ("content-length", "10"),
            ("content-type", "text/html"),
            ("etag", "\"1\""),
            ("transfer-encoding", "chunked"),
            ("x-hop", "1"),
            ("x-many", "3"),
            ("x-new", "b"),
        ]);
        let (request, rule) = (RequestFacts::default(), Rule::default());
        let (head, facts) = confirmed(update(&stored, &exchange(&request, &rule), &received));
        let mut expected = fields(&[
            ("cache-control", "max-age=60"),
            ("content-encoding", "foo"),
            ("content-length", "3"),
            ("content-type", "text/html"),
            ("etag", "\"1\""),
            ("x-kept", "a"),
            ("x-many", "3"),
            ("x-new", "b"),
        ]);
        // The 304 had no Date, so it is dated when it was received.
        expected.insert(header::DATE, date(0).parse().unwrap());
        assert_eq!(head, expected);
        assert_eq!((facts.received_at, facts.initial_age.as_secs(), facts.lifetime.as_secs()), (RECEIVED, 4, 60));
        assert!(facts.no_transform && facts.has_validator);
        // A 304 does not give a coding to a stored response that has none.
        let (head, _) = confirmed(update(&entry(&[("etag", "\"1\"")]), &exchange(&request, &rule), &received));
        assert!(!head.contains_key("content-encoding"));
    }

    #[test]
    fn s4_3_4_freshness_comes_from_the_304s_date_and_what_is_stored() {
        let stored = entry(&[("expires", "@50"), ("date", "@-86400"), ("last-modified", "@-90000")]);
        let (request, rule) = (RequestFacts::default(), Rule::default());
        let (head, facts) = confirmed(update(&stored, &exchange(&request, &rule), &fields(&[("date", "@-10")])));
        assert_eq!(head[header::DATE].to_str().unwrap(), date(-10));
        assert_eq!((facts.lifetime.as_secs(), facts.lifetime_source), (60, LifetimeSource::Expires));
        assert_eq!(facts.initial_age.as_secs(), 10);
    }

    #[test]
    fn s3_a_304_that_may_not_be_stored_serves_one_request() {
        let page = entry(&[("cache-control", "max-age=2"), ("etag", "\"1\"")]);
        let silent = entry(&[("etag", "\"1\"")]);
        let plain = RequestFacts::default();
        let rule = Rule { set_cookie: SetCookie::Obey, ..Rule::default() };
        let apply = |entry: &Arc<StoredEntry>, request: &RequestFacts, given: &[(&str, &str)]| {
            let received = fields(given);
            match update(entry, &exchange(request, &rule), &received) {
                Update::Once(_, _, reason) => ("once", Some(reason)),
                Update::Withdrawn(_, _, reason) => ("withdrawn", Some(reason)),
                Update::Confirmed(..) => ("confirmed", None),
                update => panic!("{update:?}"),
            }
        };
        let authorized = RequestFacts { has_authorization: true, ..RequestFacts::default() };
        assert_eq!(apply(&page, &authorized, &[]), ("once", Some(Reason::Authorization)));
        assert_eq!(apply(&page, &authorized, &[("cache-control", "public, max-age=2")]), ("confirmed", None));
        assert_eq!(apply(&silent, &plain, &[("set-cookie", "a=b")]), ("once", Some(Reason::SetCookie)));
        assert_eq!(apply(&page, &plain, &[("set-cookie", "a=b")]), ("confirmed", None));
        assert_eq!(apply(&page, &plain, &[("cache-control", "no-store")]), ("withdrawn", Some(Reason::NoStore)));
        assert_eq!(apply(&page, &plain, &[("cache-control", "private")]), ("withdrawn", Some(Reason::Private)));
        assert_eq!(apply(&page, &plain, &[("vary", "*")]), ("withdrawn", Some(Reason::VaryStar)));
        let received = fields(&[("set-cookie", "a=b")]);
        let by_default = update(&page, &exchange(&plain, &Rule::default()), &received);
        assert!(matches!(by_default, Update::Once(_, _, Reason::SetCookie)), "{by_default:?}");
        let strip = Rule { set_cookie: SetCookie::Strip, ..Rule::default() };
        let (head, _) = confirmed(update(&silent, &exchange(&plain, &strip), &received));
        assert!(!head.contains_key(header::SET_COOKIE));
    }

    #[track_caller]
    fn check_head(status: u16, given: &[(&str, &str)], expected: &str) {
        let stored = entry(&[("cache-control", "max-age=2"), ("etag", "\"1\""), ("x-kept", "a")]);
        check_head_of(&stored, status, given, expected);
    }

    #[track_caller]
    fn check_head_of(stored: &StoredEntry, status: u16, given: &[(&str, &str)], expected: &str) {
        let (request, rule) = (RequestFacts::default(), Rule::default());
        let exchange = Exchange { method: &http::Method::HEAD, ..exchange(&request, &rule) };
        let status = StatusCode::from_u16(status).unwrap();
        let found = match update_by_head(stored, &exchange, status, &fields(given)) {
            Update::Confirmed(head, facts) => {
                assert!(head.get(&HeaderName::from_static("x-kept")).is_some());
                assert_eq!(facts.received_at, RECEIVED);
                "confirmed"
            }
            Update::Contradicted => "contradicted",
            Update::Other => "other",
            update => panic!("{update:?}"),
        };
        assert_eq!(found, expected, "{status} {given:?}");
    }

    #[test]
    fn s4_3_5_a_head_that_agrees_updates_and_one_that_does_not_contradicts() {
        check_head(200, &[("cache-control", "max-age=1000"), ("etag", "\"1\"")], "confirmed");
        // Nothing shows that the HEAD is about the stored bytes.
        check_head(200, &[("cache-control", "max-age=1000")], "other");
        check_head(200, &[("cache-control", "max-age=1000"), ("content-length", "3")], "other");
        check_head(200, &[("etag", "\"1\""), ("content-length", "3")], "confirmed");
        check_head(200, &[("content-length", "4")], "contradicted");
        check_head(200, &[("content-length", "x")], "contradicted");
        check_head(200, &[("etag", "\"2\"")], "contradicted");
        check_head(200, &[("last-modified", "@0")], "contradicted");
        check_head(410, &[("etag", "\"2\"")], "other");
        let mut bare = Arc::into_inner(entry(&[("cache-control", "max-age=2"), ("x-kept", "a")])).unwrap();
        bare.facts.has_validator = false;
        check_head_of(&bare, 200, &[("content-length", "3")], "confirmed");
        check_head_of(&bare, 200, &[("cache-control", "max-age=1000")], "confirmed");
        check_head(304, &[], "other");
    }

    #[test]
    fn s4_3_3_which_responses_replace_the_stored_one() {
        let check = |statuses: &[u16], expected: bool| {
            for status in statuses {
                assert_eq!(supersedes(StatusCode::from_u16(*status).unwrap()), expected, "{status}");
            }
        };
        check(&[200, 203, 204, 206, 226], true);
        check(&[300, 301, 302, 303, 307, 308], true);
        check(&[401, 403, 404, 410, 451], true);
        check(&[304], false);
        check(&[400, 402, 405, 406, 407, 408, 409, 411, 412, 413, 414, 415, 416, 417, 418], false);
        check(&[421, 422, 423, 424, 425, 426, 428, 429, 431, 499], false);
        check(&[500, 501, 502, 503, 504, 511, 599, 600, 999], false);
    }
}
