//! Responses of an origin that break HTTP, or that two parsers would read differently. Each becomes
//! a 502 with a reason, or a body without a clean end; nothing of it is stored; its connection is
//! not used again. Unusual responses that are allowed pass, so that strictness breaks no app.
//!
//! Sections without a document are those of RFC 9112.

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::wire::Wire;
use crate::harness::{BOUND, Cache, Client, End, Gate, Origin, Reply, WEBSOCKET, eventually};

/// The effect of a response, as a client observes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Observation {
    /// A 502 with Proxy-Status `http_protocol_error`.
    Refused,
    /// A 502 with Proxy-Status: the connection ended before the head was whole.
    Unanswered,
    /// A head, and a body without a clean end.
    Cut,
    /// The response, with this status and content; its connection is used again.
    Passed(u16, &'static str),
    /// The same, but the connection is not used again.
    PassedOnce(u16, &'static str),
}

use Observation::{Cut, Passed, PassedOnce, Refused, Unanswered};

/// A response of the origin.
struct AnswerCase {
    section: &'static str,
    method: &'static str,
    fields: &'static [(&'static str, &'static str)],
    answer: Vec<u8>,
    /// True where the origin closes its side after the response.
    closes: bool,
    seen: Observation,
}

/// A response to a plain GET, on a connection that stays open.
fn case(section: &'static str, answer: impl Into<Vec<u8>>, seen: Observation) -> AnswerCase {
    AnswerCase { section, method: "GET", fields: &[], answer: answer.into(), closes: false, seen }
}

/// A response after which the origin closes the connection.
fn closing(section: &'static str, answer: impl Into<Vec<u8>>, seen: Observation) -> AnswerCase {
    AnswerCase { closes: true, ..case(section, answer, seen) }
}

/// A 200 with these field lines, each with its line end, and this content.
fn ok(lines: &str, content: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{lines}\r\n{content}")
}

/// A status line in front of an otherwise valid response.
fn status_line(line: &str) -> Vec<u8> {
    format!("{line}\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\nok").into()
}

fn status_lines() -> Vec<AnswerCase> {
    let mut cases: Vec<_> = [
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 -20 OK",
        "HTTP/1.1 200OK",
        "HTTP/1.1  200 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.1 200 O\0K",
        "HTTP/1.1 200 O\rK",
        "HTTP/1.1 200 O\x01K",
        "HTTP/1.1 OK",
        "HTTP/1.1",
        "http/1.1 200 OK",
        "HTTP/11 200 OK",
        "HTTP/1.1.1 200 OK",
        "ICY 200 OK",
        " HTTP/1.1 200 OK",
        "\r\nHTTP/1.1 200 OK",
        "\nHTTP/1.1 200 OK",
        "GET / HTTP/1.1",
        "SSH-2.0-OpenSSH_9.6",
        "{\"ok\": true}",
    ]
    .into_iter()
    .map(|line| case("§4", status_line(line), Refused))
    .collect();
    for version in ["HTTP/1.2", "HTTP/0.9", "HTTP/2.0", "HTTP/2", "HTTP/3"] {
        cases.push(case("§2.3", status_line(&format!("{version} 200 OK")), Refused));
    }
    for status in ["000", "001", "099", "600", "999"] {
        cases.push(case("RFC 9110 §15", status_line(&format!("HTTP/1.1 {status} Odd")), Refused));
    }
    cases.push(closing("RFC 1945 §6 (HTTP/0.9)", "<html>hello</html>", Refused));
    cases.push(closing("RFC 1945 §6 (HTTP/0.9)", "hello", Refused));
    cases.push(case("§4", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..], Refused));
    cases.push(closing("§8", "", Unanswered));
    cases.push(closing("§8", "HTTP/1.1 20", Unanswered));
    cases.push(closing("§8", "HTTP/1.1 200 OK\r\nContent-Len", Unanswered));
    cases.push(case("§4", status_line("HTTP/1.1 200"), Passed(200, "ok")));
    cases.push(case("§4", status_line("HTTP/1.1 200 "), Passed(200, "ok")));
    cases.push(case("§4", status_line("HTTP/1.1 299 Odd"), Passed(299, "ok")));
    cases.push(case("§4", status_line("HTTP/1.1 599 Odd"), Passed(599, "ok")));
    cases.push(case("§9.3", status_line("HTTP/1.0 200 OK"), PassedOnce(200, "ok")));
    cases
}

