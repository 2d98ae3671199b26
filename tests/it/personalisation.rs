//! The personalisation guard. An app that builds pages from cookies and omits Vary shows nobody
//! another user's page; every other app gets one extra request for each stored body, and the
//! samples.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use larder::route::{PathMatcher, PathPattern, Rule, SetCookie};
use serde_json::{Value, json};

use crate::harness::cache::Setup;
use crate::harness::origin::Request;
use crate::harness::{Cache, Client, Cut, End, Gate, Origin, Reply, Response, eventually};

/// The number of users, besides the anonymous one.
const USERS: usize = 1_000;

/// The number of times that the page expires.
const EXPIRIES: usize = 20;

/// The number of clients that ask at once.
const CROWD: usize = 8;

/// Returns the page that belongs to one user.
fn page_of(cookie: Option<&str>, authorization: Option<&str>) -> String {
    format!("the page of {} {}", cookie.unwrap_or("nobody"), authorization.unwrap_or(""))
}

/// An app that builds its page for the requesting user (the first cookie), and whose response
/// claims that anybody may have it.
fn personal(request: &Request) -> Reply {
    let cookies = request.header("cookie");
    let user = cookies.as_deref().and_then(|cookies| cookies.split("; ").next());
    Reply::fresh(page_of(user, request.header("authorization").as_deref()))
}

/// Sends one request as the user with this cookie; an empty string sends no cookie.
fn as_user(cache: &Cache, cookie: &str) -> Response {
    let fields = [("Cookie", cookie)];
    cache.get_with("/", if cookie.is_empty() { &[] } else { &fields })
}

/// Requests the page once for each user and [`CROWD`] times as nobody, [`CROWD`] requests at a
/// time, and passes each response to `check`.
fn everybody(cache: &Cache, check: impl Fn(Option<&str>, Response) + Sync) {
    std::thread::scope(|scope| {
        for lane in 0..CROWD {
            let check = &check;
            scope.spawn(move || {
                let mut client = cache.client();
                for user in (lane..USERS).step_by(CROWD) {
                    let (user, analytics) = (format!("user={user}"), format!("user={user}; _ga={user}"));
                    check(Some(&user), client.exchange("GET", "/", &[("Cookie", &analytics)], b""));
                }
                check(None, client.get("/"));
            });
        }
    });
}

