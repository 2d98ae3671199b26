//! An origin that is down, away or saturated, and a process without descriptors. Stored responses
//! stay available, requests that need the origin are turned away at once, and the effects end with
//! the fault.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::cache::Setup;
use crate::harness::{BlackHole, Cache, Client, Gate, Origin, Process, Reply, eventually};

/// How long the breaker of these tests stays open.
const INTERVAL: Duration = Duration::from_millis(400);

/// Configures a breaker that opens at the third failure.
fn breaker(setup: &mut Setup) {
    setup.config.origin.breaker_failures = 3;
    setup.config.origin.breaker_interval = INTERVAL;
}

/// Cache-Control of each page, and whether the page may be served stale for an hour.
const PAGES: [(&str, bool); 10] = [
    ("max-age=60", true),
    ("public, max-age=60", true),
    ("max-age=60, stale-if-error=600", true),
    ("max-age=60, stale-while-revalidate=600", true),
    ("max-age=60, immutable", true),
    ("max-age=60, stale-if-error=0", false),
    ("max-age=60, must-revalidate", false),
    ("max-age=60, proxy-revalidate", false),
    ("s-maxage=60", false),
    ("max-age=60, no-cache", false),
];

/// An origin with these pages: `/n/anything` has the Cache-Control of page n.
fn pages() -> Origin {
    Origin::start(page)
}

fn page(request: &crate::harness::origin::Request) -> Reply {
    let target = request.target();
    let at = target.split('/').nth(1).and_then(|at| at.parse().ok()).unwrap_or(0);
    let directives = PAGES.get::<usize>(at).map_or("no-store", |page| page.0);
    Reply::ok().header("Cache-Control", directives).header("ETag", "\"1\"").body(target)
}

#[test]
fn rfc9111_s4_2_4_with_the_origin_down_every_page_that_may_be_stale_is_served() {
    let mut origin = pages();
    let cache = Cache::with(&origin, breaker);
    let targets: Vec<_> = PAGES
        .iter()
        .enumerate()
        .flat_map(|(at, page)| (0..5).map(move |nth| (format!("/{at}/{nth}"), *page)))
        .collect();
    for (target, _) in &targets {
        cache.get(target).check(200, target, "stored");
    }
    origin.stop();
    // While the pages are fresh, nobody notices.
    let before = origin.count();
    for (target, (directives, _)) in targets.iter().filter(|(_, page)| !page.0.contains("no-cache")) {
        assert!(cache.get(target).is_hit(), "{directives}");
    }
    assert_eq!(origin.count(), before);
    cache.step(61);
    for (target, (directives, is_allowed)) in &targets {
        let response = cache.get(target);
        if *is_allowed {
            assert_eq!((response.status(), response.text()), (200, target.clone()), "{directives}");
            continue;
        }
        // Timing decides whether the breaker refuses the request or lets it probe the origin.
        match response.status() {
            503 => assert!(response.header("retry-after").is_some(), "{directives}"),
            status => assert_eq!(status, 502, "{directives}"),
        }
        assert!(response.header("proxy-status").is_some(), "{directives}");
    }
    let stats = cache.stats();
    assert!(stats["origin"]["breaker_opened"].as_u64() >= Some(1), "{stats}");
    assert_eq!(stats["requests"]["by_outcome"]["hit"], 45);
}

#[test]
fn while_the_breaker_is_open_nobody_waits_for_a_connection() {
    let nobody = BlackHole::open();
    let placeholder = Origin::start(|_| unreachable!("no request reaches this origin"));
    let connect_timeout = Duration::from_secs(1);
    let cache = Cache::with(&placeholder, |setup| {
        breaker(setup);
        setup.config.origin.breaker_interval = Duration::from_secs(60);
        setup.config.origin.authority = nobody.addr().to_string();
        setup.config.origin.connect_timeout = connect_timeout;
    });
    let mut waiting: Vec<_> = (0..3).map(|_| cache.client()).collect();
    for (at, client) in waiting.iter_mut().enumerate() {
        client.ask("GET", &format!("/first/{at}"), &[], b"");
    }
    for client in &mut waiting {
        assert_eq!(client.response().status(), 504);
    }
    let started = Instant::now();
    for at in 0..50 {
        let refused = cache.get(&format!("/{at}"));
        assert_eq!(refused.status(), 503);
        assert!(refused.has("detail=destination_unavailable"), "{}", refused.cache_status());
        let (reason, after) = (refused.header("proxy-status").unwrap(), refused.header("retry-after").unwrap());
        assert!(reason.contains("error=destination_unavailable") && reason.contains("breaker"), "{reason}");
        assert!((1..=60).contains(&after.parse::<u64>().unwrap()), "{after}");
    }
    assert!(started.elapsed() < 50 * connect_timeout / 2, "the requests waited: {:?}", started.elapsed());
    let stats = cache.stats();
    assert_eq!((&stats["origin"]["breaker"], &stats["origin"]["breaker_opened"]), (&"open".into(), &1.into()));
    assert_eq!(stats["origin"]["breaker_refused"], 50);
}

