//! Puts decisions into words: the parts of a report. Nothing is decided here.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, Method, header};

use super::forecast::{Forecast, ForecastAction};
use super::report::{
    Explanation, FailureReport, FreshnessReport, GuardReport, JudgementReport, NowReport, RenditionReport, RouteReport,
    RuleStep, StaleUseReport, Subject, VariantReport, WouldBeReport,
};
use crate::clock::Timestamp;
use crate::key::{CanonicalUrl, Key};
use crate::outcome::{Decision, Outcome, Reason};
use crate::policy::{Admission, PurgeState, freshness};
use crate::proxy::decide::StoragePlan;
use crate::route::{self, CacheMode, QueryRule, RouteMode, Rule, Table};
use crate::stored::{self, Facts, SharingGuard, StoredEntry};

fn rule_step(about: &str, says: impl Into<String>, section: Option<&str>) -> RuleStep {
    RuleStep { about: about.to_owned(), says: says.into(), section: section.map(str::to_owned) }
}

/// Describes a reason as a step.
pub(super) fn explanation(about: &str, reason: Reason) -> RuleStep {
    rule_step(about, reason.why(), reason.section())
}

/// Describes how the URL was read.
pub(super) fn url_steps(url: Option<&CanonicalUrl>) -> Vec<RuleStep> {
    let read = |url: &CanonicalUrl| {
        rule_step("url", format!("Canonical URL: {}.", url.as_str()), Some("RFC 3986 §6.2.2, RFC 9110 §7.1"))
    };
    url.map(read).into_iter().collect()
}

/// Describes which route was chosen.
pub(super) fn route_step(table: &Table, rule: &Rule) -> RuleStep {
    let says = match rule.index {
        None => "No route matches: the defaults apply.".to_owned(),
        Some(index) => {
            let matcher = table.matcher(index);
            let path = matcher.and_then(|matcher| matcher.path.as_ref()).map(|path| format!(" (`{}`)", path.as_str()));
            let number = route::number(index);
            format!("Route {number}{} is the first match.", path.unwrap_or_default())
        }
    };
    rule_step("route", says, None)
}

/// Describes that a request is looked up.
pub(super) fn method_step(method: &Method) -> RuleStep {
    rule_step("request", format!("A {method} request without content is looked up in the cache."), Some("RFC 9111 §4"))
}

/// Describes which stored response a request selects.
pub(super) fn selection_step(entry: &StoredEntry, among: usize) -> RuleStep {
    let names: Vec<&str> = entry.selecting.iter().map(|(name, _)| name.as_str()).collect();
    let says = match names.as_slice() {
        [] => "The stored response varies on no request header.".to_owned(),
        names => format!("One of {among} stored variants matches the request's {}.", names.join(", ")),
    };
    rule_step("store", says, Some("RFC 9111 §4.1"))
}

/// Describes how fresh a stored response is.
pub(super) fn lifetime_step(facts: &Facts, now: Timestamp) -> RuleStep {
    let (age, lifetime) = (freshness::current_age(facts, now).as_secs(), facts.lifetime.as_secs());
    let word = if freshness::is_fresh(facts, now) { "Fresh" } else { "Stale" };
    let says = format!("{word}: {age} s old, lifetime {lifetime} s. {}", facts.lifetime_source.says());
    rule_step("freshness", says, Some("RFC 9111 §4.2"))
}

/// Describes the state in the purge ledger, unless the entry is untouched.
pub(super) fn purge_step(purge_state: PurgeState) -> Option<RuleStep> {
    let says = match purge_state {
        PurgeState::Good => return None,
        PurgeState::Invalid => "The entry was invalidated: it is validated with the origin before its next use.",
        PurgeState::Soft => "The entry was soft-purged: it is served stale while one request refreshes it.",
        PurgeState::Purged => "The entry was purged: it is discarded, including its validators.",
    };
    Some(rule_step("purge", says, (purge_state == PurgeState::Invalid).then_some("RFC 9111 §4.4")))
}

/// Describes what the guard decides, unless the entry is open to all.
pub(super) fn guard_step(admission: Admission) -> Option<RuleStep> {
    let says = match admission {
        Admission::Open => return None,
        Admission::Watched => {
            "The entry is shared with requests that have other credentials or none; a sample of its uses is checked."
        }
        Admission::Probation => {
            "A request with other credentials brought the entry in, and the response does not say that it is for all."
        }
    };
    Some(rule_step("guard", says, None))
}

