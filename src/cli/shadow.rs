//! `larder shadow-report`: what a running Larder observed in shadow mode, as tables with advice.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use comfy_table::CellAlignment;

use super::admin_client::{AdminArgs, AdminClient, plain};
use super::format::{bytes, percent, section, table};
use crate::outcome::Outcome;
use crate::proxy::shadow::{Advice, ShadowReport, ShadowTotals};

/// The path of the admin interface that reports.
const PATH: &str = "/shadow";

/// The maximum number of rows of a list; `--json` prints all.
const ROWS: usize = 20;

#[derive(Args, Debug)]
pub(super) struct ShadowArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

/// Asks the admin interface what shadow mode observed, and prints it.
///
/// # Errors
/// An admin interface that cannot be reached or answers with something else, and an output that
/// cannot be written.
pub(super) fn run(args: &ShadowArgs) -> anyhow::Result<()> {
    let admin = args.admin.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(fetch(&admin))?;
    let text = match args.json {
        true => serde_json::to_string_pretty(&report)? + "\n",
        false => render(&report),
    };
    std::io::stdout().write_all(text.as_bytes()).context("cannot write the report")
}

async fn fetch(admin: &AdminClient) -> anyhow::Result<ShadowReport> {
    let text = admin.get(PATH).await?;
    serde_json::from_str(&text).with_context(|| admin.unexpected(PATH, "a report of shadow mode", &text))
}

/// Renders the report for a terminal: what runs, what a cache would do, what would be wrong, and
/// what to change.
fn render(report: &ShadowReport) -> String {
    let mut page = String::new();
    let _ = writeln!(page, "{}", plain(&report.says));
    if report.total.requests == 0 {
        return page;
    }
    section(&mut page, "With a cache", overview(&report.total));
    section(&mut page, "Requests would be", outcomes(&report.total));
    if !report.not_hits.is_empty() {
        section(&mut page, "Why not hits", non_hit_table(report));
    }
    if report.routes.len() > 1 {
        section(&mut page, "Routes", routes(report));
    }
    section(&mut page, "Would-be hits compared with the app's actual response", comparison_table(report));
    if !report.differs.is_empty() {
        section(&mut page, "Different bodies for one key", differs(report));
    }
    if !report.parameters.is_empty() {
        section(&mut page, "Query parameters", parameters(report));
    }
    match &report.advice[..] {
        [] => page.push_str("\nNo advice: no observation calls for a change.\n"),
        list => list.iter().zip(1..).for_each(|(advice, number)| advise(&mut page, number, advice)),
    }
    page
}

fn row(name: &str, value: String) -> [String; 2] {
    [name.to_owned(), value]
}

fn overview(total: &ShadowTotals) -> comfy_table::Table {
    let share = |part: u64, whole: u64| percent((whole > 0).then(|| part as f64 / whole as f64));
    table(
        ["", "since start"],
        [
            row("requests in shadow mode", total.requests.to_string()),
            row("cache hit ratio", percent(total.hit_ratio)),
            row("cache hit ratio by bytes", percent(total.hit_ratio_bytes)),
            row("app requests saved", total.origin_requests_saved.to_string()),
            row("  share", share(total.origin_requests_saved, total.requests)),
            row("app time saved", time(total.origin_time_saved_us)),
            row("  share", share(total.origin_time_saved_us, total.origin_time_us)),
            row("app bytes saved", bytes(total.bytes_saved)),
            row("collapsed requests", total.collapsed.to_string()),
        ],
    )
}

fn outcomes(total: &ShadowTotals) -> comfy_table::Table {
    let rows = Outcome::ALL.iter().filter_map(|outcome| {
        let requests = total.would_be.get(outcome.token()).copied().filter(|requests| *requests > 0)?;
        let share = requests as f64 / total.requests.max(1) as f64;
        Some([outcome.token().to_owned(), requests.to_string(), percent(Some(share))])
    });
    table(["would be", "requests", "share"], rows)
}

fn non_hit_table(report: &ShadowReport) -> comfy_table::Table {
    let rows = report.not_hits.iter().take(ROWS);
    align_left(
        table(
            ["reason", "requests", "would be", "fix"],
            rows.map(|row| [plain(&row.reason), row.requests.to_string(), plain(&row.would_be), plain(&row.change)]),
        ),
        &[2, 3],
    )
}

fn routes(report: &ShadowReport) -> comfy_table::Table {
    table(
        ["route", "requests", "hit ratio", "app saved", "app time saved"],
        report.routes.iter().map(|route| {
            let total = &route.total;
            [
                plain(&route.name),
                total.requests.to_string(),
                percent(total.hit_ratio),
                total.origin_requests_saved.to_string(),
                time(total.origin_time_saved_us),
            ]
        }),
    )
}

fn comparison_table(report: &ShadowReport) -> comfy_table::Table {
    let compared = &report.compared;
    table(
        ["", "requests"],
        [
            row("the same", compared.same.to_string()),
            row("another body", compared.differed.to_string()),
            row("  with the same ETag", compared.differed_within_tag.to_string()),
            row("not comparable", compared.not_compared.to_string()),
        ],
    )
}

