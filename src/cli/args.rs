//! The definition of the command line: every command, and one line of help for each.

use clap::{Parser, Subcommand};

use super::file::FileArgs;
use super::serve::ServeArgs;
use super::{explain, log, purge, shadow, stats, top};

/// A read-through HTTP cache: repeats are answered from memory, and every response says why it was or was not cached.
#[derive(Debug, Parser)]
#[command(name = "larder", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Serve: stand in front of an app
    Serve(ServeArgs),
    /// Check the configuration: print what is in force, or everything that is wrong (exit 1)
    Check(FileArgs),
    /// Start a small sample app with Larder in front of it, to try things out
    Demo,
    /// Say what would happen to a request now, and why; or whether a saved response would be stored
    Explain(explain::ExplainArgs),
    /// Ask a running Larder for its figures, once or again and again
    Stats(stats::StatsArgs),
    /// Watch a running Larder live in the terminal
    Top(top::TopArgs),
    /// Say what a cache would bring and what would be wrong, by what a running Larder has seen in shadow mode
    ShadowReport(shadow::ShadowArgs),
    /// Follow the requests of a running Larder, a line each
    Log(log::LogArgs),
    /// Have a running Larder purge URLs, prefixes, hosts, tags or everything
    Purge(purge::PurgeArgs),
    /// Print the man page, or that of a command: larder man serve | man -l -
    Man {
        /// The command
        command: Option<String>,
    },
    /// Print the completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Print a hardened unit file for systemd
    Service,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }
}
