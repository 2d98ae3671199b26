//! Spans over OTLP: the real binary, an app over TCP, and a collector that decodes its requests.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use prost::Message;

use super::TRACEPARENT;
use crate::harness::{Gate, Origin, Process, Reply, eventually};

/// A collector that keeps everything it receives.
struct Collector {
    server: Origin,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    fn start() -> Self {
        let spans = Arc::<Mutex<Vec<Span>>>::default();
        let server = {
            let spans = Arc::clone(&spans);
            Origin::start(move |request| {
                assert_eq!((request.method().as_str(), request.target().as_str()), ("POST", "/v1/traces"));
                assert_eq!(request.header("content-type").as_deref(), Some("application/x-protobuf"));
                let message = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
                for sent in message.resource_spans {
                    assert_eq!(fact_of(&sent.resource.unwrap().attributes, "service.name"), "larder");
                    spans.lock().unwrap().extend(sent.scope_spans.into_iter().flat_map(|scope| scope.spans));
                }
                Reply::ok()
            })
        };
        Self { server, spans }
    }

    /// Returns the configuration that sends traces to this collector.
    fn lines(&self, sample: &str) -> String {
        lines(self.server.addr(), sample)
    }

    /// Waits until the trace of this traceparent has spans of exactly these names. Returns the
    /// request's span first, the others in the order in which they began.
    #[track_caller]
    fn trace(&self, traceparent: &str, names: &[&str]) -> Vec<Span> {
        let mut found = Vec::new();
        eventually(&format!("there is a trace of {names:?}"), || {
            found = self.all();
            found.retain(|span| hex(&span.trace_id) == traceparent[3..35]);
            found.sort_by_key(|span| (span.kind != SpanKind::Server as i32, span.start_time_unix_nano));
            names_of(&found) == names
        });
        found
    }

    fn all(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

fn lines(collector: SocketAddr, sample: &str) -> String {
    format!("[traces]\nendpoint = \"http://{collector}\"\nsample = {sample}\n")
}

fn names_of(spans: &[Span]) -> Vec<&str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns an attribute of a span as text; empty where there is none.
fn fact(span: &Span, name: &str) -> String {
    fact_of(&span.attributes, name)
}

fn fact_of(facts: &[KeyValue], name: &str) -> String {
    let fact = facts.iter().find(|fact| fact.key == name).and_then(|fact| fact.value.as_ref()?.value.as_ref());
    match fact {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(other) => panic!("{name} is {other:?}"),
    }
}

/// Makes a traceparent for the trace with this number.
fn traceparent(number: u8, flags: &str) -> String {
    format!("00-{number:032x}-b7ad6b7169203331-{flags}")
}

fn end(span: &Span) -> u64 {
    span.end_time_unix_nano
}

#[test]
fn a_miss_shows_where_its_time_went_and_the_app_continues_its_trace() {
    let (collector, origin) = (Collector::start(), Origin::start(|_| Reply::fresh("hello")));
    let larder = Process::serve(&origin, &format!("{}[[route]]\nname = \"shop\"", collector.lines("1.0")));
    let fields = [("traceparent", TRACEPARENT), ("tracestate", "a=b,c=d")];
    larder.client().exchange("GET", "/a?secret=1", &fields, b"").check(200, "hello", "stored");

    let spans = collector.trace(TRACEPARENT, &["GET", "lookup", "origin", "store"]);
    let [request, lookup, asking, store] = &spans[..] else { panic!("{spans:?}") };
    assert_eq!(hex(&request.parent_span_id), TRACEPARENT[36..52]);
    for below in [lookup, asking, store] {
        assert_eq!(below.parent_span_id, request.span_id, "{}", below.name);
        assert!(below.start_time_unix_nano >= request.start_time_unix_nano && end(below) >= below.start_time_unix_nano);
    }
    assert!(end(lookup) <= asking.start_time_unix_nano && end(asking) <= store.start_time_unix_nano);
    assert_eq!((request.kind, asking.kind), (SpanKind::Server as i32, SpanKind::Client as i32));

    let addr = origin.addr();
    for (span, name, value) in [
        (request, "http.request.method", "GET"),
        (request, "url.scheme", "http"),
        (request, "url.path", "/a"),
        (request, "http.response.status_code", "200"),
        (request, "http.response.body.size", "5"),
        (request, "network.protocol.version", "1.1"),
        (request, "larder.outcome", "miss"),
        (request, "larder.reason", "uri-miss"),
        (request, "larder.route", "shop"),
        (lookup, "larder.found", "uri-miss"),
        (asking, "http.request.method", "GET"),
        (asking, "http.response.status_code", "200"),
        (asking, "server.address", "127.0.0.1"),
        (asking, "server.port", &addr.port().to_string()),
        (store, "larder.stored.size", "5"),
    ] {
        assert_eq!(fact(span, name), value, "{} {name}", span.name);
    }
    assert_eq!(fact(request, "larder.key").len(), 32);
    assert!(!format!("{spans:?}").contains("secret"), "the query stays out");

    let asked = origin.last();
    let expected = format!("00-{}-{}-01", &TRACEPARENT[3..35], hex(&asking.span_id));
    assert_eq!(asked.header("traceparent"), Some(expected));
    assert_eq!(asked.header("tracestate").as_deref(), Some("a=b,c=d"));
    eventually("sent spans are counted", || larder.stats()["traces"]["exported_spans"] == 4);
    let metrics = larder.admin().get("/metrics").text();
    assert!(metrics.contains("larder_trace_spans_total{result=\"exported\"} 4"), "{metrics}");
}

#[test]
fn a_hit_has_no_origin_spans_and_matches_requests_with_other_trace_fields() {
    let (collector, origin) = (Collector::start(), Origin::start(|_| Reply::fresh("x")));
    let larder = Process::serve(&origin, &collector.lines("1.0"));
    let (first, second) = (traceparent(1, "00"), traceparent(2, "00"));
    larder.client().exchange("GET", "/", &[("traceparent", &first)], b"");
    collector.trace(&first, &["GET", "lookup", "origin", "store"]);
    let hit = larder.client().exchange("GET", "/", &[("traceparent", &second)], b"");
    hit.check(200, "x", "hit");
    assert_eq!(hit.header("traceparent"), None);
    let spans = collector.trace(&second, &["GET", "lookup"]);
    assert_eq!((fact(&spans[0], "larder.outcome"), fact(&spans[1], "larder.found")), ("hit".into(), "fresh".into()));
    assert_eq!(spans[1].parent_span_id, spans[0].span_id);
}

#[test]
fn a_follower_has_a_waiting_span_and_the_fetch_belongs_to_the_leader() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| Reply::fresh("hello ").wait(&gate).body("world"))
    };
    let collector = Collector::start();
    let larder = Process::serve(&origin, &collector.lines("1.0"));
    let (leading, following) = (traceparent(1, "01"), traceparent(2, "01"));
    let (mut first, mut second) = (larder.client(), larder.client());
    first.ask("GET", "/", &[("traceparent", &leading)], b"");
    let begun = first.final_head();
    second.ask("GET", "/", &[("traceparent", &following)], b"");
    let joined = second.final_head();
    gate.open();
    assert_eq!(
        (first.rest(begun).text().as_str(), second.rest(joined).text().as_str()),
        ("hello world", "hello world")
    );
    collector.trace(&leading, &["GET", "lookup", "origin", "store"]);
    let spans = collector.trace(&following, &["GET", "lookup", "wait"]);
    assert_eq!(fact(&spans[2], "larder.wait.for"), "flight");
    assert_eq!(fact(&spans[0], "larder.collapsed"), "true");
    assert_eq!(origin.count(), 1);
}

