//! No circles: the files of the crate can be read in an order in which each knows only those before
//! it.
//!
//! An arrow goes from a file to another one that defines something the first names, in code that is
//! no test:
//!
//! - by a path of a `use`, groups, renames and `pub use` included. So a `pub use child::X` in a
//!   parent's `mod.rs` is an arrow from the parent to the child.
//! - by a path that begins with a module, in an expression, a type, a pattern, an `impl` or a
//!   macro's arguments, such as `super::flight::join()`.
//! - by `use module::*`: to every file that the names of the module lead to.
//!
//! Paths are followed through re-exports to the file of the definition: `super::X` is an arrow to
//! the parent's file where X is defined there, and to the sibling where the parent merely
//! re-exports it. A path that ends at a module (`use super::flight;`) is no arrow; the paths that
//! go through it are. No arrows either: `mod x;`, `pub(in path)`, a method call, whose file the
//! syntax does not tell, and links in documentation.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Spacing, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::graph;
use super::program::{FileId, ModulePath, Program, Target};
use super::syntax;
use super::tree::{Tree, Violation};

/// One place where a file names what another one defines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Use {
    pub(crate) line: usize,
    pub(crate) path: String,
}

/// All uses by their arrow.
pub(crate) type Uses = BTreeMap<(FileId, FileId), BTreeSet<Use>>;

/// Reports, for each circle of files, arrows without which it would be none, each with the path
/// that leads back.
pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let program = Program::of(tree);
    let uses = uses(&program);
    let arrows: graph::Arrows = uses.iter().map(|(ends, uses)| (*ends, uses.len())).collect();
    let path = |file: FileId| program.files()[file].path.as_str();
    let mut found = Vec::new();
    for circle in graph::circles(&arrows) {
        for (from, to) in graph::arrows_to_cut(&arrows, &circle) {
            let back: Vec<&str> = graph::shortest_path(&arrows, to, from).into_iter().map(path).collect();
            for place in &uses[&(from, to)] {
                let advice = format!(
                    "`{}` closes a circle of {} files, for it leads back: {}; move what both ends need into a file \
                     below both",
                    place.path,
                    circle.len(),
                    back.join(" → ")
                );
                found.push(Violation { path: path(from).to_owned(), line: place.line, advice });
            }
        }
    }
    found.sort();
    found
}

/// Every arrow between two files of the program.
pub(crate) fn uses(program: &Program) -> Uses {
    let mut uses = Uses::new();
    for (id, file) in program.files().iter().enumerate() {
        let mut reader = Reader { program, file: id, here: file.module.clone(), uses: &mut uses };
        reader.visit_file(&file.syntax);
    }
    uses
}

/// Reads one file.
struct Reader<'p> {
    program: &'p Program,
    file: FileId,
    here: ModulePath,
    uses: &'p mut Uses,
}

impl Reader<'_> {
    fn path(&mut self, segments: &[String], line: usize) {
        let targets = self.program.resolve(&self.here, segments);
        self.arrows(targets, &segments.join("::"), line);
    }

    fn glob(&mut self, segments: &[String], line: usize) {
        for target in self.program.resolve(&self.here, segments) {
            let targets = match target {
                Target::Module(module) => self.program.all_names(&module, &self.here),
                item => BTreeSet::from([item]),
            };
            self.arrows(targets, &format!("{}::*", segments.join("::")), line);
        }
    }

    fn arrows(&mut self, targets: BTreeSet<Target>, path: &str, line: usize) {
        for target in targets {
            match target {
                Target::Type(to) | Target::Value(to) if to != self.file => {
                    let place = Use { line, path: path.to_owned() };
                    self.uses.entry((self.file, to)).or_default().insert(place);
                }
                _ => {}
            }
        }
    }

    /// The paths in the tokens of a macro: identifiers with `::` between them.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut segments: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(mark)
                    if mark.as_char() == ':' && (colons == 1 || mark.spacing() == Spacing::Joint) =>
                {
                    colons += 1;
                    continue;
                }
                TokenTree::Ident(name) if colons == 2 && !segments.is_empty() => segments.push(name.to_string()),
                other => {
                    self.qualified(&segments, line);
                    segments.clear();
                    match other {
                        TokenTree::Ident(name) if colons == 0 => {
                            line = name.span().start().line;
                            segments.push(name.to_string());
                        }
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        _ => {}
                    }
                }
            }
            colons = 0;
        }
        self.qualified(&segments, line);
    }

    /// A path outside of `use`. One that begins with an imported type, `Kind::Soft`, is the
    /// import's arrow already.
    fn qualified(&mut self, segments: &[String], line: usize) {
        let begins_with_module = || {
            let first = self.program.resolve(&self.here, &segments[..1]);
            first.iter().any(|target| matches!(target, Target::Module(_)))
        };
        if segments.len() > 1 && begins_with_module() {
            self.path(segments, line);
        }
    }
}

impl<'a> Visit<'a> for Reader<'_> {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        for import in syntax::imports(&item.tree) {
            match import.name {
                Some(_) => self.path(&import.path, import.line),
                None => self.glob(&import.path, import.line),
            }
        }
    }

    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        self.here.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.here.pop();
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() {
            self.qualified(&segments, path.segments[0].ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, item: &'a syn::Macro) {
        self.visit_path(&item.path);
        self.tokens(item.tokens.clone());
    }

    fn visit_item(&mut self, item: &'a syn::Item) {
        if !syntax::is_test_item(item) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'a syn::ImplItemFn) {
        if !syntax::is_test(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    fn visit_field(&mut self, field: &'a syn::Field) {
        if !syntax::is_test(&field.attrs) {
            visit::visit_field(self, field);
        }
    }

    fn visit_field_value(&mut self, field: &'a syn::FieldValue) {
        if !syntax::is_test(&field.attrs) {
            visit::visit_field_value(self, field);
        }
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        if !syntax::is_test(&variant.attrs) {
            visit::visit_variant(self, variant);
        }
    }

    fn visit_arm(&mut self, arm: &'a syn::Arm) {
        if !syntax::is_test(&arm.attrs) {
            visit::visit_arm(self, arm);
        }
    }

    fn visit_local(&mut self, local: &'a syn::Local) {
        if !syntax::is_test(&local.attrs) {
            visit::visit_local(self, local);
        }
    }
}

#[cfg(test)]
mod tests;
