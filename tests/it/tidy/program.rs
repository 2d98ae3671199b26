//! The crate's non-test code as modules with names in them, and the file that a path leads to.

use std::collections::{BTreeMap, BTreeSet};

use syn::Item;
use syn::visit::{self, Visit};

use super::syntax::{Import, imports, is_test_item};
use super::tree::Tree;

/// A module's path from the root of the crate: `["proxy", "shadow"]`.
pub(crate) type ModulePath = Vec<String>;

/// A parsed file with the path of its module; the modules inside it belong to it as well.
pub(crate) struct ProgramFile {
    pub(crate) path: String,
    pub(crate) module: ModulePath,
    pub(crate) syntax: syn::File,
}

/// The meaning of a name in a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Module(ModulePath),
    /// Something with names of its own that are no items: a type, with its variants and associated
    /// functions.
    Type(FileId),
    /// A function, a constant, a macro.
    Value(FileId),
}

/// An index into [`Program::files`].
pub(crate) type FileId = usize;

/// The names of one module.
#[derive(Default)]
struct Module {
    items: BTreeMap<String, BTreeSet<Target>>,
    /// Every `use`, those of function bodies included, as if they stood in the module.
    uses: Vec<ModuleImport>,
}

/// One path of a `use`.
struct ModuleImport {
    import: Import,
    /// Set for a re-export, however far it is visible.
    is_public: bool,
}

/// All files that are compiled when nothing is tested.
#[derive(Default)]
pub(crate) struct Program {
    files: Vec<ProgramFile>,
    modules: BTreeMap<ModulePath, Module>,
}

/// A chain of re-exports longer than this is a circle of its own, which rustc refuses.
const REEXPORTS_MAX: usize = 16;

impl Program {
    /// Follows the `mod` declarations from `src/lib.rs` and `src/main.rs`; the latter is a crate of
    /// its own.
    pub(crate) fn of(tree: &Tree) -> Self {
        let mut program = Self::default();
        for (path, module) in [("src/lib.rs", vec![]), ("src/main.rs", vec!["bin main".to_owned()])] {
            if tree.text(path).is_some() {
                program.load(tree, path, module, "src");
            }
        }
        program
    }

    pub(crate) fn files(&self) -> &[ProgramFile] {
        &self.files
    }

