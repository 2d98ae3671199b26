//! Purging from the dashboard, by mouse and by keyboard.

use super::{
    FORGET_THE_ANSWER, PURGED, busy, check_complains_only_of, check_is_well_behaved, check_requests_nothing_elsewhere,
    everything, fetched, opened, origin, tagged_origin,
};
use crate::harness::Cache;

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
    check_complains_only_of(&mut browser, Some(400));
    check_requests_nothing_elsewhere(&cache, &mut browser);
}

/// The selectors of the purge form, in order: the option, the typed value, and what the purge
/// removes.
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

#[test]
fn a_purge_by_click_refetches_what_it_names_and_nothing_else() {
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
            assert_eq!(fetched(&cache), [""; 0], "nothing is purged without confirmation");
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
    check_is_well_behaved(&cache, &mut browser);
}

#[test]
fn a_purge_by_keyboard_refetches_what_it_names_and_nothing_else() {
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
            // Tab into the field selects its old text.
            browser.tab_to("purge-value");
            browser.write(value);
        }
        browser.press("Enter");
        browser.until(PURGED);
        assert_eq!(fetched(&cache), gone, "{what}");
    }
    check_is_well_behaved(&cache, &mut browser);
}
