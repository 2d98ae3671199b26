//! The dashboard in a browser: its figures equal those of `/stats`, it updates by itself, and
//! explaining and purging work by mouse and by keyboard. Screenshots go to `LARDER_SCREENSHOTS`, or
//! a temporary folder.

mod appearance;
mod purging;
mod token;

use serde_json::{Value, json};

use crate::harness::{Browser, Cache, Origin, Reply, eventually};

/// An origin with a page of each kind: stored, not storable, failing.
fn origin() -> Origin {
    Origin::start(|request| match request.target().as_ref() {
        "/private" => Reply::ok().header("Cache-Control", "private").body("yours"),
        "/cookie" => Reply::ok().header("Set-Cookie", "a=b").body("hello"),
        "/broken" => Reply::status("503 Service Unavailable").body("oh"),
        target => Reply::fresh(format!("{target} {}", "text ".repeat(400))),
    })
}

/// A cache that has seen a request of each kind.
fn busy(origin: &Origin) -> Cache {
    let cache = Cache::start(origin);
    for target in ["/", "/shop/", "/shop/1?colour=red", "/private", "/private", "/cookie", "/broken"] {
        cache.get(target);
    }
    cache.get("/evil?'-alert(1)-'&lt;img%20src=x%20onerror=alert(1)%3E");
    for _ in 0..5 {
        cache.get("/");
    }
    cache.request("POST", "/cart", &[], b"one more");
    cache
}

fn opened(cache: &Cache) -> Browser {
    let mut browser = Browser::start();
    browser.screen(1280, 900);
    browser.open(&cache.admin_url("/"));
    browser.until("document.querySelector('#state').dataset.state === 'live'");
    browser.until("document.querySelectorAll('#urls li').length > 0");
    browser
}

/// Elements of the page with the `/stats` figure that each shows, as a JSON pointer.
const SHOWN: [(&str, &str); 9] = [
    ("hit-ratio", "/ratios/cache_hit"),
    ("rate-note", "/requests/total"),
    ("saved", "/origin/saved_ratio"),
    ("saved-note", "/origin/saved"),
    ("hits-take", "/latency/hits/p50_us"),
    ("misses-take", "/latency/misses/p50_us"),
    ("memory", "/memory/alive_bytes"),
    ("memory-note", "/store/entries"),
    ("hits-take-note", "/latency/hits/p99_us"),
];

fn check_figures_equal_stats(cache: &Cache, browser: &mut Browser) {
    let mut differing = Vec::new();
    eventually("the page shows what /stats says", || {
        let stats = cache.stats();
        differing.clear();
        for (id, pointer) in SHOWN {
            let figure = stats.pointer(pointer).unwrap();
            let shown = browser.eval(&format!("document.getElementById({id:?}).dataset.value"));
            if shown.as_str() != Some(&js_number(figure)) {
                differing.push(format!("{id}: {shown} for {figure}"));
            }
        }
        let rows = |list: &str, of: &str| {
            json!(stats["asked_most"][list].as_array().unwrap().iter().map(|row| &row[of]).collect::<Vec<_>>())
        };
        let urls = browser.eval("[...document.querySelectorAll('#urls .url')].map(node => node.textContent)");
        let amounts =
            browser.eval("[...document.querySelectorAll('#urls .amount')].map(node => Number(node.dataset.value))");
        if urls != rows("by_requests", "url") || amounts != rows("by_requests", "at_least") {
            differing.push(format!("{urls} {amounts}"));
        }
        let reasons =
            browser.eval("[...document.querySelectorAll('#reasons .reason-head code')].map(node => node.textContent)");
        let expected: Vec<&Value> =
            stats["not_from_cache"].as_array().unwrap().iter().map(|row| &row["reason"]).collect();
        if reasons != json!(expected) {
            differing.push(format!("{reasons} for {expected:?}"));
        }
        differing.is_empty()
    });
    assert!(differing.is_empty(), "{differing:#?}");
}

/// A number as JavaScript writes it.
fn js_number(value: &Value) -> String {
    if value.is_null() { "null".to_owned() } else { value.to_string().trim_end_matches(".0").to_owned() }
}

fn check_is_well_behaved(cache: &Cache, browser: &mut Browser) {
    check_complains_only_of(browser, None);
    check_requests_nothing_elsewhere(cache, browser);
}

/// Checks the browser's complaints. The browser itself logs a line for each response of 400 and
/// above.
fn check_complains_only_of(browser: &mut Browser, status: Option<u16>) {
    let complaints = browser.complaints();
    let is_expected = |line: &String| status.is_some_and(|status| line.contains(&format!("status of {status}")));
    assert!(complaints.iter().all(is_expected), "{complaints:#?}");
    assert_eq!(complaints.is_empty(), status.is_none(), "a {status:?} was expected");
}

