//! The panels of the Grafana dashboard, as a table. `$chosen` stands for the selector of the chosen
//! instances.

/// A row of panels of one height.
pub(super) struct PanelRow {
    pub(super) title: &'static str,
    pub(super) height: usize,
    pub(super) panels: &'static [Panel],
}

/// A panel.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// A description of the panel.
    pub(super) about: &'static str,
    pub(super) shape: Shape,
    pub(super) width: usize,
    /// Grafana's name for the unit.
    pub(super) unit: &'static str,
    /// Expressions with their legends.
    pub(super) queries: Queries,
}

type Queries = &'static [(&'static str, &'static str)];

/// The way a panel shows its values.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The last value.
    Number,
    /// One line per series.
    Lines,
    /// Stacked areas.
    Stack,
}

const fn number(title: &'static str, unit: &'static str, about: &'static str, queries: Queries) -> Panel {
    Panel { title, about, shape: Shape::Number, width: 4, unit, queries }
}

const fn lines(title: &'static str, unit: &'static str, about: &'static str, queries: Queries) -> Panel {
    Panel { title, about, shape: Shape::Lines, width: 8, unit, queries }
}

const fn stack(title: &'static str, unit: &'static str, about: &'static str, queries: Queries) -> Panel {
    Panel { title, about, shape: Shape::Stack, width: 8, unit, queries }
}

/// The dashboard, from top to bottom.
pub(super) const ROWS: &[PanelRow] = &[
    PanelRow { title: "Overview", height: 4, panels: OVERVIEW },
    PanelRow { title: "Requests", height: 8, panels: REQUESTS },
    PanelRow { title: "Latency", height: 8, panels: LATENCY },
    PanelRow { title: "Origin", height: 8, panels: ORIGIN },
    PanelRow { title: "Memory", height: 8, panels: MEMORY },
    PanelRow { title: "Routes", height: 8, panels: ROUTES },
    PanelRow { title: "Process", height: 8, panels: PROCESS },
];

const OVERVIEW: &[Panel] = &[
    number(
        "Hit ratio",
        "percentunit",
        "Hits / requests. Stale and revalidated responses do not count as hits.",
        &[(
            "sum(rate(larder_requests_total{$chosen,outcome=\"hit\"}[$__rate_interval])) \
             / sum(rate(larder_requests_total{$chosen}[$__rate_interval]))",
            "",
        )],
    ),
    number(
        "Requests/s",
        "reqps",
        "Completed requests.",
        &[("sum(rate(larder_requests_total{$chosen}[$__rate_interval]))", "")],
    ),
    number(
        "Origin requests saved",
        "percentunit",
        "Requests served without an origin request of their own.",
        &[(
            "sum(rate(larder_origin_requests_saved_total{$chosen}[$__rate_interval])) \
             / sum(rate(larder_requests_total{$chosen}[$__rate_interval]))",
            "",
        )],
    ),
    number(
        "Hit latency (p99)",
        "s",
        "From a request's head to the end of its response.",
        &[(
            "histogram_quantile(0.99, \
             sum by (le) (rate(larder_request_duration_seconds_bucket{$chosen,class=\"hit\"}[$__rate_interval])))",
            "",
        )],
    ),
    number(
        "Memory in use",
        "percentunit",
        "Share of the capacity: stored, in flight, or pinned by readers.",
        &[("sum(larder_memory_alive_bytes{$chosen}) / sum(larder_memory_capacity_bytes{$chosen})", "")],
    ),
    number("Instances ready", "short", "Instances that serve requests.", &[("sum(larder_ready{$chosen})", "")]),
];

