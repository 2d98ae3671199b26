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

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_none(&circles::violations(&repository()));
}

#[test]
fn no_folder_holds_too_many_files() {
    assert_none(&folders::violations(&repository()));
}

#[test]
fn no_two_types_bear_one_name() {
    assert_none(&types::violations(&repository(), types::EXCEPTIONS));
}

#[test]
fn every_doc_comment_begins_with_its_subject() {
    assert_none(&comments::first_words(&repository()));
}

#[test]
fn no_comment_line_is_too_wide() {
    assert_none(&comments::widths(&repository()));
}

#[test]
fn every_link_and_name_in_the_documentation_leads_somewhere() {
    assert_none(&docs::violations(&repository()));
}