#[test]
fn a_refresh_belongs_to_the_request_that_triggered_it() {
    let (collector, origin) = (Collector::start(), {
        let lifetime = "max-age=0, stale-while-revalidate=600";
        Origin::start(move |_| Reply::ok().header("Cache-Control", lifetime).header("ETag", "\"1\"").body("x"))
    });
    let larder = Process::serve(&origin, &collector.lines("1.0"));
    let (first, second) = (traceparent(1, "01"), traceparent(2, "01"));
    larder.client().exchange("GET", "/", &[("traceparent", &first)], b"");
    collector.trace(&first, &["GET", "lookup", "origin", "store"]);
    let stale = larder.client().exchange("GET", "/", &[("traceparent", &second)], b"");
    assert_eq!(stale.text(), "x");
    let spans = collector.trace(&second, &["GET", "lookup", "origin", "store"]);
    assert_eq!(fact(&spans[0], "larder.outcome"), "stale");
    assert_eq!(spans[2].parent_span_id, spans[0].span_id);
}

#[test]
fn passed_failed_and_aborted_requests_have_spans_too() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |request| match request.target().as_str() {
            "/held" => Reply::fresh("x").hold(&gate),
            _ => Reply::status("503 Service Unavailable").body("no"),
        })
    };
    let collector = Collector::start();
    let larder = Process::serve(&origin, &collector.lines("1.0"));
    let (passed, given_up) = (traceparent(1, "01"), traceparent(2, "01"));
    larder.client().exchange("POST", "/", &[("traceparent", &passed)], b"a");
    let spans = collector.trace(&passed, &["POST", "origin"]);
    for span in &spans {
        assert_eq!(fact(span, "error.type"), "503");
        assert_eq!(span.status.as_ref().map(|status| status.code), Some(StatusCode::Error as i32));
    }
    let mut client = larder.client();
    client.ask("GET", "/held", &[("traceparent", &given_up)], b"");
    gate.arrived(1);
    drop(client);
    let spans = collector.trace(&given_up, &["GET", "lookup"]);
    assert_eq!(fact(&spans[0], "larder.ending"), "client-gone");
    gate.open();
    collector.trace(&given_up, &["GET", "lookup", "origin", "store"]);
}

