//! Kinds of values: how each is written in the file, what is allowed of it, and how it is printed.
//!
//! A [`Kind`] looks at one value and nothing else. Which key has which kind stands in [`super::keys`]; what several keys
//! say together is judged in [`super::across`].

mod names;

use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use serde_spanned::Spanned;
use toml::de::DeValue;

pub(super) use names::*;

use super::problem::nearest;
use crate::units::ByteCount;

/// A value as the file has it, with the place where it stands.
pub(in crate::config) type Written<'d> = Spanned<DeValue<'d>>;

/// What is wrong with a value, and the bytes of the file that it is wrong in.
#[derive(Debug)]
pub(in crate::config) struct Fault {
    pub(in crate::config) span: Range<usize>,
    pub(in crate::config) what: String,
}

/// A value that was read, or everything that is wrong with it.
type ReadResult<T> = Result<T, Vec<Fault>>;

/// Reads a value.
type ReadWith<T> = Box<dyn Fn(&Written<'_>) -> ReadResult<T>>;
/// Prints a value; `None` where it is not set, and so is left out.
type PrintWith<T> = Box<dyn Fn(&T) -> Option<toml::Value>>;

/// How a value is read and printed, and the sentence that says what is allowed.
pub(in crate::config) struct Kind<T> {
    read: ReadWith<T>,
    print: PrintWith<T>,
    allowed: String,
    schema: Value,
}

impl<T: 'static> Kind<T> {
    fn new(
        allowed: impl Into<String>,
        read: impl Fn(&Written<'_>) -> ReadResult<T> + 'static,
        print: impl Fn(&T) -> Option<toml::Value> + 'static,
    ) -> Self {
        Self { read: Box::new(read), print: Box::new(print), allowed: allowed.into(), schema: json!({}) }
    }

    /// Says by a JSON Schema what is allowed, as far as one can.
    fn with_schema(self, schema: Value) -> Self {
        Self { schema, ..self }
    }

    /// Makes a kind that is written as a string.
    fn string(
        allowed: impl Into<String>,
        read: impl Fn(&str) -> Result<T, String> + 'static,
        print: impl Fn(&T) -> String + 'static,
    ) -> Self {
        let read = move |written: &Written<'_>| match written.get_ref() {
            DeValue::String(text) => read(text).map_err(|what| fault(written, what)),
            other => Err(fault(written, unlike("a string", other))),
        };
        let print = move |value: &T| Some(toml::Value::String(print(value)));
        Self::new(allowed, read, print).with_schema(json!({ "type": "string" }))
    }

    /// Reads a value.
    pub(in crate::config) fn read(&self, written: &Written<'_>) -> ReadResult<T> {
        (self.read)(written)
    }

    /// Prints a value as TOML; `None` where it is not set.
    pub(in crate::config) fn print(&self, value: &T) -> Option<toml::Value> {
        (self.print)(value)
    }

    /// Says what is allowed.
    pub(in crate::config) fn allowed(&self) -> &str {
        &self.allowed
    }

    /// Returns the JSON Schema of it.
    pub(in crate::config) fn schema(&self) -> &Value {
        &self.schema
    }

    /// Makes the kind of a key that may be left out.
    pub(in crate::config) fn optional(self) -> Kind<Option<T>> {
        let (read, print) = (self.read, self.print);
        Kind::new(
            self.allowed,
            move |written| read(written).map(Some),
            move |value: &Option<T>| value.as_ref().and_then(&print),
        )
        .with_schema(self.schema)
    }

    /// Makes a kind that is either a word, which stands for `None`, or a value of this kind.
    pub(in crate::config) fn or_word(self, word: &'static str) -> Kind<Option<T>> {
        let (read, print) = (self.read, self.print);
        Kind::new(
            format!("{}, or {word:?}", self.allowed),
            move |written| match written.get_ref() {
                DeValue::String(text) if text == word => Ok(None),
                _ => read(written).map(Some),
            },
            move |value: &Option<T>| value.as_ref().map_or_else(|| Some(toml::Value::from(word)), &print),
        )
        .with_schema(json!({ "anyOf": [{ "const": word }, self.schema] }))
    }

    /// Makes the kind of a list of at most `items_max` values of this kind.
    pub(in crate::config) fn list(self, items_max: usize) -> Kind<Vec<T>> {
        let (read, print) = (self.read, self.print);
        let each = move |written: &Written<'_>| {
            let DeValue::Array(items) = written.get_ref() else {
                return Err(fault(written, unlike("a list", written.get_ref())));
            };
            if items.len() > items_max {
                return Err(fault(written, format!("{} values are too many", items.len())));
            }
            let (mut values, mut faults) = (Vec::with_capacity(items.len()), Vec::new());
            for item in items.iter() {
                match read(item) {
                    Ok(value) => values.push(value),
                    Err(found) => faults.extend(found),
                }
            }
            if faults.is_empty() { Ok(values) } else { Err(faults) }
        };
        Kind::new(format!("a list of at most {items_max}, each {}", self.allowed), each, move |values: &Vec<T>| {
            Some(toml::Value::Array(values.iter().filter_map(&print).collect()))
        })
        .with_schema(json!({ "type": "array", "maxItems": items_max, "items": self.schema }))
    }
}

