//! `larder serve`: reads the configuration, starts the server, and waits: for the signal to stop, for reasons to read the
//! configuration again, for a newer Larder that takes over.

mod args;
pub(super) mod logging;
pub(super) mod signals;
mod source;
mod supervisor;
mod traces;
mod upgrade;
mod watch;

use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::task::JoinHandle;

pub(super) use self::args::ServeArgs;
use self::signals::{SignalRequest, Signals};
use self::source::Configuration;
use self::upgrade::{NewProcess, Upgrade};
use self::watch::Watch;
use super::file::DEFAULT_FILE;
use crate::clock::Clock;
use crate::config::Settings;
use crate::server::handover::{self, Takeover};
use crate::server::{self, Instance, Reloader, Sockets};

/// Serves until a signal, or until another takes over; then drains.
///
/// # Errors
/// A configuration that is missing or wrong, or an address that cannot be listened on.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let configuration = Arc::new(Configuration::of(args));
    // Watched before it is read, so that no change falls in between.
    let watch = configuration.file.as_deref().map(Watch::start);
    let checked = configuration.load()?;
    let Some(config) = checked.assemble() else { bail!(no_origin(args)) };
    let level = logging::start(&checked.log);
    let traces = traces::start(&checked.traces)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let (sockets, takeover) = sockets(args, &checked, &config)?;
        let source = Some(configuration.source(checked.clone(), level));
        let start = server::StartOptions { source, sockets, traces: traces.exporter() };
        let running = server::start_with(config, Clock::System, start).context("Larder cannot start")?;
        let upgrade = checked.server.upgrade_socket.as_deref().map(Upgrade::listen).transpose()?;
        announce(&running, &checked);
        if let Some(takeover) = takeover {
            takeover.ready().context("the Larder that ran before is gone")?;
        }
        supervisor::ready();
        let watch = watch.filter(|_| checked.reload_on_change).and_then(watch_or_warn);
        attend(running, &mut signals, watch, upgrade).await;
        Ok(())
    });
    // Whoever was offered the sockets and still thinks about it is not waited for.
    runtime.shutdown_background();
    traces.end();
    served
}

/// Returns the sockets that are there already: those of the Larder that runs, or those that systemd listens on.
fn sockets(
    args: &ServeArgs,
    checked: &Settings,
    config: &server::Config,
) -> anyhow::Result<(Sockets, Option<Takeover>)> {
    match (&checked.server.upgrade_socket, args.takeover) {
        (None, true) => bail!(
            "--takeover needs the socket on which the Larder that runs can be asked. In the configuration of both:\n\n    \
             [server]\n    upgrade_socket = \"/run/larder/upgrade.sock\"\n"
        ),
        (Some(path), true) => {
            let takeover = handover::take(path)
                .with_context(|| format!("cannot take over through {} (`server.upgrade_socket`)", path.display()))?;
            match takeover {
                Some((takeover, sockets)) => return Ok((sockets.fitting(config), Some(takeover))),
                None => eprintln!("No Larder runs at {}: there is nothing to take over.", path.display()),
            }
        }
        (Some(path), false) => upgrade::refuse_second(path)?,
        (None, false) => (),
    }
    Ok((supervisor::sockets(checked.admin.listen)?, None))
}

/// Where the configuration cannot be watched, says how else to reload.
fn watch_or_warn(watch: notify::Result<Watch>) -> Option<Watch> {
    watch
        .inspect_err(|error| tracing::warn!(%error, "the configuration cannot be watched: after a change, send SIGHUP"))
        .ok()
}

/// Does what is asked for until it is time to end.
async fn attend(running: Instance, signals: &mut Signals, mut watch: Option<Watch>, upgrade: Option<Upgrade>) {
    let mut handing = None;
    loop {
        tokio::select! {
            asked = signals.next() => match asked {
                SignalRequest::Reload => reload(running.reloader(), "SIGHUP").await,
                SignalRequest::Stop(_) => {
                    supervisor::stopping();
                    let timeout = drain_timeout(&running);
                    eprintln!("Stopping: what is in flight has {timeout}; a second signal ends at once.");
                    drop(upgrade);
                    return signals.end(running, Instance::drain).await;
                }
            },
            () = wait_for_change(&mut watch) => reload(running.reloader(), "file").await,
            newcomer = newcomer(&upgrade), if handing.is_none() => match running.offer() {
                Ok(offer) => handing = Some(tokio::task::spawn_blocking(move || {
                    offer.give(newcomer.stream).map(|()| newcomer.process)
                })),
                Err(error) => tracing::warn!(%error, "the listening sockets cannot be handed over"),
            },
            given = handover_result(&mut handing) => match given {
                Ok(process) => {
                    process.inspect(|&process| supervisor::replaced_by(process));
                    eprintln!("Another Larder serves from now on; what is in flight has {}.", drain_timeout(&running));
                    return signals.end(running, Instance::hand_over).await;
                }
                Err(error) => tracing::warn!(%error, "another Larder came to take over, but does not serve"),
            },
        }
    }
}

/// Waits for a change of the file; for ever where none is watched.
async fn wait_for_change(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.wait_for_change().await,
        None => std::future::pending().await,
    }
}

/// Waits for somebody who takes over; for ever where nobody may.
async fn newcomer(upgrade: &Option<Upgrade>) -> NewProcess {
    match upgrade {
        Some(upgrade) => upgrade.newcomer().await,
        None => std::future::pending().await,
    }
}

/// A hand-over that is under way; it comes to the process that serves then.
type HandoverThread = Option<JoinHandle<std::io::Result<Option<u32>>>>;

/// Waits for what comes of a hand-over; for ever where none is under way. May be dropped and called again.
async fn handover_result(handing: &mut HandoverThread) -> std::io::Result<Option<u32>> {
    let Some(under_way) = handing else { return std::future::pending().await };
    let given = under_way.await;
    *handing = None;
    given.unwrap_or_else(|broken| Err(std::io::Error::other(broken)))
}

/// Reloads on a thread that may block.
async fn reload(reloader: Arc<Reloader>, by: &'static str) {
    supervisor::reloading();
    if tokio::task::spawn_blocking(move || reloader.reload(by)).await.is_err() {
        tracing::error!("a reload broke off; the configuration before it stays");
    }
    supervisor::ready();
}

fn drain_timeout(running: &Instance) -> humantime::FormattedDuration {
    humantime::format_duration(running.drain_timeout())
}

/// Prints a line for each address with what to do next. On standard error, since standard output is the access log's.
fn announce(running: &Instance, checked: &Settings) {
    let addr = running.addr();
    let origin = checked.origin.url.as_ref().map(ToString::to_string).unwrap_or_default();
    eprintln!("Larder serves {origin} at http://{addr}   try: curl -sI http://{addr}/");
    match running.admin_addr() {
        Some(admin) => eprintln!("Dashboard at http://{admin}/   try: larder stats --admin {admin}"),
        None => eprintln!("The admin side is off; `[admin] listen` or --admin turns it on."),
    }
    if let Some(admin) = running.admin_addr().filter(|admin| !admin.ip().is_loopback()) {
        eprintln!(
            "The admin side on {admin} can be reached from elsewhere: it asks for the token, but for /live, /ready and the dashboard's empty page."
        );
    }
    for warning in checked.warnings() {
        tracing::info!("{warning}");
    }
}

/// Says what to type.
fn no_origin(args: &ServeArgs) -> String {
    let file = match args.file.path() {
        Some(path) => format!("{} has no `url` under [origin]", path.display()),
        None => format!("there is no {} here", DEFAULT_FILE),
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
    use crate::cli::args::{Cli, Command};
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
