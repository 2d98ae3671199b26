//! The live line of the demo: requests so far, read from the admin interface once a second.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

/// The polling interval.
const INTERVAL: Duration = Duration::from_secs(1);
/// The maximum wait for a response: the admin interface is on this machine.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The part of `/stats` that the line shows.
#[derive(Debug, Default, Deserialize, PartialEq)]
struct DemoStats {
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
    /// Requests in the background, not included in `requests`.
    refreshes: u64,
}

/// Shows stats of the Larder whose admin interface is at `admin`, for as long as the future is
/// polled. On a terminal, one line is kept up to date; elsewhere, each change is a line of its own.
pub(super) async fn follow(admin: SocketAddr) {
    let mut shown = String::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let Ok(client) = reqwest::Client::builder().no_proxy().timeout(TIMEOUT).build() else {
        tracing::warn!("cannot show stats: no HTTP client");
        return std::future::pending().await;
    };
    loop {
        ticks.tick().await;
        let line = match ask(&client, admin).await {
            Ok(stats) => line(&stats),
            Err(error) => format!("Cannot read the stats: {error}"),
        };
        if line != shown {
            show(&line);
            shown = line;
        }
    }
}

async fn ask(client: &reqwest::Client, admin: SocketAddr) -> reqwest::Result<DemoStats> {
    client.get(format!("http://{admin}/stats")).send().await?.error_for_status()?.json().await
}

/// Writes a line over the last one on a terminal, and below it elsewhere.
fn show(line: &str) {
    let mut stdout = std::io::stdout().lock();
    // With standard output closed nobody watches; the demo goes on for its browser.
    let _ = match stdout.is_terminal() {
        true => write!(stdout, "\r\u{1b}[2K  {line}").and_then(|()| stdout.flush()),
        false => writeln!(stdout, "{line}"),
    };
}

/// Returns the stats as one line of less than 80 characters.
fn line(stats: &DemoStats) -> String {
    let DemoOutcomes { hit, stale, revalidated } = stats.requests.by_outcome;
    let Some(ratio) = stats.ratios.cache_hit else {
        return "No requests yet.".to_owned();
    };
    let origin_requests = stats.origin.requests + stats.origin.refreshes;
    format!(
        "Hit ratio {:.1} %: {} requests, {hit} hits, {stale} stale, {revalidated} revalidated; {origin_requests} to app",
        ratio * 100.0,
        stats.requests.total
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_counts_hits_stale_and_revalidated_apart() {
        let text = r#"{"requests": {"total": 8, "by_outcome": {"hit": 5, "stale": 1, "revalidated": 1, "miss": 1}, "more": 1},
            "ratios": {"cache_hit": 0.625, "served": 1.0}, "origin": {"requests": 2, "refreshes": 1}, "more": {}}"#;
        let stats: DemoStats = serde_json::from_str(text).unwrap();
        assert_eq!(line(&stats), "Hit ratio 62.5 %: 8 requests, 5 hits, 1 stale, 1 revalidated; 3 to app");
        let stats: DemoStats = serde_json::from_str(&text.replace("0.625", "null")).unwrap();
        assert_eq!(line(&stats), "No requests yet.");
    }
}
