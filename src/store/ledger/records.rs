//! The ledger's records in order, and for each selector the numbers needed to judge by them.
//!
//! Judging an entry costs a hash lookup for its URL, its host, each tag, and each prefix of a
//! recorded length.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use smallvec::SmallVec;

use super::selector::{PurgeKind, Selector, group_text};
use crate::clock::Timestamp;
use crate::policy::{PurgeState, tags};

/// Returns the worse of two purge states: hard beats validate beats soft.
pub(super) fn worse(one: PurgeState, other: PurgeState) -> PurgeState {
    let severity = |purge_state| match purge_state {
        PurgeState::Good => 0,
        PurgeState::Soft => 1,
        PurgeState::Invalid => 2,
        PurgeState::Purged => 3,
    };
    if severity(one) >= severity(other) { one } else { other }
}

/// One recorded purge.
pub(super) struct PurgeRecord {
    pub(super) selector: Selector,
    pub(super) kind: PurgeKind,
    pub(super) at: Timestamp,
    /// True if a whole sweep has marked every entry that the record covers.
    pub(super) is_swept: bool,
}

impl PurgeRecord {
    pub(super) fn has_lasted(&self, duration: Duration, now: Timestamp) -> bool {
        now.saturating_since(self.at) >= duration
    }
}

/// The numbers recorded for one selector; zero means none.
#[derive(Default)]
struct RecordMarks {
    hard: u64,
    validate: u64,
    /// In ascending order. Each soft purge expires on its own, so the oldest that covers an entry
    /// decides.
    soft: SmallVec<[(u64, Timestamp); 1]>,
}

impl RecordMarks {
    fn judge(&self, sequence: u64, now: Timestamp, soft_max: Duration) -> PurgeState {
        if self.hard > sequence {
            return PurgeState::Purged;
        }
        if self.validate > sequence {
            return PurgeState::Invalid;
        }
        let first = self.soft.partition_point(|(number, _)| *number <= sequence);
        match self.soft.get(first) {
            None => PurgeState::Good,
            Some((_, at)) if now.saturating_since(*at) >= soft_max => PurgeState::Invalid,
            Some(_) => PurgeState::Soft,
        }
    }

    fn add(&mut self, number: u64, kind: PurgeKind, at: Timestamp) {
        match kind {
            PurgeKind::Hard => self.hard = self.hard.max(number),
            PurgeKind::Validate => self.validate = self.validate.max(number),
            PurgeKind::Soft => self.soft.push((number, at)),
        }
    }

    fn remove(&mut self, number: u64) {
        for mark in [&mut self.hard, &mut self.validate] {
            if *mark == number {
                *mark = 0;
            }
        }
        self.soft.retain(|(soft, _)| *soft != number);
    }

    fn is_empty(&self) -> bool {
        self.hard == 0 && self.validate == 0 && self.soft.is_empty()
    }
}

/// All records, by number and by selector.
#[derive(Default)]
pub(super) struct Records {
    pub(super) order: BTreeMap<u64, PurgeRecord>,
    all: RecordMarks,
    hosts: HashMap<Box<str>, RecordMarks>,
    prefixes: HashMap<Box<str>, RecordMarks>,
    /// The number of prefixes of each length. Only recorded lengths are looked up, so a URL with
    /// ten thousand slashes costs no more.
    prefix_lengths: BTreeMap<usize, usize>,
    urls: HashMap<Box<str>, RecordMarks>,
    tags: HashMap<Box<str>, RecordMarks>,
    groups: HashMap<Box<str>, RecordMarks>,
    /// The records that were folded for lack of room and now cover everything. Two numbers, so they
    /// stay for good.
    folded: RecordMarks,
    /// The highest retired number.
    pub(super) floor: u64,
}

impl Records {
    /// Judges a response under `url` with these tags that was requested at `sequence`, stored or
    /// still being fetched.
    pub(super) fn judge(
        &self,
        url: &str,
        (named, sequence): (&[Box<str>], u64),
        now: Timestamp,
        soft_max: Duration,
    ) -> PurgeState {
        let mut worst = PurgeState::Good;
        let mut add = |marks: Option<&RecordMarks>| {
            if let Some(marks) = marks {
                worst = worse(worst, marks.judge(sequence, now, soft_max));
            }
        };
        add(Some(&self.folded));
        add(Some(&self.all));
        if !self.urls.is_empty() {
            add(self.urls.get(url));
        }
        let parts = UrlParts::of(url);
        if !self.hosts.is_empty() {
            add(self.hosts.get(parts.authority));
        }
        for &length in self.prefix_lengths.range(parts.path_at..=parts.path_end).map(|(length, _)| length) {
            if parts.may_cut_at(url, length) {
                add(url.get(..length).and_then(|prefix| self.prefixes.get(prefix)));
            }
        }
        if !self.tags.is_empty() {
            named.iter().for_each(|tag| add(self.tags.get(tags::name(tag))));
        }
        if !self.groups.is_empty() {
            let origin = &url[..parts.path_at];
            let groups = named.iter().filter_map(|tag| tags::group(tag));
            groups.for_each(|group| add(self.groups.get(group_text(origin, group).as_str())));
        }
        worst
    }

