//! HTTP/2 by raw frames: malformed requests (RFC 9113 §8), and floods that exhaust resources
//! (§10.5).
//!
//! Field blocks are written without compression, so that a case shows the exact names and values on
//! the wire.

mod cases;
mod frames;

use std::time::Duration;

use super::tap::Tap;
use crate::harness::{Cache, eventually};
use cases::{broken, invalid_trailers, malformed};
use frames::{
    CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, Field, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, block,
    frame,
};

const VALID: &[Field<'_>] = &[(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/h2")];

/// Floods. Other clients are served meanwhile, and two of the floods end their connection.
const FLOODS: [&str; 7] = ["rapid reset", "continuation", "settings", "ping", "open-close", "headers", "window stall"];

pub(crate) fn count() -> usize {
    malformed().len() + broken().len() + invalid_trailers().len() + CONTENTS.len() + FLOODS.len()
}

/// A Content-Length, and content of another length (RFC 9113 §8.1.1).
const CONTENTS: [(&str, &[&[u8]]); 4] = [("5", &[b"abc"]), ("3", &[b"abcde"]), ("3", &[b"ab", b"cd"]), ("0", &[b"a"])];

/// Checks that another client is served, and soon.
#[track_caller]
fn others_are_served(cache: &Cache, what: &str) {
    let mut client = Client::connect(cache);
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(VALID)));
    assert_eq!(client.answer(1), Some(true), "{what}");
    assert_eq!(cache.client().get("/h1").status(), 200, "{what}");
}

#[test]
fn rfc9113_s8_malformed_requests_never_reach_the_origin() {
    let tap = Tap::start();
    let cache = tap.cache();
    let mut wrong = Vec::new();
    for (section, fields) in malformed() {
        let mut client = Client::connect(&cache);
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)));
        let answer = client.answer(1);
        let seen = tap.take(false).unwrap();
        if answer == Some(true) || !seen.raw.is_empty() {
            wrong.push(format!("[{section}] {fields:?}: {answer:?}, {:?}", String::from_utf8_lossy(&seen.raw)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    others_are_served(&cache, "after all of them");
}

#[test]
fn rfc9113_s8_valid_requests_are_served() {
    let tap = Tap::start();
    let cache = tap.cache();
    for (more, authority) in [
        (&[][..], "a.example"),
        (&[("host", "a.example")], "a.example"),
        (&[("host", "A.example:80")], "a.example"),
        (&[("te", "trailers")], "a.example"),
        (&[("cookie", "a=b"), ("cookie", "c=d")], "a.example"),
    ] {
        let fields: Vec<_> = VALID.iter().chain(more).copied().collect();
        let mut client = Client::connect(&cache);
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)));
        assert_eq!(client.answer(1), Some(true), "{more:?}");
        let seen = tap.take(false).unwrap();
        assert_eq!(
            seen.whole.iter().map(|one| one.values("host")).collect::<Vec<_>>(),
            [[authority.as_bytes()]],
            "{more:?}"
        );
    }
}

#[test]
fn forwarded_requests_follow_the_rules_of_http1() {
    let tap = Tap::start();
    let cache = tap.cache();
    let mut client = Client::connect(&cache);
    let mut fields = VALID.to_vec();
    fields[0] = (":method", "POST");
    fields.extend([("cookie", "a=b"), ("content-length", "3"), ("cookie", "c=d"), ("content-length", "3")]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
    client.send(&frame(DATA, END_STREAM, 1, b"abc"));
    assert_eq!(client.answer(1), Some(true));
    let seen = tap.take(false).unwrap();
    // RFC 9113 §8.2.3, RFC 9110 §8.6.
    assert_eq!(seen.whole[0].values("cookie"), [b"a=b; c=d"]);
    assert_eq!(seen.whole[0].values("content-length"), [b"3"]);
}

#[test]
fn rfc9110_s6_5_1_fields_that_belong_in_the_head_are_dropped_from_trailers() {
    let tap = Tap::start();
    let cache = tap.cache();
    let mut client = Client::connect(&cache);
    let mut fields = VALID.to_vec();
    fields[0] = (":method", "POST");
    fields.push((
        "trailer",
        "cookie, x-forwarded-host, x_forwarded_host, x-http-method-override, content_length, client-ip, x-check",
    ));
    client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
    client.send(&frame(DATA, 0, 1, b"abc"));
    let trailers = [
        (":path", "/evil"),
        ("cookie", "a=1"),
        ("x-forwarded-host", "evil"),
        ("x_forwarded_host", "evil"),
        ("x-http-method-override", "DELETE"),
        ("content_length", "5"),
        ("transfer_encoding", "chunked"),
        ("client-ip", "1.2.3.4"),
        ("x-middleware-subrequest", "middleware"),
        ("x-check", "ok"),
    ];
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&trailers)));
    assert_eq!(client.answer(1), Some(true));
    let raw = tap.take(false).unwrap().raw;
    let text = String::from_utf8_lossy(&raw);
    let behind = text.split_once("3\r\nabc\r\n").expect("the content is forwarded").1;
    assert_eq!(behind, "0\r\nx-check: ok\r\n\r\n");
}

#[test]
fn rfc9113_s8_1_trailers_that_http1_cannot_carry_fail_the_request() {
    let tap = Tap::start();
    let cache = tap.cache();
    for (section, trailers) in invalid_trailers() {
        let mut client = Client::connect(&cache);
        let mut fields = VALID.to_vec();
        fields[0] = (":method", "POST");
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
        client.send(&frame(DATA, 0, 1, b"abc"));
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&trailers)));
        assert_ne!(client.answer(1), Some(true), "[{section}] {:?}", trailers[0]);
        assert_eq!(tap.take(true).unwrap().whole, [], "[{section}] {:?}", trailers[0]);
    }
    others_are_served(&cache, "after all of them");
}