#[test]
fn recovery_takes_one_breaker_interval() {
    let mut origin = pages();
    let addr = origin.addr();
    let cache = Cache::with(&origin, breaker);
    cache.get("/0/stored").check(200, "/0/stored", "stored");
    origin.stop();
    cache.step(61);
    for at in 0..3 {
        assert_eq!(cache.get(&format!("/0/{at}")).status(), 502);
    }
    assert_eq!(cache.get("/0/3").status(), 503);
    cache.get("/0/stored").check(200, "/0/stored", "detail=stale-if-error");

    let origin = Origin::start_at(addr, page);
    let back = Instant::now();
    let mut client = cache.client();
    eventually("the origin receives requests again", || client.get("/0/4").status() == 200);
    // One interval, and an allowance for a busy machine.
    assert!(back.elapsed() < INTERVAL + Duration::from_secs(2), "{:?}", back.elapsed());
    assert_eq!(cache.stats()["origin"]["breaker"], "closed");
    for at in 10..20 {
        let target = format!("/0/{at}");
        cache.get(&target).check(200, &target, "stored");
    }
    assert!(cache.get("/0/stored").is_hit() || cache.get("/0/stored").is_hit(), "the stale page is refreshed");
    assert!(origin.count() >= 11);
}

#[test]
fn responses_of_any_kind_do_not_open_the_breaker() {
    let origin = Origin::start(|request| match request.target().as_str() {
        "/error" => Reply::status("503 Busy"),
        "/nonsense" => Reply::raw("HTTP/1.1 nonsense\r\n\r\n"),
        "/gone" => Reply::hang_up(crate::harness::Cut::Fin),
        _ => Reply::fresh("x"),
    });
    let cache = Cache::with(&origin, breaker);
    for target in ["/error", "/nonsense", "/gone"].repeat(5) {
        assert!(cache.get(target).status() >= 500);
    }
    cache.get("/").check(200, "x", "stored");
    assert_eq!(cache.stats()["origin"]["breaker_opened"], 0);
}

/// An origin that answers `/hot` and `/warm` at once, and every other request never.
fn saturated(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| match request.target().as_str() {
        "/hot" => Reply::fresh("hot"),
        "/warm" => Reply::ok().header("Cache-Control", "max-age=10, stale-while-revalidate=600").body("warm"),
        _ => Reply::fresh("late").hold(&gate),
    })
}

#[test]
fn a_hit_never_waits_behind_a_miss_and_a_request_without_a_permit_is_told_when_to_retry() {
    let gate = Gate::new();
    let origin = saturated(&gate);
    let cache = Cache::with(&origin, |setup| {
        setup.config.workers = 1;
        setup.config.origin.connections_max = 8;
        setup.config.origin.permit_queue_max = 4;
        setup.config.origin.permit_timeout = Duration::from_millis(500);
    });
    cache.get("/hot").check(200, "hot", "stored");
    cache.get("/warm").check(200, "warm", "stored");
    cache.step(30);
    let ask = |target: String| {
        let mut client = cache.client();
        client.ask("GET", &target, &[], b"");
        client
    };
    let mut held: Vec<Client> = (0..8).map(|at| ask(format!("/held/{at}"))).collect();
    gate.arrived(8);
    let mut queued: Vec<Client> = (0..4).map(|at| ask(format!("/queued/{at}"))).collect();
    let mut admin = cache.admin();
    let mut stats = move || serde_json::from_slice::<serde_json::Value>(&admin.get("/stats").body).unwrap();
    eventually("four requests wait", || stats()["origin"]["permits_waiting"] == 4);

    // Further requests are refused without waiting.
    let mut hits = cache.client();
    for at in 0..20 {
        let shed = cache.client().get(&format!("/shed/{at}"));
        assert_eq!((shed.status(), shed.header("retry-after").as_deref()), (503, Some("1")));
        assert!(shed.has("detail=overloaded"), "{}", shed.cache_status());
        for _ in 0..10 {
            hits.get("/hot").check(200, "hot", "hit");
        }
        // A stale page that nobody refreshes: a refresh would take a permit that waiting requests
        // need.
        hits.get("/warm").check(200, "warm", "detail=stale-while-revalidate");
    }
    for client in &mut queued {
        let response = client.response();
        assert_eq!((response.status(), response.header("retry-after").as_deref()), (503, Some("1")));
    }
    assert_eq!(origin.count(), 2 + 8, "the origin has received as many requests as there are permits");
    assert_eq!(stats()["origin"]["permits_refused"], 24);
    assert_eq!(stats()["origin"]["refreshes"], 0);

    gate.open();
    for client in &mut held {
        client.response().check(200, "late", "fwd=uri-miss");
    }
    cache.get("/after").check(200, "late", "fwd=uri-miss");
    eventually("the stale page is refreshed now", || cache.get("/warm").is_hit());
}

#[test]
fn a_process_without_descriptors_goes_on() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let process = Process::serve_under("ulimit -n 64", &origin, "server.workers = 2");
    let (mut client, mut admin) = (process.client(), process.admin());
    client.get("/").check(200, "x", "stored");
    let crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(process.addr()).unwrap()).collect();
    let mut stats = move || serde_json::from_slice::<serde_json::Value>(&admin.get("/stats").body).unwrap();
    eventually("there are no descriptors left", || stats()["server"]["accept_errors"].as_u64() >= Some(1));
    for _ in 0..10 {
        client.get("/").check(200, "x", "hit");
    }
    // A miss may find a pooled connection or none. Either way it is answered, and the breaker does
    // not count it.
    for at in 0..10 {
        let miss = client.get(&format!("/{at}"));
        assert!(matches!(miss.status(), 200 | 502 | 503), "{}", miss.status());
    }
    assert_eq!(stats()["origin"]["breaker_opened"], 0);
    drop(crowd);
    for at in 0..10 {
        process.client().get(&format!("/after/{at}")).check(200, "x", "stored");
    }
    eventually("the connections of the crowd are closed", || stats()["connections"].as_u64() <= Some(3));
}
