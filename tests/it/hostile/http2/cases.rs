//! The cases: malformed requests and trailers, and bytes that break a connection, each with its
//! section.

use super::VALID;
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Field, HEADERS, PING, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame,
};

/// Requests that are malformed (RFC 9113 §8.1.1), or that do not name exactly one host. None may
/// reach the origin. Each entry is the whole field block.
pub(super) fn malformed() -> Vec<(&'static str, Vec<Field<'static>>)> {
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
pub(super) fn broken() -> Vec<(&'static str, Vec<u8>)> {
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

/// Trailer sections that HTTP/1 cannot express, or that are too large, each with its section.
pub(super) fn invalid_trailers() -> Vec<(&'static str, Vec<Field<'static>>)> {
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
