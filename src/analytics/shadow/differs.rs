//! Would-be hits whose body differs from the origin's response, and the likely causes.

use super::names::ShadowNames;
use crate::analytics::{URL_BYTES_MAX, truncate};
use crate::key::ExtraSource;
use crate::stored::BodyComparison;

/// The most URLs that are tracked: enough for a person who fixes the app, since that fixes a
/// pattern and not each URL.
const ROWS_MAX: usize = 256;

/// The most suspects of a URL that are tracked.
const SUSPECTS_MAX: usize = 16;

/// The response fields that are compared, by name.
pub(crate) const RESPONSE_FIELDS: [&str; 9] = [
    "content-type",
    "content-language",
    "content-disposition",
    "location",
    "set-cookie",
    "cache-control",
    "vary",
    "etag",
    "last-modified",
];

/// A would-be hit that was compared with the origin's response.
#[derive(Clone, Debug)]
pub struct Comparison<'a> {
    /// The canonical URL.
    pub url: &'a str,
    /// The result of the comparison.
    pub compared: BodyComparison,
    /// The entity-tags are equal: the app itself says that the bodies are equivalent.
    pub is_same_tag: bool,
    /// The numbers of the names in which the two requests differ.
    pub request: &'a [u16],
    /// The members of [`RESPONSE_FIELDS`] that differ, one bit each.
    pub response: u16,
}

/// A URL whose would-be hits differed from the origin's responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The URL, or its beginning.
    pub url: Box<str>,
    /// The comparisons in which the bodies differed.
    pub times: u64,
    /// The comparisons in which they were the same, since they first differed.
    pub same: u64,
    /// The part of `times` with the same entity-tag.
    pub same_tag: u64,
    /// The part of `times` in which nothing in the requests differed: the page changes by itself.
    pub by_itself: u64,
    /// The differences between the requests, the likeliest cause first.
    pub suspects: Vec<Suspect>,
    /// The members of [`RESPONSE_FIELDS`] that differed.
    pub response: Vec<&'static str>,
}

impl Difference {
    /// Iterates over the likely causes: the suspects that differed whenever the bodies did, and
    /// never otherwise.
    pub fn causes(&self) -> impl Iterator<Item = &Suspect> {
        let times = if self.by_itself == 0 { self.times } else { u64::MAX };
        self.suspects.iter().filter(move |suspect| suspect.times == times && suspect.harmless == 0)
    }
}

/// A request field or cookie in which requests differed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// Says whether the suspect is a field or a cookie.
    pub source: ExtraSource,
    /// The name of the field or cookie.
    pub name: Box<str>,
    /// The comparisons in which it differed along with the bodies.
    pub times: u64,
    /// The comparisons in which it differed while the bodies were the same.
    pub harmless: u64,
}

/// The URLs that are tracked.
#[derive(Debug, Default)]
pub(super) struct DifferingUrls {
    rows: Vec<DifferingRow>,
}

#[derive(Debug)]
struct DifferingRow {
    url: Box<str>,
    times: u64,
    same: u64,
    same_tag: u64,
    by_itself: u64,
    /// The number of a name, how often it differed along with the bodies, and how often without
    /// them.
    suspects: Vec<(u16, u64, u64)>,
    response: u16,
}

impl DifferingUrls {
    pub(super) fn add(&mut self, against: &Comparison<'_>) {
        let url = truncate(against.url);
        match (against.compared, self.rows.iter().position(|row| *row.url == *url)) {
            (BodyComparison::Unknown, _) | (BodyComparison::Same, None) => {}
            (BodyComparison::Same, Some(at)) => self.rows[at].record_same(against),
            (BodyComparison::Different, Some(at)) => self.rows[at].record_different(against),
            (BodyComparison::Different, None) => {
                let mut row = DifferingRow::new(url);
                row.record_different(against);
                self.insert(row);
            }
        }
    }

    /// Adds a row. If the table is full, the oldest of the least frequent rows is dropped.
    fn insert(&mut self, row: DifferingRow) {
        if self.rows.len() >= ROWS_MAX
            && let Some((at, _)) = self.rows.iter().enumerate().min_by_key(|(_, row)| row.times)
        {
            self.rows.remove(at);
        }
        self.rows.push(row);
    }

    pub(super) fn rows(&self, names: &ShadowNames) -> Vec<Difference> {
        let mut rows: Vec<_> = self.rows.iter().map(|row| row.difference(names)).collect();
        rows.sort_by(|a, b| b.times.cmp(&a.times).then_with(|| a.url.cmp(&b.url)));
        rows
    }
}

