//! Query parameters that change nothing.
//!
//! Two URLs that differ in one parameter only are evidence: for it if they have the same body,
//! against it if they have different ones. A table of fixed size remembers the body of each URL
//! without the parameter; each slot holds the last URL that hashed to it. A lost entry costs
//! evidence, but never makes any.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};

use crate::analytics::truncate;

/// The slots of the table: 16,384 in 384 KiB.
const SLOTS: usize = 16_384;

/// The most parameters of one URL that are examined.
const PARAMETERS_MAX: usize = 8;

/// The longest name that is examined, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The most parameters that evidence is collected for, each at its host and path.
const ROWS_MAX: usize = 512;

/// A whole response to a URL.
#[derive(Clone, Copy, Debug)]
pub struct QueryResponse<'a> {
    /// The host, with its port unless that is the scheme's default.
    pub host: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query without `?`; empty if there is none.
    pub query: &'a str,
    /// A hash of everything else that selected the response: its coding, the fields and cookies of
    /// its key, the fields in Vary.
    pub context: u64,
    /// The fingerprint of its body.
    pub body: u64,
}

/// A parameter that occurred with more than one value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The host.
    pub host: Box<str>,
    /// The path, or its beginning.
    pub path: Box<str>,
    /// The parameter's name, as written.
    pub name: Box<str>,
    /// How often another value, or no such parameter, got the same body.
    pub same: u64,
    /// How often another value, or no such parameter, got another body.
    pub different: u64,
    /// One URL at this path got more than one body, so that other bodies say nothing about the
    /// parameter.
    pub is_restless: bool,
}

/// The body that a URL got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SeenBody {
    /// A hash of the URL without the parameter, and of the parameter's name; zero for an empty
    /// slot.
    without: u64,
    value: u64,
    body: u64,
}

/// The host, path and name of a parameter.
type ParameterPlace = (Box<str>, Box<str>, Box<str>);

/// The evidence about all parameters.
#[derive(Debug)]
pub(super) struct Parameters {
    hasher: RandomState,
    slots: Box<[SeenBody]>,
    rows: BTreeMap<ParameterPlace, (u64, u64)>,
    /// The hosts and paths at which one URL got more than one body; at most [`ROWS_MAX`].
    restless: BTreeSet<(Box<str>, Box<str>)>,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            slots: vec![SeenBody::default(); SLOTS].into_boxed_slice(),
            rows: BTreeMap::new(),
            restless: BTreeSet::new(),
        }
    }
}

impl Parameters {
    pub(super) fn record(&mut self, query: &QueryResponse<'_>) {
        let names = names(query.query);
        let at = (query.host, query.path, query.context);
        let whole = self.hash((at, query.query, ""));
        for name in &names {
            let (rest, value) = without(query.query, name);
            let got = SeenBody { without: self.hash((at, &*rest, *name)), value: self.hash(&value), body: query.body };
            let other = self.get(got.without).filter(|other| other.value != got.value);
            // A URL that never had the parameter is stored under its whole query.
            let bare = || self.get(self.hash((at, &*rest, "")));
            if let Some(other) = other.or_else(bare) {
                self.count(query, name, other.body == got.body);
            }
            self.put(got);
        }
        if self.get(whole).is_some_and(|before| before.body != query.body) && self.restless.len() < ROWS_MAX {
            self.restless.insert((query.host.into(), truncate(query.path).into()));
        }
        self.put(SeenBody { without: whole, value: 0, body: query.body });
    }

    /// Returns the rows: first those without evidence against them, each group by evidence for
    /// them.
    pub(super) fn rows(&self) -> Vec<Parameter> {
        let row = |((host, path, name), (same, different)): (&ParameterPlace, &(u64, u64))| Parameter {
            host: host.clone(),
            path: path.clone(),
            name: name.clone(),
            same: *same,
            different: *different,
            is_restless: self.restless.contains(&(host.clone(), path.clone())),
        };
        let mut rows: Vec<_> = self.rows.iter().map(row).collect();
        rows.sort_by_key(|row| (row.different > 0, std::cmp::Reverse(row.same)));
        rows
    }

