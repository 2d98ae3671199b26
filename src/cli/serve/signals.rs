//! Signals: the first SIGTERM or SIGINT drains, the second ends the process at once; SIGHUP
//! reloads.

use rustix::process;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::server::Instance;

/// The request that a signal stands for.
pub(in crate::cli) enum SignalRequest {
    /// Stop; the number of the signal.
    Stop(i32),
    /// Reload the configuration.
    Reload,
}

/// Receives signals. Make it before anything is announced, so that no signal is missed.
pub(in crate::cli) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs handlers for the three signals; call it on a runtime.
    ///
    /// # Errors
    /// If the system refuses a handler.
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
            _ = self.terminate.recv() => SignalRequest::Stop(process::Signal::TERM.as_raw()),
            _ = self.interrupt.recv() => SignalRequest::Stop(process::Signal::INT.as_raw()),
            _ = self.hangup.recv() => SignalRequest::Reload,
        }
    }

    /// Waits for a signal to stop and returns its number. May be dropped and called again.
    pub(in crate::cli) async fn stop(&mut self) -> i32 {
        loop {
            if let SignalRequest::Stop(number) = self.next().await {
                return number;
            }
        }
    }

    /// Ends `running` with `end`. A signal to stop meanwhile ends the process at once, with the
    /// exit code by which shells recognise a signal.
    pub(in crate::cli) async fn end(&mut self, running: Instance, end: fn(Instance)) {
        let drained = tokio::task::spawn_blocking(move || end(running));
        tokio::select! {
            _ = drained => {}
            number = self.stop() => std::process::exit(128 + number),
        }
    }
}
