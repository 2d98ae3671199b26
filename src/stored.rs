//! What is stored: a flat head, the facts parsed from it, a body in one or more codings, and the variants of a key.
//!
//! Plain values only. Whether an [`StoredEntry`] may be used is decided in `policy`; where it lives, in `store`.
//! Nothing here holds a piece of a buffer that came off the wire: heads are copied into one exact-size run of bytes.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

use crate::clock::Timestamp;

mod shadow_fingerprint;
mod sharing_guard;

pub use shadow_fingerprint::{BodyComparison, FieldValue, ShadowFingerprint};
pub use sharing_guard::{CredentialValues, Credentials, DifferingCredentials, SharingGuard};

/// Names that take one byte in a [`FlatHead`]: the ones that responses carry, those that most of them carry first. Order
/// is the encoding; it lives in memory only, so it may change between versions.
static COMMON: [HeaderName; 36] = [
    header::DATE,
    header::CONTENT_TYPE,
    header::CACHE_CONTROL,
    header::SERVER,
    header::ETAG,
    header::LAST_MODIFIED,
    header::VARY,
    header::EXPIRES,
    header::CONTENT_ENCODING,
    header::ACCEPT_RANGES,
    header::SET_COOKIE,
    header::ACCESS_CONTROL_ALLOW_ORIGIN,
    header::LOCATION,
    header::VIA,
    header::STRICT_TRANSPORT_SECURITY,
    header::X_CONTENT_TYPE_OPTIONS,
    header::X_FRAME_OPTIONS,
    header::X_XSS_PROTECTION,
    header::CONTENT_SECURITY_POLICY,
    header::REFERRER_POLICY,
    header::LINK,
    header::AGE,
    header::ACCESS_CONTROL_ALLOW_CREDENTIALS,
    header::ACCESS_CONTROL_ALLOW_HEADERS,
    header::ACCESS_CONTROL_ALLOW_METHODS,
    header::ACCESS_CONTROL_EXPOSE_HEADERS,
    header::ACCESS_CONTROL_MAX_AGE,
    header::ALLOW,
    header::ALT_SVC,
    header::CACHE_STATUS,
    header::CDN_CACHE_CONTROL,
    header::CONTENT_DISPOSITION,
    header::CONTENT_LANGUAGE,
    header::CONTENT_LENGTH,
    header::CONTENT_LOCATION,
    header::PRAGMA,
];

/// Marks a name that is spelled out. A field is `tag, [name length u8, name,] value length u32 LE, value`.
const SPELLED: u8 = u8::MAX;

/// A response's fields as one exact-size run of bytes, in the order in which they came.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct FlatHead(Box<[u8]>);

impl FlatHead {
    /// Flattens `fields`. Names longer than 255 bytes are left out: no field that a cache must keep has one.
    pub fn from_fields<'a>(fields: impl IntoIterator<Item = (&'a HeaderName, &'a [u8])>) -> Self {
        thread_local! {
            /// A head is put together here, so that it asks for no memory but for its own.
            static RUN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        RUN.with_borrow_mut(|run| {
            run.clear();
            for (name, value) in fields {
                let spelled = name.as_str().as_bytes();
                // Standard names are compared by their number: going through all is quicker than a search by text.
                match COMMON.iter().position(|known| known == name) {
                    Some(at) => run.push(at as u8),
                    None if spelled.len() <= usize::from(u8::MAX) => {
                        run.extend_from_slice(&[SPELLED, spelled.len() as u8]);
                        run.extend_from_slice(spelled);
                    }
                    None => continue,
                }
                run.extend_from_slice(&(value.len() as u32).to_le_bytes());
                run.extend_from_slice(value);
            }
            Self(run.as_slice().into())
        })
    }

    /// Flattens every field of `map`.
    pub fn from_map(map: &HeaderMap) -> Self {
        Self::from_fields(map.iter().map(|(name, value)| (name, value.as_bytes())))
    }

    /// Returns the bytes that the head takes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is no field.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Iterates over the fields in order: name, value.
    pub fn iter(&self) -> impl Iterator<Item = (HeaderName, &[u8])> {
        HeadWalk { run: &self.0, at: 0 }.map(|(name, start, end)| (name.to_name(), &self.0[start..end]))
    }

    /// Returns the first value of `name`.
    pub fn get<'a>(&'a self, name: &HeaderName) -> Option<&'a [u8]> {
        let found = HeadWalk { run: &self.0, at: 0 }.find(|(found, ..)| found.is(name));
        found.map(|(_, start, end)| &self.0[start..end])
    }

    /// Iterates over every value of `name`, in order.
    pub fn get_all<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        HeadWalk { run: &self.0, at: 0 }
            .filter(move |(found, ..)| found.is(name))
            .map(|(_, start, end)| &self.0[start..end])
    }

    /// Appends every field for which `keep` holds to `map`.
    ///
    /// The run is copied once, and the values share that copy: cores that serve the same entry share nothing.
    pub fn append_to(&self, map: &mut HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
        let shared = Bytes::copy_from_slice(&self.0);
        for (name, start, end) in (HeadWalk { run: &self.0, at: 0 }) {
            let name = name.to_name();
            if keep(&name)
                && let Ok(value) = HeaderValue::from_maybe_shared(shared.slice(start..end))
            {
                map.append(name, value);
            }
        }
    }

    /// Makes a map of every field.
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(24);
        self.append_to(&mut map, |_| true);
        map
    }
}

