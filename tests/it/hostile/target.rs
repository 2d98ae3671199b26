//! The request line, and targets of all four forms.

use super::{Case, Expect, bad, case, judge, passed, refused};

fn line(line: &str) -> String {
    format!("{line}\r\nHost: example.org\r\n\r\n")
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(bad(
        "RFC 9112 §3",
        [
            "GET  / HTTP/1.1",
            "GET /  HTTP/1.1",
            "GET\t/ HTTP/1.1",
            "GET /\tHTTP/1.1",
            " GET / HTTP/1.1",
            "\tGET / HTTP/1.1",
            "GET / HTTP/1.1 ",
            "GET / HTTP/1.1\t",
            "GET / a HTTP/1.1",
            "GET /a b HTTP/1.1",
            "GET /\u{b}HTTP/1.1",
            "GET /\u{c}HTTP/1.1",
            "GET / HTTP/1.1 X",
            "GET/ HTTP/1.1",
            "GET / HTTP/1.1 HTTP/1.1",
            "/ HTTP/1.1",
            "HTTP/1.1 200 OK",
            "GET",
            "GET\u{a0}/ HTTP/1.1",
        ]
        .map(line),
    ));
    // HTTP/0.9, and lines that look like it.
    all.extend(bad(
        "RFC 9112 §2.3",
        ["GET /\r\n", "GET /\r\n\r\n", "GET / \r\n\r\n", "GET / HTTP\r\n\r\n", "GET\r\n\r\n"],
    ));
    all.extend(bad(
        "RFC 9112 §2.3",
        [
            "GET / HTTP/1",
            "GET / HTTP/1.",
            "GET / HTTP/.1",
            "GET / HTTP/11",
            "GET / HTTP/1.11",
            "GET / HTTP/01.1",
            "GET / HTTP/1.1.1",
            "GET / HTTP/1,1",
            "GET / http/1.1",
            "GET / Http/1.1",
            "GET / HTTP /1.1",
            "GET / HTTP/ 1.1",
            "GET / HTTP/-1.1",
            "GET / HTTP/+1.1",
            "GET / HTTP/1.1a",
            "GET / HTTPS/1.1",
            "GET / ICY/1.1",
            "GET / HTTP\\1.1",
            "GET / HTTP/x.y",
            "GET / HTTP/1.\u{661}",
        ]
        .map(line),
    ));
    all.extend(refused(
        "RFC 9110 §15.6.6",
        &[505],
        [
            "GET / HTTP/0.9",
            "GET / HTTP/1.2",
            "GET / HTTP/1.9",
            "GET / HTTP/2.0",
            "GET / HTTP/3.0",
            "GET / HTTP/9.9",
            "PRI * HTTP/2.1",
        ]
        .map(line),
    ));
    all.extend(bad(
        "RFC 9112 §3.2",
        [
            "a",
            "a/b",
            "index.html",
            "?a",
            "example.org",
            "example.org:80",
            "example.org/",
            "\\a",
            "#",
            "/#",
            "/a#b",
            "/a?b#c",
            "http://example.org/#a",
            "../a",
            ".",
            "%2f",
            ";a",
            "@",
            "ftp://example.org/",
            "file:///etc/passwd",
            "http:/example.org/",
            "http:example.org",
            "https//a",
            "javascript:a",
            "ws://example.org/",
            "/a<b",
            "/a>b",
            "/a`b",
            "/a?<b>",
            "/?>",
            "/?\"",
            "*",
            "*/",
            "**",
        ]
        .map(|target| line(&format!("GET {target} HTTP/1.1"))),
    ));
    all.extend(bad(
        "RFC 9112 §3.2",
        [&b"/\0"[..], b"/\x01", b"/a\x7f", b"/\xff", b"/caf\xe9", b"/\xc3", b"/\x1b[0m", b"/\xed\xa0\x80"]
            .map(|target| [b"GET ", target, b" HTTP/1.1\r\nHost: example.org\r\n\r\n"].concat()),
    ));
    all.extend(bad(
        "RFC 9112 §3.2.4",
        ["POST * HTTP/1.1", "HEAD * HTTP/1.1", "OPTIONS ** HTTP/1.1", "options * HTTP/1.1"].map(line),
    ));
    // The origin receives the canonical form, whatever the client wrote.
    for (target, canonical) in [
        ("/", "/"),
        ("/a/../b", "/b"),
        ("/a/%2e%2e/b", "/b"),
        ("/a/..%2fb", "/a/..%2Fb"),
        ("/%61", "/a"),
        ("//a", "//a"),
        ("/a//b", "/a//b"),
        ("/a\\..\\b", "/a%5C..%5Cb"),
        ("/%00", "/%00"),
        ("/a;b", "/a;b"),
        ("/../../a", "/a"),
        ("/a%0d%0aX:%20y", "/a%0D%0AX:%20y"),
        ("/a?b=/../c", "/a?b=/../c"),
        ("/?", "/?"),
        ("/a\"{|}^?`{|}^", "/a%22%7B%7C%7D%5E?%60%7B%7C%7D%5E"),
        ("/100%", "/100%25"),
        ("/%zz", "/%25zz"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("http://example.org?a", "/?a"),
        ("http://example.org/a/../b", "/b"),
        ("https://example.org/s", "/s"),
    ] {
        all.push(passed(
            "RFC 9110 §4.2.3, RFC 3986 §6.2.2",
            line(&format!("GET {target} HTTP/1.1")),
            "GET",
            canonical,
            "",
        ));
    }
    all.push(case("RFC 9112 §3.2.4", line("OPTIONS * HTTP/1.1"), Expect::Answered(200)));
    all
}

#[test]
fn target() {
    judge(&cases());
}
