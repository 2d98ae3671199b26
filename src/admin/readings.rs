//! The readings behind `/stats` and `/metrics`, taken once per request: two views of one value.

use std::time::Duration;

use super::reload::ReloadResult;
use super::snapshots::{AdminConnections, ServerSnapshot};
use crate::clock::Timestamp;
use crate::metrics::MetricsSnapshot;
use crate::origin;
use crate::outcome::{Outcome, Reason};
use crate::proxy::trace;
use crate::store;

/// The number of distinct hashes of 128 bits.
const HASHES: f64 = (1_u128 << 127) as f64 * 2.0;

/// One reading of every source.
#[derive(Debug)]
pub(super) struct Readings {
    pub(super) requests: MetricsSnapshot,
    pub(super) store: store::StoreStats,
    pub(super) is_ready: bool,
    pub(super) flights: usize,
    pub(super) connections: usize,
    pub(super) connections_max: usize,
    pub(super) origin: origin::OriginStats,
    pub(super) admin_connections: AdminConnections,
    pub(super) server: ServerSnapshot,
    pub(super) log_dropped: u64,
    pub(super) traces: trace::ExportStats,
    /// Warnings of the configuration.
    pub(super) warnings: Vec<String>,
    /// The result of the last reload.
    pub(super) reload: Option<ReloadResult>,
    /// The time at which the configuration in force was read.
    pub(super) in_force_since: Timestamp,
    pub(super) uptime: Duration,
}

impl Readings {
    /// Returns the number of responses from the origin: misses, passes and revalidations, collapsed
    /// requests included.
    pub(super) fn origin_answers(&self) -> u64 {
        let requests = self.requests.totals.requests_by_outcome();
        [Outcome::Miss, Outcome::Pass, Outcome::Revalidated].iter().map(|outcome| requests.get(*outcome)).sum()
    }

    /// Returns the requests with this outcome as a share of all requests.
    pub(super) fn requests_with(&self, outcome: Outcome) -> Option<f64> {
        let requests = self.requests.totals.requests_by_outcome();
        ratio(requests.get(outcome), requests.total())
    }

    /// Returns the body bytes of hits as a share of all body bytes.
    pub(super) fn hit_bytes(&self) -> Option<f64> {
        let bytes = self.requests.totals.body_bytes();
        ratio(bytes.get(Outcome::Hit), bytes.total())
    }

    /// Returns the hits and the responses from the origin as a share of all requests.
    pub(super) fn served(&self) -> Option<f64> {
        let requests = self.requests.totals.requests_by_outcome();
        ratio(requests.get(Outcome::Hit) + self.origin_answers(), requests.total())
    }

    /// Returns the warnings of the configuration, and those that follow from the readings.
    pub(super) fn warnings(&self) -> Vec<String> {
        let mut warnings = self.warnings.clone();
        let shared_cookies = self.requests.totals.stored_cookies;
        if shared_cookies > 0 {
            warnings.push(format!(
                "{shared_cookies} responses were stored with their Set-Cookie (`set_cookie = \"obey\"`), so several \
                 visitors may have received the same cookie. If it identifies a session or a user, set \
                 `set_cookie = \"never-store\"` there and purge the cached responses; the log names the first URL."
            ));
        }
        let cookies = self.requests.totals.not_stored(Reason::SetCookie);
        if cookies > 0 {
            let remedy = Reason::SetCookie.remedy();
            warnings.push(format!("{cookies} responses were not stored because they set a cookie. {remedy}"));
        }
        let personalised = self.requests.personalised.urls.len();
        if personalised > 0 {
            warnings.push(format!(
                "{personalised} URLs return different content per user without `Vary` or `private`: see `personalised` in \
                 /stats. {}",
                Reason::Personalised.remedy()
            ));
        }
        if let Some(reload) = self.reload.as_ref().filter(|reload| !reload.applied) {
            warnings.push(format!(
                "The last reload ({}) failed; the previous configuration stays in force. See `reload` in /stats, or \
                 run `larder check`.",
                reload.by
            ));
        }
        if self.log_dropped > 0 {
            warnings.push(format!(
                "{} access log lines were dropped: the log destination is too slow or full.",
                self.log_dropped
            ));
        }
        warnings
    }

