//! The demo in browsers: two visitors click through every link of the sample app and back, and the
//! second is served what the first had Larder store.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use crate::harness::browser::PageResponse;
use crate::harness::process::LARDER;
use crate::harness::{BOUND, Browser, eventually};

/// A running `larder demo`. Dropping it kills it.
struct Demo {
    child: Child,
    /// The URL of the first page, without the slash at its end.
    base: String,
}

impl Demo {
    fn start() -> Self {
        let folder = std::env::temp_dir();
        let mut demo = Command::new(LARDER);
        demo.arg("demo").current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = demo.spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (found, base) = mpsc::channel();
        // Reads the output to its end, so that the demo never blocks on a full pipe.
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let words: Vec<&str> = line.split_whitespace().collect();
                if let ["Larder", url, ..] = words[..]
                    && url.starts_with("http://")
                {
                    let _ = found.send(url.trim_end_matches('/').to_owned());
                }
            }
        });
        let base = base.recv_timeout(BOUND).expect("the demo prints its address");
        Self { child, base }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns an expression that is true once a page is shown without a broken picture.
fn is_shown(path: &str) -> String {
    format!(
        "location.pathname + location.search === {path:?} && document.readyState === 'complete' \
         && [...document.images].every(image => image.complete && image.naturalWidth > 0)"
    )
}

/// Follows every link of the first page and comes back, as one visitor. Returns the responses by
/// path.
fn clicks_around(demo: &Demo) -> BTreeMap<String, PageResponse> {
    let mut browser = Browser::start();
    browser.screen(1280, 900);
    browser.open(&format!("{}/", demo.base));
    browser.until(&is_shown("/"));
    let links =
        browser.eval("[...new Set([...document.querySelectorAll('a')].map(link => link.getAttribute('href')))]");
    let links: Vec<String> = serde_json::from_value(links).unwrap();
    assert!(links.len() > 10, "{links:?}");
    for link in &links {
        browser.click(&format!("a[href='{link}']"));
        browser.until(&is_shown(if link == "/moved" { "/articles/1" } else { link }));
        if link != "/" {
            browser.eval("history.back()");
            browser.until(&is_shown("/"));
        }
    }
    let is_meant = |line: &String| line.contains("/broken") || line.contains("/missing");
    let complaints = browser.complaints();
    assert!(complaints.iter().all(is_meant), "{complaints:#?}");
    let responses = browser.responses();
    let paths = responses.into_iter().map(|seen| {
        let path =
            seen.url.strip_prefix(&demo.base).unwrap_or_else(|| panic!("{} is on another host", seen.url)).to_owned();
        (path, seen)
    });
    // The first response of each path: later ones may come from the browser's own cache, as all for
    // its icon do.
    paths.rev().filter(|(path, _)| path != "/favicon.ico").collect()
}

#[test]
fn the_demo_survives_two_visitors_clicking_around() {
    let mut demo = Demo::start();
    let (first, second) = (clicks_around(&demo), clicks_around(&demo));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (path, seen) in first.iter().chain(&second) {
        let expected = match path.as_str() {
            "/missing" => 404,
            "/broken" => 500,
            "/moved" => 301,
            _ => 200,
        };
        assert_eq!(seen.status, expected, "{seen:?}");
        assert!(seen.cache_status.starts_with("Larder; "), "{seen:?}");
    }
    let is_hit = |seen: &PageResponse| seen.cache_status.split("; ").any(|part| part == "hit");
    // The pages with a lifetime that is long enough for the slowest machine.
    let lasting = [
        "/articles/1",
        "/assets/age.1.js",
        "/assets/logo.1.svg",
        "/assets/shelf.1.svg",
        "/assets/style.1.css",
        "/big",
        "/moved",
    ];
    for path in lasting {
        let (first, second) = (&first[path], &second[path]);
        assert!(!is_hit(first) && is_hit(second), "{first:?}, then {second:?}");
    }
    for path in ["/account", "/checkout", "/unmarked", "/broken"] {
        assert!(!is_hit(&second[path]), "{:?}", second[path]);
    }
    let asked = Command::new("kill").args(["-TERM", &demo.child.id().to_string()]).status().unwrap();
    assert!(asked.success());
    let mut ended = None;
    eventually("the demo ends", || {
        ended = demo.child.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success(), "{ended:?}");
}
