//! `larder explain`: asks a running Larder how it would handle a request and why, and prints the
//! answer for people or as JSON.
//!
//! With `--response`, the command judges the head of a saved response by the configuration alone,
//! without a running Larder.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::admin_client::AdminArgs;
use super::print::print_line;
use crate::access;
use crate::clock::Clock;
use crate::config::{Flags, OriginUrl};
use crate::proxy::explain::{
    AgeBase, ExplainReport, Explanation, FreshnessReport, JudgementReport, Question, RESPONSE_BYTES_MAX, VariantReport,
};
use crate::proxy::{self, explain};
use crate::store::Store;

/// The path of the admin interface that explains.
const PATH: &str = "/explain";

/// A placeholder for the origin if the configuration names none; it is never contacted.
const PLACEHOLDER_ORIGIN: &str = "http://127.0.0.1:1";

#[derive(Args, Debug)]
pub(super) struct ExplainArgs {
    /// The absolute URL that the client uses, with scheme and host
    url: String,
    /// Request header, as with curl; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,
    /// Request method
    #[arg(short = 'X', long = "request", value_name = "METHOD", default_value = "GET")]
    method: String,
    #[command(flatten)]
    admin: AdminArgs,
    /// Print the explanation as JSON
    #[arg(long)]
    json: bool,
    /// Judge whether a saved response would be cached: pass its head, as curl -i or -D prints it,
    /// on standard input. Needs no running Larder, unless --admin is given
    #[arg(long)]
    response: bool,
    /// Status code, if the saved head has no status line
    #[arg(long, value_name = "STATUS", requires = "response")]
    status: Option<u16>,
    /// When to assume the response arrived
    #[arg(long, value_enum, default_value_t = ReceivedAt::Date, requires = "response")]
    received: ReceivedAt,
}

/// The time at which a saved response is assumed to have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ReceivedAt {
    /// At its Date header
    Date,
    /// Now, so that an old Date adds to its age
    Now,
}

/// Asks for an explanation and prints it.
///
/// # Errors
/// A question that cannot be read, an admin interface that cannot be reached or answers with
/// something else, and a faulty configuration if one is needed.
pub(super) fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    let saved = if args.response { Some(saved_head(std::io::stdin())?) } else { None };
    // Both branches use this reading, so that a faulty question is reported alike, before anything
    // is contacted.
    let question = Question::new(&args.url, &args.method, &args.headers)?;
    let is_asked = saved.is_none() || args.admin.names_an_address();
    let shown = if is_asked { ReportParts::Everything } else { ReportParts::Response };
    let report = match saved {
        Some(head) if !is_asked => {
            let received = if args.received == ReceivedAt::Now { AgeBase::Now } else { AgeBase::AtDate };
            by_configuration(args, &question.with_response(&head, args.status, received)?)?
        }
        saved => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let text = runtime.block_on(args.admin.resolve()?.post(PATH, &question_json(args, saved.as_deref())))?;
            let unlike = || {
                args.admin.resolve().map(|admin| admin.unexpected(PATH, "an explanation", &text)).unwrap_or_default()
            };
            serde_json::from_str(&text).with_context(unlike)?
        }
    };
    match args.json {
        true => print_line(format_args!("{}", serde_json::to_string_pretty(&report)?)),
        false => print_line(format_args!("{}", render(&report, shown).trim_end())),
    }
    Ok(())
}

/// Reads the head of a saved response. The rest may be of any length, and is ignored.
fn saved_head(input: std::io::Stdin) -> anyhow::Result<Vec<u8>> {
    if input.is_terminal() {
        eprintln!("Paste the response's head (status line and headers), then press Ctrl-D:");
    }
    let mut head = Vec::new();
    let most = RESPONSE_BYTES_MAX as u64 + 1;
    input.lock().take(most).read_to_end(&mut head).context("cannot read standard input")?;
    Ok(head)
}

