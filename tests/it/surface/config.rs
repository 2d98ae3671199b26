//! Configuration keys: types and ranges by `larder schema`, defaults as `larder check` prints them.

use serde_json::Value;

use super::{Items, check};
use crate::harness::process::run;

#[test]
fn keys_of_the_configuration() {
    let ran = run(&["schema"]);
    assert_eq!(ran.code, Some(0), "{}", ran.output);
    let mut items = Items::new();
    keys("", &serde_json::from_str(&ran.output).unwrap(), &mut items);
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.toml");
    std::fs::write(&empty, "").unwrap();
    let ran = run(&["check", "--config", empty.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.output);
    items.extend(in_force(&ran.output));
    check("config.txt", &items);
}

/// Adds a line for each key of a table of the schema.
fn keys(path: &str, table: &Value, items: &mut Items) {
    let properties = table["properties"].as_object().unwrap_or_else(|| panic!("{path} is no table: {table}"));
    for (name, schema) in properties {
        let path = format!("{path}{name}");
        // `anyOf` and lists of values belong to a key, tables and lists of tables have keys of
        // their own.
        if schema["properties"].is_object() {
            keys(&format!("{path}."), schema, items);
        } else if schema["items"]["properties"].is_object() {
            items.insert(format!("schema: {path}[]: {}", without(schema, &["description", "items"])));
            keys(&format!("{path}[]."), &schema["items"], items);
        } else {
            let range = numbers(schema["description"].as_str().unwrap_or_default());
            items.insert(format!("schema: {path}: {}{range}", without(schema, &["description"])));
        }
    }
}

/// Prints a schema without these members, in the order of their names.
fn without(schema: &Value, left_out: &[&str]) -> String {
    let members: std::collections::BTreeMap<_, _> =
        schema.as_object().unwrap().iter().filter(|(name, _)| !left_out.contains(&name.as_str())).collect();
    serde_json::to_string(&members).unwrap()
}

/// Returns the numbers of a description, which are the range where the schema cannot say it (spans,
/// byte counts). The examples stand in quotes, and are prose.
fn numbers(description: &str) -> String {
    let unquoted: String = description.split(['"', '`']).step_by(2).collect::<Vec<_>>().join(" ");
    let words = unquoted.split([' ', ',', ';', '(', ')']).filter(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    words.map(|word| format!(" {word}")).collect()
}

/// Returns a line for each key that a configuration in force has.
fn in_force(text: &str) -> Items {
    let mut items = Items::new();
    let mut table = String::new();
    // The first line names the file; notes on what is missing come last, from standard error.
    for line in text.lines().skip(1).take_while(|line| !line.starts_with("note:")) {
        if let Some(name) = line.strip_prefix('[') {
            table = format!("{}.", name.trim_end_matches(']'));
        } else if let Some(comment) = line.strip_prefix("# ") {
            items.insert(format!("in force: {table}{} is not set", comment.split(' ').next().unwrap_or_default()));
        } else if !line.is_empty() {
            items.insert(format!("in force: {table}{line}"));
        }
    }
    items
}

#[test]
fn a_range_is_read_off_a_description_and_examples_are_not() {
    assert_eq!(numbers("a span from 0s to 1h, such as \"500ms\" or \"1m 30s\""), " 0s 1h");
    assert_eq!(numbers("a table of final status codes (200 to 599), each with a span"), " 200 599");
    assert_eq!(numbers("true or false"), "");
}

#[test]
fn keys_in_force_are_read_with_their_table() {
    let text = "# In force: a file.\nlisten = \"[::]:1\"\n\n[origin]\n# url is not set\nhost = \"a\"\nnote: a = b\n";
    let expected =
        ["in force: listen = \"[::]:1\"", "in force: origin.host = \"a\"", "in force: origin.url is not set"];
    assert_eq!(in_force(text), expected.map(str::to_owned).into());
}
