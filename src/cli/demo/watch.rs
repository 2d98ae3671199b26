//! The live line of the demo: what Larder did so far, read from the admin side once a second.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

/// How often the figures are looked at.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest wait for them: the admin side is on this machine.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What is read of `/stats`.
#[derive(Debug, Default, Deserialize, PartialEq)]
struct DemoFigures {
    requests: DemoRequests,
    ratios: DemoRatios,
    origin: DemoOrigin,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct DemoRequests {
    total: u64,
    by_outcome: DemoOutcomes,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct DemoOutcomes {
    hit: u64,
    stale: u64,
    revalidated: u64,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct DemoRatios {
    /// Hits / requests; `None` without requests.
    cache_hit: Option<f64>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
struct DemoOrigin {
    requests: u64,
    /// In the background, on top of these.
    refreshes: u64,
}

/// Shows the figures of the Larder whose admin side is at `admin`, for as long as it is polled. On a terminal one line is
/// kept up to date; elsewhere each change is a line of its own.
pub(super) async fn follow(admin: SocketAddr) {
    let mut shown = String::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build() else {
        tracing::warn!("the figures cannot be shown: no HTTP client");
        return std::future::pending().await;
    };
    loop {
        ticks.tick().await;
        let line = match ask(&client, admin).await {
            Ok(stats) => line(&stats),
            Err(error) => format!("The figures cannot be read: {error}"),
        };
        if line != shown {
            show(&line);
            shown = line;
        }
    }
}

async fn ask(client: &reqwest::Client, admin: SocketAddr) -> reqwest::Result<DemoFigures> {
    client.get(format!("http://{admin}/stats")).send().await?.error_for_status()?.json().await
}

/// Writes a line over the last one on a terminal, and below it elsewhere.
fn show(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // Where standard output is closed, nobody watches; the demo goes on for its browser.
    let _ = match stdout.is_terminal() {
        true => write!(stdout, "\r\u{1b}[2K  {line}").and_then(|()| stdout.flush()),
        false => writeln!(stdout, "{line}"),
    };
}

/// Returns the figures as one line of less than 80 characters.
fn line(stats: &DemoFigures) -> String {
    let DemoOutcomes { hit, stale, revalidated } = stats.requests.by_outcome;
    let Some(ratio) = stats.ratios.cache_hit else {
        return "No requests yet.".to_owned();
    };
    let origin_requests = stats.origin.requests + stats.origin.refreshes;
    format!(
        "Hit ratio {:.1} %: {} requests, {hit} hits, {stale} stale, {revalidated} revalidated; app asked {origin_requests}",
        ratio * 100.0,
        stats.requests.total
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_tells_hits_apart_from_stale_and_revalidated() {
        let text = r#"{"requests": {"total": 8, "by_outcome": {"hit": 5, "stale": 1, "revalidated": 1, "miss": 1}, "more": 1},
            "ratios": {"cache_hit": 0.625, "served": 1.0}, "origin": {"requests": 2, "refreshes": 1}, "more": {}}"#;
        let stats: DemoFigures = serde_json::from_str(text).unwrap();
        assert_eq!(line(&stats), "Hit ratio 62.5 %: 8 requests, 5 hits, 1 stale, 1 revalidated; app asked 3");
        let stats: DemoFigures = serde_json::from_str(&text.replace("0.625", "null")).unwrap();
        assert_eq!(line(&stats), "No requests yet.");
    }
}
