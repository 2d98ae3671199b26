//! The reference of reasons in README.md is the one that the enum makes.
//!
//! `LARDER_WRITE_README=1 cargo test --test it readme` writes it anew.

use std::fs;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
const BEGIN: &str =
    "<!-- reasons: made from src/outcome.rs by `LARDER_WRITE_README=1 cargo test --test it readme` -->\n";
const END: &str = "<!-- end of reasons -->\n";

#[test]
fn the_reference_of_reasons_is_made_from_the_enum() {
    let text = fs::read_to_string(README).unwrap();
    let marked = |mark: &str| text.find(mark).unwrap_or_else(|| panic!("README.md has no line `{}`", mark.trim_end()));
    let (begin, end) = (marked(BEGIN) + BEGIN.len(), marked(END));
    let expected = larder::outcome::reference();
    if std::env::var_os("LARDER_WRITE_README").is_some() {
        fs::write(README, format!("{}{expected}{}", &text[..begin], &text[end..])).unwrap();
        return;
    }
    let first = text[..begin].lines().count() + 1;
    let (mut found, mut wanted) = (text[begin..end].lines(), expected.lines());
    for line in first.. {
        match (found.next(), wanted.next()) {
            (None, None) => break,
            (found, wanted) => assert_eq!(
                found, wanted,
                "README.md:{line} is not what src/outcome.rs says; \
                 mend it, or type: LARDER_WRITE_README=1 cargo test --test it readme"
            ),
        }
    }
}
