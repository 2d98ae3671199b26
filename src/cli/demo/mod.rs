//! `larder demo`: a sample app behind Larder, to show what a cache does.
//!
//! Both listen on free ports over real TCP. `config.toml` is not read: Larder runs with its
//! defaults.

mod app;
mod page;
#[cfg(test)]
mod shadow_tests;
mod watch;

use std::io::IsTerminal;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, bail};

use super::print::print_line;
use super::serve::logging;
use super::serve::signals::Signals;
use crate::clock::Clock;
use crate::config::{AdminListen, Flags, parse};
use crate::server::{self, Instance};

/// Runs the demo until a signal.
///
/// # Errors
/// If there is no free port or no thread.
pub(super) fn run() -> anyhow::Result<()> {
    logging::start_quiet();
    let app = app::start().context("the sample app cannot start")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let running = server::start(config(app.addr())?, Clock::System).context("Larder cannot start")?;
        let Some(admin) = running.admin_addr() else { bail!("the admin interface did not start") };
        print_line(format_args!("{}", welcome(app.addr(), running.addr(), admin)));
        tokio::select! {
            _ = signals.next() => {}
            () = watch::follow(admin) => {}
        }
        let end = if std::io::stdout().is_terminal() { "\n" } else { "" };
        print_line(format_args!("{end}Shutting down."));
        signals.end(running, Instance::drain).await;
        Ok(())
    })?;
    drop(app);
    Ok(())
}

/// Returns the defaults on free ports, with `origin` as the app, and with cache keys shown as text
/// to this machine.
fn config(origin: SocketAddr) -> anyhow::Result<server::Config> {
    let free = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let flags = Flags { listen: Some(free), origin: Some(origin.into()), admin: Some(AdminListen::At(free)) };
    let checked = parse("demo", "server.debug_from = [\"127.0.0.1\"]", &flags)?;
    checked.assemble().context("the demo has an origin")
}

/// Returns the text that is printed first.
fn welcome(app: SocketAddr, larder: SocketAddr, admin: SocketAddr) -> String {
    format!(
        "\n  Larder demo: a sample app behind Larder.\n\
         \n  Larder      http://{larder}/         open this in a browser and click around\
         \n  The app     http://{app}/         the same without a cache, to compare\
         \n  Dashboard   http://{admin}/         live; as tables: larder stats --admin {admin}\n\
         \n  Request each twice and compare Cache-Status:\n\
         \n    curl -sI http://{larder}/articles/1                        a miss, then hits\
         \n    curl -s -o /dev/null -w '%{{time_total}} s\\n' http://{larder}/slow    1.5 s the first time, then instant\
         \n    curl -sI http://{larder}/account                           personal: never cached\
         \n    curl -si http://{larder}/api/prices                        5 s fresh, then refreshed in the background\
         \n    curl -s -X POST http://{larder}/api/prices                 invalidates the cached copy\n\
         \n  Press Ctrl-C to stop.\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_runs_on_free_ports_in_front_of_the_sample_app() {
        let config = config(SocketAddr::from((Ipv4Addr::LOCALHOST, 4321))).unwrap();
        assert_eq!((config.listen.port(), config.origin.authority.as_str()), (0, "127.0.0.1:4321"));
        assert_eq!(config.admin.listen.map(|addr| addr.port()), Some(0));
    }

    #[test]
    fn the_welcome_names_all_three_addresses() {
        let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let text = welcome(addr(1), addr(2), addr(3));
        for part in ["http://127.0.0.1:1/", "http://127.0.0.1:2/articles/1", "http://127.0.0.1:3/ ", "%{time_total}"] {
            assert!(text.contains(part), "{part}");
        }
    }
}