impl fmt::Debug for FlatHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value).into_owned())))
            .finish()
    }
}

/// A name inside a run.
enum HeadName<'a> {
    Common(&'static HeaderName),
    Spelled(&'a [u8]),
}

impl HeadName<'_> {
    fn to_name(&self) -> HeaderName {
        match self {
            Self::Common(name) => (*name).clone(),
            Self::Spelled(bytes) => HeaderName::from_bytes(bytes).expect("was a field name when it was flattened"),
        }
    }

    fn is(&self, name: &HeaderName) -> bool {
        match self {
            Self::Common(own) => *own == name,
            Self::Spelled(bytes) => *bytes == name.as_str().as_bytes(),
        }
    }
}

/// Walks a run field by field: name, and where its value starts and ends.
struct HeadWalk<'a> {
    run: &'a [u8],
    at: usize,
}

impl<'a> Iterator for HeadWalk<'a> {
    type Item = (HeadName<'a>, usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = *self.run.get(self.at)?;
        self.at += 1;
        let name = if tag == SPELLED {
            let length = usize::from(self.run[self.at]);
            let spelled = &self.run[self.at + 1..][..length];
            self.at += 1 + length;
            HeadName::Spelled(spelled)
        } else {
            HeadName::Common(&COMMON[usize::from(tag)])
        };
        let length = self.run[self.at..][..4].try_into().map(u32::from_le_bytes).expect("four bytes were taken");
        let start = self.at + 4;
        self.at = start + length as usize;
        Some((name, start, self.at))
    }
}

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

/// A content coding in which Larder holds or serves a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Coding {
    /// As the origin sent it, whatever its own Content-Encoding says.
    Identity,
    /// zstd (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Brotli,
    /// gzip (RFC 1952).
    Gzip,
}

impl Coding {
    /// Returns the token of Content-Encoding.
    pub const fn token(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }
}

/// One representation's bytes in one coding.
#[derive(Clone, Debug)]
pub struct Rendition {
    /// The coding of `bytes`.
    pub coding: Coding,
    /// The whole body; its bytes are counted in the budget until the last reader drops them.
    pub bytes: Bytes,
}

/// What a stored body consists of.
#[derive(Clone, Debug, Default)]
pub struct StoredBody {
    /// The length as the origin sent it, in bytes.
    pub identity_bytes: u64,
    /// At least one, the stored form first.
    pub renditions: SmallVec<[Rendition; 1]>,
}

impl StoredBody {
    /// Makes a body of bytes as the origin sent them.
    pub fn identity(bytes: Bytes) -> Self {
        Self {
            identity_bytes: bytes.len() as u64,
            renditions: SmallVec::from_buf([Rendition { coding: Coding::Identity, bytes }]),
        }
    }

    /// Returns the bytes in `coding`, where they are held.
    pub fn get(&self, coding: Coding) -> Option<&Bytes> {
        self.renditions.iter().find(|held| held.coding == coding).map(|held| &held.bytes)
    }

    /// Returns the bytes that all renditions take.
    pub fn held_bytes(&self) -> usize {
        self.renditions.iter().map(|held| held.bytes.len()).sum()
    }
}

/// The request fields that a response was selected by, with the values they had (RFC 9111 §4.1), names in order.
/// A value is the field's lines joined and normalised by `policy::vary`; `None` where the request had none.
pub type Selecting = Box<[(HeaderName, Option<Box<[u8]>>)]>;

/// One stored response.
#[derive(Debug)]
pub struct StoredEntry {
    /// Its end-to-end fields, without Age and what Larder writes anew.
    pub head: FlatHead,
    /// What was parsed from them.
    pub facts: Facts,
    /// Its body.
    pub body: StoredBody,
    /// The request that selected it.
    pub selecting: Selecting,
    /// The tags that the origin named, exact.
    pub tags: Box<[Box<str>]>,
    /// The ledger's number before the origin was asked.
    pub sequence: u64,
    /// The ledger's number up to which this entry is known to be untouched.
    pub checked_through: AtomicU64,
    /// Whether it has been used since it was filled.
    pub was_used: AtomicBool,
    /// Who brought the body in, and whether others may have it; `None` where nobody need ask.
    pub guard: Option<Arc<SharingGuard>>,
    /// What it was brought in by, for comparisons; only what is kept in shadow mode has one.
    pub shadow_fingerprint: Option<Arc<ShadowFingerprint>>,
    /// What goes when the entry goes: the store hangs its account of the entry's own bytes here. Others leave it empty.
    pub reservation: OnceLock<Box<dyn Any + Send + Sync>>,
}

