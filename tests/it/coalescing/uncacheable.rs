//! Keys whose responses could not be stored: their requests are not coalesced for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::{Cache, Gate, Origin, Reply};

#[test]
fn an_unstorable_response_releases_the_followers() {
    let gate = Gate::new();
    let served = Arc::new(AtomicUsize::new(0));
    let origin = {
        let (gate, served) = (gate.clone(), Arc::clone(&served));
        Origin::start(move |_| {
            let nth = served.fetch_add(1, Ordering::SeqCst);
            Reply::ok().header("Cache-Control", "private").body(format!("yours alone: {nth:02}")).hold(&gate)
        })
    };
    let cache = Cache::start(&origin);
    let mut clients: Vec<_> = (0..20).map(|_| cache.client()).collect();
    for client in &mut clients {
        client.ask("GET", "/", &[], b"");
    }
    gate.arrived(1);
    gate.open();
    let mut bodies: Vec<_> = clients.iter_mut().map(|client| client.response().text()).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 20, "every client got a response of its own");
    assert_eq!(origin.count(), 20);
    assert_eq!(cache.stats()["store"]["entries"], 0);
}

#[test]
fn a_key_that_could_not_be_stored_twice_is_not_coalesced() {
    let (gate, second) = (Gate::new(), Gate::new());
    let origin = {
        let (gate, second) = (gate.clone(), second.clone());
        Origin::start(move |request| {
            let reply = Reply::ok().header("Cache-Control", "no-store").body("x");
            match request.header("x-round").as_deref() {
                Some("slow") => reply.hold(&gate),
                Some("quick") => reply.hold(&second),
                _ => reply,
            }
        })
    };
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.get("/");
    let (mut slow, mut quick) = (cache.client(), cache.client());
    slow.ask("GET", "/", &[("X-Round", "slow")], b"");
    gate.arrived(1);
    // If this request waited for the slow one, its response would never arrive.
    second.open();
    quick.ask("GET", "/", &[("X-Round", "quick")], b"");
    let response = quick.response();
    assert!(response.has("detail=hit-for-miss"), "{}", response.cache_status());
    gate.open();
    assert_eq!(slow.response().status(), 200);
}

#[test]
fn a_response_that_is_storable_again_is_stored_from_the_next_request_on() {
    let origin = Origin::start(|request| match request.header("cookie").as_deref() {
        Some("session=junk") => Reply::status("302 Found").header("Location", "/login"),
        _ => Reply::fresh("page"),
    });
    let cache = Cache::start(&origin);
    for _ in 0..2 {
        assert_eq!(cache.get_with("/", &[("Cookie", "session=junk")]).status(), 302);
    }
    cache.get("/").check(200, "page", "detail=hit-for-miss");
    cache.get("/").check(200, "page", "stored");
    cache.get("/").check(200, "page", "hit");
}

#[test]
fn a_key_too_large_to_store_stays_remembered_until_its_response_fits() {
    let large = Reply::ok().header("Cache-Control", "max-age=60").chunked().body([b'x'; 2_000]);
    let origin = Origin::start(move |request| match request.header("x-small") {
        Some(_) => Reply::fresh("small"),
        None => large.clone(),
    });
    let cache = Cache::with(&origin, |setup| setup.rule.object_bytes_max = 1_999);
    for _ in 0..2 {
        cache.get("/").check(200, [b'x'; 2_000], "stored");
    }
    for _ in 0..4 {
        cache.get("/").check(200, [b'x'; 2_000], "detail=hit-for-miss");
    }
    cache.get_with("/", &[("X-Small", "1")]).check(200, "small", "detail=hit-for-miss");
    cache.get_with("/", &[("X-Small", "1")]).check(200, "small", "stored");
}