fn field_lines() -> Vec<AnswerCase> {
    let length = "Content-Length: 2\r\n";
    let mut cases: Vec<_> = [
        ("§5", "no colon\r\n"),
        ("§5", ": no name\r\n"),
        ("§5.1", "A : b\r\n"),
        ("§5.1", "A\t: b\r\n"),
        ("§5.1", "Content-Length : 2\r\n"),
        ("§5.2", "A: b\r\n c\r\n"),
        ("§5.2", "A: b\r\n\tc\r\n"),
        ("§5.2", "A: b\r\n \r\n"),
        ("RFC 9110 §5.1", "A b: c\r\n"),
        ("RFC 9110 §5.1", "A(b): c\r\n"),
        ("RFC 9110 §5.1", "Ä: c\r\n"),
        ("RFC 9110 §5.1", "A\0: c\r\n"),
        ("RFC 9110 §5.5", "A: b\0c\r\n"),
        ("RFC 9110 §5.5", "A: b\x01c\r\n"),
        ("RFC 9110 §5.5", "A: b\x7fc\r\n"),
        ("§2.2", "A: b\n"),
        ("§2.2", "A: b\nC: d\r\n"),
        ("§2.2", "A: b\rC: d\r\n"),
        ("§2.2", "A: b\r\r\n"),
    ]
    .into_iter()
    .map(|(section, line)| case(section, ok(&format!("{line}{length}"), "ok"), Refused))
    .collect();
    cases.push(case(
        "§2.2",
        ok(&format!(" A: b\r\n{length}"), "ok").replacen("Cache-Control: max-age=60\r\n", "", 1),
        Refused,
    ));
    cases.push(case("§2.2", ok(length, "ok").replace("\r\n", "\n"), Refused));
    cases.push(case("§2.2", format!("HTTP/1.1 200 OK\r\n{length}\nok"), Refused));
    cases.push(case("RFC 9110 §5.4", ok(&format!("{}{length}", "A: b\r\n".repeat(101)), "ok"), Refused));
    cases.push(case("RFC 9110 §5.4", ok(&format!("A: {}\r\n{length}", "b".repeat(300_000)), "ok"), Refused));
    let obs_text = [&b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: caf\xe9\r\n\r\nok"[..]].concat();
    cases.push(case("RFC 9110 §5.5", obs_text, Passed(200, "ok")));
    cases.push(case("RFC 9110 §5.5", ok(&format!("A:\r\nB:  \t c \t\r\n{length}"), "ok"), Passed(200, "ok")));
    cases
}

fn lengths() -> Vec<AnswerCase> {
    let chunked = "2\r\nok\r\n0\r\n\r\n";
    let mut cases: Vec<_> = [
        "",
        "x",
        "+2",
        "-2",
        "0x2",
        "2 2",
        "2.0",
        "2;",
        "2,",
        ",2",
        "2, 3",
        "\u{ff12}",
        "18446744073709551616",
        "99999999999999999999999",
    ]
    .into_iter()
    .map(|length| case("§6.3 item 5", ok(&format!("Content-Length: {length}\r\n"), "ok"), Refused))
    .collect();
    cases.push(case("§6.3 item 5", ok("Content-Length: 2\r\nContent-Length: 3\r\n", "ok"), Refused));
    cases.push(case("§6.3 item 5", ok("Content-Length: 3\r\nContent-Length: 2\r\n", "ok"), Refused));
    cases.push(case("§6.3 item 5", ok("Content-Length: 2\r\nContent-Length: 2\r\n", "ok"), Passed(200, "ok")));
    cases.push(case("§6.3 item 5", ok("Content-Length: 2, 2\r\n", "ok"), Passed(200, "ok")));
    cases.push(case("RFC 9110 §8.6", ok("Content-Length: 002\r\n", "ok"), Passed(200, "ok")));
    for lines in
        ["Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: chunked\r\nContent-Length: 12\r\n"]
    {
        cases.push(case("§6.3 item 3", ok(lines, chunked), Refused));
        cases.push(AnswerCase { method: "HEAD", ..case("§6.3 item 3", ok(lines, ""), Refused) });
    }
    for coding in [
        "",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked;a=b",
        "xchunked",
        "chunked x",
        "\u{b}chunked",
    ] {
        cases.push(case("§6.1", ok(&format!("Transfer-Encoding: {coding}\r\n"), chunked), Refused));
    }
    let twice = "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n";
    cases.push(case("§6.1", ok(twice, chunked), Refused));
    cases.push(case("§6.1", ok("Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n", chunked), Refused));
    let old = ok("Transfer-Encoding: chunked\r\n", chunked).replacen("1.1", "1.0", 1);
    cases.push(case("§6.1", old, Refused));
    let empty = |lines: &str, content: &str| format!("HTTP/1.1 204 No Content\r\n{lines}\r\n{content}");
    cases.push(case("§6.1", empty("Transfer-Encoding: chunked\r\n", chunked), Refused));
    cases.push(case("RFC 9110 §8.6", empty("Content-Length: 2\r\n", "ok"), Refused));
    cases.push(case("RFC 9110 §8.6", empty("Content-Length: 0\r\n", ""), Passed(204, "")));
    cases.push(AnswerCase { method: "HEAD", ..case("§6.3 item 5", ok("Content-Length: x\r\n", ""), Refused) });
    cases.push(AnswerCase { method: "HEAD", ..case("§6.3 item 5", ok("Content-Length: 2, 3\r\n", ""), Refused) });
    cases.push(case("§7.1", ok("Transfer-Encoding: Chunked\r\n", chunked), Passed(200, "ok")));
    cases.push(closing("§6.3 item 8", ok("", "until the end"), PassedOnce(200, "until the end")));
    cases.push(closing(
        "§6.3 item 4",
        ok("Transfer-Encoding: unheard-of\r\n", "as it is"),
        PassedOnce(200, "as it is"),
    ));
    cases
}

/// Bytes that arrive late on a connection, after a response without content: the next request on
/// that connection would take them for its answer.
const LATE: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\npoison";

/// A reply of these bytes, with the late body behind them.
fn late(head: &str) -> Reply {
    Reply::raw(head).then(|peer| {
        peer.exactly(1)?;
        peer.send(LATE.as_bytes())
    })
}

#[test]
fn rfc9112_s6_3_a_late_body_answers_no_request() {
    let origin = Origin::start(|request| match (request.method().as_str(), request.header("If-None-Match")) {
        ("HEAD", _) => late("HTTP/1.1 200 OK\r\nContent-Length: 92\r\n\r\n"),
        (_, Some(_)) => late("HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _ => Reply::fresh("page").header("ETag", "\"a\""),
    });
    let cache = Cache::configured(&origin, "[[route]]\npath = \"/bypassed/\"\ncache = \"bypass\"\n");
    cache.get("/stored").check(200, "page", "stored");
    cache.step(61);
    // The stored response is validated.
    let asks = [("HEAD", "/bypassed/", "*"), ("GET", "/bypassed/", "\"a\""), ("GET", "/stored", "\"b\"")];
    for (at, (method, target, known)) in asks.into_iter().enumerate() {
        let status = cache.request(method, target, &[("If-None-Match", known)], b"").status();
        assert!(matches!(status, 200 | 304), "{method} {target}: {status}");
        cache.settle();
        let next = format!("/next/{at}");
        cache.get(&next).check(200, "page", "stored");
        cache.get(&next).check(200, "page", "hit");
    }
}

fn unasked() -> Vec<AnswerCase> {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    let good = ok("Content-Length: 2\r\n", "ok");
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let other = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n";
    let silent = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n";
    let asked: &[_] = &WEBSOCKET;
    let partial = "HTTP/1.1 206 Partial Content\r\nCache-Control: max-age=60\r\nContent-Range: bytes 0-1/2\r\n\
                   Content-Length: 2\r\n\r\nok";
    let confirmed = "HTTP/1.1 304 Not Modified\r\nCache-Control: max-age=60\r\nETag: \"1\"\r\n\r\n";
    vec![
        case("RFC 9110 §7.8", switch, Refused),
        case("RFC 9110 §7.8", format!("{switch}{good}"), Refused),
        case("RFC 9110 §7.8", format!("{early}{switch}"), Refused),
        AnswerCase { fields: asked, ..case("RFC 9110 §7.8", other, Refused) },
        AnswerCase { fields: asked, ..case("RFC 9110 §7.8", silent, Refused) },
        case("RFC 9110 §15.3.7", partial, Refused),
        case("RFC 9110 §15.3.7", partial.replace("bytes 0-1/2", "bytes 0-1/9"), Refused),
        case("RFC 9110 §15.3.7", partial.replace("Content-Range: bytes 0-1/2\r\n", ""), Refused),
        AnswerCase { fields: &[("Range", "bytes=0-1")], ..case("RFC 9110 §15.3.7", partial, Passed(206, "ok")) },
        case("RFC 9110 §15.4.5", confirmed, Refused),
        case("RFC 9110 §15.4.5", format!("{confirmed}ok"), Refused),
        AnswerCase { fields: &[("If-None-Match", "\"1\"")], ..case("RFC 9110 §15.4.5", confirmed, Passed(304, "")) },
        case("RFC 9110 §15.2", early.repeat(10_000), Refused),
        case("RFC 9110 §15.2", format!("{}{good}", early.repeat(101)), Refused),
        case("RFC 9110 §15.2", format!("{}{good}", early.repeat(100)), Passed(200, "ok")),
        case("RFC 9110 §15.2", format!("HTTP/1.1 100 Continue\r\n\r\n{good}"), Passed(200, "ok")),
        case("RFC 9110 §15.2", format!("HTTP/1.1 103 Early Hints\n\n{good}"), Refused),
        closing("RFC 9110 §15.2", early, Unanswered),
    ]
}

/// Bytes beyond the announced length: they answer no request.
fn excess() -> Vec<AnswerCase> {
    let smuggled = ok("Content-Length: 8\r\n", "smuggled");
    vec![
        case("§6.3 item 6", ok("Content-Length: 2\r\n", "ok and more"), PassedOnce(200, "ok")),
        case("§6.3 item 6", ok("Content-Length: 2\r\n", &format!("ok{smuggled}")), PassedOnce(200, "ok")),
        case("§6.3 item 6", ok("Content-Length: 0\r\n", &smuggled), PassedOnce(200, "")),
        case(
            "§7.1",
            ok("Transfer-Encoding: chunked\r\n", &format!("2\r\nok\r\n0\r\n\r\n{smuggled}")),
            PassedOnce(200, "ok"),
        ),
        case("§6.3 item 1", format!("HTTP/1.1 204 No Content\r\n\r\n{smuggled}"), PassedOnce(204, "")),
        AnswerCase {
            fields: &[("If-None-Match", "\"1\"")],
            ..case(
                "§6.3 item 1",
                format!("HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n{smuggled}"),
                PassedOnce(304, ""),
            )
        },
    ]
}

/// Content that breaks its framing once the head is out.
fn contents() -> Vec<AnswerCase> {
    let mut cases: Vec<_> = [
        "x\r\n",
        "-2\r\nok\r\n",
        "+2\r\nok\r\n",
        "0x2\r\nok\r\n",
        "2 2\r\nok\r\n",
        "\r\n2\r\nok\r\n",
        "2\nok\n0\n\n",
        "2\r\nokX",
        "2\r\nok\n0\r\n\r\n",
        "2\r\nok0\r\n\r\n",
        "ffffffffffffffffff\r\nok\r\n",
        "2\0\r\nok\r\n",
        "2\r\nok\r\n0\r\nno colon\r\n\r\n",
        "2\r\nok\r\n0\r\nA: b\0\r\n\r\n",
    ]
    .into_iter()
    .map(|content| case("§7.1", ok("Transfer-Encoding: chunked\r\n", content), Cut))
    .collect();
    let endless = format!("2;{}\r\nok\r\n0\r\n\r\n", "x".repeat(100_000));
    cases.push(case("§7.1.1", ok("Transfer-Encoding: chunked\r\n", &endless), Cut));
    for content in ["", "2", "2\r\n", "2\r\nok", "2\r\nok\r\n", "2\r\nok\r\n0\r\n"] {
        cases.push(closing("§8", ok("Transfer-Encoding: chunked\r\n", content), Cut));
    }
    for content in ["", "o"] {
        cases.push(closing("§8", ok("Content-Length: 2\r\n", content), Cut));
    }
    cases
}

/// The origin's record.
#[derive(Default)]
struct Log {
    /// The target of each request and the connection that it arrived on.
    requests: Vec<(String, usize)>,
    connections: usize,
    /// Connections that the other side has closed.
    closed: HashSet<usize>,
}

/// An origin that answers the first request for `/N` with the bytes of case N, and every other
/// request with a valid response.
struct Raw {
    addr: SocketAddr,
    log: Arc<Mutex<Log>>,
}

impl Raw {
    fn start(cases: &[AnswerCase]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let answers = cases.iter().enumerate().map(|(at, case)| (format!("/{at}"), (case.answer.clone(), case.closes)));
        let answers = Arc::new(Mutex::new(answers.collect::<HashMap<_, _>>()));
        let log = Arc::<Mutex<Log>>::default();
        let known = Arc::clone(&log);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answers, log) = (Arc::clone(&answers), Arc::clone(&known));
                std::thread::spawn(move || {
                    let id = {
                        let mut log = log.lock().unwrap();
                        log.connections += 1;
                        log.connections
                    };
                    // The other end of the connection notices every error.
                    let _ = Self::serve(&stream, id, &answers, &log);
                    log.lock().unwrap().closed.insert(id);
                });
            }
        });
        Self { addr, log }
    }

    fn serve(
        mut stream: &TcpStream,
        id: usize,
        answers: &Mutex<HashMap<String, (Vec<u8>, bool)>>,
        log: &Mutex<Log>,
    ) -> io::Result<()> {
        let mut wire = Wire::new(stream.try_clone()?);
        while let Some(head) = wire.head()? {
            let target = String::from_utf8_lossy(&head).split(' ').nth(1).unwrap_or_default().to_owned();
            log.lock().unwrap().requests.push((target.clone(), id));
            let answer = answers.lock().unwrap().remove(&target);
            let Some((bytes, closes)) = answer else {
                stream.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\ngood")?;
                continue;
            };
            // The other side may close before it has read everything.
            let _ = stream.write_all(&bytes);
            if closes {
                stream.shutdown(Shutdown::Write)?;
            }
        }
        stream.read(&mut [0; 64]).map(drop)
    }

    /// Returns the connection of the last request for `target`.
    fn connection_of(&self, target: &str) -> Option<usize> {
        let log = self.log.lock().unwrap();
        log.requests.iter().rev().find(|(known, _)| known == target).map(|(_, id)| *id)
    }

    fn count(&self, target: &str) -> usize {
        self.log.lock().unwrap().requests.iter().filter(|(known, _)| known == target).count()
    }
}

