//! Connection-listed and other hop-by-hop fields, in both directions (RFC 9110 §7.6.1).

use super::tap::Tap;
use super::{Got, exchange, get};

/// Field lines of a client, and the field that the origin must not receive.
const GONE: &[(&str, &str)] = &[
    ("Connection: X-Secret\r\nX-Secret: told\r\n", "x-secret"),
    ("Connection: x-SECRET\r\nX-Secret: told\r\n", "x-secret"),
    ("Connection: close, X-Secret\r\nX-Secret: told\r\n", "x-secret"),
    ("Connection: X-A,X-Secret ,\r\nX-Secret: told\r\n", "x-secret"),
    ("Connection: X-A\r\nConnection: X-Secret\r\nX-Secret: told\r\n", "x-secret"),
    ("X-Secret: one\r\nConnection: X-Secret\r\nX-Secret: two\r\n", "x-secret"),
    ("Connection: ,, X-Secret\r\nX-Secret: told\r\n", "x-secret"),
    ("Keep-Alive: timeout=5\r\n", "keep-alive"),
    ("Proxy-Connection: keep-alive\r\n", "proxy-connection"),
    ("Proxy-Authorization: Basic told\r\n", "proxy-authorization"),
    ("Proxy-Authenticate: told\r\n", "proxy-authenticate"),
    ("TE: trailers\r\nConnection: TE\r\n", "te"),
    ("TE: gzip\r\n", "te"),
    ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: told\r\n", "upgrade"),
    ("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: told\r\n", "http2-settings"),
    ("Upgrade: websocket\r\n", "upgrade"),
    ("Connection: keep-alive\r\nConnection: X-Secret\r\nX-Secret: told\r\n", "x-secret"),
];

/// Field lines that list a field which the origin needs (RFC 9110 §7.6.1 forbids listing such
/// fields), and the field that the origin must receive nevertheless.
const KEPT: &[(&str, &str)] = &[
    ("Connection: Cookie\r\nCookie: a=b\r\n", "cookie"),
    ("Connection: Host\r\n", "host"),
    ("Connection: Authorization\r\nAuthorization: Basic x\r\n", "authorization"),
    ("Connection: Cache-Control\r\nCache-Control: no-cache\r\n", "cache-control"),
    ("Connection: X-Forwarded-For\r\n", "x-forwarded-for"),
    ("Connection: X-Forwarded-Proto\r\n", "x-forwarded-proto"),
    ("Connection: Forwarded\r\n", "forwarded"),
    ("Connection: Via\r\n", "via"),
    ("Connection: Range\r\nRange: bytes=0-1\r\nCache-Control: no-store\r\n", "range"),
    ("Connection: Origin\r\nOrigin: http://a\r\n", "origin"),
    ("Connection: Accept-Language\r\nAccept-Language: en\r\n", "accept-language"),
];

/// Field lines of an origin's response, and the field that neither this client nor a later one may
/// receive.
const NOT_BACK: &[(&str, &str)] = &[
    ("Connection: X-Secret\r\nX-Secret: told\r\n", "x-secret"),
    ("Connection: keep-alive, x-secret\r\nX-Secret: told\r\n", "x-secret"),
    ("Connection: X-A\r\nConnection: X-Secret\r\nX-Secret: told\r\n", "x-secret"),
    ("Keep-Alive: timeout=5\r\n", "keep-alive"),
    ("Proxy-Authenticate: Basic\r\n", "proxy-authenticate"),
    ("Proxy-Authentication-Info: x\r\n", "proxy-authentication-info"),
    ("Proxy-Connection: keep-alive\r\n", "proxy-connection"),
    ("Upgrade: h2c\r\n", "upgrade"),
    ("TE: trailers\r\n", "te"),
];

pub(crate) fn count() -> usize {
    GONE.len() + KEPT.len() + NOT_BACK.len()
}

#[test]
fn hop_by_hop_fields_end_here_and_no_others_do() {
    let tap = Tap::start();
    let cache = tap.cache();
    let mut wrong = Vec::new();
    for (cases, is_kept) in [(GONE, false), (KEPT, true)] {
        for (lines, name) in cases {
            let sentinel = "GET /s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
            exchange(cache.addr(), (get(lines) + sentinel).as_bytes());
            let seen = tap.take(false).unwrap();
            // A request that lists `close` is the last on its connection.
            let first = seen.whole.first().expect("the request is forwarded");
            if first.values(name).is_empty() == is_kept {
                wrong.push(format!("{lines:?}: {name} {:?}", first.fields));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn fields_listed_by_a_response_are_neither_forwarded_nor_stored() {
    let tap = Tap::with(|message| {
        let at: usize = message.target.trim_start_matches('/').parse().unwrap();
        let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n";
        format!("{head}{}\r\nok", NOT_BACK[at].0).into_bytes()
    });
    let cache = tap.cache();
    for (at, (lines, name)) in NOT_BACK.iter().enumerate() {
        for round in ["miss", "hit"] {
            let asked = format!("GET /{at} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let got: Vec<Got> = exchange(cache.addr(), asked.as_bytes());
            assert_eq!(got.len(), 1, "{lines:?}");
            assert!(got[0].values(name).is_empty(), "{round}: {lines:?} {}", got[0].head);
            cache.settle();
        }
        assert_eq!(tap.take(false).unwrap().whole.len(), 1, "{lines:?}");
    }
}
