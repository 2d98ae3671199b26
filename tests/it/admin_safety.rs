//! The admin side under attack. Hostile requests are refused and change nothing, a flood of
//! connections stays bounded and delays nobody, and no request on the proxy's port reaches the
//! admin side.

use std::time::Duration;

use larder::admin::Token;

use crate::harness::{Cache, Client, Origin, Reply, eventually};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const EVERYTHING: &[u8] = br#"{"all": true}"#;
/// The read-only pages.
const READ: [&str; 6] = ["/stats", "/metrics", "/events", "/log", "/grafana.json", "/alerts.yml"];
const RIGHT: (&str, &str) = ("Authorization", "Bearer 0123456789abcdef");

/// Starts a cache with a stored `/`, whose admin side listens at `listen`, with or without a token.
fn cache(origin: &Origin, listen: &str, token: Option<&str>) -> Cache {
    let cache = Cache::with(origin, |setup| {
        setup.config.admin.listen = Some(listen.parse().unwrap());
        setup.config.admin.token = token.map(Token::new);
    });
    // `settle` reads `/stats`, which may need the token, so this uses the client alone.
    cache.client().get("/");
    while !cache.client().get("/").is_hit() {}
    cache
}

fn admin(cache: &Cache) -> Client {
    Client::connect(([127, 0, 0, 1], cache.admin_addr().port()).into()).host("127.0.0.1")
}

#[test]
fn hostile_requests_are_refused_and_change_nothing() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    for (listen, token) in [
        ("127.0.0.1:0", None),
        ("127.0.0.1:0", Some("0123456789abcdef")),
        ("0.0.0.0:0", Some("0123456789abcdef")),
        // The configuration forbids this address without a token, but a program that embeds Larder
        // may use it.
        ("0.0.0.0:0", None),
    ] {
        let cache = cache(&origin, listen, token);
        let check = |host: &str, target: &str, fields: &[(&str, &str)], body: &[u8], expected: &[u16]| {
            let answer = admin(&cache).host(host).exchange("POST", target, &[&[JSON][..], fields].concat(), body);
            let answer = (answer.status(), answer.text());
            assert!(expected.contains(&answer.0), "{listen} {token:?} {host} {target} {fields:?}: {answer:?}");
            assert!(
                cache.client().get("/").is_hit(),
                "{listen} {token:?} {host} {target} {fields:?}: the entry was purged"
            );
        };
        if token.is_some() || listen.starts_with("0.") {
            check("127.0.0.1", "/purge", &[], EVERYTHING, &[401]);
            check("127.0.0.1", "/purge", &[("Authorization", "Bearer 0123456789abcdeX")], EVERYTHING, &[401]);
            check("127.0.0.1", "/purge", &[("Authorization", "Bearer")], EVERYTHING, &[401]);
            check("127.0.0.1", "/purge", &[("Authorization", "0123456789abcdef")], EVERYTHING, &[401]);
            check("127.0.0.1", "/purge", &[("X-Token", "0123456789abcdef")], EVERYTHING, &[401]);
        }
        check("127.0.0.1", "/purge", &[RIGHT, ("Origin", "http://evil.example")], EVERYTHING, &[403]);
        check("127.0.0.1", "/purge", &[RIGHT, ("Origin", "null")], EVERYTHING, &[403]);
        check("127.0.0.1", "/purge", &[("Sec-Fetch-Site", "cross-site")], EVERYTHING, &[401, 403]);
        check("evil.example", "/purge", &[], EVERYTHING, &[421]);
        check("evil.example", "/purge", &[("Origin", "http://evil.example")], EVERYTHING, &[421]);
        for target in ["/live/../purge", "/%2e%2e/purge", "//purge", "/purge/", "/purge%00", "/PURGE", "/..%2fpurge"] {
            check("127.0.0.1", target, &[], EVERYTHING, &[401, 404]);
            check("127.0.0.1", target, &[RIGHT], EVERYTHING, &[401, 404]);
        }
        for target in READ {
            check("127.0.0.1", target, &[RIGHT], EVERYTHING, &[401, 405]);
            let mut rebound = admin(&cache).host("evil.example");
            rebound.ask("GET", target, &[], b"");
            let status = rebound.head().status;
            assert!([401, 421].contains(&status), "{listen} {token:?} {target}: {status}");
        }
    }
}

#[test]
fn ten_megabytes_are_refused_before_they_are_read() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = cache(&origin, "127.0.0.1:0", None);
    let framings = ["Content-Length: 10485760", "Transfer-Encoding: chunked"];
    for (target, framing) in
        ["/purge", "/explain", "/reload"].iter().flat_map(|target| framings.map(|own| (target, own)))
    {
        let mut client = admin(&cache);
        client.send(format!(
            "POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        ));
        // The server may stop reading at any time, and still sends its answer.
        let piece = [&b"10000\r\n"[..], &vec![b' '; 0x10000], b"\r\n"].concat();
        let _ = (0..160).try_for_each(|_| client.try_send(&piece));
        if let Ok(head) = client.try_head() {
            assert_eq!(head.status, 413, "{target} {framing}");
        }
        assert!(cache.client().get("/").is_hit());
    }
    assert!(cache.stats()["reload"].is_null(), "nothing was reloaded");
}

#[test]
fn with_a_token_its_holder_may_do_everything_and_others_read_only_open_pages() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    for listen in ["127.0.0.1:0", "0.0.0.0:0"] {
        let cache = cache(&origin, listen, Some("0123456789abcdef"));
        // Reads heads only, since some of these responses never end.
        let get = |target: &str, fields: &[(&str, &str)]| {
            let mut client = admin(&cache);
            client.ask("GET", target, fields, b"");
            client.head()
        };
        assert_eq!((get("/live", &[]).status, get("/ready", &[]).status), (200, 200));
        for target in READ {
            let refused = get(target, &[]);
            if listen.starts_with("0.") {
                assert_eq!(refused.status, 401, "{target}");
                assert_eq!(refused.header("www-authenticate").as_deref(), Some("Bearer realm=\"larder\""));
            } else {
                assert_eq!(refused.status, 200, "{target}");
            }
            assert_eq!(get(target, &[RIGHT]).status, 200, "{target}");
        }
        let purged = admin(&cache).exchange("POST", "/purge", &[JSON, RIGHT], EVERYTHING);
        assert_eq!(purged.status(), 200, "{}", purged.text());
        assert!(!cache.client().get("/").is_hit());
    }
}