fn check_requests_nothing_elsewhere(cache: &Cache, browser: &mut Browser) {
    let own = cache.admin_url("/");
    let elsewhere: Vec<String> = browser
        .requested_urls()
        .into_iter()
        .filter(|url| !url.starts_with(&own) && !url.starts_with("data:"))
        .collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn the_figures_equal_those_of_stats_and_update_by_themselves() {
    let origin = origin();
    let cache = busy(&origin);
    let mut browser = opened(&cache);
    check_figures_equal_stats(&cache, &mut browser);
    let before = cache.stats()["requests"]["total"].clone();
    for _ in 0..7 {
        cache.get("/shop/");
    }
    assert_ne!(cache.stats()["requests"]["total"], before);
    check_figures_equal_stats(&cache, &mut browser);

    let why = browser.text("#reasons");
    for part in ["private", "set-cookie", "method", "Fix: Send public or s-maxage"] {
        assert!(why.contains(part), "{part} is not in {why}");
    }
    assert!(browser.text("#errors").contains("The origin answered 503."), "{}", browser.text("#errors"));
    assert!(browser.text("#urls").contains("/evil?'-alert(1)-'&lt;img%20src"), "{}", browser.text("#urls"));
    browser.click("#most-by input[value=by_misses]");
    browser.until("document.querySelector('#urls .url').textContent.endsWith('/private')");
    assert_eq!(browser.eval("document.querySelectorAll('#urls img, #reasons img, #errors img').length"), 0);
    browser.until("document.querySelectorAll('.u-legend').length === 3");
    browser.until("document.querySelector('#chart-latency .u-legend').innerText.includes('µs')");
    check_is_well_behaved(&cache, &mut browser);
}

/// The stored responses of the purging tests: host, path, and the origin's tags.
const STORED: [(&str, &str, &str); 6] = [
    ("example.org", "/shop/1", "product-1 list"),
    ("example.org", "/shop/2", "product-17"),
    ("example.org", "/shopping", "product-1"),
    ("example.org", "/", "product-170"),
    ("other.example", "/shop/1", "product-17 list"),
    ("other.example", "/", "home"),
];

fn tagged_origin() -> Origin {
    Origin::start(|request| {
        let host = request.header("host").unwrap_or_default();
        let tags = STORED.iter().find(|(named, path, _)| *named == host && *path == request.target());
        Reply::fresh("x").header("Surrogate-Key", tags.map_or("", |(.., tags)| tags))
    })
}

/// Requests everything. Returns the host and path of each response that was not a hit; afterwards
/// all are stored.
fn fetched(cache: &Cache) -> Vec<String> {
    let is_fetched = |(host, path, _): &&(&str, &str, &str)| !cache.client().host(host).get(path).is_hit();
    let fetched = STORED.iter().filter(is_fetched).map(|(host, path, _)| format!("{host}{path}")).collect();
    eventually("all pages are stored", || {
        STORED.iter().all(|(host, path, _)| cache.client().host(host).get(path).is_hit())
    });
    fetched
}

fn everything() -> Vec<String> {
    STORED.iter().map(|(host, path, _)| format!("{host}{path}")).collect()
}

const PURGED: &str = "document.querySelector('#purge-result').innerText.includes('Purged.')";
const FORGET_THE_ANSWER: &str = "document.querySelector('#purge-result').replaceChildren()";

#[test]
fn explaining_works_by_mouse_and_by_keyboard() {
    let origin = origin();
    let cache = busy(&origin);
    let json = [("Content-Type", "application/json")];
    let body = br#"{"url": "http://example.org/", "method": "GET", "headers": []}"#;
    let is_there = cache.admin().exchange("POST", "/explain", &json, body).status() != 404;
    let shown = if is_there {
        "document.querySelector('#explain-result .verdict:not(.bad)').parentNode.innerText.includes('http://example.org/')"
    } else {
        "document.querySelector('#explain-result .verdict').innerText === 'This Larder has no POST /explain.'"
    };
    let mut browser = opened(&cache);

    browser.click("#urls button[aria-label='Explain http://example.org/']");
    browser.until(shown);
    browser.eval(
        "document.querySelector('#explain-result').replaceChildren(); document.querySelector('#explain-url').focus()",
    );
    browser.press("Enter");
    browser.until(shown);
    assert_eq!(browser.eval("document.querySelectorAll('#explain-result .told').length > 0"), is_there);
    let expected = browser.complaints();
    assert!(expected.iter().all(|line| !is_there && line.contains("status of 404")), "{expected:#?}");
}
