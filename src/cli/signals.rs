//! SIGTERM and SIGINT: the first drains, the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::server::Running;

/// Waits for signals; make it before anything is announced, so that none is missed.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes over both signals; call it on a runtime.
    ///
    /// # Errors
    /// Where the system refuses a handler.
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for the next signal and returns its number. May be dropped and called again.
    pub(super) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.terminate.recv() => libc::SIGTERM,
            _ = self.interrupt.recv() => libc::SIGINT,
        }
    }

    /// Drains `running`; another signal meanwhile ends the process, with the exit code by which shells know it.
    pub(super) async fn drain(&mut self, running: Running) {
        let drained = tokio::task::spawn_blocking(move || running.drain());
        tokio::select! {
            _ = drained => {}
            number = self.next() => std::process::exit(128 + number),
        }
    }
}
