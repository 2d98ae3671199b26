//! Kinds of plain values: flags, numbers, durations, byte counts, words, texts, files.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use toml::de::DeValue;

use super::definition::{Kind, Written, fault, wrong_type};
use crate::config::problem::nearest;
use crate::units::ByteCount;

/// Returns `value` if it is within the range, else says what is wrong.
fn within<T: PartialOrd>(value: T, range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> Result<T, String> {
    if value < *range.start() {
        Err(format!("{} is below the minimum, {}", show(&value), show(range.start())))
    } else if value > *range.end() {
        Err(format!("{} is above the maximum, {}", show(&value), show(range.end())))
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
            found.as_bool().ok_or_else(|| fault(written, wrong_type("true or false", found)))
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
            .ok_or_else(|| format!("{text} is out of range"))
            .and_then(|value| within(value, &range, usize::to_string))
            .map_err(|what| fault(written, what)),
        found => Err(fault(written, wrong_type("a whole number", found))),
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
            None => Err(fault(written, wrong_type("a number", written.get_ref()))),
        }
    };
    Kind::new(allowed, read, |&value: &f64| Some(value.into())).with_schema(schema)
}

/// Prints a duration in the form in which it may be written.
pub(in crate::config) fn duration_text(span: &Duration) -> String {
    humantime::format_duration(*span).to_string()
}

/// A duration with its unit.
pub(in crate::config) fn duration(range: RangeInclusive<Duration>) -> Kind<Duration> {
    let allowed = format!(
        "a duration from {} to {}, such as \"500ms\", \"30s\" or \"1m 30s\"",
        duration_text(range.start()),
        duration_text(range.end())
    );
    let read = move |written: &Written<'_>| match written.get_ref() {
        DeValue::String(text) => humantime::parse_duration(text)
            .map_err(|_| format!("{text:?} is not a duration"))
            .and_then(|value| within(value, &range, duration_text))
            .map_err(|what| fault(written, what)),
        found => Err(fault(written, wrong_type("a duration as a string with a unit", found))),
    };
    Kind::new(allowed, read, |value: &Duration| Some(duration_text(value).into()))
        .with_schema(json!({ "type": "string" }))
}

/// A number of bytes, with or without a unit.
pub(in crate::config) fn bytes(range: RangeInclusive<u64>) -> Kind<u64> {
    let show = |bytes: &u64| ByteCount(*bytes).to_string();
    let allowed = format!(
        "a size from {} to {}, such as \"64KiB\", \"10MiB\" or \"1GiB\"",
        show(range.start()),
        show(range.end())
    );
    let number = json!({ "type": "integer", "minimum": range.start(), "maximum": range.end() });
    let read = move |written: &Written<'_>| {
        let count = match written.get_ref() {
            DeValue::String(text) => {
                text.parse::<ByteCount>().map(|count| count.0).map_err(|_| format!("{text:?} is not a size"))
            }
            found => integer(found).ok_or_else(|| wrong_type("a size", found)),
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
                || format!("unknown value {text:?}"),
                |word| format!("unknown value {text:?}; did you mean {word:?}?"),
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
            0 => Err("must not be empty".into()),
            n if n > chars_max => Err(format!("too long ({n} characters; at most {chars_max})")),
            _ if text.chars().any(char::is_control) => Err("must not contain control characters".into()),
            _ => Ok(text.to_owned()),
        },
        String::clone,
    )
}

/// The path of a file.
pub(in crate::config) fn file() -> Kind<PathBuf> {
    let path = text(4096);
    Kind::new(
        "the path of a file",
        move |written| path.read(written).map(PathBuf::from),
        |path: &PathBuf| Some(path.to_string_lossy().into_owned().into()),
    )
    .with_schema(json!({ "type": "string" }))
}
