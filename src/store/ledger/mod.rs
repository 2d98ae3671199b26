//! The ledger: the one mechanism that purges and invalidates stored responses.
//!
//! The ledger is a sequence of records, not a clock and not an index. An entry carries the ledger's
//! number read before its origin request. A record with a higher number that covers the entry makes
//! it invalid, in the way of the record's kind. Coverage is computed from the key's URL (the URL,
//! each of its path prefixes, its host, "all") and from the tags that the origin named.
//!
//! Judging an entry costs one comparison if nothing was recorded since its last judgement, else a
//! few hash lookups, however many records there are. Deliberately absent: any index from a tag to
//! its keys. Freeing is left to the sweep ([`Store::sweep`](super::Store::sweep)).

mod records;
mod selector;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::clock::Timestamp;
use crate::policy::PurgeState;
use crate::stored::StoredEntry;

use records::{PurgeRecord, Records, worse};
pub use selector::{PurgeKind, Selector};

/// How long a swept record is kept: as long as a fetch may have been running when the record was
/// written, because the end of that fetch is judged by it. The response of a longer fetch is
/// refused, for lack of the record that could clear it.
const RETIRE_AFTER: Duration = Duration::from_secs(300);

/// The value of [`StoredEntry::checked_through`] that marks an entry as invalid, also after its
/// record was retired. Record numbers never reach it.
const MARKED_INVALID: u64 = u64::MAX - 1;

/// The value of [`StoredEntry::checked_through`] that marks an entry as purged.
const MARKED_GONE: u64 = u64::MAX;

/// The purge records.
pub struct Ledger {
    /// The number of the newest record. Written under the lock, after the record.
    latest: AtomicU64,
    /// Guards the records, for a few map operations at a time. Nothing awaits under it.
    records: RwLock<Records>,
    records_max: usize,
    soft_max: Duration,
}

impl Ledger {
    /// Makes an empty ledger of at most `records_max` records, whose soft purges last for
    /// `soft_max`.
    pub fn new(records_max: usize, soft_max: Duration) -> Self {
        Self { latest: AtomicU64::new(0), records: RwLock::default(), records_max, soft_max }
    }

    /// Returns the number of the newest record, zero before the first.
    pub fn latest(&self) -> u64 {
        self.latest.load(Ordering::Acquire)
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.records.read().order.len()
    }

    /// Returns whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Records a purge made at `at`, and returns its number. From the return on, every entry that
    /// it covers is judged invalid.
    pub fn record(&self, selector: Selector, kind: PurgeKind, at: Timestamp) -> u64 {
        let mut records = self.records.write();
        let number = self.latest() + 1;
        records.drop_superseded(&selector, kind);
        records.insert(number, PurgeRecord { selector, kind, at, is_swept: false });
        while records.order.len() > self.records_max {
            records.fold_oldest();
        }
        self.latest.store(number, Ordering::Release);
        number
    }

    /// Returns the state of `entry`, stored under `url`, at `now`.
    pub fn purge_state(&self, url: &str, entry: &StoredEntry, now: Timestamp) -> PurgeState {
        if entry.checked_through.load(Ordering::Relaxed) == self.latest() {
            return PurgeState::Good;
        }
        self.state_by_records(url, entry, now)
    }

    #[cold]
    fn state_by_records(&self, url: &str, entry: &StoredEntry, now: Timestamp) -> PurgeState {
        let marked = match entry.checked_through.load(Ordering::Relaxed) {
            MARKED_GONE => return PurgeState::Purged,
            MARKED_INVALID => PurgeState::Invalid,
            _ => PurgeState::Good,
        };
        let records = self.records.read();
        let purge_state = worse(marked, records.judge(url, (&entry.tags, entry.sequence), now, self.soft_max));
        if purge_state == PurgeState::Good {
            // The larger value stays, so that a judgement made before a mark cannot erase it.
            entry.checked_through.fetch_max(self.latest(), Ordering::Relaxed);
        }
        purge_state
    }

    /// Returns the state of a response that is being fetched, by its tags and the number read
    /// before its origin request.
    pub fn purge_state_of(&self, url: &str, tags: &[Box<str>], sequence: u64, now: Timestamp) -> PurgeState {
        if sequence == self.latest() {
            return PurgeState::Good;
        }
        self.records.read().judge(url, (tags, sequence), now, self.soft_max)
    }

