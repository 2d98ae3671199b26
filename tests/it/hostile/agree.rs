//! Property tests over a real server and real sockets: for any bytes, the origin receives exactly
//! the requests that a strict reference reader finds in them. The streams are valid, mutated, and
//! split anywhere.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use larder::key::{CanonicalUrl, Scheme};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::reference::{self, Message};
use super::tap::Tap;
use super::until_close;
use crate::harness::{BOUND, Cache};

/// The number of streams. Each takes some milliseconds.
const CASES: u32 = 3_000;

/// Requests that streams are built from.
const PIECES: &[&str] = &[
    "GET /a?b=c HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET /%61/../b HTTP/1.1\r\nHost: a.example\r\nX-One: 1\r\n\r\n",
    "HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET http://a.example/abs HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 11\r\n\r\nhello world",
    "POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n",
    "PUT /p HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
    "POST /c HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    "POST /l HTTP/1.1\r\nHost: a.example\r\nContent-Length: 37\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n",
    "DELETE /d HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "POST /n HTTP/1.1\r\nHost: a.example\r\n\r\n",
    "GET /old HTTP/1.0\r\nHost: a.example\r\n\r\n",
    "GET /last HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    "\r\nGET /led HTTP/1.1\r\nHost: a.example\r\n\r\n",
    // Malformed, in one way each.
    "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET /x HTTP/1.1\nHost: a.example\n\n",
    "GET /x HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: a.example\r\nX: a\r\n folded\r\n\r\n",
];

/// Bytes that mutations insert.
const GERMS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"\t",
    b"\0",
    b":",
    b",",
    b";",
    b"0",
    b"1",
    b"5",
    b"a",
    b"/",
    b"?",
    b"#",
    b"\x7f",
    b"\xff",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b.example\r\n",
    b" HTTP/1.1",
    b"GET /g HTTP/1.1\r\nHost: g.example\r\n\r\n",
];

/// A mutation of a stream.
#[derive(Clone, Debug)]
enum Change {
    Insert(usize, usize),
    Remove(usize, usize),
    Replace(usize, u8),
    Truncate(usize),
}

fn changed(mut stream: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        let length = stream.len().max(1);
        match *change {
            Change::Insert(at, germ) => {
                let at = (at % length).min(stream.len());
                stream.splice(at..at, GERMS[germ % GERMS.len()].iter().copied());
            }
            Change::Remove(at, count) => {
                let at = (at % length).min(stream.len());
                let end = (at + count).min(stream.len());
                stream.drain(at..end);
            }
            Change::Replace(at, byte) => {
                if let Some(own) = stream.get_mut(at % length) {
                    *own = byte;
                }
            }
            Change::Truncate(at) => stream.truncate(at % length),
        }
    }
    stream
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0..4_000_usize;
    prop_oneof![
        4 => (at.clone(), 0..GERMS.len()).prop_map(|(at, germ)| Change::Insert(at, germ)),
        2 => (at.clone(), 1..4_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        2 => (at.clone(), prop_oneof![any::<u8>(), prop::sample::select(b"\r\n :,;015aA/".to_vec())])
            .prop_map(|(at, byte)| Change::Replace(at, byte)),
        1 => at.prop_map(Change::Truncate),
    ]
}

fn streams() -> impl Strategy<Value = (Vec<u8>, Vec<usize>)> {
    let pieces = prop::collection::vec(prop::sample::select(PIECES.to_vec()), 1..5);
    let changes = prop_oneof![2 => Just(Vec::new()), 3 => prop::collection::vec(change(), 1..3)];
    (pieces, changes, prop::collection::vec(0..600_usize, 0..6)).prop_map(|(pieces, changes, mut cuts)| {
        let stream = changed(pieces.concat().into_bytes(), &changes);
        cuts.sort_unstable();
        cuts.dedup();
        cuts.retain(|&cut| cut > 0 && cut < stream.len());
        (stream, cuts)
    })
}