/// Starts an app, and counts the requests that it receives.
fn counted(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> (Origin, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    let origin = Origin::unrecorded(move |request| {
        counter.fetch_add(1, Ordering::SeqCst);
        script(request)
    });
    (origin, count)
}

#[test]
fn nobody_sees_anothers_page_on_an_app_that_forgot_vary() {
    let (origin, _) = counted(personal);
    // Shorter than the page's lifetime, so that every refill is tried anew.
    let cache = Cache::with(&origin, |setup| setup.config.proxy.personalised_for = std::time::Duration::from_secs(30));
    let visitors = page_of(None, None);
    for expiry in 0..EXPIRIES {
        let leader = (expiry % 2 == 1).then(|| format!("user={}", expiry * 7));
        as_user(&cache, leader.as_deref().unwrap_or("")).check(200, page_of(leader.as_deref(), None), "stored");
        everybody(&cache, |user, response| {
            // As long as nobody knows the app, anybody may see the page of anonymous visitors.
            let may_be_visitors = expiry == 0 && response.text() == visitors;
            assert!(may_be_visitors || response.text() == page_of(user, None), "{user:?}: {}", response.text());
            assert_eq!(response.end, End::Clean);
        });
        cache.settle();
        let found = cache.stats()["personalised"]["found"].as_u64().unwrap();
        assert!(found > expiry as u64, "the body of expiry {expiry} was found out: {found}");
        // Anonymous visitors lose at most one hit: the next request is served from the store.
        as_user(&cache, "").check(200, &visitors, "hit");
        cache.step(61);
    }
    let stats = cache.stats();
    assert!(stats["requests"]["by_reason"]["personalised"].as_u64().unwrap() > (EXPIRIES * USERS / 2) as u64);
    assert!(stats["store"]["entries"].as_u64().unwrap() <= 1, "never one copy per cookie");
}

#[test]
fn an_app_with_one_page_for_all_gets_one_extra_request_per_fill_and_the_samples() {
    let (origin, count) = counted(|_| Reply::fresh("for all"));
    let cache = Cache::start(&origin);
    for expiry in 0..EXPIRIES {
        as_user(&cache, if expiry % 2 == 0 { "" } else { "user=1" }).check(200, "for all", "stored");
        everybody(&cache, |_, response| assert_eq!((response.text(), response.end), ("for all".into(), End::Clean)));
        cache.settle();
        cache.step(61);
    }
    let (asked, each) = (count.load(Ordering::SeqCst), 1 + USERS + CROWD);
    let samples = each / 200 + 1;
    assert!((EXPIRIES * 2..=EXPIRIES * (2 + samples)).contains(&asked), "{asked} requests to the app");
    let stats = cache.stats();
    assert_eq!(stats["personalised"], json!({"found": 0, "urls": []}));
    // A user had half of the bodies stored, and each of those costs one more hit. Samples cost
    // none.
    assert_eq!(stats["requests"]["by_reason"]["probation"], EXPIRIES / 2);
    assert_eq!(stats["requests"]["by_outcome"]["hit"], EXPIRIES * each - EXPIRIES - EXPIRIES / 2);
}

#[test]
fn an_anonymous_visitors_page_answers_users_and_is_checked_in_the_background() {
    let origin = Origin::start(personal);
    let cache = Cache::start(&origin);
    let visitors = page_of(None, None);
    as_user(&cache, "").check(200, &visitors, "stored");
    as_user(&cache, "user=1").check(200, &visitors, "hit");
    assert_eq!(origin.last().header("cookie").as_deref(), Some("user=1"));
    as_user(&cache, "user=1").check(200, page_of(Some("user=1"), None), "detail=personalised");
    as_user(&cache, "").check(200, &visitors, "hit");
    // The app is known by now, so the anonymous page is compared before a user gets it.
    cache.step(601);
    as_user(&cache, "").check(200, &visitors, "stored");
    as_user(&cache, "user=1").check(200, page_of(Some("user=1"), None), "detail=probation");
    as_user(&cache, "user=2").check(200, page_of(Some("user=2"), None), "detail=personalised");
    as_user(&cache, "").check(200, &visitors, "hit");
}

#[test]
fn anonymous_requests_are_never_compared() {
    let (origin, count) = counted(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    for nth in 0..500 {
        as_user(&cache, "").check(200, "x", if nth == 0 { "stored" } else { "hit" });
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// Starts a fill as user 1 whose body pauses halfway, and lets others ask: some more requests of
/// user 1, and many other users. Returns the responses of both groups.
fn crowd_on_a_fill(gate: &Gate, cache: &Cache, origin: &Origin) -> (Vec<Response>, Vec<Response>) {
    let mut leader = cache.client();
    leader.ask("GET", "/", &[("Cookie", "user=1")], b"");
    origin.wait_for(1);
    let started = |user: usize| {
        let mut client = cache.client();
        client.ask("GET", "/", &[("Cookie", &format!("user={user}"))], b"");
        client
    };
    leader.final_head();
    let mut own: Vec<Client> = (0..5).map(|_| started(1)).collect();
    let others: Vec<Client> = (2..22).map(started).collect();
    // The other requests of user 1 read while the body fills, since nobody has to be compared with
    // them.
    let heads: Vec<_> = own.iter_mut().map(|client| client.final_head()).collect();
    assert_eq!(origin.count(), 1, "nobody else has asked yet");
    gate.open();
    let own = own.iter_mut().zip(heads).map(|(client, head)| client.rest(head)).collect();
    let others = others.into_iter().map(|mut client| client.response()).collect();
    cache.settle();
    (own, others)
}

#[test]
fn followers_with_other_credentials_wait_for_one_comparison() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| Reply::fresh("for ").wait(&held).body("all"));
    let cache = Cache::start(&origin);
    let (own, others) = crowd_on_a_fill(&gate, &cache, &origin);
    own.iter().chain(&others).for_each(|response| assert_eq!(response.text(), "for all"));
    assert_eq!(origin.count(), 2, "the fill and the comparison");
    assert!(own.iter().all(|response| response.has("collapsed")));
    assert_eq!(others.iter().filter(|response| response.has("detail=probation")).count(), 1);
}

#[test]
fn followers_with_other_credentials_get_their_own_page() {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |request| {
        let page = page_of(request.header("cookie").as_deref(), None);
        Reply::fresh(&page[..8]).wait(&held).body(&page[8..])
    });
    let cache = Cache::start(&origin);
    let (own, others) = crowd_on_a_fill(&gate, &cache, &origin);
    own.iter().for_each(|response| assert_eq!(response.text(), page_of(Some("user=1"), None)));
    for (response, user) in others.iter().zip(2..) {
        assert_eq!(response.text(), page_of(Some(&format!("user={user}")), None), "{}", response.cache_status());
    }
    assert_eq!(origin.count(), 21, "everybody's own, once");
    assert_eq!(cache.stats()["store"]["entries"], 0);
}

#[test]
fn a_failed_comparison_settles_nothing_and_each_client_asks_alone() {
    let gate = Gate::new();
    let (held, asked) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        1 => Reply::status("500 Oops").body("oops").hold(&held),
        _ => Reply::fresh("for all"),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1");
    let mut first = cache.client();
    first.ask("GET", "/", &[("Cookie", "user=2")], b"");
    gate.arrived(1);
    let mut second = cache.client();
    second.ask("GET", "/", &[("Cookie", "user=3")], b"");
    gate.open();
    first.response().check(500, "oops", "detail=probation");
    second.response().check(200, "for all", "detail=probation");
    assert_eq!((origin.count(), cache.stats()["personalised"]["found"].as_u64()), (3, Some(0)));
    as_user(&cache, "user=1").check(200, "for all", "hit");
}

#[test]
fn the_verdict_does_not_need_the_compared_client() {
    let gate = Gate::new();
    let (held, asked) = (gate.clone(), AtomicUsize::new(0));
    let origin = Origin::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::fresh("for all"),
        _ => Reply::fresh("for ").wait(&held).body("all"),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1");
    let mut first = cache.client();
    first.ask("GET", "/", &[("Cookie", "user=2")], b"");
    first.final_head();
    drop(first);
    gate.open();
    cache.settle();
    as_user(&cache, "user=3").check(200, "for all", "hit");
    assert_eq!(origin.count(), 2);
}

#[test]
fn authorization_is_a_credential_as_cookies_are() {
    let origin = Origin::start(personal);
    let cache = Cache::start(&origin);
    let with = |value| cache.get_with("/", &[("Authorization", value)]);
    as_user(&cache, "").check(200, page_of(None, None), "stored");
    with("Basic eDp5").check(200, page_of(None, None), "hit");
    with("Basic eDp6").check(200, page_of(None, Some("Basic eDp6")), "detail=personalised");
    as_user(&cache, "").check(200, page_of(None, None), "hit");
    let row = &cache.stats()["personalised"]["urls"][0];
    assert_eq!(row["differed"], json!(["Authorization"]));
    assert!(row["fix"].as_str().unwrap().starts_with("Send `Vary: Authorization`"), "{row}");
}

#[test]
fn cookies_that_do_not_count_are_no_credentials() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, |setup| setup.rule.key_cookies = Box::new(["lang".into()]));
    as_user(&cache, "_ga=GA1.2; _gid=1").check(200, "x", "stored");
    as_user(&cache, "_ga=GA1.3; __utma=7").check(200, "x", "hit");
    as_user(&cache, "").check(200, "x", "hit");
    as_user(&cache, "lang=de; _fbp=1").check(200, "x", "stored");
    as_user(&cache, "lang=de").check(200, "x", "hit");
    assert_eq!(origin.count(), 2);
    as_user(&cache, "consent=1; _ga=1").check(200, "x", "hit");
    assert_eq!(origin.count(), 3, "that one is checked");
}