    /// Parses the file of a module, and those of the modules declared in it, which stand in
    /// `folder`.
    fn load(&mut self, tree: &Tree, path: &str, module: ModulePath, folder: &str) {
        let text = tree.text(path).unwrap_or_default();
        let syntax = syn::parse_file(text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let file = self.files.len();
        self.files.push(ProgramFile { path: path.to_owned(), module: module.clone(), syntax: syntax.clone() });
        self.load_items(tree, &syntax.items, file, module, folder);
    }

    fn load_items(&mut self, tree: &Tree, items: &[Item], file: FileId, module: ModulePath, folder: &str) {
        let mut names = Module::default();
        for item in items.iter().filter(|item| !is_test_item(item)) {
            if let Item::Mod(child) = item {
                let name = child.ident.to_string();
                let inside = [module.clone(), vec![name.clone()]].concat();
                let below = format!("{folder}/{name}");
                if let Some((_, items)) = &child.content {
                    self.load_items(tree, items, file, inside, &below);
                } else {
                    let places = [format!("{below}.rs"), format!("{below}/mod.rs")];
                    let place = places.iter().find(|place| tree.text(place).is_some());
                    let place = place.unwrap_or_else(|| panic!("there is no file for `mod {name};` in {folder}"));
                    self.load(tree, place, inside, &below);
                }
            } else {
                names.define(item, file);
                names.visit_item(item);
            }
        }
        // Two modules of one name, each behind its own `cfg`, are seen as one.
        let known = self.modules.entry(module).or_default();
        for (name, targets) in names.items {
            known.items.entry(name).or_default().extend(targets);
        }
        known.uses.extend(names.uses);
    }

    /// Finds the items and modules that `path` leads to from the module `here`, through every
    /// re-export. Nothing is found for what another crate defines.
    pub(crate) fn resolve(&self, here: &[String], path: &[String]) -> BTreeSet<Target> {
        self.resolve_within(here, path, REEXPORTS_MAX)
    }

    fn resolve_within(&self, here: &[String], path: &[String], depth: usize) -> BTreeSet<Target> {
        let Some((first, rest)) = path.split_first() else { return BTreeSet::new() };
        let parent = || here[..here.len().saturating_sub(1)].to_vec();
        let start = match first.as_str() {
            "crate" => BTreeSet::from([Target::Module(Vec::new())]),
            "self" => BTreeSet::from([Target::Module(here.to_vec())]),
            "super" => BTreeSet::from([Target::Module(parent())]),
            name => self.name_in(here, name, depth),
        };
        rest.iter().fold(start, |targets, name| {
            let next = |target| match target {
                Target::Module(module) if name == "super" => {
                    BTreeSet::from([Target::Module(module[..module.len().saturating_sub(1)].to_vec())])
                }
                Target::Module(module) => self.name_in(&module, name, depth),
                Target::Type(file) => BTreeSet::from([Target::Type(file)]),
                Target::Value(_) => BTreeSet::new(),
            };
            targets.into_iter().flat_map(next).collect()
        })
    }

    fn name_in(&self, module: &[String], name: &str, depth: usize) -> BTreeSet<Target> {
        let mut found = BTreeSet::new();
        let Some(depth) = depth.checked_sub(1) else { return found };
        let child: ModulePath = module.iter().cloned().chain([name.to_owned()]).collect();
        if self.modules.contains_key(&child) {
            found.insert(Target::Module(child));
        }
        let Some(names) = self.modules.get(module) else { return found };
        found.extend(names.items.get(name).into_iter().flatten().cloned());
        let named = names.uses.iter().map(|used| &used.import).filter(|import| import.name.as_deref() == Some(name));
        // `use tokio;` leads to another crate, not to itself.
        for import in named.filter(|import| import.path[..] != [name.to_owned()]) {
            found.extend(self.resolve_within(module, &import.path, depth));
        }
        if found.is_empty() {
            for glob in names.uses.iter().map(|used| &used.import).filter(|import| import.name.is_none()) {
                // Modules that import all of each other would be searched over and over.
                let depth = depth / 2;
                for target in self.resolve_within(module, &glob.path, depth) {
                    match target {
                        Target::Module(inside) if inside != module => found.extend(self.name_in(&inside, name, depth)),
                        _ => {}
                    }
                }
            }
        }
        found
    }

    /// Everything that `use module::*` brings into the module `here`: its items and its re-exports.
    /// A module inside of it gets the private imports too.
    pub(crate) fn all_names(&self, module: &[String], here: &[String]) -> BTreeSet<Target> {
        let Some(names) = self.modules.get(module) else { return BTreeSet::new() };
        let seen = names.uses.iter().filter(|used| used.is_public || here.starts_with(module));
        let used = seen.flat_map(|used| {
            let targets = self.resolve(module, &used.import.path);
            let is_glob = used.import.name.is_none();
            targets.into_iter().flat_map(move |target| match target {
                Target::Module(inside) if is_glob && inside != module => self.all_names(&inside, module),
                target => BTreeSet::from([target]),
            })
        });
        names.items.values().flatten().cloned().chain(used).collect()
    }
}

impl Module {
    fn define(&mut self, item: &Item, file: FileId) {
        let (name, target) = match item {
            Item::Struct(item) => (&item.ident, Target::Type(file)),
            Item::Enum(item) => (&item.ident, Target::Type(file)),
            Item::Union(item) => (&item.ident, Target::Type(file)),
            Item::Trait(item) => (&item.ident, Target::Type(file)),
            Item::TraitAlias(item) => (&item.ident, Target::Type(file)),
            Item::Type(item) => (&item.ident, Target::Type(file)),
            Item::Fn(item) => (&item.sig.ident, Target::Value(file)),
            Item::Const(item) => (&item.ident, Target::Value(file)),
            Item::Static(item) => (&item.ident, Target::Value(file)),
            Item::Macro(item) => match &item.ident {
                Some(name) => (name, Target::Value(file)),
                None => return,
            },
            _ => return,
        };
        self.items.entry(name.to_string()).or_default().insert(target);
    }
}

impl<'a> Visit<'a> for Module {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        let is_public = !matches!(item.vis, syn::Visibility::Inherited);
        self.uses.extend(imports(&item.tree).into_iter().map(|import| ModuleImport { import, is_public }));
    }

    fn visit_item(&mut self, item: &'a Item) {
        if !is_test_item(item) {
            visit::visit_item(self, item);
        }
    }
}
