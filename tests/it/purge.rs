//! Purging, by `POST /purge` on the admin side and by PURGE on the proxy's port: a purged response
//! is not served again, in whatever form it is stored, and its memory is released.

use larder::route::QueryRule;
use serde_json::{Value, json};

use crate::harness::cache::Setup;
use crate::harness::{Cache, Gate, Origin, Process, Reply, Response, eventually, process};

#[test]
fn a_purged_url_is_fetched_again() {
    let origin = Origin::start(|request| Reply::fresh(request.target()).header("ETag", "\"v1\""));
    let cache = Cache::start(&origin);
    for target in ["/a", "/b"] {
        cache.get(target);
    }
    let purged = cache.purge(r#"{"url": "http://EXAMPLE.org/x/../a"}"#);
    assert_eq!(purged.status(), 200, "{}", purged.text());

    let missed = cache.get("/a");
    missed.check(200, "/a", "stored");
    assert!(missed.has("detail=purged"), "{}", missed.cache_status());
    assert_eq!(origin.last().header("if-none-match"), None, "a purged validator is not used");
    cache.get("/a").check(200, "/a", "hit");
    cache.get("/b").check(200, "/b", "hit");
}

#[test]
fn a_purge_covers_every_variant_and_several_urls() {
    let origin = Origin::start(|request| {
        Reply::fresh(request.header("accept-language").unwrap_or_default()).header("Vary", "Accept-Language")
    });
    let cache = Cache::start(&origin);
    let get = |target: &str, language: &str| cache.get_with(target, &[("Accept-Language", language)]);
    for target in ["/a", "/b"] {
        for language in ["de", "en"] {
            get(target, language);
        }
    }
    let purged = cache.purge(r#"{"urls": ["http://example.org/a", "http://example.org/b"]}"#);
    assert_eq!(purged.status(), 200, "{}", purged.text());
    for target in ["/a", "/b"] {
        for language in ["de", "en"] {
            assert!(!get(target, language).is_hit(), "{target} in {language}");
        }
    }
}

#[test]
fn a_purge_covers_a_response_under_way() {
    let gate = Gate::new();
    let origin = Origin::replies([Reply::fresh("ol").wait(&gate).body("d"), Reply::fresh("new")]);
    let cache = Cache::start(&origin);
    let mut early = cache.client();
    early.ask("GET", "/", &[], b"");
    early.final_head();
    assert_eq!(cache.purge(r#"{"url": "http://example.org/"}"#).status(), 200);

    let mut late = cache.client();
    late.ask("GET", "/", &[], b"");
    late.response().check(200, "new", "fwd=uri-miss");
    gate.open();
    assert_eq!(early.at_least(3), b"old", "a request from before the purge gets the old page");
    cache.settle();
    assert_ne!(cache.get("/").text(), "old", "the response to a request from before the purge is not stored");
}

/// Purges a page while its first response is under way, and has ten clients request the page before
/// that response arrives. Returns their responses, and the number of requests for the page at the
/// app.
fn asked_after_a_purge(kind: &str) -> (Vec<Response>, usize) {
    let gate = Gate::new();
    let origin = {
        let (gate, asked) = (gate.clone(), std::sync::atomic::AtomicUsize::new(0));
        Origin::start(move |request| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            _ if request.target() == "/after" => Reply::fresh("after"),
            0 => Reply::fresh("old").hold(&gate),
            _ => Reply::fresh("new"),
        })
    };
    let cache = Cache::start(&origin);
    let mut early = cache.client();
    early.ask("GET", "/", &[], b"");
    gate.arrived(1);
    assert_eq!(cache.purge(&format!(r#"{{"url": "http://example.org/", "kind": "{kind}"}}"#)).status(), 200);
    let mut late: Vec<_> = (0..10).map(|_| cache.client()).collect();
    for client in &mut late {
        client.ask("GET", "/", &[], b"");
    }
    cache.catch_up("/after");
    gate.open();
    early.response().check(200, "old", "fwd=uri-miss");
    let responses = late.iter_mut().map(crate::harness::Client::response).collect();
    cache.settle();
    // A soft purge serves the stale page while one request, possibly this one, refreshes it.
    assert!(kind == "soft" || cache.get("/").has("hit"), "{kind}: the new page is stored");
    eventually("the new page is stored", || cache.get("/").text() == "new");
    (responses, origin.targets().iter().filter(|target| *target == "/").count())
}

#[test]
fn requests_after_a_purge_of_a_response_under_way_share_one_stored_fetch() {
    for kind in ["hard", "validate"] {
        let (responses, asked) = asked_after_a_purge(kind);
        assert!(responses.iter().all(|response| response.text() == "new"), "{kind}: {responses:?}");
        assert_eq!(asked, 2, "{kind}");
    }
}

#[test]
fn a_soft_purge_of_a_response_under_way_delays_no_request() {
    let (responses, asked) = asked_after_a_purge("soft");
    // A request that was read late may have arrived after the refresh.
    let shared = responses.iter().filter(|response| response.text() == "old").count();
    assert!(shared >= responses.len() / 2, "{responses:?}");
    assert!(responses.iter().all(|response| matches!(response.text().as_str(), "old" | "new")), "{responses:?}");
    assert_eq!(asked, 2, "the fill and one refresh");
}

#[test]
fn a_soft_purge_serves_stale_while_one_request_refreshes() {
    let origin = Origin::replies([Reply::fresh("old"), Reply::fresh("new")]);
    let cache = Cache::start(&origin);
    cache.get("/");
    assert_eq!(cache.purge(r#"{"url": "http://example.org/", "kind": "soft"}"#).status(), 200);
    cache.get("/").check(200, "old", "detail=stale-while-revalidate");
    cache.settle();
    cache.get("/").check(200, "new", "hit");
}

#[test]
fn malformed_purges_purge_nothing() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    cache.get("/");
    for body in
        ["", "not json", "{}", r#"{"url": 5}"#, r#"{"url": "/"}"#, r#"{"url": "http://example.org/", "all": true}"#]
    {
        let refused = cache.purge(body);
        assert_eq!(refused.status(), 400, "{body}: {}", refused.text());
        assert!(refused.text().contains("error"), "{body}: {}", refused.text());
    }
    let no_json = cache.admin().exchange("POST", "/purge", &[], br#"{"url": "http://example.org/"}"#);
    assert_eq!(no_json.status(), 415, "a form that another site sends has no such type");
    cache.get("/").check(200, "x", "hit");
}

#[test]
fn another_sites_page_cannot_reach_the_admin_side() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    cache.get("/");
    // DNS rebinding: a name in an attacker's zone that resolves to this machine.
    let mut rebound = cache.admin().host("attacker.example");
    let json = [("Content-Type", "application/json")];
    let refused = rebound.exchange("POST", "/purge", &json, br#"{"url": "http://example.org/"}"#);
    assert!((400..500).contains(&refused.status()), "{}", refused.status());
    cache.get("/").check(200, "x", "hit");
}

fn answer(response: &Response) -> Value {
    assert_eq!(response.status(), 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

#[test]
fn selectors_cover_what_they_name_and_nothing_else() {
    let targets = ["/shop", "/shop?x", "/shop/", "/shop/a", "/shopping", "/tag/a", "/tag/ab"];
    let check = |body: &str, expected: &[&str]| {
        let origin = Origin::start(|request| match request.target().strip_prefix("/tag/") {
            Some(tag) => Reply::fresh("x").header("Surrogate-Key", &format!("{tag} other")),
            None => Reply::fresh("x"),
        });
        let cache = Cache::start(&origin);
        targets.iter().for_each(|target| drop(cache.get(target)));
        let report = answer(&cache.purge(body));
        assert_eq!((&report["entries"], &report["swept"]), (&Value::Null, &json!("pending")), "{body}");
        let sequence = report["sequence"].as_u64().unwrap();
        eventually("the entry is swept", || cache.stats()["store"]["sweep"]["through"].as_u64() >= Some(sequence));
        assert_eq!(cache.stats()["store"]["evicted"]["purge"], expected.len(), "{body}");
        let gone: Vec<&str> = targets.into_iter().filter(|target| !cache.get(target).is_hit()).collect();
        assert_eq!(gone, expected, "{body}");
    };
    check(r#"{"prefix": "http://example.org/shop/"}"#, &["/shop/", "/shop/a"]);
    check(r#"{"prefix": "EXAMPLE.org:80/x/../shop"}"#, &["/shop", "/shop?x", "/shop/", "/shop/a"]);
    check(r#"{"prefix": "https://example.org/shop/"}"#, &[]);
    check(r#"{"tag": "a"}"#, &["/tag/a"]);
    check(r#"{"tags": ["ab", "none"]}"#, &["/tag/ab"]);
    check(r#"{"host": "Example.org"}"#, &targets);
    check(r#"{"host": "example.org:8080"}"#, &[]);
    check(r#"{"all": true}"#, &targets);
    check(r#"{"prefix": "example.org/shop/", "tag": "other"}"#, &["/shop/", "/shop/a", "/tag/a", "/tag/ab"]);
}

#[test]
fn a_purge_releases_the_bytes() {
    let origin = Origin::start(|_| Reply::fresh(vec![b'x'; 20_000]).header("Cache-Tag", "all").header("ETag", "\"1\""));
    let cache = Cache::start(&origin);
    let alive = || cache.stats()["memory"]["alive_bytes"].as_u64().unwrap();
    let empty = alive();
    (0..50).for_each(|at| drop(cache.get(&format!("/{at}"))));
    assert!(alive() > empty + 50 * 100);
    cache.purge(r#"{"tag": "all"}"#);
    eventually("the bytes are released", || alive() == empty);
    assert_eq!(cache.stats()["store"]["entries"], 0);
}

#[test]
fn a_url_is_counted_and_purged_as_its_route_keys_it() {
    let origin = Origin::start(|_| Reply::fresh("x").header("Vary", "Accept-Language"));
    let cache = Cache::with(&origin, |setup| setup.rule.query = QueryRule::Drop(Box::from([Box::from("utm_*")])));
    for language in ["de", "en"] {
        cache.get_with("/a?x=1&utm_source=news", &[("Accept-Language", language)]);
    }
    let purge = |url: &str| answer(&cache.purge(&json!({ "url": url }).to_string()))["entries"].clone();
    assert_eq!(purge("http://example.org/a"), 0);
    assert_eq!(purge("http://example.org/a?utm_source=other&x=1"), 2);
    assert!(!cache.get_with("/a?x=1", &[("Accept-Language", "de")]).is_hit());
}

#[test]
fn a_soft_purge_of_a_hot_key_makes_nobody_wait() {
    let gate = Gate::new();
    let script = {
        let (gate, asked) = (gate.clone(), std::sync::atomic::AtomicUsize::new(0));
        move |_: &_| match asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
            0 => Reply::fresh("old").header("Cache-Tag", "hot"),
            _ => Reply::fresh("new").hold(&gate),
        }
    };
    let origin = Origin::start(script);
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.purge(r#"{"tag": "hot", "kind": "soft"}"#);
    // The origin holds the refresh for as long as all of these requests take.
    for _ in 0..50 {
        cache.client().get("/").check(200, "old", "detail=stale-while-revalidate");
    }
    gate.arrived(1);
    gate.open();
    cache.settle();
    cache.get("/").check(200, "new", "hit");
    assert_eq!(origin.targets().len(), 2, "one refresh for all of them");
}

#[test]
fn a_head_that_was_asked_before_a_purge_does_not_undo_it() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.method().as_str() {
            "HEAD" => Reply::fresh("page").header("ETag", "\"1\"").hold(&gate),
            _ => Reply::fresh("page").header("ETag", "\"1\""),
        })
    };
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "page", "stored");
    let mut head = cache.client();
    head.ask("HEAD", "/", &[("Cache-Control", "no-cache")], b"");
    gate.arrived(1);
    cache.purge(r#"{"url": "http://example.org/", "kind": "validate"}"#);
    gate.open();
    assert_eq!(head.final_head().status, 200);
    let next = cache.get("/");
    assert!(!next.is_hit(), "{}", next.cache_status());
}

#[test]
fn a_soft_purge_validates_a_response_that_forbids_stale() {
    let origin = Origin::start(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("Cache-Control", "max-age=60, must-revalidate"),
        None => Reply::ok().header("Cache-Control", "max-age=60, must-revalidate").header("ETag", "\"1\"").body("x"),
    });
    let cache = Cache::start(&origin);
    cache.get("/");
    cache.purge(r#"{"url": "http://example.org/", "kind": "soft"}"#);
    cache.get("/").check(200, "x", "fwd-status=304");
    cache.get("/").check(200, "x", "hit");
}

/// Starts a cache that accepts PURGE from these networks, and trusts these proxies.
fn with_method(origin: &Origin, from: &[&str], trusted: &[&str]) -> Cache {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    Cache::with(origin, |setup: &mut Setup| {
        setup.config.proxy.purge_from = nets(from);
        setup.config.proxy.trusted_proxies = nets(trusted);
    })
}

#[test]
fn purge_by_method_works_from_listed_networks_only() {
    let check = |from: &[&str], trusted: &[&str], fields: &[(&str, &str)], status: u16| {
        let origin = Origin::start(|_| Reply::fresh("x"));
        let cache = with_method(&origin, from, trusted);
        cache.get("/a");
        let response = cache.request("PURGE", "/a", fields, b"");
        assert_eq!(response.status(), status, "{from:?} {trusted:?} {fields:?}: {}", response.text());
        assert_eq!(cache.get("/a").is_hit(), status != 200, "{from:?} {trusted:?} {fields:?}");
        assert!(origin.targets().len() <= 2, "a PURGE never goes to the origin");
        if status == 405 {
            assert!(response.header("allow").is_some());
        }
    };
    const LOCAL: &[&str] = &["127.0.0.0/8"];
    const OTHER: &[&str] = &["10.0.0.0/8"];
    check(&[], &[], &[], 405);
    check(OTHER, &[], &[], 403);
    check(LOCAL, &[], &[], 200);
    check(LOCAL, &[], &[("Purge-Kind", "gentle")], 400);
    // Through an untrusted proxy the sender is unknown.
    check(LOCAL, &[], &[("X-Forwarded-For", "127.0.0.1")], 403);
    check(LOCAL, &[], &[("Via", "1.1 front")], 403);
    check(OTHER, &[], &[("X-Forwarded-For", "10.0.0.1")], 403);
    // Through a trusted proxy, the sender is the last untrusted address in the chain.
    check(OTHER, LOCAL, &[("X-Forwarded-For", "10.0.0.1")], 200);
    check(OTHER, LOCAL, &[("X-Forwarded-For", "10.0.0.1, 192.0.2.1")], 403);
    check(OTHER, LOCAL, &[("X-Forwarded-For", "192.0.2.1"), ("X-Forwarded-For", "10.0.0.1, 127.0.0.1")], 200);
    check(OTHER, LOCAL, &[("X-Forwarded-For", "10.0.0.1, unknown")], 403);
    check(LOCAL, LOCAL, &[("X-Forwarded-For", "192.0.2.1")], 403);
    check(LOCAL, LOCAL, &[("Forwarded", "for=192.0.2.1")], 403);
    check(LOCAL, LOCAL, &[], 200);
}

#[test]
fn purge_by_method_reports_what_it_found_and_takes_a_kind() {
    let origin = Origin::replies([Reply::fresh("old"), Reply::fresh("new")]);
    let cache = with_method(&origin, &["127.0.0.1/32"], &[]);
    let nothing = cache.request("PURGE", "/", &[], b"");
    assert_eq!(
        (answer(&nothing)["entries"].clone(), nothing.cache_status()),
        (json!(0), "Larder; detail=purge".into())
    );
    cache.get("/");
    let soft = answer(&cache.request("PURGE", "/", &[("Purge-Kind", "soft")], b""));
    assert_eq!((&soft["purged"], &soft["entries"]), (&json!(1), &json!(1)));
    cache.get("/").check(200, "old", "detail=stale-while-revalidate");
    cache.settle();
    cache.get("/").check(200, "new", "hit");
    assert_eq!(cache.stats()["requests"]["by_outcome"]["own"], 2);
}

#[test]
fn larder_purge_purges() {
    let origin = Origin::start(|_| Reply::fresh("x").header("Cache-Tag", "a"));
    let process = Process::serve(&origin, "admin.token = \"0123456789abcdef\"");
    let is_hit = || process.client().get("/").is_hit();
    let admin = process.admin_addr().to_string();
    let purge = |arguments: &[&str]| process::run(&[&["purge", "--admin", &admin], arguments].concat());
    eventually("the page is stored", is_hit);
    let refused = purge(&["--tag", "a"]);
    assert_eq!(refused.code, Some(1), "{}", refused.output);
    assert!(refused.output.contains("LARDER_ADMIN_TOKEN"), "{}", refused.output);
    assert!(is_hit());
    let wrong = purge(&["--tag", "a", "--token", "wrong"]);
    assert_eq!(wrong.code, Some(1), "{}", wrong.output);
    assert!(is_hit());
    let token = ["--token", "0123456789abcdef"];
    let purged = purge(&[&["--tag", "a"][..], &token].concat());
    assert_eq!(purged.code, Some(0), "{}", purged.output);
    assert!(purged.output.contains("Purged 1 selector"), "{}", purged.output);
    assert!(!is_hit());
    let malformed = purge(&[&["/not/a/url"][..], &token].concat());
    assert!(malformed.code == Some(1) && malformed.output.contains("not a valid url"), "{}", malformed.output);
}
