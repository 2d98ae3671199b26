//! The filter of a client that follows requests live.
//!
//! Values of one kind are alternatives; every kind that has values must match. An unknown value is
//! an error that lists the known ones: a filter that can never match would look like a quiet
//! server.

use super::line::LogLine;
use crate::outcome::{Ending, Outcome, Reason, StoreOutcome};
use crate::route::{PathPattern, merged};

/// The most values of a filter: each line is compared with all of them.
const VALUES_MAX: usize = 32;

/// The kinds of values.
const KINDS: &str = "outcome, reason, path, status, route";

/// A filter; without values every request passes.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    outcomes: Vec<Outcome>,
    reasons: Vec<Reason>,
    paths: Vec<PathPattern>,
    statuses: Vec<Statuses>,
    routes: Vec<Option<u16>>,
}

/// A range of statuses, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Statuses(u16, u16);

impl Filter {
    /// Reads pairs of kind and value, such as `outcome=hit`, `reason=private`, `path=/shop/`,
    /// `status=5xx`, `route=1`.
    ///
    /// # Errors
    /// A sentence that says what is wrong, and what to write instead.
    pub fn read<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let mut filter = Self::default();
        for (nth, (kind, value)) in pairs.into_iter().enumerate() {
            if nth == VALUES_MAX {
                return Err(format!("a filter has at most {VALUES_MAX} values"));
            }
            match kind {
                "outcome" => filter.outcomes.push(by_token(Outcome::ALL, value, "outcome", |outcome| outcome.token())?),
                "reason" => filter.reasons.push(by_token(Reason::ALL, value, "reason", |reason| reason.token())?),
                "path" => filter.paths.push(PathPattern::parse(value)?),
                "status" => filter.statuses.push(statuses(value)?),
                "route" => filter.routes.push(route(value)?),
                other => return Err(format!("unknown filter `{other}`; use one of {KINDS}")),
            }
        }
        Ok(filter)
    }

    /// Tells whether a line passes.
    pub(super) fn passes(&self, line: &LogLine<'_>) -> bool {
        let any = |is_empty: bool, is_any: bool| is_empty || is_any;
        let path = merged(line.target.split('?').next().unwrap_or_default());
        any(self.outcomes.is_empty(), self.outcomes.contains(&line.decision.outcome))
            && any(self.statuses.is_empty(), self.statuses.iter().any(|range| range.has(line.status)))
            && any(self.routes.is_empty(), self.routes.contains(&line.decision.route))
            && any(self.reasons.is_empty(), self.reasons.iter().any(|reason| gives(line, *reason)))
            && any(self.paths.is_empty(), self.paths.iter().any(|pattern| pattern.matches(&path)))
    }
}

impl Statuses {
    fn has(self, status: u16) -> bool {
        (self.0..=self.1).contains(&status)
    }
}

/// Tells whether a line has this reason: for its outcome, for not storing, or for an aborted body.
fn gives(line: &LogLine<'_>, reason: Reason) -> bool {
    line.decision.reason == reason
        || line.decision.stored == StoreOutcome::No(reason)
        || line.end.ending == Ending::Aborted(reason)
}

/// Finds the member of a closed list that has this token.
fn by_token<T: Copy>(all: &[T], value: &str, kind: &str, token: impl Fn(T) -> &'static str) -> Result<T, String> {
    all.iter().copied().find(|member| token(*member) == value).ok_or_else(|| {
        let known: Vec<&str> = all.iter().map(|member| token(*member)).collect();
        format!("unknown {kind} `{value}`; use one of {}", known.join(", "))
    })
}

