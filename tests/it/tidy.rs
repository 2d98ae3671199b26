//! The rules of the house, checked: layers, circles, folders, names of types, comments and links.
//!
//! Each rule is a file of its own under `tests/it/tidy/`, with tests that show what it finds and
//! what it leaves alone. Here the rules are applied to the repository. A rule reports every
//! violation at once, as a place and a sentence that says what to do.

mod circles;
mod comments;
mod docs;
mod folders;
mod graph;
mod layers;
mod markdown;
mod program;
mod syntax;
mod tree;
mod types;

use std::path::Path;

use self::tree::{Tree, assert_none};

fn repository() -> Tree {
    Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

#[test]
fn no_import_points_upward() {
    assert_none(&layers::violations(&repository()));
}

/// Folders that are yet to be split.
const TOO_LARGE: &[&str] = &["src/admin", "src/cli", "src/origin", "src/policy", "src/proxy", "src/server"];

#[test]
fn no_folder_holds_too_many_files() {
    let mut violations = folders::violations(&repository());
    violations.retain(|violation| !TOO_LARGE.contains(&violation.path.as_str()));
    assert_none(&violations);
}

#[test]
fn every_link_and_name_in_the_documentation_leads_somewhere() {
    assert_none(&docs::violations(&repository()));
}
