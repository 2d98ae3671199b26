//! Thirty configurations of routes, each with a request whose explanation must come true.

use super::{by_name, disagreement, question};
use crate::harness::{Cache, WEBSOCKET};

type Fields = &'static [(&'static str, &'static str)];

/// A configuration, the requests before, the seconds that pass, the request, and the reason and the
/// number of the route that it is answered with.
struct ExplainCase(
    &'static str,
    &'static [(&'static str, Fields)],
    u64,
    (&'static str, &'static str, Fields),
    &'static str,
    Option<u64>,
);

const NONE: Fields = &[];
const SHOP: &str = "[[route]]\npath = \"/shop/\"\n";

const CASES: &[ExplainCase] = &[
    ExplainCase("", &[], 0, ("GET", "/a", NONE), "uri-miss", None),
    ExplainCase("", &[("/a", NONE)], 0, ("GET", "/a", NONE), "fresh", None),
    ExplainCase(
        "[[route]]\npath = \"/shop/\"\ncache = \"bypass\"",
        &[("/shop/a", NONE)],
        0,
        ("GET", "/shop/x/../a", NONE),
        "bypass",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\npath = \"/shop/\"\ncache = \"bypass\"",
        &[("/shopping", NONE)],
        0,
        ("GET", "/shopping", NONE),
        "fresh",
        None,
    ),
    ExplainCase(
        "[[route]]\npath = \"/shop/\"\ncache = \"bypass\"",
        &[],
        0,
        ("GET", "/shop/a", &[("Cache-Control", "only-if-cached")]),
        "only-if-cached",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\ncache = \"force\"\nttl = \"1m\"",
        &[("/no-store", NONE)],
        0,
        ("GET", "/no-store", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\ncache = \"force\"\nttl = \"1m\"",
        &[("/private", NONE), ("/private", NONE)],
        0,
        ("GET", "/private", NONE),
        "hit-for-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\ncache = \"force\"\nttl = \"1m\"",
        &[("/no-store", NONE)],
        61,
        ("GET", "/no-store", NONE),
        "stale",
        Some(1),
    ),
    ExplainCase("[[route]]\nttl = \"1m\"", &[("/silent", NONE)], 59, ("GET", "/silent", NONE), "fresh", Some(1)),
    ExplainCase("[[route]]\nttl = \"1m\"", &[("/missing", NONE)], 0, ("GET", "/missing", NONE), "uri-miss", Some(1)),
    ExplainCase(
        "[cache]\nttl_by_status = { 404 = \"1m\" }",
        &[("/missing", NONE)],
        30,
        ("GET", "/missing", NONE),
        "fresh",
        None,
    ),
    ExplainCase("[[route]]\nkey.query = \"none\"", &[("/a?x=1", NONE)], 0, ("GET", "/a?y=2", NONE), "fresh", Some(1)),
    ExplainCase(
        "[[route]]\nkey.query = { drop = [\"utm_*\"] }",
        &[("/a?id=1&utm_a=1", NONE)],
        0,
        ("GET", "/a?utm_b=2&id=1", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.query = [\"id\"]",
        &[("/a?id=1&x=1", NONE)],
        0,
        ("GET", "/a?x=2&id=2", NONE),
        "uri-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.headers = [\"x-plan\"]",
        &[("/a", &[("X-Plan", "a")])],
        0,
        ("GET", "/a", &[("X-Plan", "a")]),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.headers = [\"x-plan\"]",
        &[("/a", &[("X-Plan", "a")])],
        0,
        ("GET", "/a", &[("X-Plan", "b")]),
        "uri-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.cookies = [\"currency\"]",
        &[("/a", &[("Cookie", "currency=eur")])],
        0,
        ("GET", "/a", &[("Cookie", "currency=eur")]),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nkey.cookies = [\"currency\"]",
        &[("/a", &[("Cookie", "currency=eur")])],
        0,
        ("GET", "/a", &[("Cookie", "currency=usd")]),
        "uri-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nmethods = [\"POST\"]\ncache = \"bypass\"",
        &[("/a", NONE)],
        0,
        ("GET", "/a", NONE),
        "fresh",
        None,
    ),
    ExplainCase("[[route]]\nmethods = [\"POST\"]\ncache = \"bypass\"", &[], 0, ("POST", "/a", NONE), "bypass", Some(1)),
    ExplainCase(
        "[[route]]\nmethods = [\"GET\"]\npath = \"/a\"",
        &[("/a", NONE)],
        0,
        ("HEAD", "/a", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nhost = \"example.org\"\ncache = \"bypass\"",
        &[],
        0,
        ("GET", "/a", NONE),
        "bypass",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nhost = \"*.example.org\"\ncache = \"bypass\"",
        &[("/a", NONE)],
        0,
        ("GET", "/a", NONE),
        "fresh",
        None,
    ),
    ExplainCase(
        "[[route]]\npath = \"/img/**/*.png\"\ncache = \"bypass\"\n[[route]]\npath = \"/img/\"",
        &[("/img/a", NONE)],
        0,
        ("GET", "/img/a", NONE),
        "fresh",
        Some(2),
    ),
    ExplainCase(
        "[[route]]\nset_cookie = \"strip\"\nttl = \"1m\"",
        &[("/cookie", NONE)],
        0,
        ("GET", "/cookie", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nset_cookie = \"obey\"",
        &[("/cookie-fresh", NONE)],
        0,
        ("GET", "/cookie-fresh", NONE),
        "fresh",
        Some(1),
    ),
    ExplainCase("", &[("/cookie-fresh", NONE)], 0, ("GET", "/cookie-fresh", NONE), "uri-miss", None),
    ExplainCase(
        "[[route]]\nstale_while_revalidate = \"1m\"",
        &[("/short", NONE)],
        10,
        ("GET", "/short", NONE),
        "stale-while-revalidate",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\nobject_bytes_max = \"0\"",
        &[("/a", NONE), ("/a", NONE)],
        0,
        ("GET", "/a", NONE),
        "hit-for-miss",
        Some(1),
    ),
    ExplainCase(
        "[[route]]\npersonalisation_guard = false",
        &[("/a", &[("Cookie", "a=1")])],
        0,
        ("GET", "/a", &[("Cookie", "a=2")]),
        "fresh",
        Some(1),
    ),
    ExplainCase(SHOP, &[("/a", &[("Cookie", "a=1")])], 0, ("GET", "/a", &[("Cookie", "a=2")]), "probation", None),
    ExplainCase(
        "[[route]]\nignore_cookies = [\"a\"]",
        &[("/a", &[("Cookie", "a=1")])],
        0,
        ("GET", "/a", &[("Cookie", "a=2")]),
        "fresh",
        Some(1),
    ),
    ExplainCase(
        "[cache]\nobey_client_no_cache = false",
        &[("/a", NONE)],
        0,
        ("GET", "/a", &[("Cache-Control", "no-cache")]),
        "fresh",
        None,
    ),
    ExplainCase("", &[("/a", NONE)], 0, ("GET", "/a", &[("Cache-Control", "no-cache")]), "request", None),
    ExplainCase(
        "",
        &[("/lang", &[("Accept-Language", "de")])],
        0,
        ("GET", "/lang", &[("Accept-Language", "en")]),
        "vary-miss",
        None,
    ),
    ExplainCase("", &[("/no-cache", NONE)], 0, ("GET", "/no-cache", NONE), "no-cache", None),
    ExplainCase("", &[("/short", NONE)], 9, ("GET", "/short", NONE), "stale", None),
    ExplainCase("", &[("/swr", NONE)], 9, ("GET", "/swr", NONE), "stale-while-revalidate", None),
    ExplainCase("", &[("/short", NONE)], 9, ("GET", "/short", &[("Cache-Control", "max-stale=60")]), "max-stale", None),
    ExplainCase("", &[], 0, ("GET", "/a", &[("Range", "bytes=0-0")]), "range-miss", None),
    ExplainCase("", &[("/a", NONE)], 0, ("GET", "/a", &[("Range", "bytes=0-0")]), "fresh", None),
    ExplainCase("", &[], 0, ("GET", "/a", &WEBSOCKET), "upgrade", None),
    ExplainCase("", &[], 0, ("TRACE", "/a", NONE), "method-refused", None),
    ExplainCase("", &[], 0, ("BREW", "/a", NONE), "method", None),
    ExplainCase("", &[], 0, ("GET", "/a", &[("Cache-Control", "only-if-cached")]), "only-if-cached", None),
    ExplainCase("[[site]]\nhosts = [\"another.example\"]", &[], 0, ("GET", "/a", NONE), "site-unknown", None),
];

#[test]
fn the_prediction_holds_in_every_configuration() {
    let origin = by_name();
    let mut wrong = Vec::new();
    for ExplainCase(lines, before, seconds, (method, target, fields), reason, route) in CASES {
        let cache = Cache::configured(&origin, lines);
        for (target, fields) in *before {
            cache.get_with(target, fields);
        }
        cache.step(*seconds);
        let report = cache.explain(&question(method, target, fields));
        let predicted = (report["now"]["reason"].as_str().unwrap_or_default(), report["route"]["number"].as_u64());
        let response = cache.request(method, target, fields, b"");
        let what = disagreement(&report, &response);
        if predicted != (*reason, *route) || what.is_some() {
            wrong.push(format!(
                "{lines:?} {method} {target} {fields:?}: predicted {predicted:?}, expected ({reason:?}, {route:?}); {what:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
