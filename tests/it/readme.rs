//! The table of reasons in `src/docs/reasons.md` is the one that the enum makes.
//!
//! `LARDER_WRITE_DOCS=1 cargo test --test it readme` writes the table anew.

use std::fs;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/docs/reasons.md");
const BEGIN: &str = "<!-- reasons: made from src/outcome.rs by `LARDER_WRITE_DOCS=1 cargo test --test it readme` -->\n";
const END: &str = "<!-- end of reasons -->\n";

#[test]
fn the_reference_of_reasons_is_made_from_the_enum() {
    let text = fs::read_to_string(PAGE).unwrap();
    let marked = |mark: &str| text.find(mark).unwrap_or_else(|| panic!("{PAGE} has no line `{}`", mark.trim_end()));
    let (begin, end) = (marked(BEGIN) + BEGIN.len(), marked(END));
    let expected = without_links(&larder::outcome::reference());
    if std::env::var_os("LARDER_WRITE_DOCS").is_some() {
        fs::write(PAGE, format!("{}{expected}{}", &text[..begin], &text[end..])).unwrap();
        return;
    }
    let first = text[..begin].lines().count() + 1;
    let (mut found, mut wanted) = (text[begin..end].lines(), expected.lines());
    for line in first.. {
        match (found.next(), wanted.next()) {
            (None, None) => break,
            (found, wanted) => assert_eq!(
                found, wanted,
                "{PAGE}:{line} is not what src/outcome.rs says; \
                 fix it, or type: LARDER_WRITE_DOCS=1 cargo test --test it readme"
            ),
        }
    }
}

/// Escapes brackets outside code, since rustdoc takes `[cache]` for a link.
fn without_links(markdown: &str) -> String {
    let escaped = |(at, text): (usize, &str)| match at % 2 {
        0 => text.replace('[', "\\[").replace(']', "\\]"),
        _ => text.to_owned(),
    };
    markdown.split('`').enumerate().map(escaped).collect::<Vec<_>>().join("`")
}

#[test]
fn brackets_are_escaped_outside_code_only() {
    assert_eq!(without_links("under [cache], in `[[site]]` or [log]"), r"under \[cache\], in `[[site]]` or \[log\]");
}