/// Explains by the configuration alone, with an empty store.
fn by_configuration(args: &ExplainArgs, question: &Question) -> anyhow::Result<ExplainReport> {
    let mut checked = args.admin.file.load(&Flags::default())?;
    let unasked = || PLACEHOLDER_ORIGIN.parse::<OriginUrl>().ok();
    checked.origin.url = checked.origin.url.take().or_else(unasked);
    let config = checked.assemble().context("the configuration names no origin")?;
    let clock = Clock::System;
    let store = Arc::new(Store::new(config.store, clock.clone()));
    let shared = proxy::Shared::new(config.proxy, config.routes, store, clock, access::LogReaders::default());
    Ok(explain::explain(&shared, None, question)?)
}

/// Writes the question as the admin interface reads it.
fn question_json(args: &ExplainArgs, saved: Option<&[u8]>) -> serde_json::Value {
    let mut question = json!({ "url": args.url, "method": args.method, "headers": args.headers });
    if let Some(head) = saved {
        question["response"] = json!(String::from_utf8_lossy(explain::heads(head)));
        question["status"] = json!(args.status);
        question["received"] = json!(if args.received == ReceivedAt::Now { "now" } else { "date" });
    }
    question
}

/// The parts of a report that a page shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ReportParts {
    Everything,
    /// Only the judgement of the response: no running Larder was contacted.
    Response,
}

/// Renders a report for people: the subject, the handling and its reason, the stored variants, and
/// the rules in order.
fn render(report: &ExplainReport, shown: ReportParts) -> String {
    let mut page = String::new();
    let subject = &report.request;
    let _ = writeln!(page, "{} {}", subject.method, subject.url.as_deref().unwrap_or("(unreadable URL)"));
    if let (Some(key), Some(hash)) = (&subject.key, &subject.key_hash) {
        row(&mut page, "key", &format!("{} ({hash})", key.replace('\n', " + ")));
    }
    row(&mut page, "route", &route(report));
    if let Some(judged) = &report.response {
        response(&mut page, judged);
    }
    if shown == ReportParts::Everything {
        now(&mut page, report);
        let _ = writeln!(page, "\nStored under this key: {}", report.stored.len());
        for variant in &report.stored {
            stored_section(&mut page, variant);
        }
        rules(&mut page, report);
    }
    for note in &report.notes {
        let _ = writeln!(page, "\nnote: {note}");
    }
    // Names and values in the report may come from others.
    page.chars().map(|char| if char.is_control() && char != '\n' { '\u{fffd}' } else { char }).collect()
}

fn rules(page: &mut String, report: &ExplainReport) {
    let _ = writeln!(page, "\nRules, in order");
    for step in &report.rules {
        let section = step.section.as_deref().filter(|section| !step.says.contains(section));
        let section = section.map_or(String::new(), |section| format!(" ({section})"));
        row(page, &step.about, &format!("{}{section}", step.says));
    }
}

fn row(page: &mut String, name: &str, text: &str) {
    let _ = writeln!(page, "  {name:<10} {text}");
}

fn route(report: &ExplainReport) -> String {
    let Some(route) = &report.route else { return "not looked up".to_owned() };
    let shadow = if route.mode == "shadow" { ", in shadow mode" } else { "" };
    let Some(number) = route.number else { return format!("none matches; the defaults apply{shadow}") };
    let mut text = format!("{number}");
    let host = route.host.as_ref().map(|host| format!(", host {host}"));
    let path = route.path.as_ref().map(|path| format!(", path {path}"));
    let methods = (!route.methods.is_empty()).then(|| format!(", methods {}", route.methods.join(" ")));
    let ttl = route.ttl_seconds.map(|ttl| format!(", ttl {}", seconds(ttl)));
    text.extend([host, path, methods, Some(format!(", cache {}", route.cache)), ttl].into_iter().flatten());
    text.push_str(shadow);
    text.extend(route.key.iter().map(|says| format!(". {}", says.trim_end_matches('.'))));
    text
}

fn because(page: &mut String, because: &Explanation) {
    row(page, "why", &format!("{} [{}]", because.why, because.reason));
    // A reason that needs no change says so in its first word.
    if !because.to_change.starts_with("Nothing to fix:") {
        row(page, "fix", &because.to_change);
    }
}