#[test]
fn a_response_that_permits_sharing_is_shared_unchecked() {
    for (name, value) in [
        ("Cache-Control", "public, max-age=60"),
        ("Cache-Control", "s-maxage=60"),
        ("Cache-Control", "max-age=60, must-revalidate"),
        ("CDN-Cache-Control", "max-age=60, public"),
        ("Larder-Cache-Control", "s-maxage=60"),
    ] {
        let origin = Origin::start(move |_| Reply::ok().header(name, value).body("x"));
        let cache = Cache::start(&origin);
        as_user(&cache, "user=1").check(200, "x", "stored");
        as_user(&cache, "user=2").check(200, "x", "hit");
        as_user(&cache, "").check(200, "x", "hit");
        cache.get_with("/", &[("Authorization", "Basic eDp5")]).check(200, "x", "hit");
        assert_eq!(origin.count(), 1, "{name}: {value}");
    }
    // The governing field decides, not one that it replaces (RFC 9213 §2.1).
    let reply = Reply::ok().header("CDN-Cache-Control", "max-age=60").header("Cache-Control", "public").body("x");
    let origin = Origin::start(move |_| reply.clone());
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1").check(200, "x", "stored");
    as_user(&cache, "user=2").check(200, "x", "detail=probation");
}

#[test]
fn an_app_that_sends_vary_cookie_is_believed() {
    let (origin, count) = counted(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("ETag", "\"1\"").header("Cache-Control", "max-age=60"),
        None => Reply::fresh("x").header("Vary", "Cookie").header("ETag", "\"1\""),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1").check(200, "x", "stored");
    as_user(&cache, "user=1").check(200, "x", "hit");
    as_user(&cache, "user=2").check(200, "x", "fwd=vary-miss");
    as_user(&cache, "user=2").check(200, "x", "hit");
    // The second user's page was requested twice: the app's 304 to the first user's entity-tag is
    // not used.
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn an_app_that_sends_vary_cookie_in_an_update_is_believed_too() {
    let (origin, count) = counted(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("Vary", "Cookie").header("Cache-Control", "max-age=60"),
        None => personal(request).header("ETag", "\"1\""),
    });
    let cache = Cache::start(&origin);
    let page = |user| page_of(Some(user), None);
    as_user(&cache, "user=1").check(200, page("user=1"), "stored");
    cache.step(61);
    as_user(&cache, "user=1").check(200, page("user=1"), "fwd-status=304");
    as_user(&cache, "user=1").check(200, page("user=1"), "hit");
    as_user(&cache, "user=2").check(200, page("user=2"), "fwd=vary-miss");
    assert_eq!(count.load(Ordering::SeqCst), 4);
}

#[test]
fn a_route_turns_the_guard_off() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::with(&origin, |setup: &mut Setup| {
        let matcher = PathMatcher { path: Some(PathPattern::parse("/assets/").unwrap()), ..PathMatcher::default() };
        setup.routes.push((matcher, Rule { personalisation_guard: false, ..Rule::default() }));
    });
    for (path, expected) in [("/assets/a", "hit"), ("/a", "detail=probation")] {
        cache.get_with(path, &[("Cookie", "user=1")]).check(200, "x", "stored");
        cache.get_with(path, &[("Cookie", "user=2")]).check(200, "x", expected);
    }
}

