//! `/metrics`: the stats in the text formats of Prometheus, OpenMetrics on request, else the
//! classic one.
//!
//! A [`Collector`] over the same [`Readings`] that `/stats` shows, made for one response: nothing
//! is counted twice. `admin/figures/table.rs` describes the figures; histograms, and metrics whose
//! labels vary, are written here. Label values are outcomes, reasons, causes and names of routes
//! only, all bounded; pairs of outcome and reason appear once they have occurred.

mod classic;
mod page;

use std::fmt;

use axum::http::header::{self, HeaderMap};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text::encode};
use prometheus_client::registry::{Registry, Unit};

use super::figures::{FAMILIES, FIGURES, Figure, FigureKind, FigureUnit};
use super::readings::Readings;
use crate::metrics::{Latency, LatencyClass, size_bounds};
use crate::outcome::Outcome;
use crate::syntax::list;
use page::{MetricsPage, Spread, unlabelled};

/// The content type of OpenMetrics.
pub(super) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

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
        self.build(&mut page)?;
        self.figures(&mut page)?;
        self.families(&mut page)?;
        self.requests(&mut page)?;
        self.shadow(&mut page)?;
        self.routes(&mut page)?;
        self.latency(&mut page)
    }
}

impl Readings {
    fn build(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let build =
            [("version", env!("CARGO_PKG_VERSION")), ("os", std::env::consts::OS), ("arch", std::env::consts::ARCH)];
        page.info("build", "The version of Larder, and its target platform", &build)
    }

    /// Writes the figures without labels.
    fn figures(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        for figure in FIGURES {
            let Some(metric) = figure.metric.filter(|metric| metric.labels.is_empty()) else { continue };
            let (unit, value) = (unit_of(figure), (figure.read)(self));
            match metric.kind {
                FigureKind::Counter => page.counter(metric.name, figure.help, unit, unlabelled(value.count()))?,
                FigureKind::Gauge => page.gauge(metric.name, figure.help, unit, value.number())?,
            }
        }
        Ok(())
    }

    /// Writes the figures with labels, family by family.
    fn families(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        for (name, help) in FAMILIES {
            let members = FIGURES.iter().filter_map(|figure| Some((figure, figure.metric?)));
            let members: Vec<_> = members.filter(|(_, metric)| metric.name == *name).collect();
            let Some((first, metric)) = members.first() else { continue };
            let series = members.iter().map(|(figure, metric)| (metric.labels.to_vec(), (figure.read)(self)));
            match metric.kind {
                FigureKind::Counter => {
                    let series = series.map(|(labels, value)| (labels, value.count()));
                    page.counter(name, help, unit_of(first), series)?;
                }
                FigureKind::Gauge => {
                    let series = series.map(|(labels, value)| (labels, value.number()));
                    page.gauges(name, help, unit_of(first), series)?;
                }
            }
        }
        Ok(())
    }

    /// Writes the counters by outcome and by reason.
    fn requests(&self, page: &mut MetricsPage<'_>) -> fmt::Result {
        let totals = &self.requests.totals;
        let by_reason = totals
            .request_counts()
            .map(|(outcome, reason, number)| (vec![("outcome", outcome.token()), ("reason", reason.token())], number));
        page.counter("requests", "Completed requests, by outcome and reason", None, by_reason)?;
        let bytes = totals.body_bytes();
        let by_outcome = Outcome::ALL.iter().map(|outcome| (vec![("outcome", outcome.token())], bytes.get(*outcome)));
        page.counter("response_body", "Body bytes sent to clients, by outcome", Some(Unit::Bytes), by_outcome)?;
        let not_stored = totals.not_stored_counts().map(|(reason, number)| (vec![("reason", reason.token())], number));
        page.counter("responses_not_stored", "Responses not stored, by reason", None, not_stored)?;
        let aborted = totals.aborted_counts().map(|(reason, number)| (vec![("reason", reason.token())], number));
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

/// Returns the unit that is part of the metric's name.
fn unit_of(figure: &Figure) -> Option<Unit> {
    match figure.unit {
        FigureUnit::Bytes => Some(Unit::Bytes),
        FigureUnit::Seconds => Some(Unit::Seconds),
        FigureUnit::Ratio | FigureUnit::Flag | FigureUnit::Text | FigureUnit::Of(_) => None,
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
