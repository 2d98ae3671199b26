//! Tests of the store as a whole. Tests of its parts are beside the parts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, StatusCode, header};
use smallvec::SmallVec;

use super::memory::WalkItem;
use super::*;
use crate::clock::{Clock, Timestamp};
use crate::key::Key;
use crate::outcome::Reason;
use crate::policy::{PurgeState, freshness};
use crate::stored::{
    Coding, Facts, FlatHead, LifetimeSource, Rendition, Selecting, StaleUse, StoredBody, StoredEntry, StoredResponse,
    Variants,
};

const MIB: u64 = 1 << 20;
const START: Timestamp = Timestamp::from_secs(1_000_000);

/// Makes an entry without a body, requested at `sequence`.
pub(super) fn entry(sequence: u64, tags: &[&str]) -> StoredEntry {
    StoredResponse {
        head: FlatHead::from_fields([(&header::CONTENT_TYPE, &b"text/plain"[..])]),
        facts: Facts {
            status: StatusCode::OK,
            received_at: START,
            initial_age: Duration::ZERO,
            lifetime: Duration::from_secs(60),
            lifetime_source: LifetimeSource::MaxAge,
            no_cache: false,
            stale: StaleUse::Forbidden,
            has_validator: true,
            no_transform: false,
            immutable: false,
            permits_sharing: false,
            has_s_maxage: false,
        },
        body: StoredBody::identity(Bytes::new()),
        selecting: Selecting::default(),
        tags: tags.iter().map(|tag| Box::from(*tag)).collect(),
        sequence,
    }
    .into()
}

fn store(capacity: u64) -> Store {
    let config = Config {
        capacity,
        variants_max: 3,
        tags_max: 2,
        ledger_max: 100,
        keep: Duration::from_secs(600),
        soft_max: Duration::from_secs(30),
    };
    Store::new(config, Clock::stepped(START))
}