/// Describes the subject of a request.
pub(super) fn subject(method: &Method, url: Option<&CanonicalUrl>, key: Option<&Key>) -> Subject {
    Subject {
        method: method.to_string(),
        url: url.map(|url| url.as_str().to_owned()),
        key: key.map(|key| key.text().to_owned()),
        key_hash: key.map(|key| format!("{:032x}", key.hash())),
    }
}

/// Describes the route that was chosen.
pub(super) fn route(table: &Table, rule: &Rule) -> RouteReport {
    let matcher = rule.index.and_then(|index| table.matcher(index));
    RouteReport {
        number: rule.index.map(route::number),
        path: matcher.and_then(|matcher| matcher.path.as_ref()).map(|path| path.as_str().to_owned()),
        host: matcher.and_then(|matcher| matcher.host.as_deref()).map(str::to_owned),
        methods: matcher.map(|matcher| matcher.methods.iter().map(Method::to_string).collect()).unwrap_or_default(),
        mode: match rule.mode {
            RouteMode::Serve => "serve",
            RouteMode::Shadow => "shadow",
        }
        .to_owned(),
        cache: match rule.cache {
            CacheMode::Obey => "obey",
            CacheMode::Force => "force",
            CacheMode::Bypass => "bypass",
        }
        .to_owned(),
        ttl_seconds: rule.ttl.map(|ttl| ttl.as_secs()),
        key: key_parts(rule),
    }
}

/// Describes what a route does to the key.
fn key_parts(rule: &Rule) -> Vec<String> {
    let list = |names: &[Box<str>]| names.join(", ");
    let query = match &rule.query {
        QueryRule::All => None,
        QueryRule::None => Some("The query is dropped.".to_owned()),
        QueryRule::Keep(names) => Some(format!("Only these query parameters count: {}.", list(names))),
        QueryRule::Drop(names) => Some(format!("These query parameters are dropped: {}.", list(names))),
    };
    let fields: Vec<&str> = rule.key_headers.iter().map(HeaderName::as_str).collect();
    let fields =
        (!fields.is_empty()).then(|| format!("The values of these request headers count: {}.", fields.join(", ")));
    let cookies = &rule.key_cookies;
    let cookies = (!cookies.is_empty()).then(|| format!("The values of these cookies count: {}.", list(cookies)));
    [query, fields, cookies].into_iter().flatten().collect()
}

/// Describes a stored response, except for the parts that depend on the request.
pub(super) fn variant(entry: &StoredEntry, now: Timestamp) -> VariantReport {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let field = |name: &HeaderName| entry.head.get(name).map(text);
    let value = |value: &Option<Box<[u8]>>| value.as_deref().map(text);
    VariantReport {
        selected: false,
        vary: entry.selecting.iter().map(|(name, text)| (name.to_string(), value(text))).collect::<BTreeMap<_, _>>(),
        status: entry.facts.status.as_u16(),
        freshness: freshness_of(&entry.facts, now),
        etag: field(&header::ETAG),
        last_modified: field(&header::LAST_MODIFIED),
        tags: entry.tags.iter().map(|tag| tag.to_string()).collect(),
        body_bytes: entry.body.identity_bytes,
        held: entry
            .body
            .renditions
            .iter()
            .map(|rendition| RenditionReport {
                coding: rendition.coding.token().to_owned(),
                bytes: rendition.bytes.len() as u64,
            })
            .collect(),
        memory_bytes: entry.bytes() as u64,
        tier: "memory".to_owned(),
        guard: None,
        purge: purge_state(PurgeState::Good).to_owned(),
    }
}

/// Names the state in the purge ledger.
pub(super) const fn purge_state(purge_state: PurgeState) -> &'static str {
    match purge_state {
        PurgeState::Good => "untouched",
        PurgeState::Invalid => "to-be-validated",
        PurgeState::Soft => "soft-purged",
        PurgeState::Purged => "purged",
    }
}

/// Describes what the guard knows.
pub(super) fn guard(guard: &SharingGuard, admission: Admission) -> GuardReport {
    let leader = guard.leader();
    let fields = [("Cookie", leader.cookie.is_some()), ("Authorization", leader.authorization.is_some())];
    GuardReport {
        state: if guard.is_shared() { "shared" } else { "probation" }.to_owned(),
        brought_in_with: fields.iter().filter(|(_, had)| *had).map(|(name, _)| (*name).to_owned()).collect(),
        to_this_request: admission_token(admission).to_owned(),
    }
}