fn now(page: &mut String, report: &ExplainReport) {
    let now = &report.now;
    let _ = writeln!(page, "\nNow: {}", now.says);
    let parts = [
        Some(now.outcome.clone()),
        now.status.map(|status| status.to_string()),
        now.coding.clone(),
        now.ttl_seconds
            .map(|ttl| if ttl < 0 { format!("stale for {}", span(-ttl)) } else { format!("fresh for {}", span(ttl)) }),
    ];
    row(page, "outcome", &parts.into_iter().flatten().collect::<Vec<_>>().join(", "));
    because(page, &now.because);
    if let Some(would) = &now.would_be {
        row(page, "would be", &format!("{}: {} [{}]", would.outcome, would.because.why, would.because.reason));
    }
    if let Some(failing) = &now.if_origin_fails {
        let (unreachable, error) = (&failing.unreachable, &failing.server_error);
        row(page, "if it fails", &format!("unreachable: {unreachable}; 5xx response: {error}"));
    }
}

fn response(page: &mut String, judged: &JudgementReport) {
    let word = if judged.stored { "would be stored" } else { "would not be stored" };
    let _ = writeln!(page, "\nThe response, {}, {word}", judged.status);
    if let Some(reason) = &judged.because {
        because(page, reason);
    }
    row(page, "lifetime", &lifetime(&judged.freshness));
    row(page, "stale use", &stale_use(&judged.freshness));
    if !judged.vary.is_empty() {
        row(page, "varies on", &judged.vary.join(", "));
    }
    if !judged.tags.is_empty() {
        row(page, "tags", &judged.tags.join(", "));
    }
    if judged.guarded {
        row(page, "guard", "compared before a request with other credentials gets it");
    }
}

fn stored_section(page: &mut String, variant: &VariantReport) {
    let mark = if variant.selected { "this request's" } else { "not this request's" };
    let held: Vec<String> = variant.held.iter().map(|held| format!("{} {} bytes", held.coding, held.bytes)).collect();
    let _ = writeln!(page, "  - {}, {mark}, in {}: {}", variant.status, variant.tier, held.join(", "));
    row(page, "  size", &format!("body {} bytes, {} in total", variant.body_bytes, variant.memory_bytes));
    row(page, "  lifetime", &lifetime(&variant.freshness));
    row(page, "  stale use", &stale_use(&variant.freshness));
    for (name, value) in &variant.vary {
        row(page, "  varies on", &format!("{name}: {}", value.as_deref().unwrap_or("(absent)")));
    }
    for (name, value) in [("ETag", &variant.etag), ("Last-Modified", &variant.last_modified)] {
        if let Some(value) = value {
            row(page, "  validator", &format!("{name}: {value}"));
        }
    }
    if !variant.tags.is_empty() {
        row(page, "  tags", &variant.tags.join(", "));
    }
    if let Some(guard) = &variant.guard {
        let with =
            if guard.brought_in_with.is_empty() { "no credentials".into() } else { guard.brought_in_with.join(", ") };
        row(
            page,
            "  guard",
            &format!("{} (first fetched with {with}); this request: {}", guard.state, guard.to_this_request),
        );
    }
    row(page, "  purge", &variant.purge);
}

fn lifetime(of: &FreshnessReport) -> String {
    let (age, lifetime) = (seconds(of.age_seconds), seconds(of.lifetime_seconds));
    let validated = if of.no_cache { ", revalidated on every use" } else { "" };
    let word = if of.fresh { "fresh" } else { "stale" };
    format!("{word}: {age} old, lifetime {lifetime} ({}){validated}. {}", of.lifetime_from, of.lifetime_says)
}

fn stale_use(of: &FreshnessReport) -> String {
    match &of.stale_use {
        None => "forbidden".to_owned(),
        Some(windows) => format!(
            "during refresh {}, origin unreachable {}, origin sends 5xx {}",
            seconds(windows.while_revalidate_seconds),
            seconds(windows.if_unreachable_seconds),
            seconds(windows.if_error_seconds)
        ),
    }
}

