//! The limits of sharing a flight (RFC 9111 §4): followers get every response that a cache may
//! reuse for them, and no other.

use crate::harness::{Cache, Client, Gate, Origin, Reply, eventually};

/// Starts a cache with one core, which answers in the order of arrival: once the last request is
/// answered, all others have joined.
fn on_one_core(origin: &Origin) -> Cache {
    Cache::with(origin, |setup| setup.config.workers = 1)
}

/// Has `users` request `/` at once, and lets the origin answer once all requests have been read.
fn asked_at_once(cache: &Cache, users: &[&str], gate: &Gate) -> Vec<String> {
    let mut clients: Vec<(Client, &str)> = users.iter().map(|user| (cache.client(), *user)).collect();
    for (nth, (client, user)) in clients.iter_mut().enumerate() {
        client.ask("GET", "/", &[("X-User", user)], b"");
        // The first one leads: the origin has its request before the others are sent.
        if nth == 0 {
            gate.arrived(1);
        }
    }
    cache.client().get("/last").check(200, "last", "fwd=uri-miss");
    gate.open();
    clients.iter_mut().map(|(client, _)| client.response().text()).collect()
}

/// An app that builds a page for each user, with `fields`, and sends no Vary.
fn personal(gate: &Gate, fields: &'static [(&'static str, &'static str)]) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| {
        if request.target() == "/last" {
            return Reply::fresh("last");
        }
        let reply = Reply::ok().body(format!("for {}", request.header("x-user").unwrap_or_default()));
        fields.iter().fold(reply, |reply, (name, value)| reply.header(name, value)).hold(&gate)
    })
}

#[test]
fn rfc9111_s4_a_response_that_may_not_be_reused_answers_its_own_request_alone() {
    let tag = ("ETag", "\"1\"");
    let cases: [&'static [(&str, &str)]; 7] = [
        &[("Cache-Control", "no-cache"), ("ETag", "\"1\"")],
        &[("ETag", "\"1\"")],
        &[("Cache-Control", "max-age=0"), ("ETag", "\"1\"")],
        &[("Cache-Control", "max-age=0, must-revalidate"), ("ETag", "\"1\"")],
        &[("Cache-Control", "public, s-maxage=0"), ("ETag", "\"1\"")],
        &[("Cache-Control", "max-age=60"), ("Age", "60"), ("ETag", "\"1\"")],
        &[("Expires", "0"), ("ETag", "\"1\"")],
    ];
    assert!(cases.iter().all(|case| case.contains(&tag)));
    for fields in cases {
        let gate = Gate::new();
        let origin = personal(&gate, fields);
        let cache = on_one_core(&origin);
        let got = asked_at_once(&cache, &["alice", "bob", "carol"], &gate);
        assert_eq!(got, ["for alice", "for bob", "for carol"], "{fields:?}");
    }
}

#[test]
fn rfc9111_s4_a_reusable_response_answers_all_followers() {
    let cases: [&'static [(&str, &str)]; 3] = [
        &[("Cache-Control", "max-age=1")],
        &[("Cache-Control", "max-age=0, stale-while-revalidate=60"), ("ETag", "\"1\"")],
        &[("Cache-Control", "no-cache"), ("CDN-Cache-Control", "max-age=60")],
    ];
    for fields in cases {
        let gate = Gate::new();
        let origin = personal(&gate, fields);
        let cache = on_one_core(&origin);
        let got = asked_at_once(&cache, &["alice", "bob", "carol"], &gate);
        assert_eq!(got, ["for alice"; 3], "{fields:?}");
    }
}

