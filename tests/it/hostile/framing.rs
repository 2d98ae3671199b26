//! The end of a request: lengths, codings, lines.

use super::{Case, Expect, bad, case, get, judge, passed, post, refused};

/// Content for a parser that reads lengths, and an end for one that reads chunks.
const CHUNKED: &str = "0\r\n\r\n";

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    // A message with both fields ought to be handled as an attack.
    all.extend(bad(
        "RFC 9112 §6.1",
        [
            post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
            post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", CHUNKED),
            post("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
            post("content-length: 5\r\ntransfer-encoding: CHUNKED\r\n", CHUNKED),
            get("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n") + CHUNKED,
            post("Content-Length: 5\r\nTransfer-Encoding: identity\r\n", "abcde"),
            post("Content-Length: 5\r\nTransfer-Encoding:\r\n", "abcde"),
        ],
    ));
    // Unless `chunked` comes last, the content has no end.
    all.extend(bad(
        "RFC 9112 §6.3",
        [
            "identity",
            "gzip",
            "xchunked",
            "chunkedx",
            "x-chunked",
            "chunked, identity",
            "chunked, gzip",
            "gzip",
            "",
            ",",
            "chunked,",
            ", chunked",
            "chunked, chunked",
            "chunked chunked",
            "chunked;q=1",
            "chunked\u{b}",
            "\"chunked\"",
            "'chunked'",
            "chun ked",
        ]
        .map(|coding| post(&format!("Transfer-Encoding: {coding}\r\n"), CHUNKED)),
    ));
    all.extend(refused(
        "RFC 9112 §6.1",
        &[501],
        ["gzip, chunked", "unheard-of, chunked", "gzip,chunked"]
            .map(|coding| post(&format!("Transfer-Encoding: {coding}\r\n"), CHUNKED)),
    ));
    all.extend(bad(
        "RFC 9112 §6.1",
        [
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
            post("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", CHUNKED),
            post("Transfer-Encoding : chunked\r\n", CHUNKED),
            post("Transfer-Encoding\t: chunked\r\n", CHUNKED),
            post(" Transfer-Encoding: chunked\r\n", CHUNKED),
            post("X: y\r\n Transfer-Encoding: chunked\r\n", CHUNKED),
            post("Transfer-Encoding: \r\n chunked\r\n", CHUNKED),
            post("X: y\rTransfer-Encoding: chunked\r\n", CHUNKED),
            post("X: y\nTransfer-Encoding: chunked\r\n", CHUNKED),
            post("Transfer-Encoding\0: chunked\r\n", CHUNKED),
            post("Transfer-Encoding: chunked\0\r\n", CHUNKED),
            post("Transfer_Encoding\u{a0}: chunked\r\n", CHUNKED),
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n".to_owned(),
        ],
    ));
    all.extend(bad(
        "RFC 9110 §8.6",
        [
            "+5",
            "-5",
            "5, 5",
            "5,5",
            "5 5",
            "5;",
            "0x5",
            "5.0",
            "5e0",
            "five",
            "",
            "\"5\"",
            "5\0",
            "\u{665}",
            "99999999999999999999",
            "18446744073709551616",
            "18446744073709551621",
            "9223372036854775808",
            "-0",
            "5\u{b}",
        ]
        .map(|length| post(&format!("Content-Length: {length}\r\n"), "abcde")),
    ));
    all.extend(bad(
        "RFC 9112 §6.3",
        [
            post("Content-Length: 5\r\nContent-Length: 6\r\n", "abcde"),
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "abcde"),
            post("Content-Length: 5\r\nContent-Length: 0\r\n", "abcde"),
            post("Content-Length: 0\r\ncontent-length: 5\r\n", "abcde"),
            post("Content-Length: 5\r\nContent-Length:\r\n", "abcde"),
            post("Content-Length : 5\r\n", "abcde"),
            post("X: y\r\n\tContent-Length: 5\r\n", "abcde"),
            post("Content-Length:\r\n 5\r\n", "abcde"),
        ],
    ));
    all.extend(refused(
        "RFC 9110 §15.5.12",
        &[411],
        ["POST", "PUT", "PATCH"].map(|method| format!("{method} / HTTP/1.0\r\nHost: a\r\n\r\nabcde")),
    ));
    // Lines.
    all.extend(bad(
        "RFC 9112 §2.2",
        [
            "GET / HTTP/1.1\nHost: example.org\n\n".to_owned(),
            "GET / HTTP/1.1\nHost: example.org\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: example.org\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: example.org\r\n\n".to_owned(),
            "GET / HTTP/1.1\r\nHost: example.org\r\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\rHost: example.org\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\r\nHost: example.org\r\n\r\n".to_owned(),
            "\nGET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_owned(),
            "\r\n\r\nGET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_owned(),
            "\rGET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_owned(),
            " \r\nGET / HTTP/1.1\r\nHost: example.org\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\n X: y\r\nHost: example.org\r\n\r\n".to_owned(),
        ],
    ));
    // Requests that are served.
    all.push(passed("RFC 9112 §2.2", "\r\n".to_owned() + &get(""), "GET", "/", ""));
    all.push(passed("RFC 9110 §8.6", post("Content-Length: 5\r\n", "abcde"), "POST", "/", "abcde"));
    all.push(passed("RFC 9110 §8.6", post("Content-Length: 0005\r\n", "abcde"), "POST", "/", "abcde"));
    all.push(passed("RFC 9110 §8.6", post("Content-Length:\t5 \r\n", "abcde"), "POST", "/", "abcde"));
    all.push(passed("RFC 9112 §6.3", post("", ""), "POST", "/", ""));
    all.push(passed("RFC 9112 §6.3", post("Content-Length: 0\r\n", ""), "POST", "/", ""));
    all.push(passed(
        "RFC 9112 §7",
        post("Transfer-Encoding: \t chunked \r\n", "5\r\nabcde\r\n0\r\n\r\n"),
        "POST",
        "/",
        "abcde",
    ));
    // Content that looks like a request is content.
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = format!("Content-Length: {}\r\n", smuggled.len());
    all.push(passed("RFC 9112 §6.3", post(&length, smuggled), "POST", "/", smuggled));
    all.push(passed("RFC 9110 §9.3.1", get(&length) + smuggled, "GET", "/", smuggled));
    let last = Expect::Last("GET", "/", Vec::new());
    all.push(case("RFC 9112 §9.3", "GET / HTTP/1.0\r\nHost: example.org\r\n\r\n", last.clone()));
    all.push(case("RFC 9112 §9.6", get("Connection: close\r\n"), last));
    all
}

#[test]
fn framing() {
    judge(&cases());
}