/// Checks what a client observes of a case, and of the response after it.
fn judge(cache: &Cache, raw: &Raw, at: usize, case: &AnswerCase) -> Result<(), String> {
    let target = format!("/{at}");
    let mut client = cache.client();
    client.ask(case.method, &target, case.fields, b"");
    let head = loop {
        match client.try_head() {
            Ok(head) if head.status < 200 => {}
            Ok(head) => break Some(head),
            Err(_) => break None,
        }
    };
    // Content may break before the head is sent, which loses the head as well.
    let Some(head) = head else {
        return if case.seen == Cut { spoiled(cache, raw, at, case) } else { Err("no answer".to_owned()) };
    };
    let proxy_status = head.header("proxy-status").unwrap_or_default();
    let response = client.rest(head);
    let found = format!("{} {:?} {:?} {proxy_status}", response.status(), response.end, response.text());
    let is_502 = |error: &str| response.status() == 502 && response.end == End::Clean && proxy_status.contains(error);
    let is_right = match case.seen {
        Refused => is_502("error=http_protocol_error"),
        Unanswered => is_502("error=connection_terminated"),
        Cut => response.status() == 200 && response.end != End::Clean,
        Passed(status, content) | PassedOnce(status, content) => {
            let lengths = response.head.headers("content-length");
            let plain = lengths.len() <= 1 && lengths.iter().all(|length| length.parse() == Ok(content.len()));
            let is_right = (response.status(), response.text().as_str(), response.end) == (status, content, End::Clean);
            is_right && plain
        }
    };
    if !is_right {
        return Err(format!("seen: {found}"));
    }
    spoiled(cache, raw, at, case)
}