fn differs(report: &ShadowReport) -> comfy_table::Table {
    let rows = report.differs.iter().take(ROWS).map(|row| {
        let causes = row.request.iter().filter(|suspect| suspect.is_cause);
        let mut what: Vec<_> = causes.map(|cause| format!("{} {}", cause.kind, cause.name)).collect();
        if what.is_empty() && row.by_itself > 0 {
            what.push("changes by itself".to_owned());
        } else if what.is_empty() {
            let suspects = row.request.iter().filter(|suspect| suspect.harmless == 0).take(3);
            what.extend(suspects.map(|suspect| format!("{} {}?", suspect.kind, suspect.name)));
        }
        let response = plain(&row.response.join(", "));
        [plain(&row.url), row.times.to_string(), row.same_tag.to_string(), plain(&what.join(", ")), response]
    });
    align_left(table(["url", "times", "same ETag", "differs by", "response fields"], rows), &[3, 4])
}

fn parameters(report: &ShadowReport) -> comfy_table::Table {
    let rows = report.parameters.iter().take(ROWS).map(|row| {
        let place = format!("{}{}", row.host, row.path);
        let different = if row.page_changes {
            format!("{} (the page changes by itself)", row.different)
        } else {
            row.different.to_string()
        };
        [plain(&row.name), row.same.to_string(), different, plain(&place)]
    });
    align_left(table(["parameter", "same body", "another body", "at"], rows), &[3])
}

/// Aligns text columns to the left.
fn align_left(mut table: comfy_table::Table, columns: &[usize]) -> comfy_table::Table {
    for column in columns {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    table
}

fn advise(page: &mut String, number: usize, advice: &Advice) {
    let _ = writeln!(page, "\n{number}. {}", plain(&advice.because));
    if !advice.toml.is_empty() {
        page.push_str("   In the configuration:\n");
        advice.toml.lines().for_each(|line| _ = writeln!(page, "       {}", plain(line)));
    }
    if !advice.app.is_empty() {
        let word = if advice.toml.is_empty() { "In the app" } else { "Or in the app" };
        let _ = writeln!(page, "   {word}: {}", plain(&advice.app));
    }
}

/// Writes microseconds as a duration.
fn time(micros: u64) -> String {
    let rounded = if micros >= 1_000_000 { micros / 1_000 * 1_000 } else { micros };
    humantime::format_duration(Duration::from_micros(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::shadow::{CompareTotals, DifferingUrl, NonHitReport, ParameterReport, SuspectReport};

    fn report() -> ShadowReport {
        let total = ShadowTotals {
            requests: 100,
            would_be: [("hit".to_owned(), 80), ("miss".to_owned(), 20), ("pass".to_owned(), 0)].into(),
            hit_ratio: Some(0.8),
            hit_ratio_bytes: Some(0.5),
            collapsed: 1,
            origin_requests_saved: 81,
            origin_time_us: 4_000_000,
            origin_time_saved_us: 3_000_000,
            bytes: 4096,
            bytes_saved: 2048,
        };
        ShadowReport {
            running: "all".into(),
            says: "Everything is in shadow mode.".into(),
            total,
            routes: Vec::new(),
            not_hits: vec![NonHitReport {
                would_be: "miss".into(),
                reason: "uri-miss".into(),
                requests: 20,
                why: "w".into(),
                change: "Nothing.".into(),
                urls: vec!["http://h/".into()],
            }],
            compared: CompareTotals { same: 70, differed: 9, differed_within_tag: 1, not_compared: 1 },
            differs: vec![DifferingUrl {
                url: "http://h/\u{1b}[31m".into(),
                times: 8,
                same: 0,
                same_tag: 0,
                by_itself: 0,
                request: vec![SuspectReport {
                    kind: "header".into(),
                    name: "accept-language".into(),
                    times: 8,
                    harmless: 0,
                    is_cause: true,
                }],
                response: vec!["content-language".into()],
            }],
            parameters: vec![ParameterReport {
                host: "h".into(),
                path: "/p".into(),
                name: "utm".into(),
                same: 3,
                different: 0,
                page_changes: false,
            }],
            advice: vec![Advice {
                about: "query".into(),
                because: "utm changes nothing.".into(),
                toml: "[[route]]\nkey.query = { drop = [\"utm\"] }".into(),
                app: "Send x.".into(),
            }],
        }
    }

    #[test]
    fn a_report_is_readable_and_safe_for_a_terminal() {
        let page = render(&report());
        for text in [
            "80.0 %",
            "3s",
            "75.0 %",
            "header accept-language",
            "content-language",
            "utm",
            "\n1. utm changes nothing.\n   In the configuration:\n       [[route]]\n       key.query = { drop = [\"utm\"] }\n   Or in the app: Send x.\n",
        ] {
            assert!(page.contains(text), "no {text:?} in\n{page}");
        }
        assert!(!page.contains('\u{1b}'));
    }

    #[test]
    fn without_requests_the_report_says_only_that() {
        let mut report = report();
        report.total.requests = 0;
        assert_eq!(render(&report), "Everything is in shadow mode.\n");
    }
}
