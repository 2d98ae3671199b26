//! Keys (RFC 9111 §2): spellings of one URL share an entry, and different URLs never do.

use crate::harness::{Cache, Origin, Reply};

/// Checks that all spellings of a URL share one entry, and that the origin is asked for the
/// canonical target.
#[track_caller]
fn check_one_key(canonical: &str, host: &str, spellings: &[(&str, &str)]) {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    for (at, (host, target)) in spellings.iter().enumerate() {
        let response = cache.client().host(host).get(target);
        cache.settle();
        assert_eq!((response.status(), response.is_hit()), (200, at > 0), "{host} {target}");
    }
    let asked = origin.last();
    assert_eq!((asked.target().as_str(), asked.header("host").as_deref()), (canonical, Some(host)));
    assert_eq!(origin.count(), 1);
}

#[test]
fn spellings_of_one_url_share_a_key_and_the_origin_gets_the_canonical_one() {
    let paths = ["/a/x/../b", "/a/./b", "/a/b", "/a/%2e%2e/a/b", "/%61/b", "/a/x/%2E%2e/b"];
    check_one_key("/a/b", "example.org", &paths.map(|path| ("example.org", path)));
    let cases = ["/%c3%a9?q=%2f", "/%C3%A9?q=%2F"];
    check_one_key("/%C3%A9?q=%2F", "example.org", &cases.map(|path| ("example.org", path)));
    let hosts = ["EXAMPLE.org", "example.org:80", "example.ORG:080", "example.org"];
    check_one_key("/", "example.org", &hosts.map(|host| (host, "/")));
    check_one_key("/p", "example.org:81", &[("Example.org:81", "/p"), ("EXAMPLE.org:81", "http://Example.org:81/p")]);
}

#[test]
fn different_urls_never_share_a_key() {
    let origin = Origin::start(|request| Reply::fresh(format!("{:?} {}", request.header("host"), request.target())));
    let cache = Cache::start(&origin);
    let mut seen = std::collections::HashSet::new();
    for (host, target) in [
        ("a.example", "/p"),
        ("b.example", "/p"),
        ("a.example:81", "/p"),
        ("a.example", "/P"),
        ("a.example", "/p/"),
        ("a.example", "//p"),
        ("a.example", "/p?"),
        ("a.example", "/p?a=1&b=2"),
        ("a.example", "/p?b=2&a=1"),
        ("a.example", "/%2Fp"),
    ] {
        let response = cache.client().host(host).get(target);
        cache.settle();
        assert!(!response.is_hit() && seen.insert(response.text()), "{host} {target}");
    }
}
