//! `explain`: what it tells is what then happens. Thirty configurations of routes, the states that a stored response can be
//! in, saved responses, and questions that cannot be read.

use std::io::Write;

use larder::outcome::{Decision, Outcome, Reason, StoreOutcome};
use larder::respond::head;
use serde_json::{Value, json};

use crate::harness::{Cache, Cut, Gate, Origin, Reply, Response, WEBSOCKET, process};

/// Makes a question about a request to example.org.
pub(crate) fn question(method: &str, target: &str, fields: &[(&str, &str)]) -> Value {
    let headers: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    json!({ "url": format!("http://example.org{target}"), "method": method, "headers": headers })
}

/// Says where a report and the response that came after it disagree: in how the cache was used and why, and, where the
/// report judged the origin's response too, in whether that was stored and why not.
pub(crate) fn disagreement(report: &Value, response: &Response) -> Option<String> {
    let (now, found) = (&report["now"], response.cache_status());
    let word = |name: &str| now[name].as_str().unwrap_or_default();
    let outcome = *Outcome::ALL.iter().find(|outcome| outcome.token() == word("outcome")).unwrap();
    let reason = reason_of(word("reason"));
    if word("action") != "answer" && response.has("detail=stale-if-error") {
        let stands_in = [&now["if_origin_fails"]["unreachable"], &now["if_origin_fails"]["server_error"]];
        return (!stands_in.contains(&&json!("stale"))).then(|| format!("a stale response stood in: {found}"));
    }
    let forwarded = found.contains("; fwd=");
    if matches!(reason, Reason::Invalidated | Reason::Purged) && response.has("fwd=uri-miss") {
        // The sweep took it out in between.
        return None;
    }
    if now["asks_origin"] == true && !forwarded && !response.has("hit") {
        // The origin failed, which nobody could tell.
        return (now["if_origin_fails"]["unreachable"] != "failed").then(|| format!("it failed: {found}"));
    }
    let stored = match &report["response"] {
        _ if !forwarded => StoreOutcome::NothingTo,
        _ if word("action") == "pass" && !response.has("stored") => StoreOutcome::No(reason),
        Value::Null => return usage_differs(outcome, reason, now, response),
        judged if judged["stored"] == true => StoreOutcome::Started,
        judged => StoreOutcome::No(reason_of(judged["because"]["reason"].as_str().unwrap())),
    };
    let confirmed = now["conditional"] == true && response.has("fwd-status=304");
    let expected = match confirmed {
        true => Decision::new(Outcome::Revalidated, reason),
        false => Decision { stored, ..Decision::new(outcome, reason) },
    };
    let expected = head::cache_status(&expected, None).to_str().unwrap().to_owned();
    if essence(&expected) != essence(&found) {
        return Some(format!("told {expected}, found {found}"));
    }
    let status = now["status"].as_u64().filter(|status| *status != u64::from(response.status()));
    let ttl = now["ttl_seconds"].as_i64().filter(|ttl| response.ttl() != Some(*ttl));
    (status.is_some() || ttl.is_some()).then(|| format!("told {status:?} {ttl:?}, found {} {found}", response.status()))
}

/// Compares how the cache was used where nobody said what the origin's response would be.
fn usage_differs(outcome: Outcome, reason: Reason, now: &Value, response: &Response) -> Option<String> {
    let confirmed = now["conditional"] == true && response.has("fwd-status=304");
    let outcome = if confirmed { Outcome::Revalidated } else { outcome };
    let expected = head::cache_status(&Decision::new(outcome, reason), None).to_str().unwrap().to_owned();
    let usage = |status: &str| status.split("; ").find(|own| own.starts_with("fwd=")).map(str::to_owned);
    let found = response.cache_status();
    (usage(&expected) != usage(&found)).then(|| format!("told {expected}, found {found}"))
}

fn reason_of(token: &str) -> Reason {
    *Reason::ALL.iter().find(|reason| reason.token() == token).unwrap_or_else(|| panic!("{token:?} is no reason"))
}