/// The expected effect of a stream.
#[derive(Debug, Default)]
struct Expected {
    /// The requests that the origin receives: method, target and content.
    asked: Vec<(String, String, Vec<u8>)>,
    /// For each response, true where it has no content in spite of its Content-Length.
    answers: Vec<bool>,
}

fn expected(mut stream: &[u8]) -> Expected {
    let mut expected = Expected::default();
    while let Ok((message, rest)) = reference::read(stream) {
        stream = rest;
        let Some(target) = canonical(&message) else { break };
        let is_last = is_last(&message);
        expected.answers.push(message.method == "HEAD");
        if message.method != "TRACE" {
            expected.asked.push((as_asked(message.method), target, message.content));
        }
        if is_last {
            break;
        }
    }
    expected
}

/// Returns the method that the origin receives: a HEAD is fetched as a GET, unless the URL is known
/// to be uncacheable.
fn as_asked(method: String) -> String {
    if method == "HEAD" { "GET".to_owned() } else { method }
}

/// Reads one response for each of `answers`, unless the other side closes before.
fn await_answers(socket: &mut TcpStream, answers: &[bool]) {
    let (mut held, mut buffer, mut left) = (Vec::new(), [0; 4 << 10], answers);
    while let Some((is_empty, rest)) = left.split_first() {
        if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            let length = crate::harness::wire::content_length(&held[..end + 2]).filter(|_| !is_empty).unwrap_or(0);
            if held.len() >= end + 4 + length {
                held.drain(..end + 4 + length);
                left = rest;
                continue;
            }
        }
        match socket.read(&mut buffer) {
            Ok(length) if length > 0 => held.extend_from_slice(&buffer[..length]),
            _ => return,
        }
    }
}

/// Returns the target that the origin receives; `None` where the request is not served.
fn canonical(message: &Message) -> Option<String> {
    // RFC 9112 §3.2.2: the authority of an absolute form counts, and HTTP/1.0 needs no Host beside
    // it.
    let (host, target) = match message.target.strip_prefix("http://") {
        Some(rest) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
        None => (std::str::from_utf8(message.values("host").first()?).ok()?, &message.target[..]),
    };
    CanonicalUrl::new(Scheme::Http, host, target).ok().map(|url| url.path_and_query().to_owned())
}

/// Tells whether a request ends its connection.
fn is_last(message: &Message) -> bool {
    let says = |word: &str| {
        let values = message.values("connection");
        values.iter().any(|value| {
            value.split(|&byte| byte == b',').any(|own| own.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        })
    };
    if message.is_http10 { !says("keep-alive") } else { says("close") }
}

/// Sends a stream in pieces, waits for the expected responses, and returns the requests at the
/// origin.
fn sent(
    tap: &Tap,
    cache: &Cache,
    stream: &[u8],
    cuts: &[usize],
    answers: &[bool],
) -> Result<Vec<(String, String, Vec<u8>)>, String> {
    let mut socket = TcpStream::connect(cache.addr()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    let mut from = 0;
    for &to in cuts.iter().chain([&stream.len()]) {
        // After a refusal, Larder may close the connection before everything is sent.
        if socket.write_all(&stream[from..to]).is_err() {
            break;
        }
        from = to;
        std::thread::yield_now();
    }
    // A client that closes its side aborts its requests, so the close follows the responses.
    await_answers(&mut socket, answers);
    let _ = socket.shutdown(Shutdown::Write);
    until_close(&mut socket);
    let seen = tap.take(true)?;
    Ok(seen.whole.into_iter().map(|message| (as_asked(message.method), message.target, message.content)).collect())
}

#[test]
fn the_origin_sees_what_the_reference_reader_sees() {
    let tap = Tap::start();
    let cache = tap.cache();
    let config = Config { cases: CASES, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let outcome = TestRunner::new(config).run(&streams(), |(stream, cuts)| {
        let text = String::from_utf8_lossy(&stream).into_owned();
        let expected = expected(&stream);
        match sent(&tap, &cache, &stream, &cuts, &expected.answers) {
            Ok(seen) => prop_assert_eq!(seen, expected.asked, "{:?}", text),
            Err(malformed) => prop_assert!(false, "the origin received {} for {:?}", malformed, text),
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
