//! A bounded list of the heaviest URLs: the space-saving algorithm behind a filter.
//!
//! Sources: Metwally, Agrawal and El Abbadi 2005; Homem and Carvalho 2010.
//!
//! URLs without a row share cells, chosen by their hashes. When a cell becomes heavier than the
//! lightest row, the URL that was just counted takes that row over, and the row notes how much of
//! its weight it inherited from the cell. So a row's true weight is at most its weight, and at
//! least its weight minus what it inherited; and no URL without a row weighs more than the lightest
//! row. A URL that occurs once, as in a scan, costs a cell and no row. Rows of several cores add up
//! with both bounds.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::key::PassThroughHash;

/// A URL to be counted in several lists: hashed once, and copied at most once.
#[derive(Debug)]
pub(crate) struct TopItem<'a> {
    url: &'a str,
    /// A keyed hash of the URL. Two URLs with the same hash would be counted as one; among 2⁶⁴
    /// hashes nobody will see that.
    hash: u64,
    shared: OnceCell<Arc<str>>,
}

impl<'a> TopItem<'a> {
    /// Makes an item of a URL and its keyed hash.
    pub(crate) fn new(url: &'a str, hash: u64) -> Self {
        Self { url, hash, shared: OnceCell::new() }
    }

    fn shared_url(&self) -> Arc<str> {
        Arc::clone(self.shared.get_or_init(|| self.url.into()))
    }
}

/// A bounded list.
#[derive(Debug)]
pub(crate) struct Top {
    rows: Vec<KnownUrl>,
    /// The upper bound of each row's weight, apart from the rows, since only the weights are
    /// scanned.
    weights: Vec<u64>,
    places: HashMap<u64, usize, PassThroughHash>,
    rows_max: usize,
    /// The joint weight of the URLs without a row that share the lowest bits of their hashes; none
    /// is above the lightest row.
    cells: Box<[u64]>,
    /// A lower bound of the lightest row's weight. Rows only become heavier, so a bound that was
    /// found once holds.
    lightest: u64,
    /// The rows before this index weigh more than `lightest`.
    heavier: usize,
}

/// The cells per row. The more there are, the fewer URLs of a scan take a row.
const CELLS: usize = 8;

/// A row without its weight.
#[derive(Debug)]
struct KnownUrl {
    url: Arc<str>,
    hash: u64,
    inherited: u64,
}

/// A copied row.
#[derive(Clone, Debug)]
pub(crate) struct TopRow {
    /// The URL.
    pub url: Arc<str>,
    /// The upper bound of the URL's weight.
    weight: u64,
    /// The part of the weight that may belong to other URLs.
    inherited: u64,
}

/// The rows of one core, and the most that any other URL weighs there.
#[derive(Clone, Debug, Default)]
pub(crate) struct TopPart {
    /// The rows, in no order.
    pub rows: Vec<TopRow>,
    floor: u64,
}

/// A row of a merged list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedUrl {
    /// The URL.
    pub url: Arc<str>,
    /// The lower bound of the URL's weight.
    pub at_least: u64,
    /// The upper bound of the URL's weight; equal to the lower bound while every URL fits the list.
    pub at_most: u64,
}

impl Top {
    /// Makes an empty list with room for `rows_max` rows.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows_max),
            weights: Vec::with_capacity(rows_max),
            places: HashMap::with_capacity_and_hasher(rows_max, PassThroughHash::default()),
            rows_max,
            cells: vec![0; (rows_max * CELLS).next_power_of_two()].into(),
            lightest: 0,
            heavier: 0,
        }
    }

    /// Adds to a URL's weight. Allocates only if the URL has no row.
    pub(crate) fn add(&mut self, item: &TopItem<'_>, weight: u64) {
        if weight == 0 {
            return;
        }
        if let Some(place) = self.places.get(&item.hash) {
            let known = &mut self.weights[*place];
            *known = known.saturating_add(weight);
            return;
        }
        let row = |inherited| KnownUrl { url: item.shared_url(), hash: item.hash, inherited };
        if self.rows.len() < self.rows_max {
            self.places.insert(item.hash, self.rows.len());
            self.rows.push(row(0));
            self.weights.push(weight);
            return;
        }
        let cell = self.cell(item.hash);
        let others = self.cells[cell];
        let sum = others.saturating_add(weight);
        let Some(place) = self.lightest_below(sum) else {
            self.cells[cell] = sum;
            return;
        };
        let replaced = std::mem::replace(&mut self.rows[place], row(others));
        let cell = self.cell(replaced.hash);
        self.cells[cell] = self.lightest;
        self.weights[place] = sum;
        self.places.remove(&replaced.hash);
        self.places.insert(item.hash, place);
    }

    /// Returns the index of the lightest row, if it weighs less than `sum`. All rows of one weight
    /// cost a single scan.
    fn lightest_below(&mut self, sum: u64) -> Option<usize> {
        while sum > self.lightest {
            let lightest = |weight: &u64| *weight == self.lightest;
            if let Some(ahead) = self.weights[self.heavier..].iter().position(lightest) {
                self.heavier += ahead;
                return Some(self.heavier);
            }
            (self.lightest, self.heavier) = (least(&self.weights), 0);
        }
        None
    }

    fn cell(&self, hash: u64) -> usize {
        hash as usize & (self.cells.len() - 1)
    }

    /// Copies the rows, at the cost of one reference count each.
    pub(crate) fn part(&self) -> TopPart {
        let floor = if self.rows.len() == self.rows_max { least(&self.weights) } else { 0 };
        let row = |(known, weight): (&KnownUrl, &u64)| TopRow {
            url: Arc::clone(&known.url),
            weight: *weight,
            inherited: known.inherited,
        };
        TopPart { rows: self.rows.iter().zip(&self.weights).map(row).collect(), floor }
    }
}