/// Leaves of Cache-Status how the cache was used, whether the response was stored, and the detail.
fn essence(status: &str) -> Vec<&str> {
    let tells = |own: &&str| *own == "hit" || *own == "stored" || own.starts_with("fwd=") || own.starts_with("detail=");
    status.split("; ").filter(tells).collect()
}

/// Explains a request, sends it, and returns the report and the reason that both agree on.
#[track_caller]
fn explained(cache: &Cache, method: &str, target: &str, fields: &[(&str, &str)]) -> Value {
    let report = cache.explain(&question(method, target, fields));
    let again = cache.explain(&question(method, target, fields));
    assert_eq!(report["now"], again["now"], "to explain changes nothing");
    let response = cache.request(method, target, fields, b"");
    if let Some(what) = disagreement(&report, &response) {
        panic!("{method} {target} {fields:?}: {what}\n{report:#}");
    }
    report
}

/// An origin whose answer is named by the path's last segment.
fn by_name() -> Origin {
    Origin::start(|request| {
        let target = request.target();
        let path = target.split('?').next().unwrap_or_default();
        let cached = |value: &str| Reply::ok().header("Cache-Control", value).body("x");
        match path.rsplit('/').next().unwrap_or_default() {
            "silent" => Reply::ok().body("x"),
            "no-store" => cached("no-store"),
            "private" => cached("private"),
            "no-cache" => cached("no-cache").header("ETag", "\"1\""),
            "cookie" => Reply::ok().header("Set-Cookie", "a=b").header("ETag", "\"1\"").body("x"),
            "cookie-fresh" => Reply::fresh("x").header("Set-Cookie", "a=b"),
            "lang" => Reply::fresh("x").header("Vary", "Accept-Language"),
            "missing" => Reply::status("404 Not Found").body("x"),
            "short" => cached("max-age=5").header("ETag", "\"1\""),
            "swr" => cached("max-age=5, stale-while-revalidate=60"),
            "strict" => cached("max-age=5, must-revalidate"),
            _ => Reply::fresh("x"),
        }
    })
}

type Fields = &'static [(&'static str, &'static str)];

/// A configuration, what is asked before, how many seconds pass, what is asked, and for which reason and by which route it
/// is answered then.
struct ExplainCase(
    &'static str,
    &'static [(&'static str, Fields)],
    u64,
    (&'static str, &'static str, Fields),
    &'static str,
    Option<u64>,
);

const NONE: Fields = &[];
const SHOP: &str = "[[route]]\npath = \"/shop/\"\n";

