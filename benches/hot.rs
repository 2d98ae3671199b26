//! Microbenchmarks of the hot path: each step of a hit, in order, and the decisions about a
//! response at a miss.
//!
//! Run `cargo bench --bench hot`, or `cargo bench --bench hot -- lookup` for one of them.
//! `benches/compare/` measures the cost of a whole request, system calls included.

#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version};

use larder::clock::{Clock, Timestamp};
use larder::key::{CanonicalUrl, Key, KeyHasher, Scheme};
use larder::outcome::{Decision, Outcome, Reason};
use larder::policy::{self, Exchange, RequestFacts, Reuse, Storable, fields, freshness, reuse, storable, vary};
use larder::respond::head::{self, Negotiation, OwnFields, ResponseForm};
use larder::route::{QueryRule, Rule, SetCookie};
use larder::store::{Config, Store};
use larder::stored::{Coding, FlatHead, StoredBody, StoredEntry};

/// The binary's own allocator, so that allocations cost the same here.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const NOW: Timestamp = Timestamp::from_secs(1_790_000_000);
const AUTHORITY: &str = "www.example.org";
/// As many keys as the comparison's Zipf case has: far more than the processor's nearest cache
/// holds.
const KEYS: usize = 10_000;
const BODY_BYTES: usize = 1024;

