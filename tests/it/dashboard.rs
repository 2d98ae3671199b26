//! The dashboard, in a browser: what it shows is what `/stats` says, it follows by itself, and explaining and purging work
//! by mouse and by keyboard. Pictures of it go to `LARDER_SCREENSHOTS`, or a temporary folder.

use larder::admin::Token;
use serde_json::{Value, json};

use crate::harness::{Browser, Cache, Origin, Reply, eventually};

/// An origin with something of everything: pages that are stored, one that may not be, one that fails.
fn origin() -> Origin {
    Origin::start(|request| match request.target().as_ref() {
        "/private" => Reply::ok().header("Cache-Control", "private").body("yours"),
        "/cookie" => Reply::ok().header("Set-Cookie", "a=b").body("hello"),
        "/broken" => Reply::status("503 Service Unavailable").body("oh"),
        target => Reply::fresh(format!("{target} {}", "text ".repeat(400))),
    })
}

/// A cache that has seen some of everything.
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

/// What the page shows of the figures that `/stats` has, by the pointer to each.
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

fn shown_equals_told(cache: &Cache, browser: &mut Browser) {
    let mut differing = Vec::new();
    eventually("the page shows what /stats says", || {
        let stats = cache.stats();
        differing.clear();
        for (id, pointer) in SHOWN {
            let told = stats.pointer(pointer).unwrap();
            let shown = browser.eval(&format!("document.getElementById({id:?}).dataset.value"));
            if shown.as_str() != Some(&js_number(told)) {
                differing.push(format!("{id}: {shown} for {told}"));
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
        let told: Vec<&Value> = stats["not_from_cache"].as_array().unwrap().iter().map(|row| &row["reason"]).collect();
        if reasons != json!(told) {
            differing.push(format!("{reasons} for {told:?}"));
        }
        differing.is_empty()
    });
    assert!(differing.is_empty(), "{differing:#?}");
}

/// A number as JavaScript writes it.
fn js_number(value: &Value) -> String {
    if value.is_null() { "null".to_owned() } else { value.to_string().trim_end_matches(".0").to_owned() }
}

fn is_well_behaved(cache: &Cache, browser: &mut Browser) {
    complains_only_of(browser, None);
    keeps_to_itself(cache, browser);
}

/// The browser itself writes a line on the console about each answer of 400 and above.
fn complains_only_of(browser: &mut Browser, status: Option<u16>) {
    let complaints = browser.complaints();
    let is_expected = |line: &String| status.is_some_and(|status| line.contains(&format!("status of {status}")));
    assert!(complaints.iter().all(is_expected), "{complaints:#?}");
    assert_eq!(complaints.is_empty(), status.is_none(), "a {status:?} was expected");
}

fn keeps_to_itself(cache: &Cache, browser: &mut Browser) {
    let own = cache.admin_url("/");
    let elsewhere: Vec<String> =
        browser.asked_for().into_iter().filter(|url| !url.starts_with(&own) && !url.starts_with("data:")).collect();
    assert!(elsewhere.is_empty(), "{elsewhere:?}");
}

#[test]
fn it_shows_what_stats_says_and_follows_by_itself() {
    let origin = origin();
    let cache = busy(&origin);
    let mut browser = opened(&cache);
    shown_equals_told(&cache, &mut browser);
    let before = cache.stats()["requests"]["total"].clone();
    for _ in 0..7 {
        cache.get("/shop/");
    }
    assert_ne!(cache.stats()["requests"]["total"], before);
    shown_equals_told(&cache, &mut browser);

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
    is_well_behaved(&cache, &mut browser);
}

#[test]
fn purging_works_by_mouse_and_by_keyboard() {
    let origin = origin();
    let cache = busy(&origin);
    let mut browser = opened(&cache);
    let is_hit = |cache: &Cache| cache.get("/").is_hit();

    assert!(is_hit(&cache));
    browser.click("#urls button[aria-label='Purge http://example.org/']");
    browser.until("document.querySelector('#purge-value').value === 'http://example.org/'");
    assert_eq!(browser.text("#purge-result"), "", "nothing is purged before the second click");
    browser.click("#purge button[type=submit]");
    browser.until("document.querySelector('#purge-result').innerText.includes('Purged.')");
    assert!(!is_hit(&cache), "purged by mouse");

    assert!(is_hit(&cache));
    browser.eval(
        "document.querySelector('#purge-result').replaceChildren(); document.querySelector('#purge-value').focus()",
    );
    browser.eval("document.querySelector('#purge-value').select()");
    browser.write("http://example.org/");
    browser.press("Enter");
    browser.until("document.querySelector('#purge-result').innerText.includes('Purged.')");
    assert!(!is_hit(&cache), "purged by keyboard");

    browser.eval("document.querySelector('#purge-value').select()");
    browser.write("nonsense");
    browser.click("#purge button[type=submit]");
    browser.until("document.querySelector('#purge-result .bad').innerText.includes('nonsense')");
    complains_only_of(&mut browser, Some(400));
    keeps_to_itself(&cache, &mut browser);
}

/// What the purging tests have stored: host, path, and the tags that the origin named.
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

/// Asks for everything, and returns what was not answered from the store, as host and path; it is stored by then.
fn fetched(cache: &Cache) -> Vec<String> {
    let is_fetched = |(host, path, _): &&(&str, &str, &str)| !cache.client().host(host).get(path).is_hit();
    let fetched = STORED.iter().filter(is_fetched).map(|(host, path, _)| format!("{host}{path}")).collect();
    eventually("all of it is stored", || {
        STORED.iter().all(|(host, path, _)| cache.client().host(host).get(path).is_hit())
    });
    fetched
}

fn everything() -> Vec<String> {
    STORED.iter().map(|(host, path, _)| format!("{host}{path}")).collect()
}

/// What can be purged by, in the order of the form: its word, what is written, and what is gone then.
fn purges() -> [(&'static str, &'static str, Vec<String>); 5] {
    let some = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    [
        ("url", "http://example.org/shop/1", some(&["example.org/shop/1"])),
        ("prefix", "example.org/shop/", some(&["example.org/shop/1", "example.org/shop/2"])),
        ("host", "other.example", some(&["other.example/shop/1", "other.example/"])),
        ("tag", "product-17", some(&["example.org/shop/2", "other.example/shop/1"])),
        ("everything", "", everything()),
    ]
}

const PURGED: &str = "document.querySelector('#purge-result').innerText.includes('Purged.')";
const FORGET_THE_ANSWER: &str = "document.querySelector('#purge-result').replaceChildren()";

#[test]
fn what_is_purged_by_click_is_fetched_again_and_nothing_else() {
    let origin = tagged_origin();
    let cache = Cache::start(&origin);
    assert_eq!(fetched(&cache), everything());
    let mut browser = opened(&cache);
    for (what, value, gone) in purges() {
        browser.eval(FORGET_THE_ANSWER);
        browser.eval(&format!(
            "(select => {{ select.value = {what:?}; select.dispatchEvent(new Event('change', {{ bubbles: true }})) }})\
             (document.querySelector('#purge-what'))"
        ));
        if what == "everything" {
            browser.click("#purge button[type=submit]");
            assert_eq!(fetched(&cache), [""; 0], "nobody said yes");
            browser.click("#purge-sure");
        } else {
            browser.click("#purge-value");
            browser.eval("document.querySelector('#purge-value').select()");
            browser.write(value);
        }
        browser.click("#purge button[type=submit]");
        browser.until(PURGED);
        assert_eq!(fetched(&cache), gone, "{what}");
        assert_eq!(fetched(&cache), [""; 0]);
    }
    is_well_behaved(&cache, &mut browser);
}

#[test]
fn what_is_purged_by_keyboard_is_fetched_again_and_nothing_else() {
    let origin = tagged_origin();
    let cache = Cache::start(&origin);
    assert_eq!(fetched(&cache), everything());
    let mut browser = opened(&cache);
    for (nth, (what, value, gone)) in purges().into_iter().enumerate() {
        browser.eval(FORGET_THE_ANSWER);
        browser.tab_to("purge-what");
        if nth > 0 {
            browser.press("ArrowDown");
        }
        assert_eq!(browser.eval("document.querySelector('#purge-what').value"), what);
        if what == "everything" {
            browser.tab_to("purge-sure");
            browser.press("Space");
            browser.press("Tab");
        } else {
            // Tab selects what was written before.
            browser.tab_to("purge-value");
            browser.write(value);
        }
        browser.press("Enter");
        browser.until(PURGED);
        assert_eq!(fetched(&cache), gone, "{what}");
    }
    is_well_behaved(&cache, &mut browser);
}

const TOKEN: &str = "0123456789abcdef";

/// Checks that the token went nowhere but into a field of requests, and is forgotten with the page.
fn token_is_not_kept(browser: &mut Browser, page: &str) {
    let kept = browser.eval(
        "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, history.state])",
    );
    assert!(!kept.as_str().unwrap().contains(TOKEN), "{kept}");
    let written = browser.eval("document.documentElement.outerHTML.includes('0123456789abcdef')");
    assert_eq!(written, false);
    let asked = browser.asked_for();
    assert!(asked.iter().all(|url| !url.contains(TOKEN)), "{asked:?}");
    browser.open(page);
    browser.until("document.readyState === 'complete' && document.querySelector('#token').value === ''");
}

#[test]
fn where_a_token_is_set_nothing_is_changed_without_it() {
    let origin = tagged_origin();
    let cache = Cache::with(&origin, |setup| setup.config.admin.token = Some(Token::new(TOKEN)));
    assert_eq!(fetched(&cache), everything());
    let mut browser = opened(&cache);
    let refused = |form: &str| {
        format!(
            "document.querySelector('#{form}-result .bad').innerText.includes('The admin token is missing or wrong')"
        )
    };
    for shown in ["", "not the token, but long"] {
        browser.click("#token");
        browser.write(shown);
        browser.eval(FORGET_THE_ANSWER);
        browser.click("#urls button[aria-label='Purge http://example.org/shop/1']");
        browser.click("#purge button[type=submit]");
        browser.until(&refused("purge"));
        browser.eval("document.querySelector('#explain-result').replaceChildren()");
        browser.click("#urls button[aria-label='Explain http://example.org/shop/1']");
        browser.until(&refused("explain"));
        assert_eq!(fetched(&cache), [""; 0], "{shown:?}");
    }
    browser.click("#token");
    browser.eval("document.querySelector('#token').select()");
    browser.write(TOKEN);
    browser.click("#purge button[type=submit]");
    browser.until(PURGED);
    assert_eq!(fetched(&cache), ["example.org/shop/1"]);
    browser.click("#explain button[type=submit]");
    browser.until("document.querySelector('#explain-result .verdict:not(.bad)')");
    complains_only_of(&mut browser, Some(401));
    keeps_to_itself(&cache, &mut browser);
    token_is_not_kept(&mut browser, &cache.admin_url("/"));
}

#[test]
fn where_others_can_reach_it_the_figures_need_the_token_too() {
    let origin = tagged_origin();
    let cache = Cache::with(&origin, |setup| {
        setup.config.admin.listen = Some("0.0.0.0:0".parse().unwrap());
        setup.config.admin.token = Some(Token::new(TOKEN));
    });
    assert_eq!(fetched(&cache), everything());
    let mut browser = Browser::start();
    browser.screen(1280, 900);
    let page = format!("http://127.0.0.1:{}/", cache.admin_addr().port());
    browser.open(&page);
    browser.until("document.querySelector('#state').innerText === 'Sign in'");
    assert_eq!(browser.eval("document.querySelectorAll('#urls li').length"), 0);
    browser.click("#token");
    browser.write(TOKEN);
    browser.until("document.querySelector('#state').dataset.state === 'live'");
    browser.until("document.querySelectorAll('#urls li').length > 0");
    complains_only_of(&mut browser, Some(401));
    token_is_not_kept(&mut browser, &page);
}

#[test]
fn explaining_works_by_mouse_and_by_keyboard() {
    let origin = origin();
    let cache = busy(&origin);
    let json = [("Content-Type", "application/json")];
    let body = br#"{"url": "http://example.org/", "method": "GET", "headers": []}"#;
    let is_there = cache.admin().exchange("POST", "/explain", &json, body).status() != 404;
    let told = if is_there {
        "document.querySelector('#explain-result .verdict:not(.bad)').parentNode.innerText.includes('http://example.org/')"
    } else {
        "document.querySelector('#explain-result .verdict').innerText === 'This Larder has no POST /explain.'"
    };
    let mut browser = opened(&cache);

    browser.click("#urls button[aria-label='Explain http://example.org/']");
    browser.until(told);
    browser.eval(
        "document.querySelector('#explain-result').replaceChildren(); document.querySelector('#explain-url').focus()",
    );
    browser.press("Enter");
    browser.until(told);
    assert_eq!(browser.eval("document.querySelectorAll('#explain-result .told').length > 0"), is_there);
    let expected = browser.complaints();
    assert!(expected.iter().all(|line| !is_there && line.contains("status of 404")), "{expected:#?}");
}

#[test]
fn every_control_is_labelled_and_reached_by_keyboard() {
    let origin = origin();
    let cache = busy(&origin);
    let mut browser = opened(&cache);
    let unlabelled =
        "[...document.querySelectorAll('input, select, textarea')].filter(node => node.labels.length === 0).length";
    assert_eq!(browser.eval(unlabelled), 0);
    let mut reached = Vec::new();
    for _ in 0..200 {
        browser.press("Tab");
        let name = browser
            .eval("(n => n.id || n.name || n.getAttribute('aria-label') || n.innerText)(document.activeElement)");
        let name = name.as_str().unwrap_or_default().to_owned();
        if reached.first() == Some(&name) {
            break;
        }
        reached.push(name);
    }
    for wanted in [
        "theme",
        "by",
        "Purge http://example.org/",
        "explain-url",
        "explain-headers",
        "purge-what",
        "purge-kind",
        "token",
    ] {
        assert!(reached.iter().any(|name| name == wanted), "{wanted} is not in {reached:?}");
    }
    browser.eval("document.querySelector('#theme').focus()");
    browser.press("Space");
    assert_eq!(browser.text("#theme"), "Theme: light");
    is_well_behaved(&cache, &mut browser);
}

/// Finds text whose contrast with what is behind it is below 4.5 (WCAG 2.2 §1.4.3).
const FAINT: &str = r"(() => {
  const light = (part) => { const c = part / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const parse = (text) => text.match(/[\d.]+/g).map(Number);
  const luminance = ([r, g, b]) => 0.2126 * light(r) + 0.7152 * light(g) + 0.0722 * light(b);
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
    if (!own || !node.checkVisibility() || node.closest('.skip, noscript')) continue;
    const [a, b] = [luminance(parse(getComputedStyle(node).color)), luminance(behind(node))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faint.push(`${node.tagName}.${node.className} ${node.textContent.slice(0, 30)}: ${contrast.toFixed(2)}`);
  }
  return faint;
})()";

#[test]
fn both_themes_and_a_phone_can_be_read() {
    let origin = origin();
    let cache = busy(&origin);
    let mut browser = opened(&cache);
    for (scheme, width) in [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)] {
        browser.prefer(scheme);
        browser.screen(width, 900);
        // The charts have followed the width.
        browser.until("[...document.querySelectorAll('.chart')].every(c => c.querySelector('.uplot').offsetWidth <= Math.max(240, c.clientWidth))");
        for target in ["/", "/shop/", "/cookie"] {
            cache.get(target);
        }
        shown_equals_told(&cache, &mut browser);
        assert_eq!(browser.eval(FAINT), json!([]), "{scheme} at {width}");
        let over = browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(over, 0, "{scheme} at {width}: it scrolls sideways");
        let picture = browser.picture(&format!("dashboard-{scheme}-{width}.png"));
        assert!(std::fs::metadata(picture).unwrap().len() > 10_000);
    }
    is_well_behaved(&cache, &mut browser);
}
