//! Tells when the configuration's file has changed.
//!
//! The folder is watched and not the file: editors replace a file by renaming another over it, and Kubernetes turns a link
//! to a folder beside it. So any event there is taken for a hint, and what the file then holds is compared with what it
//! held before. A change is told once nothing has happened for a moment, so that a file that is being written is not read
//! half.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// How long it has to be quiet, and how often at most that is waited for: a folder where something happens all the time
/// must not put a reload off for ever.
const QUIET: Duration = Duration::from_millis(200);
const WAITS_MAX: usize = 20;

/// A watched file.
pub(super) struct Watch {
    file: PathBuf,
    /// What the file held when it was last looked at.
    known: Option<Vec<u8>>,
    hints: mpsc::Receiver<()>,
    watcher: RecommendedWatcher,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    /// Watches `file`.
    ///
    /// # Errors
    /// Where the system cannot watch its folder.
    pub(super) fn start(file: &Path) -> notify::Result<Self> {
        // One hint that waits is as good as many.
        let (hint, hints) = mpsc::channel(1);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Reading the file is no change of it, and would be a hint to read it again.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                let _ = hint.try_send(());
            }
        })?;
        let mut watch =
            Self { file: file.to_owned(), known: std::fs::read(file).ok(), hints, watcher, folders: BTreeSet::new() };
        watch.follow()?;
        Ok(watch)
    }

    /// Waits until the file holds something else; an empty one is most likely being written. May be dropped and called
    /// again.
    pub(super) async fn wait_for_change(&mut self) {
        loop {
            if self.hints.recv().await.is_none() {
                // The watcher has ended: nothing will ever be told.
                return std::future::pending().await;
            }
            for _ in 0..WAITS_MAX {
                if timeout(QUIET, self.hints.recv()).await.is_err() {
                    break;
                }
            }
            if let Err(error) = self.follow() {
                tracing::warn!(%error, "the folder of the configuration cannot be watched any more");
            }
            let now = std::fs::read(&self.file).ok().filter(|text| !text.is_empty());
            if now.is_some() && now != self.known {
                self.known = now;
                return;
            }
        }
    }

    /// Watches the folder of the file, and where it is a link, that of what it stands for, which may be another than before.
    fn follow(&mut self) -> notify::Result<()> {
        let target = std::fs::canonicalize(&self.file).ok();
        // Two paths of one folder are one watch to the system, which the end of either would end: each folder has one name.
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
            // It may not exist any more.
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
    async fn writing_renaming_and_turned_links_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        // As Kubernetes lays a ConfigMap out: config.toml -> ..data/config.toml, ..data -> ..1
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
    async fn a_file_that_was_gone_for_a_while_is_followed_again() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink("real", folder.path().join("link")).unwrap();
        std::fs::write(real.join("config.toml"), "one").unwrap();
        // By a way that is not the folder's own name, as a path relative to the working folder is not.
        let mut watch = Watch::start(&folder.path().join("link/config.toml")).unwrap();
        std::fs::remove_file(real.join("config.toml")).unwrap();
        assert!(timeout(4 * QUIET, watch.wait_for_change()).await.is_err(), "that it is gone is no change to read");
        for text in ["two", "three"] {
            check(&mut watch, || std::fs::write(real.join("config.toml"), text).unwrap()).await;
        }
    }
}