/// A browser's request.
fn request() -> HeaderMap {
    map(&[
        ("host", AUTHORITY),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("accept-language", "en-GB,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("connection", "keep-alive"),
    ])
}

/// A web app's response.
fn response() -> HeaderMap {
    map(&[
        ("date", "Mon, 21 Sep 2026 14:13:20 GMT"),
        ("content-type", "text/html; charset=utf-8"),
        ("content-length", "1024"),
        ("cache-control", "public, max-age=300, stale-while-revalidate=60"),
        ("etag", "\"5f3c-61a8d0c1b2e40\""),
        ("last-modified", "Mon, 21 Sep 2026 12:00:00 GMT"),
        ("vary", "Accept-Language"),
        ("x-request-id", "0f8e4c1a-77b5-4d0e-9b1d-6c2f5a3e9d10"),
        ("x-content-type-options", "nosniff"),
        ("strict-transport-security", "max-age=31536000"),
    ])
}

fn map(given: &[(&'static str, &'static str)]) -> HeaderMap {
    given.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

fn target(number: usize) -> String {
    format!("/products/{number}/reviews?page=2&sort=newest")
}

fn key_of(hasher: &KeyHasher, rule: &Rule, target: &str, request: &HeaderMap) -> Key {
    rule.key_of(hasher, CanonicalUrl::new(Scheme::Http, AUTHORITY, target).unwrap(), request)
}

/// Canonicalisation and hash: of a canonical target, and of one that must be rewritten.
fn key(c: &mut Criterion) {
    let (hasher, request) = (KeyHasher::new(), request());
    let as_it_comes = Rule::default();
    let reduced = Rule {
        query: QueryRule::Drop(["utm_*".into()].into()),
        key_headers: [header::ACCEPT_LANGUAGE].into(),
        ..Rule::default()
    };
    let mut group = c.benchmark_group("key");
    for (name, rule, target) in [
        ("canonical as it comes", &as_it_comes, "/products/4711/reviews?page=2&sort=newest"),
        ("rewritten", &as_it_comes, "/a/../products/%34711/./reviews%2f?q=\u{e9}t\u{e9}"),
        ("query reduced, field added", &reduced, "/products/4711/reviews?page=2&utm_source=mail&utm_medium=x"),
    ] {
        group.bench_function(name, |b| b.iter(|| key_of(&hasher, rule, black_box(target), &request)));
    }
    group.finish();
}

/// Makes a stored response from the app's response, as a fill does.
fn entry(store: &Store, request: &HeaderMap, rule: &Rule) -> StoredEntry {
    let (asked, mut kept) = (RequestFacts::of(&Method::GET, request), response());
    let exchange = Exchange { method: &Method::GET, request: &asked, requested_at: NOW, received_at: NOW, rule };
    let Storable::Yes(facts) = storable::storable(&exchange, StatusCode::OK, &kept, false) else {
        panic!("the app's answer is storable")
    };
    fields::strip_for_storage(&mut kept, SetCookie::Obey);
    let body = store.reserve(BODY_BYTES as u64).unwrap().into_body(vec![b'x'; BODY_BYTES].into());
    let selecting = vary::selecting(&[header::ACCEPT_LANGUAGE], request);
    StoredEntry::new(
        FlatHead::from_map(&kept),
        facts,
        StoredBody::identity(body),
        selecting,
        Box::default(),
        store.sequence(),
    )
}

fn filled(keys: &[Key], request: &HeaderMap, rule: &Rule) -> Store {
    let config = Config {
        capacity: 256 << 20,
        variants_max: 16,
        tags_max: 128,
        ledger_max: 10_000,
        keep: Duration::from_secs(86_400),
        soft_max: Duration::from_secs(60),
    };
    let store = Store::new(config, Clock::stepped(NOW));
    for key in keys {
        store.put(key, entry(&store, request, rule)).unwrap();
    }
    store
}

/// From a key to the decision that the stored response answers: the map, Vary, the ledger,
/// freshness.
fn lookup(c: &mut Criterion) {
    let (hasher, request, rule) = (KeyHasher::new(), request(), Rule::default());
    let keys: Vec<Key> = (0..KEYS).map(|number| key_of(&hasher, &rule, &target(number), &request)).collect();
    let store = filled(&keys, &request, &rule);
    let asked = RequestFacts::of(&Method::GET, &request);
    let look_up = |key: &Key| {
        let found = store.get(key).unwrap();
        let entry = vary::select(&found.entries, &request).unwrap();
        let standing = store.purge_state(key, entry, NOW);
        reuse::reuse(&asked, &entry.facts, standing, NOW, &rule)
    };
    assert_eq!(look_up(&keys[0]), Reuse::Fresh);

    let mut group = c.benchmark_group("lookup");
    group.bench_function("one key", |b| b.iter(|| look_up(black_box(&keys[0]))));
    group.bench_function("10,000 keys in turn", |b| {
        // The stride is coprime to the number of keys, so that it visits every key and never
        // neighbours in sequence.
        let mut at = 0;
        b.iter(|| {
            at = (at + 3_571) % KEYS;
            look_up(&keys[at])
        });
    });
    let absent = key_of(&hasher, &rule, "/nothing/here", &request);
    group.bench_function("nothing stored", |b| b.iter(|| store.get(black_box(&absent)).is_none()));
    group.finish();
}

/// The pure decisions: on the request's head, and on a response's.
fn judgement(c: &mut Criterion) {
    let (request, response, rule) = (request(), response(), Rule::default());
    let asked = RequestFacts::of(&Method::GET, &request);
    let exchange = Exchange { method: &Method::GET, request: &asked, requested_at: NOW, received_at: NOW, rule: &rule };
    let mut group = c.benchmark_group("policy");
    group.bench_function("classify a request", |b| {
        b.iter(|| policy::request::classify(&Method::GET, Version::HTTP_11, black_box(&request), false, &rule, &[]));
    });
    group.bench_function("storable", |b| {
        b.iter(|| storable::storable(&exchange, StatusCode::OK, black_box(&response), false));
    });
    group.finish();
}

/// The head of a hit: Cache-Status, and the stored fields with Larder's own.
fn response_head(c: &mut Criterion) {
    let (hasher, request, rule) = (KeyHasher::new(), request(), Rule::default());
    let key = key_of(&hasher, &rule, &target(0), &request);
    let store = filled(std::slice::from_ref(&key), &request, &rule);
    let found = store.get(&key).unwrap();
    let entry = &found.entries[0];
    let later = NOW + Duration::from_secs(17);
    let decision = Decision {
        ttl: Some(freshness::ttl(&entry.facts, later)),
        key_hash: Some(key.hash()),
        ..Decision::new(Outcome::Hit, Reason::Fresh)
    };
    let make = |form: &ResponseForm| {
        let own = OwnFields {
            age: Some(freshness::current_age(&entry.facts, later)),
            cache_status: head::cache_status(black_box(&decision), None),
            negotiation: Negotiation::AcceptEncoding,
            content_length: None,
        };
        head::stored_head(&entry.head, form, own)
    };
    let mut group = c.benchmark_group("head");
    group.bench_function("hit", |b| b.iter(|| make(&ResponseForm::Whole(Coding::Identity))));
    group.bench_function("hit, zstd", |b| b.iter(|| make(&ResponseForm::Whole(Coding::Zstd))));
    group.bench_function("304", |b| b.iter(|| make(&ResponseForm::NotModified(Coding::Identity))));
    group.finish();
}

criterion_group!(hot, key, lookup, judgement, response_head);
criterion_main!(hot);