const CASES: &[ExplainCase] = &[
    ExplainCase("", &[], 0, ("GET", "/a", NONE), "uri-miss", None),
    ExplainCase("", &[("/a", NONE)], 0, ("GET", "/a", NONE), "fresh", None),
    ExplainCase(
        "[[route]]\npath = \"/shop/\"\ncache = \"bypass\"",
        &[("/shop/a", NONE)],
        0,
        ("GET", "/shop/x/../a", NONE),
        "bypass",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\npath = \"/shop/\"\ncache = \"bypass\"",
        &[("/shopping", NONE)],
        0,
        ("GET", "/shopping", NONE),
        "fresh",
        None,
    ),
    ExplainCase(
        "[[route]]\npath = \"/shop/\"\ncache = \"bypass\"",
        &[],
        0,
        ("GET", "/shop/a", &[("Cache-Control", "only-if-cached")]),
        "only-if-cached",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\ncache = \"force\"\nttl = \"1m\"",
        &[("/no-store", NONE)],
        0,
        ("GET", "/no-store", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\ncache = \"force\"\nttl = \"1m\"",
        &[("/private", NONE), ("/private", NONE)],
        0,
        ("GET", "/private", NONE),
        "hit-for-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\ncache = \"force\"\nttl = \"1m\"",
        &[("/no-store", NONE)],
        61,
        ("GET", "/no-store", NONE),
        "stale",
        Some(1),
    ),
    ExplainCase("[[route]]\nttl = \"1m\"", &[("/silent", NONE)], 59, ("GET", "/silent", NONE), "fresh", Some(1)),
    ExplainCase("[[route]]\nttl = \"1m\"", &[("/missing", NONE)], 0, ("GET", "/missing", NONE), "uri-miss", Some(1)),
    ExplainCase(
        "[cache]\nttl_by_status = { 404 = \"1m\" }",
        &[("/missing", NONE)],
        30,
        ("GET", "/missing", NONE),
        "fresh",
        None,
    ),
    ExplainCase("[[route]]\nkey.query = \"none\"", &[("/a?x=1", NONE)], 0, ("GET", "/a?y=2", NONE), "fresh", Some(1)),
    ExplainCase(
        "[[route]]\nkey.query = { drop = [\"utm_*\"] }",
        &[("/a?id=1&utm_a=1", NONE)],
        0,
        ("GET", "/a?utm_b=2&id=1", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.query = [\"id\"]",
        &[("/a?id=1&x=1", NONE)],
        0,
        ("GET", "/a?x=2&id=2", NONE),
        "uri-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.headers = [\"x-plan\"]",
        &[("/a", &[("X-Plan", "a")])],
        0,
        ("GET", "/a", &[("X-Plan", "a")]),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.headers = [\"x-plan\"]",
        &[("/a", &[("X-Plan", "a")])],
        0,
        ("GET", "/a", &[("X-Plan", "b")]),
        "uri-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.cookies = [\"currency\"]",
        &[("/a", &[("Cookie", "currency=eur")])],
        0,
        ("GET", "/a", &[("Cookie", "currency=eur")]),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.cookies = [\"currency\"]",
        &[("/a", &[("Cookie", "currency=eur")])],
        0,
        ("GET", "/a", &[("Cookie", "currency=usd")]),
        "uri-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nmethods = [\"POST\"]\ncache = \"bypass\"",
        &[("/a", NONE)],
        0,
        ("GET", "/a", NONE),
        "fresh",
        None,
    ),
    ExplainCase("[[route]]\nmethods = [\"POST\"]\ncache = \"bypass\"", &[], 0, ("POST", "/a", NONE), "bypass", Some(1)),
    ExplainCase(
        "[[route]]\nmethods = [\"GET\"]\npath = \"/a\"",
        &[("/a", NONE)],
        0,
        ("HEAD", "/a", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nhost = \"example.org\"\ncache = \"bypass\"",
        &[],
        0,
        ("GET", "/a", NONE),
        "bypass",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nhost = \"*.example.org\"\ncache = \"bypass\"",
        &[("/a", NONE)],
        0,
        ("GET", "/a", NONE),
        "fresh",
        None,
    ),
    ExplainCase(
        "[[route]]\npath = \"/img/**/*.png\"\ncache = \"bypass\"\n[[route]]\npath = \"/img/\"",
        &[("/img/a", NONE)],
        0,
        ("GET", "/img/a", NONE),
        "fresh",
        Some(2),
    ),
    ExplainCase(
        "[[route]]\nset_cookie = \"strip\"\nttl = \"1m\"",
        &[("/cookie", NONE)],
        0,
        ("GET", "/cookie", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nset_cookie = \"never-store\"",
        &[("/cookie-fresh", NONE)],
        0,
        ("GET", "/cookie-fresh", NONE),
        "uri-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nstale_while_revalidate = \"1m\"",
        &[("/short", NONE)],
        10,
        ("GET", "/short", NONE),
        "stale-while-revalidate",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nobject_bytes_max = \"0\"",
        &[("/a", NONE), ("/a", NONE)],
        0,
        ("GET", "/a", NONE),
        "hit-for-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\npersonalisation_guard = false",
        &[("/a", &[("Cookie", "a=1")])],
        0,
        ("GET", "/a", &[("Cookie", "a=2")]),
        "fresh",
        Some(1),
    ),
    ExplainCase(SHOP, &[("/a", &[("Cookie", "a=1")])], 0, ("GET", "/a", &[("Cookie", "a=2")]), "probation", None),
    ExplainCase(
        "[[route]]\nignore_cookies = [\"a\"]",
        &[("/a", &[("Cookie", "a=1")])],
        0,
        ("GET", "/a", &[("Cookie", "a=2")]),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[cache]\nobey_client_no_cache = false",
        &[("/a", NONE)],
        0,
        ("GET", "/a", &[("Cache-Control", "no-cache")]),
        "fresh",
        None,
    ),
    ExplainCase("", &[("/a", NONE)], 0, ("GET", "/a", &[("Cache-Control", "no-cache")]), "request", None),
    ExplainCase(
        "",
        &[("/lang", &[("Accept-Language", "de")])],
        0,
        ("GET", "/lang", &[("Accept-Language", "en")]),
        "vary-miss",
        None,
    ),
    ExplainCase("", &[("/no-cache", NONE)], 0, ("GET", "/no-cache", NONE), "no-cache", None),
    ExplainCase("", &[("/short", NONE)], 9, ("GET", "/short", NONE), "stale", None),
    ExplainCase("", &[("/swr", NONE)], 9, ("GET", "/swr", NONE), "stale-while-revalidate", None),
    ExplainCase("", &[("/short", NONE)], 9, ("GET", "/short", &[("Cache-Control", "max-stale=60")]), "max-stale", None),
    ExplainCase("", &[], 0, ("GET", "/a", &[("Range", "bytes=0-0")]), "range-miss", None),
    ExplainCase("", &[("/a", NONE)], 0, ("GET", "/a", &[("Range", "bytes=0-0")]), "fresh", None),
    ExplainCase("", &[], 0, ("GET", "/a", &WEBSOCKET), "upgrade", None),
    ExplainCase("", &[], 0, ("TRACE", "/a", NONE), "method-refused", None),
    ExplainCase("", &[], 0, ("BREW", "/a", NONE), "method", None),
    ExplainCase("", &[], 0, ("GET", "/a", &[("Cache-Control", "only-if-cached")]), "only-if-cached", None),
    ExplainCase("[[site]]\nhosts = [\"another.example\"]", &[], 0, ("GET", "/a", NONE), "site-unknown", None),
];

#[test]
fn what_is_told_is_what_happens_whatever_the_configuration() {
    let origin = by_name();
    let mut wrong = Vec::new();
    for ExplainCase(lines, before, seconds, (method, target, fields), reason, route) in CASES {
        let cache = Cache::configured(&origin, lines);
        for (target, fields) in *before {
            cache.get_with(target, fields);
        }
        cache.step(*seconds);
        let report = cache.explain(&question(method, target, fields));
        let told = (report["now"]["reason"].as_str().unwrap_or_default(), report["route"]["number"].as_u64());
        let response = cache.request(method, target, fields, b"");
        let what = disagreement(&report, &response);
        if told != (*reason, *route) || what.is_some() {
            wrong.push(format!(
                "{lines:?} {method} {target} {fields:?}: told {told:?} of ({reason:?}, {route:?}); {what:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_report_that_is_wrong_is_seen_to_be() {
    let origin = by_name();
    let cache = Cache::start(&origin);
    let missed = cache.explain(&question("GET", "/a", &[]));
    assert_eq!(disagreement(&missed, &cache.get("/a")), None);
    assert!(disagreement(&missed, &cache.get("/a")).is_some(), "a hit after a miss was told");
    let hit = cache.explain(&question("GET", "/a", &[]));
    assert!(disagreement(&hit, &cache.get("/other")).is_some(), "a miss after a hit was told");
    cache.step(1);
    assert!(disagreement(&hit, &cache.get("/a")).is_some(), "another ttl");
    let mut judged = question("GET", "/no-store", &[]);
    judged["response"] = json!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n");
    let stored = cache.explain(&judged);
    assert!(disagreement(&stored, &cache.get("/no-store")).is_some(), "not stored after `stored` was told");
}

#[test]
fn what_is_stored_is_told_in_full() {
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
    assert_eq!(origin.count(), 2, "nothing was asked of the origin");
}

#[test]
fn purges_guard_and_flights_are_told_as_they_stand() {
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
    // The first of two users brings it in, the second is compared, the third is watched.
    cache.get_with("/guarded", &[("Cookie", "user=1")]);
    let second = explained(&cache, "GET", "/guarded", &[("Cookie", "user=2")]);
    assert_eq!((&second["now"]["action"], &second["now"]["reason"]), (&json!("compare"), &json!("probation")));
    assert_eq!(second["stored"][0]["guard"]["brought_in_with"], json!(["Cookie"]));
    cache.settle();
    let third = explained(&cache, "GET", "/guarded", &[("Cookie", "user=3")]);
    assert_eq!((&third["now"]["reason"], &third["stored"][0]["guard"]["state"]), (&json!("fresh"), &json!("shared")));
    // Somebody is fetching it already.
    let mut first = cache.client();
    first.ask("GET", "/slow", &[], b"");
    gate.arrived(1);
    assert_eq!(cache.explain(&question("GET", "/slow", &[]))["now"]["waits"], true);
    gate.open();
    first.response();
}

#[test]
fn a_failing_origin_is_foretold_where_it_can_be_known() {
    let mut origin = Origin::start(|_| Reply::ok().header("Cache-Control", "max-age=5").body("x"));
    let lines = "[origin]\nbreaker_failures = 1\nbreaker_interval = \"10m\"";
    let cache = Cache::configured(&origin, lines);
    cache.get("/a");
    cache.step(6);
    let before = cache.explain(&question("GET", "/a", &[]));
    assert_eq!(before["now"]["if_origin_fails"], json!({ "unreachable": "stale", "server_error": "passed" }));
    origin.stop();
    // The first that cannot connect opens the breaker.
    cache.get("/other");
    let stale = explained(&cache, "GET", "/a", &[]);
    assert_eq!((&stale["now"]["action"], &stale["now"]["reason"]), (&json!("answer"), &json!("stale-if-error")));
    let failed = explained(&cache, "GET", "/b", &[]);
    assert_eq!((&failed["now"]["action"], &failed["now"]["status"]), (&json!("fail"), &json!(503)));
    assert_eq!(failed["now"]["reason"], "destination_unavailable");
}

#[test]
fn a_head_that_answers_a_condition_or_a_range_is_foretold_with_its_status() {
    let origin = Origin::start(|_| Reply::fresh("0123456789").header("ETag", "\"1\""));
    let cache = Cache::start(&origin);
    cache.get("/a");
    for (name, value, status) in [
        ("If-None-Match", "\"1\"", 304),
        ("If-Match", "\"1\"", 200),
        ("Range", "bytes=2-3", 206),
        ("Range", "bytes=20-", 416),
        ("Range", "bytes=0-0,9-9", 206),
    ] {
        let report = explained(&cache, "GET", "/a", &[(name, value)]);
        assert_eq!(report["now"]["status"], status, "{name}: {value}");
    }
    let unmet = explained(&cache, "GET", "/a", &[("If-Match", "\"2\"")]);
    assert_eq!((&unmet["now"]["action"], &unmet["now"]["reason"]), (&json!("pass"), &json!("precondition")));
}

#[test]
fn a_response_is_judged_as_the_fill_does() {
    let replies = [
        ("Cache-Control: max-age=60", true),
        ("Cache-Control: no-store", false),
        ("Cache-Control: private, max-age=60", false),
        ("Cache-Control: max-age=60\r\nVary: *", false),
        ("Cache-Control: max-age=60\r\nSurrogate-Key: a b c", false),
        ("Cache-Control: max-age=60\r\nContent-Length: 2000", false),
        ("X: y", false),
    ];
    for (fields, stored) in replies {
        let origin = Origin::start(move |_| {
            let length = if fields.contains("Content-Length") { 2_000 } else { 1 };
            let lines = fields.split("\r\n").filter_map(|line| line.split_once(": "));
            let lines = lines.filter(|(name, _)| *name != "Content-Length");
            lines.fold(Reply::ok().body(vec![b'x'; length]), |reply, (name, value)| reply.header(name, value))
        });
        let cache = Cache::configured(&origin, "[memory]\ntags_max = 2\nobject_bytes_max = \"1KiB\"");
        let mut asked = question("GET", "/", &[]);
        let sized = if fields.contains("Content-Length") { "" } else { "\r\nContent-Length: 1" };
        asked["response"] = json!(format!("HTTP/1.1 200 OK\r\n{fields}{sized}\r\n\r\n"));
        asked["received"] = json!("now");
        let report = cache.explain(&asked);
        assert_eq!(report["response"]["stored"], stored, "{fields}: {report:#}");
        let response = cache.get("/");
        assert_eq!(disagreement(&report, &response), None, "{fields}");
    }
}

#[test]
fn an_error_that_may_be_stored_is_judged_by_what_it_would_replace() {
    let origin = Origin::start(|request| match request.header("x-odd") {
        Some(_) => Reply::status("500 Internal Server Error").header("Cache-Control", "max-age=60").body("no"),
        None => Reply::fresh("page"),
    });
    let cache = Cache::start(&origin);
    let odd = [("X-Odd", "1"), ("Cache-Control", "no-cache")];
    for stored in [true, false] {
        let path = if stored { "/new" } else { "/stored" };
        if !stored {
            cache.get(path);
        }
        let mut asked = question("GET", path, &odd);
        let head = "HTTP/1.1 500 Internal Server Error\r\nCache-Control: max-age=60\r\nContent-Length: 2\r\n\r\n";
        (asked["response"], asked["received"]) = (json!(head), json!("now"));
        let report = cache.explain(&asked);
        assert_eq!(report["response"]["stored"], stored, "{report:#}");
        assert_eq!(disagreement(&report, &cache.get_with(path, &odd)), None);
    }
}

#[test]
fn a_response_that_the_origins_client_would_refuse_is_said_to_be_refused() {
    let origin = Origin::start(|_| Reply::ok());
    let cache = Cache::start(&origin);
    for (head, reason) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n", "http_protocol_error"),
        ("HTTP/1.1 700 Odd\r\nContent-Length: 1\r\n", "http_protocol_error"),
        ("HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n", "http_protocol_error"),
        ("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n", "unsized"),
    ] {
        let mut asked = question("GET", "/", &[]);
        asked["response"] = json!(head);
        let report = cache.explain(&asked);
        assert_eq!(report["response"]["because"]["reason"], reason, "{head}");
    }
}

#[test]
fn questions_that_cannot_be_read_change_nothing_and_say_what_is_wrong() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let ask = |body: &[u8]| cache.admin().exchange("POST", "/explain", &[("Content-Type", "application/json")], body);
    let huge = json!({ "url": "http://example.org/", "headers": [format!("A: {}", "x".repeat(300_000))] }).to_string();
    let many = json!({ "url": "http://example.org/", "headers": vec!["A: b"; 1_000] }).to_string();
    for (body, status, told) in [
        ("", 400, "EOF"),
        ("{\"url\": ", 400, "EOF"),
        (r#"{"url": "/"}"#, 400, "no whole URL"),
        (r#"{"url": "ftp://example.org/"}"#, 400, "`url`"),
        (r#"{"url": "http://example.org/", "method": "G\nT"}"#, 400, "no method"),
        (r#"{"url": "http://example.org/", "headers": ["B\u00fcro: x"]}"#, 400, "name that no field can have"),
        (r#"{"url": "http://example.org/", "headers": ["A: b\r\nC: d"]}"#, 400, "control byte"),
        (many.as_str(), 400, "more than 100"),
        (huge.as_str(), 413, "at most"),
    ] {
        let answer = ask(body.as_bytes());
        assert_eq!(answer.status(), status, "{answer:?}");
        assert!(answer.text().contains(told), "{told}: {}", answer.text());
    }
    let no_json = cache.admin().exchange("POST", "/explain", &[], b"{}");
    assert_eq!(no_json.status(), 415);
    assert_eq!(cache.admin().exchange("GET", "/explain", &[], b"").status(), 405);
    assert_eq!(origin.count(), 0);
    // What can be read and is odd all the same has an answer.
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
    for part in ["It is answered from the store.", "[fresh]", "(max-age)", "none matches", "in memory"] {
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

#[test]
fn an_origin_that_hangs_up_is_what_nobody_could_tell() {
    let origin =
        Origin::replies([Reply::ok().header("Cache-Control", "max-age=5").body("x"), Reply::hang_up(Cut::Fin)]);
    let cache = Cache::start(&origin);
    cache.get("/a");
    cache.step(6);
    let report = explained(&cache, "GET", "/a", &[]);
    assert_eq!(report["now"]["if_origin_fails"]["unreachable"], "stale");
}
