//! `larder serve`: reads the configuration, starts the server, and waits for the signal to stop.

use anyhow::{Context, bail};

use super::signals::Signals;
use super::{ServeArgs, logging};
use crate::clock::Clock;
use crate::config::Checked;
use crate::server;

/// Serves until a signal, then drains.
///
/// # Errors
/// A configuration that is missing or wrong, or an address that cannot be listened on.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let checked = args.file.load(&args.flags())?;
    let Some(config) = checked.assemble() else { bail!(no_origin(args)) };
    logging::start(&checked.log);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let running = server::start(config, Clock::System).context("Larder cannot start")?;
        announce(&running, &checked);
        signals.next().await;
        eprintln!("Stopping: what is in flight has {}; a second signal ends at once.", drain_timeout(&checked));
        signals.drain(running).await;
        Ok(())
    })
}

fn drain_timeout(checked: &Checked) -> humantime::FormattedDuration {
    humantime::format_duration(checked.server.drain_timeout)
}

/// Prints a line for each address with what to do next. On standard error, since standard output is the access log's.
fn announce(running: &server::Running, checked: &Checked) {
    let addr = running.addr();
    let origin = checked.origin.url.as_ref().map(ToString::to_string).unwrap_or_default();
    eprintln!("Larder serves {origin} at http://{addr}   try: curl -sI http://{addr}/");
    match running.admin_addr() {
        Some(admin) => eprintln!("Figures at http://{admin}/stats   try: larder stats --admin {admin}"),
        None => eprintln!("The admin side is off; `[admin] listen` or --admin turns it on."),
    }
    for warning in checked.warnings() {
        tracing::info!("{warning}");
    }
}

/// Says what to type.
fn no_origin(args: &ServeArgs) -> String {
    let file = match args.file.path() {
        Some(path) => format!("{} has no `url` under [origin]", path.display()),
        None => format!("there is no {} here", super::DEFAULT_FILE),
    };
    format!(
        "no origin: {file}, and no --origin was given. Type the address of your app:\n\n    \
         larder serve --origin http://127.0.0.1:3000\n\n\
         or write it into config.toml:\n\n    [origin]\n    url = \"http://127.0.0.1:3000\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    #[test]
    fn without_an_origin_it_says_what_to_type() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("empty.toml");
        std::fs::write(&file, "").unwrap();
        let line = ["larder", "serve", "--config", file.to_str().unwrap()];
        let Command::Serve(args) = Cli::parse_from(line).command else { panic!("it is serve") };
        let error = run(&args).unwrap_err().to_string();
        assert!(error.contains("larder serve --origin http://127.0.0.1:3000"), "{error}");
        assert!(error.contains("empty.toml has no `url`"), "{error}");
    }
}
