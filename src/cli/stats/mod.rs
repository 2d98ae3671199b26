//! `larder stats`: prints the stats of a running Larder as tables, once or repeatedly.

mod redraw;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use comfy_table::{CellAlignment, Table};

use super::admin_client::{AdminArgs, AdminClient, plain};
use super::format::{bytes, micros, percent, section, table};
use crate::admin::stats::{Quantiles, Stats};
use crate::outcome::{Outcome, Reason};
use redraw::redraw;

/// The refresh interval of `--watch` without a value, in seconds.
const WATCH_SECONDS: &str = "2";

/// The flags of `larder stats`.
#[derive(Args, Debug)]
pub(super) struct StatsArgs {
    /// Refresh every SECONDS (default 2) until Ctrl-C
    #[arg(short, long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = WATCH_SECONDS,
          value_parser = clap::value_parser!(u64).range(1..=3_600))]
    watch: Option<u64>,
    #[command(flatten)]
    admin: AdminArgs,
}

/// Asks the admin interface for its stats and prints them.
///
/// # Errors
/// An admin interface that cannot be reached or answers with something else, and an output that
/// cannot be written.
pub(super) fn run(args: &StatsArgs) -> anyhow::Result<()> {
    let admin = args.admin.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(seconds) = args.watch {
        let page = async || Ok(render(&fetch(&admin).await?));
        return runtime.block_on(redraw(Duration::from_secs(seconds), page));
    }
    let stats = runtime.block_on(fetch(&admin))?;
    std::io::stdout().write_all(render(&stats).as_bytes()).context("cannot write the stats")
}

/// Fetches the stats.
pub(super) async fn fetch(admin: &AdminClient) -> anyhow::Result<Stats> {
    let text = admin.get("/stats").await?;
    serde_json::from_str(&text).with_context(|| admin.unexpected("/stats", "stats", &text))
}

/// Renders the stats for a terminal: a line about the process, a table per topic, then the
/// warnings.
pub(super) fn render(stats: &Stats) -> String {
    let mut page = String::new();
    let uptime = humantime::format_duration(Duration::from_secs(stats.uptime_seconds.max(0.0) as u64));
    let state = if stats.ready { "ready" } else { "draining" };
    let version = plain(&stats.version);
    let _ = writeln!(page, "Larder {version}, up {uptime}, {state}");
    section(&mut page, "Overview", overview(stats));
    section(&mut page, "Outcomes", outcomes(stats));
    section(&mut page, "Latency", latency(stats));
    section(&mut page, "Store", store(stats));
    if !stats.requests.by_reason.is_empty() {
        section(&mut page, "Reasons", reasons(&stats.requests.by_reason, "requests"));
    }
    if !stats.storing.not_stored.is_empty() {
        section(&mut page, "Not stored", reasons(&stats.storing.not_stored, "responses"));
    }
    if stats.routes.len() > 1 {
        section(&mut page, "Routes", routes(stats));
    }
    if !stats.personalised.urls.is_empty() {
        section(&mut page, "Personalised pages", personalised_table(stats));
    }
    for warning in &stats.warnings {
        let _ = writeln!(page, "\nwarning: {}", plain(warning));
    }
    page
}

fn overview(stats: &Stats) -> Table {
    let row = |name: &str, value: String| [name.to_owned(), value];
    table(
        ["", "since start"],
        [
            row("requests", stats.requests.total.to_string()),
            row("cache hit ratio", percent(stats.ratios.cache_hit)),
            row("cache hit ratio by bytes", percent(stats.ratios.cache_hit_bytes)),
            row("served ratio", percent(stats.ratios.served)),
            row("body bytes sent", bytes(stats.bytes.total)),
            row("requests to the origin", stats.origin.requests.to_string()),
            row("refreshes in the background", stats.origin.refreshes.to_string()),
            row("origin requests saved", stats.origin.saved.to_string()),
            row("  share of requests", percent(stats.origin.saved_ratio)),
            row("collapsed requests", stats.requests.collapsed.to_string()),
            row("client disconnected", stats.endings.client_gone.to_string()),
            row("aborted", stats.endings.aborted.values().sum::<u64>().to_string()),
            row("connections now", stats.connections.to_string()),
            row("fetches in flight now", stats.fills_in_flight.to_string()),
        ],
    )
}

