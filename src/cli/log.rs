//! `larder log`: streams the requests of a running Larder, one per line, until it is stopped.
//!
//! The admin interface filters, so unwanted lines are not sent. The text comes from clients, so
//! control characters are replaced before it reaches the terminal.

use std::io::{ErrorKind, Write};

use anyhow::{Context, bail};
use clap::Args;
use serde::Deserialize;

use super::admin_client::{AdminArgs, plain};
use super::format::{bytes, micros};

/// The maximum length of a line: far more than the admin interface writes.
const LINE_BYTES_MAX: usize = 256 << 10;

/// The requests to show, and the format.
#[derive(Args, Debug)]
pub(super) struct LogArgs {
    /// Only these outcomes: hit, stale, revalidated, miss, pass, refused, failed, own
    #[arg(long, value_name = "OUTCOME", value_delimiter = ',')]
    outcome: Vec<String>,
    /// Only these reasons (for the outcome, for not storing, or for an aborted body): uri-miss,
    /// private, …
    #[arg(long, value_name = "REASON", value_delimiter = ',')]
    reason: Vec<String>,
    /// Only these paths: a prefix (/shop is not /shopping) or a glob (/img/**/*.png)
    #[arg(long, value_name = "PATH")]
    path: Vec<String>,
    /// Only these statuses: 404, or a class such as 5xx
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<String>,
    /// Only these routes: position in the configuration (starting at 1), or none
    #[arg(long, value_name = "NUMBER", value_delimiter = ',')]
    route: Vec<String>,
    /// Print one JSON object per line, with the keys of the access log
    #[arg(long)]
    json: bool,
    /// Exit after this many requests
    #[arg(short = 'n', long, value_name = "NUMBER")]
    lines: Option<u64>,
    #[command(flatten)]
    admin: AdminArgs,
}

impl LogArgs {
    fn query(&self) -> Vec<(&'static str, String)> {
        let kinds = [
            ("outcome", &self.outcome),
            ("reason", &self.reason),
            ("path", &self.path),
            ("status", &self.status),
            ("route", &self.route),
        ];
        kinds.iter().flat_map(|(kind, values)| values.iter().map(|value| (*kind, value.clone()))).collect()
    }
}

/// Streams until the reader has enough.
///
/// # Errors
/// An admin interface that cannot be reached, refuses, or disappears.
pub(super) fn run(args: &LogArgs) -> anyhow::Result<()> {
    let admin = args.admin.resolve()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut answer = admin.follow("/log", &args.query()).await?;
        let mut lines = LineSplitter::default();
        let mut remaining = args.lines.unwrap_or(u64::MAX);
        while remaining > 0 {
            let chunk = answer.chunk().await.context("the admin interface aborted, or was silent for too long")?;
            let Some(chunk) = chunk else { bail!("the admin interface ended the log: Larder is shutting down") };
            lines.push(&chunk)?;
            while remaining > 0
                && let Some(line) = lines.next()
            {
                match show(&line, args)? {
                    LineResult::Request => remaining -= 1,
                    LineResult::Other => {}
                    LineResult::NobodyReads => return Ok(()),
                }
            }
        }
        Ok(())
    })
}

/// Received bytes, and how many of them were already taken as lines.
#[derive(Default)]
struct LineSplitter {
    buffer: Vec<u8>,
    taken: usize,
}

impl LineSplitter {
    fn push(&mut self, chunk: &[u8]) -> anyhow::Result<()> {
        self.buffer.drain(..std::mem::take(&mut self.taken));
        if self.buffer.len() > LINE_BYTES_MAX {
            bail!("the admin interface does not send lines");
        }
        self.buffer.extend_from_slice(chunk);
        Ok(())
    }

    /// Takes the next line, without its end.
    fn next(&mut self) -> Option<String> {
        let rest = &self.buffer[self.taken..];
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.taken += end + 1;
        Some(line)
    }
}

/// The result of showing a line.
enum LineResult {
    /// The line was a request.
    Request,
    /// The line was empty, or reported dropped lines.
    Other,
    /// Standard output is closed: `larder log | head`.
    NobodyReads,
}

