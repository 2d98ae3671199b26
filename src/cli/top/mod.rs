//! `larder top`: a live dashboard of a running Larder in the terminal.
//!
//! Drawing is a cargo feature, `tui`, off by default: few users need it, and it adds some sixty
//! crates. Without the feature the command exists and says how to get it.

#[cfg(feature = "tui")]
mod draw;
#[cfg(feature = "tui")]
mod screen;
#[cfg(feature = "tui")]
mod state;
#[cfg(feature = "tui")]
mod tables;

use clap::Args;

use super::admin_client::AdminArgs;

/// The command that builds Larder with the dashboard.
#[cfg(any(test, not(feature = "tui")))]
const BUILD_IT: &str = "cargo build --release --features tui";

/// The flags of `larder top`.
#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Refresh interval in seconds
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    every: u64,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Shows the dashboard until `q` or Ctrl-C.
///
/// # Errors
/// An admin interface that cannot be reached at the start; no terminal to draw on.
#[cfg(feature = "tui")]
pub(super) fn run(args: &TopArgs) -> anyhow::Result<()> {
    screen::run(args.admin.resolve()?, std::time::Duration::from_secs(args.every))
}

/// Returns the error that says how to get the dashboard.
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
        "this build of larder has no `top`. Build it with:\n\n    {BUILD_IT}\n\nOr use \
         `larder stats --watch {every}`, which shows the same numbers as tables, or the dashboard in a browser."
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn without_the_feature_the_error_names_the_build_command() {
        let message = super::unbuilt(3).to_string();
        assert!(message.contains("\n    cargo build --release --features tui\n"), "{message}");
        assert!(message.contains("larder stats --watch 3"), "{message}");
        assert!(include_str!("../../../Cargo.toml").contains("\ntui = ["), "the feature has this name");
    }
}
