//! The router as a whole, over a real store and real metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use axum::Router;
use std::sync::Arc;

use super::router::ROUTES;
use super::stats::Stats;
use super::*;
use crate::clock::{Clock, Timestamp};
use crate::metrics::Metrics;
use crate::outcome::{Decision, Ending, Outcome, Reason, ResponseEnd};
use crate::proxy::explain;
use crate::proxy::purge::{PurgeResult, PurgeTarget};
use crate::store;
use crate::store::Store;

/// A router, and the state that its answers depend on.
struct AdminBench {
    router: Router,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    ready: Arc<AtomicBool>,
}

fn bench() -> AdminBench {
    let config = store::Config {
        capacity: 16 << 20,
        variants_max: 4,
        tags_max: 16,
        ledger_max: 1_000,
        keep: Duration::from_secs(60),
        soft_max: Duration::from_secs(60),
    };
    let store = Arc::new(Store::new(config, Clock::stepped(Timestamp::from_secs(1_000_000))));
    let metrics = Arc::new(Metrics::new(vec!["/a/".into()]));
    let ready = Arc::new(AtomicBool::new(true));
    let is_ready = Arc::clone(&ready);
    let router = router(AdminSources {
        config: Config { listen: Some("127.0.0.1:9180".parse().unwrap()), token: None, connections_max: 256 },
        purge: {
            let store = Arc::clone(&store);
            Arc::new(move |target, kind| match target {
                PurgeTarget::Url(url) => PurgeResult {
                    sequence: store.purge(store::Selector::Url(url.as_str().into()), kind),
                    entries: Some(1),
                },
                PurgeTarget::Wide(selector) => PurgeResult { sequence: store.purge(selector, kind), entries: None },
            })
        },
        store: Arc::clone(&store),
        metrics: Arc::clone(&metrics),
        ready: Arc::new(move || is_ready.load(Ordering::SeqCst)),
        flights: Arc::new(|| 2),
        connections: Arc::new(|| 3),
        connections_max: 100,
        origin: Arc::new(Default::default),
        admin_connections: Arc::new(Default::default),
        server: Arc::new(Default::default),
        explain: Arc::new(|question| {
            Err(explain::QuestionError { part: "url", what: question.url.as_str().to_owned() })
        }),
        shadow: Arc::new(Default::default),
        followers: Arc::default(),
        log_dropped: Arc::new(|| 0),
        traces: Arc::new(Default::default),
        warnings: Arc::new(|| vec!["look at this".into()]),
        reload: reload(),
    });
    AdminBench { router, store, metrics, ready }
}

