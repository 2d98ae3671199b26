//! HTTP/2 by raw frames: malformed requests (RFC 9113 §8), and floods that exhaust resources
//! (§10.5).
//!
//! Field blocks are written without compression, so that a case shows the exact names and values on
//! the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::tap::Tap;
use crate::harness::{BOUND, Cache, eventually};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// The name and value of a field.
type Field<'a> = (&'a str, &'a str);

const VALID: &[Field<'_>] = &[(":method", "GET"), (":scheme", "http"), (":authority", "a.example"), (":path", "/h2")];

/// Requests that are malformed (RFC 9113 §8.1.1), or that do not name exactly one host. None may
/// reach the origin. Each entry is the whole field block.
fn malformed() -> Vec<(&'static str, Vec<Field<'static>>)> {
    let with = |more: &[Field<'static>]| VALID.iter().chain(more).copied().collect::<Vec<_>>();
    let without = |name: &str| VALID.iter().filter(|field| field.0 != name).copied().collect::<Vec<_>>();
    let changed = |name: &'static str, value: &'static str| {
        VALID.iter().map(|&field| if field.0 == name { (name, value) } else { field }).collect::<Vec<_>>()
    };
    let mut late = vec![("x", "a")];
    late.extend(VALID);
    vec![
        ("RFC 9113 §8.3.1", without(":method")),
        ("RFC 9113 §8.3.1", without(":scheme")),
        ("RFC 9113 §8.3.1", without(":path")),
        ("RFC 9113 §8.3.1", without(":authority")),
        ("RFC 9113 §8.3.1", changed(":path", "")),
        ("RFC 9113 §8.3.1", changed(":path", "a")),
        ("RFC 9113 §8.3.1", changed(":path", "*")),
        ("RFC 9113 §8.3.1", changed(":path", "/a b")),
        ("RFC 9113 §8.3.1", changed(":path", "/\0")),
        ("RFC 9113 §8.3.1", changed(":path", "/\r\nX: y")),
        ("RFC 9113 §8.3.1", changed(":path", "http://b.example/")),
        ("RFC 9113 §8.3.1", changed(":method", "")),
        ("RFC 9113 §8.3.1", changed(":method", "G ET")),
        ("RFC 9113 §8.3.1", changed(":method", "GET / HTTP/1.1\r\nHost: b\r\n\r\n")),
        ("RFC 9113 §8.3.1", changed(":scheme", "")),
        ("RFC 9113 §8.3.1", changed(":scheme", "ftp")),
        ("RFC 9113 §8.3.1", changed(":scheme", "http://")),
        ("RFC 9113 §8.3.1", changed(":authority", "")),
        ("RFC 9113 §8.3.1", changed(":authority", "user@a.example")),
        ("RFC 9113 §8.3.1", changed(":authority", "a.example/b")),
        ("RFC 9113 §8.3.1", changed(":authority", "a b")),
        ("RFC 9113 §8.3.1", changed(":authority", "a,b")),
        ("RFC 9113 §8.3.1", changed(":authority", "a:b")),
        ("RFC 9113 §8.3.1", with(&[("host", "b.example")])),
        ("RFC 9113 §8.3.1", with(&[("host", "a.example:81")])),
        ("RFC 9113 §8.3.1", with(&[("host", "")])),
        ("RFC 9110 §7.2", with(&[("host", "a.example"), ("host", "a.example")])),
        ("RFC 9113 §8.3", with(&[(":method", "POST")])),
        ("RFC 9113 §8.3", with(&[(":path", "/b")])),
        ("RFC 9113 §8.3", with(&[(":authority", "b.example")])),
        ("RFC 9113 §8.3", with(&[(":status", "200")])),
        ("RFC 9113 §8.3", with(&[(":unheard-of", "x")])),
        ("RFC 9113 §8.3", with(&[("x", "a"), (":path", "/b")])),
        ("RFC 9113 §8.3", late),
        ("RFC 8441 §4", with(&[(":protocol", "websocket")])),
        ("RFC 9113 §8.2.2", with(&[("connection", "close")])),
        ("RFC 9113 §8.2.2", with(&[("connection", "x-secret"), ("x-secret", "told")])),
        ("RFC 9113 §8.2.2", with(&[("keep-alive", "timeout=5")])),
        ("RFC 9113 §8.2.2", with(&[("proxy-connection", "keep-alive")])),
        ("RFC 9113 §8.2.2", with(&[("transfer-encoding", "chunked")])),
        ("RFC 9113 §8.2.2", with(&[("upgrade", "h2c")])),
        ("RFC 9113 §8.2.2", with(&[("te", "gzip")])),
        ("RFC 9113 §8.2.1", with(&[("X-Upper", "a")])),
        ("RFC 9113 §8.2.1", with(&[("x y", "a")])),
        ("RFC 9113 §8.2.1", with(&[("x:y", "a")])),
        ("RFC 9113 §8.2.1", with(&[("", "a")])),
        ("RFC 9113 §10.3", with(&[("x\"", "a")])),
        ("RFC 9113 §10.3", with(&[("\"", "a")])),
        ("RFC 9113 §10.3", with(&[("\"content-length\"", "5")])),
        ("RFC 9113 §8.2.1", with(&[("x", "a\r\nb: c")])),
        ("RFC 9113 §8.2.1", with(&[("x", "a\nb")])),
        ("RFC 9113 §8.2.1", with(&[("x", "a\0b")])),
        ("RFC 9113 §8.2.1", with(&[("x", " a")])),
        ("RFC 9113 §8.2.1", with(&[("x", "a\t")])),
        ("RFC 9110 §5.4", with(&[("x-many", "a"); 101])),
        ("RFC 9113 §8.1.1", with(&[("content-length", "5")])),
        ("RFC 9113 §8.1.1", with(&[("content-length", "five")])),
        ("RFC 9113 §8.1.1", with(&[("content-length", "1"), ("content-length", "2")])),
        ("RFC 9110 §9.3.6", vec![(":method", "CONNECT"), (":authority", "a.example:80")]),
        ("RFC 9110 §9.3.8", changed(":method", "TRACE")),
    ]
}

/// Bytes that break the rules of a connection, each with its section.
fn broken() -> Vec<(&'static str, Vec<u8>)> {
    let block = block(VALID);
    let sound = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    vec![
        ("RFC 9113 §5.1.1", frame(HEADERS, END_HEADERS | END_STREAM, 2, &block)),
        ("RFC 9113 §5.1.1", frame(HEADERS, END_HEADERS | END_STREAM, 0, &block)),
        ("RFC 9113 §6.1", frame(DATA, END_STREAM, 0, b"x")),
        ("RFC 9113 §6.1", frame(DATA, END_STREAM, 1, b"x")),
        ("RFC 9113 §6.2", frame(HEADERS, END_HEADERS | END_STREAM | 8, 1, &[&[255][..], &block].concat())),
        ("RFC 9113 §6.4", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("RFC 9113 §6.4", frame(RST_STREAM, 0, 0, &[0; 4])),
        ("RFC 9113 §6.5", frame(SETTINGS, 0, 1, &[])),
        ("RFC 9113 §6.5", frame(SETTINGS, 0, 0, &[0; 5])),
        ("RFC 9113 §6.5", frame(SETTINGS, 1, 0, &[0; 6])),
        ("RFC 9113 §6.5.2", frame(SETTINGS, 0, 0, &[0, 4, 0x80, 0, 0, 0])),
        ("RFC 9113 §6.5.2", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1])),
        ("RFC 9113 §6.6", frame(PUSH_PROMISE, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &block].concat())),
        ("RFC 9113 §6.7", frame(PING, 0, 0, &[0; 7])),
        ("RFC 9113 §6.7", frame(PING, 0, 1, &[0; 8])),
        ("RFC 9113 §6.9", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("RFC 9113 §6.9.1", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("RFC 9113 §6.10", frame(CONTINUATION, END_HEADERS, 1, &block)),
        ("RFC 9113 §6.10", [frame(HEADERS, END_STREAM, 1, &block), frame(PING, 0, 0, &[0; 8])].concat()),
        ("RFC 9113 §6.10", [frame(HEADERS, END_STREAM, 1, &block), frame(CONTINUATION, END_HEADERS, 3, &[])].concat()),
        ("RFC 9113 §4.2", frame(DATA, 0, 1, &[0; 20_000])),
        ("RFC 9113 §4.3", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 8])),
        ("RFC 7541 §6.1", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x80])),
        ("RFC 7541 §6.3", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0x3f, 0xff, 0xff, 0xff, 0xff, 0x0f])),
        ("RFC 9113 §5.1", [sound.clone(), frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)].concat()),
    ]
}

