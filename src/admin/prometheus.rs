//! `/metrics`: the figures in the OpenMetrics text format, which Prometheus reads.
//!
//! A [`Collector`] over the same [`Figures`] that `/stats` shows, made for one answer: nothing is counted twice. Labels
//! hold outcomes, reasons, causes and names of routes only, all bounded; pairs of outcome and reason appear once they
//! have occurred.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::figures::Figures;
use crate::metrics::Class;
use crate::origin::State;
use crate::outcome::Outcome;

/// The type of the text.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The bounds of the latency buckets in microseconds: from a hit on an idle machine to an origin's timeout.
const BOUNDS_MICROS: [u64; 20] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// The labels of a series.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes the figures as text.
///
/// # Errors
/// Where a figure cannot be formatted, which no figure is known to do.
pub(super) fn text(figures: Figures) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("larder");
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page { encoder };
        self.process(&mut page)?;
        self.server(&mut page)?;
        self.requests(&mut page)?;
        self.origin(&mut page)?;
        self.responses(&mut page)?;
        self.shadow(&mut page)?;
        self.routes(&mut page)?;
        self.memory(&mut page)?;
        self.store(&mut page)?;
        self.latency(&mut page)
    }
}

impl Figures {
    fn process(&self, page: &mut Page<'_>) -> fmt::Result {
        page.info("build", "The version of Larder", &[("version", env!("CARGO_PKG_VERSION"))])?;
        page.gauge("uptime", "Seconds since the start", Some(Unit::Seconds), self.uptime.as_secs_f64())?;
        page.gauge("ready", "Whether requests are served: 0 while draining", None, f64::from(u8::from(self.is_ready)))?;
        page.gauge("connections", "Client connections open now", None, self.connections as f64)?;
        page.gauge("fills_in_flight", "Fills under way now", None, self.flights as f64)?;
        page.counter("access_log_dropped_lines", "Access log lines that were dropped", None, alone(self.log_dropped))
    }

    fn requests(&self, page: &mut Page<'_>) -> fmt::Result {
        let totals = &self.requests.totals;
        let by_reason = totals
            .requests_seen()
            .map(|(outcome, reason, number)| (vec![("outcome", outcome.token()), ("reason", reason.token())], number));
        page.counter("requests", "Requests that have ended, by outcome and reason", None, by_reason)?;
        page.counter(
            "collapsed_requests",
            "Requests that waited for the origin request of another",
            None,
            alone(totals.collapsed),
        )?;
        page.counter(
            "origin_requests",
            "Requests for which the origin was asked, whether it answered or failed",
            None,
            alone(totals.origin_requests),
        )?;
        page.counter(
            "origin_refreshes",
            "Origin requests in the background, on top of larder_origin_requests_total",
            None,
            alone(totals.refreshes),
        )?;
        page.counter(
            "origin_requests_saved",
            "Requests answered without an origin request of their own: hits, stale answers and collapsed requests",
            None,
            alone(totals.saved),
        )
    }

    fn server(&self, page: &mut Page<'_>) -> fmt::Result {
        let server = &self.server;
        page.counter("accepted_connections", "Connections accepted", None, alone(server.accepted))?;
        let help = "Times that accepting failed for want of descriptors or memory";
        page.counter("accept_errors", help, None, alone(server.accept_errors))?;
        page.counter("panics", "Handlers that panicked", None, alone(server.panics))?;
        let stages = [("head", server.closed_in_head), ("idle", server.closed_idle), ("body", server.closed_in_body)];
        let closed = stages.into_iter().map(|(stage, number)| (vec![("stage", stage)], number));
        page.counter("closed_connections", "Connections closed for their slowness, by what was slow", None, closed)
    }

