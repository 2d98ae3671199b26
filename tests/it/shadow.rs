//! Shadow mode: everything is passed as it is, and what would have been is told.

use larder::route::{PathMatcher, PathPattern, RouteMode, Rule};
use serde_json::{Value, json};

use crate::harness::cache::Setup;
use crate::harness::origin::Request;
use crate::harness::{Cache, Cut, End, Gate, Origin, Process, Reply, Response, eventually, pattern};

fn shadow(setup: &mut Setup) {
    setup.rule.mode = RouteMode::Shadow;
}

/// Starts a cache in shadow mode in front of an origin with this script.
fn with(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Origin, Cache) {
    let origin = Origin::start(script);
    let cache = Cache::with(&origin, shadow);
    (origin, cache)
}

/// Returns what `/shadow` says.
#[track_caller]
fn report(cache: &Cache) -> Value {
    let response = cache.admin().get("/shadow");
    assert_eq!(response.status(), 200, "{}", response.text());
    serde_json::from_slice(&response.body).unwrap()
}

/// Returns what would have been, as Cache-Status tells it: `hit:fresh`.
#[track_caller]
fn would(response: &Response) -> String {
    let status = response.cache_status();
    let detail = status.split("; ").find_map(|own| own.strip_prefix("detail=shadow:"));
    detail.unwrap_or_else(|| panic!("{status} tells nothing of shadow mode")).to_owned()
}

/// A public page with this body, which the guard leaves alone.
fn public(body: impl AsRef<[u8]>) -> Reply {
    Reply::ok().header("Cache-Control", "public, max-age=60").body(body)
}

#[test]
fn everything_is_passed_as_it_is_and_the_origin_sees_it_all() {
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
    assert_eq!(would(cache.get("/").check(200, "page 0", "fwd=bypass")), "miss:uri-miss");
    let again = cache.get("/");
    assert_eq!(would(again.check(200, "page 1", "fwd-status=200")), "hit:fresh");
    assert_eq!((again.header("x-nth").as_deref(), again.header("age")), (Some("1"), None));
    let fields = [("If-None-Match", "\"1\""), ("Accept-Encoding", "gzip, br"), ("Cache-Control", "max-age=9")];
    let conditional = cache.get_with("/", &fields);
    assert_eq!((conditional.status(), would(&conditional)), (304, "hit:fresh".to_owned()));
    for (name, value) in fields {
        assert_eq!(origin.last().header(name).as_deref(), Some(value), "the client's own goes up");
    }
    let part = cache.get_with("/", &[("Range", "bytes=0-0")]);
    assert_eq!(would(part.check(206, "p", "fwd-status=206")), "hit:fresh");
    assert_eq!(origin.last().header("range").as_deref(), Some("bytes=0-0"));
    let head = cache.request("HEAD", "/", &[], b"");
    assert_eq!((head.status(), would(&head)), (200, "hit:fresh".to_owned()));
    assert_eq!(origin.last().method(), "HEAD");
    let only = cache.get_with("/new", &[("Cache-Control", "only-if-cached")]);
    assert_eq!((only.status(), would(&only)), (200, "refused:only-if-cached".to_owned()));
    assert_eq!(origin.count(), 6);
    let stats = cache.stats();
    assert_eq!(
        (&stats["requests"]["by_outcome"]["pass"], &stats["requests"]["by_reason"]["shadow"]),
        (&json!(6), &json!(6))
    );
    assert_eq!((&stats["shadow"]["requests"], &stats["shadow"]["differed"]), (&json!(6), &json!(1)));
}

#[test]
fn what_would_have_been_is_counted() {
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
fn a_body_that_differs_is_named_with_the_field_that_varied() {
    let (_origin, cache) = with(|request| {
        let language = request.header("accept-language").unwrap_or_default();
        public(format!("in {language}")).header("Content-Language", &language)
    });
    // The agent differs too, once where the language does and once where it does not.
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
fn a_cookie_that_changes_a_public_page_is_named() {
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

/// The personalisation guard's rule: a pattern of `ignore_cookies` never takes in a name that ends in `_session`.
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
    assert_eq!(report["advice"], json!([]), "the app itself says that they are the same");
}

#[test]
fn parameters_that_change_nothing_are_advised_against() {
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
fn what_shadow_kept_is_never_served_and_the_report_says_that_it_ended() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let nth = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::fresh(format!("page {nth}"))
    });
    let larder = Process::serve(&origin, "mode = \"shadow\"\nreload_on_change = false");
    let get = || larder.client().get("/");
    assert!(get().cache_status().ends_with("detail=shadow:miss:uri-miss"));
    assert!(get().cache_status().ends_with("detail=shadow:hit:fresh"));
    let told = shadow_report(&larder, &[]);
    for text in ["Everything is in shadow mode", "50.0 %", "another body", "One page changed while fresh"] {
        assert!(told.contains(text), "no {text:?} in\n{told}");
    }
    larder.configure("mode = \"serve\"\nreload_on_change = false");
    assert_eq!(larder.reload().0, 200);
    get().check(200, "page 2", "fwd=uri-miss");
    eventually("it is stored", || get().has("hit"));
    larder.configure("mode = \"shadow\"\nreload_on_change = false");
    assert_eq!(larder.reload().0, 200);
    let count = origin.count();
    assert!(get().cache_status().ends_with("detail=shadow:hit:fresh"), "what shadow mode kept is still there for it");
    assert_eq!(origin.count(), count + 1);
    larder.configure("mode = \"serve\"\nreload_on_change = false");
    assert_eq!(larder.reload().0, 200);
    assert!(shadow_report(&larder, &[]).starts_with("Nothing is in shadow mode any more"));
    let json: Value = serde_json::from_str(&shadow_report(&larder, &["--json"])).unwrap();
    assert_eq!((&json["running"], &json["total"]["requests"]), (&json!("none"), &json!(3)));
}

