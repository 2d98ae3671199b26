//! Names that a request shows: its reason in Cache-Status and Proxy-Status, its line in the access
//! log, its metrics.

use std::collections::BTreeSet;

use larder::access::AccessFormat;
use larder::outcome::{Outcome, Reason};
use serde_json::Value;

use super::shape::Shape;
use super::{Items, check};
use crate::access_log::logged;
use crate::harness::{Cache, Gate, Origin, Reply, Response, eventually};
use crate::metrics::{exposition, one_of_each, origin};
use crate::reasons::{Evidence, produce};

#[test]
fn outcomes_and_reasons() {
    let mut items: Items = Outcome::ALL.iter().map(|outcome| format!("outcome {}", outcome.token())).collect();
    for &reason in Reason::ALL {
        let shown = match produce(reason) {
            Evidence::InResponse(response) => in_response(&response),
            Evidence::InStats(stats) => in_stats(reason, &stats),
            Evidence::Nowhere => "by nothing but a bug".to_owned(),
        };
        items.insert(format!("reason {}: {shown}", reason.token()));
    }
    items.extend(field_names());
    check("tokens.txt", &items);
}

/// Lists the names of the fields that responses have, and that the origin is sent.
fn field_names() -> Items {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    let names = |head: &[u8]| {
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let names = text.lines().filter_map(|line| line.split_once(": ").map(|(name, _)| name.to_owned()));
        names.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" ")
    };
    let (miss, hit) = (cache.get("/"), cache.get("/"));
    let refused = cache.get_with("/none", &[("Cache-Control", "only-if-cached")]);
    let heads = [("miss", &miss.head.bytes), ("hit", &hit.head.bytes), ("refusal", &refused.head.bytes)];
    let sent = format!("fields of a request to the origin: {}", names(&origin.last().head));
    heads.iter().map(|(what, head)| format!("fields of a {what}: {}", names(head))).chain([sent]).collect()
}

/// Lists the status of a response with its Cache-Status and Proxy-Status.
fn in_response(response: &Response) -> String {
    let mut shown = format!("{}; Cache-Status: {}", response.status(), names(&response.cache_status()));
    for value in response.head.headers("proxy-status") {
        shown.push_str(&format!("; Proxy-Status: {}", names(&value)));
    }
    shown
}

/// Leaves of a structured field its names and its tokens.
fn names(value: &str) -> String {
    let parts = value.split("; ").map(|part| match part.split_once('=') {
        Some(("fwd" | "detail" | "error" | "fwd-status", _)) | None => part,
        Some((name, _)) => name,
    });
    parts.collect::<Vec<_>>().join("; ")
}

/// Lists the maps of `/stats` that tell of a reason.
fn in_stats(reason: Reason, stats: &Value) -> String {
    let maps = ["/requests/by_reason", "/storing/not_stored", "/endings/aborted"];
    let telling = maps.into_iter().filter(|map| stats.pointer(&format!("{map}/{}", reason.token())).is_some());
    format!("/stats: {}", telling.collect::<Vec<_>>().join(" "))
}

#[test]
fn lines_of_the_access_log() {
    let mut items = Items::new();
    for (name, format) in [("common", AccessFormat::Common), ("combined", AccessFormat::Combined)] {
        let lines = logged(format, |cache| {
            cache.get_with("/", &[("User-Agent", "agent"), ("Referer", "http://elsewhere/")]);
        });
        items.extend(lines.iter().map(|line| format!("{name}: {line}")));
    }
    let mut shape = Shape::default();
    let lines = logged(AccessFormat::Json, |cache| {
        cache.get_with("/", &[("User-Agent", "agent"), ("Referer", "http://elsewhere/")]);
        cache.get("/");
        cache.get("/private");
    });
    for line in lines {
        shape.add("json", &serde_json::from_str(&line).unwrap());
    }
    for line in followed() {
        shape.add("json", &line);
    }
    items.extend(shape.items());
    check("access_log.txt", &items);
}

/// Returns the lines of `GET /log`, which are those of the access log, for what ends in other ways
/// than well.
fn followed() -> Vec<Value> {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.target().as_str() {
            "/cut" => Reply::fresh("half").length(100).cut(crate::harness::Cut::Fin),
            _ => Reply::ok().header("Cache-Control", "no-store").body("a").length(2).wait(&gate).body("b"),
        })
    };
    let cache = Cache::configured(&origin, "[[route]]\npath = '/cut'\n");
    let mut follower = cache.admin();
    follower.ask("GET", "/log", &[], b"");
    assert_eq!(follower.head().status, 200);
    cache.get("/cut");
    let mut leaving = cache.client();
    leaving.ask("GET", "/left", &[], b"");
    leaving.final_head();
    drop(leaving);
    eventually("the client has gone", || cache.stats()["endings"]["client_gone"] == 1);
    gate.open();
    let mut text = Vec::new();
    let lines = |text: &[u8]| {
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"}\n"));
        lines.map(|line| serde_json::from_slice(line).unwrap()).collect::<Vec<Value>>()
    };
    while lines(&text).len() < 2 {
        text.extend(follower.at_least(1));
    }
    lines(&text)
}

/// Labels whose values are the operator's, or this build's.
const OPEN: [&str; 4] = ["route", "version", "os", "arch"];

#[test]
fn metrics_and_their_labels() {
    let origin = origin();
    let cache = Cache::configured(&origin, "[[route]]\npath = '/odd/'\nmode = 'shadow'\n");
    one_of_each(&cache);
    cache.get_with("/", &[("Range", "bytes=0-0")]);
    let metrics = exposition(cache.admin());
    let types = metrics.types();
    let line =
        |(name, (kind, unit)): (&String, &(String, String))| format!("{name}: {kind} {unit}").trim_end().to_owned();
    let mut items: Items = types.iter().map(line).collect();
    for (sample, labels) in metrics.labels() {
        let labels = labels.iter().map(|(label, values)| format!("{label}={}", values_of(label, values)));
        let labels = labels.collect::<Vec<_>>().join(" ");
        items.insert(format!("{sample} {{{labels}}}"));
    }
    check("metrics.txt", &items);
}

/// Returns the values of a label where they are a closed list. Outcomes and reasons are listed in
/// `tokens.txt`.
fn values_of(label: &str, values: &BTreeSet<String>) -> String {
    match label {
        "outcome" => {
            assert!(
                values.iter().all(|value| Outcome::ALL.iter().any(|outcome| outcome.token() == value)),
                "{values:?}"
            );
            "(outcome)".to_owned()
        }
        "reason" => {
            assert!(values.iter().all(|value| Reason::ALL.iter().any(|reason| reason.token() == value)), "{values:?}");
            "(reason)".to_owned()
        }
        _ if OPEN.contains(&label) => format!("({label})"),
        _ => values.iter().map(String::as_str).collect::<Vec<_>>().join("|"),
    }
}
