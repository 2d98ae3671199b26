//! The dashboard of an admin side with a token.

use larder::admin::Token;

use super::{
    FORGET_THE_ANSWER, PURGED, check_complains_only_of, check_requests_nothing_elsewhere, everything, fetched, opened,
    tagged_origin,
};
use crate::harness::{Browser, Cache};

const TOKEN: &str = "0123456789abcdef";

/// Checks that the token went nowhere but into a request's field, and that the page forgets it when
/// closed.
fn check_token_is_not_kept(browser: &mut Browser, page: &str) {
    let kept = browser.eval(
        "JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href, history.state])",
    );
    assert!(!kept.as_str().unwrap().contains(TOKEN), "{kept}");
    let written = browser.eval("document.documentElement.outerHTML.includes('0123456789abcdef')");
    assert_eq!(written, false);
    let asked = browser.requested_urls();
    assert!(asked.iter().all(|url| !url.contains(TOKEN)), "{asked:?}");
    browser.open(page);
    browser.until("document.readyState === 'complete' && document.querySelector('#token').value === ''");
}

#[test]
fn with_a_token_set_nothing_can_be_changed_without_it() {
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
    check_complains_only_of(&mut browser, Some(401));
    check_requests_nothing_elsewhere(&cache, &mut browser);
    check_token_is_not_kept(&mut browser, &cache.admin_url("/"));
}

#[test]
fn off_loopback_the_figures_need_the_token_too() {
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
    check_complains_only_of(&mut browser, Some(401));
    check_token_is_not_kept(&mut browser, &page);
}