/// Makes the one fault of a value.
fn fault(written: &Written<'_>, what: String) -> Vec<Fault> {
    vec![Fault { span: written.span(), what }]
}

/// Says that another type was expected.
fn unlike(expected: &str, found: &DeValue<'_>) -> String {
    let found = found.type_str();
    let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("expected {expected}, found {article} {found}")
}

/// Returns `value` where the range has it, else what is wrong.
fn within<T: PartialOrd>(value: T, range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> Result<T, String> {
    if value < *range.start() {
        Err(format!("{} is below the least, {}", show(&value), show(range.start())))
    } else if value > *range.end() {
        Err(format!("{} is above the most, {}", show(&value), show(range.end())))
    } else {
        Ok(value)
    }
}

fn integer(value: &DeValue<'_>) -> Option<u64> {
    value.as_integer().and_then(|integer| u64::from_str_radix(integer.as_str(), integer.radix()).ok())
}

/// `true` or `false`.
pub(in crate::config) fn flag() -> Kind<bool> {
    Kind::new(
        "true or false",
        |written| {
            let found = written.get_ref();
            found.as_bool().ok_or_else(|| fault(written, unlike("true or false", found)))
        },
        |&value| Some(value.into()),
    )
    .with_schema(json!({ "type": "boolean" }))
}

/// A whole number.
pub(in crate::config) fn count(range: RangeInclusive<usize>) -> Kind<usize> {
    let allowed = format!("a whole number from {} to {}", range.start(), range.end());
    let schema = json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
    let read = move |written: &Written<'_>| match written.get_ref() {
        found @ DeValue::Integer(text) => integer(found)
            .and_then(|value| usize::try_from(value).ok())
            .ok_or_else(|| format!("{text} is not in the range"))
            .and_then(|value| within(value, &range, usize::to_string))
            .map_err(|what| fault(written, what)),
        found => Err(fault(written, unlike("a whole number", found))),
    };
    Kind::new(allowed, read, |&value: &usize| i64::try_from(value).ok().map(toml::Value::Integer)).with_schema(schema)
}

/// A share between two numbers.
pub(in crate::config) fn fraction(range: RangeInclusive<f64>) -> Kind<f64> {
    let show = |value: &f64| format!("{value:?}");
    let allowed = format!("a number from {} to {}", show(range.start()), show(range.end()));
    let schema = json!({ "type": "number", "minimum": range.start(), "maximum": range.end() });
    let read = move |written: &Written<'_>| {
        let number = match written.get_ref() {
            DeValue::Float(text) => text.as_str().parse().ok(),
            found => integer(found).map(|whole| whole as f64),
        };
        match number {
            Some(number) if f64::is_nan(number) => Err(fault(written, "nan is not a number".into())),
            Some(number) => within(number, &range, show).map_err(|what| fault(written, what)),
            None => Err(fault(written, unlike("a number", written.get_ref()))),
        }
    };
    Kind::new(allowed, read, |&value: &f64| Some(value.into())).with_schema(schema)
}

