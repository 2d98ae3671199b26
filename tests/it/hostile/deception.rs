//! Cache deception and related attacks: the response's fields decide whether it is stored, never
//! the look of the path (RFC 9111 §3), and malformed requests do not poison a page.

use super::reference::Message;
use super::tap::Tap;
use super::{Got, exchange};

/// Paths that disguise a victim's page as a static file.
const PATHS: &[&str] = &[
    "/account",
    "/account/x.css",
    "/account/x.js",
    "/account/nothing.png",
    "/account;x.css",
    "/account%3bx.css",
    "/account%2fx.css",
    "/account%2Fx.css",
    "/account%00.css",
    "/account%0a.css",
    "/account%23x.css",
    "/account%3fx.css",
    "/account/..%2fx.css",
    "/static/..%2faccount",
    "/static/%2e%2e/account",
    "/static/../account",
    "/static/..;/account",
    "/account/.css",
    "/account.css",
    "/account?x.css",
    "/account?.css",
    "/account/?/x.css",
    "/account//x.css",
    "/account%5cx.css",
    "/account\\x.css",
    "/ACCOUNT/x.ico",
    "/account/robots.txt",
    "/account/favicon.ico",
    "/account/index.html",
    "/account%25%32%66x.css",
    "/account~x.woff2",
];

/// Fields of a page for one user (RFC 9111 §3, §3.5, §5.2.2, §7.3), and the credentials of its
/// request.
const RESPONSES: &[(&str, &str)] = &[
    ("Cache-Control: private", "Cookie: id=1"),
    ("Cache-Control: no-store", "Cookie: id=1"),
    ("Cache-Control: private, max-age=60", "Cookie: id=1"),
    ("Set-Cookie: id=1", "Cookie: id=1"),
    ("Vary: *", "Cookie: id=1"),
    ("Vary: Cookie\r\nCache-Control: max-age=60", "Cookie: id=1"),
    ("Cache-Control: max-age=60", "Authorization: Basic dXNlcg=="),
    ("Content-Type: text/css", "Cookie: id=1"),
];

/// Unusual requests whose error must not reach other clients (RFC 9111 §4, §7.1).
const UNUSUAL: &[&str] = &[
    "X-Bad: a\r\n",
    "X-HTTP-Method-Override: POST\r\n",
    "Content-Length: 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Range: bytes=9-1\r\n",
    "Range: cow\r\n",
    "Expect: 100-continue\r\n",
    "If-Match: \"x\"\r\n",
    "Accept: nothing/here\r\n",
    "X-Forwarded-Proto: nothttps\r\n",
];

pub(crate) fn count() -> usize {
    PATHS.len() + RESPONSES.len() + UNUSUAL.len()
}

fn ask(cache: &crate::harness::Cache, target: &str, lines: &str) -> Got {
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}Connection: close\r\n\r\n");
    let mut got = exchange(cache.addr(), request.as_bytes());
    cache.settle();
    got.pop().expect("there is a response")
}

fn whose(message: &Message) -> String {
    let own = |name| message.values(name).first().map(|value| String::from_utf8_lossy(value).into_owned());
    own("cookie").or(own("authorization")).unwrap_or_else(|| "nobody".to_owned())
}

fn page(fields: &str, message: &Message) -> Vec<u8> {
    let text = format!("the page of {}", whose(message));
    format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

#[test]
fn rfc9111_s3_a_path_that_looks_static_makes_nothing_public() {
    for (fields, credentials) in RESPONSES {
        let tap = Tap::with(move |message| page(fields, message));
        let cache = tap.cache();
        for path in PATHS {
            let victim = ask(&cache, path, &format!("{credentials}\r\n"));
            assert_eq!(victim.status, 200, "{path}");
            let stranger = ask(&cache, path, "");
            assert_eq!(String::from_utf8_lossy(&stranger.body), "the page of nobody", "{fields:?} {path}");
        }
    }
}

#[test]
fn rfc9111_s4_an_error_for_an_unusual_request_reaches_nobody_else() {
    let tap = Tap::with(|message| {
        let plain =
            ["host", "via", "forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "accept-encoding"];
        let is_unusual =
            message.fields.iter().any(|(name, _)| !plain.contains(&&name[..])) || !message.content.is_empty();
        match is_unusual {
            true => b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nodd".to_vec(),
            false => b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\nfine".to_vec(),
        }
    });
    let cache = tap.cache();
    for (at, lines) in UNUSUAL.iter().enumerate() {
        let target = format!("/odd/{at}");
        let content = match () {
            () if lines.starts_with("Content-Length") => "abc",
            () if lines.starts_with("Transfer-Encoding") => "3\r\nabc\r\n0\r\n\r\n",
            () => "",
        };
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n{lines}Connection: close\r\n\r\n{content}");
        exchange(cache.addr(), request.as_bytes());
        cache.settle();
        for _ in 0..2 {
            let got = ask(&cache, &target, "");
            assert_eq!((got.status, &got.body[..]), (200, &b"fine"[..]), "{lines:?}");
        }
    }
}
