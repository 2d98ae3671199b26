//! A watch that reports changes of the configuration file.
//!
//! The directory is watched, not the file: editors replace a file by renaming another over it, and
//! Kubernetes repoints a symbolic link to a directory next to it. So any event there is a hint to
//! compare the file's content with the previous one. A change is reported once nothing has happened
//! for a moment, so that a half-written file is not read.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// The quiet time before a change is reported, and how often that wait may be extended: a directory
/// with constant activity must not delay a reload forever.
const QUIET: Duration = Duration::from_millis(200);
const WAITS_MAX: usize = 20;

/// A watched file.
pub(super) struct Watch {
    file: PathBuf,
    /// The content of the file when it was last read.
    known: Option<Vec<u8>>,
    hints: mpsc::Receiver<()>,
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches `file`.
    ///
    /// # Errors
    /// If the system cannot watch the directory.
    pub(super) fn start(file: &Path) -> notify::Result<Self> {
        // One pending hint is as good as many.
        let (hint, hints) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the file is not a change, and would cause another read.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                let _ = hint.try_send(());
            }
        })?;
        let mut watch =
            Self { file: file.to_owned(), known: std::fs::read(file).ok(), hints, watcher, folders: BTreeSet::new() };
        watch.follow()?;
        Ok(watch)
    }

    /// Waits until the content of the file changes; an empty file is most likely being written. May
    /// be dropped and called again.
    pub(super) async fn wait_for_change(&mut self) {
        loop {
            if self.hints.recv().await.is_none() {
                // The watcher has ended: no change will ever be reported.
                return std::future::pending().await;
            }
            for _ in 0..WAITS_MAX {
                if timeout(QUIET, self.hints.recv()).await.is_err() {
                    break;
                }
            }
            if let Err(error) = self.follow() {
                tracing::warn!(%error, "cannot watch the directory of the configuration any more");
            }
            let now = std::fs::read(&self.file).ok().filter(|text| !text.is_empty());
            if now.is_some() && now != self.known {
                self.known = now;
                return;
            }
        }
    }

    /// Watches the directory of the file and, if the file is a symbolic link, the directory of its
    /// target, which may have changed.
    fn follow(&mut self) -> notify::Result<()> {
        let target = std::fs::canonicalize(&self.file).ok();
        // The system treats two paths of one directory as one watch, which the end of either would
        // end. So each directory has one canonical name.
        let folder = |file: &Path| {
            let folder = match file.parent() {
                Some(folder) if !folder.as_os_str().is_empty() => folder,
                _ => Path::new("."),
            };
            std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned())
        };
        let wanted: BTreeSet<_> =
            [Some(folder(&self.file)), target.as_deref().map(folder)].into_iter().flatten().collect();
        for gone in self.folders.difference(&wanted) {
            // The directory may not exist any more.
            let _ = self.watcher.unwatch(gone);
        }
        for new in wanted.difference(&self.folders) {
            self.watcher.watch(new, RecursiveMode::NonRecursive)?;
        }
        self.folders = wanted;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(watch: &mut Watch, change: impl FnOnce()) {
        change();
        timeout(Duration::from_secs(20), watch.wait_for_change()).await.expect("the change is seen");
    }

    #[tokio::test]
    async fn writes_renames_and_repointed_links_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        // The layout of a ConfigMap in Kubernetes: config.toml -> ..data/config.toml, ..data -> ..1
        for (version, text) in [("..1", "one"), ("..2", "two")] {
            std::fs::create_dir(path(version)).unwrap();
            write(&format!("{version}/config.toml"), text);
        }
        std::os::unix::fs::symlink("..1", path("..data")).unwrap();
        std::os::unix::fs::symlink("..data/config.toml", path("config.toml")).unwrap();
        let mut watch = Watch::start(&path("config.toml")).unwrap();
        check(&mut watch, || {
            std::os::unix::fs::symlink("..2", path("..new")).unwrap();
            std::fs::rename(path("..new"), path("..data")).unwrap();
        })
        .await;
        check(&mut watch, || write("..2/config.toml", "three")).await;
        check(&mut watch, || {
            write("beside.toml", "four");
            std::fs::rename(path("beside.toml"), path("config.toml")).unwrap();
        })
        .await;
        check(&mut watch, || write("config.toml", "five")).await;
        assert_eq!(watch.known.as_deref(), Some(b"five".as_slice()));
    }

    #[tokio::test]
    async fn a_file_that_was_missing_for_a_while_is_followed_again() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        std::fs::write(real.join("config.toml"), "one").unwrap();
        // A path that is not the directory's canonical name, like a path relative to the working
        // directory.
        let mut watch = Watch::start(&folder.path().join("link/config.toml")).unwrap();
        std::fs::remove_file(real.join("config.toml")).unwrap();
        assert!(timeout(4 * QUIET, watch.wait_for_change()).await.is_err(), "a missing file is not a change");
        for text in ["two", "three"] {
            check(&mut watch, || std::fs::write(real.join("config.toml"), text).unwrap()).await;
        }
    }
}
