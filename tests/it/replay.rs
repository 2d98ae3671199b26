//! `explain` over the public HTTP cache tests. Each of their requests is first explained and then
//! sent, on a stopped clock, and both must give the same reason up to the point where the origin's
//! response decides. The explanation includes the origin's response, so that both must also agree
//! on whether it is stored, and why not.
//!
//! The test data lie beside the project (`../shared/conformance`, or where `LARDER_CONFORMANCE`
//! points).

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use crate::explain::{disagreement, question};
use crate::harness::cache::START;
use crate::harness::origin::Request;
use crate::harness::{Cache, Cut, Origin, Reply};

/// The seconds that the suite waits at a pause.
const PAUSE: u64 = 3;

/// Fields whose value, where it is a number, means seconds from now.
const DATES: [&str; 5] = ["date", "expires", "last-modified", "if-modified-since", "if-unmodified-since"];

/// Fields whose value is a path below the test's.
const PLACES: [&str; 2] = ["location", "content-location"];

type Fields = Vec<(String, String)>;

/// The origin's state.
#[derive(Default)]
struct OriginKnowledge {
    /// Seconds since the clock's start.
    elapsed: u64,
    /// The requests of each test, by its id.
    tests: HashMap<String, Vec<Value>>,
    /// The fields of the response to each of them.
    sent: HashMap<(String, usize), Fields>,
}

#[test]
fn explanations_of_the_public_tests_come_true() {
    let Some(suite) = suite() else { return };
    let known = Arc::new(Mutex::new(OriginKnowledge::default()));
    let script = Arc::clone(&known);
    let origin = Origin::start(move |request| reply(&script, request));
    let cache = Cache::start(&origin);
    let (mut compared, mut wrong) = (0, Vec::new());
    for test in suite {
        let id = test["id"].as_str().unwrap().to_owned();
        let requests = test["requests"].as_array().unwrap();
        known.lock().unwrap().tests.insert(id.clone(), requests.clone());
        for (index, request) in requests.iter().enumerate() {
            if let Some(what) = replayed(&cache, &known, &id, index) {
                wrong.push(format!("{id}, request {}: {what}", index + 1));
            }
            compared += 1;
            if request["pause_after"] == true {
                cache.step(PAUSE);
                known.lock().unwrap().elapsed += PAUSE;
            }
        }
    }
    assert!(compared > 700, "{compared} requests");
    assert!(wrong.is_empty(), "{} of {compared} differ:\n{}", wrong.len(), wrong.join("\n"));
}

/// Returns the tests for server-side caches. Prints a note where the suite is missing.
fn suite() -> Option<Vec<Value>> {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance"));
    let file = std::env::var_os("LARDER_CONFORMANCE").map_or_else(beside, PathBuf::from).join("suite.json");
    let Ok(text) = std::fs::read_to_string(&file) else {
        eprintln!(
            "explain: {} is missing, so the HTTP cache tests were NOT replayed (set LARDER_CONFORMANCE to their folder)",
            file.display()
        );
        return None;
    };
    let suite: Value = serde_json::from_str(&text).unwrap();
    let sections = suite["sections"].as_array().unwrap().iter();
    let tests = sections.flat_map(|section| section["tests"].as_array().unwrap().clone());
    Some(tests.filter(|test| test["browser_only"] != true).collect())
}

/// Explains a request together with the response that it would get, sends it, and returns how both
/// disagree.
fn replayed(cache: &Cache, known: &Mutex<OriginKnowledge>, id: &str, index: usize) -> Option<String> {
    let (request, target, own) = {
        let known = known.lock().unwrap();
        let request = known.tests[id][index].clone();
        let target = target(id, &request);
        // The suite counts from the previous response. Without a pause in between, that is the same
        // time.
        let own = fields(&request["request_headers"], &request, &known, &target);
        (request, target, own)
    };
    let number = (index + 1).to_string();
    let mut sent: Vec<(&str, &str)> = vec![
        ("Accept", "*/*"),
        ("Accept-Encoding", "gzip, deflate"),
        ("Pragma", "foo"),
        ("Cache-Control", "nothing-to-see-here"),
    ];
    sent.extend(own.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    sent.push(("Req-Num", &number));
    let method = request["request_method"].as_str().unwrap_or("GET");
    let body = request["request_body"].as_str().unwrap_or_default();
    let length = body.len().to_string();

    let mut described = sent.clone();
    if !body.is_empty() {
        described.push(("Content-Length", &length));
    }
    let mut asked = question(method, &target, &described);
    if let Some(head) = answer_head(known, id, index) {
        asked["response"] = json!(head);
        asked["received"] = json!("now");
    }
    let report = cache.explain(&asked);
    let response = cache.request(method, &target, &sent, body.as_bytes());
    disagreement(&report, &response)
}

fn target(id: &str, request: &Value) -> String {
    let file = request["filename"].as_str().map(|name| format!("/{name}")).unwrap_or_default();
    let query = request["query_arg"].as_str().map(|query| format!("?{query}")).unwrap_or_default();
    format!("/test/{id}{file}{query}")
}

/// Builds fields from a test's notation, whose third member is only for the suite's own checks.
fn fields(written: &Value, request: &Value, known: &OriginKnowledge, target: &str) -> Fields {
    let written = written.as_array().map_or(&[][..], Vec::as_slice);
    let field = |field: &Value| {
        let name = field[0].as_str().unwrap().to_owned();
        let key = name.to_ascii_lowercase();
        let value = match &field[1] {
            Value::Number(seconds) if DATES.contains(&key.as_str()) => date(known, seconds.as_i64().unwrap()),
            Value::String(place) if PLACES.contains(&key.as_str()) && request["magic_locations"] == true => {
                if place.is_empty() { target.to_owned() } else { format!("{target}/{place}") }
            }
            Value::String(text) => text.clone(),
            Value::Null if PLACES.contains(&key.as_str()) => target.to_owned(),
            other => other.to_string(),
        };
        (name, value)
    };
    written.iter().map(field).collect()
}

fn date(known: &OriginKnowledge, seconds: i64) -> String {
    let now = START.as_secs() + i64::try_from(known.elapsed).unwrap() + seconds;
    let since = Duration::from_secs(u64::try_from(now).unwrap());
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since)
}

