//! The report itself: stored responses, purges, the guard and flights; malformed questions; and
//! `larder explain`.

use std::io::Write;

use serde_json::{Value, json};

use super::{explained, question};
use crate::harness::{Cache, Gate, Origin, Reply, process};

#[test]
fn a_stored_response_is_described_in_full() {
    let origin = Origin::start(|request| {
        let language = request.header("accept-language").unwrap_or_default();
        Reply::ok()
            .header("Cache-Control", "s-maxage=60, stale-while-revalidate=30")
            .header("Vary", "Accept-Language")
            .header("Surrogate-Key", "shop news")
            .header("ETag", "\"v1\"")
            .body(language)
    });
    let cache = Cache::configured(&origin, "[[route]]\npath = \"/shop/\"\nkey.headers = [\"x-plan\"]\nttl = \"5m\"");
    let get = |language| [("Accept-Language", language), ("X-Plan", "a")];
    for language in ["de", "en"] {
        cache.get_with("/shop/%61", &get(language));
    }
    cache.step(12);
    let report = explained(&cache, "GET", "/shop/a", &get("de"));
    assert_eq!(report["request"]["url"], "http://example.org/shop/a");
    assert_eq!(report["request"]["key"], "http://example.org/shop/a\nheader:x-plan=a");
    assert_eq!(report["request"]["key_hash"].as_str().unwrap().len(), 32);
    let route = &report["route"];
    assert_eq!((&route["number"], &route["path"], &route["ttl_seconds"]), (&json!(1), &json!("/shop/"), &json!(300)));
    let stored = report["stored"].as_array().unwrap();
    assert_eq!(stored.len(), 2, "{report:#}");
    assert_eq!((&stored[0]["selected"], &stored[1]["selected"]), (&json!(false), &json!(true)), "the newest is first");
    for (name, expected) in [
        ("vary", json!({ "accept-language": "de" })),
        ("status", json!(200)),
        ("age_seconds", json!(12)),
        ("lifetime_seconds", json!(60)),
        ("lifetime_from", json!("s-maxage")),
        ("ttl_seconds", json!(48)),
        ("tags", json!(["shop", "news"])),
        ("etag", json!("\"v1\"")),
        ("body_bytes", json!(2)),
        ("held", json!([{ "coding": "identity", "bytes": 2 }])),
        ("tier", json!("memory")),
        ("guard", json!(null)),
        ("purge", json!("untouched")),
    ] {
        assert_eq!(stored[1][name], expected, "{name}");
    }
    assert_eq!(stored[1]["stale_use"]["while_revalidate_seconds"], 30);
    let now = &report["now"];
    assert_eq!((&now["section"], &now["asks_origin"]), (&json!("RFC 9111 §4.2"), &json!(false)));
    assert_eq!(origin.count(), 2, "the origin received no request");
}

#[test]
fn purges_the_guard_and_flights_are_reported_as_they_are() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| match request.target().as_str() {
        "/slow" => Reply::fresh("x").hold(&held),
        _ => Reply::fresh("x").header("ETag", "\"1\""),
    });
    let cache = Cache::start(&origin);
    for (kind, purge, reason) in [
        ("soft", "soft-purged", "stale-while-revalidate"),
        ("validate", "to-be-validated", "invalidated"),
        ("hard", "purged", "purged"),
    ] {
        cache.get("/a");
        cache.purge(&json!({ "url": "http://example.org/a", "kind": kind }).to_string());
        let report = explained(&cache, "GET", "/a", &[]);
        assert_eq!(
            (&report["stored"][0]["purge"], &report["now"]["reason"]),
            (&json!(purge), &json!(reason)),
            "{kind}"
        );
        assert_eq!(report["now"]["conditional"], json!(kind == "validate"), "{kind}");
    }
    // The first of two users has it stored, the second is compared, the third sees the result.
    cache.get_with("/guarded", &[("Cookie", "user=1")]);
    let second = explained(&cache, "GET", "/guarded", &[("Cookie", "user=2")]);
    assert_eq!((&second["now"]["action"], &second["now"]["reason"]), (&json!("compare"), &json!("probation")));
    assert_eq!(second["stored"][0]["guard"]["brought_in_with"], json!(["Cookie"]));
    cache.settle();
    let third = explained(&cache, "GET", "/guarded", &[("Cookie", "user=3")]);
    assert_eq!((&third["now"]["reason"], &third["stored"][0]["guard"]["state"]), (&json!("fresh"), &json!("shared")));
    // Another client is fetching it already.
    let mut first = cache.client();
    first.ask("GET", "/slow", &[], b"");
    gate.arrived(1);
    assert_eq!(cache.explain(&question("GET", "/slow", &[]))["now"]["waits"], true);
    gate.open();
    first.response();
}

