//! Limits on size: targets, fields, their number, content.

use super::{Case, Expect, case, get, judge, passed, post, refused};

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let target = |length: usize| format!("GET /{} HTTP/1.1\r\nHost: example.org\r\n\r\n", "a".repeat(length));
    all.extend(refused(
        "RFC 9110 §15.5.15",
        &[414],
        [
            target(33_000),
            target(70_000),
            format!("GET /{}", "a".repeat(40_000)),
            format!("GET /?{} HTTP/1.1\r\n", "a=b&".repeat(10_000)),
            "a".repeat(40_000),
            format!("GET http://example.org/{} HTTP/1.1\r\n", "a".repeat(33_000)),
        ],
    ));
    all.extend(refused(
        "RFC 6585 §5, RFC 9110 §5.4",
        &[431],
        [
            get(&format!("X: {}\r\n", "a".repeat(33_000))),
            get(&format!("{}: a\r\n", "X".repeat(33_000))),
            get(&"X: a\r\n".repeat(100)),
            get(&"X: a\r\n".repeat(5_000)),
            get(&(0..1_000).map(|at| format!("X-{at}: {at}\r\n")).collect::<String>()),
            get(&format!("Cookie: {}\r\n", "a=b; ".repeat(7_000))),
            get(&format!("Host: {}\r\n", "a".repeat(33_000))),
            format!("GET / HTTP/1.1\r\nHost: example.org\r\nX: {}", "a".repeat(40_000)),
        ],
    ));
    let flood: String = (0..90).map(|at| format!("X-{at}: {at}\r\n")).collect();
    all.push(passed("RFC 9110 §5.4", get(&flood), "GET", "/", ""));
    all.push(passed(
        "RFC 9112 §3",
        target(8_000),
        "GET",
        Box::leak(format!("/{}", "a".repeat(8_000)).into_boxed_str()),
        "",
    ));
    // The largest content is announced before any of it arrives. Announced content is not read.
    for length in ["1048577", "9223372036854775807"] {
        let announced = format!("Content-Length: {length}\r\n");
        all.push(case("RFC 9110 §15.5.14", post(&announced, ""), Expect::Unread(413)));
    }
    all
}

#[test]
fn sizes() {
    judge(&cases());
}