#[test]
fn personalised_urls_are_listed_with_their_fix() {
    let origin = Origin::start(personal);
    let cache = Cache::start(&origin);
    let ask = |path: &str, cookie: &str| cache.get_with(path, &[("Cookie", cookie)]);
    for path in ["/a?x=1", "/b"] {
        ask(path, "user=1").check(200, page_of(Some("user=1"), None), "stored");
        ask(path, "user=2").check(200, page_of(Some("user=2"), None), "detail=probation");
        ask(path, "user=1").check(200, page_of(Some("user=1"), None), "detail=personalised");
    }
    let stats = cache.stats();
    let fix =
        "Send `Vary: Cookie` or `Cache-Control: private`, or name the cookie that decides in `key.cookies` on a route.";
    let row = |url| json!({"url": url, "times": 1, "differed": ["Cookie"], "fix": fix});
    let rows = [row("http://example.org/b"), row("http://example.org/a?x=1")];
    assert_eq!(stats["personalised"], json!({"found": 2, "urls": rows}));
    assert!(stats["warnings"].as_array().unwrap().iter().any(|warning| warning.as_str().unwrap().contains("2 URLs")));
    // The verdict expires: the app is tried again, since it may have been fixed.
    cache.step(601);
    ask("/b", "user=1").check(200, page_of(Some("user=1"), None), "stored");
    ask("/b", "user=2").check(200, page_of(Some("user=2"), None), "detail=probation");
    assert_eq!(cache.stats()["personalised"]["urls"][0]["times"], 2);
}

