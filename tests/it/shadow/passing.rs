//! Responses in shadow mode: each passes unchanged, whatever happens to it, and none is served from
//! the store.

use larder::route::{PathMatcher, PathPattern, RouteMode, Rule};
use serde_json::json;

use super::{predicted_in, report, shadow, with};
use crate::harness::{Cache, Cut, End, Gate, Origin, Reply, eventually, pattern};

#[test]
fn every_response_passes_unchanged_and_the_origin_sees_every_request() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let (origin, cache) = with(move |request| {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        match request.header("range") {
            Some(_) => Reply::status("206 Partial Content")
                .header("Content-Range", "bytes 0-0/9")
                .header("Cache-Control", "max-age=60")
                .body("p"),
            None if request.header("if-none-match").is_some() => Reply::not_modified().header("ETag", "\"1\""),
            None => Reply::fresh(format!("page {nth}")).header("ETag", "\"1\"").header("X-Nth", &nth.to_string()),
        }
    });
    assert_eq!(predicted_in(cache.get("/").check(200, "page 0", "fwd=bypass")), "miss:uri-miss");
    let again = cache.get("/");
    assert_eq!(predicted_in(again.check(200, "page 1", "fwd-status=200")), "hit:fresh");
    assert_eq!((again.header("x-nth").as_deref(), again.header("age")), (Some("1"), None));
    let fields = [("If-None-Match", "\"1\""), ("Accept-Encoding", "gzip, br"), ("Cache-Control", "max-age=9")];
    let conditional = cache.get_with("/", &fields);
    assert_eq!((conditional.status(), predicted_in(&conditional)), (304, "hit:fresh".to_owned()));
    for (name, value) in fields {
        assert_eq!(origin.last().header(name).as_deref(), Some(value), "the client's own field is forwarded");
    }
    let part = cache.get_with("/", &[("Range", "bytes=0-0")]);
    assert_eq!(predicted_in(part.check(206, "p", "fwd-status=206")), "hit:fresh");
    assert_eq!(origin.last().header("range").as_deref(), Some("bytes=0-0"));
    let head = cache.request("HEAD", "/", &[], b"");
    assert_eq!((head.status(), predicted_in(&head)), (200, "hit:fresh".to_owned()));
    assert_eq!(origin.last().method(), "HEAD");
    let only = cache.get_with("/new", &[("Cache-Control", "only-if-cached")]);
    assert_eq!((only.status(), predicted_in(&only)), (200, "refused:only-if-cached".to_owned()));
    assert_eq!(origin.count(), 6);
    let stats = cache.stats();
    assert_eq!(
        (&stats["requests"]["by_outcome"]["pass"], &stats["requests"]["by_reason"]["shadow"]),
        (&json!(6), &json!(6))
    );
    assert_eq!((&stats["shadow"]["requests"], &stats["shadow"]["differed"]), (&json!(6), &json!(1)));
}

#[test]
fn a_route_has_a_mode_of_its_own() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, |setup| {
        let matcher = PathMatcher { path: PathPattern::parse("/new/").ok(), ..PathMatcher::default() };
        setup.routes.push((matcher, Rule { mode: RouteMode::Shadow, ..Rule::default() }));
    });
    for _ in 0..2 {
        cache.get("/old");
        cache.get("/new/");
    }
    assert_eq!(origin.targets(), ["/old", "/new/", "/new/"]);
    let report = report(&cache);
    assert_eq!((&report["running"], &report["routes"][0]["name"]), (&json!("some"), &json!("route 0")));
    assert_eq!((&report["routes"][0]["requests"], &report["routes"][0]["hit_ratio"]), (&json!(2), &json!(0.5)));
}

