//! SIGTERM and SIGINT: the first drains, the second ends at once. SIGHUP: the configuration is read again.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::server::Instance;

/// What a signal asks for.
pub(in crate::cli) enum SignalRequest {
    /// To stop; the signal's number.
    Stop(i32),
    /// To read the configuration again.
    Reload,
}

/// Waits for signals; make it before anything is announced, so that none is missed.
pub(in crate::cli) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes over the three signals; call it on a runtime.
    ///
    /// # Errors
    /// Where the system refuses a handler.
    pub(in crate::cli) fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the next signal. May be dropped and called again.
    pub(in crate::cli) async fn next(&mut self) -> SignalRequest {
        tokio::select! {
            _ = self.terminate.recv() => SignalRequest::Stop(libc::SIGTERM),
            _ = self.interrupt.recv() => SignalRequest::Stop(libc::SIGINT),
            _ = self.hangup.recv() => SignalRequest::Reload,
        }
    }

    /// Waits for the signal to stop and returns its number. May be dropped and called again.
    pub(in crate::cli) async fn stop(&mut self) -> i32 {
        loop {
            if let SignalRequest::Stop(number) = self.next().await {
                return number;
            }
        }
    }

    /// Has `running` end as `end` says; a signal to stop meanwhile ends the process, with the exit code by which shells know
    /// it.
    pub(in crate::cli) async fn end(&mut self, running: Instance, end: fn(Instance)) {
        let drained = tokio::task::spawn_blocking(move || end(running));
        tokio::select! {
            _ = drained => {}
            number = self.stop() => std::process::exit(128 + number),
        }
    }
}
