//! Predictions: the same requests in shadow mode and in live mode, whose outcomes must agree.

use larder::route::SetCookie;
use serde_json::json;

use super::{predicted_in, public, shadow};
use crate::harness::origin::Request;
use crate::harness::{Cache, Origin, Reply, Response, Setup, pattern};

/// A request of a sequence: the seconds that pass before it, method, target, fields.
type Step = (u64, &'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Sends the same sequence in live mode and in shadow mode, and compares each real outcome with the
/// predicted one.
#[track_caller]
fn check(script: impl Fn(&Request) -> Reply + Send + Sync + Clone + 'static, steps: &[Step], expected: &[&str]) {
    let (served, shadowed) = (Origin::start(script.clone()), Origin::start(script));
    let (served, shadowed) = (Cache::start(&served).on(served), Cache::with(&shadowed, shadow).on(shadowed));
    let mut found = Vec::new();
    for step in steps {
        let Some((real, predicted)) = pair(&served, &shadowed, step) else { continue };
        let (shadow_status, real_status) = (predicted.cache_status(), real.cache_status());
        let predicted = predicted_of(&predicted);
        assert_eq!(predicted, outcome_of(&real), "{step:?}: {shadow_status} against {real_status}");
        found.push(predicted);
    }
    assert_eq!(found, expected);
}

/// Sends one request to both caches; `None` for a purge.
fn pair(served: &Bench, shadowed: &Bench, (seconds, method, target, fields): &Step) -> Option<(Response, Response)> {
    let answer = |cache: &Cache| {
        cache.step(*seconds);
        if let Some(tag) = target.strip_prefix("tag:") {
            cache.purge(&json!({ "tags": [tag] }).to_string());
            return None;
        }
        Some(cache.request(method, target, fields, b""))
    };
    answer(&served.0).zip(answer(&shadowed.0))
}

/// Returns the predicted outcome of a request, or the real one where shadow mode passes it as live
/// mode would.
fn predicted_of(response: &Response) -> String {
    match response.cache_status().contains("detail=shadow:") {
        true => predicted_in(response).split(':').next().unwrap().to_owned(),
        false => outcome_of(response),
    }
}

/// A cache together with its origin, which must live as long.
struct Bench(Cache, #[allow(dead_code)] Origin);

impl Cache {
    fn on(self, origin: Origin) -> Bench {
        Bench(self, origin)
    }
}

/// Reads the outcome off Cache-Status.
fn outcome_of(response: &Response) -> String {
    let status = response.cache_status();
    let word = match () {
        () if response.has("hit") && status.contains("detail=") => "stale",
        () if response.has("hit") => "hit",
        () if response.has("fwd-status=304") && (response.has("fwd=stale") || response.has("fwd=request")) => {
            "revalidated"
        }
        () if response.has("fwd=bypass") || response.has("fwd=method") => "pass",
        () if status.contains("detail=range-miss") => "pass",
        () if status.contains("fwd=") => "miss",
        () => "refused",
    };
    word.to_owned()
}

/// Answers with the validator `"1"`, or with a 304 to a request that has it.
fn validated(request: &Request, cache_control: &str) -> Reply {
    let reply = if request.header("if-none-match").is_some_and(|tags| tags.contains("\"1\"")) {
        Reply::not_modified()
    } else {
        Reply::ok().body("x")
    };
    reply.header("Cache-Control", cache_control).header("ETag", "\"1\"")
}

#[test]
fn predictions_of_freshness_and_validation_come_true() {
    let script = |request: &Request| match request.target().as_str() {
        "/swr" => validated(request, "max-age=10, stale-while-revalidate=20"),
        "/checked" => validated(request, "no-cache"),
        "/plain" => Reply::fresh("x"),
        "/none" => Reply::ok().body("x"),
        _ => validated(request, "max-age=10"),
    };
    check(
        script,
        &[
            (0, "GET", "/a", &[]),
            (1, "GET", "/a", &[]),
            (1, "HEAD", "/a", &[]),
            (1, "GET", "/a", &[("Cache-Control", "no-cache")]),
            (10, "GET", "/a", &[]),
            (0, "GET", "/a", &[]),
            (20, "GET", "/a", &[("If-None-Match", "\"1\"")]),
            (0, "GET", "/a", &[]),
            (0, "GET", "/new", &[("If-None-Match", "\"1\"")]),
            (0, "GET", "/new", &[]),
            (0, "GET", "/swr", &[]),
            (15, "GET", "/swr", &[]),
            (0, "GET", "/swr", &[]),
            (0, "GET", "/checked", &[]),
            (0, "GET", "/checked", &[]),
            (0, "GET", "/plain", &[]),
            (61, "GET", "/plain", &[("Cache-Control", "max-stale=9")]),
            (0, "GET", "/plain", &[]),
            (0, "GET", "/none", &[]),
            (0, "GET", "/none", &[]),
            (0, "GET", "/none", &[]),
        ],
        &[
            "miss",
            "hit",
            "hit",
            "revalidated",
            "revalidated",
            "hit",
            "revalidated",
            "hit",
            "miss",
            "miss",
            "miss",
            "stale",
            "hit",
            "miss",
            "revalidated",
            "miss",
            "stale",
            "miss",
            "miss",
            "miss",
            "pass",
        ],
    );
}

#[test]
fn predictions_of_variants_purges_and_writes_come_true() {
    let script = |request: &Request| match (request.method().as_str(), request.target().as_str()) {
        ("POST", _) => Reply::status("204 Done"),
        (_, "/varied") => Reply::fresh(request.header("x-plan").unwrap_or_default()).header("Vary", "X-Plan"),
        (_, "/starred") => Reply::fresh("x").header("Vary", "*"),
        _ => Reply::fresh("x").header("Surrogate-Key", "all"),
    };
    check(
        script,
        &[
            (0, "GET", "/varied", &[("X-Plan", "a")]),
            (0, "GET", "/varied", &[("X-Plan", "b")]),
            (0, "GET", "/varied", &[("X-Plan", "a")]),
            (0, "GET", "/starred", &[]),
            (0, "GET", "/a", &[]),
            (0, "GET", "/a", &[]),
            (0, "POST", "/a", &[]),
            (0, "GET", "/a", &[]),
            (0, "GET", "/a", &[]),
            (0, "PURGE", "tag:all", &[]),
            (0, "GET", "/a", &[]),
            (0, "GET", "/a", &[("Cache-Control", "only-if-cached")]),
            (0, "GET", "/b", &[("Cache-Control", "only-if-cached")]),
        ],
        &["miss", "miss", "hit", "miss", "miss", "hit", "pass", "miss", "hit", "miss", "hit", "refused"],
    );
}

#[test]
fn predictions_for_users_come_true() {
    let script = |request: &Request| match request.target().as_str() {
        "/mine" => Reply::fresh(request.header("cookie").unwrap_or_default()),
        "/account" => Reply::ok().header("Cache-Control", "private").body("x"),
        _ => Reply::fresh("x"),
    };
    const ONE: &[(&str, &str)] = &[("Cookie", "id=1")];
    const OTHER: &[(&str, &str)] = &[("Cookie", "id=2")];
    check(
        script,
        &[
            (0, "GET", "/same", ONE),
            (0, "GET", "/same", ONE),
            (0, "GET", "/same", OTHER),
            (0, "GET", "/same", OTHER),
            (0, "GET", "/mine", ONE),
            (0, "GET", "/mine", OTHER),
            (0, "GET", "/mine", OTHER),
            (0, "GET", "/account", ONE),
            (0, "GET", "/account", ONE),
            (0, "GET", "/account", ONE),
            (0, "GET", "/auth", &[("Authorization", "Basic eDp5")]),
        ],
        &["miss", "hit", "miss", "hit", "miss", "miss", "pass", "miss", "miss", "pass", "miss"],
    );
}

#[test]
fn predictions_for_ranges_and_heads_come_true() {
    let script = |request: &Request| {
        let body = pattern(1000);
        match request.header("range") {
            Some(_) => Reply::status("206 Partial Content")
                .header("Content-Range", "bytes 0-9/1000")
                .header("Cache-Control", "max-age=60")
                .header("ETag", "\"1\"")
                .body(&body[..10]),
            None => Reply::fresh(body).header("ETag", "\"1\""),
        }
    };
    const PART: &[(&str, &str)] = &[("Range", "bytes=0-9")];
    check(
        script,
        &[
            (0, "GET", "/a", PART),
            (0, "GET", "/a", PART),
            (0, "GET", "/a", PART),
            (0, "GET", "/a", &[]),
            (0, "HEAD", "/b", &[]),
            (0, "HEAD", "/b", &[]),
            (0, "GET", "/b", &[]),
            (0, "GET", "/b", PART),
        ],
        &["pass", "miss", "hit", "hit", "miss", "hit", "hit", "hit"],
    );
}

#[test]
fn predictions_for_a_failing_origin_come_true() {
    let script = |request: &Request| match request.header("x-fail") {
        Some(_) => Reply::status("503 No").body("no"),
        None => Reply::ok().header("Cache-Control", "max-age=10, stale-if-error=60").body("x"),
    };
    const FAIL: &[(&str, &str)] = &[("X-Fail", "1")];
    check(
        script,
        &[
            (0, "GET", "/a", &[]),
            (0, "GET", "/a", FAIL),
            (11, "GET", "/a", FAIL),
            (90, "GET", "/a", FAIL),
            (0, "GET", "/a", &[]),
            (0, "GET", "/b", FAIL),
        ],
        &["miss", "hit", "stale", "miss", "miss", "miss"],
    );
}

/// The origin of the random test. Responses depend on target and fields alone, so that two origins
/// answer alike.
fn answer(request: &Request) -> Reply {
    let target = request.target();
    if request.method() == "POST" {
        return Reply::status("204 Done");
    }
    if request.header("x-fail").is_some() {
        return Reply::status("503 No").body("no");
    }
    let cookie = request.header("cookie").unwrap_or_default();
    match target.rsplit('/').next().unwrap_or_default() {
        "fresh" => Reply::fresh("x"),
        "checked" => validated(request, "no-cache"),
        "short" => validated(request, "max-age=5"),
        "swr" => validated(request, "max-age=5, stale-while-revalidate=20"),
        "sie" => Reply::ok().header("Cache-Control", "max-age=5, stale-if-error=60").body("x"),
        "varied" => Reply::fresh(request.header("x-plan").unwrap_or_default()).header("Vary", "X-Plan"),
        "private" => Reply::ok().header("Cache-Control", "private, max-age=60").body("x"),
        "secret" => Reply::ok().header("Cache-Control", "no-store").body("x"),
        "mine" => Reply::fresh(&cookie),
        "shared" => Reply::fresh("x").header("Surrogate-Key", "t"),
        "public" => public("x").header("Set-Cookie", "a=b"),
        "strict" => Reply::ok().header("Cache-Control", "s-maxage=5").body("x"),
        "gone" => Reply::status("404 Not Found").header("Cache-Control", "max-age=9").body("no"),
        _ => Reply::ok().body("x"),
    }
}

#[test]
fn predictions_for_random_requests_come_true() {
    const PAGES: [&str; 14] = [
        "/fresh", "/checked", "/short", "/swr", "/sie", "/varied", "/private", "/secret", "/mine", "/shared",
        "/public", "/strict", "/gone", "/none",
    ];
    const FIELDS: [&[(&str, &str)]; 12] = [
        &[],
        &[],
        &[],
        &[("X-Plan", "a")],
        &[("Cookie", "id=1")],
        &[("Cookie", "id=2; _ga=3")],
        &[("X-Fail", "1")],
        &[("Cache-Control", "no-cache")],
        &[("Cache-Control", "max-stale=30")],
        &[("Cache-Control", "no-store")],
        &[("If-None-Match", "\"1\"")],
        &[("Authorization", "Basic eDp5")],
    ];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) as usize % bound
    };
    let steps: Vec<Step> = (0..1_500)
        .map(|_| {
            let seconds = if below(4) == 0 { below(8) as u64 } else { 0 };
            match below(40) {
                0 => (seconds, "PURGE", "tag:t", &[][..]),
                1 => (seconds, "POST", PAGES[below(PAGES.len())], &[][..]),
                2 => (seconds, "HEAD", PAGES[below(PAGES.len())], FIELDS[below(5)]),
                _ => (seconds, "GET", PAGES[below(PAGES.len())], FIELDS[below(FIELDS.len())]),
            }
        })
        .collect();
    let (served, shadowed) = (Origin::start(answer), Origin::start(answer));
    let with_cookies = |setup: &mut Setup| setup.rule.set_cookie = SetCookie::Obey;
    let served = Cache::with(&served, with_cookies).on(served);
    let shadowed = Cache::with(&shadowed, |setup| {
        with_cookies(setup);
        shadow(setup);
    })
    .on(shadowed);
    let mut others = Vec::new();
    for step in &steps {
        if let Some((real, predicted)) = pair(&served, &shadowed, step)
            && outcome_of(&real) != predicted_of(&predicted)
        {
            others.push(format!("{step:?}: {} against {}", predicted.cache_status(), real.cache_status()));
        }
    }
    assert!(others.is_empty(), "{} of {} differ:\n{}", others.len(), steps.len(), others.join("\n"));
}
