//! The dashboard, in a browser: what it shows is what `/stats` says, it follows by itself, and explaining and purging work
//! by mouse and by keyboard. Pictures of it go to `LARDER_SCREENSHOTS`, or a temporary folder.

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
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
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
    for part in ["private", "set-cookie", "method", "To change it: Send public or s-maxage"] {
        assert!(why.contains(part), "{part} is not in {why}");
    }
    assert!(browser.text("#errors").contains("The origin answered 503."), "{}", browser.text("#errors"));
    assert!(browser.text("#urls").contains("/evil?'-alert(1)-'&lt;img%20src"), "{}", browser.text("#urls"));
    browser.click("#most-by input[value=by_misses]");
    browser.until("document.querySelector('#urls .url').textContent.endsWith('/private')");
    assert_eq!(browser.eval("document.querySelectorAll('#urls img, #reasons img, #errors img').length"), 0);
    browser.until("document.querySelectorAll('.u-legend').length === 3");
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
    let expected = browser.complaints();
    assert!(expected.iter().all(|line| line.contains("status of 400")), "{expected:#?}");
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
        "document.querySelector('#explain-result .verdict').innerText === 'This Larder has no POST /explain yet.'"
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