    fn origin(&self, page: &mut Page<'_>) -> fmt::Result {
        let origin = &self.origin;
        page.gauge("origin_permits_in_use", "Requests at the origin now", None, origin.permits_in_use as f64)?;
        let help = "Requests that wait for their turn at the origin now";
        page.gauge("origin_permits_waiting", help, None, origin.permits_waiting as f64)?;
        let help = "Requests turned away because the queue for the origin was full or the wait too long";
        page.counter("origin_permits_refused", help, None, alone(origin.permits_refused))?;
        let is_open = origin.breaker != State::Closed;
        let help = "Whether the breaker towards the origin is open: 1 also while one request sees whether it is back";
        page.gauge("origin_breaker_open", help, None, f64::from(u8::from(is_open)))?;
        page.counter("origin_breaker_opened", "Times that the breaker opened", None, alone(origin.breaker_opened))?;
        let help = "Requests that found the breaker open";
        page.counter("origin_breaker_refused", help, None, alone(origin.breaker_refused))
    }

    fn responses(&self, page: &mut Page<'_>) -> fmt::Result {
        let totals = &self.requests.totals;
        let bytes = totals.body_bytes();
        let by_outcome = Outcome::ALL.iter().map(|outcome| (vec![("outcome", outcome.token())], bytes.get(*outcome)));
        page.counter("response_body", "Body bytes handed to connections, by outcome", Some(Unit::Bytes), by_outcome)?;
        page.counter("responses_stored", "Responses that began to be stored", None, alone(totals.stored))?;
        let not_stored = totals.not_stored_seen().map(|(reason, number)| (vec![("reason", reason.token())], number));
        page.counter("responses_not_stored", "Responses that were not stored, by reason", None, not_stored)?;
        page.counter(
            "responses_client_gone",
            "Responses whose client went away before their end",
            None,
            alone(totals.client_gone),
        )?;
        let aborted = totals.aborted_seen().map(|(reason, number)| (vec![("reason", reason.token())], number));
        page.counter(
            "personalised",
            "Stored bodies that turned out to be one user's",
            None,
            alone(self.requests.personalised.found),
        )?;
        page.counter("responses_aborted", "Responses whose body failed on the way, by reason", None, aborted)
    }

    /// What shadow mode has seen; nothing where it never ran.
    fn shadow(&self, page: &mut Page<'_>) -> fmt::Result {
        let Some(total) = self.requests.shadow.as_ref().map(|seen| &seen.total) else { return Ok(()) };
        let outcomes = Outcome::ALL.iter().map(|outcome| (vec![("outcome", outcome.token())], total.of(*outcome)));
        page.counter("shadow_requests", "Requests passed in shadow mode, by would-be outcome", None, outcomes)?;
        let help = "Requests that the origin would have been spared";
        page.counter("shadow_origin_requests_saved", help, None, alone(total.spared))?;
        let help = "Seconds of the origin that would have been spared";
        let seconds = alone(total.origin_micros_spared / 1_000_000);
        page.counter("shadow_origin_time_saved", help, Some(Unit::Seconds), seconds)?;
        let compared = [("same", total.same), ("differed", total.differed), ("not_compared", total.uncompared)];
        let compared = compared.into_iter().map(|(result, number)| (vec![("result", result)], number));
        let help = "Would-be hits held against what the origin sent, by result";
        page.counter("shadow_compared", help, None, compared)
    }

    fn routes(&self, page: &mut Page<'_>) -> fmt::Result {
        let series = |number: fn(&crate::metrics::Route, Outcome) -> u64| {
            self.requests.routes.iter().flat_map(move |route| {
                Outcome::ALL.iter().map(move |outcome| {
                    (vec![("route", route.name.as_str()), ("outcome", outcome.token())], number(route, *outcome))
                })
            })
        };
        page.counter(
            "route_requests",
            "Requests that have ended, by route and outcome",
            None,
            series(|route, outcome| route.requests.get(outcome)),
        )?;
        page.counter(
            "route_response_body",
            "Body bytes handed to connections, by route and outcome",
            Some(Unit::Bytes),
            series(|route, outcome| route.body_bytes.get(outcome)),
        )
    }

