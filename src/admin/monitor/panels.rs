//! What the Grafana dashboard shows, as a table. `$chosen` stands for what narrows a query down to the chosen instances.

/// A row of panels of one height.
pub(super) struct PanelRow {
    pub(super) title: &'static str,
    pub(super) height: usize,
    pub(super) panels: &'static [Panel],
}

/// A panel.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// What it tells.
    pub(super) about: &'static str,
    pub(super) shape: Shape,
    pub(super) width: usize,
    /// Grafana's name of the unit.
    pub(super) unit: &'static str,
    /// Expressions with their legends.
    pub(super) queries: Queries,
}

type Queries = &'static [(&'static str, &'static str)];

/// How a panel shows its figures.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// The last value.
    Number,
    /// A line each.
    Lines,
    /// Areas on top of one another.
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
    PanelRow { title: "The app behind Larder", height: 8, panels: ORIGIN },
    PanelRow { title: "Memory", height: 8, panels: MEMORY },
    PanelRow { title: "Routes", height: 8, panels: ROUTES },
    PanelRow { title: "Process", height: 8, panels: PROCESS },
];

const OVERVIEW: &[Panel] = &[
    number(
        "Hit ratio",
        "percentunit",
        "Hits / requests. Stale and revalidated answers are no hits.",
        &[(
            "sum(rate(larder_requests_total{$chosen,outcome=\"hit\"}[$__rate_interval])) \
             / sum(rate(larder_requests_total{$chosen}[$__rate_interval]))",
            "",
        )],
    ),
    number(
        "Requests/s",
        "reqps",
        "Requests that have ended.",
        &[("sum(rate(larder_requests_total{$chosen}[$__rate_interval]))", "")],
    ),
    number(
        "Origin load saved",
        "percentunit",
        "Requests answered without an origin request of their own.",
        &[(
            "sum(rate(larder_origin_requests_saved_total{$chosen}[$__rate_interval])) \
             / sum(rate(larder_requests_total{$chosen}[$__rate_interval]))",
            "",
        )],
    ),
    number(
        "Hits take (p99)",
        "s",
        "From a request's head to its response's end.",
        &[(
            "histogram_quantile(0.99, \
             sum by (le) (rate(larder_request_duration_seconds_bucket{$chosen,class=\"hit\"}[$__rate_interval])))",
            "",
        )],
    ),
    number(
        "Memory in use",
        "percentunit",
        "Of the capacity: stored, being filled, or pinned by readers.",
        &[("sum(larder_memory_alive_bytes{$chosen}) / sum(larder_memory_capacity_bytes{$chosen})", "")],
    ),
    number("Instances ready", "short", "Those that serve requests.", &[("sum(larder_ready{$chosen})", "")]),
];

const REQUESTS: &[Panel] = &[
    stack(
        "Requests/s by outcome",
        "reqps",
        "What became of requests.",
        &[("sum by (outcome) (rate(larder_requests_total{$chosen}[$__rate_interval]))", "{{outcome}}")],
    ),
    lines(
        "Ratios",
        "percentunit",
        "Hits, and requests that the app was spared, of all requests.",
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
                "origin load saved",
            ),
        ],
    ),
    stack(
        "Why not from the cache",
        "reqps",
        "Requests that were neither hits nor stale, by reason.",
        &[(
            "sum by (reason) (rate(larder_requests_total{$chosen,outcome!~\"hit|stale\"}[$__rate_interval]))",
            "{{reason}}",
        )],
    ),
    stack(
        "Why not stored",
        "reqps",
        "Responses that were not stored, by reason.",
        &[("sum by (reason) (rate(larder_responses_not_stored_total{$chosen}[$__rate_interval]))", "{{reason}}")],
    ),
    stack(
        "Bytes/s by outcome",
        "Bps",
        "Body bytes handed to connections.",
        &[("sum by (outcome) (rate(larder_response_body_bytes_total{$chosen}[$__rate_interval]))", "{{outcome}}")],
    ),
    lines(
        "Response sizes",
        "bytes",
        "Body bytes that half, and 95 %, of the responses stay at or under.",
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
        "From a request's head to its response's end, of hits and stale answers that did not wait.",
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
        "The same of misses and revalidations.",
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
        "Wait for the app",
        "s",
        "From a request's head to its response's, where the app was asked.",
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
        "Requests/s to the app",
        "reqps",
        "For clients, and in the background.",
        &[
            ("sum(rate(larder_origin_requests_total{$chosen}[$__rate_interval]))", "for clients"),
            ("sum(rate(larder_origin_refreshes_total{$chosen}[$__rate_interval]))", "refreshes"),
        ],
    ),
    lines(
        "At the app now",
        "short",
        "Requests at the app and in the queue for it, and how many it may have at once.",
        &[
            ("sum(larder_origin_permits_in_use{$chosen})", "at the app"),
            ("sum(larder_origin_permits_waiting{$chosen})", "waiting"),
            ("sum(larder_origin_permits_max{$chosen})", "at the most"),
            ("sum(larder_fills_in_flight{$chosen})", "fills"),
        ],
    ),
    lines(
        "Failures/s",
        "reqps",
        "Requests that failed, that a stale response stood in for, and that were turned away.",
        &[
            ("sum(rate(larder_requests_total{$chosen,outcome=\"failed\"}[$__rate_interval]))", "failed"),
            (
                "sum(rate(larder_requests_total{$chosen,outcome=\"stale\",reason=\"stale-if-error\"}[$__rate_interval]))",
                "stale-if-error",
            ),
            ("sum(rate(larder_origin_permits_refused_total{$chosen}[$__rate_interval]))", "no room at the app"),
            ("sum(rate(larder_origin_breaker_refused_total{$chosen}[$__rate_interval]))", "breaker open"),
            ("sum(rate(larder_responses_aborted_total{$chosen}[$__rate_interval]))", "broken off"),
        ],
    ),
];

