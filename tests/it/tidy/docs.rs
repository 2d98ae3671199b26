//! The documentation points at what exists: links lead to files and headings, and the files that
//! the text names are there.

use std::collections::{BTreeMap, BTreeSet};

use super::markdown::Page;
use super::tree::{Tree, Violation};

/// A word in code style that ends in one of these is the name of a file.
const ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".py", ".js", ".css", ".html", ".sh", ".yml", ".svg"];

/// Reports each link of a Markdown file that leads nowhere, and each name of a file, in code style,
/// that no file bears.
///
/// Names are looked for in Markdown and in the comments of the Rust sources.
pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let pages: BTreeMap<&str, Page> =
        tree.all().filter(|(path, _)| path.ends_with(".md")).map(|(path, text)| (path, Page::read(text))).collect();
    let mut found = Vec::new();
    for (path, page) in &pages {
        let mut report = |line, advice| found.push(Violation { path: (*path).to_owned(), line, advice });
        for (line, target) in &page.links {
            if let Some(advice) = dead_link(tree, &pages, path, target) {
                report(*line, advice);
            }
        }
        for (line, label) in &page.references {
            if is_undefined(tree, path, page, label) {
                report(*line, format!("`[{label}]` is defined nowhere; add the line `[{label}]: its target`"));
            }
        }
        for (line, word) in unknown_names(tree, path, &page.code) {
            report(line, unknown(word));
        }
    }
    for (path, text) in tree.below(&["src", "tests", "benches"], &[".rs"]) {
        let comments = Page::read(&comments_of(text));
        for (line, word) in unknown_names(tree, path, &comments.code) {
            found.push(Violation { path: path.to_owned(), line, advice: unknown(word) });
        }
    }
    found
}

fn unknown(word: &str) -> String {
    format!(
        "there is no file `{word}`, from the root, from `src/`, from `tests/` or beside this file; name one that is"
    )
}

/// Why a link from the page at `path` leads nowhere, and what to do.
fn dead_link(tree: &Tree, pages: &BTreeMap<&str, Page>, path: &str, target: &str) -> Option<String> {
    // Other sites are not asked; rustdoc checks the paths of Rust items.
    if target.contains("://") || target.starts_with("mailto:") || target.contains("::") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let led_to = if file.is_empty() { Some(path.to_owned()) } else { joined(folder_of(path), file) };
    let Some(led_to) = led_to.filter(|led_to| tree.holds(led_to)) else {
        return Some(format!("the link leads to `{target}`, which does not exist; link to a file that does"));
    };
    match (anchor, pages.get(led_to.as_str())) {
        (Some(anchor), Some(page)) if !page.anchors.contains(anchor) => {
            Some(format!("{led_to} has no heading `#{anchor}`; link to one that it has"))
        }
        _ => None,
    }
}

/// Tells whether `[label]` is meant as a link, and nothing says where to. A label that nothing
/// defines is plain text, as in `[server]`, unless a page bears its name or it stands behind a text
/// in brackets.
fn is_undefined(tree: &Tree, path: &str, page: &Page, label: &str) -> bool {
    let names_a_page = || path.starts_with("src/docs/") && tree.holds(&format!("src/docs/{label}.md"));
    !page.definitions.contains(label) && (page.follows_text.contains(label) || names_a_page())
}

/// The words in code style that look like a file of the repository, and are none.
fn unknown_names<'a>(tree: &Tree, path: &str, code: &'a [(usize, String)]) -> Vec<(usize, &'a str)> {
    let mut found = BTreeSet::new();
    for (line, span) in code {
        for word in span.split_whitespace().map(bare).filter(|word| is_file_name(tree, word)) {
            // Of a pattern, the folder before it has to be there.
            let place = match word.split_once('*') {
                Some((before, _)) => before.rsplit_once('/').map_or("", |(folder, _)| folder),
                None => word,
            };
            let starts = ["", "src", "tests", folder_of(path)];
            let is_there = |start: &str| joined(start, place).is_some_and(|file| tree.holds(&file));
            if !starts.into_iter().any(is_there) {
                found.insert((*line, word));
            }
        }
    }
    found.into_iter().collect()
}

/// A word without what stands behind the name of a file: a line, an item, a full stop.
fn bare(word: &str) -> &str {
    let end = word.find(".rs:").map_or(word.len(), |at| at + ".rs".len());
    word[..end].trim_end_matches([',', ';', '.', ')'])
}

/// Tells whether a word in code style is meant as a file or a folder of the repository: by its
/// ending, or by the folder that it begins with.
fn is_file_name(tree: &Tree, word: &str) -> bool {
    let is_option_or_address = word.starts_with(['/', '~', '-', '$']) || word.contains([':', '=', '"', '(']);
    let is_placeholder = word.contains(['<', '{', '…']);
    let is_kind_of_file = word == "mod.rs" || word.starts_with('.') && !word.contains('/');
    if is_option_or_address || is_placeholder || is_kind_of_file {
        return false;
    }
    let begins_with_folder = word.split_once('/').is_some_and(|(first, _)| {
        [first.to_owned(), format!("src/{first}")].iter().any(|folder| tree.holds(folder) && !tree.is_file(folder))
    });
    begins_with_folder || ENDINGS.iter().any(|ending| word.ends_with(ending))
}

/// The text of the comments alone, each on its line.
fn comments_of(source: &str) -> String {
    let comment = |line: &str| {
        let line = line.trim_start();
        ["//!", "///", "//"].iter().find_map(|marker| line.strip_prefix(marker)).unwrap_or_default().to_owned()
    };
    source.lines().map(comment).collect::<Vec<_>>().join("\n")
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The path `relative` as seen from `folder`; `None` where it leads out of the tree.
fn joined(folder: &str, relative: &str) -> Option<String> {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in relative.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests;
