//! Upgrades (RFC 9110 §7.8): what reaches the app, and how an app that ignores an upgrade could
//! harm other clients.

use std::sync::{Arc, Mutex};

use crate::harness::origin::{Request, chunk};
use crate::harness::{Cache, Client, Gate, Origin, Reply, WEBSOCKET};
use crate::hostile::tap::Tap;

/// A request hidden in another request's content, as an app would read it: for a host that is not
/// the client's, and with a response that may be stored.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: other.example\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";

/// Starts an app that takes the content of a request with Upgrade for the next request, as some
/// servers do that ignore such a request's body. Each page names its own path. `served` is called
/// with each request.
fn deceived(served: impl Fn(&Request) + Send + Sync + 'static) -> Origin {
    Origin::at_heads(move |request| {
        served(request);
        let reply = Reply::fresh(request.target());
        let length = request.header("content-length").and_then(|length| length.parse().ok());
        let is_chunked = request.header("transfer-encoding").is_some();
        match request.header("upgrade") {
            Some(_) => reply,
            None if is_chunked => reply.first(|peer| {
                while !peer.chunk()?.is_empty() {}
                Ok(())
            }),
            None => reply.first(move |peer| peer.exactly(length.unwrap_or(0)).map(drop)),
        }
    })
}

/// The framing of a request's content.
#[derive(Clone, Copy, Debug)]
enum Framing {
    Length,
    Chunked,
}

