//! `larder top`: a running Larder, live in the terminal.
//!
//! What draws is a cargo feature, `tui`, off by default: few need it, and it brings some sixty crates. Without it the
//! command is there and says how to get it.

#[cfg(feature = "tui")]
mod draw;
#[cfg(feature = "tui")]
mod screen;
#[cfg(feature = "tui")]
mod state;
#[cfg(feature = "tui")]
mod tables;

use clap::Args;

use super::ask::AdminArgs;

/// How to get what draws.
#[cfg(any(test, not(feature = "tui")))]
const BUILD_IT: &str = "cargo build --release --features tui";

/// Which Larder is watched, and how closely.
#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Ask for the figures every so many seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Shows the figures until `q` or Ctrl-C.
///
/// # Errors
/// An admin side that cannot be reached at the start; no terminal to draw on.
#[cfg(feature = "tui")]
pub(super) fn run(args: &TopArgs) -> anyhow::Result<()> {
    screen::run(args.admin.resolve()?, std::time::Duration::from_secs(args.every))
}

/// Says how to get it.
///
/// # Errors
/// Always.
#[cfg(not(feature = "tui"))]
pub(super) fn run(args: &TopArgs) -> anyhow::Result<()> {
    let TopArgs { every, admin: _ } = args;
    Err(unbuilt(*every))
}

#[cfg(any(test, not(feature = "tui")))]
fn unbuilt(every: u64) -> anyhow::Error {
    anyhow::anyhow!(
        "this larder was built without `top`. Build it in the project's folder with:\n\n    {BUILD_IT}\n\nMeanwhile \
         `larder stats --watch {every}` shows the same figures as tables, and the dashboard shows them in a browser."
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn without_the_feature_it_says_the_line_that_builds_it() {
        let message = super::unbuilt(3).to_string();
        assert!(message.contains("\n    cargo build --release --features tui\n"), "{message}");
        assert!(message.contains("larder stats --watch 3"), "{message}");
        assert!(include_str!("../../../Cargo.toml").contains("\ntui = ["), "the feature is called so");
    }
}
