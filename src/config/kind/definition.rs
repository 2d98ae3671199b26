//! [`Kind`]: how a value is read and printed, and what is allowed of it.

use std::ops::Range;

use serde_json::{Value, json};
use serde_spanned::Spanned;
use toml::de::DeValue;

/// A value as the file has it, with its position.
pub(in crate::config) type Written<'d> = Spanned<DeValue<'d>>;

/// One fault of a value, with the bytes of the file that are at fault.
#[derive(Debug)]
pub(in crate::config) struct Fault {
    pub(in crate::config) span: Range<usize>,
    pub(in crate::config) what: String,
}

/// A value as read, or everything that is wrong with it.
pub(super) type ReadResult<T> = Result<T, Vec<Fault>>;

/// A function that reads a value.
type ReadWith<T> = Box<dyn Fn(&Written<'_>) -> ReadResult<T>>;
/// A function that prints a value; `None` if the value is not set and is left out.
type PrintWith<T> = Box<dyn Fn(&T) -> Option<toml::Value>>;

/// The way a value is read and printed, and the sentence that says what is allowed.
pub(in crate::config) struct Kind<T> {
    read: ReadWith<T>,
    print: PrintWith<T>,
    allowed: String,
    schema: Value,
}

impl<T: 'static> Kind<T> {
    pub(super) fn new(
        allowed: impl Into<String>,
        read: impl Fn(&Written<'_>) -> ReadResult<T> + 'static,
        print: impl Fn(&T) -> Option<toml::Value> + 'static,
    ) -> Self {
        Self { read: Box::new(read), print: Box::new(print), allowed: allowed.into(), schema: json!({}) }
    }

    /// Adds a JSON Schema, as far as one can express what is allowed.
    pub(super) fn with_schema(self, schema: Value) -> Self {
        Self { schema, ..self }
    }

    /// Makes a kind that is written as a string.
    pub(super) fn string(
        allowed: impl Into<String>,
        read: impl Fn(&str) -> Result<T, String> + 'static,
        print: impl Fn(&T) -> String + 'static,
    ) -> Self {
        let read = move |written: &Written<'_>| match written.get_ref() {
            DeValue::String(text) => read(text).map_err(|what| fault(written, what)),
            other => Err(fault(written, wrong_type("a string", other))),
        };
        let print = move |value: &T| Some(toml::Value::String(print(value)));
        Self::new(allowed, read, print).with_schema(json!({ "type": "string" }))
    }

    /// Reads a value.
    pub(in crate::config) fn read(&self, written: &Written<'_>) -> ReadResult<T> {
        (self.read)(written)
    }

    /// Prints a value as TOML; `None` if it is not set.
    pub(in crate::config) fn print(&self, value: &T) -> Option<toml::Value> {
        (self.print)(value)
    }

    /// Returns the sentence that says what is allowed.
    pub(in crate::config) fn allowed(&self) -> &str {
        &self.allowed
    }

    /// Returns the JSON Schema.
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
                return Err(fault(written, wrong_type("a list", written.get_ref())));
            };
            if items.len() > items_max {
                return Err(fault(written, format!("too many values: {}", items.len())));
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

/// Makes a single fault that covers the whole value.
pub(super) fn fault(written: &Written<'_>, what: String) -> Vec<Fault> {
    vec![Fault { span: written.span(), what }]
}

/// Says that another type was expected.
pub(super) fn wrong_type(expected: &str, found: &DeValue<'_>) -> String {
    let found = found.type_str();
    let article = if found.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("expected {expected}, found {article} {found}")
}