    /// Judges an entry by its own number before it is stored: false if a record covers it, or if
    /// records that could cover it were retired.
    ///
    /// A response that was purged softly meanwhile is stored, still marked as purged. It is newer
    /// than the entry it replaces; otherwise the old one would be served until the soft purge
    /// expires, and then dropped.
    pub fn admits(&self, url: &str, entry: &StoredEntry, now: Timestamp) -> bool {
        entry.checked_through.store(entry.sequence, Ordering::Relaxed);
        // The order matters: a record retired after the judgement took part in it, and one retired
        // before has raised the floor.
        matches!(self.purge_state(url, entry, now), PurgeState::Good | PurgeState::Soft)
            && self.has_records_since(entry.sequence)
    }

    /// Returns whether every record above `sequence` is still there. If not, nobody can judge a
    /// response that was requested earlier and that no sweep has seen.
    pub fn has_records_since(&self, sequence: u64) -> bool {
        sequence >= self.records.read().floor
    }

    /// Judges an entry that was just inserted and marks it, as a sweep would that has already
    /// passed its place.
    pub fn settle(&self, url: &str, entry: &StoredEntry, now: Timestamp) {
        mark(entry, self.purge_state(url, entry, now));
    }

    /// Returns whether a sweep has work: a record that no sweep has passed yet.
    pub fn wants_sweep(&self, now: Timestamp) -> bool {
        self.records.read().order.values().any(|record| match record.kind {
            PurgeKind::Soft => record.has_lasted(self.soft_max, now),
            PurgeKind::Hard | PurgeKind::Validate => !record.is_swept,
        })
    }

    /// Prepares a sweep: soft records that have expired become validate records. Returns the number
    /// up to which the sweep will have passed the records.
    pub fn begin_sweep(&self, now: Timestamp) -> u64 {
        let mut records = self.records.write();
        let over: Vec<u64> = records
            .order
            .iter()
            .filter(|(_, record)| record.kind == PurgeKind::Soft && record.has_lasted(self.soft_max, now))
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            if let Some(record) = records.take(number) {
                records.insert(number, PurgeRecord { kind: PurgeKind::Validate, is_swept: false, ..record });
            }
        }
        self.latest()
    }

    /// Notes that a whole sweep has judged and marked every entry by the records up to `through`.
    pub fn end_sweep(&self, through: u64) {
        let mut records = self.records.write();
        for (_, record) in records.order.range_mut(..=through) {
            record.is_swept = record.kind != PurgeKind::Soft;
        }
    }

    /// Drops the records that a sweep has passed and that no running fetch needs any more.
    pub fn retire(&self, now: Timestamp) {
        let mut records = self.records.write();
        let old: Vec<u64> = records
            .order
            .iter()
            .filter(|(_, record)| record.is_swept && record.has_lasted(RETIRE_AFTER, now))
            .map(|(number, _)| *number)
            .collect();
        for number in old {
            records.take(number);
            records.floor = records.floor.max(number);
        }
    }
}

/// Marks an entry with its purge state, so that the state outlives the records.
pub(super) fn mark(entry: &StoredEntry, purge_state: PurgeState) {
    let mark = match purge_state {
        PurgeState::Good | PurgeState::Soft => return,
        PurgeState::Invalid => MARKED_INVALID,
        PurgeState::Purged => MARKED_GONE,
    };
    entry.checked_through.fetch_max(mark, Ordering::Relaxed);
}

/// Copies the mark of the entry that `entry` was made from.
pub(super) fn inherit_mark(entry: &StoredEntry, old: &StoredEntry) {
    let checked = old.checked_through.load(Ordering::Relaxed);
    if checked >= MARKED_INVALID {
        entry.checked_through.fetch_max(checked, Ordering::Relaxed);
    }
}

