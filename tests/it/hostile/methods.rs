//! Methods: any token, case-sensitive, except for two that no reverse proxy serves.

use super::{Case, Expect, bad, case, judge, passed, refused};

fn of(method: &str) -> String {
    format!("{method} /m HTTP/1.1\r\nHost: example.org\r\n\r\n")
}

pub(crate) fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    all.extend(bad(
        "RFC 9110 §9.1",
        [
            "GE(T", "G@T", "GET:", "G\u{e9}T", "\"GET\"", "G,T", "GET;", "G/T", "[GET]", "G=T", "G?T", "G\\T", "{GET}",
            "<GET>", "G\0T", "G\u{7f}T", "",
        ]
        .map(of),
    ));
    all.extend(refused(
        "RFC 9110 §9.3.6",
        &[501],
        [
            "CONNECT example.org:80 HTTP/1.1\r\nHost: example.org:80\r\n\r\n",
            "CONNECT example.org HTTP/1.1\r\nHost: example.org\r\n\r\n",
            "CONNECT / HTTP/1.1\r\nHost: example.org\r\n\r\n",
            "CONNECT http://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n",
            "CONNECT * HTTP/1.1\r\nHost: example.org\r\n\r\n",
            "CONNECT example.org:80 HTTP/1.0\r\n\r\n",
        ],
    ));
    all.push(case("RFC 9110 §9.3.8", of("TRACE"), Expect::Answered(501)));
    all.push(case(
        "RFC 9110 §9.3.8",
        "TRACE /m HTTP/1.1\r\nHost: a\r\nCookie: secret\r\nMax-Forwards: 0\r\n\r\n",
        Expect::Answered(501),
    ));
    // A PURGE that was meant for a cache reaches none behind this one.
    all.push(case("RFC 9110 §15.5.6", of("PURGE"), Expect::Answered(405)));
    for method in [
        "GET",
        "HEAD",
        "POST",
        "PUT",
        "DELETE",
        "OPTIONS",
        "PATCH",
        "PROPFIND",
        "M-SEARCH",
        "get",
        "Get",
        "connect",
        "purge",
        "trace",
        "!#$%&'*+-.^_`|~",
    ] {
        // A HEAD of something that is not stored is fetched as a GET.
        let asked = if method == "HEAD" { "GET" } else { method };
        all.push(passed("RFC 9110 §9.1", of(method), asked, "/m", ""));
    }
    all
}

#[test]
fn methods() {
    judge(&cases());
}