/// Returns the least weight, computed in several independent lanes.
fn least(weights: &[u64]) -> u64 {
    let (lanes, rest) = weights.as_chunks::<8>();
    let mut least = [u64::MAX; 8];
    for lane in lanes {
        for (least, weight) in least.iter_mut().zip(lane) {
            *least = (*least).min(*weight);
        }
    }
    least.iter().chain(rest).copied().min().unwrap_or(u64::MAX)
}

/// Adds the parts up, and returns the first `rows_shown` rows by their lower bounds.
pub(crate) fn merge(parts: &[TopPart], rows_shown: usize) -> Vec<WeightedUrl> {
    let floors: u64 = parts.iter().fold(0, |sum, part| sum.saturating_add(part.floor));
    let mut merged: HashMap<&str, WeightedUrl> = HashMap::new();
    for part in parts {
        for row in &part.rows {
            let sum = merged.entry(&row.url).or_insert_with(|| WeightedUrl {
                url: Arc::clone(&row.url),
                at_least: 0,
                at_most: floors,
            });
            sum.at_least = sum.at_least.saturating_add(row.weight - row.inherited);
            sum.at_most = (sum.at_most - part.floor).saturating_add(row.weight);
        }
    }
    let mut rows: Vec<WeightedUrl> = merged.into_values().collect();
    rows.sort_unstable_by(|a, b| b.at_least.cmp(&a.at_least).then_with(|| a.url.cmp(&b.url)));
    rows.truncate(rows_shown);
    rows
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use super::*;

    /// A list that hashes its URLs itself.
    struct TopModel(Top, RandomState);

    impl TopModel {
        fn new(rows_max: usize) -> Self {
            Self(Top::new(rows_max), RandomState::new())
        }

        fn add(&mut self, url: &str, weight: u64) {
            self.0.add(&TopItem::new(url, self.1.hash_one(url)), weight);
        }

        fn part(&self) -> TopPart {
            self.0.part()
        }
    }

    #[test]
    fn the_bounds_hold_whatever_comes() {
        let mut top = TopModel::new(32);
        let mut exact = HashMap::new();
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Skewed: low numbers are much more frequent.
            let url = format!("/{}", ((random >> 33) % 1000 * ((random >> 13) % 1000)) / 20_000);
            let weight = (random >> 50) % 3;
            top.add(&url, weight);
            *exact.entry(url).or_insert(0) += weight;
            let (heavier, others) = top.0.weights.split_at(top.0.heavier);
            assert!(heavier.iter().all(|weight| *weight > top.0.lightest));
            assert!(others.iter().all(|weight| *weight >= top.0.lightest));
        }
        let rows = merge(&[top.part()], 32);
        assert_eq!(rows.len(), 32);
        for row in &rows {
            let exact = exact[&*row.url];
            assert!(row.at_least <= exact && exact <= row.at_most, "{row:?}: {exact}");
        }
        // This URL has more than a 32nd of the total weight, so it certainly has a row.
        let heaviest = exact.iter().max_by_key(|(_, weight)| **weight).unwrap();
        assert!(rows.iter().any(|row| &*row.url == heaviest.0.as_str()), "{heaviest:?} is not in {rows:?}");
    }

    #[test]
    fn parts_add_up_with_their_bounds() {
        let (mut one, mut other) = (TopModel::new(2), TopModel::new(2));
        one.add("/a", 10);
        one.add("/b", 4);
        other.add("/a", 5);
        let row = |url: &str, at_least, at_most| WeightedUrl { url: url.into(), at_least, at_most };
        // `one` is full: a URL that it does not list may have weighed up to 4 there, and 2 in the
        // other.
        other.add("/c", 1);
        other.add("/d", 2);
        let rows = merge(&[one.part(), other.part()], 3);
        assert_eq!(rows, [row("/a", 15, 15), row("/b", 4, 6), row("/d", 2, 6)]);
        assert_eq!(merge(&[one.part(), other.part()], 1).len(), 1);
        assert_eq!(merge(&[], 3), []);
    }

    #[test]
    fn a_scan_takes_few_rows_and_none_of_a_heavy_url() {
        let mut top = TopModel::new(32);
        let mut used = 0;
        for nth in 0..20_000 {
            if nth % 10 == 0 {
                top.add("/often", 1);
            }
            let url = format!("/{nth}");
            top.add(&url, 1);
            used += usize::from(top.0.places.contains_key(&top.1.hash_one(&url)));
        }
        assert!(used < 20_000 / 3, "{used} of 20,000 took a row");
        let often = &merge(&[top.part()], 1)[0];
        assert_eq!((&*often.url, often.at_least, often.at_most), ("/often", 2_000, 2_000));
    }

    #[test]
    fn the_least_is_found_in_every_lane() {
        for length in [1, 7, 8, 9, 16, 255, 256] {
            for place in 0..length {
                let mut weights = vec![9; length];
                weights[place] = 3;
                assert_eq!(least(&weights), 3, "{place} of {length}");
            }
        }
    }

    #[test]
    fn weights_never_wrap() {
        let mut top = TopModel::new(1);
        top.add("/", u64::MAX);
        top.add("/", 5);
        top.add("/nothing", 0);
        top.add("/other", 1);
        let part = top.part();
        assert_eq!(merge(&[part.clone(), part], 1)[0].at_most, u64::MAX);
    }
}