/// Makes the key of a URL, with a hash as uniform as a real one.
fn key(text: &str) -> Key {
    Key::for_tests(text, xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}

fn numbered(n: u64) -> Key {
    key(&format!("http://h/{n}"))
}

/// Makes an entry of `body_bytes` with the reservation of a fetch; `None` where the budget refuses.
fn filled(store: &Store, body_bytes: usize) -> Option<StoredEntry> {
    let reserved = store.reserve(body_bytes as u64)?;
    let body = StoredBody::identity(reserved.into_body(vec![1; body_bytes].into()));
    let mut entry = entry(store.sequence(), &[]);
    entry.body = body;
    Some(entry)
}

fn put(store: &Store, key: &Key, body_bytes: usize) -> Result<Arc<StoredEntry>, Reason> {
    store.put(key, filled(store, body_bytes).ok_or(Reason::Budget)?)
}

fn selected_by(language: Option<&str>) -> Selecting {
    [(header::ACCEPT_LANGUAGE, language.map(|value| value.as_bytes().into()))].into()
}

/// Waits until no byte is alive. moka frees removed values once all threads of the process have
/// moved on.
fn assert_all_is_given_back(budget: &Budget) {
    for _ in 0..1_000_000 {
        if budget.alive() == 0 {
            return;
        }
        memory::MemoryMap::new(1).drain();
        thread::yield_now();
    }
    assert_eq!(budget.alive(), 0);
}

#[test]
fn a_stored_response_is_found_until_it_is_removed() {
    let store = store(MIB);
    assert!(store.get(&key("http://h/a")).is_none());
    let stored = put(&store, &key("http://h/a"), 100).unwrap();
    let found = store.get(&key("http://h/a")).unwrap();
    assert!(Arc::ptr_eq(&found.entries[0], &stored));
    assert_eq!(&*found.key, "http://h/a");
    let stats = store.stats();
    assert_eq!((stats.keys, stats.raw_bytes, stats.held_bytes), (1, 100, 100));
    assert_eq!(stats.stored_bytes, (found.bytes() + memory::MAP_ENTRY_BYTES) as u64);
    assert!(stats.alive_bytes >= stats.stored_bytes);
    store.remove(&key("http://h/a"));
    assert!(store.get(&key("http://h/a")).is_none());
    let stats = store.stats();
    assert_eq!((stats.keys, stats.stored_bytes, stats.raw_bytes), (0, 0, 0));
    drop((stored, found));
    let budget = Arc::clone(store.budget());
    drop(store);
    assert_all_is_given_back(&budget);
}

#[test]
fn a_collision_is_a_miss_and_a_put_replaces_it() {
    let store = store(MIB);
    let (one, other) = (Key::for_tests("http://h/one", 7), Key::for_tests("http://h/other", 7));
    put(&store, &one, 1).unwrap();
    assert!(store.get(&other).is_none());
    store.change(&other, |_| panic!("another key's variants must not be changed"));
    store.remove(&other);
    assert!(store.get(&one).is_some());
    assert_eq!(store.stats().collisions, 1);
    put(&store, &other, 1).unwrap();
    assert!(store.get(&one).is_none());
    assert_eq!(store.get(&other).unwrap().entries.len(), 1);
    assert_eq!(store.stats().keys, 1);
}

#[test]
fn s4_1_variants_stand_newest_first_and_the_same_selection_is_replaced() {
    let store = store(MIB);
    let put = |language| {
        let mut entry = filled(&store, 10).unwrap();
        entry.selecting = selected_by(language);
        store.put(&key("http://h/"), entry).unwrap()
    };
    let languages = || -> Vec<Option<String>> {
        let value =
            |entry: &Arc<StoredEntry>| entry.selecting[0].1.as_deref().map(|v| String::from_utf8_lossy(v).into());
        store.get(&key("http://h/")).unwrap().entries.iter().map(value).collect()
    };
    let is = |wanted: &[Option<&str>]| {
        let wanted: Vec<_> = wanted.iter().map(|language| language.map(str::to_owned)).collect();
        assert_eq!(languages(), wanted);
    };
    put(Some("de"));
    put(None);
    is(&[None, Some("de")]);
    put(Some("de"));
    is(&[Some("de"), None]);
    assert_eq!(store.stats().replaced, 1);
    put(Some("en"));
    put(Some("fr"));
    // At most three: the oldest was dropped.
    is(&[Some("fr"), Some("en"), Some("de")]);
    assert_eq!((store.stats().replaced, store.stats().keys, store.stats().raw_bytes), (2, 1, 30));
}

#[test]
fn a_refusal_says_why() {
    let store = store(MIB);
    let check = |entry: StoredEntry, wanted: Option<Reason>| {
        assert_eq!(store.put(&key("http://h/x"), entry).err(), wanted);
        assert_eq!(store.get(&key("http://h/x")).is_some(), wanted.is_none());
        store.remove(&key("http://h/x"));
    };
    check(entry(0, &["a", "b", "c"]), Some(Reason::TooManyTags));
    check(entry(0, &["a", "b"]), None);
    let object_max = store.budget().object_max() as usize;
    check(filled(&store, object_max).unwrap(), Some(Reason::Budget));
    assert_eq!(store.stats().refused, 1);
    check(filled(&store, object_max - 4096).unwrap(), None);
    store.purge(Selector::Url("http://h/x".into()), PurgeKind::Validate);
    check(entry(0, &[]), Some(Reason::InvalidatedMeanwhile));
    check(entry(1, &[]), None);
    // A softly purged response may be used like the one already stored.
    store.purge(Selector::All, PurgeKind::Soft);
    check(entry(1, &[]), None);
    // The given `checked_through` counts for nothing.
    store.purge(Selector::All, PurgeKind::Hard);
    check(StoredEntry { checked_through: 3.into(), ..entry(2, &[]) }, Some(Reason::InvalidatedMeanwhile));
    let all = store.reserve(store.budget().capacity() - store.budget().alive()).unwrap();
    check(entry(3, &[]), Some(Reason::Budget));
    drop(all);
    check(entry(3, &[]), None);
}

#[test]
fn a_change_starts_from_the_stored_variants_and_is_counted() {
    let store = store(MIB);
    let key = key("http://h/");
    let stored = put(&store, &key, 100).unwrap();
    let before = store.budget().alive();
    let more = store.reserve(50).unwrap().into_body(vec![2; 50].into());
    store.change(&key, |variants| {
        let mut body = variants.entries[0].body.clone();
        body.renditions.push(Rendition { coding: Coding::Gzip, bytes: more });
        let mut changed = variants.clone();
        changed.entries[0] = Arc::new(variants.entries[0].with_body(body));
        Some(changed)
    });
    let changed = Arc::clone(&store.get(&key).unwrap().entries[0]);
    assert!(!Arc::ptr_eq(&changed, &stored));
    assert_eq!((store.stats().raw_bytes, store.stats().held_bytes), (100, 150));
    // Both entries are alive, each with its own bytes; the body is shared.
    assert!(store.budget().alive() > before + 50 + changed.head.len() as u64);
    assert!(changed.reservation.get().is_some());
    assert_eq!(store.purge_state(&key, &changed, START), PurgeState::Good);

    let rest = store.reserve(store.budget().capacity() - store.budget().alive()).unwrap();
    store.change(&key, |variants| {
        Some(Variants { entries: [Arc::new(entry(0, &[]))].into_iter().collect(), ..variants.clone() })
    });
    assert!(Arc::ptr_eq(&store.get(&key).unwrap().entries[0], &changed), "no room: nothing changes");
    drop(rest);
    store.change(&key, |variants| Some(Variants { entries: SmallVec::new(), ..variants.clone() }));
    assert!(store.get(&key).is_none());
    store.change(&key, |_| panic!("nothing is stored"));
}

#[test]
fn the_sweep_frees_what_is_past_its_keep_time_and_not_a_moment_early() {
    let store = store(MIB);
    let put = |url: &str, has_validator, stale| {
        let mut entry = entry(0, &[]);
        (entry.facts.has_validator, entry.facts.stale) = (has_validator, stale);
        store.put(&key(url), entry).unwrap();
    };
    let windows = StaleUse::Within {
        while_revalidate: Duration::from_secs(10),
        if_unreachable: Duration::from_secs(40),
        if_error_status: Duration::ZERO,
    };
    // Fresh for 60 s each. Only a validator is worth keeping for 600 s more.
    put("http://h/bare", false, StaleUse::Forbidden);
    put("http://h/stale", false, windows);
    put("http://h/validator", true, StaleUse::Forbidden);
    put("http://h/both", true, windows);
    let keys_after = |span| {
        store.clock.step(Duration::from_secs(span));
        store.sweep();
        store.stats().keys
    };
    let is_stored = |name: &str| store.get(&key(&format!("http://h/{name}"))).is_some();
    // The sweep may be 10 s late.
    assert_eq!(keys_after(59), 4);
    assert_eq!(keys_after(11), 3);
    assert!(!is_stored("bare"));
    assert_eq!(keys_after(29), 3);
    assert_eq!(keys_after(11), 2);
    assert!(!is_stored("stale"));
    assert_eq!(keys_after(549), 2);
    assert_eq!(keys_after(11), 0);
    assert_eq!((store.stats().evicted_by_age, store.stats().evicted_by_purge), (4, 0));
}

#[test]
fn an_entry_is_kept_to_the_last_moment_in_which_policy_would_serve_it() {
    let windows = StaleUse::Within {
        while_revalidate: Duration::from_millis(3),
        if_unreachable: Duration::from_millis(5),
        if_error_status: Duration::from_millis(4),
    };
    let facts = Facts { lifetime: Duration::from_millis(10), has_validator: false, ..entry(0, &[]).facts.clone() };
    for stale in [StaleUse::Forbidden, windows] {
        for age in [0, 4, 12] {
            let facts = Facts { initial_age: Duration::from_millis(age), stale, ..facts.clone() };
            for millis in 0..16 {
                let now = START + Duration::from_millis(millis);
                let may_be_served =
                    freshness::is_fresh(&facts, now) || freshness::staleness(&facts, now) < stale.longest_window();
                assert_eq!(now < facts.kept_until(Duration::ZERO), may_be_served, "{facts:?} {millis}");
            }
        }
    }
}

#[test]
fn the_sweep_leaves_no_empty_slot_however_many_it_frees() {
    for count in [3, sweep::EMPTIED_MAX as u64 + 100] {
        let store = store(64 * MIB);
        for at in 0..count {
            put(&store, &numbered(at), 10).unwrap();
        }
        store.memory.drain();
        store.purge(Selector::All, PurgeKind::Hard);
        put(&store, &numbered(count), 10).unwrap();
        store.sweep();
        let stats = store.stats();
        assert_eq!((stats.keys, stats.raw_bytes, stats.evicted_by_purge), (1, 10, count));
        assert_eq!((store.memory.iter().count(), store.memory.empty_slots().count()), (1, 0));
        put(&store, &numbered(0), 10).unwrap();
        assert!(store.get(&numbered(0)).is_some() && store.get(&numbered(1)).is_none());
    }
}

#[test]
fn the_sweep_frees_what_was_purged_and_keeps_what_can_be_validated() {
    let store = store(MIB);
    let mut unvalidated = entry(0, &["validate"]);
    unvalidated.facts.has_validator = false;
    store.put(&key("http://h/gone"), entry(0, &["hard"])).unwrap();
    store.put(&key("http://h/kept"), entry(0, &["validate"])).unwrap();
    store.put(&key("http://h/useless"), unvalidated).unwrap();
    store.put(&key("http://h/soft"), entry(0, &["soft"])).unwrap();
    store.put(&key("http://h/good"), entry(0, &[])).unwrap();
    store.purge(Selector::Tag("hard".into()), PurgeKind::Hard);
    store.purge(Selector::Tag("validate".into()), PurgeKind::Validate);
    store.purge(Selector::Tag("soft".into()), PurgeKind::Soft);
    store.sweep();
    let purge_state = |name: &str| {
        let key = key(&format!("http://h/{name}"));
        let found = store.get(&key)?;
        Some(store.purge_state(&key, &found.entries[0], store.clock.now()))
    };
    assert_eq!(purge_state("gone"), None);
    assert_eq!(purge_state("kept"), Some(PurgeState::Invalid));
    assert_eq!(purge_state("useless"), None);
    assert_eq!(purge_state("soft"), Some(PurgeState::Soft));
    assert_eq!(purge_state("good"), Some(PurgeState::Good));
    assert_eq!(store.stats().evicted_by_purge, 2);
    assert_eq!(store.stats().ledger_records, 3);

    // The records are retired once the fetches of that time have ended; the marks stay.
    store.clock.step(Duration::from_secs(300));
    store.sweep();
    store.sweep();
    assert_eq!(store.stats().ledger_records, 0);
    assert_eq!(purge_state("kept"), Some(PurgeState::Invalid));
    assert_eq!(purge_state("soft"), Some(PurgeState::Invalid), "a soft purge ends as a validating one");
    assert_eq!(purge_state("good"), Some(PurgeState::Good));
    // A rendition made from an invalid entry is invalid.
    let kept = key("http://h/kept");
    store.change(&kept, |variants| {
        let again = variants.entries[0].with_body(variants.entries[0].body.clone());
        Some(Variants { entries: [Arc::new(again)].into_iter().collect(), ..variants.clone() })
    });
    assert_eq!(purge_state("kept"), Some(PurgeState::Invalid));
    // A response confirmed since is good. One requested before the retired records is not trusted.
    let renewed = |sequence| {
        let new = Arc::new(entry(sequence, &[]));
        store.change(&kept, |old| Some(Variants { entries: [new].into_iter().collect(), ..old.clone() }));
        purge_state("kept")
    };
    assert_eq!(renewed(3), Some(PurgeState::Good));
    assert_eq!(renewed(2), Some(PurgeState::Invalid));
    assert_eq!(store.put(&kept, entry(2, &[])).err(), Some(Reason::InvalidatedMeanwhile));
    assert!(store.put(&kept, entry(3, &[])).is_ok());
}

/// Stores bodies of the given sizes one after another, and returns how many were refused.
fn churn(store: &Store, sizes: impl Iterator<Item = usize>) -> usize {
    let mut refused = 0;
    for (n, body_bytes) in sizes.enumerate() {
        refused += usize::from(put(store, &numbered(n as u64), body_bytes).is_err());
        assert!(store.budget().alive() <= store.budget().capacity());
        // Reads too, because moka keeps a value that was read until it has logged the read.
        store.get(&numbered(n as u64 / 2));
    }
    refused
}

#[test]
fn small_bodies_go_through_a_full_cache_without_being_refused() {
    let store = store(16 * MIB);
    let refused = churn(&store, std::iter::repeat_n(16 << 10, 4096));
    let stats = store.stats();
    assert_eq!((refused, stats.refused), (0, 0));
    assert!(stats.evicted_by_size > 3000 && stats.keys > 800, "{stats:?}");
    assert_eq!(stats.evicted_by_size + stats.keys, 4096);
    assert!(stats.stored_bytes <= stats.alive_bytes, "{stats:?}");
}

#[test]
fn large_bodies_among_small_ones_go_through_too() {
    let store = store(64 * MIB);
    let sizes = (0..4000).map(|n| if n % 20 == 0 { 1 << 20 } else { 16 << 10 });
    assert_eq!(churn(&store, sizes), 0, "{:?}", store.stats());
}

#[test]
fn a_paused_thread_does_not_make_the_others_refuse() {
    // Threads paused inside moka keep its removed values from being freed, so there are more
    // threads than cores.
    let store = store(16 * MIB);
    let refused = AtomicU64::new(0);
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (store, refused) = (&store, &refused);
            scope.spawn(move || {
                for n in 0..1000 {
                    let key = numbered(n * 8 + thread);
                    refused.fetch_add(put(store, &key, 16 << 10).is_err().into(), Ordering::Relaxed);
                    store.get(&numbered(n * 4 + thread));
                }
            });
        }
    });
    assert!(refused.into_inner() <= 80, "at most one in a hundred: {:?}", store.stats());
}