    fn memory(&self, page: &mut Page<'_>) -> fmt::Result {
        let store = &self.store;
        for (name, help, bytes) in [
            ("memory_capacity", "The most bytes that may be held", store.capacity_bytes),
            ("memory_alive", "Bytes held now: stored, being filled, or pinned by readers", store.alive_bytes),
            ("memory_stored", "Bytes that the map holds, as weighed", store.stored_bytes),
            ("stored_raw", "Bytes of bodies stored, as the origin sent them", store.raw_bytes),
            ("stored_compressed", "Bytes of bodies stored, as they are held", store.held_bytes),
        ] {
            page.gauge(name, help, Some(Unit::Bytes), bytes as f64)?;
        }
        Ok(())
    }

    fn store(&self, page: &mut Page<'_>) -> fmt::Result {
        let store = &self.store;
        page.gauge("entries", "Keys with something stored", None, store.keys as f64)?;
        let evicted = [
            ("size", store.evicted_by_size),
            ("age", store.evicted_by_age),
            ("purge", store.evicted_by_purge),
            ("replaced", store.replaced),
        ];
        let evicted = evicted.into_iter().map(|(cause, number)| (vec![("cause", cause)], number));
        page.counter("evicted_entries", "Entries that left the store, by cause", None, evicted)?;
        page.counter(
            "refused_bodies",
            "Bodies that were not stored because the memory budget was spent",
            None,
            alone(store.refused),
        )?;
        page.counter(
            "hash_collisions",
            "Lookups whose hash found the key of another, which are misses",
            None,
            alone(store.collisions),
        )?;
        page.counter("purges", "Purges and invalidations recorded", None, alone(store.ledger_sequence))?;
        page.gauge(
            "purges_swept",
            "The number of the purge up to which all were swept, to compare with the purges counted",
            None,
            store.swept_through as f64,
        )?;
        page.gauge("purge_records", "Purge records that are still kept", None, store.ledger_records as f64)
    }

    fn latency(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "Seconds from the head of the request to the end of the response, by class of outcome; \
                    a value near a bound may be counted on its other side, within 1 percent";
        let mut metric =
            page.encoder.encode_descriptor("request_duration", help, Some(&Unit::Seconds), MetricType::Histogram)?;
        for class in Class::ALL {
            let latency = self.requests.latency.of(*class);
            let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6).chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(latency.spans(&BOUNDS_MICROS)).collect();
            let sum = latency.sum_micros() as f64 / 1e6;
            metric.encode_family(&[("class", class.token())])?.encode_histogram::<NoLabelSet>(
                sum,
                latency.count(),
                &buckets,
                None,
            )?;
        }
        Ok(())
    }
}

