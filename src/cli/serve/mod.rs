//! `larder serve`: reads the configuration, starts the server, and then waits for the signal to
//! stop, for reasons to reload, and for a newer Larder that takes over.

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

/// Serves until a signal arrives or another Larder takes over; then drains.
///
/// # Errors
/// A configuration that is missing or wrong, or an address that cannot be listened on.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let configuration = Arc::new(Configuration::of(args));
    // The watch starts before the file is read, so that no change is missed in between.
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
            takeover.ready().context("the previous Larder has exited")?;
        }
        supervisor::ready();
        let watch = watch.filter(|_| checked.reload_on_change).and_then(watch_or_warn);
        attend(running, &mut signals, watch, upgrade).await;
        Ok(())
    });
    // A hand-over that the other process has not finished is not waited for.
    runtime.shutdown_background();
    traces.end();
    served
}

/// Returns the sockets that exist already: those of the running Larder, or those from systemd.
fn sockets(
    args: &ServeArgs,
    checked: &Settings,
    config: &server::Config,
) -> anyhow::Result<(Sockets, Option<Takeover>)> {
    match (&checked.server.upgrade_socket, args.takeover) {
        (None, true) => bail!(
            "--takeover needs `server.upgrade_socket` in the configuration of both instances:\n\n    \
             [server]\n    upgrade_socket = \"/run/larder/upgrade.sock\"\n"
        ),
        (Some(path), true) => {
            let takeover = handover::take(path)
                .with_context(|| format!("cannot take over through {} (`server.upgrade_socket`)", path.display()))?;
            match takeover {
                Some((takeover, sockets)) => return Ok((sockets.fitting(config), Some(takeover))),
                None => eprintln!("No Larder is listening on {}: starting normally.", path.display()),
            }
        }
        (Some(path), false) => upgrade::refuse_second(path)?,
        (None, false) => (),
    }
    Ok((supervisor::sockets(checked.admin.listen)?, None))
}

/// Logs how else to reload if the configuration cannot be watched.
fn watch_or_warn(watch: notify::Result<Watch>) -> Option<Watch> {
    watch.inspect_err(|error| tracing::warn!(%error, "cannot watch the configuration: send SIGHUP after a change")).ok()
}

/// Handles signals, reloads and hand-overs until it is time to end.
async fn attend(running: Instance, signals: &mut Signals, mut watch: Option<Watch>, upgrade: Option<Upgrade>) {
    let mut handover_thread = None;
    loop {
        tokio::select! {
            request = signals.next() => match request {
                SignalRequest::Reload => reload(running.reloader(), "SIGHUP").await,
                SignalRequest::Stop(_) => {
                    supervisor::stopping();
                    let timeout = drain_timeout(&running);
                    eprintln!(
                        "Shutting down: finishing requests in flight (up to {timeout}). \
                         Press Ctrl-C again to stop now."
                    );
                    drop(upgrade);
                    return signals.end(running, Instance::drain).await;
                }
            },
            () = wait_for_change(&mut watch) => reload(running.reloader(), "file").await,
            new_process = new_process(&upgrade), if handover_thread.is_none() => match running.offer() {
                Ok(offer) => handover_thread = Some(tokio::task::spawn_blocking(move || {
                    offer.give(new_process.stream).map(|()| new_process.process)
                })),
                Err(error) => tracing::warn!(%error, "cannot hand over the listening sockets"),
            },
            given = handover_result(&mut handover_thread) => match given {
                Ok(process) => {
                    process.inspect(|&process| supervisor::replaced_by(process));
                    let timeout = drain_timeout(&running);
                    eprintln!("A new Larder has taken over; finishing requests in flight (up to {timeout}).");
                    return signals.end(running, Instance::hand_over).await;
                }
                Err(error) => tracing::warn!(%error, "another Larder tried to take over, but did not start serving"),
            },
        }
    }
}

/// Waits for a change of the file; forever if none is watched.
async fn wait_for_change(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.wait_for_change().await,
        None => std::future::pending().await,
    }
}

/// Waits for a process that takes over; forever without an upgrade socket.
async fn new_process(upgrade: &Option<Upgrade>) -> NewProcess {
    match upgrade {
        Some(upgrade) => upgrade.new_process().await,
        None => std::future::pending().await,
    }
}

/// A hand-over in progress; its result is the id of the new process.
type HandoverThread = Option<JoinHandle<std::io::Result<Option<u32>>>>;

/// Waits for the result of a hand-over; forever if none is in progress. May be dropped and called
/// again.
async fn handover_result(handover_thread: &mut HandoverThread) -> std::io::Result<Option<u32>> {
    let Some(under_way) = handover_thread else { return std::future::pending().await };
    let given = under_way.await;
    *handover_thread = None;
    given.unwrap_or_else(|broken| Err(std::io::Error::other(broken)))
}

/// Reloads on a thread that may block.
async fn reload(reloader: Arc<Reloader>, by: &'static str) {
    supervisor::reloading();
    if tokio::task::spawn_blocking(move || reloader.reload(by)).await.is_err() {
        tracing::error!("reload aborted; keeping the previous configuration");
    }
    supervisor::ready();
}

fn drain_timeout(running: &Instance) -> humantime::FormattedDuration {
    humantime::format_duration(running.drain_timeout())
}

/// Prints a line for each address with a command to try. Standard output is reserved for the access
/// log, so the lines go to standard error.
fn announce(running: &Instance, checked: &Settings) {
    let addr = running.addr();
    let origin = checked.origin.url.as_ref().map(ToString::to_string).unwrap_or_default();
    eprintln!("Listening on http://{addr} (proxying to {origin})   try: curl -sI http://{addr}/");
    match running.admin_addr() {
        Some(admin) => eprintln!("Dashboard on http://{admin}/   try: larder stats --admin {admin}"),
        None => eprintln!("Admin interface is off. Enable it with `[admin] listen` or --admin."),
    }
    if let Some(admin) = running.admin_addr().filter(|admin| !admin.ip().is_loopback()) {
        eprintln!(
            "The admin interface on {admin} is reachable from other machines. \
             Everything except /live, /ready and the sign-in page requires the token."
        );
    }
    for warning in checked.warnings() {
        tracing::info!("{warning}");
    }
}

/// Returns the error for a missing origin, with the command to type.
fn no_origin(args: &ServeArgs) -> String {
    let file = match args.file.path() {
        Some(path) => format!("{} has no `url` under [origin]", path.display()),
        None => format!("there is no {} here", DEFAULT_FILE),
    };
    format!(
        "no origin: {file}, and no --origin was given. Give the address of your app:\n\n    \
         larder serve --origin http://127.0.0.1:3000\n\n\
         or set it in config.toml:\n\n    [origin]\n    url = \"http://127.0.0.1:3000\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use clap::Parser;

    #[test]
    fn without_an_origin_the_error_says_what_to_type() {
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