#[test]
fn the_report_says_where_nothing_runs_in_shadow() {
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
fn who_comes_while_another_is_served_would_have_waited() {
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
    assert_eq!(would(&cache.get("/")), "hit:fresh");
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
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
fn a_body_that_breaks_off_is_not_kept_and_an_origin_that_fails_is_told_of() {
    let origin = Origin::start(|_| Reply::fresh("half").length(9).cut(Cut::Fin));
    let cache = Cache::with(&origin, shadow);
    assert_ne!(cache.get("/").end, End::Clean);
    assert_eq!(cache.stats()["store"]["entries"], 0);
    drop(origin);
    assert_eq!(cache.get("/").status(), 502);
    assert_eq!(report(&cache)["total"]["would_be"]["failed"], 1);
}

#[test]
fn an_origin_that_fails_would_have_been_stood_in_for() {
    let mut origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, shadow);
    cache.get("/");
    cache.step(61);
    origin.stop();
    assert_eq!(cache.get("/").status(), 502, "nothing is answered from what is kept");
    let total = &report(&cache)["total"];
    assert_eq!((&total["would_be"]["stale"], &total["origin_requests_saved"]), (&json!(1), &json!(0)));
}

#[test]
fn what_is_too_large_is_passed_and_not_kept() {
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
    assert_eq!(would(cache.get("/").check(200, &body, "fwd=bypass")), "miss:too-large");
    for _ in 0..2 {
        cache.get("/chunked").check(200, &body, "fwd=bypass");
    }
    assert_eq!(
        (&cache.stats()["store"]["entries"], &report(&cache)["total"]["would_be"]["hit"]),
        (&json!(0), &json!(0))
    );
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
        "in earnest the origin is asked for identity, and nothing is split"
    );
    assert_eq!(report["compared"], json!({"same": 2, "differed": 0, "differed_within_tag": 0, "not_compared": 2}));
}

#[test]
fn explain_tells_that_it_passes_and_what_would_have_been() {
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

/// A request of a sequence: seconds that pass before it, method, target, fields.
type Turn = (u64, &'static str, &'static str, &'static [(&'static str, &'static str)]);

/// Sends the same sequence in earnest and in shadow mode, and compares what each request came to with what it would have.
#[track_caller]
fn check(script: impl Fn(&Request) -> Reply + Send + Sync + Clone + 'static, turns: &[Turn], expected: &[&str]) {
    let (served, shadowed) = (Origin::start(script.clone()), Origin::start(script));
    let (served, shadowed) = (Cache::start(&served).on(served), Cache::with(&shadowed, shadow).on(shadowed));
    let mut found = Vec::new();
    for turn in turns {
        let Some((real, predicted)) = pair(&served, &shadowed, turn) else { continue };
        let (told, real_told) = (predicted.cache_status(), real.cache_status());
        let predicted = predicted_of(&predicted);
        assert_eq!(predicted, became(&real), "{turn:?}: {told} against {real_told}");
        found.push(predicted);
    }
    assert_eq!(found, expected);
}

/// Sends one turn to both; `None` for a purge.
fn pair(served: &Bench, shadowed: &Bench, (seconds, method, target, fields): &Turn) -> Option<(Response, Response)> {
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

/// Reads off what a request would have come to, or did where it passes in earnest too.
fn predicted_of(response: &Response) -> String {
    match response.cache_status().contains("detail=shadow:") {
        true => would(response).split(':').next().unwrap().to_owned(),
        false => became(response),
    }
}

/// A cache with its origin, which lives as long.
struct Bench(Cache, #[allow(dead_code)] Origin);

impl Cache {
    fn on(self, origin: Origin) -> Bench {
        Bench(self, origin)
    }
}

/// Reads an outcome off Cache-Status.
fn became(response: &Response) -> String {
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

/// Answers with the validator `"1"`, or with a 304 to who has it.
fn validated(request: &Request, cache_control: &str) -> Reply {
    let reply = if request.header("if-none-match").is_some_and(|tags| tags.contains("\"1\"")) {
        Reply::not_modified()
    } else {
        Reply::ok().body("x")
    };
    reply.header("Cache-Control", cache_control).header("ETag", "\"1\"")
}

#[test]
fn freshness_and_validation_come_out_as_in_earnest() {
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
fn variants_purges_and_writes_come_out_as_in_earnest() {
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
fn users_come_out_as_in_earnest() {
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
fn parts_and_heads_come_out_as_in_earnest() {
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
fn a_failing_origin_comes_out_as_in_earnest() {
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

/// What the origin of the random test answers: by target and fields alone, so that two origins answer alike.
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
fn random_requests_come_out_as_in_earnest() {
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
    let turns: Vec<Turn> = (0..1_500)
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
    let (served, shadowed) = (Cache::start(&served).on(served), Cache::with(&shadowed, shadow).on(shadowed));
    let mut others = Vec::new();
    for turn in &turns {
        if let Some((real, predicted)) = pair(&served, &shadowed, turn)
            && became(&real) != predicted_of(&predicted)
        {
            others.push(format!("{turn:?}: {} against {}", predicted.cache_status(), real.cache_status()));
        }
    }
    assert!(others.is_empty(), "{} of {} differ:\n{}", others.len(), turns.len(), others.join("\n"));
}