/// Sends a request with `Upgrade` and content whose end waits for `late`, and reads the response.
fn front(client: &mut Client, method: &str, upgrade: &str, framing: Framing, late: Option<&Gate>) {
    let mut head =
        format!("{method} /front HTTP/1.1\r\nHost: example.org\r\nConnection: upgrade\r\nUpgrade: {upgrade}\r\n");
    for (name, value) in &WEBSOCKET[2..] {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let content = match framing {
        Framing::Length => {
            head.push_str(&format!("Content-Length: {}\r\n\r\n", HIDDEN.len()));
            HIDDEN.as_bytes().to_vec()
        }
        Framing::Chunked => {
            head.push_str("Transfer-Encoding: chunked\r\n\r\n");
            [chunk(HIDDEN.as_bytes()), b"0\r\n\r\n".to_vec()].concat()
        }
    };
    client.send(head);
    if let Some(late) = late {
        late.wait();
    }
    client.send(content);
    client.response().check(200, "/front", "fwd-status=200");
}

#[test]
fn rfc9110_s7_8_content_never_goes_out_with_an_upgrade() {
    for upgrade in ["foo", "websocket", "h2c"] {
        for (method, framing, is_late) in [
            ("POST", Framing::Length, false),
            ("POST", Framing::Length, true),
            ("POST", Framing::Chunked, false),
            ("POST", Framing::Chunked, true),
            ("GET", Framing::Length, true),
            ("GET", Framing::Chunked, true),
        ] {
            let what = format!("{method} {upgrade} {framing:?} {is_late}");
            let fronts = Gate::new();
            let origin = {
                let fronts = fronts.clone();
                // The rest of the content is sent once the app has the head.
                deceived(move |request| {
                    if request.target() == "/front" {
                        fronts.open()
                    }
                })
            };
            let cache = Cache::start(&origin);
            for nth in 0..5 {
                front(&mut cache.client(), method, upgrade, framing, is_late.then_some(&fronts));
                assert_eq!(origin.last().header("upgrade"), None, "{what}");
                let own = format!("/own/{nth}");
                cache.get(&own).check(200, &own, "stored");
                cache.get(&own).check(200, &own, "hit");
            }
            assert!(!origin.targets().contains(&"/hidden".to_owned()), "{what}");
        }
    }
}

/// Starts an app that leaves the content of a request unread, and so takes it for the next request.
fn inattentive() -> Origin {
    Origin::at_heads(|request| Reply::fresh(request.target()))
}

#[test]
fn rfc9110_s9_3_1_a_connection_that_got_content_without_meaning_is_not_used_again() {
    // The second one waits for the next request's line, to end up in a field of its own.
    for hidden in [HIDDEN, "GET /hidden HTTP/1.1\r\nHost: other.example\r\nX: "] {
        for method in ["GET", "HEAD", "DELETE", "OPTIONS", "REPORT"] {
            let origin = inattentive();
            let cache = Cache::with(&origin, |setup| setup.config.workers = 1);
            for nth in 0..5 {
                let front = cache.request(method, &format!("/front/{nth}"), &[], hidden.as_bytes());
                assert_eq!(front.status(), 200, "{method}");
                let own = format!("/own/{nth}");
                cache.get(&own).check(200, &own, "stored");
                cache.get(&own).check(200, &own, "hit");
            }
        }
    }
}

#[test]
fn rfc9110_s7_8_only_listed_protocols_are_forwarded() {
    let check = |upgrades: &[&str], lines: &str, expected: Option<&str>| {
        let tap = Tap::start();
        let cache = tap.cache_with(|setup| {
            setup.config.proxy.upgrades = upgrades.iter().map(|name| (*name).to_owned()).collect();
        });
        let mut client = cache.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: example.org\r\n{lines}\r\n"));
        assert_eq!(client.response().status(), 200, "{lines}");
        let sent = String::from_utf8(tap.take(true).unwrap().raw).unwrap().to_lowercase();
        let upgrade = sent.lines().find_map(|line| line.strip_prefix("upgrade: "));
        assert_eq!(upgrade, expected, "{lines}: {sent}");
        assert_eq!(sent.contains("connection: upgrade"), expected.is_some(), "{lines}: {sent}");
        assert!(!sent.contains("http2-settings"), "{sent}");
    };
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
    let websocket = format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{key}");
    check(&["websocket"], &websocket, Some("websocket"));
    check(&["websocket"], &websocket.replace("websocket", "h2c, websocket, foo"), Some("websocket"));
    check(&["websocket"], &websocket.replace("Version: 13", "Version: 12"), None);
    check(&["websocket"], "Connection: Upgrade\r\nUpgrade: websocket\r\n", None);
    check(&["websocket"], "Connection: Upgrade\r\nUpgrade: foo\r\n", None);
    check(&["websocket", "foo"], "Connection: Upgrade\r\nUpgrade: foo\r\n", Some("foo"));
    check(&[], &websocket, None);
    let settings = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    check(&["websocket"], settings, None);
}

#[test]
fn rfc9110_s7_8_a_request_whose_upgrade_is_dropped_is_an_ordinary_one() {
    let origin = Origin::start(|_| Reply::fresh("page"));
    let cache = Cache::start(&origin);
    let switch = [("Connection", "Upgrade"), ("Upgrade", "foo")];
    cache.get_with("/", &switch).check(200, "page", "stored");
    cache.get_with("/", &switch).check(200, "page", "hit");
    cache.get("/").check(200, "page", "hit");
}

#[test]
fn rfc9110_s7_8_a_connection_on_which_an_upgrade_was_sent_is_not_used_again() {
    let ports = Arc::<Mutex<Vec<(String, u16)>>>::default();
    let origin = {
        let ports = Arc::clone(&ports);
        Origin::at_heads(move |request| {
            let (ports, target) = (Arc::clone(&ports), request.target());
            Reply::ok().header("Cache-Control", "no-store").body("page").first(move |peer| {
                ports.lock().unwrap().push((target.clone(), peer.port()));
                Ok(())
            })
        })
    };
    // One worker has one pool.
    let cache = Cache::with(&origin, |setup| setup.config.workers = 1);
    cache.get("/first").check(200, "page", "fwd-status=200");
    cache.get("/second").check(200, "page", "fwd-status=200");
    cache.get_with("/ignored", &WEBSOCKET).check(200, "page", "detail=upgrade");
    cache.get("/third").check(200, "page", "fwd-status=200");
    let ports = ports.lock().unwrap().clone();
    assert_eq!(ports[0].1, ports[1].1, "the pool works: {ports:?}");
    assert_eq!(ports[1].1, ports[2].1, "the pool works: {ports:?}");
    assert_ne!(ports[2].1, ports[3].1, "{ports:?}");
}

#[test]
fn unsolicited_bytes_of_an_app_answer_no_request() {
    let hidden = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\nhidden";
    for nth in 0..10 {
        let sent = Gate::new();
        let origin = {
            let sent = sent.clone();
            Origin::at_heads(move |request| {
                let (reply, sent) = (Reply::fresh(request.target()), sent.clone());
                match request.target().as_str() {
                    // After the response, on a connection that is idle by then.
                    "/first" => reply.then(move |peer| {
                        peer.send(hidden.as_bytes())?;
                        sent.open();
                        Ok(())
                    }),
                    _ => reply,
                }
            })
        };
        let cache = Cache::with(&origin, |setup| setup.config.workers = 1);
        let mut client = cache.client();
        client.get("/first").check(200, "/first", "fwd-status=200");
        sent.wait();
        client.get("/second").check(200, "/second", "fwd-status=200");
        assert_eq!(origin.targets(), ["/first", "/second"], "{nth}");
    }
}
