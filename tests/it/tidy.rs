//! The layers of the architecture page, kept true: the sources are parsed, and an import that points upward fails.
//!
//! Grouped imports, `super::` and `self::`, re-exports and inline paths are all followed. Tests inside modules count too:
//! a unit test that needs a higher layer belongs here, in `tests/it`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The layers from the ground up. A module imports from the rows above its own in this list, and from the modules that
/// stand before it in its own row; `|` keeps two modules of a row from knowing each other.
const LAYERS: &[&[&str]] = &[
    &["units", "clock", "outcome", "key"],
    &["syntax", "stored", "route", "policy", "respond", "analytics"],
    &["store", "|", "origin", "|", "metrics", "|", "access"],
    &["proxy"],
    &["prefetch", "|", "admin"],
    &["server"],
    &["config"],
    &["cli"],
];

/// What the pure layers must not name, whatever it is used for.
const IMPURE: &[&str] =
    &["tokio", "hyper", "hyper_util", "reqwest", "axum", "moka", "tracing", "std::fs", "std::net::Tcp"];

#[derive(Debug, PartialEq)]
struct Breach {
    from: String,
    to: String,
}

#[test]
fn no_import_points_upward() {
    let breaches = breaches_in(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")));
    assert!(breaches.is_empty(), "imports that the layers forbid:\n{breaches:#?}");
}

#[test]
fn every_module_stands_on_a_layer() {
    let known: BTreeSet<&str> = LAYERS.iter().flat_map(|row| row.iter().copied()).collect();
    let lib = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs")).unwrap();
    let modules: Vec<String> = syn::parse_file(&lib)
        .unwrap()
        .items
        .iter()
        .filter_map(|item| if let syn::Item::Mod(module) = item { Some(module.ident.to_string()) } else { None })
        .collect();
    assert!(!modules.is_empty());
    for module in modules {
        assert!(known.contains(module.as_str()), "`{module}` is on no layer");
    }
}

#[test]
fn the_checker_sees_every_way_of_pointing_upward() {
    let upward = [
        "use crate::proxy::Body;",
        "use crate::{clock::Clock, proxy::{self, Body}};",
        "pub use crate::server as root;",
        "use super::super::proxy::Body;",
        "use super::super::{clock, server};",
        "fn f() { let _ = crate::config::load; }",
        "fn f(_: crate::admin::Config) {}",
        "mod inner { use super::super::super::proxy; }",
        "#[cfg(test)] mod tests { use crate::cli; }",
        "type T = super::super::proxy::Body;",
    ];
    for source in upward {
        assert_eq!(breaches_of("policy::vary", source).len(), 1, "not seen: {source}");
    }
    let fine = [
        "use crate::stored::StoredEntry;",
        "use super::cache_control;",
        "use super::super::clock::Clock;",
        "mod inner { use super::super::storable; }",
        "use crate::route::Rule; use std::sync::Arc;",
        "fn proxy() { proxy::call(); }",
    ];
    for source in fine {
        assert_eq!(breaches_of("policy::vary", source), [], "seen wrongly: {source}");
    }
    assert_eq!(
        breaches_of("store::memory", "use crate::origin::UpstreamClient;").len(),
        1,
        "edges must not know each other"
    );
    assert_eq!(breaches_of("policy::vary", "use tokio::sync::Mutex;").len(), 1, "pure layers know no runtime");
    assert_eq!(breaches_of("policy::vary", "fn f() { std::fs::read(p); }").len(), 1);
}

fn breaches_in(src: &Path) -> Vec<Breach> {
    let mut files = Vec::new();
    collect(src, &mut files);
    assert!(files.len() > 20, "the sources were not found");
    files
        .iter()
        .filter(|file| !file.ends_with("lib.rs") && !file.ends_with("main.rs"))
        .flat_map(|file| {
            let module = module_of(src, file);
            breaches_of(&module, &fs::read_to_string(file).unwrap())
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            files.push(path);
        }
    }
}

/// `src/policy/vary.rs` is `policy::vary`, `src/policy/mod.rs` is `policy`.
fn module_of(src: &Path, file: &Path) -> String {
    let path = file.strip_prefix(src).unwrap().with_extension("");
    let mut parts: Vec<_> = path.iter().map(|part| part.to_str().unwrap()).collect();
    if parts.last() == Some(&"mod") {
        parts.pop();
    }
    parts.join("::")
}

fn breaches_of(module: &str, source: &str) -> Vec<Breach> {
    let file = syn::parse_file(source).unwrap_or_else(|error| panic!("{module}: {error}"));
    let mut names = Names { here: module.split("::").map(str::to_owned).collect(), found: BTreeSet::new() };
    names.visit_file(&file);
    let from = module.split("::").next().unwrap();
    names
        .found
        .iter()
        .filter(|to| !may_import(from, to))
        .map(|to| Breach { from: module.to_owned(), to: to.clone() })
        .collect()
}

/// Where a module stands: row, and place in the row.
fn place(module: &str) -> Option<(usize, usize)> {
    LAYERS.iter().enumerate().find_map(|(row, names)| Some((row, names.iter().position(|name| *name == module)?)))
}

fn may_import(from: &str, to: &str) -> bool {
    let Some((from_row, from_at)) = place(from) else { return false };
    if let Some(name) = to.strip_prefix("::") {
        return from_row > 1 || !IMPURE.iter().any(|impure| name == *impure || name.starts_with(impure));
    }
    match place(to) {
        Some((row, at)) if row == from_row => at <= from_at && !LAYERS[row][at..from_at].contains(&"|"),
        Some((row, _)) => row < from_row,
        None => true,
    }
}

/// Collects the top-level modules of ours that a file names, and the outside paths that start with `::`-less crates.
struct Names {
    here: Vec<String>,
    found: BTreeSet<String>,
}

impl Names {
    fn path(&mut self, segments: &[String]) {
        let Some(first) = segments.first() else { return };
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.here.clone(),
            "super" => self.here[..self.here.len().saturating_sub(1)].to_vec(),
            _ => {
                self.found.insert(format!("::{}", segments.join("::")));
                return;
            }
        };
        for segment in &segments[1..] {
            if segment == "super" {
                base.pop();
            } else {
                base.push(segment.clone());
            }
        }
        if let Some(module) = base.first() {
            self.found.insert(module.clone());
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let with = |name: &syn::Ident| prefix.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Name(name) => self.path(&with(&name.ident)),
            syn::UseTree::Rename(rename) => self.path(&with(&rename.ident)),
            syn::UseTree::Glob(_) => self.path(prefix),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, prefix)),
        }
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        self.here.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.here.pop();
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.segments.len() > 1 {
            let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.path(&segments);
        }
        visit::visit_path(self, path);
    }
}
