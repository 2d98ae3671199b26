//! A strict reader of the two text formats of `/metrics`, which also applies the rules of `promtool
//! check metrics`. The reader panics at any violation.

use std::collections::{BTreeMap, BTreeSet};

/// The labels of a series.
pub(crate) type Labels = BTreeMap<String, String>;

/// The format of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// The classic text format, version 0.0.4.
    Classic,
}

/// A family of metrics.
#[derive(Debug, Default)]
pub(crate) struct Family {
    help: Option<String>,
    kind: Option<String>,
    unit: Option<String>,
    /// The samples, by name and labels.
    samples: BTreeMap<(String, Labels), f64>,
}

/// The content of an exposition.
#[derive(Debug)]
pub(crate) struct Exposition {
    families: BTreeMap<String, Family>,
}

impl Exposition {
    /// Reads and checks a text.
    #[track_caller]
    pub(crate) fn read(text: &str, format: Format) -> Self {
        let body = match format {
            Format::OpenMetrics => text.strip_suffix("# EOF\n").expect("the text ends with EOF"),
            Format::Classic => text.strip_suffix('\n').expect("the text ends with a line feed"),
        };
        let mut read = Self { families: BTreeMap::new() };
        let mut current = None;
        for line in body.lines() {
            match line.strip_prefix("# ") {
                Some(comment) => read.comment(comment, &mut current),
                None => {
                    let name = current.as_ref().unwrap_or_else(|| panic!("a sample without a family: {line}"));
                    let family = read.families.get_mut(name).expect("its comments were read");
                    let (sample, labels, value) = sample(line);
                    assert!(family.samples.insert((sample, labels), value).is_none(), "a duplicate: {line}");
                }
            }
        }
        for (name, family) in &read.families {
            family.check(name, format);
        }
        read
    }

    fn comment(&mut self, comment: &str, current: &mut Option<String>) {
        let mut words = comment.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_else(|| panic!("a comment without a name: {comment}")).to_owned();
        let (kind, name, rest) = (word(), word(), word());
        if current.as_ref() != Some(&name) {
            assert!(!self.families.contains_key(&name), "{name}: the comments of a family must stand together");
            *current = Some(name.clone());
        }
        let family = self.families.entry(name).or_default();
        assert!(family.samples.is_empty(), "a comment below its samples: {comment}");
        let place = match kind.as_str() {
            "HELP" => &mut family.help,
            "TYPE" => &mut family.kind,
            "UNIT" => &mut family.unit,
            other => panic!("a comment of kind {other}"),
        };
        assert!(place.replace(rest).is_none(), "a duplicate: {comment}");
    }

    /// Returns every series: a sample's name with its labels.
    pub(crate) fn series(&self) -> BTreeSet<(String, Labels)> {
        self.families.values().flat_map(|family| family.samples.keys().cloned()).collect()
    }

    /// Returns the labels of each sample, with all values of each label.
    pub(crate) fn labels(&self) -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
        let mut names: BTreeMap<String, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
        for (name, labels) in self.series() {
            let of_name = names.entry(name).or_default();
            for (label, value) in labels {
                of_name.entry(label).or_default().insert(value);
            }
        }
        names
    }

    /// Returns each family's name with its type and its unit, which may be empty.
    pub(crate) fn types(&self) -> BTreeMap<String, (String, String)> {
        let types = |family: &Family| [&family.kind, &family.unit].map(|part| part.clone().unwrap_or_default()).into();
        self.families.iter().map(|(name, family)| (name.clone(), types(family))).collect()
    }

    /// Returns the value of a series.
    #[track_caller]
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels: Labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let key = (name.to_owned(), labels);
        let found = self.families.values().find_map(|family| family.samples.get(&key));
        *found.unwrap_or_else(|| panic!("{key:?} is missing"))
    }
}

impl Family {
    fn check(&self, name: &str, format: Format) {
        let part = |part: &Option<String>, what: &str| part.clone().unwrap_or_else(|| panic!("{name} has no {what}"));
        let (help, kind) = (part(&self.help, "HELP"), part(&self.kind, "TYPE"));
        assert!(help.len() > 10 && !help.contains('\\'), "{name}: {help}");
        let rest = name.strip_prefix("larder_").unwrap_or_else(|| panic!("{name} does not begin with `larder_`"));
        assert!(is_snake(rest), "{name}");
        let suffixes: &[&str] = match (format, kind.as_str()) {
            (Format::OpenMetrics, "counter") => &["_total"],
            (Format::OpenMetrics, "info") => &["_info"],
            (_, "counter" | "gauge") => &[""],
            (_, "histogram") => &["_bucket", "_sum", "_count"],
            (_, other) => panic!("{name} is a {other}"),
        };
        let bare = name.strip_suffix("_total").unwrap_or(name);
        assert_eq!(bare != name, format == Format::Classic && kind == "counter", "{name}: `_total` is for counters");
        self.check_unit(name, bare, format);
        for word in bare.split('_') {
            assert!(!["counter", "gauge", "histogram", "summary"].contains(&word), "{name}: the type is in the name");
        }
        for (sample, labels) in self.samples.keys() {
            let suffix = sample.strip_prefix(name).unwrap_or_else(|| panic!("{sample} stands under {name}"));
            assert!(suffixes.contains(&suffix), "{sample} of a {kind}");
            assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{sample}: `le` is for buckets");
            assert!(labels.keys().all(|label| is_snake(label) && !label.starts_with("__")), "{sample}: {labels:?}");
        }
        if kind == "histogram" {
            self.check_histogram(name);
        }
        if kind == "counter" || kind == "histogram" {
            assert!(self.samples.values().all(|value| *value >= 0.0), "{name} counts");
        }
    }