const REQUESTS: &[Panel] = &[
    stack(
        "Requests/s by outcome",
        "reqps",
        "Completed requests by outcome.",
        &[("sum by (outcome) (rate(larder_requests_total{$chosen}[$__rate_interval]))", "{{outcome}}")],
    ),
    lines(
        "Ratios",
        "percentunit",
        "Hits, and origin requests saved, as a share of all requests.",
        &[
            (
                "sum(rate(larder_requests_total{$chosen,outcome=\"hit\"}[$__rate_interval])) \
                 / sum(rate(larder_requests_total{$chosen}[$__rate_interval]))",
                "hit ratio",
            ),
            (
                "sum(rate(larder_response_body_bytes_total{$chosen,outcome=\"hit\"}[$__rate_interval])) \
                 / sum(rate(larder_response_body_bytes_total{$chosen}[$__rate_interval]))",
                "hit ratio by bytes",
            ),
            (
                "sum(rate(larder_origin_requests_saved_total{$chosen}[$__rate_interval])) \
                 / sum(rate(larder_requests_total{$chosen}[$__rate_interval]))",
                "origin requests saved",
            ),
        ],
    ),
    stack(
        "Not served from cache",
        "reqps",
        "Requests that were neither hits nor stale, by reason.",
        &[(
            "sum by (reason) (rate(larder_requests_total{$chosen,outcome!~\"hit|stale\"}[$__rate_interval]))",
            "{{reason}}",
        )],
    ),
    stack(
        "Not stored",
        "reqps",
        "Responses that were not stored, by reason.",
        &[("sum by (reason) (rate(larder_responses_not_stored_total{$chosen}[$__rate_interval]))", "{{reason}}")],
    ),
    stack(
        "Bytes/s by outcome",
        "Bps",
        "Body bytes sent to clients.",
        &[("sum by (outcome) (rate(larder_response_body_bytes_total{$chosen}[$__rate_interval]))", "{{outcome}}")],
    ),
    lines(
        "Response sizes",
        "bytes",
        "Median and 95th percentile of body bytes per response.",
        &[
            (
                "histogram_quantile(0.5, \
                 sum by (le) (rate(larder_response_size_bytes_bucket{$chosen}[$__rate_interval])))",
                "p50",
            ),
            (
                "histogram_quantile(0.95, \
                 sum by (le) (rate(larder_response_size_bytes_bucket{$chosen}[$__rate_interval])))",
                "p95",
            ),
        ],
    ),
];

const LATENCY: &[Panel] = &[
    lines(
        "Hits",
        "s",
        "From a request's head to the end of its response, for hits and stale responses that did not wait.",
        &[
            (
                "histogram_quantile(0.5, \
                 sum by (le) (rate(larder_request_duration_seconds_bucket{$chosen,class=\"hit\"}[$__rate_interval])))",
                "p50",
            ),
            (
                "histogram_quantile(0.99, \
                 sum by (le) (rate(larder_request_duration_seconds_bucket{$chosen,class=\"hit\"}[$__rate_interval])))",
                "p99",
            ),
            (
                "histogram_quantile(0.999, \
                 sum by (le) (rate(larder_request_duration_seconds_bucket{$chosen,class=\"hit\"}[$__rate_interval])))",
                "p99.9",
            ),
        ],
    ),
    lines(
        "Misses",
        "s",
        "From a request's head to the end of its response, for misses and revalidations.",
        &[
            (
                "histogram_quantile(0.5, \
                 sum by (le) (rate(larder_request_duration_seconds_bucket{$chosen,class=\"miss\"}[$__rate_interval])))",
                "p50",
            ),
            (
                "histogram_quantile(0.99, \
                 sum by (le) (rate(larder_request_duration_seconds_bucket{$chosen,class=\"miss\"}[$__rate_interval])))",
                "p99",
            ),
        ],
    ),
    lines(
        "Origin latency (TTFB)",
        "s",
        "From a request's head to its response's head, for requests that went to the origin.",
        &[
            (
                "histogram_quantile(0.5, \
                 sum by (le) (rate(larder_origin_wait_seconds_bucket{$chosen}[$__rate_interval])))",
                "p50",
            ),
            (
                "histogram_quantile(0.99, \
                 sum by (le) (rate(larder_origin_wait_seconds_bucket{$chosen}[$__rate_interval])))",
                "p99",
            ),
        ],
    ),
];