#[test]
fn a_validator_shared_by_all_users_confirms_nobody_elses_page() {
    let origin = Origin::start(|request| match request.header("if-none-match") {
        Some(_) => Reply::not_modified().header("ETag", "\"template\"").header("Cache-Control", "max-age=60"),
        None => personal(request).header("ETag", "\"template\""),
    });
    let cache = Cache::with(&origin, |setup| setup.config.proxy.personalised_for = std::time::Duration::ZERO);
    as_user(&cache, "user=1").check(200, page_of(Some("user=1"), None), "stored");
    cache.step(61);
    as_user(&cache, "user=2").check(200, page_of(Some("user=2"), None), "stored");
    cache.step(61);
    // A HEAD does not touch another user's entry either.
    let head = cache.request("HEAD", "/", &[("Cookie", "user=3")], b"");
    assert_eq!(head.header("content-length"), Some(page_of(Some("user=3"), None).len().to_string()));
    as_user(&cache, "user=3").check(200, page_of(Some("user=3"), None), "hit");
    cache.step(61);
    as_user(&cache, "user=3").check(200, page_of(Some("user=3"), None), "fwd-status=304");
    as_user(&cache, "user=3").check(200, page_of(Some("user=3"), None), "hit");
    as_user(&cache, "user=4").check(200, page_of(Some("user=4"), None), "detail=probation");
}

#[test]
fn the_verdict_stays_with_the_body_through_updates_and_codings() {
    let page = "for all, and long enough to be worth packing. ".repeat(100);
    let (origin, count) = {
        let page = page.clone();
        counted(move |request| match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("ETag", "\"1\"").header("Cache-Control", "max-age=60"),
            None => Reply::fresh(&page).header("Content-Type", "text/html").header("ETag", "\"1\""),
        })
    };
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1").check(200, &page, "stored");
    as_user(&cache, "user=2").check(200, &page, "detail=probation");
    as_user(&cache, "user=3").check(200, &page, "hit");
    // The page has been requested twice, so it is compressed.
    eventually("it is packed", || cache.stats()["store"]["compressed_bytes"].as_u64().unwrap() < 1_000);
    as_user(&cache, "user=4").check(200, &page, "hit");
    cache.step(61);
    as_user(&cache, "user=5").check(200, &page, "fwd-status=304");
    as_user(&cache, "user=6").check(200, &page, "hit");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn a_user_whose_other_cookies_change_shares_nothing_with_others() {
    let (origin, _) = counted(|request| {
        let cookies = request.header("cookie").unwrap_or_default();
        let user = cookies.split("; ").find_map(|pair| pair.strip_prefix("sid=")).unwrap_or("nobody");
        Reply::fresh(format!("page of {user}"))
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "sid=alice; seen=1").check(200, "page of alice", "stored");
    as_user(&cache, "sid=alice; seen=2").check(200, "page of alice", "detail=probation");
    as_user(&cache, "sid=alice; seen=3; theme=dark").check(200, "page of alice", "hit");
    for _ in 0..3 {
        assert_eq!(as_user(&cache, "sid=bob; seen=1").text(), "page of bob");
        assert_eq!(as_user(&cache, "").text(), "page of nobody");
    }
}

#[test]
fn a_cookie_with_one_value_for_all_prevents_no_sharing() {
    let (origin, count) = counted(|_| Reply::fresh("for all"));
    let cache = Cache::start(&origin);
    for user in 0..20 {
        assert_eq!(as_user(&cache, &format!("consent=yes; sid={user}")).text(), "for all");
    }
    assert_eq!(count.load(Ordering::SeqCst), 2, "the fill and one comparison");
    as_user(&cache, "consent=no; sid=20").check(200, "for all", "detail=probation");
    as_user(&cache, "sid=21").check(200, "for all", "hit");
    assert_eq!(count.load(Ordering::SeqCst), 3);
}

#[test]
fn set_cookie_location_status_and_other_fields_are_compared() {
    type App = fn(&str) -> Reply;
    let answers: [(&str, App); 6] = [
        ("a token", |user| Reply::fresh("same").header("X-CSRF-Token", user)),
        ("a cookie", |user| Reply::fresh("same").header("Set-Cookie", &format!("seen={user}"))),
        ("a place", |user| Reply::fresh("same").status_line("301 Moved Permanently", "").header("Location", user)),
        ("a status", |user| match user {
            "user=1" => Reply::fresh("same"),
            _ => Reply::fresh("same").status_line("404 Not Found", ""),
        }),
        ("private", |user| match user {
            "user=1" => Reply::fresh("same"),
            _ => Reply::ok().header("Cache-Control", "private, max-age=60").body("same"),
        }),
        ("vary", |user| match user {
            "user=1" => Reply::fresh("same"),
            _ => Reply::fresh("same").header("Vary", "Cookie"),
        }),
    ];
    for (what, answer) in answers {
        let origin = Origin::start(move |request| answer(&request.header("cookie").unwrap_or_default()));
        let cache = Cache::with(&origin, |setup| setup.rule.set_cookie = SetCookie::Obey);
        as_user(&cache, "user=1");
        let other = as_user(&cache, "user=2");
        assert!(other.has("detail=probation"), "{what}: {}", other.cache_status());
        assert_eq!(cache.stats()["personalised"]["found"], 1, "{what}");
        assert_eq!(other.header("set-cookie"), (what == "a cookie").then(|| "seen=user=2".to_owned()));
    }
}

#[test]
fn a_304_with_a_cookie_sets_it_for_its_own_client_only() {
    let origin = Origin::start(|request| {
        let user = request.header("cookie").unwrap_or_default();
        let reply = match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("Cache-Control", "max-age=60"),
            None => Reply::fresh("for all"),
        };
        let reply = reply.header("ETag", "\"1\"");
        if request.header("if-none-match").is_some() { reply.header("Set-Cookie", &user) } else { reply }
    });
    let cache = Cache::with(&origin, |setup| setup.rule.set_cookie = SetCookie::Obey);
    as_user(&cache, "user=1");
    as_user(&cache, "user=2");
    as_user(&cache, "user=3").check(200, "for all", "hit");
    cache.step(61);
    let fourth = as_user(&cache, "user=4");
    assert_eq!(fourth.check(200, "for all", "fwd-status=304").header("set-cookie").as_deref(), Some("user=4"));
    let fifth = as_user(&cache, "user=5");
    assert_eq!(fifth.check(200, "for all", "detail=probation").header("set-cookie"), None);
}