#[test]
fn only_a_trusted_proxy_decides_what_is_sampled() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let trusted = "server.trusted_proxies = [\"127.0.0.1\"]\n";
    for (trust, sample, flags, is_sampled) in
        [("", "0.0", "01", false), ("", "1.0", "00", true), (trusted, "0.0", "01", true), (trusted, "1.0", "00", false)]
    {
        let collector = Collector::start();
        let larder = Process::serve(&origin, &format!("{trust}{}", collector.lines(sample)));
        let sent = traceparent(7, flags);
        larder.client().exchange("GET", "/", &[("traceparent", &sent), ("tracestate", "a=b")], b"");
        let asked = origin.last();
        let forwarded = asked.header("traceparent").unwrap();
        assert_eq!(forwarded[..36], sent[..36], "the trace is the client's");
        assert_ne!(forwarded[36..52], sent[36..52], "the parent span is not the client's");
        assert_eq!(&forwarded[53..], if is_sampled { "01" } else { "00" }, "{trust}{sample} {flags}");
        assert_eq!(asked.header("tracestate").as_deref(), Some("a=b"));
        larder.terminate();
        larder.ended();
        assert_eq!(!collector.all().is_empty(), is_sampled, "{trust}{sample} {flags}");
    }
}

#[test]
fn a_malformed_traceparent_begins_a_new_trace() {
    let (collector, origin) = (Collector::start(), Origin::start(|_| Reply::fresh("x")));
    let larder = Process::serve(&origin, &collector.lines("1.0"));
    let malformed = TRACEPARENT.to_uppercase();
    for (target, fields) in [("/odd", &[("traceparent", &*malformed), ("tracestate", "a=b")][..]), ("/none", &[])] {
        larder.client().exchange("GET", target, fields, b"");
        let asked = origin.last();
        let forwarded = asked.header("traceparent").unwrap();
        assert_ne!(forwarded[3..35].to_lowercase(), TRACEPARENT[3..35]);
        assert_eq!(asked.header("tracestate"), None, "tracestate belongs to the malformed traceparent");
        let spans = collector.trace(&forwarded, &["GET", "lookup", "origin", "store"]);
        assert!(spans[0].parent_span_id.is_empty(), "the span has no parent");
    }
}

#[test]
fn remaining_spans_are_sent_before_the_end() {
    let (collector, origin) = (Collector::start(), Origin::start(|_| Reply::fresh("x")));
    let larder = Process::serve(&origin, &collector.lines("1.0"));
    larder.client().get("/");
    larder.terminate();
    let (status, _) = larder.ended();
    assert_eq!(status.code(), Some(0));
    let spans = collector.all();
    assert!(spans.iter().any(|span| span.kind == SpanKind::Server as i32), "{:?}", names_of(&spans));
}

#[test]
fn a_collector_that_is_down_or_silent_delays_no_request() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let away = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let larder = Process::serve(&origin, &lines(away, "1.0"));
    larder.client().get("/").check(200, "x", "stored");
    eventually("failed spans are counted", || larder.stats()["traces"]["dropped_spans"].as_u64() >= Some(4));
    larder.client().get("/").check(200, "x", "hit");
    larder.terminate();
    assert_eq!(larder.ended().0.code(), Some(0));

    let never = Gate::new();
    let silent = {
        let never = never.clone();
        Origin::start(move |_| Reply::ok().hold(&never))
    };
    let larder = Process::serve(&origin, &lines(silent.addr(), "1.0"));
    larder.client().get("/").check(200, "x", "stored");
    never.arrived(1);
    // Each request has two spans, and the queue has room for 8192: the excess is dropped.
    let mut client = larder.client();
    for _ in 0..5000 {
        client.get("/").check(200, "x", "hit");
    }
    eventually("dropped spans are counted", || larder.stats()["traces"]["dropped_spans"].as_u64() >= Some(1800));
    larder.terminate();
    assert_eq!(larder.ended().0.code(), Some(0));
    never.open();
}

#[test]
fn a_reload_changes_the_share_and_not_the_collector() {
    let (collector, origin) = (Collector::start(), Origin::start(|_| Reply::fresh("x")));
    let larder = Process::serve(&origin, &format!("reload_on_change = false\n{}", collector.lines("0.0")));
    larder.client().get("/a");
    assert!(origin.last().header("traceparent").is_some_and(|forwarded| forwarded.ends_with("-00")));
    larder.configure(&format!("reload_on_change = false\n{}", lines("127.0.0.1:1".parse().unwrap(), "1.0")));
    let (status, report) = larder.reload();
    assert_eq!((status, report["needs_restart"].as_array().map(Vec::len)), (200, Some(1)), "{report}");
    assert!(report["needs_restart"][0].as_str().unwrap().starts_with("`traces.endpoint` needs a restart"), "{report}");
    larder.client().get("/b");
    let forwarded = origin.last().header("traceparent").unwrap();
    collector.trace(&forwarded, &["GET", "lookup", "origin", "store"]);
}
