//! `explain`: its prediction is what then happens, across thirty configurations of routes, the
//! states of a stored response, saved responses, and malformed questions.

mod configurations;
mod predictions;
mod reports;

use larder::outcome::{Decision, Outcome, Reason, StoreOutcome};
use larder::respond::head;
use serde_json::{Value, json};

use crate::harness::{Cache, Origin, Reply, Response};

/// Makes a question about a request to example.org.
pub(crate) fn question(method: &str, target: &str, fields: &[(&str, &str)]) -> Value {
    let headers: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    json!({ "url": format!("http://example.org{target}"), "method": method, "headers": headers })
}

/// Says where a report and the following response disagree: on how the cache was used and why, and,
/// where the report judged the origin's response, on whether that was stored and why not.
pub(crate) fn disagreement(report: &Value, response: &Response) -> Option<String> {
    let (now, found) = (&report["now"], response.cache_status());
    let word = |name: &str| now[name].as_str().unwrap_or_default();
    let outcome = *Outcome::ALL.iter().find(|outcome| outcome.token() == word("outcome")).unwrap();
    let reason = reason_of(word("reason"));
    if word("action") != "answer" && response.has("detail=stale-if-error") {
        let stands_in = [&now["if_origin_fails"]["unreachable"], &now["if_origin_fails"]["server_error"]];
        return (!stands_in.contains(&&json!("stale"))).then(|| format!("a stale response was served: {found}"));
    }
    let forwarded = found.contains("; fwd=");
    if matches!(reason, Reason::Invalidated | Reason::Purged) && response.has("fwd=uri-miss") {
        // The sweep removed the entry in between.
        return None;
    }
    if now["asks_origin"] == true && !forwarded && !response.has("hit") {
        // The origin failed, which no report can predict.
        return (now["if_origin_fails"]["unreachable"] != "failed").then(|| format!("the request failed: {found}"));
    }
    let stored = match &report["response"] {
        _ if !forwarded => StoreOutcome::NothingTo,
        _ if word("action") == "pass" && !response.has("stored") => StoreOutcome::No(reason),
        Value::Null => return usage_differs(outcome, reason, now, response),
        judged if judged["stored"] == true => StoreOutcome::Started,
        judged => StoreOutcome::No(reason_of(judged["because"]["reason"].as_str().unwrap())),
    };
    let confirmed = now["conditional"] == true && response.has("fwd-status=304");
    let expected = match confirmed {
        true => Decision::new(Outcome::Revalidated, reason),
        false => Decision { stored, ..Decision::new(outcome, reason) },
    };
    let expected = head::cache_status(&expected, None).to_str().unwrap().to_owned();
    if essence(&expected) != essence(&found) {
        return Some(format!("predicted {expected}, found {found}"));
    }
    let status = now["status"].as_u64().filter(|status| *status != u64::from(response.status()));
    let ttl = now["ttl_seconds"].as_i64().filter(|ttl| response.ttl() != Some(*ttl));
    (status.is_some() || ttl.is_some())
        .then(|| format!("predicted {status:?} {ttl:?}, found {} {found}", response.status()))
}

/// Compares how the cache was used, for a question without the origin's response.
fn usage_differs(outcome: Outcome, reason: Reason, now: &Value, response: &Response) -> Option<String> {
    let confirmed = now["conditional"] == true && response.has("fwd-status=304");
    let outcome = if confirmed { Outcome::Revalidated } else { outcome };
    let expected = head::cache_status(&Decision::new(outcome, reason), None).to_str().unwrap().to_owned();
    let usage = |status: &str| status.split("; ").find(|own| own.starts_with("fwd=")).map(str::to_owned);
    let found = response.cache_status();
    (usage(&expected) != usage(&found)).then(|| format!("predicted {expected}, found {found}"))
}

fn reason_of(token: &str) -> Reason {
    *Reason::ALL.iter().find(|reason| reason.token() == token).unwrap_or_else(|| panic!("{token:?} is not a reason"))
}

/// Reduces Cache-Status to how the cache was used, whether the response was stored, and the detail.
fn essence(status: &str) -> Vec<&str> {
    let tells = |own: &&str| *own == "hit" || *own == "stored" || own.starts_with("fwd=") || own.starts_with("detail=");
    status.split("; ").filter(tells).collect()
}

/// Explains a request, sends it, checks that both agree, and returns the report.
#[track_caller]
fn explained(cache: &Cache, method: &str, target: &str, fields: &[(&str, &str)]) -> Value {
    let report = cache.explain(&question(method, target, fields));
    let again = cache.explain(&question(method, target, fields));
    assert_eq!(report["now"], again["now"], "explaining changes nothing");
    let response = cache.request(method, target, fields, b"");
    if let Some(what) = disagreement(&report, &response) {
        panic!("{method} {target} {fields:?}: {what}\n{report:#}");
    }
    report
}

/// An origin that picks its response by the last segment of the path.
fn by_name() -> Origin {
    Origin::start(|request| {
        let target = request.target();
        let path = target.split('?').next().unwrap_or_default();
        let cached = |value: &str| Reply::ok().header("Cache-Control", value).body("x");
        match path.rsplit('/').next().unwrap_or_default() {
            "silent" => Reply::ok().body("x"),
            "no-store" => cached("no-store"),
            "private" => cached("private"),
            "no-cache" => cached("no-cache").header("ETag", "\"1\""),
            "cookie" => Reply::ok().header("Set-Cookie", "a=b").header("ETag", "\"1\"").body("x"),
            "cookie-fresh" => Reply::fresh("x").header("Set-Cookie", "a=b"),
            "lang" => Reply::fresh("x").header("Vary", "Accept-Language"),
            "missing" => Reply::status("404 Not Found").body("x"),
            "short" => cached("max-age=5").header("ETag", "\"1\""),
            "swr" => cached("max-age=5, stale-while-revalidate=60"),
            "strict" => cached("max-age=5, must-revalidate"),
            _ => Reply::fresh("x"),
        }
    })
}

#[test]
fn a_wrong_report_is_detected() {
    let origin = by_name();
    let cache = Cache::start(&origin);
    let missed = cache.explain(&question("GET", "/a", &[]));
    assert_eq!(disagreement(&missed, &cache.get("/a")), None);
    assert!(disagreement(&missed, &cache.get("/a")).is_some(), "a hit after a predicted miss");
    let hit = cache.explain(&question("GET", "/a", &[]));
    assert!(disagreement(&hit, &cache.get("/other")).is_some(), "a miss after a predicted hit");
    cache.step(1);
    assert!(disagreement(&hit, &cache.get("/a")).is_some(), "another ttl");
    let mut judged = question("GET", "/no-store", &[]);
    judged["response"] = json!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 1\r\n");
    let stored = cache.explain(&judged);
    assert!(disagreement(&stored, &cache.get("/no-store")).is_some(), "not stored after a predicted store");
}
