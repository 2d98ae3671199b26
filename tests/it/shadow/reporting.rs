//! The report of shadow mode: counts, bodies that differ with their causes, advice, and
//! `larder shadow-report`.

use serde_json::{Value, json};

use super::{public, report, with};
use crate::harness::{Origin, Process, Reply, eventually};

#[test]
fn predicted_outcomes_are_counted() {
    let (_origin, cache) = with(|request| match request.target().as_str() {
        "/secret" => Reply::ok().header("Cache-Control", "no-store").body("secret"),
        "/broken" => Reply::status("500 No").body("no"),
        _ => Reply::fresh("0123456789"),
    });
    for _ in 0..3 {
        cache.get("/a");
    }
    cache.get("/secret");
    cache.request("POST", "/form", &[], b"x=1");
    cache.get("/broken");
    let report = report(&cache);
    let total = &report["total"];
    assert_eq!(
        total["would_be"],
        json!({"hit": 2, "miss": 3, "pass": 1, "stale": 0, "revalidated": 0, "refused": 0, "failed": 0, "own": 0})
    );
    assert_eq!((&total["requests"], &total["hit_ratio"]), (&json!(6), &json!(2.0 / 6.0)));
    assert_eq!((&total["origin_requests_saved"], &total["bytes_saved"]), (&json!(2), &json!(20)));
    assert!(total["origin_time_saved_us"].as_u64().unwrap() > 0);
    assert!(total["origin_time_us"].as_u64() > total["origin_time_saved_us"].as_u64());
    assert_eq!(report["compared"], json!({"same": 2, "differed": 0, "differed_within_tag": 0, "not_compared": 0}));
    let reasons: Vec<_> =
        report["not_hits"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap()).collect();
    for reason in ["no-store", "method", "no-lifetime", "uri-miss"] {
        assert!(reasons.contains(&reason), "{reason} is not in {reasons:?}");
    }
    let metrics = cache.admin().get("/metrics").text();
    assert!(metrics.contains("larder_shadow_requests_total{outcome=\"hit\"} 2"), "{metrics}");
    assert!(metrics.contains("larder_shadow_compared_total{result=\"same\"} 2"), "{metrics}");
}

#[test]
fn a_differing_body_is_listed_with_the_field_that_varied() {
    let (_origin, cache) = with(|request| {
        let language = request.header("accept-language").unwrap_or_default();
        public(format!("in {language}")).header("Content-Language", &language)
    });
    // The User-Agent varies too, once together with the language and once alone.
    for (language, agent) in [("en", "a"), ("de", "b"), ("en", "b"), ("fr", "a")] {
        cache.get_with("/page", &[("Accept-Language", language), ("User-Agent", agent), ("X-Request-Id", agent)]);
    }
    let report = report(&cache);
    let row = &report["differs"][0];
    assert_eq!((&row["url"], &row["times"], &row["same"]), (&json!("http://example.org/page"), &json!(2), &json!(1)));
    let causes: Vec<_> =
        row["request"].as_array().unwrap().iter().filter(|suspect| suspect["is_cause"] == true).collect();
    assert_eq!(
        causes,
        [&json!({"kind": "header", "name": "accept-language", "times": 2, "harmless": 0, "is_cause": true})]
    );
    assert_eq!(row["response"], json!(["content-language"]));
    let advice = &report["advice"][0];
    assert_eq!(advice["toml"], "[[route]]\npath = \"=/page\"\nkey.headers = [\"accept-language\"]");
    assert_eq!(advice["app"], "Send `Vary: Accept-Language`.");
}

#[test]
fn a_cookie_that_changes_a_public_page_is_listed() {
    let (_origin, cache) = with(|request| {
        let cookies = request.header("cookie").unwrap_or_default();
        public(if cookies.contains("currency=eur") { "1 €" } else { "1 $" })
    });
    for cookies in ["currency=usd; id=1; _ga=1", "currency=usd; id=2; _ga=2", "currency=eur; id=1; _ga=3"] {
        cache.get_with("/price", &[("Cookie", cookies)]);
    }
    let report = report(&cache);
    let suspects = report["differs"][0]["request"].as_array().unwrap();
    assert_eq!(suspects.len(), 1, "{suspects:?}");
    assert_eq!((&suspects[0]["kind"], &suspects[0]["name"]), (&json!("cookie"), &json!("currency")));
    assert_eq!(report["advice"][0]["toml"], "[[route]]\npath = \"=/price\"\nkey.cookies = [\"currency\"]");
}

#[test]
fn a_page_that_changes_by_itself_has_no_cause() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let (_origin, cache) = with(move |_| {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        public(format!("{nth}")).header("ETag", "W/\"1\"")
    });
    (0..4).for_each(|_| _ = cache.get("/"));
    let report = report(&cache);
    let row = &report["differs"][0];
    assert_eq!((&row["by_itself"], &row["same_tag"], &row["request"]), (&json!(3), &json!(3), &json!([])));
    assert_eq!(report["compared"]["differed_within_tag"], 3);
    assert_eq!(report["advice"], json!([]), "the app itself calls the pages equal");
}