const ORIGIN: &[Panel] = &[
    stack(
        "Origin requests/s",
        "reqps",
        "Requests for clients, and refreshes in the background.",
        &[
            ("sum(rate(larder_origin_requests_total{$chosen}[$__rate_interval]))", "for clients"),
            ("sum(rate(larder_origin_refreshes_total{$chosen}[$__rate_interval]))", "refreshes"),
        ],
    ),
    lines(
        "Origin connections",
        "short",
        "Requests active at the origin and queued for it, with the limit.",
        &[
            ("sum(larder_origin_permits_in_use{$chosen})", "active"),
            ("sum(larder_origin_permits_waiting{$chosen})", "queued"),
            ("sum(larder_origin_permits_max{$chosen})", "limit"),
            ("sum(larder_fills_in_flight{$chosen})", "fetches"),
        ],
    ),
    lines(
        "Failures/s",
        "reqps",
        "Failed requests, those served stale instead, and those rejected or aborted.",
        &[
            ("sum(rate(larder_requests_total{$chosen,outcome=\"failed\"}[$__rate_interval]))", "failed"),
            (
                "sum(rate(larder_requests_total{$chosen,outcome=\"stale\",reason=\"stale-if-error\"}[$__rate_interval]))",
                "stale-if-error",
            ),
            ("sum(rate(larder_origin_permits_refused_total{$chosen}[$__rate_interval]))", "origin at capacity"),
            ("sum(rate(larder_origin_breaker_refused_total{$chosen}[$__rate_interval]))", "breaker open"),
            ("sum(rate(larder_responses_aborted_total{$chosen}[$__rate_interval]))", "aborted"),
        ],
    ),
];

const MEMORY: &[Panel] = &[
    lines(
        "Memory",
        "bytes",
        "Memory in use, the part that is stored, and the capacity.",
        &[
            ("sum(larder_memory_alive_bytes{$chosen})", "alive"),
            ("sum by (tier) (larder_stored_bytes{$chosen})", "stored: {{tier}}"),
            ("sum(larder_memory_capacity_bytes{$chosen})", "capacity"),
        ],
    ),
    lines(
        "Entries",
        "short",
        "Keys with a stored response.",
        &[("sum by (tier) (larder_stored_entries{$chosen})", "{{tier}}")],
    ),
    stack(
        "Evictions/s",
        "short",
        "Evictions by cause, and bodies rejected because memory was full.",
        &[
            ("sum by (cause) (rate(larder_evicted_entries_total{$chosen}[$__rate_interval]))", "{{cause}}"),
            ("sum(rate(larder_refused_bodies_total{$chosen}[$__rate_interval]))", "rejected: memory full"),
        ],
    ),
];

const ROUTES: &[Panel] = &[
    stack(
        "Requests/s by route",
        "reqps",
        "Requests by the [[route]] that matched.",
        &[("sum by (route) (rate(larder_route_requests_total{$chosen}[$__rate_interval]))", "{{route}}")],
    ),
    lines(
        "Hit ratio by route",
        "percentunit",
        "Hits / requests per route.",
        &[(
            "sum by (route) (rate(larder_route_requests_total{$chosen,outcome=\"hit\"}[$__rate_interval])) \
             / sum by (route) (rate(larder_route_requests_total{$chosen}[$__rate_interval]))",
            "{{route}}",
        )],
    ),
    stack(
        "Bytes/s by route",
        "Bps",
        "Body bytes sent to clients.",
        &[("sum by (route) (rate(larder_route_response_body_bytes_total{$chosen}[$__rate_interval]))", "{{route}}")],
    ),
];

const PROCESS: &[Panel] = &[
    lines(
        "Connections",
        "short",
        "Open client connections, and the limit.",
        &[("sum(larder_connections{$chosen})", "open"), ("sum(larder_connections_max{$chosen})", "limit")],
    ),
    lines(
        "Purges and reloads",
        "short",
        "Purges and reloads in the last five minutes.",
        &[
            ("sum(increase(larder_purges_total{$chosen}[5m]))", "purges"),
            ("sum by (result) (increase(larder_config_reloads_total{$chosen}[5m]))", "reloads {{result}}"),
        ],
    ),
    lines(
        "Errors/s",
        "short",
        "Errors; should be 0.",
        &[
            ("sum by (stage) (rate(larder_closed_connections_total{$chosen}[$__rate_interval]))", "closed: {{stage}}"),
            ("sum(rate(larder_accept_errors_total{$chosen}[$__rate_interval]))", "accept errors"),
            ("sum(rate(larder_access_log_dropped_lines_total{$chosen}[$__rate_interval]))", "log lines dropped"),
            ("sum(rate(larder_trace_spans_total{$chosen,result=\"dropped\"}[$__rate_interval]))", "spans dropped"),
            ("sum(rate(larder_panics_total{$chosen}[$__rate_interval]))", "panics"),
        ],
    ),
];
