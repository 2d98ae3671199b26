//! The terminal: taken over, drawn on, and restored however the command ends.
//!
//! A thread of its own polls the stats, so that a slow admin interface never delays a key. If
//! Larder disappears, the foot of the page says so and polling goes on: an operator who watches an
//! upgrade wants to see it come back.

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::Duration;

use anyhow::{Context, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use super::draw::draw;
use super::state::{TopAction, TopState};
use crate::admin::stats::Stats;
use crate::cli::admin_client::AdminClient;
use crate::cli::stats::fetch;

/// The maximum delay before newer stats are drawn, if no key is pressed.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A message of the polling thread.
enum ScreenEvent {
    Stats(Box<Stats>),
    Trouble(String),
    /// The process must end: SIGTERM, SIGHUP, SIGINT. (Ctrl-C arrives as a key.)
    End,
}

/// Restores the terminal on drop. After a panic, ratatui's hook does so.
struct RestoreTerminal;

impl Drop for RestoreTerminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Shows the dashboard until a key ends it.
///
/// # Errors
/// An admin interface that cannot be reached at the start; a missing or vanished terminal.
pub(super) fn run(admin: AdminClient, every: Duration) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let first = runtime.block_on(fetch(&admin))?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        bail!("`larder top` needs a terminal; `larder stats` prints the stats once");
    }
    let mut state = TopState::new(admin.base().to_owned(), first);
    let (tell, message) = sync_channel(1);
    std::thread::Builder::new().name("larder-top".to_owned()).spawn(move || {
        // The receiver notices the end of the thread by the closed channel.
        let _ = runtime.block_on(ask(&admin, every, &tell));
    })?;
    let mut terminal = ratatui::try_init().context("cannot take the terminal over")?;
    let _restore = RestoreTerminal;
    show(&mut terminal, &mut state, &message)
}

/// Polls until nobody receives.
async fn ask(admin: &AdminClient, every: Duration, tell: &SyncSender<ScreenEvent>) -> std::io::Result<()> {
    let (mut terminate, mut hangup) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            _ = terminate.recv() => ScreenEvent::End,
            _ = hangup.recv() => ScreenEvent::End,
            _ = interrupt.recv() => ScreenEvent::End,
            _ = ticks.tick() => match fetch(admin).await {
                Ok(stats) => ScreenEvent::Stats(Box::new(stats)),
                Err(error) => ScreenEvent::Trouble(format!("{error:#}")),
            },
        };
        if tell.send(message).is_err() {
            return Ok(());
        }
    }
}

/// Draws, and handles keys.
fn show(terminal: &mut DefaultTerminal, state: &mut TopState, message: &Receiver<ScreenEvent>) -> anyhow::Result<()> {
    loop {
        terminal.draw(|frame| draw(frame, state)).context("cannot draw on the terminal")?;
        let mut is_drawn = true;
        while is_drawn {
            if event::poll(POLL_INTERVAL).context("cannot read the terminal")? {
                match event::read().context("cannot read the terminal")? {
                    Event::Key(key) => match state.key(key) {
                        TopAction::Quit => return Ok(()),
                        TopAction::Redraw => is_drawn = false,
                        TopAction::Nothing => {}
                    },
                    Event::Resize(..) => is_drawn = false,
                    _ => {}
                }
            }
            match message.try_recv() {
                Ok(ScreenEvent::Stats(stats)) => state.update(*stats),
                Ok(ScreenEvent::Trouble(trouble)) => state.trouble = Some(trouble),
                Ok(ScreenEvent::End) => return Ok(()),
                Err(TryRecvError::Empty) => continue,
                Err(TryRecvError::Disconnected) => bail!("the polling thread has ended"),
            }
            is_drawn = false;
        }
    }
}