impl StoredEntry {
    /// Returns the bytes that this entry takes in the cap: its own, its head's and guard's, and its renditions'.
    pub fn bytes(&self) -> usize {
        let selecting: usize =
            self.selecting.iter().map(|(_, value)| 64 + value.as_ref().map_or(0, |value| value.len())).sum();
        let tags: usize = self.tags.iter().map(|tag| 16 + tag.len()).sum();
        let guard = self.guard.as_ref().map_or(0, |guard| 16 + guard.bytes());
        let shadow_fingerprint =
            self.shadow_fingerprint.as_ref().map_or(0, |shadow_fingerprint| shadow_fingerprint.bytes());
        size_of::<Self>()
            + 16
            + self.head.len()
            + self.body.held_bytes()
            + selecting
            + tags
            + guard
            + shadow_fingerprint
    }

    /// Makes an entry of a response that was asked for when the ledger stood at `sequence`.
    pub fn new(
        head: FlatHead,
        facts: Facts,
        body: StoredBody,
        selecting: Selecting,
        tags: Box<[Box<str>]>,
        sequence: u64,
    ) -> Self {
        let checked = AtomicU64::new(sequence);
        Self {
            head,
            facts,
            body,
            selecting,
            tags,
            sequence,
            checked_through: checked,
            was_used: AtomicBool::new(false),
            guard: None,
            shadow_fingerprint: None,
            reservation: OnceLock::new(),
        }
    }

    /// Makes the same entry as it stands after the origin confirmed it, asked when the ledger stood at `sequence`.
    pub fn with_confirmation(&self, head: FlatHead, facts: Facts, sequence: u64) -> Self {
        let used = AtomicBool::new(self.was_used.load(Ordering::Relaxed));
        let (body, selecting, tags) = (self.body.clone(), self.selecting.clone(), self.tags.clone());
        // What permits sharing now needs no guard any more.
        let guard = self.guard.clone().filter(|_| !facts.permits_sharing);
        let shadow_fingerprint = self.shadow_fingerprint.clone();
        Self { was_used: used, guard, shadow_fingerprint, ..Self::new(head, facts, body, selecting, tags, sequence) }
    }

    /// Tells whether both are one response, be its body held in other codings by now.
    pub fn is_same_response(&self, other: &Self) -> bool {
        self.sequence == other.sequence
            && self.facts.received_at == other.facts.received_at
            && self.selecting == other.selecting
    }

    /// Makes the same entry with another body (a rendition more, or the stored form changed).
    pub fn with_body(&self, body: StoredBody) -> Self {
        Self {
            head: self.head.clone(),
            facts: self.facts.clone(),
            body,
            selecting: self.selecting.clone(),
            tags: self.tags.clone(),
            sequence: self.sequence,
            checked_through: AtomicU64::new(self.checked_through.load(Ordering::Relaxed)),
            was_used: AtomicBool::new(self.was_used.load(Ordering::Relaxed)),
            guard: self.guard.clone(),
            shadow_fingerprint: self.shadow_fingerprint.clone(),
            reservation: OnceLock::new(),
        }
    }
}

/// Everything stored under one key.
#[derive(Clone, Debug)]
pub struct Variants {
    /// The whole key, compared on lookup: a collision of hashes is a miss.
    pub key: Box<str>,
    /// The stored responses, the newest first.
    pub entries: SmallVec<[Arc<StoredEntry>; 1]>,
}

impl Variants {
    /// Returns the bytes that the key and all its entries take in the cap.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + 16 + self.key.len() + self.entries.iter().map(|entry| entry.bytes()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_names_are_distinct() {
        for (at, name) in COMMON.iter().enumerate() {
            assert!(!COMMON[..at].contains(name), "{name}");
        }
    }

    #[test]
    fn a_flat_head_gives_back_what_it_was_made_of() {
        let mut map = HeaderMap::new();
        map.append("content-type", HeaderValue::from_static("text/html"));
        map.append("x-own", HeaderValue::from_bytes(b"caf\xe9").unwrap());
        map.append("set-cookie", HeaderValue::from_static("a=1"));
        map.append("set-cookie", HeaderValue::from_static("b=2"));
        let flat = FlatHead::from_map(&map);
        assert_eq!(flat.to_map(), map);
        assert_eq!(flat.get(&HeaderName::from_static("x-own")), Some(&b"caf\xe9"[..]));
        assert_eq!(flat.get_all(&header::SET_COOKIE).count(), 2);
        assert_eq!(flat.get(&header::AGE), None);
        assert_eq!(FlatHead::default().to_map().len(), 0);
    }
}