#[test]
fn many_threads_keep_to_the_budget_and_leave_nothing_behind() {
    let store = store(8 * MIB);
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..1500_u64 {
                    let n = (round * 7 + thread * 13) % 900;
                    let key = numbered(n);
                    let body_bytes = if n % 50 == 0 { 500_000 } else { 9_000 };
                    match round % 10 {
                        0 => store.remove(&key),
                        1 => drop(store.purge(Selector::Url(key.url().into()), PurgeKind::Hard)),
                        2 => store.change(&key, |old| {
                            let again = old.entries.iter().map(|entry| Arc::new(entry.with_body(entry.body.clone())));
                            Some(Variants { entries: again.collect(), ..old.clone() })
                        }),
                        3 if round % 100 == 3 => store.sweep(),
                        _ => drop(put(store, &key, body_bytes)),
                    }
                    if let Some(found) = store.get(&numbered(round % 900)) {
                        assert!(found.entries.len() == 1 && found.entries[0].reservation.get().is_some());
                    }
                    assert!(store.budget().alive() <= 8 * MIB);
                }
            });
        }
    });
    let stats = store.stats();
    let (mut keys, mut raw_bytes) = (0, 0);
    for WalkItem { variants, .. } in store.memory.iter() {
        keys += 1;
        raw_bytes += variants.entries.iter().map(|entry| entry.body.identity_bytes).sum::<u64>();
    }
    assert_eq!((stats.keys, stats.raw_bytes), (keys, raw_bytes));
    let budget = Arc::clone(store.budget());
    drop(store);
    assert_all_is_given_back(&budget);
}

#[test]
fn a_body_that_a_reader_holds_is_counted_after_it_left() {
    let store = store(MIB);
    let body = put(&store, &key("http://h/"), 1000).unwrap().body.get(Coding::Identity).unwrap().clone();
    let budget = Arc::clone(store.budget());
    drop(store);
    for _ in 0..1000 {
        memory::MemoryMap::new(1).drain();
    }
    assert!(budget.alive() >= 1000);
    drop(body);
    assert_all_is_given_back(&budget);
}

#[test]
fn names_of_selecting_fields_count_too() {
    let store = store(MIB);
    let other: HeaderName = header::ACCEPT_ENCODING;
    let value = || Some(Box::from(&b"de"[..]));
    for name in [header::ACCEPT_LANGUAGE, other] {
        let mut entry = entry(0, &[]);
        entry.selecting = [(name, value())].into();
        store.put(&key("http://h/"), entry).unwrap();
    }
    assert_eq!(store.get(&key("http://h/")).unwrap().entries.len(), 2);
}
