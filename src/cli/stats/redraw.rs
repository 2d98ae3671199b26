//! `larder stats --watch`: the same page again and again, in place, until Ctrl-C.
//!
//! A Larder that goes away (an upgrade, a restart) is told above the page that was shown last, and asked again.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;

/// Goes to the upper left corner; each line then clears what was behind it, and the last one what is below.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_ALL: &str = "\x1b[2J";

/// The lines of a terminal that does not tell its size: one of the old kind.
const ROWS_UNTOLD: usize = 24;

/// Shows what `make` comes to every `every`, until Ctrl-C or until nobody reads it any more.
///
/// # Errors
/// The first page that cannot be made, and an output that cannot be written.
pub(super) async fn redraw<F: Future<Output = anyhow::Result<String>>>(
    every: Duration,
    mut make: impl FnMut() -> F,
) -> anyhow::Result<()> {
    let mut page = make().await?;
    if room().is_some() {
        write(CLEAR_ALL)?;
    }
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut trouble = None;
    loop {
        if !write(&frame(&page, trouble.as_deref(), room()))? {
            return Ok(());
        }
        tokio::select! {
            _ = ticks.tick() => {}
            ended = tokio::signal::ctrl_c() => return ended.context("cannot wait for Ctrl-C"),
        }
        trouble = match make().await {
            Ok(next) => {
                page = next;
                None
            }
            Err(error) => Some(format!("{error:#}")),
        };
    }
}

/// Writes text; tells whether anybody reads it.
fn write(text: &str) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write the figures"),
    }
}

/// Returns how many lines the terminal has; `None` where there is none.
fn room() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout))?;
    Some(size.map(|size| usize::from(size.ws_row)).ok().filter(|rows| *rows > 0).unwrap_or(ROWS_UNTOLD))
}

/// Makes what is written to show a page: in place on a terminal of so many lines, below the last one elsewhere.
fn frame(page: &str, trouble: Option<&str>, room: Option<usize>) -> String {
    let message =
        trouble.map(|trouble| format!("{trouble} (asking again; these figures are old)\n\n")).unwrap_or_default();
    let Some(room) = room else { return format!("{message}{page}\n") };
    let lines: Vec<&str> = message.lines().chain(page.lines()).collect();
    // The last line of the terminal stays free: what ends there would scroll it. One goes to say that there is more.
    let fits = room.saturating_sub(1);
    let shown = if lines.len() > fits { fits.saturating_sub(1) } else { lines.len() };
    let mut frame = String::from(HOME);
    for line in &lines[..shown] {
        frame.push_str(line);
        frame.push_str(CLEAR_LINE);
    }
    if shown < lines.len() {
        frame.push_str(&format!("… {} more lines: they need a higher terminal{CLEAR_LINE}", lines.len() - shown));
    }
    frame.push_str(CLEAR_BELOW);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_replaces_the_one_before() {
        assert_eq!(frame("a\nb\n", None, Some(3)), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        assert_eq!(frame("a\n", None, None), "a\n\n");
        let cut = frame("a\nb\nc\nd\n", None, Some(4));
        assert!(cut.starts_with("\x1b[Ha\x1b[K\nb\x1b[K\n… 2 more lines"), "{cut:?}");
        assert_eq!(cut.matches('\n').count(), 3);
        let message = frame("a\n", Some("cannot reach it"), Some(24));
        assert!(
            message.starts_with("\x1b[Hcannot reach it (asking again; these figures are old)\x1b[K\n\x1b[K\na"),
            "{message:?}"
        );
    }

    #[tokio::test]
    async fn what_cannot_be_made_the_first_time_is_an_error() {
        let made = redraw(Duration::from_secs(1), || async { anyhow::bail!("cannot reach it") }).await;
        assert_eq!(made.unwrap_err().to_string(), "cannot reach it");
    }
}
