//! The upgrade socket: a running Larder hands over its listening sockets here, and the next one
//! requests them here.
//!
//! A process that gets these sockets serves in Larder's place, so only the same user may ask: the
//! file is open to its owner alone, and the kernel is asked for the user id of the peer.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use tokio::net::UnixListener;

/// The upgrade socket of a running Larder.
pub(super) struct Upgrade {
    listener: UnixListener,
    path: PathBuf,
    /// The inode, which tells this file from another that took its name.
    inode: u64,
}

/// A process that may take over.
pub(super) struct NewProcess {
    /// The connection to the process.
    pub(super) stream: std::os::unix::net::UnixStream,
    /// The process id, if the system tells.
    pub(super) process: Option<u32>,
}

impl Upgrade {
    /// Listens at `path`, in place of any earlier listener. The file gets its name only after it is
    /// closed to other users.
    ///
    /// # Errors
    /// A directory that cannot be written to.
    pub(super) fn listen(path: &Path) -> anyhow::Result<Self> {
        let named = || format!("cannot listen at {} (`server.upgrade_socket`)", path.display());
        let mut draft = path.as_os_str().to_owned();
        draft.push(format!(".{}", std::process::id()));
        let draft = PathBuf::from(draft);
        // Left behind by a killed process with the same process id.
        let _ = std::fs::remove_file(&draft);
        let listener = UnixListener::bind(&draft).with_context(named)?;
        let inode = std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| std::fs::rename(&draft, path))
            .and_then(|()| std::fs::metadata(path))
            .with_context(named)?
            .ino();
        Ok(Self { listener, path: path.to_owned(), inode })
    }

    /// Waits for a process of the same user; others are refused. May be dropped and called again.
    pub(super) async fn new_process(&self) -> NewProcess {
        loop {
            match self.listener.accept().await.and_then(|(stream, _)| Ok((stream.peer_cred()?, stream.into_std()?))) {
                Ok((peer, stream)) if peer.uid() == rustix::process::geteuid().as_raw() => {
                    return NewProcess { stream, process: peer.pid().and_then(|pid| u32::try_from(pid).ok()) };
                }
                Ok((peer, _)) => {
                    tracing::warn!(uid = peer.uid(), "refused a takeover by another user")
                }
                Err(error) => {
                    tracing::warn!(%error, "the upgrade socket failed");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Upgrade {
    /// Removes the file, unless the process that took over has put its own there.
    fn drop(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Refuses to start if another Larder runs at `path` and `--takeover` was not given.
///
/// # Errors
/// If another Larder runs.
pub(super) fn refuse_second(path: &Path) -> anyhow::Result<()> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        bail!(
            "a Larder is already running with {} as its `server.upgrade_socket`. \
             To replace it: larder serve --takeover",
            path.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_open_to_its_owner_only_and_is_removed_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade");
        refuse_second(&path).unwrap();
        let first = Upgrade::listen(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(refuse_second(&path).unwrap_err().to_string().contains("--takeover"));
        assert_eq!(first.new_process().await.process, Some(std::process::id()));
        let second = Upgrade::listen(&path).unwrap();
        drop(first);
        assert!(refuse_second(&path).is_err(), "the second one's file stays");
        drop(second);
        assert!(!path.exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(Upgrade::listen(&folder.path().join("missing/upgrade")).is_err());
    }
}
