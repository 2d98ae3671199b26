//! A list of what weighs most, in bounded room: the space-saving algorithm (Metwally, Agrawal and El Abbadi 2005).
//!
//! A URL that has no row takes the lightest row over with its weight, and what it takes over is noted. So a row's weight is
//! at most what it tells and at least that less what it took over; whatever weighs more than one part in so many rows of
//! everything is in the list. Rows of several cores add up with both bounds.

use std::collections::HashMap;
use std::sync::Arc;

/// A bounded list.
#[derive(Debug)]
pub struct Top {
    rows: Vec<Row>,
    places: HashMap<Arc<str>, usize>,
    rows_max: usize,
}

/// A row as it is held.
#[derive(Clone, Debug)]
pub struct Row {
    /// The URL.
    pub url: Arc<str>,
    /// What it weighs at most.
    weight: u64,
    /// What of this may be another's.
    taken_over: u64,
}

/// The rows of one core, and what a URL that is not among them weighs there at most.
#[derive(Clone, Debug, Default)]
pub struct Part {
    /// The rows in no order.
    pub rows: Vec<Row>,
    floor: u64,
}

/// A row of a merged list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The URL.
    pub url: Arc<str>,
    /// What it weighs at the least.
    pub at_least: u64,
    /// What it weighs at the most; the same where everything fits the list.
    pub at_most: u64,
}

impl Top {
    /// Makes an empty list with room for `rows_max` rows.
    pub fn new(rows_max: usize) -> Self {
        Self { rows: Vec::with_capacity(rows_max), places: HashMap::with_capacity(rows_max), rows_max }
    }

    /// Adds to a URL's weight. Allocates only where the URL has no row.
    pub fn add(&mut self, url: &str, weight: u64) {
        if weight == 0 {
            return;
        }
        if let Some(place) = self.places.get(url) {
            let row = &mut self.rows[*place];
            row.weight = row.weight.saturating_add(weight);
            return;
        }
        let url: Arc<str> = url.into();
        if self.rows.len() < self.rows_max {
            self.places.insert(Arc::clone(&url), self.rows.len());
            self.rows.push(Row { url, weight, taken_over: 0 });
            return;
        }
        let Some((place, row)) = self.rows.iter_mut().enumerate().min_by_key(|(_, row)| row.weight) else { return };
        self.places.remove(&row.url);
        self.places.insert(Arc::clone(&url), place);
        *row = Row { url, weight: row.weight.saturating_add(weight), taken_over: row.weight };
    }

    /// Copies the rows: a count of references each.
    pub fn part(&self) -> Part {
        let is_full = self.rows.len() == self.rows_max;
        let floor = self.rows.iter().map(|row| row.weight).min().filter(|_| is_full).unwrap_or_default();
        Part { rows: self.rows.clone(), floor }
    }
}

/// Adds the parts up, and returns the first `rows_told` rows by what they weigh at the least.
pub fn merge(parts: &[Part], rows_told: usize) -> Vec<Counted> {
    let floors: u64 = parts.iter().fold(0, |sum, part| sum.saturating_add(part.floor));
    let mut merged: HashMap<&str, Counted> = HashMap::new();
    for part in parts {
        for row in &part.rows {
            let sum = merged.entry(&row.url).or_insert_with(|| Counted {
                url: Arc::clone(&row.url),
                at_least: 0,
                at_most: floors,
            });
            sum.at_least = sum.at_least.saturating_add(row.weight - row.taken_over);
            sum.at_most = (sum.at_most - part.floor).saturating_add(row.weight);
        }
    }
    let mut rows: Vec<Counted> = merged.into_values().collect();
    rows.sort_unstable_by(|a, b| b.at_least.cmp(&a.at_least).then_with(|| a.url.cmp(&b.url)));
    rows.truncate(rows_told);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bounds_hold_whatever_comes() {
        let mut top = Top::new(32);
        let mut exact = HashMap::new();
        let mut random = 1_u64;
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Skewed: low numbers come much more often.
            let url = format!("/{}", ((random >> 33) % 1000 * ((random >> 13) % 1000)) / 20_000);
            let weight = (random >> 50) % 3;
            top.add(&url, weight);
            *exact.entry(url).or_insert(0) += weight;
        }
        let rows = merge(&[top.part()], 32);
        assert_eq!(rows.len(), 32);
        for row in &rows {
            let exact = exact[&*row.url];
            assert!(row.at_least <= exact && exact <= row.at_most, "{row:?}: {exact}");
        }
        // It weighs more than a 32nd of everything, so it is there for sure.
        let heaviest = exact.iter().max_by_key(|(_, weight)| **weight).unwrap();
        assert!(rows.iter().any(|row| &*row.url == heaviest.0.as_str()), "{heaviest:?} is not in {rows:?}");
    }

    #[test]
    fn parts_add_up_with_their_bounds() {
        let (mut one, mut other) = (Top::new(2), Top::new(2));
        one.add("/a", 10);
        one.add("/b", 4);
        other.add("/a", 5);
        let row = |url: &str, at_least, at_most| Counted { url: url.into(), at_least, at_most };
        // `one` is full: what it does not list may have been 4 there.
        other.add("/c", 1);
        other.add("/d", 2);
        let rows = merge(&[one.part(), other.part()], 3);
        assert_eq!(rows, [row("/a", 15, 15), row("/b", 4, 7), row("/d", 2, 7)]);
        assert_eq!(merge(&[one.part(), other.part()], 1).len(), 1);
        assert_eq!(merge(&[], 3), []);
    }

    #[test]
    fn weights_never_wrap() {
        let mut top = Top::new(1);
        top.add("/", u64::MAX);
        top.add("/", 5);
        top.add("/nothing", 0);
        top.add("/other", 1);
        let part = top.part();
        assert_eq!(merge(&[part.clone(), part], 1)[0].at_most, u64::MAX);
    }
}
