//! Larder's own log: lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat, LogLevel};

/// Starts logging as `[log]` says. The environment's `LARDER_LOG` beats its level, with directives such as
/// `warn,larder::store=debug`.
pub(super) fn start(log: &Log) {
    let filter =
        EnvFilter::builder().with_default_directive(log.level.into()).with_env_var("LARDER_LOG").from_env_lossy();
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // It fails only where logging was started before, and then it goes on as it does.
    let _ = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().with_ansi(false).try_init(),
    };
}

/// Starts logging of nothing but warnings, as text.
pub(super) fn start_quiet() {
    start(&Log { level: LogLevel::WARN, ..Log::default() });
}
