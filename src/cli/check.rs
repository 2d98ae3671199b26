//! `larder check`: the effective settings, or everything that is wrong.

use std::io::{IsTerminal, Write};

use super::file::FileArgs;
use super::print::print_line;
use crate::config::Flags;

/// Prints the effective settings to standard output as TOML that reads back, and warnings to
/// standard error.
///
/// # Errors
/// A file that cannot be read, or everything that is wrong in it.
pub(super) fn run(args: &FileArgs) -> anyhow::Result<()> {
    let checked = args.load(&Flags::default())?;
    let source = match args.path() {
        Some(path) => format!("{}, with the defaults for what it leaves out", path.display()),
        None => "the built-in defaults: there is no config.toml here".to_owned(),
    };
    print_line(format_args!("# In force: {source}.\n{}", checked.to_toml().trim_end()));
    let mut stderr = std::io::stderr().lock();
    let (bold, plain) = if stderr.is_terminal() { ("\u{1b}[1;33m", "\u{1b}[0m") } else { ("", "") };
    for warning in checked.warnings() {
        // A closed standard error has no reader.
        let _ = writeln!(stderr, "{bold}note:{plain} {warning}");
    }
    Ok(())
}