#[test]
fn a_304_with_a_users_token_shows_it_to_nobody_else() {
    let origin = Origin::start(|request| {
        let reply = match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("Cache-Control", "max-age=60"),
            None => Reply::fresh("for all"),
        };
        let reply = reply.header("ETag", "\"1\"");
        match request.header("cookie") {
            Some(user) => reply.header("X-CSRF-Token", &user),
            None => reply,
        }
    });
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "for all", "stored");
    cache.step(61);
    let bob = as_user(&cache, "user=bob");
    assert_eq!(bob.check(200, "for all", "fwd-status=304").header("x-csrf-token").as_deref(), Some("user=bob"));
    assert_eq!(cache.get("/").header("x-csrf-token"), None);
}

#[test]
fn a_304_that_is_no_longer_for_all_sets_its_cookie_for_its_own_client_only() {
    let origin = Origin::start(|request| {
        let reply = match request.header("if-none-match") {
            Some(_) => Reply::not_modified().header("Cache-Control", "max-age=60"),
            None => Reply::ok().header("Cache-Control", "public, max-age=60").body("for all"),
        };
        let reply = reply.header("ETag", "\"1\"");
        match request.header("cookie") {
            Some(user) => reply.header("Set-Cookie", &user).header("X-CSRF-Token", &user),
            None => reply,
        }
    });
    let cache = Cache::start(&origin);
    cache.get("/").check(200, "for all", "stored");
    cache.step(61);
    let bob = as_user(&cache, "user=bob");
    assert_eq!(bob.check(200, "for all", "fwd-status=304").header("set-cookie").as_deref(), Some("user=bob"));
    for next in [cache.get("/"), as_user(&cache, "user=eve")] {
        assert_ne!(next.header("set-cookie").as_deref(), Some("user=bob"));
        assert_ne!(next.header("x-csrf-token").as_deref(), Some("user=bob"));
    }
}

