//! `POST /purge` on the admin side: what was purged is not served again, whatever its form.

use crate::harness::{Cache, Gate, Origin, Reply};

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
fn a_purge_covers_what_is_still_under_way() {
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
    assert_eq!(early.at_least(3), b"old", "who asked before the purge gets what there was");
    cache.settle();
    assert_ne!(cache.get("/").text(), "old", "what was asked for before the purge is not stored");
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
fn what_cannot_be_understood_purges_nothing() {
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
fn a_page_elsewhere_cannot_reach_the_admin_side() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    cache.get("/");
    // A name that an attacker's server answers for, pointed at this machine (DNS rebinding).
    let mut rebound = cache.admin().host("attacker.example");
    let json = [("Content-Type", "application/json")];
    let refused = rebound.exchange("POST", "/purge", &json, br#"{"url": "http://example.org/"}"#);
    assert!((400..500).contains(&refused.status()), "{}", refused.status());
    cache.get("/").check(200, "x", "hit");
}