    /// Returns the probability that the next new key has the same hash as a stored key.
    pub(super) fn collision_of_next_key(&self) -> f64 {
        // 1 − (1 − 2⁻¹²⁸)ⁿ, in the form that keeps its digits.
        -f64::exp_m1(self.store.keys as f64 * f64::ln_1p(-1.0 / HASHES))
    }

    /// Returns the expected number of pairs of stored keys that share a hash.
    pub(super) fn colliding_pairs(&self) -> f64 {
        let keys = self.store.keys as f64;
        // n(n−1)/2 pairs, each with probability 2⁻¹²⁸. Clamped, since n − 1 is negative for an
        // empty map.
        keys * (keys - 1.0).max(0.0) / 2.0 / HASHES
    }
}

/// Returns `part / whole`; `None` if `whole` is zero.
pub(super) fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::analytics::NonHitRequest;
    use crate::analytics::shadow::ObservedRequest;
    use crate::metrics::Metrics;
    use crate::outcome::{Decision, Ending, ResponseEnd, StoreOutcome, WouldBeOutcome};
    use crate::stored::DifferingCredentials;

    /// Readings of a process with one of most events, and with a route whose name needs escaping.
    pub(in super::super) fn busy() -> Readings {
        let metrics = Arc::new(Metrics::new(vec!["/img/".into(), "/a\"b\\c\n{}".into()]));
        let local = metrics.local();
        let end = |body_bytes, micros| ResponseEnd {
            ending: Ending::Complete,
            body_bytes,
            elapsed: Duration::from_micros(micros),
        };
        let new = Decision::new;
        for nth in 0..6 {
            let hit = Decision { route: Some(0), ..new(Outcome::Hit, Reason::Fresh) };
            local.record(&hit, &end(1000, 10 + nth));
        }
        let miss = Decision { fwd_status: Some(200), route: Some(1), ..new(Outcome::Miss, Reason::UriMiss) };
        local.record(&Decision { stored: StoreOutcome::Started, ..miss }, &end(1000, 20_000));
        local.record(&Decision { stored: StoreOutcome::No(Reason::SetCookie), ..miss }, &end(500, 30_000));
        local.record(
            &Decision { collapsed: true, ..miss },
            &ResponseEnd { ending: Ending::ClientGone, ..end(500, 30_000) },
        );
        let stale = new(Outcome::Stale, Reason::WhileRevalidate);
        local.record(&stale, &end(1000, 12));
        local.record_refresh();
        (0..3).for_each(|_| local.record_stored_cookie());
        let revalidated = Decision { fwd_status: Some(304), ..new(Outcome::Revalidated, Reason::Expired) };
        local.record(&revalidated, &end(1000, 9_000));
        let pass = Decision { fwd_status: Some(200), ..new(Outcome::Pass, Reason::Method) };
        local.record(&pass, &ResponseEnd { ending: Ending::Aborted(Reason::Incomplete), ..end(0, 5_000) });
        local.record(&new(Outcome::Refused, Reason::BadRequest), &end(0, 3));
        local.record(&new(Outcome::Failed, Reason::ConnectionRefused), &end(0, 700));
        for would in
            [WouldBeOutcome::new(Outcome::Hit, Reason::Fresh), WouldBeOutcome::new(Outcome::Miss, Reason::NoStore)]
        {
            let passed = ObservedRequest { would, row: Some(0), body_bytes: 10, origin_micros: 3_000_000 };
            local.shadow(|tables| tables.record("http://h/", &passed));
        }
        let differing = |cookie, authorization| DifferingCredentials { cookie, authorization };
        for micros in [40_000, 60_000] {
            let decision = Decision { fwd_status: Some(503), stored: StoreOutcome::No(Reason::SetCookie), ..miss };
            let at = Timestamp::from_secs(1_000_000);
            let non_hit = NonHitRequest {
                url: "http://h/slow".into(),
                status: 503,
                origin_time: Some(end(0, micros).elapsed),
                at,
            };
            local.record_non_hit(&non_hit, &decision, &end(700, micros));
        }
        local.record_personalised("http://h/", differing(true, false));
        local.record_personalised("http://h/account", differing(true, false));
        local.record_personalised("http://h/account", differing(false, true));
        Readings {
            requests: metrics.snapshot(),
            store: store::StoreStats {
                capacity_bytes: 64 << 20,
                alive_bytes: 3 << 20,
                stored_bytes: 2 << 20,
                keys: 1_000_000,
                raw_bytes: 4 << 20,
                held_bytes: 1 << 20,
                evicted_by_size: 1,
                evicted_by_age: 2,
                evicted_by_purge: 3,
                replaced: 4,
                refused: 5,
                collisions: 0,
                ledger_records: 6,
                ledger_sequence: 7,
                swept_through: 6,
                swept_keys: 1_000,
                swept_freed: 22,
            },
            is_ready: true,
            flights: 8,
            connections: 9,
            connections_max: 1_000,
            origin: origin::OriginStats {
                permits_max: 24,
                permits_in_use: 11,
                permits_waiting: 12,
                permits_refused: 13,
                breaker: origin::BreakerState::Open,
                breaker_opened: 14,
                breaker_refused: 15,
            },
            admin_connections: AdminConnections { connections: 24, connections_max: 25, turned_away: 26, closed: 27 },
            server: ServerSnapshot {
                accepted: 16,
                accept_errors: 17,
                panics: 18,
                closed_in_head: 19,
                closed_idle: 20,
                closed_in_body: 21,
                reloads_applied: 22,
                reloads_refused: 23,
            },
            log_dropped: 10,
            traces: trace::ExportStats { exported: 11, dropped: 12 },
            warnings: vec!["of the configuration".into()],
            reload: None,
            in_force_since: Timestamp::from_secs(1_000_000),
            uptime: Duration::from_millis(12_345),
        }
    }

    /// A reload that was refused.
    pub(in super::super) fn refused() -> ReloadResult {
        ReloadResult {
            at_unix_seconds: 1_000_100,
            by: "SIGHUP".into(),
            applied: false,
            problems: Vec::new(),
            needs_restart: Vec::new(),
        }
    }

    /// Readings of a process without any requests.
    pub(in super::super) fn idle() -> Readings {
        Readings {
            requests: Arc::new(Metrics::new(Vec::new())).snapshot(),
            store: store::StoreStats::default(),
            flights: 0,
            connections: 0,
            origin: origin::OriginStats::default(),
            admin_connections: AdminConnections::default(),
            server: ServerSnapshot::default(),
            log_dropped: 0,
            traces: trace::ExportStats::default(),
            warnings: Vec::new(),
            reload: None,
            ..busy()
        }
    }

    #[test]
    fn expected_collisions_keep_their_digits() {
        let check = |keys: u64, next: f64, pairs: f64| {
            let readings = Readings { store: store::StoreStats { keys, ..Default::default() }, ..idle() };
            let close = |printed: f64, exact: f64| (printed - exact).abs() <= exact * 1e-12;
            assert!(close(readings.collision_of_next_key(), next), "{keys}: {}", readings.collision_of_next_key());
            assert!(close(readings.colliding_pairs(), pairs), "{keys}: {}", readings.colliding_pairs());
        };
        check(0, 0.0, 0.0);
        check(1, 2.0_f64.powi(-128), 0.0);
        check(2, 2.0_f64.powi(-127), 2.0_f64.powi(-128));
        check(1 << 20, 2.0_f64.powi(-108), 2.0_f64.powi(-129) * 1_048_576.0 * 1_048_575.0);
    }

    #[test]
    fn warnings_come_from_the_configuration_and_the_readings() {
        let warnings = busy().warnings();
        assert_eq!(warnings.len(), 5);
        assert_eq!(warnings[0], "of the configuration");
        assert!(warnings[1].starts_with("3 responses were stored with their Set-Cookie"));
        assert!(warnings[2].starts_with("1 responses were not stored because they set a cookie. Stop setting"));
        assert!(warnings[3].starts_with("2 URLs return different content per user"));
        assert!(warnings[4].starts_with("10 access log lines"));
        assert!(idle().warnings().is_empty());
    }

    #[test]
    fn a_ratio_of_nothing_is_none() {
        assert_eq!((ratio(0, 0), ratio(0, 4), ratio(3, 4)), (None, Some(0.0), Some(0.75)));
    }
}
