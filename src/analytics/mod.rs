//! The most requested URLs, the requests that the cache did not answer and why, and the latest
//! failures.
//!
//! The tables are bounded; one core fills each, and a reader merges them. A core's [`UrlCounters`]
//! hold at most [`ROWS_MAX`] URLs in each list, so that a flood of URLs grows nothing and the
//! heaviest rows stay ([`top`]).
//!
//! A core's first [`EXACT`] hits are counted one by one; of later ones one in [`ONE_IN`] is
//! counted, with that weight. Other requests are sampled in the same way, except that heavy ones
//! are always counted one by one. How many requests a reason kept from being hits is counted
//! exactly.
//! Deliberately absent: locks (the owner has one), clocks, and the names under which a figure is
//! published.

pub(crate) mod reasons;
mod request;
pub(crate) mod shadow;
pub(crate) mod top;
pub(crate) mod trouble;

use self::reasons::{NonHitCounters, NonHitReason};
use self::top::{Top, TopItem, WeightedUrl};
use self::trouble::{FaultyRequest, RecentFaults};
use crate::key::KeyHasher;
use crate::outcome::{Decision, ResponseEnd};

pub(crate) use self::request::NonHitRequest;

/// The URLs that a core tracks in each list.
///
/// Enough that the first [`ROWS_SHOWN`] are right for the usual skewed traffic, and few enough to
/// scan when a new URL needs a row.
pub(crate) const ROWS_MAX: usize = 256;

/// The rows of each list that are reported.
pub(crate) const ROWS_SHOWN: usize = 20;

/// The most bytes of a URL that are kept.
pub(crate) const URL_BYTES_MAX: usize = 512;

/// The hits of a core that are counted one by one, so that the counts of a quiet server are exact.
/// The same number applies to other requests.
pub(crate) const EXACT: u64 = 4_096;

/// The sampling rate beyond [`EXACT`]: one light request in this many is counted, with this weight.
pub(crate) const ONE_IN: u64 = 16;

/// The origin time from which a request that is no hit is heavy, in microseconds.
const HEAVY_MICROS: u64 = 10_000;

/// The body size from which a request that is no hit is heavy, in bytes.
const HEAVY_BYTES: u64 = 256 << 10;

/// The rankings of URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum UrlRanking {
    /// By requests, with any outcome.
    Requests,
    /// By body bytes.
    Bytes,
    /// By requests that were not answered from the cache.
    Misses,
    /// By microseconds until the origin's response arrived.
    OriginTime,
}

impl UrlRanking {
    /// Every ranking.
    pub const ALL: [UrlRanking; 4] = [Self::Requests, Self::Bytes, Self::Misses, Self::OriginTime];
}

/// The tables of one core.
#[derive(Debug)]
pub(crate) struct UrlCounters {
    top: [Top; UrlRanking::ALL.len()],
    not_from_cache: NonHitCounters,
    troubles: RecentFaults,
    hits: Sampler,
    others: Sampler,
    hasher: KeyHasher,
}

/// Decides which requests of a kind are counted.
#[derive(Debug)]
struct Sampler {
    count: u64,
    /// The state of the random generator. A fixed stride would fall into step with a page's own
    /// requests.
    random: u64,
}