/// Checks that only valid responses were stored, and that the connection is reused exactly where it
/// may be.
fn spoiled(cache: &Cache, raw: &Raw, at: usize, case: &AnswerCase) -> Result<(), String> {
    let target = format!("/{at}");
    cache.settle();
    let first = raw.connection_of(&target).ok_or("the origin was not asked")?;
    let may_be_stored = matches!(case.seen, Passed(..) | PassedOnce(..));
    if !may_be_stored {
        let next = cache.get(&target);
        if next.text() != "good" || !next.has("fwd=uri-miss") || raw.count(&target) != 2 {
            return Err(format!("the next answer: {} {:?}", next.cache_status(), next.text()));
        }
    }
    let probe = format!("/probe/{at}");
    if cache.get(&probe).text() != "good" {
        return Err("another request got another answer".to_owned());
    }
    let later = raw.connection_of(&probe).ok_or("the probe did not come")?;
    let second = raw.connection_of(&target).unwrap_or(first);
    match matches!(case.seen, Passed(..)) {
        true if later != first => return Err("its connection was not used again".to_owned()),
        false if later == first || (!may_be_stored && second == first) => {
            return Err("its connection was used again".to_owned());
        }
        false => eventually("its connection is closed", || raw.log.lock().unwrap().closed.contains(&first)),
        true => {}
    }
    Ok(())
}