fn show(line: &str, args: &LogArgs) -> anyhow::Result<LineResult> {
    if line.is_empty() {
        return Ok(LineResult::Other);
    }
    let message: LogMessage = serde_json::from_str(line)
        .with_context(|| format!("the admin interface sent something other than a request: {}", plain(line)))?;
    let text = match (&message, args.json) {
        (_, true) => line.to_owned(),
        (LogMessage::Lost { lost }, false) => {
            eprintln!("larder: {lost} lines dropped (reader too slow); narrow the filter");
            return Ok(LineResult::Other);
        }
        (LogMessage::Request(request), false) => readable(request),
    };
    let written = writeln!(std::io::stdout().lock(), "{text}");
    match (written, message) {
        (Err(error), _) if error.kind() == ErrorKind::BrokenPipe => Ok(LineResult::NobodyReads),
        (Err(error), _) => Err(error).context("cannot write the log"),
        (Ok(()), LogMessage::Request(_)) => Ok(LineResult::Request),
        (Ok(()), LogMessage::Lost { .. }) => Ok(LineResult::Other),
    }
}

/// The content of a line.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum LogMessage {
    Lost { lost: u64 },
    Request(Box<LoggedRequest>),
}

/// The fields of a readable line; the keys are those of the access log's JSON.
#[derive(Debug, Deserialize)]
struct LoggedRequest {
    time: String,
    method: String,
    host: String,
    target: String,
    status: u16,
    bytes: u64,
    elapsed_us: u64,
    outcome: String,
    reason: String,
    not_stored_reason: Option<String>,
    collapsed: bool,
    ending: String,
    aborted_reason: Option<String>,
}

/// Writes a request as `12:03:07.123 200 hit fresh 41 µs 2.3 KiB GET example.org/path`, in columns.
fn readable(request: &LoggedRequest) -> String {
    let LoggedRequest { status, outcome, reason, method, host, target, .. } = request;
    let time = request.time.split('T').nth(1).unwrap_or(&request.time).trim_end_matches('Z');
    let (took, size) = (micros(Some(request.elapsed_us)), bytes(request.bytes));
    let mut line = format!("{time} {status} {outcome:<11} {reason:<16} {took:>9} {size:>10}  {method} {host}{target}");
    if let Some(reason) = &request.not_stored_reason {
        line.push_str(&format!("  not stored: {reason}"));
    }
    if request.collapsed {
        line.push_str("  collapsed");
    }
    match &request.aborted_reason {
        Some(reason) => line.push_str(&format!("  aborted: {reason}")),
        None if request.ending == "client-gone" => line.push_str("  client disconnected"),
        None => {}
    }
    plain(&line)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn args(line: &str) -> LogArgs {
        match Cli::try_parse_from(line.split(' ')).unwrap().command {
            Command::Log(args) => args,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_become_one_query() {
        let query = args("larder log --outcome hit,stale --outcome miss --path /a?b --status 5xx -n 3").query();
        let pairs: Vec<String> = query.iter().map(|(kind, value)| format!("{kind}={value}")).collect();
        assert_eq!(pairs, ["outcome=hit", "outcome=stale", "outcome=miss", "path=/a?b", "status=5xx"]);
        assert!(args("larder log").query().is_empty());
    }

    #[test]
    fn lines_are_assembled_from_chunks() {
        let mut split = LineSplitter::default();
        split.push(b"{\"a\":1}\n\n{\"b").unwrap();
        assert_eq!(
            (split.next().as_deref(), split.next().as_deref(), split.next()),
            (Some("{\"a\":1}"), Some(""), None)
        );
        split.push(b"\":2}\n").unwrap();
        assert_eq!((split.next().as_deref(), split.next()), (Some("{\"b\":2}"), None));
        split.push(&vec![b'x'; LINE_BYTES_MAX + 1]).unwrap();
        assert!(split.push(b"x").is_err());
    }

    #[test]
    fn a_line_shows_the_request_and_cannot_control_the_terminal() {
        let message = |line: &str| match serde_json::from_str(line).unwrap() {
            LogMessage::Request(request) => readable(&request),
            LogMessage::Lost { lost } => format!("lost {lost}"),
        };
        let line = r#"{"time":"2026-01-01T12:03:07.123Z","client":"192.0.2.7","method":"GET","host":"example.org",
            "target":"/a?b=\u001b[2J","status":200,"bytes":2355,"elapsed_us":1234,"outcome":"miss","reason":"uri-miss",
            "stored":false,"not_stored_reason":"private","collapsed":true,"ttl":null,"fwd_status":200,"route":null,
            "ending":"aborted","aborted_reason":"incomplete","referer":null,"user_agent":null}"#;
        assert_eq!(
            message(line),
            "12:03:07.123 200 miss        uri-miss            1.2 ms    2.3 KiB  GET example.org/a?b=\u{fffd}[2J  \
             not stored: private  collapsed  aborted: incomplete"
        );
        assert_eq!(message(r#"{"lost":12}"#), "lost 12");
    }
}