#[test]
fn no_request_on_the_proxys_port_reaches_the_admin_side() {
    let origin = Origin::start(|request| Reply::ok().body(format!("the app's {}", request.target())));
    let cache = Cache::start(&origin);
    let admin = cache.admin_addr().to_string();
    for host in ["example.org", "localhost", admin.as_str()] {
        let read = READ.iter().map(|target| ("GET", *target));
        for (method, target) in read.chain([("POST", "/purge"), ("GET", "/live")]) {
            let answer = cache.client().host(host).exchange(method, target, &[JSON], b"");
            assert_eq!(answer.text(), format!("the app's {target}"), "{method} {host}");
        }
        let absolute = cache.client().host(host).get(&format!("http://{host}/stats"));
        assert_eq!(absolute.text(), "the app's /stats");
    }
    assert_eq!(cache.stats()["store"]["purges"], 0);
}

/// Starts a cache whose admin side closes connections that are silent for `patience`.
fn hurried(origin: &Origin, patience: Duration, connections_max: usize) -> Cache {
    Cache::with(origin, |setup| {
        let config = &mut setup.config;
        (config.head_timeout, config.idle_timeout, config.body_idle_timeout) = (patience, patience, patience);
        config.admin.connections_max = connections_max;
    })
}

/// Returns the status that the admin side answers with on a new connection; `None` where it closes
/// the connection at once.
fn answers(cache: &Cache) -> Option<u16> {
    let mut client = admin(cache);
    client.try_send("GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").ok()?;
    client.try_head().ok().map(|head| head.status)
}

#[test]
fn silent_connections_are_closed_and_followers_of_events_are_not() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = hurried(&origin, Duration::from_secs(1), 256);
    let mut following = admin(&cache);
    following.ask("GET", "/events", &[], b"");
    assert_eq!(following.head().status, 200);

    let (mut silent, mut in_head, mut idle, mut in_body) = (admin(&cache), admin(&cache), admin(&cache), admin(&cache));
    in_head.send("GET /stats HTTP/1.1\r\nHo");
    assert!(idle.get("/live").header("date").is_some());
    in_body.send("POST /purge HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n");
    in_body.send("Content-Length: 100\r\n\r\n{\"a");
    for client in [&mut silent, &mut in_head, &mut idle, &mut in_body] {
        client.closed();
    }
    // One event arrives each second: this connection has outlasted the timeout of the silent ones.
    for _ in 0..3 {
        following.at_least(1);
    }
    eventually("closed connections are counted", || cache.stats()["admin"]["closed"].as_u64() >= Some(4));
    assert_eq!(cache.stats()["server"]["closed_idle"], 0, "clients' connections are counted separately");
}

#[test]
fn one_connection_too_many_is_refused_with_a_reason() {
    const ROOM: usize = 8;
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = hurried(&origin, Duration::from_secs(20), ROOM);
    let mut asking = admin(&cache);
    let mut figure = |name: &str| {
        let stats: serde_json::Value = serde_json::from_slice(&asking.get("/stats").body).unwrap();
        stats["admin"][name].as_u64().unwrap()
    };
    assert_eq!((figure("connections"), figure("connections_max")), (1, ROOM as u64));
    let mut others: Vec<Client> = (1..ROOM).map(|_| admin(&cache)).collect();
    eventually("all followers are connected", || figure("connections") == ROOM as u64);
    let refused = admin(&cache).get("/stats");
    assert_eq!((refused.status(), refused.header("retry-after").as_deref()), (503, Some("10")));
    assert_eq!(refused.header("content-type").as_deref(), Some("application/json"));
    assert!(refused.text().contains("`connections_max` under [admin]"), "{}", refused.text());
    assert_eq!(figure("turned_away"), 1);
    assert_eq!(cache.client().get("/").status(), 200);
    others.pop();
    eventually("a connection is accepted again", || answers(&cache) == Some(200));
}

#[test]
fn five_thousand_admin_connections_delay_no_client_and_the_admin_side_recovers() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = hurried(&origin, Duration::from_secs(3), 256);
    let flood: Vec<_> = (0..5_000).map(|_| std::net::TcpStream::connect(cache.admin_addr()).unwrap()).collect();
    cache.client().get("/").check(200, "x", "stored");
    eventually("the page is stored", || cache.client().get("/").is_hit());
    // The connections are still open from the clients' side.
    eventually("the admin side answers again", || answers(&cache) == Some(200));
    let admin = &cache.stats()["admin"];
    assert!(admin["connections"].as_u64() <= Some(256), "{admin}");
    assert!(admin["turned_away"].as_u64() > Some(0) && admin["closed"].as_u64() > Some(0), "{admin}");
    drop(flood);
}
