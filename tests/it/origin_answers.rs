//! Responses of an origin that break HTTP, or that two parsers would read differently. Each becomes
//! a 502 with a reason, or a body without a clean end; nothing of it is stored; its connection is
//! not used again. Unusual responses that are allowed pass, so that strictness breaks no app.
//!
//! Sections without a document are those of RFC 9112.

mod cases;

use std::collections::{HashMap, HashSet};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use Observation::{Cut, Passed, PassedOnce, Refused, Unanswered};
use cases::{case, contents, excess, field_lines, lengths, ok, status_lines, unasked};

use crate::harness::wire::Wire;
use crate::harness::{BOUND, Cache, Client, End, Gate, Origin, Reply, eventually};

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
