//! `larder stats --watch`: the same page repeatedly, in place, until Ctrl-C.
//!
//! If Larder disappears (an upgrade, a restart), a message appears above the last page, and polling
//! goes on.

use std::io::{ErrorKind, IsTerminal, Write};
use std::time::Duration;

use anyhow::Context;

/// Moves to the upper left corner; then each line clears its rest, and the last one clears the
/// screen below.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";
const CLEAR_ALL: &str = "\x1b[2J";

/// The assumed height of a terminal that does not report its size: the classic 24 lines.
const ROWS_DEFAULT: usize = 24;

/// Shows the page of `make` every `every`, until Ctrl-C or until nobody reads it.
///
/// # Errors
/// The first page if it cannot be made, and an output that cannot be written.
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

/// Writes text; tells whether somebody reads it.
fn write(text: &str) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write the stats"),
    }
}

/// Returns the number of lines of the terminal; `None` if there is no terminal.
fn room() -> Option<usize> {
    let stdout = std::io::stdout();
    let size = stdout.is_terminal().then(|| rustix::termios::tcgetwinsize(&stdout))?;
    Some(size.map(|size| usize::from(size.ws_row)).ok().filter(|rows| *rows > 0).unwrap_or(ROWS_DEFAULT))
}

/// Returns the text that shows a page: in place on a terminal with `room` lines, below the last one
/// elsewhere.
fn frame(page: &str, trouble: Option<&str>, room: Option<usize>) -> String {
    let message = trouble.map(|trouble| format!("{trouble} (retrying; these numbers are old)\n\n")).unwrap_or_default();
    let Some(room) = room else { return format!("{message}{page}\n") };
    let lines: Vec<&str> = message.lines().chain(page.lines()).collect();
    // The last line of the terminal stays free: text that ends there would scroll it. One line says
    // that there is more.
    let fits = room.saturating_sub(1);
    let shown = if lines.len() > fits { fits.saturating_sub(1) } else { lines.len() };
    let mut frame = String::from(HOME);
    for line in &lines[..shown] {
        frame.push_str(line);
        frame.push_str(CLEAR_LINE);
    }
    if shown < lines.len() {
        frame.push_str(&format!("… {} more lines (enlarge the terminal){CLEAR_LINE}", lines.len() - shown));
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
            message.starts_with("\x1b[Hcannot reach it (retrying; these numbers are old)\x1b[K\n\x1b[K\na"),
            "{message:?}"
        );
    }

    #[tokio::test]
    async fn a_first_page_that_fails_is_an_error() {
        let made = redraw(Duration::from_secs(1), || async { anyhow::bail!("cannot reach it") }).await;
        assert_eq!(made.unwrap_err().to_string(), "cannot reach it");
    }
}
