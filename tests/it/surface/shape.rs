//! The shape of JSON: the path of each field, and the types of its values.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Items;

/// Objects whose keys are data (outcomes, reasons, field names), by the end of their path: their
/// members share one path.
const MAPS: [&str; 7] = [
    "by_outcome",
    "by_reason",
    "endings.aborted",
    "storing.not_stored",
    "stored[].vary",
    "routes[].would_be",
    "total.would_be",
];

/// Fields whose strings are tokens of a closed list: the tokens that a scenario brings about are
/// part of the shape.
const CLOSED: [&str; 17] = [
    "about",
    "action",
    "breaker",
    "cache",
    "coding",
    "ending",
    "kind",
    "lifetime_from",
    "mode",
    "purge",
    "running",
    "server_error",
    "state",
    "swept",
    "tier",
    "to_this_request",
    "unreachable",
];

/// The shape of all values that were added.
#[derive(Debug, Default)]
pub(super) struct Shape(BTreeMap<String, BTreeSet<String>>);

impl Shape {
    /// Adds a value under a name, such as `GET /stats`.
    pub(super) fn add(&mut self, name: &str, value: &Value) {
        self.walk(name, "", value);
    }

    fn walk(&mut self, path: &str, field: &str, value: &Value) {
        let kind = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "boolean".to_owned(),
            Value::Number(number) if number.is_f64() => "number".to_owned(),
            Value::Number(_) => "integer".to_owned(),
            Value::String(token) if CLOSED.contains(&field) => format!("{token:?}"),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        self.0.entry(path.to_owned()).or_default().insert(kind);
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.walk(&format!("{path}[]"), field, item)),
            Value::Object(members) => {
                let separator = if field.is_empty() && !path.ends_with("[]") { ' ' } else { '.' };
                for (name, member) in members {
                    let name = if MAPS.iter().any(|map| path.ends_with(map)) { "*" } else { name };
                    self.walk(&format!("{path}{separator}{name}"), name, member);
                }
            }
            _ => {}
        }
    }

    /// Returns a line for each path, with the types that its values had.
    pub(super) fn items(&self) -> Items {
        let line = |(path, kinds): (&String, &BTreeSet<String>)| {
            let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
            format!("{path}: {}", kinds.join(" | "))
        };
        self.0.iter().map(line).collect()
    }
}

#[test]
fn paths_and_types_are_listed_and_values_are_not() {
    let mut shape = Shape::default();
    shape.add("GET /a", &serde_json::json!({"rows": [{"n": 1, "ttl": null}, {"n": 1.5}], "by_reason": {"fresh": 7}}));
    shape.add("GET /a", &serde_json::json!({"rows": [], "now": {"action": "pass", "says": "a sentence"}}));
    let expected = [
        "GET /a by_reason.*: integer",
        "GET /a by_reason: object",
        "GET /a now.action: \"pass\"",
        "GET /a now.says: string",
        "GET /a now: object",
        "GET /a rows[].n: integer | number",
        "GET /a rows[].ttl: null",
        "GET /a rows[]: object",
        "GET /a rows: array",
        "GET /a: object",
    ];
    assert_eq!(shape.items(), expected.map(str::to_owned).into());
}
