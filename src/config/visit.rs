//! Two walks over the table of keys: [`FileReader`] reads values from a file, [`FilePrinter`]
//! prints them.
//!
//! Both walk the one description in [`super::keys`], so that the keys that are read, printed and
//! known cannot drift apart. `serde` is not used for reading: it stops at the first problem, and we
//! report all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::kind::{Kind, Written};
use super::problem::{ConfigProblem, line_of, nearest};

/// The action on each key, in the order of the description.
pub(super) trait Keys: Sized {
    /// Visits a key with a value.
    fn key<T: 'static>(&mut self, name: &'static str, value: &mut T, kind: Kind<T>);

    /// Visits a table of keys.
    fn table(&mut self, name: &'static str, body: impl FnOnce(&mut Self));

    /// Visits a list of at most `items_max` tables (`[[name]]`).
    fn tables<T: Default>(
        &mut self,
        name: &'static str,
        items: &mut Vec<T>,
        items_max: usize,
        body: impl Fn(&mut T, &mut Self),
    );
}

/// Reads the tables of a file over existing values: keys that the file leaves out keep their value.
pub(super) struct FileReader<'d> {
    table: &'d DeTable<'d>,
    /// The path of the table with a trailing dot; empty at the top.
    path: String,
    known: Vec<&'static str>,
    problems: Vec<ConfigProblem>,
    places: KeyPlaces,
}

/// The position of each key's value in the file, and the keys that could not be read.
#[derive(Debug, Default)]
pub(super) struct KeyPlaces {
    known: BTreeMap<String, KeyPlace>,
    faulty: BTreeSet<String>,
}

/// The position of a key's value, and what is allowed there.
#[derive(Debug)]
struct KeyPlace {
    span: Range<usize>,
    allowed: String,
}

impl KeyPlaces {
    /// Returns the position of a key such as `memory.capacity` or `route[0].ttl`; `None` if the
    /// file does not have it.
    pub(super) fn of(&self, key: &str) -> Option<Range<usize>> {
        self.known.get(key).map(|place| place.span.clone())
    }

    /// Returns the key whose value starts on a line (from 1) of the text, and what is allowed of
    /// it.
    pub(super) fn on_line(&self, text: &str, line: usize) -> Option<(&str, &str)> {
        let mut keys = self.known.iter().filter(|(_, place)| !place.allowed.is_empty());
        let found = keys.find(|(_, place)| line_of(text, place.span.start) == line);
        found.map(|(key, place)| (key.as_str(), place.allowed.as_str()))
    }

    /// Tells whether a key could not be read, so that its value means nothing.
    pub(super) fn is_faulty(&self, key: &str) -> bool {
        self.faulty.contains(key)
    }

    /// Forgets a key of the file, since a flag replaces it.
    pub(super) fn forget(&mut self, key: &str) {
        self.known.remove(key);
        self.faulty.remove(key);
    }
}

impl<'d> FileReader<'d> {
    /// Reads `document` through `body`; returns the positions of the keys and everything that is
    /// wrong with them.
    pub(super) fn read(document: &'d DeTable<'d>, body: impl FnOnce(&mut Self)) -> (KeyPlaces, Vec<ConfigProblem>) {
        let mut reader = Self {
            table: document,
            path: String::new(),
            known: Vec::new(),
            problems: Vec::new(),
            places: KeyPlaces::default(),
        };
        body(&mut reader);
        reader.refuse_unknown();
        (reader.places, reader.problems)
    }

    /// Reads an inner table through `body`.
    fn inside(&mut self, table: &'d DeTable<'d>, path: String, body: impl FnOnce(&mut Self)) {
        let outer = (self.table, std::mem::take(&mut self.path), std::mem::take(&mut self.known));
        (self.table, self.path) = (table, path);
        body(self);
        self.refuse_unknown();
        (self.table, self.path, self.known) = outer;
    }

    /// Reports every key of the table that the description does not have.
    fn refuse_unknown(&mut self) {
        for key in self.table.keys().filter(|key| !self.known.contains(&&**key.get_ref())) {
            let what = match nearest(key.get_ref(), self.known.iter().copied()) {
                Some(word) => format!("unknown key; did you mean `{word}`?"),
                None => "unknown key".to_owned(),
            };
            self.problems.push(ConfigProblem {
                span: Some(key.span()),
                key: format!("{}{}", self.path, key.get_ref()),
                what,
                allowed: self.known.join(", "),
            });
        }
    }

