//! Request coalescing: a crowd of clients that request the same URL costs the origin one request,
//! and no client waits longer than necessary.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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

/// Has ten clients request a URL whose origin answers with `reply` the first `times` times. Returns
/// their statuses and the number of requests at the origin.
fn statuses_of_a_crowd(reply: impl Fn() -> Reply + Send + Sync + 'static, times: usize) -> (Vec<u16>, usize) {
    let gate = Gate::new();
    let origin = {
        let (gate, asked) = (gate.clone(), AtomicUsize::new(0));
        Origin::start(move |request| match asked.fetch_add(1, Ordering::SeqCst) {
            _ if request.target() == "/after" => Reply::fresh("after"),
            at if at < times => reply().hold(&gate),
            _ => Reply::fresh("x"),
        })
    };
    let cache = Cache::start(&origin);
    let mut leader = cache.client();
    leader.ask("GET", "/", &[], b"");
    gate.arrived(1);
    let mut others: Vec<_> = (0..9).map(|_| cache.client()).collect();
    for client in &mut others {
        client.ask("GET", "/", &[], b"");
    }
    cache.catch_up("/after");
    gate.open();
    let mut statuses = vec![leader.response().status()];
    statuses.extend(others.iter_mut().map(|client| client.response().status()));
    (statuses, origin.targets().iter().filter(|target| *target == "/").count())
}

fn nonsense() -> Reply {
    Reply::raw("HTTP/1.1 nonsense\r\n\r\n")
}

#[test]
fn an_error_about_the_leaders_request_is_retried_once_for_the_followers() {
    let refused = || Reply::status("412 Precondition Failed").header("Cache-Control", "max-age=60");
    let (statuses, asked) = statuses_of_a_crowd(refused, 1);
    assert_eq!((statuses[0], &statuses[1..]), (412, &[200; 9][..]));
    assert_eq!(asked, 2);
    let (statuses, _) = statuses_of_a_crowd(refused, usize::MAX);
    assert_eq!(statuses, [412; 10]);
}

#[test]
fn a_response_that_breaks_for_the_leader_is_retried_once_for_the_followers() {
    let (statuses, asked) = statuses_of_a_crowd(nonsense, 1);
    assert_eq!((statuses[0], &statuses[1..]), (502, &[200; 9][..]));
    assert_eq!(asked, 2);
}

#[test]
fn a_response_that_breaks_twice_fails_all_followers() {
    let (statuses, asked) = statuses_of_a_crowd(nonsense, usize::MAX);
    assert_eq!(statuses, [502; 10]);
    // A request that was read late may have led a flight of its own, but no request went alone.
    assert!((2..=4).contains(&asked), "{asked}");
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

#[test]
fn a_body_too_large_to_store_releases_followers_at_its_head() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| Reply::fresh(pattern(2_000)).hold(&gate))
    };
    let cache = Cache::with(&origin, |setup| setup.rule.object_bytes_max = 1_999);
    let mut clients: Vec<Client> = (0..5).map(|_| cache.client()).collect();
    for client in &mut clients {
        client.ask("GET", "/", &[], b"");
    }
    gate.arrived(1);
    gate.open();
    for client in &mut clients {
        client.response().check(200, pattern(2_000), "detail=too-large");
    }
    assert_eq!(origin.count(), 5);
}

#[test]
fn the_only_reader_of_a_body_too_large_to_store_may_be_slow() {
    let gate = Gate::new();
    let (_origin, cache) = too_large_to_store(&gate);
    let mut alone = Client::slow(cache.addr());
    alone.ask("GET", "/alone", &[], b"");
    alone.final_head();
    // A reader that delays another one is cut off in the meantime. This reader is silent for at
    // least as long.
    let (mut quick, _slow) = two_readers(&cache);
    gate.open();
    assert_eq!(quick.drain().1, End::Clean);
    assert_eq!(alone.drain(), (LARGE as u64, End::Clean));
}

/// The length of a body that is too large to store, and larger than a socket's buffers.
const LARGE: usize = 32 << 20;

/// An app whose every page has [`LARGE`] bytes, and a cache in front of it. Pages arrive at once,
/// except that `/` pauses at the gate after its beginning.
fn too_large_to_store(gate: &Gate) -> (Origin, Cache) {
    let gate = gate.clone();
    let origin = Origin::start(move |request| {
        let begun = Reply::ok().header("Cache-Control", "max-age=60").chunked().body([b'x'; 1_000]);
        let begun = if request.target() == "/" { begun.wait(&gate) } else { begun };
        begun.body(vec![b'x'; LARGE - 1_000])
    });
    let cache = Cache::with(&origin, |setup| {
        setup.rule.object_bytes_max = 1 << 20;
        setup.config.proxy.reader_stall = std::time::Duration::from_millis(100);
    });
    (origin, cache)
}

/// Connects two clients that have read the beginning of the one shared body of `/`.
fn two_readers(cache: &Cache) -> (Client, Client) {
    let mut both = [cache.client(), cache.client()];
    for client in &mut both {
        client.ask("GET", "/", &[], b"");
        client.final_head();
        client.at_least(1_000);
    }
    both.into()
}

#[test]
fn a_slow_reader_delays_others_of_a_body_too_large_to_store_for_a_bounded_time() {
    let gate = Gate::new();
    let (origin, cache) = too_large_to_store(&gate);
    let (mut quick, mut slow) = two_readers(&cache);
    gate.open();
    let (length, end) = quick.drain();
    assert_eq!((length as usize, end), (LARGE - 1_000, End::Clean));
    let (length, end) = slow.drain();
    assert!(end != End::Clean && (length as usize) < LARGE - 1_000, "{length} bytes, {end:?}");
    assert_eq!(origin.count(), 1);
    cache.settle();
    assert_eq!(cache.stats()["store"]["entries"], 0);
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