/// Reads `404` or `5xx`.
fn statuses(value: &str) -> Result<Statuses, String> {
    let wrong = || format!("`{value}` is not a status; use one such as 404, or a class such as 5xx");
    let bytes = value.as_bytes();
    if bytes.len() != 3 || !(b'1'..=b'5').contains(&bytes[0]) {
        return Err(wrong());
    }
    if value[1..].eq_ignore_ascii_case("xx") {
        let class = u16::from(bytes[0] - b'0') * 100;
        return Ok(Statuses(class, class + 99));
    }
    let status = value.parse().map_err(|_| wrong())?;
    Ok(Statuses(status, status))
}

/// Reads the position of a route, starting at 1, or `none`; returns the route's index.
fn route(value: &str) -> Result<Option<u16>, String> {
    match value {
        "none" => Ok(None),
        number => number.parse().ok().and_then(|number: u16| number.checked_sub(1)).map(Some).ok_or_else(|| {
            format!("`{value}` is not a route; use its position in the configuration, starting at 1, or \"none\"")
        }),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::outcome::{Decision, ResponseEnd};

    /// Calls `with` on a line of this target and status.
    pub(in super::super) fn line<T>(
        target: &str,
        status: u16,
        decision: Decision,
        with: impl FnOnce(&LogLine<'_>) -> T,
    ) -> T {
        let end = ResponseEnd { ending: Ending::Complete, body_bytes: 5, elapsed: Duration::from_micros(41) };
        with(&LogLine {
            client: [127, 0, 0, 1].into(),
            at: Timestamp::from_secs(0),
            method: "GET",
            target,
            host: "example.org",
            version: http::Version::HTTP_11,
            status,
            referer: None,
            user_agent: None,
            decision: &decision,
            end: &end,
        })
    }

    #[test]
    fn values_are_alternatives_and_kinds_narrow_down() {
        let private =
            Decision { stored: StoreOutcome::No(Reason::Private), ..Decision::new(Outcome::Miss, Reason::UriMiss) };
        let check = |pairs: &[(&str, &str)], passes: bool| {
            let filter = Filter::read(pairs.iter().copied()).unwrap();
            let message = line("/shop/1?a=/b/", 404, private, |line| filter.passes(line));
            assert_eq!(message, passes, "{pairs:?}");
        };
        check(&[], true);
        check(&[("outcome", "miss")], true);
        check(&[("outcome", "hit"), ("outcome", "miss")], true);
        check(&[("outcome", "hit")], false);
        check(&[("reason", "uri-miss")], true);
        check(&[("reason", "private")], true);
        check(&[("reason", "no-store")], false);
        check(&[("status", "404")], true);
        check(&[("status", "4xx")], true);
        check(&[("status", "5XX"), ("status", "403")], false);
        check(&[("path", "/shop")], true);
        check(&[("path", "/shop/")], true);
        check(&[("path", "/sho")], false);
        check(&[("path", "/*/1")], true);
        check(&[("path", "/b/")], false);
        check(&[("route", "none")], true);
        check(&[("route", "1")], false);
        check(&[("outcome", "miss"), ("status", "200")], false);
        check(&[("outcome", "miss"), ("status", "404"), ("path", "/shop/**"), ("reason", "private")], true);
    }

    #[test]
    fn an_unknown_value_is_an_error_that_lists_the_known_ones() {
        let check = |kind: &str, value: &str, message: &str| {
            let error = Filter::read([(kind, value)]).unwrap_err();
            assert!(error.contains(message), "{kind}={value}: {error}");
        };
        check("outcome", "Hit", "hit, stale, revalidated, miss");
        check("reason", "none", "fresh, uri-miss");
        check("path", "shop", "does not start with `/`");
        check("path", "/[", "");
        check("status", "40", "5xx");
        check("status", "0xx", "5xx");
        check("status", "4é", "5xx");
        check("route", "-1", "starting at 1");
        check("route", "0", "starting at 1");
        check("host", "a", "outcome, reason, path, status, route");
        assert!(Filter::read([("status", "200"); VALUES_MAX]).is_ok());
        assert!(Filter::read([("status", "200"); VALUES_MAX + 1]).is_err());
    }
}