    /// Returns the value of `name` with its full path, and marks the key as known.
    fn take(&mut self, name: &'static str, allowed: &str) -> Option<(String, &'d Written<'d>)> {
        self.known.push(name);
        let value = self.table.get(name)?;
        let path = format!("{}{name}", self.path);
        let place = KeyPlace { span: value.span(), allowed: allowed.to_owned() };
        self.places.known.insert(path.clone(), place);
        Some((path, value))
    }

    fn refuse(&mut self, path: &str, span: Range<usize>, what: String, allowed: &str) {
        self.places.faulty.insert(path.to_owned());
        self.problems.push(ConfigProblem { span: Some(span), key: path.to_owned(), what, allowed: allowed.to_owned() });
    }
}

impl Keys for FileReader<'_> {
    fn key<T: 'static>(&mut self, name: &'static str, value: &mut T, kind: Kind<T>) {
        let Some((path, written)) = self.take(name, kind.allowed()) else { return };
        match kind.read(written) {
            Ok(read) => *value = read,
            Err(faults) => {
                for fault in faults {
                    self.refuse(&path, fault.span, fault.what, kind.allowed());
                }
            }
        }
    }

    fn table(&mut self, name: &'static str, body: impl FnOnce(&mut Self)) {
        let Some((path, written)) = self.take(name, "") else { return };
        match written.get_ref() {
            DeValue::Table(table) => self.inside(table, format!("{path}."), body),
            found => {
                let what = format!("expected a table, found {}", found.type_str());
                self.refuse(
                    &path,
                    written.span(),
                    what,
                    &format!("[{path}] on a line of its own, followed by its keys"),
                );
            }
        }
    }

    fn tables<T: Default>(
        &mut self,
        name: &'static str,
        items: &mut Vec<T>,
        items_max: usize,
        body: impl Fn(&mut T, &mut Self),
    ) {
        let Some((path, written)) = self.take(name, "") else { return };
        let allowed = format!("at most {items_max} [[{path}]] lines, each followed by its keys");
        let DeValue::Array(array) = written.get_ref() else {
            let what = format!("expected a list of tables, found {}", written.get_ref().type_str());
            return self.refuse(&path, written.span(), what, &allowed);
        };
        if array.len() > items_max {
            let over = array.get(items_max).map_or_else(|| written.span(), |item| item.span());
            self.refuse(&path, over, format!("too many ({})", array.len()), &allowed);
        }
        for (index, item) in array.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let mut value = T::default();
            match item.get_ref() {
                DeValue::Table(table) => self.inside(table, format!("{path}."), |keys| body(&mut value, keys)),
                found => {
                    let what = format!("expected a table, found {}", found.type_str());
                    self.refuse(&path, item.span(), what, &allowed);
                }
            }
            items.push(value);
        }
    }
}

/// Prints every key as TOML that reads back as the same values; keys that are not set become
/// comments.
#[derive(Default)]
pub(super) struct FilePrinter {
    text: String,
    depth: usize,
    /// The text before a key's name: tables within tables are printed as dotted keys.
    prefix: String,
}

impl FilePrinter {
    /// Prints through `body`.
    pub(super) fn print(body: impl FnOnce(&mut Self)) -> String {
        let mut printer = Self::default();
        body(&mut printer);
        printer.text
    }

    /// Writing to a string cannot fail.
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = writeln!(self.text, "{line}");
    }
}

impl Keys for FilePrinter {
    fn key<T: 'static>(&mut self, name: &'static str, value: &mut T, kind: Kind<T>) {
        let prefix = std::mem::take(&mut self.prefix);
        match kind.print(value) {
            Some(value) => self.line(format_args!("{prefix}{name} = {value}")),
            None => self.line(format_args!("# {prefix}{name} is not set")),
        }
        self.prefix = prefix;
    }

    fn table(&mut self, name: &'static str, body: impl FnOnce(&mut Self)) {
        if self.depth == 0 {
            self.line(format_args!("\n[{name}]"));
        } else {
            self.prefix = format!("{name}.");
        }
        self.depth += 1;
        body(self);
        self.depth -= 1;
        self.prefix.clear();
    }

    fn tables<T: Default>(
        &mut self,
        name: &'static str,
        items: &mut Vec<T>,
        _: usize,
        body: impl Fn(&mut T, &mut Self),
    ) {
        for item in items {
            self.line(format_args!("\n[[{name}]]"));
            self.depth += 1;
            body(item, self);
            self.depth -= 1;
        }
    }
}
