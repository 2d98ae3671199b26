//! Questions to the syntax tree: the paths of a `use`, and the conditions that code is compiled
//! under.

use syn::{Attribute, Item, Meta, UseTree};

/// One path of a `use`, and the name it brings in; `None` for `*`.
pub(crate) struct Import {
    pub(crate) path: Vec<String>,
    pub(crate) name: Option<String>,
    pub(crate) line: usize,
}

/// The paths of a `use`, its groups unfolded.
pub(crate) fn imports(tree: &UseTree) -> Vec<Import> {
    fn walk(tree: &UseTree, prefix: &[String], found: &mut Vec<Import>) {
        let with = |name: &syn::Ident| match name.to_string().as_str() {
            "self" if !prefix.is_empty() => prefix.to_vec(),
            name => [prefix, &[name.to_owned()]].concat(),
        };
        let mut add = |path: Vec<String>, name: Option<String>, line| found.push(Import { path, name, line });
        match tree {
            UseTree::Path(path) => walk(&path.tree, &with(&path.ident), found),
            UseTree::Name(name) => {
                let path = with(&name.ident);
                add(path.clone(), path.last().cloned(), name.ident.span().start().line);
            }
            UseTree::Rename(new) => {
                add(with(&new.ident), Some(new.rename.to_string()), new.ident.span().start().line);
            }
            UseTree::Glob(glob) => add(prefix.to_vec(), None, glob.star_token.spans[0].start().line),
            UseTree::Group(group) => group.items.iter().for_each(|tree| walk(tree, prefix, found)),
        }
    }
    let mut found = Vec::new();
    walk(tree, &[], &mut found);
    found
}

/// Tells whether code with these attributes is compiled for tests only.
pub(crate) fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("cfg") => list.parse_args().is_ok_and(|meta| needs_test(&meta)),
        _ => false,
    })
}

/// Tells whether `#[cfg(name)]` stands on code with these attributes.
pub(crate) fn has_cfg(attributes: &[Attribute], name: &str) -> bool {
    let is_name = |list: &syn::MetaList| list.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident(name));
    attributes
        .iter()
        .any(|attribute| matches!(&attribute.meta, Meta::List(list) if list.path.is_ident("cfg") && is_name(list)))
}

fn needs_test(condition: &Meta) -> bool {
    let Meta::List(list) = condition else { return condition.path().is_ident("test") };
    let parts = list.parse_args_with(syn::punctuated::Punctuated::<Meta, syn::Token![,]>::parse_terminated);
    let parts = parts.unwrap_or_default();
    match list.path.get_ident().map(ToString::to_string).as_deref() {
        Some("all") => parts.iter().any(needs_test),
        Some("any") => !parts.is_empty() && parts.iter().all(needs_test),
        _ => false,
    }
}

/// Tells whether an item is compiled for tests only.
pub(crate) fn is_test_item(item: &Item) -> bool {
    is_test(match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::ForeignMod(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::TraitAlias(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => return false,
    })
}