/// Resets an entry to be judged from its own number on. A mark stays, because it comes from the
/// entry that this one was made from.
pub(super) fn unsettle(entry: &StoredEntry) {
    if entry.checked_through.load(Ordering::Relaxed) < MARKED_INVALID {
        entry.checked_through.store(entry.sequence, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::tests::entry;

    const SOFT_MAX: Duration = Duration::from_secs(60);
    const START: Timestamp = Timestamp::from_secs(1000);
    const URL: &str = "http://h/shop/new/x?a=/b/";

    fn ledger() -> Ledger {
        Ledger::new(100, SOFT_MAX)
    }

    fn later(secs: u64) -> Timestamp {
        START + Duration::from_secs(secs)
    }

    fn selector(text: &str) -> Selector {
        match text.split_at(2) {
            ("a:", "") => Selector::All,
            ("h:", host) => Selector::Host(host.into()),
            ("p:", prefix) => Selector::Prefix(prefix.into()),
            ("u:", url) => Selector::Url(url.into()),
            ("t:", tag) => Selector::Tag(tag.into()),
            ("g:", group) => Selector::Group(group.into()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_selector_covers_what_it_names_and_nothing_beside_it() {
        let check = |text: &str, url: &str, tags: &[&str], covered: bool| {
            let ledger = ledger();
            let stored = entry(0, tags);
            ledger.record(selector(text), PurgeKind::Validate, START);
            let wanted = if covered { PurgeState::Invalid } else { PurgeState::Good };
            assert_eq!(ledger.purge_state(url, &stored, START), wanted, "{text} {url} {tags:?}");
        };
        check("a:", URL, &[], true);

        check("u:http://h/shop/new/x?a=/b/", URL, &[], true);
        check("u:http://h/shop/new/x", URL, &[], false);
        check("u:http://h/shop/new/x?a=/b", URL, &[], false);
        check("u:https://h/shop/new/x?a=/b/", URL, &[], false);

        check("h:h", URL, &[], true);
        check("h:h", "https://h/", &[], true);
        check("h:h", "http://h:8080/", &[], false);
        check("h:h:8080", "http://h:8080/", &[], true);
        check("h:h", "http://hh/", &[], false);
        check("h:", URL, &[], false);

        check("p:http://h/", URL, &[], true);
        check("p:http://h/shop/", URL, &[], true);
        check("p:http://h/shop/new/x", URL, &[], true);
        check("p:http://h/shop/", "http://h/shop/", &[], true);
        check("p:http://h/shop/", "http://h/shop/?q", &[], true);
        check("p:http://h/shop/", "http://h/shop", &[], false);
        check("p:http://h/shop/", "http://h/shopping", &[], false);
        check("p:http://h/shop", "http://h/shop", &[], true);
        check("p:http://h/shop", "http://h/shop?q", &[], true);
        check("p:http://h/shop", "http://h/shop/x", &[], true);
        check("p:http://h/shop", "http://h/shopping", &[], false);
        check("p:http://h", "http://h/shop", &[], true);
        check("p:http://h", "http://h:8080/shop", &[], false);
        check("p:http://", URL, &[], false);
        check("p:", URL, &[], false);
        check("p:http://h/shop/new/x?a=/", URL, &[], false);
        check("p:http://other/", URL, &[], false);

        check("t:a", URL, &["a"], true);
        check("t:a", URL, &["b", "a"], true);
        check("t:a", URL, &["ab"], false);
        check("t:a", URL, &["A"], false);
        check("t:a", URL, &[], false);
        check("t:", URL, &[], false);
        check("t:", URL, &[""], true);
        // A tag covers groups of that name on every host; a group covers those of its own origin,
        // and no tag.
        check("t:a", URL, &["\na"], true);
        check("t:a", URL, &["\nab"], false);
        check("g:http://h\na", URL, &["\na"], true);
        check("g:http://h\na", URL, &["a"], false);
        check("g:http://h\na", URL, &["\nab"], false);
        check("g:https://h\na", URL, &["\na"], false);
        check("g:http://h:8080\na", URL, &["\na"], false);
        check("g:http://hh\na", URL, &["\na"], false);
        // A tag that looks like an implied one is still a tag.
        check("t:http://h/", URL, &[], false);
    }

    #[test]
    fn s4_4_only_records_above_the_entrys_number_count() {
        let ledger = ledger();
        assert_eq!(ledger.latest(), 0);
        assert_eq!(ledger.record(selector("u:http://h/a"), PurgeKind::Validate, START), 1);
        assert_eq!(ledger.latest(), 1);
        assert_eq!(ledger.purge_state("http://h/a", &entry(0, &[]), START), PurgeState::Invalid);
        assert_eq!(ledger.purge_state("http://h/a", &entry(1, &[]), START), PurgeState::Good);
    }

    #[test]
    fn the_harder_kind_wins_in_any_order() {
        let check = |kinds: &[PurgeKind], wanted: PurgeState| {
            let ledger = ledger();
            for (at, kind) in kinds.iter().enumerate() {
                let covers = ["a:", "h:h", "p:http://h/shop/", "t:a"][at];
                ledger.record(selector(covers), *kind, START);
            }
            assert_eq!(ledger.purge_state(URL, &entry(0, &["a"]), START), wanted, "{kinds:?}");
        };
        check(&[PurgeKind::Soft], PurgeState::Soft);
        check(&[PurgeKind::Soft, PurgeKind::Validate], PurgeState::Invalid);
        check(&[PurgeKind::Validate, PurgeKind::Soft], PurgeState::Invalid);
        check(&[PurgeKind::Hard, PurgeKind::Soft, PurgeKind::Validate], PurgeState::Purged);
        check(&[PurgeKind::Soft, PurgeKind::Validate, PurgeKind::Hard], PurgeState::Purged);
    }

    #[test]
    fn a_soft_purge_lasts_for_soft_max_and_a_second_does_not_prolong_it() {
        let ledger = ledger();
        let stored = entry(0, &[]);
        ledger.record(Selector::All, PurgeKind::Soft, START);
        assert_eq!(ledger.purge_state(URL, &stored, later(59)), PurgeState::Soft);
        ledger.record(Selector::All, PurgeKind::Soft, later(59));
        assert_eq!(ledger.purge_state(URL, &stored, later(60)), PurgeState::Invalid);
        assert_eq!(ledger.purge_state(URL, &entry(1, &[]), later(118)), PurgeState::Soft);
        assert_eq!(ledger.purge_state(URL, &entry(1, &[]), later(119)), PurgeState::Invalid);
    }

    #[test]
    fn an_untouched_entry_is_looked_up_once() {
        let ledger = ledger();
        let stored = entry(0, &[]);
        ledger.record(selector("u:http://h/other"), PurgeKind::Hard, START);
        assert_eq!(ledger.purge_state(URL, &stored, START), PurgeState::Good);
        assert_eq!(stored.checked_through.load(Ordering::Relaxed), 1);
        ledger.record(Selector::Url(URL.into()), PurgeKind::Validate, START);
        assert_eq!(ledger.purge_state(URL, &stored, START), PurgeState::Invalid);
        assert_eq!(stored.checked_through.load(Ordering::Relaxed), 1, "what was matched is not counted as checked");
    }

    #[test]
    fn a_url_that_is_written_to_all_day_takes_one_record() {
        let ledger = ledger();
        let record = |kind| ledger.record(selector("p:http://h/a/"), kind, START);
        (0..50).for_each(|_| _ = record(PurgeKind::Validate));
        assert_eq!(ledger.len(), 1);
        record(PurgeKind::Hard);
        assert_eq!(ledger.len(), 1);
        // A gentler record takes nothing back.
        record(PurgeKind::Validate);
        record(PurgeKind::Soft);
        assert_eq!(ledger.len(), 3);
        assert_eq!(ledger.purge_state("http://h/a/b", &entry(50, &[]), START), PurgeState::Purged);
        assert_eq!(ledger.purge_state("http://h/a/b", &entry(51, &[]), START), PurgeState::Invalid);
        assert_eq!(ledger.purge_state("http://h/a/b", &entry(52, &[]), START), PurgeState::Soft);
        assert_eq!(ledger.purge_state("http://h/a/b", &entry(53, &[]), START), PurgeState::Good);
    }

    #[test]
    fn the_oldest_records_fold_and_never_become_weaker() {
        let ledger = Ledger::new(2, SOFT_MAX);
        let purge_state = |sequence| ledger.purge_state(URL, &entry(sequence, &[]), START);
        ledger.record(selector("t:one"), PurgeKind::Hard, START);
        ledger.record(selector("t:two"), PurgeKind::Soft, START);
        assert_eq!(purge_state(0), PurgeState::Good);
        ledger.record(selector("t:three"), PurgeKind::Validate, START);
        assert_eq!((purge_state(0), purge_state(1), ledger.len()), (PurgeState::Purged, PurgeState::Good, 2));
        ledger.record(selector("t:four"), PurgeKind::Validate, START);
        assert_eq!(
            (purge_state(0), purge_state(1), purge_state(2)),
            (PurgeState::Purged, PurgeState::Invalid, PurgeState::Good)
        );
        assert_eq!(Ledger::new(0, SOFT_MAX).record(selector("t:one"), PurgeKind::Hard, START), 1);
    }

    #[test]
    fn a_swept_record_is_dropped_and_does_not_fold() {
        let ledger = Ledger::new(2, SOFT_MAX);
        ledger.record(selector("t:one"), PurgeKind::Hard, START);
        ledger.record(selector("t:two"), PurgeKind::Validate, START);
        assert!(ledger.wants_sweep(START));
        let through = ledger.begin_sweep(START);
        ledger.record(selector("t:three"), PurgeKind::Validate, START);
        // The sweep has not ended, so the first record folded.
        assert_eq!(ledger.purge_state(URL, &entry(0, &[]), START), PurgeState::Purged);
        ledger.end_sweep(through);
        assert!(ledger.has_records_since(0) && ledger.wants_sweep(START));
        ledger.record(selector("t:four"), PurgeKind::Validate, START);
        assert_eq!(ledger.purge_state(URL, &entry(1, &[]), START), PurgeState::Good);
        assert!(ledger.admits(URL, &entry(2, &[]), START) && !ledger.admits(URL, &entry(1, &[]), START));
        ledger.end_sweep(ledger.begin_sweep(START));
        assert!(!ledger.wants_sweep(START));
        ledger.retire(START + RETIRE_AFTER - Duration::from_millis(1));
        assert_eq!(ledger.len(), 2);
        ledger.retire(START + RETIRE_AFTER);
        assert!(ledger.is_empty() && !ledger.has_records_since(3) && ledger.has_records_since(4));
        assert!(ledger.records.read().is_bare(), "nothing is left of a record that went");
    }

    #[test]
    fn a_mark_outlives_judgements_made_before_it() {
        let ledger = ledger();
        let stored = entry(0, &[]);
        mark(&stored, PurgeState::Invalid);
        ledger.record(selector("t:other"), PurgeKind::Hard, START);
        assert_eq!(ledger.purge_state(URL, &stored, START), PurgeState::Invalid);
        unsettle(&stored);
        assert_eq!(ledger.purge_state(URL, &stored, START), PurgeState::Invalid);
        let again = entry(0, &[]);
        inherit_mark(&again, &stored);
        assert_eq!(ledger.purge_state(URL, &again, START), PurgeState::Invalid);
        ledger.record(Selector::All, PurgeKind::Hard, START);
        assert_eq!(ledger.purge_state(URL, &stored, START), PurgeState::Purged);
        mark(&stored, PurgeState::Purged);
        assert_eq!(ledger.purge_state(URL, &stored, START), PurgeState::Purged);
    }

    /// A ledger in its simplest form: every record ever made, and a walk over all of them.
    struct Model(Vec<(u64, Selector, PurgeKind, Timestamp)>);

    impl Model {
        fn covers(selector: &Selector, url: &str, tags: &[Box<str>]) -> bool {
            let (start, rest) = url.split_once("://").unwrap();
            let (host, path) = rest.split_once('/').unwrap();
            let path = path.split('?').next().unwrap();
            match selector {
                Selector::All => true,
                Selector::Host(name) => **name == *host,
                Selector::Url(name) => **name == *url,
                Selector::Tag(name) => tags.iter().any(|tag| **tag == **name || tag.strip_prefix('\n') == Some(name)),
                Selector::Group(name) => {
                    tags.iter().any(|tag| tag.starts_with('\n') && **name == *format!("{start}://{host}{tag}"))
                }
                // Each piece of the path starts one prefix that ends before its slash, and one that
                // ends with it.
                Selector::Prefix(name) => {
                    let mut prefix = format!("{start}://{host}");
                    path.split('/').any(|piece| {
                        let before = **name == *prefix;
                        prefix.push('/');
                        let with = **name == *prefix;
                        prefix.push_str(piece);
                        before || with
                    }) || **name == *prefix
                }
            }
        }

        fn purge_state(&self, url: &str, entry: &StoredEntry, now: Timestamp) -> PurgeState {
            let covering = |kind: PurgeKind| {
                self.0.iter().filter(move |(number, selector, own, _)| {
                    *own == kind && *number > entry.sequence && Self::covers(selector, url, &entry.tags)
                })
            };
            if covering(PurgeKind::Hard).next().is_some() {
                PurgeState::Purged
            } else if covering(PurgeKind::Validate).next().is_some()
                || covering(PurgeKind::Soft).any(|(.., at)| now.saturating_since(*at) >= SOFT_MAX)
            {
                PurgeState::Invalid
            } else if covering(PurgeKind::Soft).next().is_some() {
                PurgeState::Soft
            } else {
                PurgeState::Good
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Store(&'static str, Vec<&'static str>),
        Purge(&'static str, PurgeKind),
        Wait(u64),
        Sweep,
    }

    const URLS: [&str; 6] = [
        "http://h/",
        "http://h/shop",
        "http://h/shop/x",
        "http://h/shopping",
        "http://h/shop/?q=/shop/",
        "http://g:1/s/",
    ];

    const SELECTORS: [&str; 17] = [
        "a:",
        "h:h",
        "h:g:1",
        "p:http://h",
        "p:http://h/",
        "p:http://h/shop",
        "p:http://h/shop/",
        "p:http://g:1/s",
        "u:http://h/",
        "u:http://h/shop",
        "u:http://h/shop/?q=/shop/",
        "t:a",
        "t:ab",
        "t:",
        "g:http://h\na",
        "g:http://h\nab",
        "g:http://g:1\na",
    ];

    fn step() -> impl Strategy<Value = Step> {
        let kind = prop::sample::select(vec![PurgeKind::Hard, PurgeKind::Validate, PurgeKind::Soft]);
        let tags = prop::sample::subsequence(vec!["a", "ab", "b", "\na", "\nab"], 0..4);
        prop_oneof![
            3 => (prop::sample::select(&URLS[..]), tags).prop_map(|(url, tags)| Step::Store(url, tags)),
            3 => (prop::sample::select(&SELECTORS[..]), kind).prop_map(|(text, kind)| Step::Purge(text, kind)),
            1 => (0..400_u64).prop_map(Step::Wait),
            1 => Just(Step::Sweep),
        ]
    }

    /// Runs `steps` on a ledger and on the model, and passes every pair of answers to `agree`.
    fn run(records_max: usize, steps: Vec<Step>, agree: impl Fn(PurgeState, PurgeState)) {
        let ledger = Ledger::new(records_max, SOFT_MAX);
        let mut model = Model(Vec::new());
        let mut stored = Vec::new();
        let mut now = START;
        for step in steps {
            match step {
                Step::Store(url, tags) => stored.push((url, entry(ledger.latest(), &tags))),
                Step::Purge(text, kind) => {
                    model.0.push((ledger.record(selector(text), kind, now), selector(text), kind, now));
                }
                Step::Wait(secs) => now = now + Duration::from_secs(secs),
                Step::Sweep => {
                    ledger.retire(now);
                    let through = ledger.begin_sweep(now);
                    stored.iter().for_each(|(url, entry)| ledger.settle(url, entry, now));
                    ledger.end_sweep(through);
                }
            }
            for (url, entry) in &stored {
                agree(ledger.purge_state(url, entry, now), model.purge_state(url, entry, now));
            }
        }
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_list_of_all_records(steps in prop::collection::vec(step(), 0..60)) {
            run(1000, steps, |ours, wanted| assert_eq!(ours, wanted));
        }

        #[test]
        fn a_small_ledger_is_never_weaker(records_max in 0..5_usize, steps in prop::collection::vec(step(), 0..60)) {
            run(records_max, steps, |ours, wanted| assert_eq!(worse(ours, wanted), ours));
        }
    }
}
