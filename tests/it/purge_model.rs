//! Random requests, purges of all kinds, waits, writes and reloads against a model of a few lines:
//! no purged response is ever served as valid, and, since everything fits, no other response is
//! ever missed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use serde_json::json;

use crate::harness::{Cache, Origin, Reply};

/// The URLs, each with its Surrogate-Key and its Cache-Groups.
const URLS: [(&str, &str, &str); 7] = [
    ("/", "a", ""),
    ("/shop", "a ab", ""),
    ("/shop/", "", "a"),
    ("/shop/x?q=/", "ab", "ab"),
    ("/shopping", "", ""),
    ("/b/shop/", "a", "a"),
    ("/b/c/", "", ""),
];

const HOSTS: [&str; 2] = ["example.org", "example.net:8080"];

/// How long a response is fresh, in seconds. After a soft purge, a response is served stale for
/// [`SOFT_MAX`] seconds.
const FRESH: u64 = 10_000;
const SOFT_MAX: u64 = 60;

/// A step of a test.
#[derive(Clone, Debug)]
enum ModelStep {
    Get(usize, usize),
    Purge(Covers, &'static str),
    /// An unsafe request, whose response invalidates this group.
    Write(usize, usize, &'static str),
    Wait(u64),
    /// A reload of a valid or a broken configuration. Neither changes anything about what is
    /// stored.
    Reload(bool),
}

/// The selector of a purge.
#[derive(Clone, Debug)]
enum Covers {
    Url(usize, usize),
    Prefix(usize, &'static str),
    Host(usize),
    Tag(&'static str),
    All,
}

impl Covers {
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Url(host, url) => json!({ "url": format!("http://{}{}", HOSTS[*host], URLS[*url].0) }),
            Self::Prefix(host, prefix) => json!({ "prefix": format!("http://{}{prefix}", HOSTS[*host]) }),
            Self::Host(host) => json!({ "host": HOSTS[*host] }),
            Self::Tag(tag) => json!({ "tag": tag }),
            Self::All => json!({ "all": true }),
        }
    }

    fn covers(&self, host: usize, url: usize) -> bool {
        let (target, key, groups) = URLS[url];
        let path = target.split('?').next().unwrap();
        match self {
            Self::Url(own, other) => (*own, *other) == (host, url),
            Self::Prefix(own, prefix) => {
                *own == host && (path.starts_with(&format!("{}/", prefix.trim_end_matches('/'))) || path == *prefix)
            }
            Self::Host(own) => *own == host,
            Self::Tag(tag) => key.split(' ').any(|own| own == *tag) || groups == *tag,
            Self::All => true,
        }
    }
}

/// The model's state of a stored response, with the version of its body.
#[derive(Clone, Copy, Debug, PartialEq)]
enum ModelState {
    Good(u64),
    /// Purged softly, at this time.
    Soft(u64, u64),
    /// To be validated.
    Doubtful(u64),
}

/// The model: the state of each host and URL, and the time.
#[derive(Default)]
struct Model {
    held: HashMap<(usize, usize), ModelState>,
    now: u64,
}

impl Model {
    fn purge(&mut self, kind: &str, covers: impl Fn(usize, usize) -> bool) {
        let now = self.now;
        self.held.retain(|&(host, url), held| {
            if !covers(host, url) {
                return true;
            }
            *held = match (kind, *held) {
                ("hard", _) => return false,
                ("soft", ModelState::Good(version)) => ModelState::Soft(version, now),
                ("soft", held) => held,
                (_, ModelState::Good(version) | ModelState::Soft(version, _) | ModelState::Doubtful(version)) => {
                    ModelState::Doubtful(version)
                }
            };
            true
        });
    }

    /// Returns the state now: a soft purge ends after [`SOFT_MAX`].
    fn at(&self, place: (usize, usize)) -> Option<ModelState> {
        match self.held.get(&place).copied() {
            Some(ModelState::Soft(version, at)) if self.now - at >= SOFT_MAX => Some(ModelState::Doubtful(version)),
            held => held,
        }
    }
}

fn step() -> impl Strategy<Value = ModelStep> {
    let (host, url) = (0..HOSTS.len(), 0..URLS.len());
    let covers = prop_oneof![
        (host.clone(), url.clone()).prop_map(|(host, url)| Covers::Url(host, url)),
        (host.clone(), prop::sample::select(vec!["/", "/shop", "/shop/", "/b/", "/b", "/none/"]))
            .prop_map(|(host, prefix)| Covers::Prefix(host, prefix)),
        host.clone().prop_map(Covers::Host),
        prop::sample::select(vec!["a", "ab", "b"]).prop_map(Covers::Tag),
        Just(Covers::All),
    ];
    prop_oneof![
        6 => (host.clone(), url.clone()).prop_map(|(host, url)| ModelStep::Get(host, url)),
        2 => (covers, prop::sample::select(vec!["hard", "validate", "soft"])).prop_map(|(covers, kind)| ModelStep::Purge(covers, kind)),
        1 => (host, url, prop::sample::select(vec!["a", "ab", "b"])).prop_map(|(host, url, group)| ModelStep::Write(host, url, group)),
        1 => (1..50_u64).prop_map(ModelStep::Wait),
        1 => any::<bool>().prop_map(ModelStep::Reload),
    ]
}

/// Starts an origin that answers every request with a new version of the body, and confirms every
/// validator.
fn origin() -> (Origin, Arc<AtomicU64>) {
    let versions = Arc::<AtomicU64>::default();
    let counter = Arc::clone(&versions);
    let origin = Origin::start(move |request| {
        if request.method() == "POST" {
            let group = request.header("x-group").unwrap_or_default();
            return Reply::ok().header("Cache-Group-Invalidation", &format!("\"{group}\""));
        }
        let control = format!("max-age={FRESH}");
        if request.header("if-none-match").is_some() {
            return Reply::not_modified().header("Cache-Control", &control);
        }
        let version = counter.fetch_add(1, Ordering::SeqCst) + 1;
        let target = request.target();
        let (_, key, groups) = URLS.into_iter().find(|(own, ..)| *own == target).unwrap_or_default();
        let mut reply = Reply::ok().header("Cache-Control", &control).header("ETag", &format!("\"{version}\""));
        if !key.is_empty() {
            reply = reply.header("Surrogate-Key", key);
        }
        if !groups.is_empty() {
            reply = reply.header("Cache-Groups", &format!("\"{groups}\""));
        }
        reply.body(version.to_string())
    });
    (origin, versions)
}

fn run(steps: &[ModelStep]) {
    let (origin, versions) = origin();
    let cache = Cache::with(&origin, |setup| setup.config.store.soft_max = std::time::Duration::from_secs(SOFT_MAX));
    let mut model = Model::default();
    for (at, step) in steps.iter().enumerate() {
        match step {
            ModelStep::Get(host, url) => {
                let response = cache.client().host(HOSTS[*host]).get(URLS[*url].0);
                cache.settle();
                let newest = versions.load(Ordering::SeqCst);
                let found = (response.text().parse::<u64>().unwrap(), response.cache_status());
                let place = (*host, *url);
                let (version, how, next) = match model.at(place) {
                    Some(ModelState::Good(version)) => (version, "; hit", version),
                    // The origin confirms the refresh.
                    Some(ModelState::Soft(version, _)) => (version, "stale-while-revalidate", version),
                    Some(ModelState::Doubtful(version)) => (version, "fwd-status=304", version),
                    None => (newest, "fwd-status=200", newest),
                };
                assert!(
                    found.0 == version && found.1.contains(how),
                    "step {at}: {found:?}, not {version} by {how}: {steps:?}"
                );
                model.held.insert(place, ModelState::Good(next));
            }
            ModelStep::Purge(covers, kind) => {
                let mut purge = covers.json();
                purge["kind"] = json!(kind);
                let purged = cache.purge(&purge.to_string());
                assert_eq!(purged.status(), 200, "{}", purged.text());
                model.purge(kind, |host, url| covers.covers(host, url));
            }
            ModelStep::Write(host, url, group) => {
                cache.client().host(HOSTS[*host]).exchange("POST", URLS[*url].0, &[("X-Group", group)], b"x");
                model.purge("validate", |own, other| own == *host && (other == *url || URLS[other].2 == *group));
            }
            ModelStep::Reload(in_order) => cache.reload(*in_order),
            ModelStep::Wait(seconds) => {
                cache.step(*seconds);
                model.now += seconds;
            }
        }
    }
}

proptest! {
    // Each case is a cache of its own over real sockets, which makes cases slow.
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_purged_response_is_served_and_no_other_is_missed(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps);
    }
}