impl UrlCounters {
    /// Makes empty tables; `seed` starts the samplers.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            top: std::array::from_fn(|_| Top::new(ROWS_MAX)),
            not_from_cache: NonHitCounters::default(),
            troubles: RecentFaults::default(),
            hits: Sampler::new(seed),
            others: Sampler::new(seed.rotate_left(32)),
            hasher: KeyHasher::new(),
        }
    }

    /// Counts a request that the store answered without the origin. Allocates only for a URL that
    /// is new to the list.
    pub(crate) fn hit(&mut self, url: &str, body_bytes: u64) {
        let Some(weight) = self.hits.weight() else { return };
        let item = self.item(truncate(url));
        self.top[UrlRanking::Requests as usize].add(&item, weight);
        self.top[UrlRanking::Bytes as usize].add(&item, body_bytes.saturating_mul(weight));
    }

    /// Counts any other request, once its response has ended. Failures are recorded for every such
    /// request.
    pub(crate) fn other(&mut self, request: &NonHitRequest, decision: &Decision, end: &ResponseEnd) {
        let url = truncate(&request.url);
        let micros = request.origin_time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        let is_heavy = micros >= HEAVY_MICROS || end.body_bytes >= HEAVY_BYTES;
        let weight = if is_heavy { Some(1) } else { self.others.weight() };
        let counted = weight.map(|weight| (self.item(url), weight));
        if let Some((item, weight)) = &counted {
            self.top[UrlRanking::Requests as usize].add(item, *weight);
            self.top[UrlRanking::Bytes as usize].add(item, end.body_bytes.saturating_mul(*weight));
            self.top[UrlRanking::OriginTime as usize].add(item, micros.saturating_mul(*weight));
        }
        if let Some(reason) = reasons::not_from_cache(decision) {
            self.not_from_cache.add(reason, micros);
            if let Some((item, weight)) = &counted {
                self.top[UrlRanking::Misses as usize].add(item, *weight);
                self.not_from_cache.add_example(reason, item, micros.saturating_add(1).saturating_mul(*weight));
            }
        }
        self.troubles.record(request, url, decision, end);
    }

    /// Returns the list of a ranking.
    pub(crate) fn top(&self, by: UrlRanking) -> &Top {
        &self.top[by as usize]
    }

    /// Returns the requests that were not answered from the cache.
    pub(crate) fn not_from_cache(&self) -> &NonHitCounters {
        &self.not_from_cache
    }

    /// Returns the latest failures.
    pub(crate) fn troubles(&self) -> &RecentFaults {
        &self.troubles
    }

    fn item<'a>(&self, url: &'a str) -> TopItem<'a> {
        TopItem::new(url, self.hasher.fingerprint(url.as_bytes()) as u64)
    }
}

impl Sampler {
    fn new(seed: u64) -> Self {
        Self { count: 0, random: seed | 1 }
    }

    /// Returns the weight with which the next request counts; `None` if it is not counted.
    fn weight(&mut self) -> Option<u64> {
        self.count += 1;
        if self.count <= EXACT {
            return Some(1);
        }
        self.draw().is_multiple_of(ONE_IN).then_some(ONE_IN)
    }

    /// Draws a number (xorshift; Marsaglia 2003).
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 32
    }
}

/// The merged tables of all cores.
#[derive(Clone, Debug, Default)]
pub struct UrlSummary {
    /// The first rows of each ranking, in the order of [`UrlRanking::ALL`].
    pub top: [Vec<WeightedUrl>; UrlRanking::ALL.len()],
    /// The reasons for which requests were not answered from the cache, sorted by origin time.
    pub not_from_cache: Vec<NonHitReason>,
    /// The latest failures, the newest first.
    pub troubles: Vec<FaultyRequest>,
}

impl UrlSummary {
    /// Returns the rows of a ranking.
    pub fn top(&self, by: UrlRanking) -> &[WeightedUrl] {
        &self.top[by as usize]
    }
}

