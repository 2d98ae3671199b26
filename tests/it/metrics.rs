//! `/metrics`: well-formed in both formats, consistent with `/stats`, and with as many series after
//! ten thousand URLs as before.

use crate::harness::exposition::{Exposition, Format};
use crate::harness::{Cache, Client, Cut, Origin, Process, Reply};

const OPEN_METRICS: (&str, &str) = ("Accept", "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.3");

/// Reads the exposition of an admin side, and checks that both formats agree.
#[track_caller]
pub(crate) fn exposition(mut admin: Client) -> Exposition {
    let open = admin.exchange("GET", "/metrics", &[OPEN_METRICS], b"");
    assert!(open.header("content-type").unwrap().starts_with("application/openmetrics-text; version=1.0.0"));
    let open = Exposition::read(&open.text(), Format::OpenMetrics);
    let classic = admin.get("/metrics");
    assert!(classic.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let classic = Exposition::read(&classic.text(), Format::Classic);
    assert_eq!(open.series(), classic.series());
    open
}

/// An origin that answers with the status in the path; some of its responses can be stored.
pub(crate) fn origin() -> Origin {
    Origin::start(|request| match request.target().split(['/', '?']).nth(1).unwrap_or_default() {
        "private" => Reply::ok().header("Cache-Control", "private").body("mine"),
        "cookie" => Reply::ok().header("Set-Cookie", "a=b").body("hello"),
        "cut" => Reply::fresh("half").length(100).cut(Cut::Fin),
        status @ ("404" | "418" | "503" | "599") => Reply::status(&format!("{status} Odd")).body("no"),
        _ => Reply::fresh("x".repeat(1_000)),
    })
}

/// A configuration with routes. One route's name needs escaping.
const ROUTES: &str = "
    [[route]]
    name = 'a\"b\\c{}'
    path = '/odd/'
    [[route]]
    path = '/img/**/*.png'
    ";

pub(crate) fn one_of_each(cache: &Cache) {
    for target in
        ["/", "/", "/odd/1", "/odd/1", "/img/a/b.png", "/private", "/cookie", "/404/", "/503/", "/418/", "/599/"]
    {
        cache.get(target);
    }
    cache.request("POST", "/form", &[], b"one");
    cache.request("BREW", "/pot", &[], b"");
    cache.get("/cut");
    cache.get_with("/nothing", &[("Cache-Control", "only-if-cached")]);
    cache.client().host("a b").get("/");
    cache.request("HEAD", "/", &[], b"");
}

#[test]
fn metrics_are_well_formed_and_equal_stats() {
    let origin = origin();
    let cache = Cache::configured(&origin, ROUTES);
    exposition(cache.admin());
    one_of_each(&cache);
    let (metrics, stats) = (exposition(cache.admin()), cache.stats());
    let check = |name: &str, labels: &[(&str, &str)], pointer: &str| {
        let figure = stats.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap();
        assert_eq!(metrics.value(name, labels), figure, "{name} {labels:?}, {pointer}");
    };
    check("larder_requests_total", &[("outcome", "hit"), ("reason", "fresh")], "/requests/by_outcome/hit");
    check("larder_response_size_bytes_sum", &[("outcome", "miss")], "/bytes/by_outcome/miss");
    check("larder_response_size_bytes_count", &[("outcome", "pass")], "/requests/by_outcome/pass");
    check("larder_request_duration_seconds_count", &[("class", "hit")], "/latency/hits/count");
    check("larder_origin_wait_seconds_count", &[], "/origin/requests");
    check("larder_route_requests_total", &[("route", "a\"b\\c{}"), ("outcome", "hit")], "/routes/0/by_outcome/hit");
    check("larder_stored_entries", &[("tier", "memory")], "/store/entries");
    check("larder_responses_not_stored_total", &[("reason", "set-cookie")], "/storing/not_stored/set-cookie");
    check("larder_config_reloads_total", &[("result", "refused")], "/server/reloads_refused");
}

#[test]
fn ten_thousand_urls_and_unusual_requests_add_no_series() {
    const URLS: usize = 10_000;
    let origin = origin();
    let cache = Cache::configured(&origin, ROUTES);
    one_of_each(&cache);
    let before = exposition(cache.admin());
    for hundred in 0..URLS / 100 {
        let mut client = cache.client().host(&format!("h{hundred}.example.org"));
        for nth in hundred * 100..(hundred + 1) * 100 {
            let first = ["", "odd/", "img/x/", "404/", "418/", "599/", "private/"][nth % 7];
            let method = if nth % 50 == 0 { format!("ODD{nth}") } else { "GET".to_owned() };
            let agent = format!("agent {nth}");
            client.exchange(&method, &format!("/{first}{nth}.png?q={nth}"), &[("User-Agent", &agent)], b"");
        }
    }
    cache.settle();
    let after = exposition(cache.admin());
    assert_eq!(after.series(), before.series());
    assert!(after.value("larder_requests_total", &[("outcome", "miss"), ("reason", "uri-miss")]) > 9_000.0);
}

#[test]
fn reloads_are_reported_with_their_time() {
    let origin = origin();
    let larder = Process::serve(&origin, "");
    let reloads =
        |result| move |exposition: &Exposition| exposition.value("larder_config_reloads_total", &[("result", result)]);
    let (applied, refused) = (reloads("applied"), reloads("refused"));
    let successful = |exposition: &Exposition| exposition.value("larder_config_last_reload_successful", &[]);
    let since = |exposition: &Exposition| exposition.value("larder_config_last_reload_success_timestamp_seconds", &[]);

    let first = exposition(larder.admin());
    assert_eq!((applied(&first), refused(&first), successful(&first)), (0.0, 0.0, 1.0));
    assert!(since(&first) > 1.7e9);
    larder.configure("reload_on_change = true\nnonsense = 1");
    assert_eq!(larder.reload().0, 422);
    let second = exposition(larder.admin());
    assert!(refused(&second) >= 1.0 && applied(&second) == 0.0);
    assert_eq!((successful(&second), since(&second)), (0.0, since(&first)));
    larder.configure("");
    assert_eq!(larder.reload().0, 200);
    let third = exposition(larder.admin());
    assert!(applied(&third) >= 1.0 && since(&third) >= since(&first));
    assert_eq!(successful(&third), 1.0);
}