#[test]
fn dropping_parameters_that_change_nothing_is_advised() {
    let (_origin, cache) = with(|request| {
        let target = request.target();
        let wanted = target.split(['?', '&']).find_map(|pair| pair.strip_prefix("q="));
        Reply::fresh(format!("found {}", wanted.unwrap_or("nothing")))
    });
    for query in ["q=a&utm=1", "q=a&utm=2", "q=b&utm=2", "q=b&utm=3", "q=a&utm=3", "q=a"] {
        cache.get(&format!("/search?{query}"));
    }
    let report = report(&cache);
    let rows: Vec<_> = report["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["name"].as_str().unwrap(), row["same"].as_u64().unwrap(), row["different"].as_u64() > Some(0)))
        .collect();
    assert_eq!(rows, [("utm", 3, false), ("q", 0, true)]);
    assert_eq!(report["advice"][0]["toml"], "[[route]]\npath = \"=/search\"\nkey.query = { drop = [\"utm\"] }");
}

#[test]
fn entries_of_shadow_mode_are_never_served_and_the_report_says_that_it_ended() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::fresh(format!("page {nth}"))
    });
    let larder = Process::serve(&origin, "mode = \"shadow\"\nreload_on_change = false");
    let get = || larder.client().get("/");
    assert!(get().cache_status().ends_with("detail=shadow:miss:uri-miss"));
    assert!(get().cache_status().ends_with("detail=shadow:hit:fresh"));
    let printed = shadow_report(&larder, &[]);
    for text in ["Everything is in shadow mode", "50.0 %", "another body", "One page changed while fresh"] {
        assert!(printed.contains(text), "no {text:?} in\n{printed}");
    }
    larder.configure("mode = \"serve\"\nreload_on_change = false");
    assert_eq!(larder.reload().0, 200);
    get().check(200, "page 2", "fwd=uri-miss");
    eventually("the page is stored", || get().has("hit"));
    larder.configure("mode = \"shadow\"\nreload_on_change = false");
    assert_eq!(larder.reload().0, 200);
    let count = origin.count();
    assert!(
        get().cache_status().ends_with("detail=shadow:hit:fresh"),
        "entries of shadow mode are still there for shadow mode"
    );
    assert_eq!(origin.count(), count + 1);
    larder.configure("mode = \"serve\"\nreload_on_change = false");
    assert_eq!(larder.reload().0, 200);
    assert!(shadow_report(&larder, &[]).starts_with("Nothing is in shadow mode any more"));
    let json: Value = serde_json::from_str(&shadow_report(&larder, &["--json"])).unwrap();
    assert_eq!((&json["running"], &json["total"]["requests"]), (&json!("none"), &json!(3)));
}

#[test]
fn without_shadow_mode_the_report_says_how_to_start_it() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let larder = Process::serve(&origin, "");
    larder.client().get("/");
    assert!(shadow_report(&larder, &[]).starts_with("Nothing is in shadow mode: set `mode = \"shadow\"`"));
}

/// Runs `larder shadow-report`.
#[track_caller]
fn shadow_report(larder: &Process, flags: &[&str]) -> String {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_larder"));
    command.current_dir(larder.folder()).arg("shadow-report").arg("--admin").arg(larder.admin_addr().to_string());
    let output = command.args(flags).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_body_is_compared_with_its_own_coding_only() {
    let (_origin, cache) = with(|request| {
        let coding = request.header("accept-encoding").unwrap_or_default();
        let reply = public(format!("as {coding}")).header("Vary", "Accept-Encoding");
        if coding.is_empty() { reply } else { reply.header("Content-Encoding", &coding) }
    });
    for coding in ["", "gzip", "gzip", "br", ""] {
        let fields = [("Accept-Encoding", coding)];
        let response = cache.get_with("/", if coding.is_empty() { &[] } else { &fields });
        response.check(200, format!("as {coding}"), "fwd=bypass");
    }
    let report = report(&cache);
    assert_eq!(
        report["total"]["would_be"]["hit"], 4,
        "in live mode the origin is asked for identity, so no variants arise"
    );
    assert_eq!(report["compared"], json!({"same": 2, "differed": 0, "differed_within_tag": 0, "not_compared": 2}));
}

/// As for the personalisation guard, a pattern of `ignore_cookies` never matches a name that ends in
/// `_session`.
#[test]
fn a_session_cookie_is_named_although_a_pattern_matches_it() {
    let (_origin, cache) = with(|request| public(request.header("cookie").unwrap_or_default()));
    for cookies in ["_hjelp_session=1; _hjid=1", "_hjelp_session=2; _hjid=2"] {
        cache.get_with("/account", &[("Cookie", cookies)]);
    }
    let report = report(&cache);
    let suspects = report["differs"][0]["request"].as_array().unwrap();
    let names: Vec<&Value> = suspects.iter().map(|suspect| &suspect["name"]).collect();
    assert_eq!(names, [&json!("_hjelp_session")]);
}
