//! Drawing of `larder top`: numbers and rates above, one table below, keys or an error at the foot.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Sparkline, Wrap};

use super::state::TopState;
use super::tables;
use crate::admin::stats::Quantiles;
use crate::cli::admin_client::plain;
use crate::cli::format::{bytes, micros, percent};
use crate::outcome::Outcome;

/// The smallest terminal on which everything fits.
pub(super) const WIDTH_MIN: u16 = 72;
pub(super) const HEIGHT_MIN: u16 = 20;

/// The width of the numbers.
const NUMBERS_WIDTH: u16 = 44;

/// The factor of a rate in a sparkline, which takes whole numbers.
const SPARK_SCALE: f64 = 100.0;

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, state: &TopState) {
    let area = frame.area();
    if area.width < WIDTH_MIN || area.height < HEIGHT_MIN {
        return too_small(frame, area);
    }
    let outcomes = Outcome::ALL.len() as u16;
    let [head, upper, memory, table, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(outcomes + 2),
        Constraint::Length(3),
        Constraint::Min(3),
        Constraint::Length(1),
    ])
    .areas(area);
    let [stats, rates] = Layout::horizontal([Constraint::Length(NUMBERS_WIDTH), Constraint::Min(1)]).areas(upper);
    frame.render_widget(header(state), head);
    frame.render_widget(Paragraph::new(numbers(state)).block(Block::bordered().title(" Stats ")), stats);
    draw_rates(frame, state, rates);
    draw_memory(frame, state, memory);
    tables::draw(frame, state, table);
    frame.render_widget(footer(state), foot);
}

fn too_small(frame: &mut Frame<'_>, area: Rect) {
    let text = format!(
        "This terminal is {} x {}; larder top needs {WIDTH_MIN} x {HEIGHT_MIN}. Enlarge it, or press q to quit.",
        area.width, area.height
    );
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), area);
}

fn header(state: &TopState) -> Line<'static> {
    let stats = &state.stats;
    let seconds = std::time::Duration::from_secs(stats.uptime_seconds.max(0.0) as u64);
    let up = humantime::format_duration(seconds);
    let ready = if stats.ready { "ready".green() } else { "draining".yellow() };
    let name = format!("Larder {}", plain(&stats.version)).bold();
    Line::from(vec![name, format!("  {}  up {up}  ", plain(&state.address)).into(), ready])
}

fn footer(state: &TopState) -> Line<'static> {
    if let Some(trouble) = &state.trouble {
        let message = format!("Retrying; these numbers are old: {}", plain(trouble));
        return Line::from(message.white().on_red());
    }
    match state.stats.warnings.first() {
        Some(warning) => Line::from(vec!["q quit  tab/1-7 table  ↑↓ scroll  ".dim(), plain(warning).yellow()]),
        None => Line::from("q quit  tab/1-7 table  ↑↓ scroll".dim()),
    }
}

/// Returns the lines with the numbers of the whole process.
fn numbers(state: &TopState) -> Vec<Line<'static>> {
    let stats = &state.stats;
    let row = |name: &str, value: String| Line::from(vec![format!("{name:<12}").dim(), value.into()]);
    let took = |latency: &Quantiles| format!("p50 {:<9} p99 {}", micros(latency.p50_us), micros(latency.p99_us));
    let origin = &stats.origin;
    // The breaker comes first, so that a line that is too long does not lose it.
    let breaker =
        if origin.breaker == "closed" { String::new() } else { format!("breaker {}, ", plain(&origin.breaker)) };
    let now = state.hit_ratio_now();
    vec![
        row("hit ratio", format!("{:<9} last min {}", percent(stats.ratios.cache_hit), percent(now))),
        row("saved", format!("{:<9} of origin requests", percent(stats.origin.saved_ratio))),
        row("requests/s", state.rate().map_or("-".to_owned(), rate)),
        row("hits", took(&stats.latency.hits)),
        row("misses", took(&stats.latency.misses)),
        row("origin", format!("{breaker}{} active, {} queued", origin.permits_in_use, origin.permits_waiting)),
        row("clients", format!("{} connections", stats.connections)),
        row("stored", format!("{} entries", stats.store.entries)),
    ]
}

fn rate(rate: f64) -> String {
    if rate >= 100.0 { format!("{rate:.0}") } else { format!("{rate:.1}") }
}

/// Returns the colour of an outcome.
pub(super) fn colour(outcome: Outcome) -> Color {
    match outcome {
        Outcome::Hit => Color::Green,
        Outcome::Stale => Color::Yellow,
        Outcome::Revalidated => Color::Cyan,
        Outcome::Miss => Color::Blue,
        Outcome::Pass => Color::Magenta,
        Outcome::Refused => Color::LightRed,
        Outcome::Failed => Color::Red,
        Outcome::Own => Color::Gray,
    }
}

