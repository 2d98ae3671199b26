//! The access log: one line for each request, with outcome and reason, in each of the three
//! formats.

use std::path::Path;

use larder::access::{AccessFormat, Config};
use serde_json::Value;

use crate::harness::{Cache, Origin, Process, Reply, Setup};

/// The longest body that these tests store.
const OBJECT_BYTES_MAX: u64 = 1_000;

/// Runs `requests` against a cache that logs in `format`. Returns the lines once the cache has
/// ended.
pub(crate) fn logged(format: AccessFormat, requests: impl FnOnce(&Cache)) -> Vec<String> {
    logged_with(format, |_| {}, requests)
}

/// Does the same with the settings that `change` makes.
fn logged_with(format: AccessFormat, change: impl FnOnce(&mut Setup), requests: impl FnOnce(&Cache)) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access.log");
    let origin = Origin::start(|request| match request.target().as_str() {
        "/private" => Reply::ok().header("Cache-Control", "private").body("mine"),
        "/large" => Reply::fresh(vec![b'x'; OBJECT_BYTES_MAX as usize + 1]).chunked(),
        _ => Reply::fresh("hello"),
    });
    let cache = Cache::with(&origin, |setup| {
        setup.config.access = Some(Config { format, file: Some(file.clone()) });
        setup.rule.object_bytes_max = OBJECT_BYTES_MAX;
        change(setup);
    });
    requests(&cache);
    cache.drain();
    lines(&file)
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn json_lines_have_outcome_and_reason() {
    let lines = logged(AccessFormat::Json, |cache| {
        cache.get_with("/a/../page?x=1", &[("User-Agent", "test \"agent\""), ("Referer", "http://elsewhere/")]);
        cache.get("/page?x=1");
        cache.get("/private");
        cache.request("POST", "/page?x=1", &[], b"form");
        cache.get_with("/nothing", &[("Cache-Control", "only-if-cached")]);
    });
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap().to_owned();
            (text("method"), text("target"), line["status"].as_u64().unwrap(), text("outcome"), text("reason"))
        })
        .collect();
    let line = |method: &str, target: &str, status, outcome: &str, reason: &str| {
        (method.to_owned(), target.to_owned(), status, outcome.to_owned(), reason.to_owned())
    };
    assert_eq!(
        seen,
        [
            line("GET", "/page?x=1", 200, "miss", "uri-miss"),
            line("GET", "/page?x=1", 200, "hit", "fresh"),
            line("GET", "/private", 200, "miss", "uri-miss"),
            line("POST", "/page?x=1", 200, "pass", "method"),
            line("GET", "/nothing", 504, "refused", "only-if-cached"),
        ]
    );
    assert_eq!(
        (&lines[0]["user_agent"], &lines[0]["referer"]),
        (&"test \"agent\"".into(), &"http://elsewhere/".into())
    );
    assert_eq!((&lines[0]["client"], &lines[0]["host"]), (&"127.0.0.1".into(), &"example.org".into()));
    assert_eq!((&lines[0]["bytes"], &lines[0]["ending"]), (&5.into(), &"complete".into()));
    assert_eq!((&lines[0]["time"], &lines[1]["ttl"]), (&"2026-01-01T00:00:00.000Z".into(), &60.into()));
    assert_eq!(lines[2]["not_stored_reason"], "private");
}

#[test]
fn a_body_that_grows_too_large_is_logged_as_not_stored() {
    let lines = logged(AccessFormat::Json, |cache| {
        cache.get("/large");
        cache.get("/large");
    });
    let lines: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |at: usize| [&lines[at]["outcome"], &lines[at]["reason"], &lines[at]["not_stored_reason"]];
    assert_eq!(row(0), ["miss", "uri-miss", "too-large"]);
    assert_eq!(row(1)[2], "too-large", "{:?}", lines[1]);
    assert_eq!(lines[0]["bytes"], OBJECT_BYTES_MAX + 1);
}

#[test]
fn behind_a_trusted_proxy_the_logged_client_is_the_forwarded_one() {
    let client_of = |trusted: bool| {
        let trust = |setup: &mut Setup| {
            if trusted {
                setup.config.proxy.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
            }
        };
        let lines = logged_with(AccessFormat::Json, trust, |cache| {
            cache.get_with("/", &[("X-Forwarded-For", "10.9.9.9, 203.0.113.7")]);
        });
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        line["client"].as_str().unwrap().to_owned()
    };
    assert_eq!(client_of(true), "203.0.113.7");
    assert_eq!(client_of(false), "127.0.0.1");
}

#[test]
fn text_lines_are_ncsa_followed_by_outcome_and_reason() {
    let combined = logged(AccessFormat::Combined, |cache| {
        cache.get_with("/", &[("User-Agent", "curl/8\" evil")]);
    });
    assert_eq!(
        combined,
        [
            "127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5 \"-\" \"curl/8\\x22 evil\" outcome=miss reason=uri-miss"
        ]
    );
    let common = logged(AccessFormat::Common, |cache| {
        cache.get("/");
    });
    assert_eq!(
        common,
        ["127.0.0.1 - - [01/Jan/2026:00:00:00 +0000] \"GET / HTTP/1.1\" 200 5 outcome=miss reason=uri-miss"]
    );
}

#[test]
fn the_binary_logs_to_standard_output_and_flushes_when_it_stops() {
    let origin = Origin::start(|_| Reply::fresh("hello"));
    let larder = Process::serve(&origin, "log.access = \"json\"");
    for _ in 0..3 {
        larder.client().get("/");
    }
    larder.terminate();
    let (status, stdout) = larder.ended();
    assert_eq!((status.code(), stdout.lines().count()), (Some(0), 3), "{stdout}");
    for line in stdout.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["outcome"].is_string(), "{line}");
    }
}
