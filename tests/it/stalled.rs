//! Clients that stall while they hold the origin's only permit: HTTP/2 streams whose window stays
//! shut or whose content never arrives, on a connection that is otherwise busy, and abandoned
//! tunnels. Each loses the permit.

use std::time::Duration;

use http_body_util::BodyExt;

use crate::harness::{Cache, Cut, End, Gate, Http2, Origin, Reply, Setup, WEBSOCKET, eventually};

/// The longest silence that these tests allow.
const SHORT: Duration = Duration::from_millis(200);

/// Configures one permit with a short queue wait, and a breaker that opens at the first failure.
fn tight(setup: &mut Setup) {
    setup.config.body_idle_timeout = SHORT;
    setup.config.origin.connections_max = 1;
    setup.config.origin.permit_timeout = Duration::from_millis(100);
    setup.config.origin.breaker_failures = 1;
}

/// Checks that the permit is free for others, and that no failure was counted against the origin.
#[track_caller]
fn check_permit_is_back(cache: &Cache) {
    cache.get("/another").check(200, "another", "fwd=uri-miss");
    let stats = cache.stats();
    assert_eq!(stats["origin"]["breaker_opened"], 0);
}

fn permits(cache: &Cache) -> u64 {
    cache.stats()["origin"]["permits_in_use"].as_u64().unwrap()
}

#[test]
fn rfc9113_s5_2_2_a_stream_that_nobody_reads_gives_its_permit_back_while_the_connection_is_busy() {
    let origin = Origin::start(|request| match request.target().as_str() {
        "/large" => Reply::ok().header("Cache-Control", "no-store").body(vec![b'x'; 8 << 20]),
        target => Reply::fresh(&target[1..]),
    });
    let cache = Cache::with(&origin, tight);
    let mut http2 = Http2::connect(cache.addr());
    assert_eq!(http2.get("/hit").head.status, 200);
    let unread = http2.unread("/large");
    assert_eq!(permits(&cache), 1);
    eventually("the permit is back", || {
        assert_eq!(http2.get("/hit").body, b"hit", "the other streams go on");
        permits(&cache) == 0
    });
    check_permit_is_back(&cache);
    assert!(http2.result_of(unread.into_body().collect()).is_err(), "the stream was reset");
}

#[test]
fn content_that_stops_coming_gives_its_permit_back_while_the_connection_is_busy() {
    let origin = Origin::start(|request| Reply::fresh(&request.target()[1..]));
    let cache = Cache::with(&origin, tight);
    let mut http2 = Http2::connect(cache.addr());
    assert_eq!(http2.get("/hit").head.status, 200);
    let unsent = http2.unsent("/up");
    eventually("the stream has ended", || {
        assert_eq!(http2.get("/hit").body, b"hit", "the other streams go on");
        unsent.is_finished()
    });
    assert!(http2.result_of(unsent).unwrap().is_err(), "the stream was reset");
    eventually("the permit is back", || permits(&cache) == 0);
    check_permit_is_back(&cache);
}

/// An origin that switches protocols and then stays silent until `gate` opens.
fn silent_tunnel(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::at_heads(move |request| match request.target().as_str() {
        "/tunnel" => {
            let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
            Reply::raw(switch).wait(&gate).cut(Cut::Fin)
        }
        target => Reply::fresh(&target[1..]),
    })
}

#[test]
fn rfc9110_s7_8_an_unused_tunnel_is_closed() {
    let gate = Gate::new();
    let origin = silent_tunnel(&gate);
    let cache = Cache::with(&origin, |setup| {
        tight(setup);
        setup.config.proxy.tunnel.idle = SHORT;
    });
    let mut client = cache.client();
    client.ask("GET", "/tunnel", &WEBSOCKET, b"");
    assert_eq!(client.head().status, 101);
    assert_eq!(client.closed(), End::Clean);
    eventually("the permit is back", || permits(&cache) == 0);
    check_permit_is_back(&cache);
    gate.open();
}

#[test]
fn a_tunnel_whose_client_has_gone_does_not_outlast_a_silent_origin() {
    let gate = Gate::new();
    let origin = silent_tunnel(&gate);
    let cache = Cache::with(&origin, |setup| {
        tight(setup);
        setup.config.proxy.tunnel.origin = SHORT;
    });
    let mut client = cache.client();
    client.ask("GET", "/tunnel", &WEBSOCKET, b"");
    assert_eq!(client.head().status, 101);
    assert_eq!(permits(&cache), 1);
    drop(client);
    eventually("the permit is back", || permits(&cache) == 0);
    check_permit_is_back(&cache);
    gate.open();
}