    /// Checks that a unit is a base unit and stands at the end of the name.
    fn check_unit(&self, name: &str, bare: &str, format: Format) {
        const OTHERS: [&str; 14] = [
            "ms",
            "us",
            "ns",
            "milliseconds",
            "microseconds",
            "nanoseconds",
            "minutes",
            "hours",
            "days",
            "kb",
            "mb",
            "kib",
            "mib",
            "percent",
        ];
        assert!(!bare.split('_').any(|word| OTHERS.contains(&word)), "{name}: not in a base unit");
        for unit in ["bytes", "seconds"] {
            let is_named = bare.split('_').any(|word| word == unit);
            assert_eq!(is_named, bare.ends_with(&format!("_{unit}")), "{name}: the unit must stand at the end");
            if format == Format::OpenMetrics {
                assert_eq!(self.unit.as_deref() == Some(unit), is_named, "{name}: UNIT is {:?}", self.unit);
            }
        }
        let unit = self.unit.as_deref();
        assert!(unit.is_none_or(|unit| ["bytes", "seconds"].contains(&unit)), "{name}: {unit:?} is not a base unit");
        assert!(format == Format::OpenMetrics || unit.is_none(), "{name}: the format has no units");
    }

    /// Checks that each series of a histogram has a sum, and buckets that grow up to `+Inf`, which
    /// is the count.
    fn check_histogram(&self, name: &str) {
        let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for ((sample, labels), value) in &self.samples {
            if sample.ends_with("_bucket") {
                let mut labels = labels.clone();
                let bound = number(&labels.remove("le").expect("`le` was checked"));
                buckets.entry(labels).or_default().push((bound, *value));
            }
        }
        let others = self.samples.len() - buckets.values().map(Vec::len).sum::<usize>();
        assert_eq!(others, 2 * buckets.len(), "{name}: a sum and a count for each series");
        for (labels, mut buckets) in buckets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(
                buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1),
                "{name} {labels:?}"
            );
            let last = buckets.last().expect("a histogram has buckets");
            let of = |suffix: &str| self.samples[&(format!("{name}{suffix}"), labels.clone())];
            assert_eq!((last.0, last.1), (f64::INFINITY, of("_count")), "{name} {labels:?}");
            assert!(of("_sum").is_finite(), "{name} {labels:?}");
        }
    }
}

/// Tells whether a name is in lower case with single underscores between its words.
fn is_snake(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
        && !name.contains("__")
        && !name.ends_with('_')
}

fn number(text: &str) -> f64 {
    match text {
        "+Inf" => f64::INFINITY,
        _ => {
            assert!(
                text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'e')),
                "{text:?} is not a number"
            );
            text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
        }
    }
}

/// Reads `name{label="value",…} number`.
fn sample(line: &str) -> (String, Labels, f64) {
    let end = line.find(['{', ' ']).unwrap_or_else(|| panic!("{line} has no value"));
    let (name, mut rest) = line.split_at(end);
    assert!(is_snake(name), "{line}");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (label, quoted) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label at {rest} in {line}"));
            let (value, after) = unquoted(quoted, line);
            assert!(labels.insert(label.to_owned(), value).is_none(), "duplicate label {label} in {line}");
            rest = after;
            match rest.strip_prefix(',') {
                Some(more) => rest = more,
                None => break,
            }
        }
        rest = rest.strip_prefix('}').unwrap_or_else(|| panic!("the labels do not end in {line}"));
    }
    let value = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no value in {line}"));
    (name.to_owned(), labels, number(value))
}

/// Reads up to the closing quote. Returns the value and the text behind the quote.
fn unquoted<'a>(quoted: &'a str, line: &str) -> (String, &'a str) {
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return (value, &quoted[at + 1..]),
            '\\' => value.push(match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => '\n',
                Some(escaped @ ('"' | '\\')) => escaped,
                other => panic!("\\{other:?} in {line}"),
            }),
            plain => value.push(plain),
        }
    }
    panic!("a quote does not end in {line}");
}
