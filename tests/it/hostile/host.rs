//! The requested site: Host, and the authority of an absolute form.

use super::{Case, bad, judge, passed};

fn with(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(bad(
        "RFC 9112 §3.2",
        [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nX-Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n Host: b\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: b\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost\t: a\r\nHost: b\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\n\r\n",
        ],
    ));
    all.extend(bad(
        "RFC 9110 §7.2",
        [
            "",
            " ",
            ":80",
            "a b",
            "a/b",
            "a/",
            "/a",
            "a?b",
            "a#b",
            "a\\b",
            "user@a",
            "user:secret@a",
            "@a",
            "a@",
            "a,b",
            "a, b",
            "a;b",
            "a%2eb",
            "a%00b",
            "a..b",
            ".a",
            "a:b",
            "a:0",
            "a:65536",
            "a:99999999",
            "a:-1",
            "a:+80",
            "a:80:80",
            "a: 80",
            "http://a",
            "[]",
            "[::1",
            "::1",
            "[::1]a",
            "[::g]",
            "[::1%eth0]",
            "a\u{e9}",
            "a<b>",
            "a\"b",
            "a'b",
            "a`b",
            "a|b",
            "a{b}",
            "a(b)",
            "a$b",
            "a!b",
            "a&b",
            "a=b",
            "a*",
            "*",
        ]
        .map(with),
    ));
    let long = "a".repeat(256);
    all.extend(bad("RFC 1035 §2.3.4, RFC 9110 §7.2", [with(&long)]));
    all.extend(bad(
        "RFC 9112 §3.2.2",
        [
            "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a:81\r\n\r\n",
            "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost:\r\n\r\n",
            "GET http://a.b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "GET http://user@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a@b/ HTTP/1.1\r\nHost: b\r\n\r\n",
            "GET http://a:80@b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://a\\b/ HTTP/1.1\r\nHost: a\\b\r\n\r\n",
            "GET http://a HTTP/1.1\r\nHost: a/\r\n\r\n",
        ],
    ));
    for host in [
        "a",
        "A.example",
        "a:80",
        "a:",
        "a:8080",
        "a_b",
        "a-b.",
        "127.0.0.1",
        "[::1]",
        "[::1]:81",
        "xn--caf-dma.example",
    ] {
        all.push(passed("RFC 9110 §7.2", with(host), "GET", "/", ""));
    }
    for request in [
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://A:80/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP://a HTTP/1.1\r\nHost: A\r\n\r\n",
        "GET http://a:81/ HTTP/1.1\r\nHost: a:81\r\n\r\n",
    ] {
        all.push(passed("RFC 9112 §3.2.2", request, "GET", "/", ""));
    }
    all
}

#[test]
fn host() {
    judge(&cases());
}