fn outcomes(stats: &Stats) -> Table {
    let of = |numbers: &BTreeMap<String, u64>, outcome: &Outcome| numbers.get(outcome.token()).copied().unwrap_or(0);
    let total = stats.requests.total;
    table(
        ["outcome", "requests", "share", "bytes"],
        Outcome::ALL.iter().map(|outcome| {
            let requests = of(&stats.requests.by_outcome, outcome);
            let share = (total > 0).then(|| requests as f64 / total as f64);
            let sent = bytes(of(&stats.bytes.by_outcome, outcome));
            [outcome.token().to_owned(), requests.to_string(), percent(share), sent]
        }),
    )
}

fn latency(stats: &Stats) -> Table {
    let row = |name: &str, quantiles: &Quantiles| {
        let Quantiles { count, p50_us, p90_us, p99_us, p999_us, max_us } = quantiles;
        let [p50, p90, p99, p999, max] = [p50_us, p90_us, p99_us, p999_us, max_us].map(|us| micros(*us));
        [name.to_owned(), count.to_string(), p50, p90, p99, p999, max]
    };
    table(
        ["", "requests", "p50", "p90", "p99", "p99.9", "max"],
        [
            row("hits", &stats.latency.hits),
            row("misses", &stats.latency.misses),
            row("passes", &stats.latency.passes),
            row("errors", &stats.latency.errors),
        ],
    )
}

fn store(stats: &Stats) -> Table {
    let row = |name: &str, value: String| [name.to_owned(), value];
    let (store, memory, collisions) = (&stats.store, &stats.memory, &stats.hash_collisions);
    table(
        ["", "now"],
        [
            row("memory in use", format!("{} of {}", bytes(memory.alive_bytes), bytes(memory.capacity_bytes))),
            row("  stored", bytes(memory.stored_bytes)),
            row("entries", store.entries.to_string()),
            row("body bytes, original", bytes(store.raw_bytes)),
            row("body bytes, stored", bytes(store.compressed_bytes)),
            row("evicted (full)", store.evicted.size.to_string()),
            row("evicted (expired)", store.evicted.age.to_string()),
            row("evicted (purged)", store.evicted.purge.to_string()),
            row("replaced", store.replaced.to_string()),
            row("rejected (memory full)", store.refused.to_string()),
            row("purges", store.purges.to_string()),
            row("  purges swept", store.sweep.through.to_string()),
            row("hash collisions seen", collisions.seen.to_string()),
            row("  expected pairs", format!("{:.1e}", collisions.expected_pairs)),
        ],
    )
}

/// Lists reasons, the most frequent first, each with its fix.
fn reasons(numbers: &BTreeMap<String, u64>, counted: &str) -> Table {
    let mut rows: Vec<_> = numbers.iter().collect();
    rows.sort_by_key(|(_, number)| std::cmp::Reverse(**number));
    let mut table = table(
        ["reason", counted, "fix"],
        rows.into_iter().map(|(token, number)| {
            let known = Reason::ALL.iter().find(|reason| reason.token() == token);
            [plain(token), number.to_string(), known.map_or("", |reason| reason.remedy()).to_owned()]
        }),
    );
    if let Some(remedies) = table.column_mut(2) {
        remedies.set_cell_alignment(CellAlignment::Left);
    }
    table
}

