//! The JSON Schema of the configuration, for editors that complete and check TOML.
//!
//! Like the reader and the printer, the schema walks the one description of all keys
//! ([`super::keys`]), so it cannot fall behind. The schema says less than `larder check`, which
//! alone judges durations, sizes and combinations of keys.

use serde_json::{Map, Value, json};

use super::keys::Settings;
use super::kind::Kind;
use super::visit::Keys;

/// Collects the keys of one table.
#[derive(Default)]
struct Schema {
    properties: Map<String, Value>,
}

impl Schema {
    /// Describes a table.
    fn of(body: impl FnOnce(&mut Self)) -> Value {
        let mut schema = Self::default();
        body(&mut schema);
        json!({ "type": "object", "additionalProperties": false, "properties": schema.properties })
    }
}

impl Keys for Schema {
    fn key<T: 'static>(&mut self, name: &'static str, value: &mut T, kind: Kind<T>) {
        let mut schema = kind.schema().clone();
        schema["description"] = json!(kind.allowed());
        if let Some(default) = kind.print(value) {
            schema["default"] = serde_json::to_value(default).unwrap_or_default();
        }
        self.properties.insert(name.to_owned(), schema);
    }

    fn table(&mut self, name: &'static str, body: impl FnOnce(&mut Self)) {
        self.properties.insert(name.to_owned(), Self::of(body));
    }

    fn tables<T: Default>(
        &mut self,
        name: &'static str,
        _: &mut Vec<T>,
        items_max: usize,
        body: impl Fn(&mut T, &mut Self),
    ) {
        let items = Self::of(|keys| body(&mut T::default(), keys));
        self.properties.insert(name.to_owned(), json!({ "type": "array", "maxItems": items_max, "items": items }));
    }
}

/// Returns the schema.
pub(super) fn schema() -> Value {
    let mut schema = Schema::of(|keys| Settings::default().keys(keys));
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Larder's configuration");
    schema
}
