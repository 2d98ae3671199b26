//! Traces: the W3C Trace Context fields, and, with the feature `otel`, the spans sent to a
//! collector.

#[cfg(feature = "otel")]
mod otlp;

use crate::harness::{Cache, Origin, Reply};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[test]
fn with_traces_off_the_fields_pass_unchanged_and_are_no_part_of_the_key() {
    let origin = Origin::start(|_| Reply::fresh("x"));
    let cache = Cache::start(&origin);
    cache.get_with("/", &[("traceparent", TRACEPARENT), ("tracestate", "a=b")]).check(200, "x", "stored");
    let asked = origin.last();
    assert_eq!(asked.header("traceparent").as_deref(), Some(TRACEPARENT));
    assert_eq!(asked.header("tracestate").as_deref(), Some("a=b"));
    let hit = cache.get_with("/", &[("traceparent", "not a traceparent")]);
    hit.check(200, "x", "hit");
    assert_eq!((hit.header("traceparent"), hit.header("tracestate")), (None, None));
    cache.get_with("/odd", &[("traceparent", "not a traceparent")]);
    assert_eq!(origin.last().header("traceparent").as_deref(), Some("not a traceparent"));
    cache.get("/none");
    assert_eq!(origin.last().header("traceparent"), None, "no traceparent is added");
}
