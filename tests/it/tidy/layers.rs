//! The layers of `src/lib.rs`, kept true: an import that points upward fails.
//!
//! Grouped imports, `super::` and `self::`, re-exports and inline paths are all followed. Tests
//! inside modules count too: a unit test that needs a higher layer belongs in `tests/it`.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use super::syntax;
use super::tree::{Tree, Violation};

/// Crates and modules that the first two layers must not name, whatever for.
const IMPURE: &[&str] =
    &["tokio", "hyper", "hyper_util", "reqwest", "axum", "moka", "tracing", "std::fs", "std::net::Tcp"];

/// Rows of this many layers, from the ground up, are pure.
const PURE_ROWS: usize = 2;

/// One row of the table of layers.
#[derive(Debug, PartialEq)]
struct Layer {
    modules: Vec<String>,
    /// Where the row's last column says that "each other" is absent, its modules do not know each
    /// other. Elsewhere a module of a row may know those before it in the row.
    apart: bool,
}

/// Reports each import that the table in `src/lib.rs` forbids, and each module that stands on no
/// layer.
pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let lib = tree.text("src/lib.rs").unwrap_or_default();
    let layers = layers_of(lib);
    let mut found = modules_on_no_layer(lib, &layers);
    for (path, text) in tree.below(&["src"], &[".rs"]) {
        let module = module_of(path);
        let Some((from, _)) = module.split_first().filter(|_| path != "src/lib.rs" && path != "src/main.rs") else {
            continue;
        };
        let file = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut names = Names { here: module.clone(), found: BTreeSet::new() };
        names.visit_file(&file);
        for (line, to) in names.found {
            if place(&layers, from).is_some() && !may_import(&layers, from, &to) {
                let to = to.trim_start_matches(':');
                let advice = format!(
                    "`{from}` must not know `{to}` (the layers of src/lib.rs); move what it needs down, or itself up"
                );
                found.push(Violation { path: path.to_owned(), line, advice });
            }
        }
    }
    found
}

/// Reads the table whose first row begins with `| layer | modules |` from the documentation of the
/// crate.
fn layers_of(lib: &str) -> Vec<Layer> {
    let lines = lib.lines().filter_map(|line| line.strip_prefix("//! "));
    let rows =
        lines.skip_while(|line| !line.starts_with("| layer | modules |")).take_while(|line| line.starts_with('|'));
    // The header and the line below it are no layers.
    rows.skip(2)
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            let quoted = cells[2].split('`').skip(1).step_by(2);
            let apart = cells.get(3).is_some_and(|absent| absent.contains("each other"));
            Layer { modules: quoted.map(str::to_owned).collect(), apart }
        })
        .collect()
}

/// Reports the modules of the crate that the table leaves out; pages of documentation are no code.
fn modules_on_no_layer(lib: &str, layers: &[Layer]) -> Vec<Violation> {
    let file = syn::parse_file(lib).unwrap_or_else(|error| panic!("src/lib.rs: {error}"));
    let modules = file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if !syntax::has_cfg(&module.attrs, "doc") => Some(&module.ident),
        _ => None,
    });
    modules
        .filter(|name| place(layers, &name.to_string()).is_none())
        .map(|name| Violation {
            path: "src/lib.rs".to_owned(),
            line: name.span().start().line,
            advice: format!("`{name}` is on no layer; add it to the row of the table that it belongs to"),
        })
        .collect()
}

/// The path of the module that a file is: `policy::vary`, and `policy` for its `mod.rs`.
fn module_of(path: &str) -> Vec<String> {
    let path = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    path.split('/').map(str::to_owned).collect()
}

/// The place of a module: the row, and how far right in the row.
fn place(layers: &[Layer], module: &str) -> Option<(usize, usize)> {
    let at = |layer: &Layer| layer.modules.iter().position(|name| name == module);
    layers.iter().enumerate().find_map(|(row, layer)| Some((row, at(layer)?)))
}