/// Returns the one series of a metric without labels.
fn alone(number: u64) -> [(Labels<'static>, u64); 1] {
    [(Vec::new(), number)]
}

/// The page that is being written.
struct Page<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Page<'_> {
    /// Writes a counter; its samples get `_total`.
    fn counter<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<Unit>,
        series: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, number) in series {
            // An empty set would be written as `{}`, which some readers refuse.
            if labels.is_empty() {
                metric.encode_counter::<NoLabelSet, u64, f64>(&number, None)?;
            } else {
                metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, f64>(&number, None)?;
            }
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<Unit>, number: f64) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?.encode_gauge(&number)
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&'static str, &'static str)]) -> fmt::Result {
        self.encoder.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::figures::tests::{busy, idle};
    use super::*;

    /// What a lint of the text found: samples by name and labels, with their values.
    type Samples = BTreeMap<(String, BTreeMap<String, String>), f64>;

    /// A family of metrics as its comment lines describe it.
    #[derive(Default)]
    struct Family {
        help: String,
        kind: String,
        unit: String,
    }

    /// Reads the text back, and panics at whatever breaks the format or our own rules.
    fn lint(text: &str) -> Samples {
        let mut families: BTreeMap<String, Family> = BTreeMap::new();
        let mut samples = Samples::new();
        let body = text.strip_suffix("# EOF\n").expect("the text ends with EOF");
        let mut current = String::new();
        for line in body.lines() {
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (kind, name, rest) =
                    (words.next().unwrap(), words.next().unwrap(), words.next().unwrap_or_default());
                if kind == "HELP" {
                    assert!(families.insert(name.to_owned(), Family::default()).is_none(), "{name} comes twice");
                    current = name.to_owned();
                }
                assert_eq!(name, current, "comments of a family stand together");
                let family = families.get_mut(name).unwrap();
                match kind {
                    "HELP" => family.help = rest.to_owned(),
                    "TYPE" => family.kind = rest.to_owned(),
                    "UNIT" => family.unit = rest.to_owned(),
                    other => panic!("a comment of kind {other}"),
                }
                continue;
            }
            let (name, labels, value) = sample(line);
            let family = &families[&current];
            check_name(&name, &labels, &current, family);
            assert!(samples.insert((name, labels), value).is_none(), "comes twice: {line}");
        }
        for (name, family) in &families {
            let rest = name.strip_prefix("larder_").expect(name);
            assert!(
                !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
            assert!(!name.ends_with("_total"), "{name}: the family is named without it");
            assert!(family.help.len() > 10 && !family.help.contains('\\'), "{name}: {}", family.help);
            assert!(["counter", "gauge", "histogram", "info"].contains(&family.kind.as_str()), "{name}");
            assert!(family.unit.is_empty() || name.ends_with(&format!("_{}", family.unit)), "{name}");
            for unit in ["bytes", "seconds"] {
                assert_eq!(name.ends_with(unit), family.unit == unit, "{name} has its unit");
            }
        }
        samples
    }

    fn check_name(name: &str, labels: &BTreeMap<String, String>, family: &str, described: &Family) {
        let suffix = name.strip_prefix(family).expect("samples stand under their family");
        match described.kind.as_str() {
            "counter" => assert_eq!(suffix, "_total", "{name}"),
            "gauge" => assert_eq!(suffix, "", "{name}"),
            "info" => assert_eq!(suffix, "_info", "{name}"),
            "histogram" => {
                assert!(["_sum", "_count", "_bucket"].contains(&suffix), "{name}");
                assert_eq!(labels.contains_key("le"), suffix == "_bucket", "{name}");
            }
            other => panic!("{name} is a {other}"),
        }
    }

    /// Reads `name{label="value",…} number`.
    fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
        let name_end = line.find(['{', ' ']).unwrap();
        let (name, mut rest) = line.split_at(name_end);
        let mut labels = BTreeMap::new();
        if let Some(inner) = rest.strip_prefix('{') {
            rest = inner;
            loop {
                let (label, after) = rest.split_once("=\"").expect(line);
                assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{line}");
                let mut value = String::new();
                let mut chars = after.char_indices();
                let end = loop {
                    match chars.next().expect(line) {
                        (at, '"') => break at,
                        (_, '\\') => value.push(match chars.next().expect(line).1 {
                            'n' => '\n',
                            escaped @ ('"' | '\\') => escaped,
                            other => panic!("\\{other} in {line}"),
                        }),
                        (_, plain) => value.push(plain),
                    }
                };
                assert!(labels.insert(label.to_owned(), value).is_none(), "{line}");
                rest = &after[end + 1..];
                match rest.strip_prefix(',') {
                    Some(more) => rest = more,
                    None => break,
                }
            }
            assert!(!labels.is_empty());
            rest = rest.strip_prefix('}').expect(line);
        }
        let number = rest.strip_prefix(' ').expect(line).parse().expect(line);
        (name.to_owned(), labels, number)
    }

    fn value(samples: &Samples, name: &str, labels: &[(&str, &str)]) -> f64 {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        *samples.get(&(name.to_owned(), labels)).unwrap_or_else(|| panic!("{name} is missing"))
    }

    #[test]
    fn the_text_is_well_formed_busy_or_idle() {
        lint(&text(busy()).unwrap());
        lint(&text(idle()).unwrap());
    }

    #[test]
    fn the_text_says_what_the_figures_say() {
        let samples = lint(&text(busy()).unwrap());
        let check = |name: &str, labels: &[(&str, &str)], number: f64| {
            assert_eq!(value(&samples, name, labels), number, "{name} {labels:?}");
        };
        check("larder_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        check("larder_uptime_seconds", &[], 12.345);
        check("larder_ready", &[], 1.0);
        check("larder_connections", &[], 9.0);
        check("larder_fills_in_flight", &[], 8.0);
        check("larder_access_log_dropped_lines_total", &[], 10.0);
        check("larder_requests_total", &[("outcome", "hit"), ("reason", "fresh")], 6.0);
        check("larder_requests_total", &[("outcome", "failed"), ("reason", "connection_refused")], 1.0);
        check("larder_origin_requests_total", &[], 5.0);
        check("larder_origin_refreshes_total", &[], 1.0);
        check("larder_origin_requests_saved_total", &[], 8.0);
        check("larder_response_body_bytes_total", &[("outcome", "hit")], 6000.0);
        check("larder_responses_not_stored_total", &[("reason", "set-cookie")], 1.0);
        check("larder_responses_aborted_total", &[("reason", "incomplete")], 1.0);
        check("larder_route_requests_total", &[("route", "/img/"), ("outcome", "hit")], 6.0);
        check("larder_route_requests_total", &[("route", "(none)"), ("outcome", "miss")], 0.0);
        check("larder_memory_capacity_bytes", &[], f64::from(64 << 20));
        check("larder_entries", &[], 1e6);
        check("larder_evicted_entries_total", &[("cause", "purge")], 3.0);
        check("larder_purges_total", &[], 7.0);
        check("larder_shadow_requests_total", &[("outcome", "hit")], 1.0);
        check("larder_shadow_origin_time_saved_seconds_total", &[], 3.0);
        check("larder_shadow_compared_total", &[("result", "differed")], 0.0);
    }

    #[test]
    fn label_values_are_escaped() {
        let text = text(busy()).unwrap();
        assert!(text.contains(r#"route="/a\"b\\c\n{}""#));
        let labels = [("route", "/a\"b\\c\n{}"), ("outcome", "miss")];
        assert_eq!(value(&lint(&text), "larder_route_requests_total", &labels), 3.0);
    }

    #[test]
    fn buckets_grow_to_the_count() {
        let samples = lint(&text(busy()).unwrap());
        for class in Class::ALL {
            let mut buckets: Vec<(f64, f64)> = samples
                .iter()
                .filter(|((name, labels), _)| {
                    name == "larder_request_duration_seconds_bucket" && labels["class"] == class.token()
                })
                .map(|((_, labels), number)| (labels["le"].parse().unwrap(), *number))
                .collect();
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert_eq!(buckets.len(), BOUNDS_MICROS.len() + 1);
            assert!(buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1));
            let count = value(&samples, "larder_request_duration_seconds_count", &[("class", class.token())]);
            assert_eq!(*buckets.last().unwrap(), (f64::INFINITY, count));
        }
        let le = |le| value(&samples, "larder_request_duration_seconds_bucket", &[("class", "miss"), ("le", le)]);
        assert_eq!((le("0.005"), le("0.01"), le("0.025"), le("0.05")), (0.0, 1.0, 2.0, 4.0));
        let sum = value(&samples, "larder_request_duration_seconds_sum", &[("class", "miss")]);
        assert!((sum - 0.089).abs() < 1e-9);
    }

    #[test]
    fn label_sets_do_not_grow_with_what_is_asked() {
        let names: BTreeSet<String> =
            lint(&text(busy()).unwrap()).keys().flat_map(|(_, labels)| labels.keys().cloned()).collect();
        let bounded = ["cause", "class", "le", "outcome", "reason", "result", "route", "stage", "version"];
        assert_eq!(names, bounded.iter().map(|name| (*name).to_owned()).collect());
    }
}
