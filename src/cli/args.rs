//! The definition of the command line: every command, and one line of help for each.

use clap::{Parser, Subcommand};

use super::file::FileArgs;
use super::serve::ServeArgs;
use super::{explain, log, purge, shadow, stats, top};

/// A read-through HTTP cache: repeat requests are served from memory, and every response says why
/// it was, or was not, cached.
#[derive(Debug, Parser)]
#[command(name = "larder", version, max_term_width = 100)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the caching proxy in front of an app
    Serve(ServeArgs),
    /// Validate the configuration and print the effective settings; exits 1 and lists every error
    /// if it is invalid
    Check(FileArgs),
    /// Run a sample app behind Larder to try it out
    Demo,
    /// Explain how Larder would handle a request, or whether a saved response would be cached
    Explain(explain::ExplainArgs),
    /// Show statistics of a running Larder
    Stats(stats::StatsArgs),
    /// Live terminal dashboard
    Top(top::TopArgs),
    /// Report what caching would save, and what it would break, based on traffic seen in shadow
    /// mode
    ShadowReport(shadow::ShadowArgs),
    /// Stream requests as they complete, one per line
    Log(log::LogArgs),
    /// Purge cached responses by URL, prefix, host or tag, or everything
    Purge(purge::PurgeArgs),
    /// Print the man page, or that of one command: larder man serve | man -l -
    Man {
        /// The command
        command: Option<String>,
    },
    /// Print shell completions
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
