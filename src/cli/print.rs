//! Output of the commands: results on standard output, errors on standard error.

use std::io::{IsTerminal, Write};

use crate::config;

/// Tells an error on standard error; problems of a configuration in their own form.
pub(super) fn complain(error: &anyhow::Error) {
    let mut stderr = std::io::stderr().lock();
    // Where standard error is closed, there is nobody to tell.
    let _ = match error.downcast_ref::<config::Error>() {
        Some(config::Error::Wrong(problems)) => {
            let number = problems.list().len();
            let noun = if number == 1 { "problem" } else { "problems" };
            writeln!(stderr, "{}\n\nlarder: {number} {noun}", problems.render(stderr.is_terminal()))
        }
        _ => writeln!(stderr, "larder: {error:#}"),
    };
}

/// Writes to standard output. Where that is closed (`larder check | head`), nobody wants the rest.
pub(super) fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
