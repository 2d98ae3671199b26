//! Hostile responses of an origin. A response that can be read in two ways, or in none, becomes a
//! 502 with Proxy-Status, is never stored, and its connection is not used again (RFC 9112 §6.3, RFC
//! 9209 §2.3).

use super::exchange;
use super::tap::Tap;

/// Responses that break HTTP, each with its section.
const BROKEN: &[(&str, &str)] = &[
    ("RFC 9112 §6.3", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §6.3", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §6.3", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    ("RFC 9110 §8.6", "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!"),
    ("RFC 9110 §8.6", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok"),
    ("RFC 9110 §8.6", "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok"),
    ("RFC 9110 §8.6", "HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok"),
    ("RFC 9110 §8.6", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
    ("RFC 9110 §8.6", "HTTP/1.1 200 OK\r\nContent-Length: 2 3\r\n\r\nok!"),
    ("RFC 9110 §8.6", "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok"),
    ("RFC 9112 §6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §6.1", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §6.1", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §6.1", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("RFC 9112 §4", "HTTP/1.1\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4", "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4", "HTTP/1.1 2x0 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4", "HTTP/1.1  200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4", "HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4", "HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §4", "HTTP/1.1 200 O\0K\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §2.3", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §2.3", "HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §2.3", "HTTX/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §2.3", "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §2.3", "<html>HTTP/0.9</html>\r\n\r\n"),
    ("RFC 9112 §2.3", "\0\0\0\0\r\n\r\n"),
    ("RFC 9112 §2.3", "SSH-2.0-OpenSSH_9.9\r\n"),
    ("RFC 9112 §2.3", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("RFC 9112 §5.1", "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok"),
    ("RFC 9112 §5.1", "HTTP/1.1 200 OK\r\nX Y: a\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §5.1", "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9112 §5.1", "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9110 §5.1", "HTTP/1.1 200 OK\r\nX\": a\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9110 §5.1", "HTTP/1.1 200 OK\r\n\": a\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9110 §5.5", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9110 §5.5", "HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok"),
    ("RFC 9110 §15.2.2", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nok"),
];

/// Responses that begin well and do not end: the client must not take them for whole.
const CUT: &[(&str, &str)] = &[
    ("RFC 9112 §8", "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 9\r\nConnection: close\r\n\r\nok"),
    (
        "RFC 9112 §8",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n",
    ),
    (
        "RFC 9112 §7.1",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nx\r\nok\r\n0\r\n\r\n",
    ),
    (
        "RFC 9112 §7.1",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nokXX0\r\n\r\n",
    ),
    (
        "RFC 9112 §7.1",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n-2\r\nok\r\n0\r\n\r\n",
    ),
    (
        "RFC 9112 §7.1",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\nffffffffffffffffff\r\n",
    ),
];

/// A response that follows each of these on its connection. A cache that reused the connection
/// would take it for the next response.
const POISON: &str = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\npoison";

pub(crate) fn count() -> usize {
    BROKEN.len() + CUT.len()
}

fn ask(cache: &crate::harness::Cache, target: &str) -> Vec<super::Got> {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let got = exchange(cache.addr(), request.as_bytes());
    cache.settle();
    got
}

/// Starts an origin that answers `/0`, `/1` … with these responses, the poison behind each, and
/// every other request with a valid response.
fn origin(answers: &'static [(&str, &str)], poison: &'static str) -> Tap {
    Tap::with(move |message| match message.target.trim_start_matches('/').parse::<usize>() {
        Ok(at) => [answers[at].1.as_bytes(), poison.as_bytes()].concat(),
        Err(_) => b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 4\r\n\r\nfine".to_vec(),
    })
}

#[test]
fn responses_that_break_http_become_an_explained_502_and_are_never_stored() {
    let tap = origin(BROKEN, POISON);
    let cache = tap.cache();
    let mut wrong = Vec::new();
    for (at, (section, answer)) in BROKEN.iter().enumerate() {
        for round in 0..2 {
            let got = ask(&cache, &format!("/{at}"));
            let is_right = matches!(&got[..], [one] if one.status == 502 && !one.values("proxy-status").is_empty());
            if !is_right {
                let found = got.first().map(|one| (one.status, one.head.clone()));
                wrong.push(format!("[{section}] {answer:?}, round {round}: {found:?}"));
            }
            let after = ask(&cache, &format!("/fine-{at}-{round}"));
            if after.first().is_none_or(|one| one.body != b"fine") {
                wrong.push(format!("[{section}] {answer:?}, round {round}: its connection was used again: {after:?}"));
            }
        }
        let asked = tap.take(false).map(|seen| seen.whole.iter().filter(|one| one.target == format!("/{at}")).count());
        if asked != Ok(2) {
            wrong.push(format!("[{section}] {answer:?}: the origin was asked {asked:?} times in two rounds"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn responses_that_do_not_end_are_never_taken_for_whole() {
    let tap = origin(CUT, "");
    let cache = tap.cache();
    for (at, (section, answer)) in CUT.iter().enumerate() {
        for round in 0..2 {
            let mut client = cache.client();
            client.ask("GET", &format!("/{at}"), &[], b"");
            // Where the response breaks at once, there may be no head either.
            if let Ok(head) = client.try_head() {
                let status = head.status;
                let response = client.rest(head);
                let is_cut = response.end != crate::harness::End::Clean;
                assert!(
                    status == 502 || is_cut,
                    "[{section}] {answer:?}, round {round}: {status} {:?}",
                    response.text()
                );
            }
            cache.settle();
        }
        assert_eq!(tap.take(false).unwrap().whole.len(), 2, "[{section}] {answer:?}");
    }
}