#[test]
fn rfc9111_s5_2_2_4_a_no_cache_response_is_validated_for_each_request() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match (request.target().as_str(), request.header("if-none-match")) {
            ("/last", _) => Reply::fresh("last"),
            (_, Some(_)) if request.header("x-user").as_deref() == Some("alice") => Reply::not_modified().hold(&gate),
            _ => Reply::ok()
                .header("Cache-Control", "no-cache")
                .header("ETag", "\"alice\"")
                .body(format!("for {}", request.header("x-user").unwrap_or_default())),
        })
    };
    let cache = on_one_core(&origin);
    cache.get_with("/", &[("X-User", "alice")]).check(200, "for alice", "stored");
    let got = asked_at_once(&cache, &["alice", "bob"], &gate);
    assert_eq!(got, ["for alice", "for bob"]);
}

#[test]
fn rfc9111_s4_2_no_request_joins_a_body_that_has_become_stale_on_its_way() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.header("x-user").as_deref() {
            Some("first") => Reply::ok()
                .header("Cache-Control", "max-age=1, must-revalidate")
                .length(8)
                .body("old ")
                .wait(&gate)
                .body("page"),
            _ => Reply::fresh("new page"),
        })
    };
    let cache = Cache::start(&origin);
    let mut first = cache.client();
    first.ask("GET", "/", &[("X-User", "first")], b"");
    let head = first.final_head();
    cache.step(1);
    cache.client().get("/").check(200, "new page", "stored");
    eventually("the second fill has ended", || cache.stats()["fills_in_flight"] == 1);
    cache.client().get("/").check(200, "new page", "hit");
    gate.open();
    assert_eq!(first.rest(head).text(), "old page");
    cache.settle();
    cache.client().get("/").check(200, "new page", "hit");
}

#[test]
fn a_browsers_reload_joins_a_flight_only_before_its_head_has_arrived() {
    let (head, rest) = (Gate::new(), Gate::new());
    let origin = {
        let (head, rest) = (head.clone(), rest.clone());
        Origin::start(move |request| match (request.target().as_str(), request.header("x-user").as_deref()) {
            ("/last", _) => Reply::fresh("last"),
            (_, Some("first")) => Reply::fresh("one ").length(8).wait(&rest).body("page").hold(&head),
            _ => Reply::fresh("new page"),
        })
    };
    let cache = on_one_core(&origin);
    let (mut first, mut early) = (cache.client(), cache.client());
    first.ask("GET", "/", &[("X-User", "first")], b"");
    head.arrived(1);
    early.ask("GET", "/", &[("Cache-Control", "no-cache")], b"");
    cache.client().get("/last").check(200, "last", "fwd=uri-miss");
    head.open();
    let heads = (first.final_head(), early.final_head());
    cache.step(1);
    let mut late = cache.client();
    late.exchange("GET", "/", &[("Cache-Control", "no-cache")], b"").check(200, "new page", "stored");
    rest.open();
    for (client, head) in [(&mut first, heads.0), (&mut early, heads.1)] {
        assert_eq!(client.rest(head).text(), "one page");
    }
    cache.settle();
    cache.client().get("/").check(200, "new page", "hit");
}

#[test]
fn rfc9111_s5_1_a_request_after_the_head_has_arrived_gets_its_age() {
    let rest = Gate::new();
    let origin = {
        let rest = rest.clone();
        Origin::start(move |_| Reply::fresh("one ").length(8).wait(&rest).body("page"))
    };
    let cache = Cache::start(&origin);
    let (mut first, mut late) = (cache.client(), cache.client());
    first.ask("GET", "/", &[], b"");
    let first_head = first.final_head();
    assert_eq!(first_head.header("age"), None, "a response made for this very request has no Age");
    cache.step(7);
    late.ask("GET", "/", &[], b"");
    let late_head = late.final_head();
    assert_eq!(late_head.header("age").as_deref(), Some("7"));
    rest.open();
    for (client, head) in [(&mut first, first_head), (&mut late, late_head)] {
        assert_eq!(client.rest(head).text(), "one page");
    }
}