/// Lists the URLs whose responses were found to differ by user, each with its fix.
fn personalised_table(stats: &Stats) -> Table {
    let mut table = table(
        ["url", "times", "varies by", "fix"],
        stats
            .personalised
            .urls
            .iter()
            .map(|row| [plain(&row.url), row.times.to_string(), plain(&row.differed.join(", ")), plain(&row.fix)]),
    );
    for text in [2, 3] {
        if let Some(column) = table.column_mut(text) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    table
}

fn routes(stats: &Stats) -> Table {
    table(
        ["route", "requests", "hit ratio", "bytes", "hits p50", "hits p99", "misses p50", "misses p99"],
        stats.routes.iter().map(|route| {
            [
                plain(&route.name),
                route.requests.to_string(),
                percent(route.cache_hit_ratio),
                bytes(route.bytes),
                micros(route.hits.p50_us),
                micros(route.hits.p99_us),
                micros(route.misses.p50_us),
                micros(route.misses.p99_us),
            ]
        }),
    )
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;

    use super::*;
    use crate::admin::stats::sample;

    /// Fetches from an admin interface that gives this response.
    async fn fetch_from(answer: impl IntoResponse) -> anyhow::Result<Stats> {
        let (head, body) = answer.into_response().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let respond = move || {
            let response = Response::from_parts(head.clone(), axum::body::Body::from(body.clone()));
            std::future::ready(response)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let server = tokio::spawn(axum::serve(listener, Router::new().route("/stats", get(respond))).into_future());
        let stats = fetch(&AdminClient::at(&addr.to_string(), None)).await;
        server.abort();
        stats
    }

    #[tokio::test]
    async fn stats_are_fetched() {
        let stats = fetch_from(axum::Json(sample())).await.unwrap();
        assert_eq!(stats.requests, sample().requests);
    }

    #[tokio::test]
    async fn other_responses_are_reported() {
        let message = |stats: anyhow::Result<Stats>| format!("{:#}", stats.unwrap_err());
        let refused =
            message(fetch_from((StatusCode::MISDIRECTED_REQUEST, "{\"error\":\"wrong Host\"}\u{1b}[2J")).await);
        assert!(refused.contains("421") && refused.contains("wrong Host") && !refused.contains('\u{1b}'), "{refused}");
        let elsewhere = message(fetch_from((StatusCode::FOUND, [("location", "/elsewhere")])).await);
        assert!(elsewhere.contains("302"), "{elsewhere}");
        let other = message(fetch_from("<html>").await);
        assert!(other.contains("is not a Larder admin interface") && other.contains("<html>"), "{other}");
        let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = nobody.local_addr().unwrap();
        drop(nobody);
        let unreachable = message(fetch(&AdminClient::at(&format!("http://{addr}/"), None)).await);
        assert!(unreachable.contains(&format!("cannot reach http://{addr}/stats: is Larder running")), "{unreachable}");
    }

    #[test]
    fn the_page_shows_the_main_numbers() {
        let stats = sample();
        let page = render(&stats);
        let check = |cells: &[&str]| {
            let found = page.lines().any(|line| {
                let shown: Vec<&str> = line.trim_matches('│').split('┆').map(str::trim).collect();
                shown.iter().zip(cells).all(|(shown, cell)| shown == cell) && shown.len() >= cells.len()
            });
            assert!(found, "{cells:?} in\n{page}");
        };
        assert!(page.starts_with(&format!("Larder {}, up 12s, ready\n", env!("CARGO_PKG_VERSION"))));
        check(&["requests", "14"]);
        check(&["cache hit ratio", "42.9 %"]);
        check(&["cache hit ratio by bytes", "60.0 %"]);
        check(&["served ratio", "78.6 %"]);
        check(&["origin requests saved", "8"]);
        check(&["hit", "6", "42.9 %", "5.9 KiB"]);
        check(&["hits", "7", "12 µs", "15 µs"]);
        check(&["memory in use", "3.0 MiB of 64.0 MiB"]);
        check(&["set-cookie", "1", Reason::SetCookie.remedy()]);
        check(&["http://h/account", "2", "Cookie, Authorization", &stats.personalised.urls[0].fix]);
        check(&["/img/", "6", "100.0 %", "5.9 KiB", "12 µs"]);
        check(&["/a\"b\\c\u{fffd}{}", "3", "0.0 %"]);
        assert!(page.contains("\nwarning: of the configuration\n"));
        assert!(page.chars().all(|char| char == '\n' || !char.is_control()));
    }
}