/// Prints a span as it may be written.
pub(in crate::config) fn span_text(span: &Duration) -> String {
    humantime::format_duration(*span).to_string()
}

/// A span of time with its unit.
pub(in crate::config) fn span(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let allowed = format!(
        "a span from {} to {}, such as \"500ms\", \"30s\" or \"1m 30s\"",
        span_text(range.start()),
        span_text(range.end())
    );
    let read = move |written: &Written<'_>| match written.get_ref() {
        DeValue::String(text) => humantime::parse_duration(text)
            .map_err(|error| format!("{text:?} is not a span: {error}"))
            .and_then(|value| within(value, &range, span_text))
            .map_err(|what| fault(written, what)),
        found => Err(fault(written, unlike("a string with a unit", found))),
    };
    Kind::new(allowed, read, |value: &Duration| Some(span_text(value).into())).with_schema(json!({ "type": "string" }))
}

/// A number of bytes, with or without a unit.
pub(in crate::config) fn bytes(range: RangeInclusive<u64>) -> Kind<u64> {
    let show = |bytes: &u64| ByteCount(*bytes).to_string();
    let allowed = format!(
        "a byte count from {} to {}, such as \"64KiB\", \"10MiB\" or \"1GiB\"",
        show(range.start()),
        show(range.end())
    );
    let number = json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
    let read = move |written: &Written<'_>| {
        let count = match written.get_ref() {
            DeValue::String(text) => {
                text.parse::<ByteCount>().map(|count| count.0).map_err(|_| format!("{text:?} is not a byte count"))
            }
            found => integer(found).ok_or_else(|| unlike("a byte count", found)),
        };
        count.and_then(|bytes| within(bytes, &range, show)).map_err(|what| fault(written, what))
    };
    Kind::new(allowed, read, move |value: &u64| {
        let text = show(value);
        Some(text.parse::<i64>().map_or(toml::Value::String(text), toml::Value::Integer))
    })
    .with_schema(json!({ "anyOf": [{ "type": "string" }, number] }))
}

/// One of a few words.
pub(in crate::config) fn choice<T: Clone + PartialEq + 'static>(words: &'static [(&'static str, T)]) -> Kind<T> {
    let quoted: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    Kind::string(
        quoted.join(" or "),
        move |text| match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(nearest(text, words.iter().map(|(word, _)| *word)).map_or_else(
                || format!("{text:?} is not one of the words"),
                |word| format!("{text:?} is not one of the words; did you mean {word:?}?"),
            )),
        },
        move |value| words.iter().find(|(_, known)| known == value).map_or("", |(word, _)| *word).to_owned(),
    )
    .with_schema(json!({ "enum": words.iter().map(|(word, _)| *word).collect::<Vec<_>>() }))
}

/// Any text of 1 to `chars_max` printable characters.
pub(in crate::config) fn text(chars_max: usize) -> Kind<String> {
    Kind::string(
        format!("a text of 1 to {chars_max} printable characters"),
        move |text| match text.chars().count() {
            0 => Err("it is empty".into()),
            n if n > chars_max => Err(format!("{n} characters are too many")),
            _ if text.chars().any(char::is_control) => Err("it has a control character".into()),
            _ => Ok(text.to_owned()),
        },
        String::clone,
    )
}

/// A file that can be written to.
pub(in crate::config) fn file() -> Kind<PathBuf> {
    let path = text(4096);
    Kind::new(
        "the path of a file",
        move |written| path.read(written).map(PathBuf::from),
        |path: &PathBuf| Some(path.to_string_lossy().into_owned().into()),
    )
    .with_schema(json!({ "type": "string" }))
}