    pub(super) fn insert(&mut self, number: u64, record: PurgeRecord) {
        let marks = match &record.selector {
            Selector::All => &mut self.all,
            Selector::Host(host) => self.hosts.entry(host.clone()).or_default(),
            Selector::Prefix(prefix) => self.prefixes.entry(prefix.clone()).or_insert_with(|| {
                *self.prefix_lengths.entry(prefix.len()).or_default() += 1;
                RecordMarks::default()
            }),
            Selector::Url(url) => self.urls.entry(url.clone()).or_default(),
            Selector::Tag(tag) => self.tags.entry(tag.clone()).or_default(),
            Selector::Group(group) => self.groups.entry(group.clone()).or_default(),
        };
        marks.add(number, record.kind, record.at);
        self.order.insert(number, record);
    }

    /// Removes a record from the order and from the marks of its selector.
    pub(super) fn take(&mut self, number: u64) -> Option<PurgeRecord> {
        let record = self.order.remove(&number)?;
        let (map, name) = match &record.selector {
            Selector::All => {
                self.all.remove(number);
                return Some(record);
            }
            Selector::Host(host) => (&mut self.hosts, host),
            Selector::Prefix(prefix) => (&mut self.prefixes, prefix),
            Selector::Url(url) => (&mut self.urls, url),
            Selector::Tag(tag) => (&mut self.tags, tag),
            Selector::Group(group) => (&mut self.groups, group),
        };
        if let Some(marks) = map.get_mut(name) {
            marks.remove(number);
            if marks.is_empty() {
                map.remove(name);
                if let Selector::Prefix(prefix) = &record.selector
                    && let Some(count) = self.prefix_lengths.get_mut(&prefix.len())
                {
                    *count -= 1;
                    if *count == 0 {
                        self.prefix_lengths.remove(&prefix.len());
                    }
                }
            }
        }
        Some(record)
    }

    /// Returns whether nothing but folded records is left.
    #[cfg(test)]
    pub(super) fn is_bare(&self) -> bool {
        let maps = [&self.hosts, &self.prefixes, &self.urls, &self.tags, &self.groups];
        self.order.is_empty()
            && self.prefix_lengths.is_empty()
            && self.all.is_empty()
            && maps.iter().all(|map| map.is_empty())
    }

    /// Drops the records of the same selector that a new one supersedes: the new one covers the
    /// same entries at least as hard. So a URL that is written to all day takes one record.
    pub(super) fn drop_superseded(&mut self, selector: &Selector, kind: PurgeKind) {
        let marks = match selector {
            Selector::All => Some(&self.all),
            Selector::Host(host) => self.hosts.get(host),
            Selector::Prefix(prefix) => self.prefixes.get(prefix),
            Selector::Url(url) => self.urls.get(url),
            Selector::Tag(tag) => self.tags.get(tag),
            Selector::Group(group) => self.groups.get(group),
        };
        let Some(marks) = marks else { return };
        let soft = marks.soft.iter().map(|(number, _)| *number);
        let idle: SmallVec<[u64; 4]> = match kind {
            PurgeKind::Hard => soft.chain([marks.hard, marks.validate]).collect(),
            PurgeKind::Validate => soft.chain([marks.validate]).collect(),
            // A later soft purge does not prolong an earlier one.
            PurgeKind::Soft => return,
        };
        for number in idle {
            self.take(number);
        }
    }

    /// Makes room for a record. A swept oldest record is dropped. Any other becomes "all,
    /// validate", and a hard one "all, hard": the weaker kind would let the validators of its
    /// entries be used again.
    pub(super) fn fold_oldest(&mut self) {
        let Some(number) = self.order.keys().next().copied() else { return };
        match self.take(number) {
            Some(record) if record.is_swept => self.floor = self.floor.max(number),
            Some(PurgeRecord { kind: PurgeKind::Hard, at, .. }) => self.folded.add(number, PurgeKind::Hard, at),
            Some(PurgeRecord { kind: PurgeKind::Validate | PurgeKind::Soft, at, .. }) => {
                self.folded.add(number, PurgeKind::Validate, at)
            }
            None => {}
        }
    }
}

/// The parts of a canonical URL.
struct UrlParts<'a> {
    authority: &'a str,
    path_at: usize,
    /// The start of the query, or the end of the URL.
    path_end: usize,
}

impl<'a> UrlParts<'a> {
    fn of(url: &'a str) -> Self {
        let authority_at = url.find("://").map_or(0, |at| at + 3);
        let rest = &url[authority_at..];
        let authority = &rest[..rest.find(['/', '?']).unwrap_or(rest.len())];
        let path_at = authority_at + authority.len();
        let path_end = url[path_at..].find('?').map_or(url.len(), |at| path_at + at);
        Self { authority, path_at, path_end }
    }

    /// Returns whether the first `length` bytes of `url` end at a `/`, before one, or with the
    /// path.
    fn may_cut_at(&self, url: &str, length: usize) -> bool {
        let bytes = url.as_bytes();
        length == self.path_end || bytes[length] == b'/' || length > self.path_at && bytes[length - 1] == b'/'
    }
}