#[test]
fn a_request_during_a_fetch_is_predicted_to_join_it() {
    let gate = Gate::new();
    let script = {
        let gate = gate.clone();
        move |_: &_| Reply::fresh("x").hold(&gate)
    };
    let (origin, cache) = with(script);
    let mut clients = [cache.client(), cache.client()];
    clients.iter_mut().for_each(|client| client.ask("GET", "/", &[], b""));
    origin.wait_for(2);
    gate.open();
    clients.iter_mut().for_each(|client| _ = client.response().check(200, "x", "fwd=bypass"));
    cache.settle();
    let total = report(&cache)["total"].clone();
    assert_eq!((&total["would_be"]["miss"], &total["collapsed"]), (&json!(2), &json!(1)));
    assert_eq!(total["origin_requests_saved"], 1);
    assert_eq!(predicted_in(&cache.get("/")), "hit:fresh");
}

#[test]
fn a_client_that_leaves_leaves_nothing_stored() {
    let gate = Gate::new();
    let script = {
        let gate = gate.clone();
        move |_: &_| Reply::fresh(pattern(1000)).wait(&gate).body("end")
    };
    let (_origin, cache) = with(script);
    let mut client = cache.client();
    client.ask("GET", "/", &[], b"");
    client.final_head();
    drop(client);
    eventually("the request is counted", || report(&cache)["total"]["requests"] == 1);
    gate.open();
    cache.settle();
    let store = &cache.stats()["store"];
    assert_eq!((&store["entries"], &store["raw_bytes"]), (&json!(0), &json!(0)));
}

#[test]
fn a_cut_body_is_not_stored_and_a_failing_origin_is_reported() {
    let origin = Origin::start(|_| Reply::fresh("half").length(9).cut(Cut::Fin));
    let cache = Cache::with(&origin, shadow);
    assert_ne!(cache.get("/").end, End::Clean);
    assert_eq!(cache.stats()["store"]["entries"], 0);
    drop(origin);
    assert_eq!(cache.get("/").status(), 502);
    assert_eq!(report(&cache)["total"]["would_be"]["failed"], 1);
}

#[test]
fn a_stale_response_is_predicted_where_the_origin_fails() {
    let mut origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, shadow);
    cache.get("/");
    cache.step(61);
    origin.stop();
    assert_eq!(cache.get("/").status(), 502, "no response comes from the store");
    let total = &report(&cache)["total"];
    assert_eq!((&total["would_be"]["stale"], &total["origin_requests_saved"]), (&json!(1), &json!(0)));
}

#[test]
fn a_response_too_large_to_store_passes_and_is_not_stored() {
    let body = pattern(300_000);
    let origin = Origin::start({
        let body = body.clone();
        move |request| match request.target().as_str() {
            "/chunked" => Reply::fresh(&body).chunked(),
            _ => Reply::fresh(&body),
        }
    });
    let cache = Cache::with(&origin, |setup| {
        shadow(setup);
        setup.rule.object_bytes_max = 100_000;
    });
    assert_eq!(predicted_in(cache.get("/").check(200, &body, "fwd=bypass")), "miss:too-large");
    for _ in 0..2 {
        cache.get("/chunked").check(200, &body, "fwd=bypass");
    }
    assert_eq!(
        (&cache.stats()["store"]["entries"], &report(&cache)["total"]["would_be"]["hit"]),
        (&json!(0), &json!(0))
    );
}

#[test]
fn explain_reports_the_pass_and_the_predicted_outcome() {
    let (origin, cache) = with(|_| Reply::fresh("x"));
    cache.get("/");
    let explained = cache.explain(&json!({ "url": "http://example.org/" }));
    let now = &explained["now"];
    assert_eq!((&now["action"], &now["outcome"], &now["reason"]), (&json!("pass"), &json!("pass"), &json!("shadow")));
    assert_eq!((&now["would_be"]["outcome"], &now["would_be"]["reason"]), (&json!("hit"), &json!("fresh")));
    assert_eq!((&explained["route"]["mode"], &now["asks_origin"]), (&json!("shadow"), &json!(true)));
    assert_eq!(explained["request"]["key"], "http://example.org/\nmode:shadow");
    assert_eq!(origin.count(), 1);
}
