//! The printed forms of a log line. Whatever a client sends, a line stays one line and its quotes
//! stay balanced.
//!
//! Text forms end with `outcome=… reason=…`. In their values every quote, backslash, control byte
//! and byte above ASCII is written as `\xHH`. JSON has one object per line, with all keys in every
//! line:
//!
//! - `time`: when the request's head had arrived; RFC 3339, UTC, to the millisecond
//! - `client`: the client's address
//! - `method`, `host`, `target`: in canonical form
//! - `status`: the response's status, a number
//! - `bytes`: body bytes handed to the connection
//! - `elapsed_us`: microseconds from the request's head to the response's end
//! - `outcome`, `reason`: tokens of [`crate::outcome`]
//! - `stored`: whether the response began to be stored, true or false
//! - `not_stored_reason`: a reason's token if the response was not stored, else null
//! - `collapsed`: whether the request waited for another request's fetch
//! - `ttl`: freshness lifetime minus age in seconds, or null
//! - `fwd_status`: the status that the origin answered with, or null
//! - `route`: the position of the `[[route]]`, starting at 1, or null
//! - `ending`: `complete`, `client-gone` or `aborted`
//! - `aborted_reason`: a reason's token if `ending` is `aborted`, else null
//! - `referer`, `user_agent`: as received, or null; bytes that are not UTF-8 become U+FFFD

use std::borrow::Cow;
use std::io::Write;

use serde::Serialize;

use super::civil;
use super::line::{AccessFormat, LogLine};
use crate::clock::Timestamp;
use crate::outcome::{Ending, StoreOutcome};
use crate::route;

/// The most bytes of a target in a line, as written; longer targets are cut and end with `...`.
const TARGET_BYTES_MAX: usize = 2048;

/// The most bytes of any other value.
const VALUE_BYTES_MAX: usize = 512;

/// The end of a cut value.
const CUT: &str = "...";

/// Appends `line` in the form `format` to `out`, with its line feed.
pub(super) fn write(format: AccessFormat, line: &LogLine<'_>, out: &mut Vec<u8>) {
    match format {
        AccessFormat::Common => {
            write_common(line, out);
            write_decision(line, out);
        }
        AccessFormat::Combined => {
            write_common(line, out);
            for value in [line.referer, line.user_agent] {
                out.extend_from_slice(b" \"");
                write_escaped(value.unwrap_or(b"-"), VALUE_BYTES_MAX, out);
                out.push(b'"');
            }
            write_decision(line, out);
        }
        AccessFormat::Json => write_json(line, out),
    }
    out.push(b'\n');
}

/// Appends the common form of NCSA httpd.
fn write_common(line: &LogLine<'_>, out: &mut Vec<u8>) {
    put(out, format_args!("{} - - [{}] \"", line.client, civil::ncsa(line.at)));
    write_escaped(line.method.as_bytes(), VALUE_BYTES_MAX, out);
    out.push(b' ');
    write_escaped(line.target.as_bytes(), TARGET_BYTES_MAX, out);
    put(out, format_args!(" {:?}\" {} ", line.version, line.status));
    match line.end.body_bytes {
        0 => out.push(b'-'),
        bytes => put(out, format_args!("{bytes}")),
    }
}

fn write_decision(line: &LogLine<'_>, out: &mut Vec<u8>) {
    put(out, format_args!(" outcome={} reason={}", line.decision.outcome.token(), line.decision.reason.token()));
}

/// Appends formatted text.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes all that is written");
}

/// Appends `value`, cut at `bytes_max` as written. Bytes that could end a quoted value or a line
/// become `\xHH`.
fn write_escaped(value: &[u8], bytes_max: usize, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let end = out.len() + bytes_max;
    for byte in value {
        // A byte takes at most four.
        if out.len() + 4 > end {
            out.extend_from_slice(CUT.as_bytes());
            return;
        }
        match byte {
            b'"' | b'\\' | 0..=0x1f | 0x7f.. => {
                out.extend_from_slice(&[b'\\', b'x', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            plain => out.push(*plain),
        }
    }
}

/// A JSON line. The module's list describes its keys.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(serialize_with = "rfc3339")]
    time: Timestamp,
    client: std::net::IpAddr,
    method: Cow<'a, str>,
    host: Cow<'a, str>,
    target: Cow<'a, str>,
    status: u16,
    bytes: u64,
    elapsed_us: u64,
    outcome: &'static str,
    reason: &'static str,
    stored: bool,
    not_stored_reason: Option<&'static str>,
    collapsed: bool,
    ttl: Option<i64>,
    fwd_status: Option<u16>,
    route: Option<u32>,
    ending: &'static str,
    aborted_reason: Option<&'static str>,
    referer: Option<Cow<'a, str>>,
    user_agent: Option<Cow<'a, str>>,
}

fn rfc3339<S: serde::Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&civil::rfc3339(*time))
}

