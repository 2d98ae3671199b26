//! The terminal: taken over, drawn on, and given back however it ends.
//!
//! A thread of its own asks for the figures, so that a slow admin side never holds up a key. A Larder that goes away is
//! told at the foot of the page and asked again; who watches an upgrade wants to see it come back.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::draw::draw;
use super::state::{Act, State};
use crate::admin::stats::Stats;
use crate::cli::ask::Admin;
use crate::cli::stats::fetch;

/// How soon newer figures are drawn, where no key is pressed.
const GLANCE: Duration = Duration::from_millis(100);

/// What the thread tells.
enum Told {
    Figures(Box<Stats>),
    Trouble(String),
    /// This process is to end: SIGTERM, SIGHUP, SIGINT. (Ctrl-C comes as a key.)
    End,
}

/// Gives the terminal back. A panic does so too, by the hook that ratatui sets.
struct Restore;

impl Drop for Restore {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the figures until a key ends it.
///
/// # Errors
/// An admin side that cannot be reached at the start, a terminal that is none or goes away.
pub(super) fn run(admin: Admin, every: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let first = runtime.block_on(fetch(&admin))?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!("`larder top` needs a terminal; `larder stats` prints the figures once");
    }
    let mut state = State::new(admin.base().to_owned(), first);
    let (tell, told) = sync_channel(1);
    std::thread::Builder::new().name("larder-top".to_owned()).spawn(move || {
        // Its end is seen at the other end of the channel.
        let _ = runtime.block_on(ask(&admin, every, &tell));
    })?;
    let mut terminal = ratatui::try_init().context("cannot take the terminal over")?;
    let _restore = Restore;
    show(&mut terminal, &mut state, &told)
}

/// Asks again and again, until nobody listens.
async fn ask(admin: &Admin, every: Duration, tell: &SyncSender<Told>) -> std::io::Result<()> {
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let told = tokio::select! {
            _ = terminate.recv() => Told::End,
            _ = hangup.recv() => Told::End,
            _ = interrupt.recv() => Told::End,
            _ = ticks.tick() => match fetch(admin).await {
                Ok(stats) => Told::Figures(Box::new(stats)),
                Err(error) => Told::Trouble(format!("{error:#}")),
            },
        };
        if tell.send(told).is_err() {
            return Ok(());
        }
    }
}

/// Draws, and does what keys say.
fn show(terminal: &mut DefaultTerminal, state: &mut State, told: &Receiver<Told>) -> anyhow::Result<()> {
    loop {
        terminal.draw(|frame| draw(frame, state)).context("cannot draw on the terminal")?;
        let mut is_drawn = true;
        while is_drawn {
            if event::poll(GLANCE).context("cannot read the terminal")? {
                match event::read().context("cannot read the terminal")? {
                    Event::Key(key) => match state.key(key) {
                        Act::Quit => return Ok(()),
                        Act::Redraw => is_drawn = false,
                        Act::Nothing => {}
                    },
                    Event::Resize(..) => is_drawn = false,
                    _ => {}
                }
            }
            match told.try_recv() {
                Ok(Told::Figures(stats)) => state.update(*stats),
                Ok(Told::Trouble(trouble)) => state.trouble = Some(trouble),
                Ok(Told::End) => return Ok(()),
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => bail!("the thread that asks for the figures has ended"),
            }
            is_drawn = false;
        }
    }
}