#[test]
fn answers_that_break_http_are_a_502_are_not_stored_and_spoil_their_connection() {
    let groups = [status_lines(), field_lines(), lengths(), unasked(), excess(), contents()];
    let cases: Vec<_> = groups.into_iter().flatten().collect();
    assert!(cases.len() >= 100);
    let raw = Raw::start(&cases);
    // The placeholder satisfies the harness; its address is replaced.
    let placeholder = Origin::start(|_| unreachable!("no request reaches this origin"));
    let cache = Cache::with(&placeholder, |setup| {
        setup.config.workers = 1;
        setup.config.origin.authority = raw.addr.to_string();
        setup.config.origin.pool_idle_timeout = BOUND / 2;
        setup.config.origin.response_timeout = Duration::from_secs(10);
    });
    let wrong: Vec<_> = cases
        .iter()
        .enumerate()
        .filter_map(|(at, case)| {
            let error = judge(&cache, &raw, at, case).err()?;
            let answer = String::from_utf8_lossy(&case.answer[..case.answer.len().min(200)]).into_owned();
            Some(format!("{} {answer:?}: wanted {:?}; {error}", case.section, case.seen))
        })
        .collect();
    assert!(wrong.is_empty(), "{} of {} are wrong:\n{}", wrong.len(), cases.len(), wrong.join("\n"));

    let stats = cache.stats();
    let count = |seen: Observation| cases.iter().filter(|case| case.seen == seen).count();
    assert_eq!(stats["requests"]["by_reason"]["http_protocol_error"], count(Refused));
    assert_eq!(stats["requests"]["by_reason"]["connection_terminated"], count(Unanswered));
    let aborted = stats["endings"]["aborted"].as_object().unwrap().values().filter_map(|count| count.as_u64());
    assert_eq!(aborted.sum::<u64>(), count(Cut) as u64);
    assert_eq!(stats["origin"]["permits_in_use"], 0);
}

