//! Output of the commands: results on standard output, errors on standard error.

use std::io::{IsTerminal, Write};

use crate::config;

/// Reports an error on standard error; problems of a configuration have a form of their own.
pub(super) fn report_error(error: &anyhow::Error) {
    let mut stderr = std::io::stderr().lock();
    // A closed standard error has no reader.
    let _ = match error.downcast_ref::<config::Error>() {
        Some(config::Error::Wrong(problems)) => {
            let number = problems.list().len();
            let noun = if number == 1 { "problem" } else { "problems" };
            writeln!(stderr, "{}\n\nlarder: {number} {noun}", problems.render(stderr.is_terminal()))
        }
        _ => writeln!(stderr, "larder: {error:#}"),
    };
}

/// Writes to standard output. With that closed (`larder check | head`), nobody wants the rest.
pub(super) fn print_line(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