#[test]
fn malformed_questions_change_nothing_and_are_answered_with_the_fault() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let ask = |body: &[u8]| cache.admin().exchange("POST", "/explain", &[("Content-Type", "application/json")], body);
    let huge = json!({ "url": "http://example.org/", "headers": [format!("A: {}", "x".repeat(300_000))] }).to_string();
    let many = json!({ "url": "http://example.org/", "headers": vec!["A: b"; 1_000] }).to_string();
    for (body, status, fault) in [
        ("", 400, "EOF"),
        ("{\"url\": ", 400, "EOF"),
        (r#"{"url": "/"}"#, 400, "not a full URL"),
        (r#"{"url": "ftp://example.org/"}"#, 400, "`url`"),
        (r#"{"url": "http://example.org/", "method": "G\nT"}"#, 400, "not a method"),
        (r#"{"url": "http://example.org/", "headers": ["B\u00fcro: x"]}"#, 400, "invalid field name"),
        (r#"{"url": "http://example.org/", "headers": ["A: b\r\nC: d"]}"#, 400, "control byte"),
        (many.as_str(), 400, "more than 100"),
        (huge.as_str(), 413, "at most"),
    ] {
        let answer = ask(body.as_bytes());
        assert_eq!(answer.status(), status, "{answer:?}");
        assert!(answer.text().contains(fault), "{fault}: {}", answer.text());
    }
    let no_json = cache.admin().exchange("POST", "/explain", &[], b"{}");
    assert_eq!(no_json.status(), 415);
    assert_eq!(cache.admin().exchange("GET", "/explain", &[], b"").status(), 405);
    assert_eq!(origin.count(), 0);
    // Unusual questions that can still be read have an answer.
    let two_hosts = question("GET", "/", &[("Host", "example.org"), ("Host", "example.org")]);
    assert_eq!(cache.explain(&two_hosts)["now"]["reason"], "bad-request");
    let elsewhere = cache.explain(&question("GET", "/", &[("Host", "another.example")]));
    assert_eq!(elsewhere["request"]["url"], "http://another.example/");
    let secure = cache.explain(&json!({ "url": "https://example.org/" }));
    assert!(secure["notes"][0].as_str().unwrap().contains("trusted_proxies"), "{secure:#}");
}

#[test]
fn the_command_asks_a_running_larder_and_judges_saved_responses_without_one() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    cache.get("/a");
    let admin = cache.admin_addr().to_string();
    let ran = process::run(&["explain", "http://example.org/a", "-H", "Accept: */*", "--admin", &admin]);
    assert_eq!(ran.code, Some(0), "{}", ran.output);
    for part in ["Served from cache.", "[fresh]", "(max-age)", "none matches", "in memory"] {
        assert!(ran.output.contains(part), "{part}: {}", ran.output);
    }
    let ran = process::run(&["explain", "http://example.org/b", "--json", "--admin", &admin]);
    let report: Value = serde_json::from_str(&ran.output).unwrap();
    assert_eq!(report["now"]["reason"], "uri-miss");
    assert_eq!(process::run(&["explain", "/b", "--admin", &admin]).code, Some(1));

    let folder = tempfile::tempdir().unwrap();
    let saved = folder.path().join("head");
    let mut file = std::fs::File::create(&saved).unwrap();
    file.write_all(b"HTTP/1.1 200 OK\r\nCache-Control: private\r\nContent-Length: 2\r\n\r\n\xff\xfe").unwrap();
    let ran = process::run_with(&saved, &["explain", "--response", "http://example.org/a"]);
    assert_eq!(ran.code, Some(0), "{}", ran.output);
    for part in ["would not be stored", "[private]", "RFC 9111 §5.2.2.7", "fix"] {
        assert!(ran.output.contains(part), "{part}: {}", ran.output);
    }
    assert_eq!(origin.count(), 1);
}