/// Returns the fields of the response to a test's request.
fn answer_fields(known: &OriginKnowledge, id: &str, index: usize) -> Fields {
    let request = &known.tests[id][index];
    let mut fields = fields(&request["response_headers"], request, known, &target(id, request));
    let has = |fields: &Fields, name: &str| fields.iter().any(|(own, _)| own.eq_ignore_ascii_case(name));
    for (name, value) in [("Content-Type", "text/plain".to_owned()), ("Date", date(known, 0))] {
        if !has(&fields, name) {
            fields.push((name.to_owned(), value));
        }
    }
    fields
}

/// Returns the response's status line, where it does not depend on the request's fields.
fn answer_status(request: &Value) -> String {
    match request["response_status"].as_array() {
        Some(status) => format!("{} {}", status[0], status[1].as_str().unwrap_or_default()),
        None => "200 OK".to_owned(),
    }
}

/// Tells whether the response is a 304 to the right condition and an error to any other.
fn is_validated(request: &Value) -> bool {
    request["expected_type"].as_str().is_some_and(|kind| kind.ends_with("validated"))
}

fn content<'a>(id: &'a str, request: &'a Value) -> &'a str {
    request["response_body"].as_str().unwrap_or(id)
}

/// Returns the head that the origin would answer with; `None` where the head depends on the
/// request.
fn answer_head(known: &Mutex<OriginKnowledge>, id: &str, index: usize) -> Option<String> {
    let known = known.lock().unwrap();
    let request = &known.tests[id][index];
    if is_validated(request) || request["disconnect"] == true {
        return None;
    }
    let status = answer_status(request);
    let mut head = format!("HTTP/1.1 {status}\r\n");
    for (name, value) in answer_fields(&known, id, index) {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !status.starts_with("204") && !status.starts_with("304") {
        head.push_str(&format!("Content-Length: {}\r\n", content(id, request).len()));
    }
    Some(head)
}

/// The origin's script for the tests.
fn reply(known: &Mutex<OriginKnowledge>, asked: &Request) -> Reply {
    let mut known = known.lock().unwrap();
    let target = asked.target();
    let id = target.split(['/', '?']).nth(2).unwrap_or_default().to_owned();
    let index = asked.header("req-num").and_then(|number| number.parse::<usize>().ok()).unwrap_or(1) - 1;
    let Some(request) = known.tests.get(&id).and_then(|requests| requests.get(index)).cloned() else {
        return Reply::status("409 Conflict");
    };
    if request["disconnect"] == true {
        return Reply::hang_up(Cut::Fin);
    }
    let fields = answer_fields(&known, &id, index);
    let mut status = answer_status(&request);
    if is_validated(&request) {
        let before = index.checked_sub(1).and_then(|before| known.sent.get(&(id.clone(), before)));
        let is_same = |name: &str, condition: &str| {
            let held = before.and_then(|fields| fields.iter().rev().find(|(own, _)| own.eq_ignore_ascii_case(name)));
            held.is_some_and(|(_, value)| asked.header(condition).as_ref() == Some(value))
        };
        let holds = is_same("last-modified", "if-modified-since") || is_same("etag", "if-none-match");
        status = if holds { "304 Not Modified" } else { "999 304 Not Generated" }.to_owned();
    }
    known.sent.insert((id.clone(), index), fields.clone());
    let mut reply = Reply::status(&status);
    for interim in request["interim_responses"].as_array().map_or(&[][..], Vec::as_slice) {
        reply = reply.interim(&format!("HTTP/1.1 {} Interim\r\n\r\n", interim[0]));
    }
    for (name, value) in fields {
        reply = reply.header(&name, &value);
    }
    if status.starts_with("204") || status.starts_with("304") { reply } else { reply.body(content(&id, &request)) }
}
