//! Folders of `src` stay small enough to be read as a list.

use std::collections::BTreeMap;

use super::tree::{Tree, Violation};

/// More files than this want sub-folders that a newcomer could name.
const FILES_MAX: usize = 15;

/// Reports each folder of `src` that holds more than [`FILES_MAX`] files of any kind, sub-folders
/// not counted.
pub(crate) fn violations(tree: &Tree) -> Vec<Violation> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for (path, _) in tree.below(&["src"], &[""]) {
        let (folder, _) = path.rsplit_once('/').unwrap_or_default();
        *counts.entry(folder).or_default() += 1;
    }
    counts
        .into_iter()
        .filter(|(_, count)| *count > FILES_MAX)
        .map(|(folder, count)| Violation {
            path: folder.to_owned(),
            line: 1,
            advice: format!("the folder holds {count} files; sort them into sub-folders of at most {FILES_MAX}"),
        })
        .collect()
}

#[test]
fn a_folder_holds_fifteen_files_and_no_more() {
    let files: Vec<String> = (0..16).map(|number| format!("src/proxy/f{number}.rs")).collect();
    let tree = |count: usize| {
        let files: Vec<(&str, &str)> = files[..count].iter().map(|path| (path.as_str(), "")).collect();
        Tree::of(&[files.as_slice(), &[("src/proxy/sub/a.rs", ""), ("tests/a.rs", "")]].concat())
    };
    assert_eq!(violations(&tree(15)), []);
    let found = violations(&tree(16));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "src/proxy");
}