    fn count(&mut self, query: &QueryResponse<'_>, name: &str, is_same: bool) {
        let place = (query.host.into(), truncate(query.path).into(), name.into());
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&place) {
            let least = self.rows.iter().min_by_key(|(_, (same, different))| same + different);
            if let Some(least) = least.map(|(place, _)| place.clone()) {
                self.rows.remove(&least);
            }
        }
        let (same, different) = self.rows.entry(place).or_default();
        *(if is_same { same } else { different }) += 1;
    }

    fn hash(&self, what: impl std::hash::Hash) -> u64 {
        self.hasher.hash_one(what).max(1)
    }

    fn get(&self, without: u64) -> Option<SeenBody> {
        let got = self.slots[without as usize % SLOTS];
        (got.without == without).then_some(got)
    }

    fn put(&mut self, got: SeenBody) {
        self.slots[got.without as usize % SLOTS] = got;
    }
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Returns the distinct names in a query, up to the bounds.
fn names(query: &str) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for name in query.split('&').map(name_of).filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX) {
        if !names.contains(&name) && names.len() < PARAMETERS_MAX {
            names.push(name);
        }
    }
    names
}

/// Splits a query into the part without the parameters of this name, and those parameters.
fn without(query: &str, name: &str) -> (String, String) {
    let (mut rest, mut own) = (String::new(), String::new());
    for pair in query.split('&') {
        let list = if name_of(pair) == name { &mut own } else { &mut rest };
        if !list.is_empty() {
            list.push('&');
        }
        list.push_str(pair);
    }
    (rest, own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seen: &[(&str, u64)], expected: &[(&str, u64, u64)]) {
        let mut parameters = Parameters::default();
        for (query, body) in seen {
            parameters.record(&QueryResponse { host: "h", path: "/p", query, context: 0, body: *body });
        }
        let mut rows: Vec<_> = parameters.rows().into_iter().map(|row| (row.name, row.same, row.different)).collect();
        rows.sort();
        let expected: Vec<_> = expected.iter().map(|&(name, same, different)| (name.into(), same, different)).collect();
        assert_eq!(rows, expected, "{seen:?}");
    }

    #[test]
    fn one_parameter_at_a_time_is_evidence() {
        check(&[("utm=a", 1), ("utm=b", 1), ("utm=c", 1)], &[("utm", 2, 0)]);
        check(&[("q=a", 1), ("q=b", 2)], &[("q", 0, 1)]);
        check(&[("q=a&utm=1", 1), ("q=a&utm=2", 1), ("q=b&utm=2", 2)], &[("q", 0, 1), ("utm", 1, 0)]);
        // Two changes at once are evidence for neither.
        check(&[("q=a&utm=1", 1), ("q=b&utm=2", 2)], &[]);
        // The same URL twice is no evidence.
        check(&[("q=a", 1), ("q=a", 1), ("q=a", 2)], &[]);
    }

    #[test]
    fn leaving_it_out_is_a_value_too() {
        check(&[("", 1), ("utm=a", 1)], &[("utm", 1, 0)]);
        check(&[("q=a", 1), ("q=a&page=2", 2)], &[("page", 0, 1)]);
        check(&[("a=1&a=2", 1), ("a=1&a=3", 2)], &[("a", 0, 1)]);
        check(&[("flag", 1), ("", 2), ("flag", 1)], &[("flag", 0, 1)]);
    }

    #[test]
    fn a_page_that_changes_by_itself_is_marked() {
        let mut parameters = Parameters::default();
        for (path, query, body) in
            [("/p", "a=1", 1), ("/p", "a=2", 2), ("/q", "a=1", 1), ("/q", "a=1", 2), ("/q", "a=2", 3)]
        {
            parameters.record(&QueryResponse { host: "h", path, query, context: 0, body });
        }
        let mut rows: Vec<_> =
            parameters.rows().into_iter().map(|row| (row.path, row.different, row.is_restless)).collect();
        rows.sort();
        assert_eq!(rows, [("/p".into(), 1, false), ("/q".into(), 1, true)]);
    }

    #[test]
    fn other_contexts_are_other_pages() {
        let mut parameters = Parameters::default();
        for (context, query, body) in [(1, "l=a", 1), (2, "l=b", 2)] {
            parameters.record(&QueryResponse { host: "h", path: "/p", query, context, body });
        }
        assert_eq!(parameters.rows(), []);
    }

    #[test]
    fn a_flood_grows_nothing() {
        let mut parameters = Parameters::default();
        for nth in 0..4_000_u64 {
            let many: String = (0..40).map(|at| format!("&n{nth}x{at}={nth}")).collect();
            for query in [many.as_str(), ""] {
                let path = format!("/{nth}");
                parameters.record(&QueryResponse { host: "h", path: &path, query, context: 0, body: nth });
            }
            parameters.record(&QueryResponse {
                host: "h",
                path: "/p",
                query: &format!("a{nth}=1"),
                context: 0,
                body: 0,
            });
            parameters.record(&QueryResponse { host: "h", path: "/p", query: "", context: 0, body: 0 });
        }
        assert!(parameters.rows.len() <= ROWS_MAX && parameters.slots.len() == SLOTS);
    }
}
