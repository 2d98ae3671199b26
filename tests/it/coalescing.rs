//! Request coalescing: a crowd of clients that request the same URL costs the origin one request,
//! and no client waits longer than necessary.

mod large;
mod retries;
mod uncacheable;

use crate::harness::{Cache, Client, End, Gate, Origin, Reply, eventually, pattern};

/// The number of clients that ask at once.
const CROWD: usize = 500;

#[test]
fn a_crowd_costs_one_request_and_gets_bytes_before_the_origin_has_finished() {
    let (head, middle) = (Gate::new(), Gate::new());
    let body = pattern(100_000);
    let reply = Reply::fresh(&body[..30_000]).hold(&head).wait(&middle).body(&body[30_000..]);
    let origin = Origin::start(move |_| reply.clone());
    let cache = Cache::start(&origin);

    let mut crowd: Vec<Client> = (0..CROWD).map(|_| cache.client()).collect();
    for client in &mut crowd {
        client.ask("GET", "/", &[], b"");
    }
    head.arrived(1);
    // The leader hangs up. Nobody knows which client leads, so every fiftieth client goes.
    let mut at = 0;
    crowd.retain(|_| {
        at += 1;
        at % 50 != 1
    });
    head.open();

    let mut begun: Vec<_> = crowd
        .into_iter()
        .map(|mut client| {
            let head = client.final_head();
            assert_eq!(head.status, 200);
            let first = client.at_least(1);
            (client, head, first)
        })
        .collect();
    // Everybody has read something, and the origin still waits here.
    middle.open();
    let mut collapsed = 0;
    for (client, head, first) in &mut begun {
        let rest = client.rest(head.clone());
        assert_eq!(rest.end, End::Clean);
        assert!([first.as_slice(), &rest.body].concat() == body, "the body is whole");
        collapsed += usize::from(rest.has("collapsed"));
    }
    assert_eq!(origin.count(), 1);
    assert!(collapsed >= begun.len() - 1, "{collapsed} of {} followed", begun.len());
    cache.settle();
    cache.get("/").check(200, &body, "hit");
}

#[test]
fn the_leaders_client_hanging_up_changes_nothing_for_the_others() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| Reply::fresh("hello ").wait(&gate).body("world"))
    };
    let cache = Cache::start(&origin);
    let mut first = cache.client();
    first.ask("GET", "/", &[], b"");
    origin.wait_for(1);
    let mut second = cache.client();
    second.ask("GET", "/", &[], b"");
    first.final_head();
    drop(first);
    second.final_head();
    gate.open();
    let head = second.at_least(11);
    assert_eq!(head, b"hello world");
    cache.settle();
    cache.get("/").check(200, "hello world", "hit");
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_fill_completes_after_all_clients_have_left() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| Reply::fresh("hello ").wait(&gate).body("world"))
    };
    let cache = Cache::start(&origin);
    let mut only = cache.client();
    only.ask("GET", "/", &[], b"");
    only.final_head();
    drop(only);
    gate.open();
    cache.settle();
    cache.get("/").check(200, "hello world", "hit");
}

#[test]
fn followers_excluded_by_vary_fetch_their_own_variant() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| {
            let language = request.header("accept-language").unwrap_or_default();
            Reply::fresh(language).header("Vary", "Accept-Language").hold(&gate)
        })
    };
    let cache = Cache::start(&origin);
    let languages = ["de", "en", "fr"];
    let mut clients: Vec<_> = (0..60).map(|at| (cache.client(), languages[at % 3])).collect();
    for (client, language) in &mut clients {
        client.ask("GET", "/", &[("Accept-Language", language)], b"");
    }
    gate.arrived(1);
    gate.open();
    for (client, language) in &mut clients {
        let response = client.response();
        assert_eq!((response.text().as_str(), response.end), (*language, End::Clean));
    }
    assert_eq!(origin.count(), 3, "one flight for each variant");
}

#[test]
fn requests_beyond_the_permits_wait_their_turn() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| Reply::fresh(request.target()).hold(&gate))
    };
    let cache = Cache::with(&origin, |setup| setup.config.origin.connections_max = 2);
    let mut clients: Vec<_> = (0..6).map(|_| cache.client()).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.ask("GET", &format!("/{at}"), &[], b"");
    }
    gate.arrived(2);
    eventually("six fills are under way", || cache.stats()["fills_in_flight"] == 6);
    assert_eq!(origin.count(), 2);
    gate.open();
    for (at, client) in clients.iter_mut().enumerate() {
        client.response().check(200, format!("/{at}"), "fwd=uri-miss");
    }
}

#[test]
fn ranges_are_cut_from_a_body_that_is_still_arriving() {
    let gate = Gate::new();
    let body = pattern(1_000);
    let reply = Reply::fresh(&body[..500]).length(1_000).wait(&gate).body(&body[500..]);
    let origin = Origin::start(move |_| reply.clone());
    let cache = Cache::start(&origin);
    let mut leader = cache.client();
    leader.ask("GET", "/", &[], b"");
    leader.final_head();
    leader.at_least(500);

    let early = cache.client().exchange("GET", "/", &[("Range", "bytes=10-19")], b"");
    early.check(206, &body[10..20], "collapsed");
    let mut late = cache.client();
    late.ask("GET", "/", &[("Range", "bytes=490-509")], b"");
    let head = late.final_head();
    assert_eq!(head.header("content-range").as_deref(), Some("bytes 490-509/1000"));
    assert_eq!(late.at_least(10), &body[490..500]);
    gate.open();
    assert_eq!(late.rest(head).body, &body[500..510]);
    assert_eq!(origin.count(), 1);
}

/// Many browsers hold a copy of the page while the cache has nothing stored, as after a restart or
/// a purge.
#[test]
fn a_crowd_with_copies_of_its_own_costs_two_requests() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match (request.target().as_str(), request.header("if-none-match")) {
            ("/", Some(_)) => Reply::status("304 Not Modified").header("ETag", "\"v1\"").hold(&gate),
            _ => Reply::fresh("page").header("ETag", "\"v1\""),
        })
    };
    // A single core answers in the order of arrival: once the last request is answered, all others
    // have joined.
    let cache = Cache::with(&origin, |setup| setup.config.workers = 1);
    let mut crowd: Vec<Client> = (0..CROWD / 10).map(|_| cache.client()).collect();
    for client in &mut crowd {
        client.ask("GET", "/", &[("If-None-Match", "\"v1\"")], b"");
    }
    gate.arrived(1);
    cache.client().get("/last").check(200, b"page", "fwd=uri-miss");
    gate.open();
    for client in &mut crowd {
        assert_eq!(client.final_head().status, 304);
    }
    // The first request is answered alone, since it was conditional. One of the others fetches the
    // whole page for all.
    assert_eq!(origin.targets().iter().filter(|target| *target == "/").count(), 2);
    cache.settle();
    cache.get("/").check(200, b"page", "hit");
}
