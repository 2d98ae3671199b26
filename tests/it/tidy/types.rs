//! One name, one type: no two types of the crate bear the same name.

use std::collections::BTreeMap;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::program::Program;
use super::syntax;
use super::tree::{Tree, Violation};

/// Names that several types may bear, because the module's path makes plain which one is meant.
pub(crate) const EXCEPTIONS: &[(&str, &str)] = &[
    ("Config", "the settings of its module, as in `origin::Config`"),
    ("Error", "the error of its module, as in `origin::Error`"),
];

/// Reports each struct, enum, union, trait and type alias of the non-test code whose name another
/// one bears already, and each exception that nothing needs.
///
/// Types inside functions and inside the text of macros count. Associated types do not: their trait
/// names them.
pub(crate) fn violations(tree: &Tree, exceptions: &[(&str, &str)]) -> Vec<Violation> {
    let mut types = Types::default();
    for file in Program::of(tree).files() {
        types.path = file.path.clone();
        types.visit_file(&file.syntax);
    }
    let mut found = Vec::new();
    for (name, places) in &types.places {
        if places.len() < 2 || exceptions.iter().any(|(exception, _)| exception == name) {
            continue;
        }
        for (path, line) in places {
            let others: Vec<String> = places
                .iter()
                .filter(|place| **place != (path.clone(), *line))
                .map(|(path, line)| format!("{path}:{line}"))
                .collect();
            let others = others.join(", ");
            let advice = format!("a type `{name}` is also at {others}; name each after what it is");
            found.push(Violation { path: path.clone(), line: *line, advice });
        }
    }
    for (name, _) in exceptions {
        if types.places.get(*name).is_none_or(|places| places.len() < 2) {
            let advice = format!("no two types are called `{name}`; take it off the exceptions");
            found.push(Violation { path: "tests/it/tidy/types.rs".to_owned(), line: 1, advice });
        }
    }
    found
}

/// Where each name of a type is defined.
#[derive(Default)]
struct Types {
    path: String,
    places: BTreeMap<String, Vec<(String, usize)>>,
}

impl Types {
    fn add(&mut self, name: &Ident) {
        let span: Span = name.span();
        self.places.entry(name.to_string()).or_default().push((self.path.clone(), span.start().line));
    }

    /// `struct Name` and the like in the tokens of a macro.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut is_keyword = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if is_keyword {
                        self.add(&name);
                    }
                    is_keyword = ["struct", "enum", "union", "trait"].iter().any(|word| name == word);
                }
                TokenTree::Group(group) => self.tokens(group.stream()),
                _ => is_keyword = false,
            }
        }
    }
}

impl<'a> Visit<'a> for Types {
    fn visit_item(&mut self, item: &'a syn::Item) {
        if syntax::is_test_item(item) {
            return;
        }
        match item {
            syn::Item::Struct(item) => self.add(&item.ident),
            syn::Item::Enum(item) => self.add(&item.ident),
            syn::Item::Union(item) => self.add(&item.ident),
            syn::Item::Trait(item) => self.add(&item.ident),
            syn::Item::TraitAlias(item) => self.add(&item.ident),
            syn::Item::Type(item) => self.add(&item.ident),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        self.tokens(item.tokens.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(files: &[(&str, &str)], exceptions: &[(&str, &str)]) -> Vec<String> {
        let tree = Tree::of(&[&[("src/lib.rs", "mod a; mod b;")], files].concat());
        violations(&tree, exceptions).iter().map(|found| format!("{}:{}", found.path, found.line)).collect()
    }

    #[test]
    fn two_types_of_one_name_are_found() {
        let kinds = [
            "struct Asked;",
            "enum Asked {}",
            "union Asked { a: u8 }",
            "trait Asked {}",
            "type Asked = u8;",
            "mod inner { struct Asked; }",
            "fn f() { struct Asked; }",
            "make! { pub enum Asked { A } }",
            "macro_rules! make { () => { struct Asked; } }",
        ];
        for kind in kinds {
            let found = check(&[("src/a.rs", "\nstruct Asked;"), ("src/b.rs", kind)], &[]);
            assert_eq!(found, ["src/a.rs:2", "src/b.rs:1"], "{kind}");
        }
        let found = check(&[("src/a.rs", "struct A;\nmod inner {\n    struct A;\n}"), ("src/b.rs", "")], &[]);
        assert_eq!(found, ["src/a.rs:1", "src/a.rs:3"], "both of one file are named");
    }

    #[test]
    fn one_type_of_a_name_is_fine() {
        let fine = [
            "#[cfg(test)] struct Asked;",
            "#[cfg(test)] mod tests { struct Asked; }",
            "struct Another; impl Iterator for Another { type Asked = u8; }",
            "trait Another { type Asked; }",
            "use crate::a::Asked;",
            "fn asked(asked: u8) {}",
        ];
        for source in fine {
            assert!(check(&[("src/a.rs", "struct Asked;"), ("src/b.rs", source)], &[]).is_empty(), "{source}");
        }
        let both = [("src/a.rs", "struct Config;"), ("src/b.rs", "struct Config;")];
        assert!(check(&both, &[("Config", "an idiom")]).is_empty());
    }

    #[test]
    fn exceptions_are_needed_and_say_why() {
        let files = [("src/a.rs", "struct Config;"), ("src/b.rs", "")];
        assert_eq!(check(&files, &[("Config", "an idiom")]), ["tests/it/tidy/types.rs:1"]);
        assert!(EXCEPTIONS.is_sorted_by_key(|(name, _)| *name));
        for (name, reason) in EXCEPTIONS {
            assert!(reason.split_whitespace().count() > 3, "{name}: a reason is a sentence");
        }
    }
}
