//! Texts made from the definitions: man pages and shell completions of the command line, the JSON
//! Schema of the configuration; and the unit file.

use anyhow::bail;
use clap::CommandFactory;
use clap_complete::Shell;

use super::args::Cli;
use super::print::print_line;
use crate::config;

/// The unit file, as printed.
const SERVICE: &str = include_str!("larder.service");

/// Prints the man page of `larder`, or of one of its commands.
///
/// # Errors
/// An unknown command.
pub(super) fn man(command: Option<&str>) -> anyhow::Result<()> {
    let mut larder = Cli::command();
    larder.build();
    let page = match command {
        None => larder,
        Some(name) => match larder.find_subcommand(name) {
            Some(found) => found.clone().name(format!("larder-{name}").leak() as &str),
            None => {
                let names: Vec<_> = larder.get_subcommands().map(|known| known.get_name().to_owned()).collect();
                bail!("unknown command {name:?}; use one of {}", names.join(", "));
            }
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    print(&text)
}

/// Prints the completions for a shell.
///
/// # Errors
/// None in practice: only text that is not UTF-8 would fail. The same holds for the functions
/// below.
pub(super) fn completions(shell: Shell) -> anyhow::Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "larder", &mut text);
    print(&text)
}

/// Prints the JSON Schema of the configuration.
pub(super) fn schema() -> anyhow::Result<()> {
    print(&serde_json::to_vec_pretty(&config::schema())?)
}

/// Prints the unit file for systemd.
pub(super) fn service() -> anyhow::Result<()> {
    print(SERVICE.as_bytes())
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    print_line(format_args!("{}", std::str::from_utf8(text)?.trim_end()));
    Ok(())
}
