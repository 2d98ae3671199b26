//! How comments are written: the word that a doc comment begins with, and the width of a line.

use super::tree::{Tree, Violation};

/// A hover or a search hit shows a doc comment without what stands before it, so these words point
/// at nothing.
const POINTS_AT_NOTHING: &[&str] = &["it", "its", "those", "these", "who", "whoever", "what", "whether"];

/// The columns of a comment line, its indentation included.
const COLUMNS_MAX: usize = 100;

/// Reports each doc comment whose first word is one of [`POINTS_AT_NOTHING`].
///
/// A doc comment is a run of lines that begin with `///`, or with `//!`; the first word is that of
/// its first line with text, whatever markup stands before it. Fields, variants and tests count
/// too.
pub(crate) fn first_words(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.below(&["src", "tests", "benches"], &[".rs"]) {
        // The marker of the comment whose first line with text is still to come, or has come.
        let mut open: Option<(&str, bool)> = None;
        for (at, line) in text.lines().enumerate() {
            let Some((marker, said)) = doc_line(line) else {
                open = None;
                continue;
            };
            let begun = open.is_some_and(|(before, begun)| before == marker && begun);
            let word = first_word(said);
            if !begun && POINTS_AT_NOTHING.contains(&word.to_lowercase().as_str()) {
                found.push(Violation {
                    path: path.to_owned(),
                    line: at + 1,
                    advice: format!("the doc comment begins with “{word}”; begin with the noun that it is about"),
                });
            }
            open = Some((marker, begun || !said.trim().is_empty()));
        }
    }
    found
}

/// The marker of a line of a doc comment, and what stands behind it.
fn doc_line(line: &str) -> Option<(&'static str, &str)> {
    let line = line.trim_start();
    // Four slashes make an ordinary comment.
    let outer = || line.strip_prefix("///").filter(|said| !said.starts_with('/')).map(|said| ("///", said));
    line.strip_prefix("//!").map(|said| ("//!", said)).or_else(outer)
}

/// The letters that a line begins with, behind blanks and markup: `It` in `**It's** here`.
fn first_word(said: &str) -> &str {
    let said = said.trim_start_matches([' ', '*', '_', '`', '[', '(', '"', '“', '>']);
    said.split(|character: char| !character.is_alphabetic()).next().unwrap_or_default()
}

/// Reports each line that is a comment and nothing else, and is wider than [`COLUMNS_MAX`].
///
/// `//` is looked for in Rust and JavaScript, `#` in TOML, Python, YAML and shell scripts. A line
/// whose comment is one word cannot be broken, which is so for a long address; every other line
/// can, tables by becoming a list.
pub(crate) fn widths(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for (path, text) in tree.all() {
        let Some(marker) = comment_marker(path, text) else { continue };
        for (at, line) in text.lines().enumerate() {
            let columns = line.chars().count();
            let is_comment = line.trim_start().starts_with(marker);
            if is_comment && columns > COLUMNS_MAX && line.split_whitespace().count() > 2 {
                found.push(Violation {
                    path: path.to_owned(),
                    line: at + 1,
                    advice: format!("the comment line has {columns} columns; break it at {COLUMNS_MAX}"),
                });
            }
        }
    }
    found
}

/// The marker that a comment begins with in the file at `path`; `None` for files without comments,
/// and for others' code.
fn comment_marker(path: &str, text: &str) -> Option<&'static str> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name.rsplit_once('.') {
        _ if path.contains("/vendor/") => None,
        Some((_, "rs" | "js" | "mjs")) => Some("//"),
        Some((_, "toml" | "py" | "sh" | "yml" | "yaml")) => Some("#"),
        None if text.starts_with("#!") => Some("#"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(found: &[Violation]) -> Vec<usize> {
        found.iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_doc_comment_that_begins_with_a_pronoun_is_found() {
        let check = |source: &str| lines(&first_words(&Tree::of(&[("src/a.rs", source)])));
        for word in ["It", "Its", "Those", "These", "Who", "Whoever", "What", "Whether"] {
            assert_eq!(check(&format!("/// {word} is here.\nstruct A;")), [1], "{word}");
        }
        assert_eq!(check("//! What this is.\n\n/// Its use.\nstruct A;"), [1, 3]);
        assert_eq!(check("struct A {\n    /// Whether.\n    a: u8,\n}"), [2], "fields count");
        assert_eq!(check("enum A {\n    /// Those.\n    B,\n    /// Who.\n    C,\n}"), [2, 4], "variants count");
        assert_eq!(check("//!\n//! It begins on the second line."), [2]);
        assert_eq!(check("/// **It's** here."), [1], "markup and endings hide nothing");
        assert_eq!(check("//! A module.\n/// It is another comment."), [2]);
    }

    #[test]
    fn a_doc_comment_that_begins_with_its_subject_is_fine() {
        let check = |source: &str| lines(&first_words(&Tree::of(&[("src/a.rs", source)])));
        assert_eq!(check("/// The key.\n/// It is compared whole.\nstruct A;"), NONE, "the second line may");
        assert_eq!(check("/// The key.\n///\n/// It is compared whole.\nstruct A;"), NONE, "a second paragraph may");
        assert_eq!(check("/// Items, Whatever, Italics."), NONE);
        assert_eq!(check("// It is no doc comment.\n//// Nor this: It.\n//// It."), NONE);
        assert_eq!(lines(&first_words(&Tree::of(&[("README.md", "/// It"), ("other/a.rs", "/// It")]))), NONE);
    }

    #[test]
    fn a_wide_comment_line_is_found() {
        let wide = |start: &str| format!("{start} {}\n", "ab ".repeat(40));
        let check = |path: &str, text: &str| lines(&widths(&Tree::of(&[(path, text)])));
        for start in ["//", "///", "//!", "    //", "//! | a |"] {
            assert_eq!(check("src/a.rs", &format!("fn f() {{}}\n{}", wide(start))), [2], "{start}");
        }
        for path in ["config.toml", "benches/a.py", "service/a.yml"] {
            assert_eq!(check(path, &wide("#")), [1], "{path}");
        }
        assert_eq!(check("tests/run", &format!("#!/usr/bin/env bash\n{}", wide("#"))), [2]);
        assert_eq!(check("tests/it/a.rs", &wide("//")), [1]);
    }

    #[test]
    fn a_comment_line_of_a_hundred_columns_is_fine() {
        let check = |path: &str, text: &str| lines(&widths(&Tree::of(&[(path, text)])));
        assert_eq!(check("src/a.rs", &format!("// {} {}", "a".repeat(48), "b".repeat(48))), NONE);
        assert_eq!(check("src/a.rs", &format!("// {} {}", "a".repeat(48), "b".repeat(49))), [1]);
        assert_eq!(check("src/a.rs", &format!("// {} {}", "ä".repeat(48), "ö".repeat(48))), NONE, "columns, not bytes");
        assert_eq!(check("src/a.rs", &format!("/// <https://example.com/{}>", "a".repeat(90))), NONE, "one word");
        assert_eq!(check("src/a.rs", &format!("let a = 1; // {}", "ab ".repeat(40))), NONE, "code before it");
        assert_eq!(check("README.md", &format!("# {}", "ab ".repeat(40))), NONE);
    }
}