impl DifferingRow {
    fn new(url: &str) -> Self {
        debug_assert!(url.len() <= URL_BYTES_MAX);
        Self { url: url.into(), times: 0, same: 0, same_tag: 0, by_itself: 0, suspects: Vec::new(), response: 0 }
    }

    fn record_same(&mut self, against: &Comparison<'_>) {
        self.same += 1;
        for suspect in self.suspects.iter_mut().filter(|(name, ..)| against.request.contains(name)) {
            suspect.2 += 1;
        }
    }

    fn record_different(&mut self, against: &Comparison<'_>) {
        self.times += 1;
        self.same_tag += u64::from(against.is_same_tag);
        self.by_itself += u64::from(against.request.is_empty());
        self.response |= against.response;
        for name in against.request {
            match self.suspects.iter().position(|(known, ..)| known == name) {
                Some(at) => self.suspects[at].1 += 1,
                None if self.suspects.len() < SUSPECTS_MAX => self.suspects.push((*name, 1, 0)),
                None => {}
            }
        }
    }

    fn difference(&self, names: &ShadowNames) -> Difference {
        let suspect = |&(number, times, harmless): &(u16, u64, u64)| {
            let (source, name) = names.get(number)?;
            Some(Suspect { source, name: name.into(), times, harmless })
        };
        let mut suspects: Vec<_> = self.suspects.iter().filter_map(suspect).collect();
        suspects.sort_by_key(|suspect| (suspect.harmless, std::cmp::Reverse(suspect.times)));
        let differs = |at: &usize| self.response & (1 << at) != 0;
        Difference {
            url: self.url.clone(),
            times: self.times,
            same: self.same,
            same_tag: self.same_tag,
            by_itself: self.by_itself,
            suspects,
            response: (0..RESPONSE_FIELDS.len()).filter(differs).map(|at| RESPONSE_FIELDS[at]).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::shadow::ShadowName;

    fn against<'a>(url: &'a str, compared: BodyComparison, request: &'a [u16]) -> Comparison<'a> {
        Comparison { url, compared, is_same_tag: false, request, response: 0b10 }
    }

    fn names() -> ShadowNames {
        let mut names = ShadowNames::default();
        for name in ["accept-language", "user-agent", "referer"] {
            names.number(ShadowName { source: ExtraSource::Header, name });
        }
        names
    }

    #[test]
    fn a_cause_differs_each_time_and_never_without_effect() {
        let mut differs = DifferingUrls::default();
        differs.add(&against("/a", BodyComparison::Same, &[1]));
        differs.add(&against("/a", BodyComparison::Different, &[0, 1]));
        differs.add(&against("/a", BodyComparison::Different, &[0, 1, 2]));
        differs.add(&against("/a", BodyComparison::Same, &[1]));
        differs.add(&against("/a", BodyComparison::Unknown, &[0]));
        let rows = differs.rows(&names());
        let [row] = &rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.times, row.same, row.by_itself, &*row.response), (2, 1, 0, &["content-language"][..]));
        assert_eq!(row.causes().map(|cause| &*cause.name).collect::<Vec<_>>(), ["accept-language"]);
        assert_eq!(row.suspects.last().map(|suspect| (&*suspect.name, suspect.harmless)), Some(("user-agent", 1)));
    }

    #[test]
    fn a_page_that_changes_by_itself_has_no_cause() {
        let mut differs = DifferingUrls::default();
        differs.add(&against("/a", BodyComparison::Different, &[0]));
        differs.add(&against("/a", BodyComparison::Different, &[]));
        let rows = differs.rows(&names());
        assert_eq!((rows[0].by_itself, rows[0].causes().count()), (1, 0));
    }

    #[test]
    fn a_flood_of_urls_grows_nothing_and_what_is_frequent_stays() {
        let mut differs = DifferingUrls::default();
        for nth in 0..10_000_u32 {
            differs.add(&against(&format!("/{nth}/{}", "x".repeat(2000)), BodyComparison::Different, &[nth as u16]));
            differs.add(&against("/often", BodyComparison::Different, &[(nth % 100) as u16]));
        }
        assert!(differs.rows.len() <= ROWS_MAX && differs.rows.iter().all(|row| row.url.len() <= URL_BYTES_MAX));
        assert!(differs.rows.iter().all(|row| row.suspects.len() <= SUSPECTS_MAX));
        let rows = differs.rows(&names());
        assert_eq!((&*rows[0].url, rows[0].times), ("/often", 10_000));
    }
}
