//! The interface to systemd, or another supervisor with the same protocol: listening sockets that
//! it passes in, and the state that this process reports. Without a supervisor nothing happens.

use anyhow::Context;
use listenfd::ListenFd;
use sd_notify::NotifyState;

use crate::server::Sockets;

/// Takes the sockets that systemd listens on for Larder (LISTEN_FDS). The admin socket is
/// recognised by its address; all others are the proxy's, whatever `listen` says.
///
/// # Errors
/// A descriptor that is not a TCP socket.
pub(super) fn sockets(admin: Option<std::net::SocketAddr>) -> anyhow::Result<Sockets> {
    let mut given = ListenFd::from_env();
    let mut sockets = Sockets::default();
    for nth in 0..given.len() {
        let socket = given.take_tcp_listener(nth).with_context(|| {
            format!("socket {nth} of LISTEN_FDS is not a TCP socket: check ListenStream= of the socket unit")
        })?;
        let Some(socket) = socket else { continue };
        if admin.is_some() && socket.local_addr().ok() == admin {
            sockets.admin = Some(socket);
        } else {
            sockets.proxy.push(socket);
        }
    }
    Ok(sockets)
}

/// Reports that requests are served.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Reports that the configuration is being reloaded; [`ready`] follows.
pub(super) fn reloading() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// Reports that this process ends.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Reports that another process serves from now on.
pub(super) fn replaced_by(process: u32) {
    tell(&[NotifyState::MainPid(process)]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "cannot notify the supervisor");
    }
}
