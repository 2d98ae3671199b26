//! Chunked content: sizes, line ends, extensions, trailers.

use super::{Case, Expect, case, judge, passed, post};

fn chunked(chunks: impl AsRef<str>) -> String {
    post("Transfer-Encoding: chunked\r\n", chunks.as_ref())
}

fn broken<S: AsRef<str>>(section: &'static str, all: impl IntoIterator<Item = S>) -> Vec<Case> {
    all.into_iter().map(|chunks| case(section, chunked(chunks), Expect::Broken)).collect()
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(broken(
        "RFC 9112 §7.1",
        [
            "\r\n",
            "x\r\n",
            "g\r\na\r\n",
            "-1\r\na\r\n0\r\n\r\n",
            "+1\r\na\r\n0\r\n\r\n",
            "0x1\r\na\r\n0\r\n\r\n",
            "0X1\r\na\r\n0\r\n\r\n",
            " 1\r\na\r\n0\r\n\r\n",
            "\t1\r\na\r\n0\r\n\r\n",
            "1 \r\na\r\n0\r\n\r\n",
            "1\t\r\na\r\n0\r\n\r\n",
            "1_0\r\na\r\n0\r\n\r\n",
            "1.0\r\na\r\n0\r\n\r\n",
            "1,1\r\na\r\n0\r\n\r\n",
            "8000000000000000\r\na\r\n",
            "ffffffffffffffff\r\na\r\n",
            "10000000000000001\r\na\r\n",
            "00000000000000001\r\na\r\n0\r\n\r\n",
            "fffffffffffffffff\r\na\r\n",
            "1\0\r\na\r\n0\r\n\r\n",
            "\u{661}\r\na\r\n0\r\n\r\n",
            "\"1\"\r\na\r\n0\r\n\r\n",
            "h\r\n",
        ],
    ));
    all.extend(broken(
        "RFC 9112 §7.1",
        [
            "1\na\r\n0\r\n\r\n",
            "1\r\na\n0\r\n\r\n",
            "1\r\na\r0\r\n\r\n",
            "1\r\na0\r\n\r\n",
            "1\r\nab\r\n0\r\n\r\n",
            "2\r\na\r\n0\r\n\r\n",
            "1\r\na\r\n0\n\n",
            "1\r\na\r\n0\r\n\n",
            "1\r\na\r\n0\n\r\n",
            "1\r\r\na\r\n0\r\n\r\n",
            "1\ra\r\n0\r\n\r\n",
            "1\r\na\r\r\n0\r\n\r\n",
            "1\r\na\r\n\r\n0\r\n\r\n",
            "0\rX\r\n\r\n",
            "0\r\r\n\r\n",
            "0\r\n\r\r\n",
            "1\u{b}\r\na\r\n0\r\n\r\n",
        ],
    ));
    let overlong = format!("1;{}\r\na\r\n0\r\n\r\n", "a".repeat(300));
    let endless = format!("1;{}", "a".repeat(300));
    let flood = format!("1;{}\r\na\r\n", "a".repeat(200)).repeat(30) + "0\r\n\r\n";
    all.extend(broken(
        "RFC 9112 §7.1.1",
        [
            "1;\r\na\r\n0\r\n\r\n",
            "1;;a\r\na\r\n0\r\n\r\n",
            "1;a=\r\na\r\n0\r\n\r\n",
            "1 ;a\r\na\r\n0\r\n\r\n",
            "1; a\r\na\r\n0\r\n\r\n",
            "1;a\nb\r\na\r\n0\r\n\r\n",
            "1;a\rb\r\na\r\n0\r\n\r\n",
            "1;a=\"b\r\na\r\n0\r\n\r\n",
            "1;a=\"b\"c\r\na\r\n0\r\n\r\n",
            "1;a=\0\r\na\r\n0\r\n\r\n",
            "1;a=\"\u{1}\"\r\na\r\n0\r\n\r\n",
            "1;\n\r\na\r\n0\r\n\r\n",
            "0;\n\r\n\r\n",
            "1;(a)\r\na\r\n0\r\n\r\n",
            &overlong,
            &endless,
            &flood,
        ],
    ));
    all.extend(broken(
        "RFC 9110 §6.5.1",
        [
            "Host: evil.example",
            "Content-Length: 5",
            "Transfer-Encoding: chunked",
            "Trailer: X",
            "Connection: close",
            "Authorization: Basic x",
            "Cookie: a=b",
            "Set-Cookie: a=b",
            "X-Forwarded-For: 1.2.3.4",
            "X-Forwarded-Host: evil.example",
            "X-Original-URL: /admin",
            "X-HTTP-Method-Override: DELETE",
            "Cache-Control: no-store",
            "Content-Type: a/b",
            "Content-Encoding: gzip",
            "Range: bytes=0-1",
            "If-None-Match: *",
            "Expect: 100-continue",
            "TE: trailers",
            "Upgrade: h2c",
            "Proxy-Authorization: x",
            "Max-Forwards: 0",
            "Via: 1.1 x",
            "Forwarded: for=1.2.3.4",
            "hOsT: evil.example",
            "Client-IP: 1.2.3.4",
            "True-Client-IP: 1.2.3.4",
            "CF-Connecting-IP: 1.2.3.4",
            "X-Real-IP: 1.2.3.4",
            "X-Client-IP: 1.2.3.4",
            "X-Cluster-Client-IP: 1.2.3.4",
            "X-Scheme: https",
            "X-Envoy-Original-Path: /admin",
            "X-Middleware-Subrequest: middleware",
            "Front-End-Https: on",
            "Request-URI: /admin",
            "Proxy: http://evil.example",
            "Content_Length: 5",
            "Transfer_Encoding: chunked",
            "X_Forwarded_Host: evil.example",
            "X-Forwarded_Host: evil.example",
            "X_Original_URL: /admin",
            "If_None_Match: *",
        ]
        .map(|trailer| format!("1\r\na\r\n0\r\n{trailer}\r\n\r\n")),
    ));
    let large = format!("0\r\nX-T: {}\r\n\r\n", "a".repeat(9_000));
    let many = format!("0\r\n{}\r\n", "X-T: a\r\n".repeat(101));
    all.extend(broken(
        "RFC 9112 §7.1.2",
        [
            "0\r\nX-T\r\n\r\n",
            "0\r\nX-T : a\r\n\r\n",
            "0\r\nX\": a\r\n\r\n",
            "0\r\n X-T: a\r\n\r\n",
            "0\r\nX-T: a\r\n b\r\n\r\n",
            "0\r\nX-T: a\0\r\n\r\n",
            "0\r\nX-T: a\n\r\n",
            "0\r\nX-T: a\rb\r\n\r\n",
            "0\r\n: a\r\n\r\n",
            "0\r\nGET / HTTP/1.1\r\n\r\n",
            &large,
            &many,
        ],
    ));
    for (chunks, content) in [
        ("0\r\n\r\n", ""),
        ("1\r\na\r\n0\r\n\r\n", "a"),
        ("A\r\n0123456789\r\n000\r\n\r\n", "0123456789"),
        ("0000000001\r\na\r\n0\r\n\r\n", "a"),
        ("1\r\na\r\n2\r\n\r\n\r\n0\r\n\r\n", "a\r\n"),
        ("1;a\r\na\r\n0\r\n\r\n", "a"),
        ("1;a=b;c=\"d;\\\"\"\r\na\r\n0;z\r\n\r\n", "a"),
        ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n"),
        ("0\r\nX-T: a\r\n\r\n", ""),
        ("1\r\na\r\n0\r\nX-T: a\r\nX-T2: b\r\n\r\n", "a"),
    ] {
        all.push(passed("RFC 9112 §7.1", chunked(chunks), "POST", "/", content));
    }
    all
}

#[test]
fn chunks() {
    judge(&cases());
}
