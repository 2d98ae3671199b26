//! The tables of `larder top`: most requested URLs, reasons for not being served from cache,
//! errors, routes.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Row, Table, TableState};

use super::state::{TopState, View};
use crate::admin::stats::{Stats, TopUrl};
use crate::cli::admin_client::plain;
use crate::cli::format::{bytes, micros, percent};

/// A table's header, the widths of its columns, and its rows.
struct TableContent {
    header: Vec<&'static str>,
    widths: Vec<Constraint>,
    rows: Vec<Vec<String>>,
    /// The text for a table without rows.
    empty_text: &'static str,
}

/// Draws the selected table, with the titles of all tables above it.
pub(super) fn draw(frame: &mut Frame<'_>, state: &TopState, area: Rect) {
    let TableContent { header, widths, rows, empty_text } = list(&state.stats, state.view);
    let mut block = Block::bordered().title(tabs(state.view));
    if rows.is_empty() {
        block = block.title_bottom(format!(" {empty_text} "));
    }
    let visible = usize::from(area.height.saturating_sub(3));
    let offset = state.scroll.min(rows.len().saturating_sub(visible));
    let table = Table::new(rows.into_iter().map(Row::new), widths)
        .header(Row::new(header).dim())
        .column_spacing(2)
        .block(block);
    frame.render_stateful_widget(table, area, &mut TableState::default().with_offset(offset));
}

fn tabs(shown: View) -> Line<'static> {
    let mut spans = vec![Span::raw(" ")];
    for (nth, view) in View::ALL.into_iter().enumerate() {
        let name = format!("{} {}", nth + 1, view.title());
        spans.push(if view == shown { name.bold().reversed() } else { name.dim() });
        spans.push(Span::raw(" "));
    }
    Line::from(spans)
}

fn list(stats: &Stats, view: View) -> TableContent {
    let most = &stats.asked_most;
    match view {
        View::Requests => urls("requests", &most.by_requests, |number| number.to_string()),
        View::Bytes => urls("bytes", &most.by_bytes, bytes),
        View::Misses => urls("misses", &most.by_misses, |number| number.to_string()),
        View::OriginTime => urls("time", &most.by_origin_time_us, |us| micros(Some(us))),
        View::Reasons => reasons(stats),
        View::Errors => errors(stats),
        View::Routes => routes(stats),
    }
}

/// Lists URLs with their weight; `≥` marks a lower bound.
fn urls(weight: &'static str, list: &[TopUrl], written: impl Fn(u64) -> String) -> TableContent {
    let row = |row: &TopUrl| {
        let bound = if row.at_most > row.at_least { "≥ " } else { "" };
        vec![format!("{:>14}", format!("{bound}{}", written(row.at_least))), plain(&row.url)]
    };
    TableContent {
        header: vec![weight, "URL"],
        widths: vec![Constraint::Length(14), Constraint::Fill(1)],
        rows: list.iter().map(row).collect(),
        empty_text: "no requests yet",
    }
}

fn reasons(stats: &Stats) -> TableContent {
    let rows = stats.not_from_cache.iter().map(|row| {
        let time = format!("{:>9}", micros(Some(row.origin_time_us)));
        vec![plain(&row.reason), format!("{:>9}", row.requests), time, plain(&row.change)]
    });
    TableContent {
        header: vec!["not from cache", " requests", "origin", "fix"],
        widths: vec![Constraint::Length(23), Constraint::Length(9), Constraint::Length(9), Constraint::Fill(1)],
        rows: rows.collect(),
        empty_text: "every request was served from cache",
    }
}

fn errors(stats: &Stats) -> TableContent {
    let rows = stats.recent_errors.iter().map(|error| {
        let second = error.at.rem_euclid(24 * 3600);
        let time = format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60);
        vec![time, error.status.to_string(), plain(&error.what), plain(&error.url)]
    });
    TableContent {
        header: vec!["UTC", "sent", "what went wrong", "URL"],
        widths: vec![Constraint::Length(8), Constraint::Length(4), Constraint::Fill(1), Constraint::Fill(1)],
        rows: rows.collect(),
        empty_text: "no errors",
    }
}

fn routes(stats: &Stats) -> TableContent {
    let rows = stats.routes.iter().map(|route| {
        vec![
            plain(&route.name),
            route.requests.to_string(),
            percent(route.cache_hit_ratio),
            bytes(route.bytes),
            micros(route.hits.p99_us),
            micros(route.misses.p99_us),
        ]
    });
    let number = Constraint::Length(10);
    TableContent {
        header: vec!["route", "requests", "hit ratio", "bytes", "hits p99", "misses p99"],
        widths: vec![Constraint::Fill(1), number, number, number, number, number],
        rows: rows.collect(),
        empty_text: "no routes",
    }
}