fn freshness_of(facts: &Facts, now: Timestamp) -> FreshnessReport {
    let secs = |span: Duration| span.as_secs();
    FreshnessReport {
        age_seconds: secs(freshness::current_age(facts, now)),
        lifetime_seconds: secs(facts.lifetime),
        lifetime_from: facts.lifetime_source.token().to_owned(),
        lifetime_says: facts.lifetime_source.says().to_owned(),
        ttl_seconds: freshness::ttl(facts, now),
        fresh: freshness::is_fresh(facts, now),
        no_cache: facts.no_cache,
        stale_use: match facts.stale {
            stored::StaleUse::Forbidden => None,
            stored::StaleUse::Within { while_revalidate, if_unreachable, if_error_status } => Some(StaleUseReport {
                while_revalidate_seconds: secs(while_revalidate),
                if_unreachable_seconds: secs(if_unreachable),
                if_error_seconds: secs(if_error_status),
            }),
        },
    }
}

/// Describes what happens to a request.
pub(super) fn now(forecast: &Forecast, if_origin_fails: Option<FailureReport>) -> NowReport {
    let decision = &forecast.decision;
    NowReport {
        action: match forecast.action {
            ForecastAction::Answer => "answer",
            ForecastAction::Fetch => "fetch",
            ForecastAction::Compare => "compare",
            ForecastAction::Pass => "pass",
            ForecastAction::Purge => "purge",
            ForecastAction::Refuse => "refuse",
            ForecastAction::Fail => "fail",
        }
        .to_owned(),
        says: summary(forecast),
        outcome: decision.outcome.token().to_owned(),
        because: Explanation::from(decision.reason),
        asks_origin: forecast.asks_origin(),
        conditional: forecast.is_conditional,
        waits: forecast.waits,
        refreshes: forecast.refreshes,
        status: forecast.answer.map(|(status, _)| status),
        coding: forecast.answer.and_then(|(_, coding)| coding).map(|coding| coding.token().to_owned()),
        ttl_seconds: decision.ttl,
        if_origin_fails,
        would_be: decision.would.map(|would| WouldBeReport {
            outcome: would.outcome.token().to_owned(),
            because: Explanation::from(would.reason),
        }),
    }
}

/// Describes what live mode would do with a request that shadow mode passes.
pub(super) fn unserved_sentence(forecast: &Forecast) -> String {
    let Decision { outcome, reason, .. } = forecast.decision;
    format!(
        "The request passes to the origin, since its route is in shadow mode. In live mode: {} Outcome: {} ({reason}), \
         going by what shadow mode has kept.",
        summary(forecast),
        outcome.token()
    )
}

fn summary(forecast: &Forecast) -> String {
    let says = match forecast.action {
        ForecastAction::Answer if forecast.decision.outcome == Outcome::Hit => "Served from cache.",
        ForecastAction::Answer if forecast.refreshes => {
            "Served from cache, while a background request refreshes the entry."
        }
        ForecastAction::Answer => "Served stale from cache.",
        ForecastAction::Fetch if forecast.waits => {
            "Waits for another request's fetch of the same URL, which is under way."
        }
        ForecastAction::Fetch if forecast.is_conditional => {
            "The origin is asked to validate the stored response: a 304 serves it, else the new response is served."
        }
        ForecastAction::Fetch => "Fetched from the origin; concurrent requests for the same URL wait for it.",
        ForecastAction::Compare => {
            "Sent to the origin, and compared with the stored response; similar requests wait for the result."
        }
        ForecastAction::Pass => "Sent to the origin (not shared).",
        ForecastAction::Purge => "Larder purges the responses stored under the URL.",
        ForecastAction::Refuse => "Larder answers itself.",
        ForecastAction::Fail => {
            "Rejected at once: the origin is unavailable or at capacity, and nothing stored may be served instead."
        }
    };
    says.to_owned()
}

/// Describes what becomes of a response.
pub(super) fn judgement(
    facts: &Facts,
    at: Timestamp,
    plan: Result<StoragePlan, Reason>,
    guarded: bool,
) -> JudgementReport {
    let (vary, tags) = plan.as_ref().map_or_else(
        |_| Default::default(),
        |plan| {
            let names: Vec<String> = plan.names.iter().map(HeaderName::to_string).collect();
            let tags: Vec<String> = plan.tags.iter().map(|tag| tag.to_string()).collect();
            (names, tags)
        },
    );
    JudgementReport {
        status: facts.status.as_u16(),
        stored: plan.is_ok(),
        because: plan.err().map(Explanation::from),
        freshness: freshness_of(facts, at),
        vary,
        tags,
        guarded,
    }
}

/// Names the guard's decision about a request.
const fn admission_token(admission: Admission) -> &'static str {
    match admission {
        Admission::Open => "open",
        Admission::Watched => "watched",
        Admission::Probation => "probation",
    }
}