#[test]
fn rfc9113_s8_1_reset_content_is_not_whole_whatever_the_error_code() {
    let tap = Tap::start();
    let cache = tap.cache();
    for code in [0_u32, 5, 8] {
        let mut client = Client::connect(&cache);
        let mut fields = VALID.to_vec();
        fields[0] = (":method", "POST");
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
        client.send(&frame(DATA, 0, 1, b"half of it"));
        eventually("the app has the beginning", || tap.holds(b"half of it"));
        client.send(&frame(RST_STREAM, 0, 1, &code.to_be_bytes()));
        assert_eq!(tap.take(true).unwrap().whole, [], "{code}");
    }
    others_are_served(&cache, "after all of them");
}

#[test]
fn rfc9113_s8_1_1_content_must_have_its_announced_length() {
    let tap = Tap::start();
    let cache = tap.cache();
    for (length, parts) in CONTENTS {
        let mut client = Client::connect(&cache);
        let mut fields = VALID.to_vec();
        fields[0] = (":method", "POST");
        fields.push(("content-length", length));
        client.send(&frame(HEADERS, END_HEADERS, 1, &block(&fields)));
        for (at, part) in parts.iter().enumerate() {
            let flags = if at + 1 == parts.len() { END_STREAM } else { 0 };
            client.send(&frame(DATA, flags, 1, part));
        }
        assert_ne!(client.answer(1), Some(true), "{length} {parts:?}");
        assert_eq!(tap.take(true).unwrap().whole, [], "{length} {parts:?}");
    }
}

#[test]
fn rfc9113_s5_4_breaking_a_connections_rules_ends_it() {
    let tap = Tap::start();
    let cache = tap.cache();
    for (section, bytes) in broken() {
        let mut client = Client::connect(&cache);
        client.send(&bytes);
        // A stream error leaves the connection alone, which must still answer a ping or end with a
        // reason.
        let (mut is_over, mut reset) = (false, false);
        client.send(&frame(PING, 0, 0, b"sentinel"));
        while let Some(frame) = client.frame() {
            reset |= frame.kind == RST_STREAM;
            is_over |= frame.kind == GOAWAY;
            if is_over || (frame.kind == PING && frame.payload == b"sentinel") {
                break;
            }
        }
        assert!(is_over || reset, "[{section}] {bytes:?}");
    }
    others_are_served(&cache, "after all of them");
}

#[test]
fn rfc9113_s10_5_floods_end_and_leave_others_alone() {
    let tap = Tap::start();
    let cache = tap.cache();
    let sound = block(VALID);
    let open = |at: u32| frame(HEADERS, END_HEADERS | END_STREAM, 2 * at + 1, &sound);
    let cancel = |at: u32| frame(RST_STREAM, 0, 2 * at + 1, &[0, 0, 0, 8]);
    for flood in FLOODS {
        let mut client = Client::connect(&cache);
        client.0.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
        let mut reader = Client(client.0.try_clone().unwrap());
        let writing = {
            let wave: Vec<Vec<u8>> = match flood {
                "rapid reset" => (0..20_000).map(|at| [open(at), cancel(at)].concat()).collect(),
                "continuation" => std::iter::once(frame(HEADERS, END_STREAM, 1, &sound))
                    .chain((0..20_000).map(|_| frame(CONTINUATION, 0, 1, &block(&[("x", "y")]))))
                    .collect(),
                "settings" => (0..100_000).map(|_| frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0x80, 0])).collect(),
                "ping" => (0..100_000).map(|_| frame(PING, 0, 0, &[0; 8])).collect(),
                "open-close" => (0..10_000).map(open).collect(),
                "headers" => {
                    let many: Vec<(String, String)> =
                        (0..5_000).map(|at| (format!("x-{at}"), "y".repeat(20))).collect();
                    let fields: Vec<Field<'_>> = many.iter().map(|(name, value)| (&name[..], &value[..])).collect();
                    let all = [sound.clone(), block(&fields)].concat();
                    let mut parts: Vec<Vec<u8>> = all.chunks(16_000).map(<[u8]>::to_vec).collect();
                    let last = parts.pop().unwrap();
                    let mut frames: Vec<Vec<u8>> = Vec::new();
                    for (at, part) in parts.iter().enumerate() {
                        frames.push(frame(
                            if at == 0 { HEADERS } else { CONTINUATION },
                            if at == 0 { END_STREAM } else { 0 },
                            1,
                            part,
                        ));
                    }
                    frames.push(frame(CONTINUATION, END_HEADERS, 1, &last));
                    frames
                }
                // Streams whose responses cannot be sent, since their windows are shut.
                _ => std::iter::once(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).chain((0..100).map(open)).collect(),
            };
            std::thread::spawn(move || {
                for bytes in wave {
                    if !client.send(&bytes) {
                        break;
                    }
                }
                client
            })
        };
        // The flood must read its responses, or the server reads nothing more from it.
        let reading = std::thread::spawn(move || reader.ended());
        others_are_served(&cache, flood);
        let client = writing.join().unwrap();
        others_are_served(&cache, flood);
        // The other side may have ended the connection before.
        let _ = client.0.shutdown(std::net::Shutdown::Write);
        let said = reading.join().unwrap();
        assert!(said || !matches!(flood, "rapid reset" | "continuation"), "{flood}");
        tap.take(false).unwrap();
    }
}