fn write_json(line: &LogLine<'_>, out: &mut Vec<u8>) {
    let (ending, aborted_reason) = match line.end.ending {
        Ending::Complete => ("complete", None),
        Ending::ClientGone => ("client-gone", None),
        Ending::Aborted(reason) => ("aborted", Some(reason.token())),
    };
    let not_stored_reason = match line.decision.stored {
        StoreOutcome::No(reason) => Some(reason.token()),
        StoreOutcome::Started | StoreOutcome::NothingTo => None,
    };
    let object = Json {
        time: line.at,
        client: line.client,
        method: truncate(line.method.as_bytes(), VALUE_BYTES_MAX),
        host: truncate(line.host.as_bytes(), VALUE_BYTES_MAX),
        target: truncate(line.target.as_bytes(), TARGET_BYTES_MAX),
        status: line.status,
        bytes: line.end.body_bytes,
        elapsed_us: u64::try_from(line.end.elapsed.as_micros()).unwrap_or(u64::MAX),
        outcome: line.decision.outcome.token(),
        reason: line.decision.reason.token(),
        stored: line.decision.stored == StoreOutcome::Started,
        not_stored_reason,
        collapsed: line.decision.collapsed,
        ttl: line.decision.ttl,
        fwd_status: line.decision.fwd_status,
        route: line.decision.route.map(route::number),
        ending,
        aborted_reason,
        referer: line.referer.map(|value| truncate(value, VALUE_BYTES_MAX)),
        user_agent: line.user_agent.map(|value| truncate(value, VALUE_BYTES_MAX)),
    };
    let begin = out.len();
    serde_json::to_writer(&mut *out, &object)
        .expect("the object has text keys only, and a Vec takes all that is written");
    escape_controls(out, begin);
}