fn seconds(count: u64) -> String {
    humantime::format_duration(Duration::from_secs(count)).to_string()
}

fn span(count: i64) -> String {
    seconds(count.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn args(line: &[&str]) -> Result<ExplainArgs, clap::Error> {
        let line = ["larder", "explain"].iter().chain(line);
        Cli::try_parse_from(line).map(|cli| match cli.command {
            Command::Explain(args) => args,
            other => panic!("{other:?}"),
        })
    }

    fn judgement(config: &str, line: &[&str], head: &str) -> ExplainReport {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.toml");
        std::fs::write(&file, config).unwrap();
        let mut line = line.to_vec();
        line.extend(["--response", "--config", file.to_str().unwrap()]);
        let args = args(&line).unwrap();
        let question = Question::new(&args.url, &args.method, &args.headers).unwrap();
        let question = question.with_response(head.as_bytes(), args.status, AgeBase::AtDate).unwrap();
        by_configuration(&args, &question).unwrap()
    }

    #[test]
    fn flags_and_arguments() {
        let read = args(&["http://h/", "-H", "A: b", "-H", "C: d", "-X", "HEAD", "--admin", "127.0.0.1:1"]).unwrap();
        assert_eq!((read.headers.len(), read.method.as_str(), read.admin.names_an_address()), (2, "HEAD", true));
        for wrong in [&["--json"][..], &["http://h/", "--status", "200"], &["http://h/", "--received", "now"]] {
            assert!(args(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_saved_response_is_judged_by_the_configuration_alone() {
        let config = "[[route]]\npath = \"/shop/\"\nttl = \"5m\"\nset_cookie = \"strip\"\n";
        let head = "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nContent-Length: 5\r\nSurrogate-Key: one two\r\n\r\nhello";
        let report = judgement(config, &["http://h/shop/x"], head);
        let stored = report.response.as_ref().unwrap();
        assert!(stored.stored, "{stored:?}");
        assert_eq!((stored.freshness.lifetime_seconds, &*stored.freshness.lifetime_from), (300, "route-ttl"));
        let page = render(&report, ReportParts::Response);
        for part in ["The response, 200, would be stored", "5m (route-ttl)", "1, path /shop/", "tags", "one, two"] {
            assert!(page.contains(part), "{part} in\n{page}");
        }
        let report = judgement(config, &["http://h/else"], head);
        let refused = report.response.as_ref().unwrap().because.as_ref().unwrap();
        assert_eq!((&*refused.reason, refused.section.as_deref()), ("set-cookie", Some("RFC 9111 §7.3")));
        assert!(
            render(&report, ReportParts::Response).contains("[set-cookie]"),
            "{}",
            render(&report, ReportParts::Response)
        );
    }

    #[test]
    fn an_old_response_is_judged_as_of_its_date_unless_it_is_taken_as_received_now() {
        let head = "HTTP/1.1 200 OK\nDate: Mon, 01 Jan 2024 00:00:00 GMT\nCache-Control: max-age=60\nETag: \"1\"\nContent-Length: 0\n";
        let at_date = judgement("", &["http://h/"], head).response.unwrap();
        assert_eq!((at_date.stored, at_date.freshness.age_seconds, at_date.freshness.fresh), (true, 0, true));
        let question = Question::new::<&str>("http://h/", "GET", &[]).unwrap();
        let question = question.with_response(head.as_bytes(), None, AgeBase::Now).unwrap();
        let now = by_configuration(&args(&["http://h/", "--response"]).unwrap(), &question).unwrap().response.unwrap();
        assert!(!now.freshness.fresh && now.freshness.age_seconds > 60, "{now:?}");
    }

    #[test]
    fn text_on_the_page_cannot_control_the_terminal() {
        let page = render(
            &judgement("", &["http://h/", "-H", "X: y"], "HTTP/1.1 200 OK\nCache-Tag: a\u{9b}b\n"),
            ReportParts::Everything,
        );
        assert!(page.chars().all(|char| char == '\n' || !char.is_control()), "{page:?}");
    }
}