impl AdminBench {
    /// Sends a request with `Host: localhost`, unless `fields` name another; returns status,
    /// headers and content.
    async fn send(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> (u16, HeaderMap, String) {
        let mut request = Request::builder().method(method).uri(path);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost:9000");
        }
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        (head.status.as_u16(), head.headers, String::from_utf8(bytes.into()).unwrap())
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        let (status, headers, body) = self.send("GET", path, &[], "").await;
        assert_eq!(headers["content-type"], "application/json", "{path}");
        assert_eq!(headers["cache-control"], "no-store", "{path}");
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn purge(&self, body: &str) -> (u16, Value) {
        let (status, _, body) = self.send("POST", "/purge", &[("content-type", "application/json")], body).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
async fn live_is_constant_and_ready_ends_with_draining() {
    let bench = bench();
    assert_eq!(bench.get("/ready").await, (200, json!({ "ready": true })));
    bench.ready.store(false, Ordering::SeqCst);
    assert_eq!(bench.get("/ready").await, (503, json!({ "ready": false })));
    assert_eq!(bench.get("/live").await, (200, json!({ "live": true })));
    assert_eq!(bench.send("HEAD", "/live", &[], "").await.0, 200);
}

#[tokio::test]
async fn stats_and_metrics_agree() {
    let bench = bench();
    let end = ResponseEnd { ending: Ending::Complete, body_bytes: 10, elapsed: Duration::from_micros(10) };
    bench.metrics.local().record(&Decision::new(Outcome::Hit, Reason::Fresh), &end);
    let (status, stats) = bench.get("/stats").await;
    assert_eq!(status, 200);
    let stats: Stats = serde_json::from_value(stats).unwrap();
    assert_eq!((stats.requests.total, stats.connections, stats.fills_in_flight), (1, 3, 2));
    assert_eq!(stats.memory.capacity_bytes, 16 << 20);
    assert_eq!(stats.warnings, ["look at this"]);
    let accept = [("accept", "application/openmetrics-text")];
    let (status, headers, text) = bench.send("GET", "/metrics", &accept, "").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, prometheus::CONTENT_TYPE));
    assert!(text.contains("larder_requests_total{outcome=\"hit\",reason=\"fresh\"} 1\n"));
    assert!(text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_purge_reaches_the_ledger() {
    let bench = bench();
    let before = bench.store.sequence();
    let (status, answer) =
        bench.purge(r#"{"urls": ["http://a.example/x", "http://a.example/y"], "kind": "soft"}"#).await;
    assert_eq!((status, &answer["purged"], &answer["entries"]), (200, &json!(2), &json!(2)));
    assert_eq!(answer.get("swept"), None);
    assert!(bench.store.sequence() > before);
    assert_eq!(answer["sequence"], json!(bench.store.sequence()));
    let (_, answer) = bench.purge(r#"{"tag": "a", "prefix": "http://a.example/"}"#).await;
    assert_eq!((&answer["purged"], &answer["entries"], &answer["swept"]), (&json!(2), &Value::Null, &json!("pending")));
    let same_origin = [("content-type", "application/json"), ("origin", "http://localhost:9000")];
    assert_eq!(bench.send("POST", "/purge", &same_origin, r#"{"url": "http://a.example/"}"#).await.0, 200);
}

#[tokio::test]
async fn refused_purges_change_nothing() {
    const GOOD: &str = r#"{"url": "http://a.example/"}"#;
    const JSON: (&str, &str) = ("content-type", "application/json");
    let bench = bench();
    let before = bench.store.sequence();
    let long = json!({ "url": format!("http://a.example/{}", "a".repeat(256 << 10)) }).to_string();
    for (fields, body, status) in [
        (&[][..], GOOD, 415),
        (&[("content-type", "text/plain")][..], GOOD, 415),
        (&[JSON][..], "{", 400),
        (&[JSON][..], r#"{"urls": ["http://a.example/", "nonsense"]}"#, 400),
        (&[JSON][..], r#"{"url": "http://a.example/", "unknown": "a"}"#, 400),
        (&[JSON][..], r#"{"url": "http://a.example/", "tag": ""}"#, 400),
        (&[JSON][..], &long, 413),
        (&[JSON, ("origin", "http://evil.example")][..], GOOD, 403),
        (&[JSON, ("origin", "null")][..], GOOD, 403),
        (&[JSON, ("sec-fetch-site", "cross-site")][..], GOOD, 403),
        (&[JSON, ("host", "evil.example")][..], GOOD, 421),
        (&[JSON, ("host", "evil.example"), ("origin", "http://evil.example")][..], GOOD, 421),
    ] {
        let (found, headers, answer) = bench.send("POST", "/purge", fields, body).await;
        assert_eq!(found, status, "{fields:?} {body:.60}: {answer}");
        assert_eq!(headers["content-type"], "application/json");
        assert!(serde_json::from_str::<Value>(&answer).unwrap()["error"].is_string());
    }
    assert_eq!(bench.store.sequence(), before);
}

#[tokio::test]
async fn unknown_paths_are_answered_with_the_known_ones() {
    let bench = bench();
    for path in
        ["/page/", "/page/none.js", "/page/..%2fapp.js", "/stat", "/stats/", "/../stats", "/%2e%2e/stats", "//stats"]
    {
        let (status, answer) = bench.get(path).await;
        assert_eq!((status, &answer["available"]), (404, &json!(ROUTES)), "{path}");
    }
    let (status, headers, answer) = bench.send("GET", "/purge", &[], "").await;
    assert_eq!((status, headers["allow"].to_str().unwrap()), (405, "POST"));
    assert!(answer.contains("GET is not allowed for this path"));
    assert_eq!(bench.send("DELETE", "/stats", &[], "").await.0, 405);
}

#[tokio::test]
async fn the_dashboard_comes_with_its_policy() {
    let bench = bench();
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/page/app.js", "text/javascript; charset=utf-8"),
        ("/page/style.css", "text/css; charset=utf-8"),
    ] {
        let (status, headers, body) = bench.send("GET", path, &[], "").await;
        assert_eq!((status, headers["content-type"].to_str().unwrap()), (200, kind), "{path}");
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(!body.is_empty());
    }
    assert_eq!(bench.send("GET", "/", &[("host", "evil.example")], "").await.0, 421);
}

#[tokio::test]
async fn a_source_that_panics_causes_a_500() {
    let parts = AdminSources {
        config: Config { listen: None, token: None, connections_max: 256 },
        purge: Arc::new(|_, _| panic!("on purpose")),
        store: bench().store,
        metrics: Arc::new(Metrics::new(Vec::new())),
        ready: Arc::new(|| true),
        flights: Arc::new(|| panic!("on purpose")),
        connections: Arc::new(|| 0),
        connections_max: 0,
        origin: Arc::new(Default::default),
        admin_connections: Arc::new(Default::default),
        server: Arc::new(Default::default),
        explain: Arc::new(|question| {
            Err(explain::QuestionError { part: "url", what: question.url.as_str().to_owned() })
        }),
        shadow: Arc::new(Default::default),
        followers: Arc::default(),
        log_dropped: Arc::new(|| 0),
        traces: Arc::new(Default::default),
        warnings: Arc::new(Vec::new),
        reload: reload(),
    };
    let bench = AdminBench { router: router(parts), ..bench() };
    assert_eq!(bench.get("/stats").await.0, 500);
    assert_eq!(bench.get("/live").await.0, 200);
}

/// A reload that is always refused.
fn reload() -> ReloadHandle {
    let refused = || ReloadResult {
        at_unix_seconds: 0,
        by: "test".into(),
        applied: false,
        problems: vec![ConfigFault {
            file: "a.toml".into(),
            line: Some(3),
            key: "listen".into(),
            what: "no".into(),
            allowed: "yes".into(),
        }],
        needs_restart: Vec::new(),
    };
    ReloadHandle {
        now: Arc::new(refused),
        last: Arc::new(|| None),
        in_force_since: Arc::new(|| Timestamp::from_secs(0)),
    }
}

#[tokio::test]
async fn a_refused_reload_says_what_is_wrong_and_where() {
    let bench = bench();
    let (status, _, answer) = bench.send("POST", "/reload", &[], "").await;
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((status, &answer["applied"]), (422, &json!(false)));
    assert_eq!((&answer["problems"][0]["line"], &answer["problems"][0]["key"]), (&json!(3), &json!("listen")));
    assert_eq!(bench.send("GET", "/reload", &[], "").await.0, 405);
    assert_eq!(bench.send("POST", "/reload", &[("origin", "http://elsewhere")], "").await.0, 403);
}