#[test]
fn a_cookie_found_to_differ_is_not_replayed_any_more() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |_| {
        let session = format!("session={}", number.fetch_add(1, Ordering::SeqCst));
        Reply::fresh("for all").header("Set-Cookie", &session)
    });
    let cache = Cache::with(&origin, |setup| {
        setup.config.proxy.guard_sample = 1;
        setup.rule.set_cookie = SetCookie::Obey;
    });
    let set = |response: &Response| response.header("set-cookie").unwrap();
    assert_eq!(set(&cache.get("/")), "session=0");
    // The first use by a request with credentials is checked in the background.
    as_user(&cache, "user=1");
    eventually("it was found", || cache.stats()["personalised"]["found"] == 1);
    let later = [(); 5].map(|()| cache.get("/"));
    let mut sessions: Vec<_> = later.iter().map(set).collect();
    assert!(later[2..].iter().all(|response| response.has("detail=hit-for-miss")), "{}", later[4].cache_status());
    sessions.push("session=0".to_owned());
    sessions.sort();
    sessions.dedup();
    assert_eq!(sessions.len(), 6, "visitors share no session");
}

#[test]
fn a_cookie_of_a_304_is_not_replayed() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |request| {
        let session = format!("session={}", number.fetch_add(1, Ordering::SeqCst));
        match (request.header("cookie"), request.header("if-none-match")) {
            (Some(user), _) => Reply::fresh(user),
            (None, None) => Reply::fresh("for all").header("ETag", "\"1\""),
            (None, Some(_)) => Reply::not_modified().header("ETag", "\"1\"").header("Set-Cookie", &session),
        }
    });
    let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 1);
    cache.get("/").check(200, "for all", "stored");
    as_user(&cache, "user=1");
    eventually("it was found", || cache.stats()["personalised"]["found"] == 1);
    cache.step(61);
    let sessions =
        [(); 3].map(|()| cache.get("/").check(200, "for all", "fwd-status=304").header("set-cookie").unwrap());
    assert!(sessions[0] != sessions[1] && sessions[1] != sessions[2], "{sessions:?}");
}

#[test]
fn a_stored_error_for_one_clients_malformed_request_makes_no_page_personal() {
    let origin = Origin::start(|request| match request.header("cookie").as_deref() {
        Some("user=junk") => Reply::status("400 Bad Request").header("Cache-Control", "max-age=60").body("no"),
        _ => Reply::fresh("for all"),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=junk").check(400, "no", "stored");
    assert_eq!(as_user(&cache, "user=1").text(), "for all");
    as_user(&cache, "user=2").check(200, "for all", "stored");
    assert_eq!(as_user(&cache, "user=3").text(), "for all");
    as_user(&cache, "user=4").check(200, "for all", "hit");
    assert_eq!(cache.stats()["personalised"]["found"], 0);
}

#[test]
fn one_clients_malformed_request_makes_no_page_personal() {
    for (status, field) in [
        ("401 Unauthorized", ("Authorization", "Bearer junk")),
        ("431 Request Header Fields Too Large", ("Cookie", "large=1")),
    ] {
        let odd = move |request: &Request| request.header(field.0).is_some_and(|value| value == field.1);
        let origin = Origin::start(move |request| match odd(request) {
            true => Reply::status(status).header("Cache-Control", "max-age=60").body("no"),
            false => Reply::fresh("for all"),
        });
        let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 1);
        as_user(&cache, "user=1").check(200, "for all", "stored");
        cache.get_with("/", &[field]);
        assert_eq!(as_user(&cache, "user=2").text(), "for all");
        as_user(&cache, "user=3").check(200, "for all", "hit");
        assert_eq!(cache.stats()["personalised"]["found"], 0, "{status}");
    }
}

#[test]
fn samples_find_a_difference_that_the_first_comparison_missed() {
    let origin = Origin::start(|request| match request.header("cookie").as_deref() {
        Some("basket=full") => Reply::fresh("three apples"),
        _ => Reply::fresh("an empty basket"),
    });
    let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 10);
    as_user(&cache, "user=1");
    as_user(&cache, "user=2").check(200, "an empty basket", "detail=probation");
    for _ in 0..9 {
        as_user(&cache, "user=3").check(200, "an empty basket", "hit");
    }
    assert_eq!(origin.count(), 2);
    as_user(&cache, "basket=full").check(200, "an empty basket", "hit");
    assert_eq!((origin.count(), cache.stats()["personalised"]["found"].as_u64()), (3, Some(1)));
    as_user(&cache, "basket=full").check(200, "three apples", "detail=personalised");
}