fn truncate(url: &str) -> &str {
    &url[..url.floor_char_boundary(URL_BYTES_MAX)]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::outcome::{Ending, Outcome, Reason, StoreOutcome};

    fn request(url: &str, micros: u64) -> NonHitRequest {
        NonHitRequest {
            url: url.into(),
            status: 200,
            origin_time: Some(Duration::from_micros(micros)),
            at: Timestamp::from_secs(7),
        }
    }

    const END: ResponseEnd = ResponseEnd { ending: Ending::Complete, body_bytes: 10, elapsed: Duration::ZERO };

    #[test]
    fn every_list_counts_what_its_name_says() {
        let mut tables = UrlCounters::new(1);
        tables.hit("http://h/a", 100);
        tables.hit("http://h/a", 100);
        let miss = Decision { stored: StoreOutcome::Started, ..Decision::new(Outcome::Miss, Reason::UriMiss) };
        tables.other(&request("http://h/a", 500), &miss, &END);
        tables.other(&request("http://h/b", 900), &Decision::new(Outcome::Pass, Reason::Method), &END);
        let first = |by| {
            let rows = top::merge(&[tables.top(by).part()], ROWS_SHOWN);
            rows.into_iter().map(|row| (row.url.to_string(), row.at_least)).collect::<Vec<_>>()
        };
        let (a, b) = (|number| ("http://h/a".to_owned(), number), |number| ("http://h/b".to_owned(), number));
        assert_eq!(first(UrlRanking::Requests), [a(3), b(1)]);
        assert_eq!(first(UrlRanking::Bytes), [a(210), b(10)]);
        assert_eq!(first(UrlRanking::Misses), [a(1), b(1)]);
        assert_eq!(first(UrlRanking::OriginTime), [b(900), a(500)]);
    }

    #[test]
    fn requests_are_exact_at_first_and_then_sampled_without_bias() {
        let check = |by, count_one: &dyn Fn(&mut UrlCounters)| {
            let mut tables = UrlCounters::new(0x9e37_79b9_7f4a_7c15);
            let count = |tables: &UrlCounters| top::merge(&[tables.top(by).part()], 1)[0].at_least;
            for _ in 0..EXACT {
                count_one(&mut tables);
            }
            assert_eq!(count(&tables), EXACT);
            for _ in 0..1_000_000 {
                count_one(&mut tables);
            }
            let weight = count(&tables) - EXACT;
            assert!((970_000..1_030_000).contains(&weight), "{weight} by {by:?}");
            tables
        };
        check(UrlRanking::Requests, &|tables| tables.hit("http://h/", 1));
        let miss = Decision { stored: StoreOutcome::Started, ..Decision::new(Outcome::Miss, Reason::UriMiss) };
        let one = request("http://h/", 1);
        for by in [UrlRanking::Requests, UrlRanking::Misses, UrlRanking::OriginTime] {
            let tables = check(by, &|tables| tables.other(&one, &miss, &END));
            let (requests, micros, _) = tables.not_from_cache().part(Reason::UriMiss).unwrap();
            assert_eq!((requests, micros), (EXACT + 1_000_000, EXACT + 1_000_000));
        }
    }

    #[test]
    fn heavy_and_failed_requests_are_never_left_out() {
        let mut tables = UrlCounters::new(1);
        let miss = Decision { stored: StoreOutcome::Started, ..Decision::new(Outcome::Miss, Reason::UriMiss) };
        for _ in 0..2 * EXACT {
            tables.other(&request("http://h/light", 1), &miss, &END);
        }
        tables.other(&request("http://h/slow", HEAVY_MICROS), &miss, &END);
        tables.other(&request("http://h/large", 1), &miss, &ResponseEnd { body_bytes: HEAVY_BYTES, ..END });
        let failed = Decision::new(Outcome::Failed, Reason::ConnectionRefused);
        for _ in 0..8 {
            tables.other(&request("http://h/failed", 1), &failed, &END);
        }
        let weight = |by, url: &str| {
            let rows = top::merge(&[tables.top(by).part()], ROWS_SHOWN);
            rows.into_iter().find(|row| *row.url == *url).map(|row| row.at_least)
        };
        assert_eq!(weight(UrlRanking::OriginTime, "http://h/slow"), Some(HEAVY_MICROS));
        assert_eq!(weight(UrlRanking::Bytes, "http://h/large"), Some(HEAVY_BYTES));
        assert_eq!(tables.troubles().list().len(), 8);
    }

    #[test]
    fn a_flood_of_urls_grows_nothing() {
        let mut tables = UrlCounters::new(1);
        let long = "x".repeat(2 * URL_BYTES_MAX);
        for nth in 0..20_000 {
            let url = format!("http://h/{nth}/{long}");
            tables.hit(&url, 1);
            tables.other(&request(&url, 1), &Decision::new(Outcome::Failed, Reason::ConnectionRefused), &END);
        }
        for by in UrlRanking::ALL {
            let part = tables.top(by).part();
            assert!(part.rows.len() <= ROWS_MAX && part.rows.iter().all(|row| row.url.len() <= URL_BYTES_MAX));
        }
        assert!(tables.troubles().list().len() <= 32);
    }
}
