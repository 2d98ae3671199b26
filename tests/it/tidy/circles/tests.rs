//! Small crates, each with one arrow or one circle.

use super::*;

/// A crate of one module, `room`, with a file of its own and the children `a` and `b`.
fn room(parent: &str, a: &str, b: &str) -> Tree {
    let parent = format!("mod a; mod b;\n{parent}");
    Tree::of(&[("src/lib.rs", "mod room;"), ("src/room/mod.rs", &parent), ("src/room/a.rs", a), ("src/room/b.rs", b)])
}

/// The arrows of a tree by the names of their files, `a → b`.
fn arrows(tree: &Tree) -> Vec<String> {
    let program = Program::of(tree);
    let name =
        |file: FileId| program.files()[file].path.trim_start_matches("src/room/").trim_end_matches(".rs").to_owned();
    uses(&program).keys().map(|(from, to)| format!("{} → {}", name(*from), name(*to))).collect()
}

const NONE: [&str; 0] = [];

#[test]
fn a_path_to_what_another_file_defines_is_an_arrow() {
    let ways = [
        "use super::b::B;",
        "use super::b::{B as Renamed};",
        "use super::{b::{self, B}};",
        "use crate::room::b::B;",
        "pub use super::b::B;",
        "use super::b::*;",
        "fn f() { use super::b::B; }",
        "fn f() { super::b::go(); }",
        "fn f(_: super::b::B) {}",
        "fn f(b: u8) { match b { super::b::LIMIT => {}, _ => {} } }",
        "use super::b; fn f() { b::go() }",
        "use super::b as other; fn f() -> other::B { todo!() }",
        "impl super::b::Trait for u8 {}",
        "fn f() { println!(\"{}\", super::b::go()); }",
        "use super::b::Kind::One;",
        "mod inner { use super::super::b::B; }",
        "fn f() { super::b::B::new(); }",
        "fn f() { vec![1, crate::room::b::LIMIT]; }",
    ];
    let b = "pub struct B; pub enum Kind { One } pub trait Trait {} pub const LIMIT: u8 = 1; pub fn go() {}";
    for way in ways {
        assert_eq!(arrows(&room("", way, b)), ["a → b"], "{way}");
    }
}

#[test]
fn what_names_no_definition_of_another_file_is_no_arrow() {
    let ways = [
        "use super::b;",
        "#[cfg(test)] use super::b::B;",
        "#[cfg(test)] mod tests { use super::super::b::B; }",
        "#[cfg(all(test, unix))] fn f() { super::b::go(); }",
        "struct A; impl A { #[cfg(test)] fn f() { super::b::go(); } }",
        "#[test] fn f() { super::b::go(); }",
        "struct B; use self::B as C;",
        "pub(in crate::room) struct A;",
        "/// [`super::b::B`]\nstruct A;",
        "fn f() { \"super::b::go()\"; }",
        "use std::b::B;",
        "fn f(b: B) { b.go(); }",
    ];
    for way in ways {
        assert_eq!(arrows(&room("", way, "pub struct B; pub fn go() {}")), NONE, "{way}");
    }
    let way = "#[cfg(any(test, unix))] use super::b::B;";
    assert_eq!(arrows(&room("", way, "pub struct B;")), ["a → b"], "compiled without tests, too");
}

#[test]
fn a_reexport_leads_to_the_definition() {
    let b = "pub struct B;";
    assert_eq!(arrows(&room("pub use b::B;", "use super::B;", b)), ["mod → b", "a → b"]);
    assert_eq!(arrows(&room("pub use b::*;", "use super::B;", b)), ["mod → b", "a → b"]);
    assert_eq!(arrows(&room("pub use b::B as New;", "fn f(_: super::New) {}", b)), ["mod → b", "a → b"]);
    assert_eq!(arrows(&room("pub struct P;", "use super::P;", b)), ["a → mod"], "the parent defines it");
    assert_eq!(arrows(&room("use b::B; pub fn f() {}", "use super::*;", b)), ["mod → b", "a → mod", "a → b"]);
    assert_eq!(arrows(&room("", "pub use super::b::*;", "use std::fmt; pub struct B;")), ["a → b"]);
    assert_eq!(violations(&room("pub use b::B; pub use a::A;", "use super::B; pub struct A;", b)), []);
}

#[test]
fn a_circle_of_siblings_is_found() {
    let found = violations(&room("", "use super::b::B;\npub struct A;", "pub struct B;\n\nfn f(_: super::a::A) {}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(["src/room/a.rs:1", "src/room/b.rs:3"].iter().any(|place| found[0].to_string().starts_with(place)));
    assert!(found[0].advice.contains("a circle of 2 files"));
    assert_eq!(violations(&room("", "use super::b::B;\npub struct A;", "pub struct B;")), []);
}

#[test]
fn a_parent_and_a_child_that_use_each_other_are_a_circle() {
    let parents = ["use self::a::A; pub struct P;", "pub use a::A; pub struct P;", "pub struct P; fn f() { a::go(); }"];
    for parent in parents {
        let found = violations(&room(parent, "use super::P; pub struct A; pub fn go() {}", ""));
        assert_eq!(found.len(), 1, "{parent}: {found:?}");
        assert_eq!(violations(&room(parent, "pub struct A; pub fn go() {}", "")), [], "{parent}");
    }
    assert_eq!(violations(&room("pub struct P;", "use super::P;", "use super::P;")), [], "the parent uses no child");
    let beside = |child: &str| {
        Tree::of(&[
            ("src/lib.rs", "mod key;"),
            ("src/key.rs", "mod url;\npub enum Scheme {}\npub use url::Url;"),
            ("src/key/url.rs", child),
        ])
    };
    assert_eq!(violations(&beside("use super::Scheme;\npub struct Url;")).len(), 1, "`key.rs` beside `key/` alike");
    assert_eq!(violations(&beside("pub struct Url;")), []);
}

#[test]
fn a_circle_over_several_files_is_reported_with_the_path_back() {
    let files = [
        ("src/lib.rs", "mod x; mod y;"),
        ("src/x/mod.rs", "pub mod deep; pub fn top() { deep::low(); }"),
        ("src/x/deep.rs", "pub fn low() { crate::y::over(); }"),
        ("src/y.rs", "pub fn over() { crate::x::top(); }"),
    ];
    let found = violations(&Tree::of(&files));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].advice.contains("3 files"), "{}", found[0]);
    assert_eq!(found[0].advice.matches(" → ").count(), 2, "{}", found[0]);
    assert_eq!(violations(&Tree::of(&[files[0], files[1], files[2], ("src/y.rs", "pub fn over() {}")])), []);
}

#[test]
fn all_circles_are_reported_at_once() {
    let files = [
        ("src/lib.rs", "mod a; mod b; mod c; mod d;"),
        ("src/a.rs", "pub struct A; use crate::b::B;"),
        ("src/b.rs", "pub struct B; use crate::a::A;"),
        ("src/c.rs", "pub struct C; use crate::d::D;"),
        ("src/d.rs", "pub struct D; use crate::c::C;"),
    ];
    assert_eq!(violations(&Tree::of(&files)).len(), 2);
}