/// Escapes the characters that JSON permits but a terminal may obey: DEL, and the control
/// characters above ASCII.
fn escape_controls(out: &mut Vec<u8>, begin: usize) {
    // In UTF-8 these characters begin with one of two bytes, which are rare otherwise.
    if memchr::memchr2(0x7f, 0xc2, &out[begin..]).is_none() {
        return;
    }
    let line = String::from_utf8(out.split_off(begin)).expect("JSON is text");
    for c in line.chars() {
        match c.is_control() {
            true => put(out, format_args!("\\u{:04x}", u32::from(c))),
            false => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// Returns `value` as text, cut at `bytes_max` of its bytes before JSON escapes it.
fn truncate(value: &[u8], bytes_max: usize) -> Cow<'_, str> {
    if value.len() <= bytes_max {
        return String::from_utf8_lossy(value);
    }
    let mut text = String::from_utf8_lossy(&value[..bytes_max - CUT.len()]).into_owned();
    text.push_str(CUT);
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::outcome::{Decision, Outcome, Reason, ResponseEnd};

    const HIT: Decision = Decision::new(Outcome::Hit, Reason::Fresh);
    const END: ResponseEnd =
        ResponseEnd { ending: Ending::Complete, body_bytes: 2326, elapsed: Duration::from_micros(41) };

    fn line() -> LogLine<'static> {
        LogLine {
            client: "192.0.2.7".parse().unwrap(),
            at: Timestamp::from_millis(971_186_136_007),
            method: "GET",
            target: "/apache_pb.gif?a=1",
            host: "example.org",
            version: http::Version::HTTP_11,
            status: 200,
            referer: Some(b"http://example.org/"),
            user_agent: None,
            decision: &HIT,
            end: &END,
        }
    }

    fn text(format: AccessFormat, line: &LogLine<'_>) -> String {
        let mut out = Vec::new();
        write(format, line, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_forms() {
        assert_eq!(
            text(AccessFormat::Common, &line()),
            "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /apache_pb.gif?a=1 HTTP/1.1\" 200 2326 \
             outcome=hit reason=fresh\n"
        );
        assert_eq!(
            text(AccessFormat::Combined, &line()),
            "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /apache_pb.gif?a=1 HTTP/1.1\" 200 2326 \
             \"http://example.org/\" \"-\" outcome=hit reason=fresh\n"
        );
        let empty = ResponseEnd { body_bytes: 0, ..END };
        let line =
            LogLine { client: "2001:db8::1".parse().unwrap(), version: http::Version::HTTP_2, end: &empty, ..line() };
        assert!(text(AccessFormat::Common, &line).starts_with("2001:db8::1 - - ["));
        assert!(text(AccessFormat::Common, &line).contains(" HTTP/2.0\" 200 - outcome="));
    }

    #[test]
    fn no_line_moves_a_terminals_cursor() {
        let line = LogLine { user_agent: Some("a\u{9b}2J\u{7f}\u{e9}\u{1b}".as_bytes()), ..line() };
        for format in [AccessFormat::Combined, AccessFormat::Json] {
            assert!(!text(format, &line).trim_end().contains(char::is_control));
        }
        let json: serde_json::Value = serde_json::from_str(&text(AccessFormat::Json, &line)).unwrap();
        assert_eq!(json["user_agent"], "a\u{9b}2J\u{7f}\u{e9}\u{1b}");
    }

    #[test]
    fn the_json_form_has_every_key_in_every_line() {
        let decision = Decision {
            stored: StoreOutcome::No(Reason::Private),
            collapsed: true,
            fwd_status: Some(200),
            ttl: Some(-5),
            route: Some(3),
            ..Decision::new(Outcome::Miss, Reason::Expired)
        };
        let end = ResponseEnd { ending: Ending::Aborted(Reason::Incomplete), ..END };
        let full = LogLine { decision: &decision, end: &end, user_agent: Some(b"curl/8"), ..line() };
        assert_eq!(
            text(AccessFormat::Json, &full),
            "{\"time\":\"2000-10-10T13:55:36.007Z\",\"client\":\"192.0.2.7\",\"method\":\"GET\",\"host\":\"example.org\",\
             \"target\":\"/apache_pb.gif?a=1\",\"status\":200,\"bytes\":2326,\"elapsed_us\":41,\"outcome\":\"miss\",\
             \"reason\":\"stale\",\"stored\":false,\"not_stored_reason\":\"private\",\"collapsed\":true,\"ttl\":-5,\
             \"fwd_status\":200,\"route\":4,\"ending\":\"aborted\",\"aborted_reason\":\"incomplete\",\
             \"referer\":\"http://example.org/\",\"user_agent\":\"curl/8\"}\n"
        );
        let keys = |text: &str| -> Vec<String> {
            serde_json::from_str::<serde_json::Map<_, _>>(text).unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&text(AccessFormat::Json, &line())), keys(&text(AccessFormat::Json, &full)));
        for key in keys(&text(AccessFormat::Json, &full)) {
            assert!(include_str!("form.rs").contains(&format!("`{key}`")), "{key} is not in the module's list");
        }
    }

    #[test]
    fn hostile_values_break_no_line() {
        let hostile: Vec<u8> = (0..=255).collect();
        let line = LogLine {
            referer: Some(b"\" 200 1 outcome=hit\r\n10.0.0.1 - - \\"),
            user_agent: Some(&hostile),
            method: "G\"ET\n",
            target: "/\u{1b}[2J\"\u{7f}é",
            ..line()
        };
        let combined = text(AccessFormat::Combined, &line);
        assert_eq!(combined.matches('\n').count(), 1);
        assert_eq!(combined.matches('"').count(), 6, "{combined}");
        assert!(combined.trim_end().bytes().all(|byte| (0x20..0x7f).contains(&byte)));
        assert!(combined.contains("\"G\\x22ET\\x0A /\\x1B[2J\\x22\\x7F\\xC3\\xA9 HTTP/1.1\""));
        assert!(combined.contains("\"\\x22 200 1 outcome=hit\\x0D\\x0A10.0.0.1 - - \\x5C\""));
        let json = text(AccessFormat::Json, &line);
        assert_eq!(json.matches('\n').count(), 1);
        let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(parsed["method"], "G\"ET\n");
        assert!(parsed["user_agent"].as_str().unwrap().contains('\u{fffd}'));
    }

    #[test]
    fn long_values_are_cut() {
        let check = |bytes: usize, is_cut: bool| {
            let long = vec![b'a'; bytes];
            let line = LogLine { user_agent: Some(&long), ..line() };
            assert_eq!(text(AccessFormat::Combined, &line).contains("aa..."), is_cut, "{bytes}");
        };
        check(VALUE_BYTES_MAX - 3, false);
        check(VALUE_BYTES_MAX + 1, true);
        let long = vec![0xff; 1 << 20];
        let target = "/\u{1}".repeat(1 << 19);
        let line = LogLine { user_agent: Some(&long), referer: Some(&long), target: &target, ..line() };
        for format in [AccessFormat::Common, AccessFormat::Combined, AccessFormat::Json] {
            assert!(text(format, &line).len() < 12 << 10);
        }
    }
}
