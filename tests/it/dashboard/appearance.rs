//! The look of the dashboard: labels, keyboard focus, contrast, themes and small screens.

use serde_json::json;

use super::{busy, check_figures_equal_stats, check_is_well_behaved, opened, origin};

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
    check_is_well_behaved(&cache, &mut browser);
}

/// Finds text whose contrast with its background is below 4.5 (WCAG 2.2 §1.4.3).
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
fn both_themes_are_readable_and_fit_a_phone() {
    let origin = origin();
    let cache = busy(&origin);
    let mut browser = opened(&cache);
    for (scheme, width) in [("light", 1280), ("dark", 1280), ("light", 360), ("dark", 360)] {
        browser.prefer(scheme);
        browser.screen(width, 900);
        // The charts have adapted to the width.
        browser.until("[...document.querySelectorAll('.chart')].every(c => c.querySelector('.uplot').offsetWidth <= Math.max(240, c.clientWidth))");
        for target in ["/", "/shop/", "/cookie"] {
            cache.get(target);
        }
        check_figures_equal_stats(&cache, &mut browser);
        assert_eq!(browser.eval(FAINT), json!([]), "{scheme} at {width}");
        let over = browser.eval("document.documentElement.scrollWidth - document.documentElement.clientWidth");
        assert_eq!(over, 0, "{scheme} at {width}: the page scrolls sideways");
        let picture = browser.picture(&format!("dashboard-{scheme}-{width}.png"));
        assert!(std::fs::metadata(picture).unwrap().len() > 10_000);
    }
    check_is_well_behaved(&cache, &mut browser);
}
