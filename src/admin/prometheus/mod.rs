//! `/metrics`: the stats in the text formats of Prometheus, OpenMetrics on request, else the
//! classic one.
//!
//! A [`Collector`] over the same [`Readings`] that `/stats` shows, made for one response: nothing
//! is counted twice. Label values are outcomes, reasons, causes and names of routes only, all
//! bounded; pairs of outcome and reason appear once they have occurred.

mod classic;
mod page;

use std::fmt;

use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text::encode};
use prometheus_client::registry::{Registry, Unit};

use super::readings::Readings;
use crate::metrics::{Latency, LatencyClass, size_bounds};
use crate::origin::BreakerState;
use crate::outcome::Outcome;
use crate::syntax::list;
use page::{MetricsPage, Spread, unlabelled};

/// The content type of OpenMetrics.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The name of the only tier.
const TIER: &str = "memory";

/// The bounds of the latency buckets in microseconds: from a hit on an idle machine to an origin's
/// timeout.
const BOUNDS_MICROS: [u64; 20] = [
    25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Responds with the metrics, in the requested format.
///
/// # Errors
/// As [`text`].
pub(super) fn answer(readings: Readings, headers: &HeaderMap) -> Result<Response, fmt::Error> {
    let text = text(readings)?;
    let (kind, text) =
        if asks_for_open_metrics(headers) { (CONTENT_TYPE, text) } else { (classic::CONTENT_TYPE, classic::of(&text)) };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Tells whether Accept names OpenMetrics; clients that accept anything get the classic format,
/// which every reader knows.
fn asks_for_open_metrics(headers: &HeaderMap) -> bool {
    let mut ranges = list::field_members(headers, header::ACCEPT).filter_map(|range| std::str::from_utf8(range).ok());
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let is_named = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/openmetrics-text"));
        is_named && !parts.any(|parameter| matches!(parameter, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

/// Writes the metrics as OpenMetrics text.
///
/// # Errors
/// If a value cannot be formatted, which no known value does.
pub(super) fn text(readings: Readings) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("larder");
    registry.register_collector(Box::new(readings));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

impl Collector for Readings {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = MetricsPage { encoder };
        self.process(&mut page)?;
        self.reloads(&mut page)?;
        self.server(&mut page)?;
        self.admin_connections(&mut page)?;
        self.requests(&mut page)?;
        self.origin(&mut page)?;
        self.responses(&mut page)?;
        self.shadow(&mut page)?;
        self.routes(&mut page)?;
        self.memory(&mut page)?;
        self.tiers(&mut page)?;
        self.store(&mut page)?;
        self.purges(&mut page)?;
        self.latency(&mut page)
    }
}

impl Readings {
    fn process(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let build =
            [("version", env!("CARGO_PKG_VERSION")), ("os", std::env::consts::OS), ("arch", std::env::consts::ARCH)];
        page.info("build", "The version of Larder, and its target platform", &build)?;
        page.gauge("uptime", "Seconds since start", Some(Unit::Seconds), self.uptime.as_secs_f64())?;
        page.gauge("ready", "1 while requests are served, 0 while draining", None, f64::from(u8::from(self.is_ready)))?;
        page.gauge("connections", "Open client connections", None, self.connections as f64)?;
        let help = "Limit of client connections; more wait to be accepted";
        page.gauge("connections_max", help, None, self.connections_max as f64)?;
        page.gauge("fills_in_flight", "Origin fetches in flight", None, self.flights as f64)?;
        page.counter("access_log_dropped_lines", "Access log lines dropped", None, unlabelled(self.log_dropped))?;
        let help = "Trace spans, by result: accepted by the collector, or dropped";
        let spans = [("exported", self.traces.exported), ("dropped", self.traces.dropped)];
        let spans = spans.into_iter().map(|(result, number)| (vec![("result", result)], number));
        page.counter("trace_spans", help, None, spans)
    }

    fn reloads(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let results = [("applied", self.server.reloads_applied), ("refused", self.server.reloads_refused)];
        let reloads = results.into_iter().map(|(result, number)| (vec![("result", result)], number));
        page.counter("config_reloads", "Reloads of the configuration, by result", None, reloads)?;
        let is_applied = self.reload.as_ref().is_none_or(|reload| reload.applied);
        let help = "1 if the last reload was applied, 0 while the previous configuration stays in force";
        page.gauge("config_last_reload_successful", help, None, f64::from(u8::from(is_applied)))?;
        let help =
            "Unix time at which the configuration in force was read: at startup, or at the last successful reload";
        let at = self.in_force_since.as_secs() as f64;
        page.gauge("config_last_reload_success_timestamp", help, Some(Unit::Seconds), at)
    }

    fn requests(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let totals = &self.requests.totals;
        let by_reason = totals
            .request_counts()
            .map(|(outcome, reason, number)| (vec![("outcome", outcome.token()), ("reason", reason.token())], number));
        page.counter("requests", "Completed requests, by outcome and reason", None, by_reason)?;
        page.counter(
            "collapsed_requests",
            "Requests that waited for another request's origin fetch",
            None,
            unlabelled(totals.collapsed),
        )?;
        page.counter(
            "origin_requests",
            "Requests that went to the origin, whether it responded or failed",
            None,
            unlabelled(totals.origin_requests),
        )?;
        page.counter(
            "origin_refreshes",
            "Origin requests in the background, not included in larder_origin_requests_total",
            None,
            unlabelled(totals.refreshes),
        )?;
        page.counter(
            "origin_requests_saved",
            "Requests served without an origin request of their own: hits, stale and collapsed",
            None,
            unlabelled(totals.saved),
        )
    }

    fn server(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let server = &self.server;
        page.counter("accepted_connections", "Connections accepted", None, unlabelled(server.accepted))?;
        let help = "Failures to accept a connection, for lack of file descriptors or memory";
        page.counter("accept_errors", help, None, unlabelled(server.accept_errors))?;
        page.counter("panics", "Request handlers that panicked", None, unlabelled(server.panics))?;
        let stages = [("head", server.closed_in_head), ("idle", server.closed_idle), ("body", server.closed_in_body)];
        let closed = stages.into_iter().map(|(stage, number)| (vec![("stage", stage)], number));
        let help = "Connections closed, and HTTP/2 streams reset, because they were too slow, by stage";
        page.counter("closed_connections", help, None, closed)
    }

    fn admin_connections(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let admin_connections = &self.admin_connections;
        page.gauge(
            "admin_connections",
            "Open connections to the admin interface",
            None,
            admin_connections.connections as f64,
        )?;
        let help = "Limit of connections to the admin interface; more are rejected";
        page.gauge("admin_connections_max", help, None, admin_connections.connections_max as f64)?;
        let help = "Connections to the admin interface rejected at the limit";
        page.counter("admin_connections_turned_away", help, None, unlabelled(admin_connections.turned_away))?;
        let help = "Connections to the admin interface closed because they were too slow";
        page.counter("admin_closed_connections", help, None, unlabelled(admin_connections.closed))
    }

    fn origin(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let origin = &self.origin;
        page.gauge("origin_permits_in_use", "Requests active at the origin", None, origin.permits_in_use as f64)?;
        let help = "Limit of concurrent requests to the origin";
        page.gauge("origin_permits_max", help, None, origin.permits_max as f64)?;
        let help = "Requests queued for the origin";
        page.gauge("origin_permits_waiting", help, None, origin.permits_waiting as f64)?;
        let help = "Requests rejected because the queue for the origin was full or the wait too long";
        page.counter("origin_permits_refused", help, None, unlabelled(origin.permits_refused))?;
        let is_open = origin.breaker != BreakerState::Closed;
        let help = "1 while the circuit breaker is open or half-open, 0 while it is closed";
        page.gauge("origin_breaker_open", help, None, f64::from(u8::from(is_open)))?;
        page.counter(
            "origin_breaker_opened",
            "Times that the circuit breaker opened",
            None,
            unlabelled(origin.breaker_opened),
        )?;
        let help = "Requests that met an open circuit breaker";
        page.counter("origin_breaker_refused", help, None, unlabelled(origin.breaker_refused))
    }

    fn responses(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let totals = &self.requests.totals;
        let bytes = totals.body_bytes();
        let by_outcome = Outcome::ALL.iter().map(|outcome| (vec![("outcome", outcome.token())], bytes.get(*outcome)));
        page.counter("response_body", "Body bytes sent to clients, by outcome", Some(Unit::Bytes), by_outcome)?;
        page.counter("responses_stored", "Responses whose storing began", None, unlabelled(totals.stored))?;
        page.counter(
            "responses_stored_with_cookie",
            "Responses stored together with their Set-Cookie",
            None,
            unlabelled(totals.stored_cookies),
        )?;
        let not_stored = totals.not_stored_counts().map(|(reason, number)| (vec![("reason", reason.token())], number));
        page.counter("responses_not_stored", "Responses not stored, by reason", None, not_stored)?;
        page.counter(
            "responses_client_gone",
            "Responses whose client disconnected before the end",
            None,
            unlabelled(totals.client_gone),
        )?;
        let aborted = totals.aborted_counts().map(|(reason, number)| (vec![("reason", reason.token())], number));
        page.counter(
            "personalised",
            "Stored bodies that turned out to be personalised",
            None,
            unlabelled(self.requests.personalised.found),
        )?;
        page.counter("responses_aborted", "Responses aborted before the end of their body, by reason", None, aborted)
    }

    /// Writes what shadow mode observed; nothing if it never ran.
    fn shadow(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let Some(total) = self.requests.shadow.as_ref().map(|seen| &seen.total) else { return Ok(()) };
        let outcomes = Outcome::ALL.iter().map(|outcome| (vec![("outcome", outcome.token())], total.of(*outcome)));
        page.counter("shadow_requests", "Requests passed in shadow mode, by would-be outcome", None, outcomes)?;
        let help = "Origin requests that a cache would have saved";
        page.counter("shadow_origin_requests_saved", help, None, unlabelled(total.spared))?;
        let help = "Seconds of origin time that a cache would have saved";
        let seconds = unlabelled(total.origin_micros_spared / 1_000_000);
        page.counter("shadow_origin_time_saved", help, Some(Unit::Seconds), seconds)?;
        let compared = [("same", total.same), ("differed", total.differed), ("not_compared", total.uncompared)];
        let compared = compared.into_iter().map(|(result, number)| (vec![("result", result)], number));
        let help = "Would-be hits compared with the origin's actual response, by result";
        page.counter("shadow_compared", help, None, compared)
    }

    fn routes(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let series = |number: fn(&crate::metrics::RouteSnapshot, Outcome) -> u64| {
            self.requests.routes.iter().flat_map(move |route| {
                Outcome::ALL.iter().map(move |outcome| {
                    (vec![("route", route.name.as_str()), ("outcome", outcome.token())], number(route, *outcome))
                })
            })
        };
        page.counter(
            "route_requests",
            "Completed requests, by route and outcome",
            None,
            series(|route, outcome| route.requests.get(outcome)),
        )?;
        page.counter(
            "route_response_body",
            "Body bytes sent to clients, by route and outcome",
            Some(Unit::Bytes),
            series(|route, outcome| route.body_bytes.get(outcome)),
        )
    }

    fn memory(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let store = &self.store;
        for (name, help, bytes) in [
            ("memory_capacity", "Limit of memory for stored and transferred responses", store.capacity_bytes),
            ("memory_alive", "Memory in use: stored, in flight, or pinned by readers", store.alive_bytes),
            ("stored_raw", "Size of stored bodies as the origin sent them", store.raw_bytes),
            ("stored_compressed", "Size of stored bodies in their stored form", store.held_bytes),
        ] {
            page.gauge(name, help, Some(Unit::Bytes), bytes as f64)?;
        }
        Ok(())
    }

    /// A future tier is another value of `tier`.
    fn tiers(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let store = &self.store;
        let tier = |number| [(vec![("tier", TIER)], number)];
        page.gauges("stored_entries", "Keys with a stored response, by tier", None, tier(store.keys as f64))?;
        let help = "Size of stored entries with their overhead, by tier";
        page.gauges("stored", help, Some(Unit::Bytes), tier(store.stored_bytes as f64))?;
        let evicted = [
            ("size", store.evicted_by_size),
            ("age", store.evicted_by_age),
            ("purge", store.evicted_by_purge),
            ("replaced", store.replaced),
        ];
        let evicted = evicted.into_iter().map(|(cause, number)| (vec![("tier", TIER), ("cause", cause)], number));
        page.counter("evicted_entries", "Entries evicted or replaced, by tier and cause", None, evicted)
    }

    fn store(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let help = "Bodies not stored because memory was full";
        page.counter("refused_bodies", help, None, unlabelled(self.store.refused))?;
        let help = "Lookups whose hash matched a different key; treated as misses";
        page.counter("hash_collisions", help, None, unlabelled(self.store.collisions))
    }

    fn purges(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let store = &self.store;
        page.counter("purges", "Purges and invalidations recorded", None, unlabelled(store.ledger_sequence))?;
        let help = "Sequence number up to which all purges were swept; compare with larder_purges_total";
        page.gauge("purges_swept", help, None, store.swept_through as f64)?;
        page.gauge("purge_records", "Purge records kept", None, store.ledger_records as f64)
    }

    fn latency(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let help = "Seconds from the request's head to the response's end, by class of outcome; \
                    values within 1 percent of a bound may be counted on its other side";
        let classes = LatencyClass::ALL.iter().map(|class| {
            let latency = self.requests.latency.of(*class);
            (vec![("class", class.token())], in_seconds(latency))
        });
        page.histogram("request_duration", help, Unit::Seconds, classes)?;
        let help = "Seconds from the request's head to the response's head, for requests that went to the origin: \
                    queueing, connecting, and the origin's own work";
        page.histogram("origin_wait", help, Unit::Seconds, unlabelled(in_seconds(&self.requests.origin_wait)))?;
        let totals = &self.requests.totals;
        let (bytes, bounds) = (totals.body_bytes(), size_bounds().map(|bound| bound as f64));
        let sizes = Outcome::ALL.iter().map(|outcome| {
            let numbers = totals.sizes(*outcome).cells().iter().copied();
            let spread = Spread::new(bytes.get(*outcome) as f64, bounds.into_iter(), numbers);
            (vec![("outcome", outcome.token())], spread)
        });
        page.histogram("response_size", "Body bytes of a response, by outcome", Unit::Bytes, sizes)
    }
}

/// Makes the histogram of a latency.
fn in_seconds(latency: &Latency) -> Spread {
    let bounds = BOUNDS_MICROS.iter().map(|micros| *micros as f64 / 1e6);
    Spread::new(latency.sum_micros() as f64 / 1e6, bounds, latency.spans(&BOUNDS_MICROS))
}

#[cfg(test)]
mod tests {
    use super::super::readings::tests::{busy, idle};
    use super::*;

    #[track_caller]
    fn value(text: &str, series: &str) -> f64 {
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("{series} is missing")).parse().unwrap()
    }

    #[test]
    fn the_text_agrees_with_the_readings() {
        let text = text(busy()).unwrap();
        let check = |series: &str, number: f64| assert_eq!(value(&text, series), number, "{series}");
        check("larder_uptime_seconds", 12.345);
        check("larder_ready", 1.0);
        check("larder_connections", 9.0);
        check("larder_connections_max", 1000.0);
        check("larder_fills_in_flight", 8.0);
        check("larder_admin_connections", 24.0);
        check("larder_admin_connections_max", 25.0);
        check("larder_admin_connections_turned_away_total", 26.0);
        check("larder_admin_closed_connections_total", 27.0);
        check("larder_access_log_dropped_lines_total", 10.0);
        check("larder_trace_spans_total{result=\"exported\"}", 11.0);
        check("larder_trace_spans_total{result=\"dropped\"}", 12.0);
        check("larder_config_reloads_total{result=\"applied\"}", 22.0);
        check("larder_config_reloads_total{result=\"refused\"}", 23.0);
        check("larder_config_last_reload_successful", 1.0);
        check("larder_config_last_reload_success_timestamp_seconds", 1_000_000.0);
        check("larder_requests_total{outcome=\"hit\",reason=\"fresh\"}", 6.0);
        check("larder_requests_total{outcome=\"failed\",reason=\"connection_refused\"}", 1.0);
        check("larder_origin_requests_total", 5.0);
        check("larder_origin_refreshes_total", 1.0);
        check("larder_origin_requests_saved_total", 8.0);
        check("larder_origin_permits_max", 24.0);
        check("larder_response_body_bytes_total{outcome=\"hit\"}", 6000.0);
        check("larder_responses_stored_with_cookie_total", 3.0);
        check("larder_responses_not_stored_total{reason=\"set-cookie\"}", 1.0);
        check("larder_responses_aborted_total{reason=\"incomplete\"}", 1.0);
        check("larder_route_requests_total{route=\"/img/\",outcome=\"hit\"}", 6.0);
        check("larder_route_requests_total{route=\"(none)\",outcome=\"miss\"}", 0.0);
        check("larder_memory_capacity_bytes", f64::from(64 << 20));
        check("larder_stored_entries{tier=\"memory\"}", 1e6);
        check("larder_stored_bytes{tier=\"memory\"}", f64::from(2 << 20));
        check("larder_evicted_entries_total{tier=\"memory\",cause=\"purge\"}", 3.0);
        check("larder_purges_total", 7.0);
        check("larder_shadow_requests_total{outcome=\"hit\"}", 1.0);
        check("larder_shadow_origin_time_saved_seconds_total", 3.0);
        check("larder_shadow_compared_total{result=\"differed\"}", 0.0);
        let refused = Readings { reload: Some(super::super::readings::tests::refused()), ..busy() };
        assert_eq!(value(&super::text(refused).unwrap(), "larder_config_last_reload_successful"), 0.0);
    }

    #[test]
    fn label_values_are_escaped() {
        let text = text(busy()).unwrap();
        assert_eq!(value(&text, r#"larder_route_requests_total{route="/a\"b\\c\n{}",outcome="miss"}"#), 3.0);
    }

    #[test]
    fn buckets_grow_to_the_count() {
        let text = text(busy()).unwrap();
        let bucket =
            |le| value(&text, &format!("larder_request_duration_seconds_bucket{{le=\"{le}\",class=\"miss\"}}"));
        assert_eq!(["0.005", "0.01", "0.025", "0.05", "+Inf"].map(bucket), [0.0, 1.0, 2.0, 4.0, 4.0]);
        assert_eq!(value(&text, "larder_request_duration_seconds_count{class=\"miss\"}"), 4.0);
        let sum = value(&text, "larder_request_duration_seconds_sum{class=\"miss\"}");
        assert!((sum - 0.089).abs() < 1e-9);
        let bucket = |le| value(&text, &format!("larder_origin_wait_seconds_bucket{{le=\"{le}\"}}"));
        assert_eq!(["0.025", "0.05", "0.1", "+Inf"].map(bucket), [0.0, 1.0, 2.0, 2.0]);
        let bucket = |le| value(&text, &format!("larder_response_size_bytes_bucket{{le=\"{le}\",outcome=\"miss\"}}"));
        assert_eq!(["256.0", "1024.0", "4096.0", "+Inf"].map(bucket), [0.0, 3.0, 3.0, 3.0]);
        assert_eq!(value(&text, "larder_response_size_bytes_sum{outcome=\"miss\"}"), 2000.0);
    }

    #[test]
    fn open_metrics_on_request_and_the_classic_format_otherwise() {
        let check = |accept: Option<&str>, expected: &str| {
            let headers = accept.map(|value| (header::ACCEPT, value.parse().unwrap()));
            let response = answer(idle(), &HeaderMap::from_iter(headers)).unwrap();
            assert_eq!(response.headers()[header::CONTENT_TYPE], expected, "{accept:?}");
        };
        check(None, classic::CONTENT_TYPE);
        check(Some("*/*"), classic::CONTENT_TYPE);
        check(Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"), classic::CONTENT_TYPE);
        check(Some("application/openmetrics-text;q=0, text/plain"), classic::CONTENT_TYPE);
        check(Some("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.2"), CONTENT_TYPE);
    }
}
