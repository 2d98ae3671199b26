//! Dispatch: parses the arguments of this process and runs the command that they name.

use std::process::ExitCode;

use clap::Parser;

use super::args::{Cli, Command};
use super::print::report_error;
use super::{check, demo, explain, generate, log, purge, serve, shadow, stats, top};

/// Runs the command line of this process.
pub fn run() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Demo => demo::run(),
        Command::Stats(args) => stats::run(&args),
        Command::ShadowReport(args) => shadow::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Log(args) => log::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Man { command } => generate::man(command.as_deref()),
        Command::Completions { shell } => generate::completions(shell),
        Command::Schema => generate::schema(),
        Command::Service => generate::service(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report_error(&error);
            ExitCode::FAILURE
        }
    }
}
