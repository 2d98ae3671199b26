//! The tables of the documentation that the code makes: reasons in `src/docs/reasons.md`, figures
//! in `src/docs/watching.md`.
//!
//! `LARDER_WRITE_DOCS=1 cargo test --test it readme` writes the tables anew.

use std::fs;
use std::path::Path;

/// A table on a page, between a line that says what it is made from and a line that ends it.
struct MadeTable {
    page: &'static str,
    name: &'static str,
    source: &'static str,
}

impl MadeTable {
    /// Fails at the first line of the table that is not `expected`; writes the table with
    /// `LARDER_WRITE_DOCS`.
    #[track_caller]
    fn check(&self, expected: &str) {
        let Self { page, name, source } = self;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let text = fs::read_to_string(&path).unwrap();
        let marked = |mark: &str| text.find(mark).unwrap_or_else(|| panic!("{page} has no line `{}`", mark.trim_end()));
        let begin =
            format!("<!-- {name}: made from {source} by `LARDER_WRITE_DOCS=1 cargo test --test it readme` -->\n");
        let (begin, end) = (marked(&begin) + begin.len(), marked(&format!("<!-- end of {name} -->\n")));
        let expected = without_links(expected);
        if std::env::var_os("LARDER_WRITE_DOCS").is_some() {
            fs::write(&path, format!("{}{expected}{}", &text[..begin], &text[end..])).unwrap();
            return;
        }
        let first = text[..begin].lines().count() + 1;
        let (mut found, mut wanted) = (text[begin..end].lines(), expected.lines());
        for line in first.. {
            match (found.next(), wanted.next()) {
                (None, None) => break,
                (found, wanted) => assert_eq!(
                    found, wanted,
                    "{page}:{line} is not what {source} says; \
                     fix it, or type: LARDER_WRITE_DOCS=1 cargo test --test it readme"
                ),
            }
        }
    }
}

#[test]
fn the_reference_of_reasons_is_made_from_the_enum() {
    let table = MadeTable { page: "src/docs/reasons.md", name: "reasons", source: "src/outcome.rs" };
    table.check(&larder::outcome::reference());
}

#[test]
fn the_reference_of_figures_is_made_from_the_table() {
    let table = MadeTable { page: "src/docs/watching.md", name: "figures", source: "src/admin/figures/table.rs" };
    table.check(&larder::admin::figure_reference());
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