#[test]
fn rfc9111_s4_4_a_request_after_a_change_gets_nothing_confirmed_before_the_change() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match (request.method().as_str(), request.header("x-user").as_deref()) {
            ("PUT", _) => Reply::ok(),
            (_, Some("first")) => Reply::not_modified().hold(&gate),
            _ if request.target() == "/last" => Reply::fresh("last"),
            (_, Some("late")) => Reply::fresh("new page").header("ETag", "\"2\""),
            _ => Reply::fresh("old page").header("ETag", "\"1\""),
        })
    };
    let cache = on_one_core(&origin);
    cache.get("/").check(200, "old page", "stored");
    cache.step(61);
    let (mut first, mut late) = (cache.client(), cache.client());
    first.ask("GET", "/", &[("X-User", "first")], b"");
    gate.arrived(1);
    cache.client().exchange("PUT", "/", &[], b"new page");
    late.ask("GET", "/", &[("X-User", "late")], b"");
    cache.client().get("/last").check(200, "last", "fwd=uri-miss");
    gate.open();
    assert_eq!(first.response().text(), "old page");
    assert_eq!(late.response().text(), "new page");
}

#[test]
fn one_clients_refused_credentials_drop_no_entry_and_split_no_crowd() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.header("authorization") {
            _ if request.target() == "/last" => Reply::fresh("last"),
            Some(_) => Reply::status("401 Unauthorized").header("Cache-Control", "max-age=60").body("who?").hold(&gate),
            None => Reply::fresh("page"),
        })
    };
    let cache = on_one_core(&origin);
    cache.get("/").check(200, "page", "stored");
    let mut refused = cache.client();
    refused.ask("GET", "/", &[("Authorization", "Bearer junk"), ("Cache-Control", "no-cache")], b"");
    gate.arrived(1);
    let mut crowd: Vec<Client> = (0..5).map(|_| cache.client()).collect();
    crowd.iter_mut().for_each(|client| client.ask("GET", "/", &[("Cache-Control", "no-cache")], b""));
    cache.client().get("/last").check(200, "last", "fwd=uri-miss");
    gate.open();
    refused.response().check(401, "who?", "detail=authorization");
    for client in &mut crowd {
        assert_eq!(client.response().text(), "page");
    }
    assert_eq!(origin.count(), 4, "one for the page, one for the refused request, one for the crowd, and the last");
    cache.get("/").check(200, "page", "hit");
}

#[test]
fn time_spent_waiting_for_a_permit_is_no_part_of_the_age() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.target().as_str() {
            "/first" => Reply::fresh("first").hold(&gate),
            _ => Reply::ok().header("Cache-Control", "max-age=5").body("page"),
        })
    };
    let cache = Cache::with(&origin, |setup| setup.config.origin.connections_max = 1);
    let (mut first, mut second) = (cache.client(), cache.client());
    first.ask("GET", "/first", &[], b"");
    gate.arrived(1);
    second.ask("GET", "/", &[], b"");
    eventually("the request waits for a permit", || cache.stats()["origin"]["permits_waiting"] == 1);
    cache.step(6);
    gate.open();
    first.response().check(200, "first", "stored");
    second.response().check(200, "page", "stored");
    assert_eq!(cache.get("/").check(200, "page", "hit").ttl(), Some(5));
}

#[test]
fn a_crowd_of_heads_costs_one_get() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.target().as_str() {
            "/last" => Reply::fresh("last"),
            _ => Reply::fresh("page").hold(&gate),
        })
    };
    let cache = on_one_core(&origin);
    let mut crowd: Vec<Client> = (0..15).map(|_| cache.client()).collect();
    for client in &mut crowd {
        client.ask("HEAD", "/", &[], b"");
    }
    gate.arrived(1);
    cache.client().get("/last");
    gate.open();
    for client in &mut crowd {
        let head = client.final_head();
        assert_eq!((head.status, head.header("content-length").as_deref()), (200, Some("4")));
    }
    assert_eq!(origin.targets().iter().filter(|target| *target == "/").count(), 1);
}