fn may_import(layers: &[Layer], from: &str, to: &str) -> bool {
    let Some((from_row, from_at)) = place(layers, from) else { return false };
    if let Some(name) = to.strip_prefix("::") {
        return from_row >= PURE_ROWS || !IMPURE.iter().any(|impure| name == *impure || name.starts_with(impure));
    }
    match place(layers, to) {
        Some((row, at)) if row == from_row => at == from_at || (at < from_at && !layers[row].apart),
        Some((row, _)) => row < from_row,
        None => true,
    }
}

/// Collects the top-level modules of ours that a file names, and the outside paths with `::` before
/// them.
struct Names {
    here: Vec<String>,
    found: BTreeSet<(usize, String)>,
}

impl Names {
    fn path(&mut self, segments: &[String], line: usize) {
        let Some(first) = segments.first() else { return };
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.here.clone(),
            "super" => self.here[..self.here.len().saturating_sub(1)].to_vec(),
            _ => {
                self.found.insert((line, format!("::{}", segments.join("::"))));
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
            self.found.insert((line, module.clone()));
        }
    }
}

impl<'a> Visit<'a> for Names {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        for import in syntax::imports(&item.tree) {
            self.path(&import.path, import.line);
        }
    }

    fn visit_item_mod(&mut self, module: &'a syn::ItemMod) {
        self.here.push(module.ident.to_string());
        visit::visit_item_mod(self, module);
        self.here.pop();
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        if path.segments.len() > 1 {
            let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
            self.path(&segments, path.segments[0].ident.span().start().line);
        }
        visit::visit_path(self, path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIB: &str = "\
//! | layer | modules | deliberately absent |
//! |---|---|---|
//! | ground | [`clock`], [`key`] | anything else |
//! | pure | [`stored`], [`route`], [`policy`] | runtimes |
//! | edges | [`store`], [`origin`] | each other |
//! | the way | [`proxy`] | |
//! | around | [`admin`], [`server`], [`config`], [`cli`] | |

mod policy;
";

    fn check(path: &str, source: &str) -> Vec<(String, usize)> {
        let found = violations(&Tree::of(&[("src/lib.rs", LIB), (path, source)]));
        found.into_iter().map(|violation| (violation.path, violation.line)).collect()
    }

    #[test]
    fn every_way_of_pointing_upward_is_found() {
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
            assert_eq!(
                check("src/policy/vary.rs", &format!("\n{source}")),
                [("src/policy/vary.rs".into(), 2)],
                "{source}"
            );
        }
        assert_eq!(
            check("src/store/memory.rs", "use crate::origin::Client;").len(),
            1,
            "edges must not know each other"
        );
        assert_eq!(check("src/origin/pool.rs", "use crate::store::Store;").len(), 1, "nor the other way round");
        assert_eq!(check("src/stored.rs", "use crate::policy::Scope;").len(), 1, "nor what stands behind in the row");
        assert_eq!(check("src/policy/mod.rs", "use tokio::sync::Mutex;").len(), 1, "pure layers know no runtime");
        assert_eq!(check("src/policy/vary.rs", "fn f() { std::fs::read(p); }").len(), 1);
    }

    #[test]
    fn an_import_from_below_is_fine() {
        let fine = [
            "use crate::stored::Entry;",
            "use super::cache_control;",
            "use super::super::clock::Clock;",
            "mod inner { use super::super::date; }",
            "use crate::route::Rule; use std::sync::Arc;",
            "fn proxy() { proxy::call(); }",
        ];
        for source in fine {
            assert_eq!(check("src/policy/vary.rs", source), [], "{source}");
        }
        assert_eq!(
            check("src/proxy/serve.rs", "use crate::{store::Store, origin::Client}; use tokio::sync::Mutex;"),
            []
        );
    }

    #[test]
    fn a_module_on_no_layer_is_found() {
        let check = |module: &str| {
            let lib = format!("{LIB}{module}\n");
            violations(&Tree::of(&[("src/lib.rs", &lib)])).iter().map(|found| found.line).collect::<Vec<_>>()
        };
        assert_eq!(check("pub mod disk;"), [10]);
        assert!(check("#[cfg(doc)] pub mod docs;").is_empty());
        assert!(check("pub mod store;").is_empty());
    }
}