/// Floods. Other clients are served meanwhile, and two of the floods end their connection.
const FLOODS: [&str; 7] = ["rapid reset", "continuation", "settings", "ping", "open-close", "headers", "window stall"];

pub(crate) fn count() -> usize {
    malformed().len() + broken().len() + invalid_trailers().len() + CONTENTS.len() + FLOODS.len()
}

/// A Content-Length, and content of another length (RFC 9113 §8.1.1).
const CONTENTS: [(&str, &[&[u8]]); 4] = [("5", &[b"abc"]), ("3", &[b"abcde"]), ("3", &[b"ab", b"cd"]), ("0", &[b"a"])];

/// Returns the bytes of a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Returns the bytes of a field block: literals without indexing, names and values as they are (RFC
/// 7541 §6.2.2).
fn block(fields: &[Field<'_>]) -> Vec<u8> {
    let mut block = Vec::new();
    let string = |block: &mut Vec<u8>, text: &str| {
        match u8::try_from(text.len()) {
            Ok(short @ 0..127) => block.push(short),
            _ => {
                block.push(127);
                let mut rest = text.len() - 127;
                while rest >= 128 {
                    block.push((rest % 128) as u8 | 128);
                    rest /= 128;
                }
                block.push(rest as u8);
            }
        }
        block.extend_from_slice(text.as_bytes());
    };
    for (name, value) in fields {
        block.push(0);
        string(&mut block, name);
        string(&mut block, value);
    }
    block
}

/// A connection.
struct Client(TcpStream);

/// A frame as received.
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Client {
    fn connect(cache: &Cache) -> Self {
        let mut socket = TcpStream::connect(cache.addr()).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(BOUND)).unwrap();
        socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
        socket.write_all(&frame(SETTINGS, 0, 0, &[])).unwrap();
        Self(socket)
    }

    /// Sends bytes; false where the other side has ended the connection.
    fn send(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Reads a frame; `None` where the connection has ended.
    fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a stream has its response, and tells whether that is a 200; `None` where the
    /// stream was reset or the connection ended.
    fn answer(&mut self, stream: u32) -> Option<bool> {
        let mut is_ok = None;
        loop {
            let frame = self.frame()?;
            match frame.kind {
                // The first byte is the indexed field `:status: 200` (RFC 7541 appendix A).
                HEADERS if frame.stream == stream => is_ok = Some(frame.payload.first() == Some(&0x88)),
                RST_STREAM if frame.stream == stream => return is_ok,
                GOAWAY => return is_ok,
                _ => {}
            }
            if frame.stream == stream && frame.kind <= HEADERS && frame.flags & END_STREAM != 0 {
                return is_ok;
            }
        }
    }

    /// Reads until the connection ends. Tells whether the server gave a reason (GOAWAY).
    fn ended(&mut self) -> bool {
        let mut said = false;
        while let Some(frame) = self.frame() {
            said |= frame.kind == GOAWAY;
        }
        said
    }
}

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

/// Trailer sections that HTTP/1 cannot express, or that are too large, each with its section.
fn invalid_trailers() -> Vec<(&'static str, Vec<Field<'static>>)> {
    let large: &'static str = "a".repeat(9_000).leak();
    vec![
        ("RFC 9113 §10.3", vec![("x\"", "a")]),
        ("RFC 9113 §10.3", vec![("x-check", "a"), ("\"x\"", "a")]),
        ("RFC 9113 §8.2.1", vec![("x-check", " a")]),
        ("RFC 9113 §8.2.1", vec![("x-check", "a\t")]),
        ("RFC 9113 §8.2.1", vec![("x-check", "a\r\nb: c")]),
        ("RFC 9113 §8.2.1", vec![("X-Check", "a")]),
        ("RFC 9110 §5.4", vec![("x-check", "a"); 101]),
        ("RFC 9110 §5.4", vec![("x-check", large)]),
    ]
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