const MEMORY: &[Panel] = &[
    lines(
        "Memory",
        "bytes",
        "What is held, of it stored, and the capacity.",
        &[
            ("sum(larder_memory_alive_bytes{$chosen})", "alive"),
            ("sum by (tier) (larder_stored_bytes{$chosen})", "stored: {{tier}}"),
            ("sum(larder_memory_capacity_bytes{$chosen})", "capacity"),
        ],
    ),
    lines(
        "Entries",
        "short",
        "Keys with something stored.",
        &[("sum by (tier) (larder_stored_entries{$chosen})", "{{tier}}")],
    ),
    stack(
        "Entries that left/s",
        "short",
        "By cause, and bodies that found no room.",
        &[
            ("sum by (cause) (rate(larder_evicted_entries_total{$chosen}[$__rate_interval]))", "{{cause}}"),
            ("sum(rate(larder_refused_bodies_total{$chosen}[$__rate_interval]))", "not stored: no room"),
        ],
    ),
];

const ROUTES: &[Panel] = &[
    stack(
        "Requests/s by route",
        "reqps",
        "Of the [[route]] that matched.",
        &[("sum by (route) (rate(larder_route_requests_total{$chosen}[$__rate_interval]))", "{{route}}")],
    ),
    lines(
        "Hit ratio by route",
        "percentunit",
        "Hits / requests of each route.",
        &[(
            "sum by (route) (rate(larder_route_requests_total{$chosen,outcome=\"hit\"}[$__rate_interval])) \
             / sum by (route) (rate(larder_route_requests_total{$chosen}[$__rate_interval]))",
            "{{route}}",
        )],
    ),
    stack(
        "Bytes/s by route",
        "Bps",
        "Body bytes handed to connections.",
        &[("sum by (route) (rate(larder_route_response_body_bytes_total{$chosen}[$__rate_interval]))", "{{route}}")],
    ),
];

const PROCESS: &[Panel] = &[
    lines(
        "Connections",
        "short",
        "Client connections open now, and the most at once.",
        &[("sum(larder_connections{$chosen})", "open"), ("sum(larder_connections_max{$chosen})", "at the most")],
    ),
    lines(
        "Purges and reloads",
        "short",
        "How many in the last five minutes.",
        &[
            ("sum(increase(larder_purges_total{$chosen}[5m]))", "purges"),
            ("sum by (result) (increase(larder_config_reloads_total{$chosen}[5m]))", "reloads {{result}}"),
        ],
    ),
    lines(
        "Trouble/s",
        "short",
        "What should stay at nothing.",
        &[
            ("sum by (stage) (rate(larder_closed_connections_total{$chosen}[$__rate_interval]))", "closed: {{stage}}"),
            ("sum(rate(larder_accept_errors_total{$chosen}[$__rate_interval]))", "accept errors"),
            ("sum(rate(larder_access_log_dropped_lines_total{$chosen}[$__rate_interval]))", "log lines dropped"),
            ("sum(rate(larder_trace_spans_total{$chosen,result=\"dropped\"}[$__rate_interval]))", "spans dropped"),
            ("sum(rate(larder_panics_total{$chosen}[$__rate_interval]))", "panics"),
        ],
    ),
];