/// Bytes on an idle connection, sent together with a valid response or after the client has
/// received it, are no answer to the next request.
#[test]
fn s9_2_unsolicited_bytes_between_requests_answer_none() {
    for comes_later in [false, true] {
        let (answered, sent) = (Gate::new(), Gate::new());
        let origin = {
            let (answered, sent) = (answered.clone(), sent.clone());
            Origin::start(move |request| {
                let reply = Reply::fresh(request.target());
                if request.target() != "/first" {
                    return reply;
                }
                let (answered, sent) = (answered.clone(), sent.clone());
                reply.then(move |peer| {
                    if comes_later {
                        answered.wait();
                    }
                    let outcome = peer.send(ok("Content-Length: 8\r\n", "smuggled").as_bytes());
                    sent.open();
                    outcome
                })
            })
        };
        let cache = Cache::with(&origin, |setup| setup.config.workers = 1);
        cache.get("/first").check(200, "/first", "fwd=uri-miss");
        answered.open();
        // On the loopback interface, sent bytes have arrived.
        sent.wait();
        for at in 0..5 {
            let target = format!("/{at}");
            cache.get(&target).check(200, &target, "fwd=uri-miss");
        }
    }
}

/// An endless response, to a client that has left.
#[test]
fn a_client_that_leaves_ends_a_refused_answer_too() {
    let raw = Raw::start(&[case("§6.1", ok("Transfer-Encoding: gzip, chunked\r\n", ""), Refused)]);
    let placeholder = Origin::start(|_| unreachable!("no request reaches this origin"));
    let cache = Cache::with(&placeholder, |setup| setup.config.origin.authority = raw.addr.to_string());
    let mut client: Client = cache.client();
    client.ask("GET", "/0", &[], b"");
    drop(client);
    eventually("the origin receives the request", || raw.count("/0") == 1);
    eventually("its connection is closed", || raw.log.lock().unwrap().closed.len() == 1);
    cache.settle();
}
