//! The command line: `serve`, `check`, `demo`, `explain`, `log`, `purge`, `stats`, `shadow-report`, `top`;
//! and what is made from its definition: `man`, `completions`, `schema`, `service`.
//!
//! Reads flags and files, puts the parts together, and says in plain words what to do next. Deliberately absent: anything
//! that a library user of Larder would need.

mod ask;
mod check;
mod demo;
mod explain;
mod log;
mod logging;
mod page;
mod purge;
mod redraw;
mod serve;
mod shadow;
mod signals;
mod source;
mod stats;
mod supervisor;
mod top;
mod traces;
mod upgrade;
mod watch;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, AdminListen, Flags, OriginUrl, Settings};

/// What is read when no `--config` is given and it is there.
const DEFAULT_FILE: &str = "config.toml";

/// A read-through HTTP cache: repeats are answered from memory, and every response says why it was or was not cached.
#[derive(Debug, Parser)]
#[command(name = "larder", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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

#[derive(Args, Clone, Debug)]
struct FileArgs {
    /// The configuration [default: config.toml in the working folder, where there is one]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct ServeArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The app behind Larder, such as http://127.0.0.1:3000
    #[arg(short, long, value_name = "URL")]
    origin: Option<OriginUrl>,
    /// Where clients connect [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Where the admin side listens, or "off" [default: 127.0.0.1:9180]
    #[arg(short, long, value_name = "ADDR", value_parser = admin_listen)]
    admin: Option<AdminListen>,
    /// Take the place of the Larder that runs: its listening sockets come through `server.upgrade_socket`
    #[arg(long)]
    takeover: bool,
}

/// Parses the value of `--admin`.
fn admin_listen(text: &str) -> Result<AdminListen, String> {
    match text {
        "off" => Ok(AdminListen::Off),
        _ => text
            .parse()
            .map(AdminListen::At)
            .map_err(|_| format!("{text:?} is neither an IP address with a port, such as 127.0.0.1:9180, nor \"off\"")),
    }
}

impl ServeArgs {
    fn flags(&self) -> Flags {
        Flags { listen: self.listen, origin: self.origin.clone(), admin: self.admin }
    }
}

impl FileArgs {
    /// Returns the file to read; `None` where none was named and there is none.
    fn path(&self) -> Option<&Path> {
        let default = Path::new(DEFAULT_FILE);
        self.config.as_deref().or_else(|| default.exists().then_some(default))
    }

    /// Reads and checks the configuration; `flags` beat the file.
    fn load(&self, flags: &Flags) -> Result<Settings, config::Error> {
        match self.path() {
            Some(path) => config::load(path, flags),
            None => Ok(config::parse("the command line", "", flags)?),
        }
    }
}

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
        Command::Man { command } => page::man(command.as_deref()),
        Command::Completions { shell } => page::completions(shell),
        Command::Schema => page::schema(),
        Command::Service => page::service(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Tells an error on standard error; problems of a configuration in their own form.
fn complain(error: &anyhow::Error) {
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
fn say(text: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn serve_args(line: &str) -> Result<ServeArgs, clap::Error> {
        Cli::try_parse_from(line.split(' ')).map(|cli| match cli.command {
            Command::Serve(args) => args,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_serve_beat_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, "listen = \"127.0.0.1:1\"\norigin.url = \"http://a\"\nadmin.listen = \"off\"\n").unwrap();
        let check = |flags: &str, listen: &str, origin: &str, admin: Option<&str>| {
            let args = serve_args(&format!("larder serve --config {}{flags}", file.display())).unwrap();
            let checked = args.file.load(&args.flags()).unwrap();
            assert_eq!(checked.listen, listen.parse().unwrap());
            assert_eq!(checked.origin.url.unwrap().authority(), origin);
            assert_eq!(checked.admin.listen, admin.map(|addr| addr.parse().unwrap()));
        };
        check("", "127.0.0.1:1", "a:80", None);
        check(" --listen [::1]:2", "[::1]:2", "a:80", None);
        check(" --origin http://b:3000", "127.0.0.1:1", "b:3000", None);
        check(" --admin 127.0.0.1:3", "127.0.0.1:1", "a:80", Some("127.0.0.1:3"));
    }

    #[test]
    fn flags_that_cannot_be_read_say_what_can() {
        let check = |line: &str, part: &str| {
            let error = serve_args(line).expect_err(line).to_string();
            assert!(error.contains(part), "{error}");
        };
        check("larder serve --origin 127.0.0.1:3000", "did you mean \"http://127.0.0.1:3000\"?");
        check("larder serve --origin https://app", "not available in this version");
        check("larder serve --admin here", "127.0.0.1:9180");
        check("larder serve --listen 8080", "--listen <ADDR>");
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let args = serve_args("larder serve -c /nonexistent/a.toml").unwrap();
        let error = args.file.load(&args.flags()).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/a.toml cannot be read"), "{error}");
    }
}
