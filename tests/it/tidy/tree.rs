//! The repository as the checks see it: paths relative to its root, each with its text, and what a
//! check reports.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// Folders that hold what a build makes.
const BUILT: &[&str] = &["target", "node_modules"];

/// One broken rule: the place, and the sentence that says what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) advice: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.advice)
    }
}

/// Fails with every violation, one a line.
#[track_caller]
pub(crate) fn assert_none(violations: &[Violation]) {
    let lines: Vec<String> = violations.iter().map(Violation::to_string).collect();
    assert!(lines.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}

/// All files of a source tree by their path, with `/` between the parts on every platform.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// A tree in memory, for the tests of the checks.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        Self { files: files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect() }
    }

    /// The tree of the folder `root`. Files that are not UTF-8 are known by path, with an empty
    /// text.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.collect(root, "");
        tree
    }

    fn collect(&mut self, folder: &Path, prefix: &str) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let inside = format!("{prefix}{name}");
            if !path.is_dir() {
                self.files.insert(inside, fs::read_to_string(&path).unwrap_or_default());
            } else if name == ".github" || !(name.starts_with('.') || BUILT.contains(&name)) {
                self.collect(&path, &format!("{inside}/"));
            }
        }
    }

    /// The files below `folders` (each without a slash at its end) whose name ends in one of
    /// `endings`.
    pub(crate) fn below<'a>(
        &'a self,
        folders: &'a [&str],
        endings: &'a [&str],
    ) -> impl Iterator<Item = (&'a str, &'a str)> + 'a {
        self.all().filter(|(path, _)| {
            let folder = path.split('/').next().unwrap_or_default();
            folders.contains(&folder) && endings.iter().any(|ending| path.ends_with(ending))
        })
    }

    /// Every file with its text, in the order of the paths.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The text of the file at `path`.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Tells whether `path` names a file of the tree.
    pub(crate) fn is_file(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }

    /// Tells whether `path` names a file or a folder of the tree.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(next, _)| next.starts_with(&folder))
    }
}