#[test]
fn while_the_app_is_down_nobody_gets_anothers_page() {
    let mut origin = Origin::start(personal);
    let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 1);
    let ask = |path: &str, cookie: &str| cache.get_with(path, &[("Cookie", cookie)]);
    ask("/user", "user=1");
    cache.get("/nobody");
    origin.stop();
    for (seconds, how) in [(0, "hit"), (61, "detail=stale-if-error")] {
        cache.step(seconds);
        assert_eq!(ask("/user", "user=2").status(), 502);
        assert_eq!(cache.get("/user").status(), 502);
        assert_eq!(ask("/user", "user=1").text(), page_of(Some("user=1"), None));
        // A body that an anonymous request had stored is nobody's secret.
        ask("/nobody", "user=2").check(200, page_of(None, None), how);
    }
}

#[test]
fn a_check_that_fails_changes_nothing() {
    let mut origin = Origin::start(|_| Reply::fresh("for all"));
    let cache = Cache::with(&origin, |setup| setup.config.proxy.guard_sample = 1);
    as_user(&cache, "user=1");
    as_user(&cache, "user=2").check(200, "for all", "detail=probation");
    as_user(&cache, "user=3").check(200, "for all", "hit");
    assert_eq!(origin.count(), 3, "every use is checked");
    origin.stop();
    as_user(&cache, "user=4").check(200, "for all", "hit");
}

#[test]
fn the_compared_client_gets_what_it_asked_for() {
    let asked = Arc::new(AtomicUsize::new(0));
    let origin = Origin::start(|request| {
        let partial = ["range", "if-none-match", "if-match"].iter().any(|name| request.header(name).is_some());
        assert!(!partial, "the whole was asked for");
        Reply::fresh("0123456789").header("ETag", "\"1\"")
    });
    type Fields = &'static [(&'static str, &'static str)];
    let cases: [(&str, Fields, u16, &str); 5] = [
        ("GET", &[("Range", "bytes=2-4")], 206, "234"),
        ("GET", &[("If-None-Match", "\"1\"")], 304, ""),
        ("GET", &[("If-Match", "\"2\"")], 412, ""),
        ("HEAD", &[], 200, ""),
        ("GET", &[("Cache-Control", "only-if-cached")], 504, ""),
    ];
    for (method, fields, status, body) in cases {
        let cache = Cache::start(&origin);
        as_user(&cache, "user=1").check(200, "0123456789", "stored");
        let mut fields = fields.to_vec();
        fields.push(("Cookie", "user=2"));
        let response = cache.request(method, "/", &fields, b"");
        assert_eq!(response.status(), status, "{method} {fields:?}");
        if status == 504 {
            continue;
        }
        assert_eq!(response.text(), body);
        assert!(response.has("detail=probation"), "{}", response.cache_status());
        as_user(&cache, "user=3").check(200, "0123456789", "hit");
        asked.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[test]
fn a_cut_body_is_no_verdict() {
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        1 => Reply::fresh("for").length(7).cut(Cut::Fin),
        _ => Reply::fresh("for all"),
    });
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1");
    assert_ne!(as_user(&cache, "user=2").end, End::Clean);
    as_user(&cache, "user=3").check(200, "for all", "detail=probation");
    as_user(&cache, "user=4").check(200, "for all", "hit");
    let stats: Value = cache.stats();
    assert_eq!(stats["personalised"]["found"], 0);
}

#[test]
fn a_longer_body_counts_as_different_and_arrives_whole() {
    let long = "x".repeat(300_000);
    let origin = {
        let long = long.clone();
        Origin::start(move |request| match request.header("cookie").as_deref() {
            Some("user=1") => Reply::fresh("short").chunked(),
            _ => Reply::fresh(&long[..100_000]).chunked().body(&long[100_000..]),
        })
    };
    let cache = Cache::start(&origin);
    as_user(&cache, "user=1").check(200, "short", "stored");
    as_user(&cache, "user=2").check(200, &long, "detail=probation");
    as_user(&cache, "user=3").check(200, &long, "detail=personalised");
    assert_eq!(cache.stats()["personalised"]["found"], 1);
}
