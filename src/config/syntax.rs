//! Syntax errors, reported like any other problem: line, key, fault and allowed values, as far as
//! the parser's guess at the rest of the file reveals them.

use toml::de::Error;

use super::problem::{ConfigProblem, line_of};
use super::visit::KeyPlaces;

/// Makes a problem of each parser error; `places` are the keys that the parser could identify.
pub(super) fn problems(text: &str, errors: &[Error], places: &KeyPlaces) -> Vec<ConfigProblem> {
    errors.iter().map(|error| problem(text, error, places)).collect()
}

fn problem(text: &str, error: &Error, places: &KeyPlaces) -> ConfigProblem {
    let span = error.span();
    let line = span.as_ref().map_or(1, |span| line_of(text, span.start));
    let is_duplicate = error.message().contains("duplicate key");
    let (key, allowed) = match places.on_line(text, line) {
        Some((key, allowed)) if !is_duplicate => (key.to_owned(), allowed.to_owned()),
        _ => (key_of(text, line), String::new()),
    };
    let allowed = match allowed.as_str() {
        _ if is_duplicate => "each key once per table".to_owned(),
        "" => r#"lines such as `name = "text"`, `name = 1`, [table], [[list]], or `# comment`"#.to_owned(),
        _ => allowed,
    };
    ConfigProblem { span, key, what: format!("not valid TOML: {}", error.message()), allowed }
}

/// Returns the key of a line with its table, judged by the text alone; empty if there is none.
fn key_of(text: &str, line: usize) -> String {
    let is_name =
        |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let above: Vec<_> = text.lines().take(line).collect();
    let name = above.last().and_then(|line| line.split_once('=')).map_or("", |(name, _)| name.trim());
    let table = above.iter().rev().find_map(|line| Some(line.trim().strip_prefix('[')?.trim_matches(['[', ']', ' '])));
    match table {
        _ if !is_name(name) => String::new(),
        Some(table) if is_name(table) => format!("{table}.{name}"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_line_is_found_in_the_text() {
        let check = |text: &str, line, expected| assert_eq!(key_of(text, line), expected, "{text}");
        check("a = 1", 1, "a");
        check("[t]\na = 1\nb =", 3, "t.b");
        check("[[t]]\nkey.query = all", 2, "t.key.query");
        check("[t]\n]", 2, "");
        check("", 1, "");
        check("[ü]\na = 1", 2, "a");
    }
}