/// Draws one line per outcome: its rate, and the history of the rate.
fn draw_rates(frame: &mut Frame<'_>, state: &TopState, area: Rect) {
    let block = Block::bordered().title(" Requests/s by outcome ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let lines = Layout::vertical(Outcome::ALL.iter().map(|_| Constraint::Length(1))).split(inner);
    for (outcome, line) in Outcome::ALL.iter().zip(lines.iter()) {
        let [name, graph] = Layout::horizontal([Constraint::Length(22), Constraint::Min(1)]).areas(*line);
        let rates = state.rates(*outcome, usize::from(graph.width));
        let last = rates.last().copied().map_or("-".to_owned(), rate);
        let style = Style::new().fg(colour(*outcome));
        let name_text = format!("{:<12}{last:>8}", outcome.token());
        frame.render_widget(Line::from(Span::styled(name_text, style)), name);
        let data: Vec<u64> = rates.iter().map(|rate| (rate * SPARK_SCALE).ceil() as u64).collect();
        // The newest sample is at the right edge.
        let width = (data.len() as u16).min(graph.width);
        let right = Rect { x: graph.right() - width, width, ..graph };
        frame.render_widget(Sparkline::default().data(data).style(style), right);
    }
}

/// Draws a bar of the memory in use.
fn draw_memory(frame: &mut Frame<'_>, state: &TopState, area: Rect) {
    let memory = &state.stats.memory;
    let pinned = memory.alive_bytes.saturating_sub(memory.stored_bytes);
    let title = format!(
        " Memory: {} stored, {} in flight, of {} ",
        bytes(memory.stored_bytes),
        bytes(pinned),
        bytes(memory.capacity_bytes)
    );
    let block = Block::bordered().title(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let cells = |part: u64| {
        let share = part as f64 / memory.capacity_bytes.max(1) as f64;
        ((share * f64::from(inner.width)).round() as usize).min(usize::from(inner.width))
    };
    let stored = cells(memory.stored_bytes);
    let held = cells(pinned).min(usize::from(inner.width) - stored);
    let free = usize::from(inner.width) - stored - held;
    let bar = vec!["█".repeat(stored).blue(), "▓".repeat(held).yellow(), "░".repeat(free).dim()];
    frame.render_widget(Line::from(bar), inner);
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::state::View;
    use super::super::state::tests::snapshot;
    use super::*;
    use crate::outcome::Reason;

    fn drawn(state: &TopState, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        let buffer = terminal.backend().buffer();
        let cells: Vec<&str> = buffer.content().iter().map(|cell| cell.symbol()).collect();
        cells.chunks(usize::from(width)).map(|line| line.concat() + "\n").collect()
    }

    #[track_caller]
    fn check(page: &str, parts: &[&str]) {
        for part in parts {
            assert!(page.contains(part), "{part:?} is not in\n{page}");
        }
    }

    #[test]
    fn the_page_shows_the_numbers() {
        let page = drawn(&snapshot(), 110, 32);
        check(
            &page,
            &[
                concat!("Larder ", env!("CARGO_PKG_VERSION"), "  http://127.0.0.1:9180  up 14s  ready"),
                "hit ratio   42.9 %    last min 83.3 %",
                "requests/s  6.0",
                "hits        p50 12 µs",
                "origin      breaker open, 11 active, 12 q",
                "hit              5.0",
                "miss             1.0",
                "Memory: 2.0 MiB stored, 1.0 MiB in flight, of 64.0 MiB",
                "███▓▓░░",
                "1 requests 2 bytes",
                "q quit",
            ],
        );
    }

    #[test]
    fn every_table_is_drawn_at_every_size() {
        let mut state = snapshot();
        for view in View::ALL {
            state.view = view;
            for (width, height) in [(WIDTH_MIN, HEIGHT_MIN), (80, 24), (200, 60)] {
                check(&drawn(&state, width, height), &[view.title()]);
            }
            state.scroll = 10_000;
            drawn(&state, 80, 24);
            state.scroll = 0;
        }
        let mut table = |view, parts: &[&str]| {
            state.view = view;
            check(&drawn(&state, 160, 40), parts);
        };
        table(View::Requests, &["http://h/slow"]);
        table(View::OriginTime, &["100.0 ms", "http://h/slow"]);
        table(View::Reasons, &["set-cookie", &Reason::SetCookie.remedy()[..30]]);
        table(View::Errors, &["503", "The origin answered 503.", "http://h/slow"]);
        table(View::Routes, &["/img/", "100.0 %", "/a\"b\\c\u{fffd}{}", "(none)"]);
    }

    #[test]
    fn errors_and_a_small_terminal_are_reported() {
        let mut state = snapshot();
        state.trouble = Some("cannot reach it\u{1b}[2J".into());
        check(&drawn(&state, 100, 24), &["Retrying; these numbers are old: cannot reach it\u{fffd}[2J"]);
        check(&drawn(&state, 40, 10), &["This terminal is 40 x 10", "72 x 20"]);
        for (width, height) in [(1, 1), (200, 3), (5, 100)] {
            drawn(&state, width, height);
        }
    }
}
