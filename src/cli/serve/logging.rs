//! Larder's own log: lines on standard error.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, fmt, reload};

use crate::config::{LogFormat, LogLevel, LogSection};

/// Starts logging as `[log]` says. The environment variable `LARDER_LOG` overrides the level, with
/// directives such as `warn,larder::store=debug`.
pub(in crate::cli) fn start(log: &LogSection) -> Level {
    let (filter, handle) = reload::Layer::new(filter(log));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    // This fails only if logging was started before, and then changes nothing.
    let _ = match log.format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(lines.json().with_ansi(false)).try_init(),
    };
    Level(handle)
}

fn filter(log: &LogSection) -> EnvFilter {
    EnvFilter::builder().with_default_directive(log.level.into()).with_env_var("LARDER_LOG").from_env_lossy()
}

/// The minimum level that is logged, which may change at run time.
#[derive(Clone)]
pub(in crate::cli) struct Level(reload::Handle<EnvFilter, Registry>);

impl Level {
    /// Sets the level to the one of `[log]`.
    pub(in crate::cli) fn set(&self, log: &LogSection) {
        // This fails only if logging was never started.
        let _ = self.0.reload(filter(log));
    }
}

/// Starts logging of warnings and errors only, as text.
pub(in crate::cli) fn start_quiet() {
    start(&LogSection { level: LogLevel::WARN, ..LogSection::default() });
}
