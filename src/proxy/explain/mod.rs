//! Forecasts what would happen to a request now, and why, without asking the origin.
//!
//! The request takes the same path as any other, up to the first effect: the functions that `serve`
//! and `fetch` decide with are called here in the same order, and their results are put into words.
//! Nothing is decided here.
//!
//! Everything up to the origin's answer is known beforehand. If the head of a response is given, it
//! is judged as the origin's answer would be.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{Method, Request, header};

use self::forecast::{Forecast, ForecastAction};
use super::decide::{self, CacheMiss, FetchPlan, LookupResult};
use super::fetch::received::ReceivedHead;
use super::purge;
use super::request::client::Client;
use super::request::context::{self, Action, EarlyResponse, RequestContext};
use super::respond::{answer, rescue};
use super::sharing::probation;
use super::state::Shared;
use crate::clock::Timestamp;
use crate::key::CanonicalUrl;
use crate::origin;
use crate::outcome::{Decision, Outcome, Reason, WouldBeOutcome};
use crate::policy::reuse::OriginFailure;
use crate::policy::storable::{self, Storable, storable, storable_post};
use crate::policy::{freshness, vary};
use crate::route::RouteMode;
use crate::stored::StoredEntry;

mod forecast;
mod question;
mod report;
mod wording;

pub(crate) use question::{AgeBase, Question, QuestionError, RESPONSE_BYTES_MAX, ResponseHead, heads};
pub(crate) use report::{
    ExplainReport, Explanation, FailureReport, FreshnessReport, JudgementReport, RuleStep, VariantReport,
};

/// A request, read as `serve` reads it.
struct Explainer<'a> {
    shared: &'a Shared,
    ctx: RequestContext,
    action: Action,
    now: Timestamp,
}

/// Explains what would happen to a request now. `barred` is the reason why the origin's permits
/// would turn the request away at once, if they would ([`origin::Permits::outlook`]).
///
/// # Errors
/// A URL that no request can carry.
pub(crate) fn explain(
    shared: &Shared,
    barred: Option<Reason>,
    question: &Question,
) -> Result<ExplainReport, QuestionError> {
    let mut parts = question.parts()?;
    let scheme = question.url.scheme();
    let client = Client::untrusted(IpAddr::V4(Ipv4Addr::LOCALHOST), &parts);
    let url = context::canonical(scheme, &parts);
    let notes = notes(shared, question, url.as_ref());
    let mut report = match RequestContext::from_head(shared, client, scheme, &mut parts, question.content()) {
        Err(refusal) => forecast_refusal(shared, &refusal, &question.method, url.as_ref()),
        Ok((ctx, action)) => {
            let read = Explainer { shared, ctx, action, now: shared.clock.now() };
            read.report(barred, question, url.as_ref())
        }
    };
    report.notes.splice(0..0, notes);
    Ok(report)
}

/// Notes what the question leaves open.
fn notes(shared: &Shared, question: &Question, url: Option<&CanonicalUrl>) -> Vec<String> {
    let mut notes = Vec::new();
    let scheme = question.url.scheme();
    if url.is_some() && scheme != shared.config.scheme {
        let own = shared.config.scheme.as_str();
        let whose = if shared.config.trusted_proxies.is_empty() {
            "no request can have it, since `trusted_proxies` under [server] is empty".to_owned()
        } else {
            "only requests from `trusted_proxies` with that X-Forwarded-Proto have it".to_owned()
        };
        notes.push(format!("The URL's scheme is {}, but `scheme` under [server] is {own}: {whose}.", scheme.as_str()));
    }
    notes
}

/// Forecasts a request that is answered before it is read completely.
fn forecast_refusal(
    shared: &Shared,
    refusal: &EarlyResponse,
    method: &Method,
    url: Option<&CanonicalUrl>,
) -> ExplainReport {
    let decision = refusal.decision();
    let action = if decision.outcome == Outcome::Own { ForecastAction::Answer } else { ForecastAction::Refuse };
    let mut forecast = Forecast::new(action, decision);
    forecast.answer = Some((refusal.status.as_u16(), None));
    let rule = url.map(|url| shared.routes.choose(method, url));
    let mut rules = wording::url_steps(url);
    rules.push(wording::explanation("request", refusal.reason));
    ExplainReport {
        request: wording::subject(method, url, None),
        route: rule.map(|rule| wording::route(&shared.routes, rule)),
        stored: Vec::new(),
        now: wording::now(&forecast, None),
        rules,
        response: None,
        notes: Vec::new(),
    }
}

impl Explainer<'_> {
    fn report(&self, barred: Option<Reason>, question: &Question, url: Option<&CanonicalUrl>) -> ExplainReport {
        let (shared, ctx) = (self.shared, &self.ctx);
        let mut rules = wording::url_steps(url);
        rules.push(wording::route_step(&shared.routes, &ctx.rule));
        let mut forecast = self.forecast();
        rules.extend(self.rules(&forecast));
        let mut notes = Vec::new();
        if ctx.rule.mode == RouteMode::Shadow && self.action == Action::LookUp {
            rules.push(wording::explanation("answer", Reason::Shadow));
            notes.push(wording::unserved_sentence(&forecast));
            forecast = self.forecast_shadow(&forecast);
        }
        if let Some(reason) = barred.filter(|_| forecast.asks_origin() && !forecast.waits) {
            rules.push(wording::explanation("origin", reason));
            self.bar(&mut forecast, reason);
        }
        let response = question.response.as_ref().map(|head| self.judge(head, &mut notes));
        let unasked = match forecast.action {
            ForecastAction::Pass => Some("pass"),
            ForecastAction::Refuse => Some("be refused"),
            _ => None,
        };
        if let Some(what) = unasked.filter(|_| response.as_ref().is_some_and(|judgement| judgement.stored))
            && self.action == Action::LookUp
        {
            let reason = forecast.decision.reason;
            notes.push(format!("Sent now, the request would {what} ({reason}), and its response would not be stored."));
        }
        ExplainReport {
            request: wording::subject(&ctx.method, url, Some(&ctx.key)),
            route: Some(wording::route(&shared.routes, &ctx.rule)),
            stored: self.variants(),
            now: wording::now(&forecast, self.forecast_failure(&forecast)),
            rules,
            response,
            notes,
        }
    }

    /// Forecasts a PURGE.
    fn forecast_purge(&self) -> Forecast {
        let ctx = &self.ctx;
        let (action, outcome, reason, status) = match purge::decide(&self.shared.config, ctx) {
            Ok(_kind) => (ForecastAction::Purge, Outcome::Own, Reason::Purge, 200),
            Err((status, reason)) => (ForecastAction::Refuse, Outcome::Refused, reason, status.as_u16()),
        };
        Forecast { answer: Some((status, None)), ..Forecast::new(action, ctx.decision(outcome, reason)) }
    }

    /// Follows the path of the request up to its first effect.
    fn forecast(&self) -> Forecast {
        let (shared, ctx) = (self.shared, &self.ctx);
        match self.action {
            Action::LookUp => {}
            Action::Pass(reason) => return Forecast::new(ForecastAction::Pass, ctx.decision(Outcome::Pass, reason)),
            Action::Purge => return self.forecast_purge(),
        }
        match decide::look_up(shared, ctx, ctx.at) {
            LookupResult::Usable(usable) => {
                Forecast { refreshes: usable.refresh, ..self.forecast_answer(usable.decision, &usable.entry) }
            }
            LookupResult::OnlyIfCached => {
                let decision = ctx.decision(Outcome::Refused, Reason::OnlyIfCached);
                Forecast { answer: Some((504, None)), ..Forecast::new(ForecastAction::Refuse, decision) }
            }
            LookupResult::PassThrough(reason, stand_in) => {
                let decision = ctx.decision(Outcome::Pass, reason);
                Forecast { stand_in, ..Forecast::new(ForecastAction::Pass, decision) }
            }
            LookupResult::OnProbation(entry) => {
                let pass = decide::pass_uncompared(shared, ctx, &entry);
                let waits = entry.guard.as_ref().is_some_and(|guard| shared.sharing.is_comparing(guard));
                Forecast { stand_in: pass.stand_in, waits, ..Forecast::new(ForecastAction::Compare, pass.decision) }
            }
            LookupResult::Missing(missing) => match decide::plan_fetch(shared, ctx, &missing, None) {
                FetchPlan::PassThrough(decision) => {
                    Forecast { stand_in: missing.selected, ..Forecast::new(ForecastAction::Pass, decision) }
                }
                FetchPlan::Join(name) => self.forecast_fetch(missing, shared.flights.find(&name).is_some()),
                FetchPlan::Unshared => self.forecast_fetch(missing, false),
            },
        }
    }

    /// Forecasts a request in shadow mode that live mode would treat like this.
    fn forecast_shadow(&self, forecast: &Forecast) -> Forecast {
        let Decision { outcome, reason, .. } = forecast.decision;
        let would = WouldBeOutcome { collapsed: forecast.waits, ..WouldBeOutcome::new(outcome, reason) };
        let decision = Decision { would: Some(would), ..self.ctx.decision(Outcome::Pass, Reason::Shadow) };
        Forecast::new(ForecastAction::Pass, decision)
    }

    fn forecast_fetch(&self, missing: CacheMiss, waits: bool) -> Forecast {
        let (shared, ctx) = (self.shared, &self.ctx);
        let (stored, selected) = (missing.stored.as_deref(), missing.selected.as_ref());
        let is_conditional = !decide::candidates(shared, ctx, stored, selected).is_empty();
        let decision = ctx.decision(Outcome::Miss, missing.reason);
        let stand_in = missing.selected;
        Forecast { stand_in, is_conditional, waits, ..Forecast::new(ForecastAction::Fetch, decision) }
    }

    fn forecast_answer(&self, decision: Decision, entry: &StoredEntry) -> Forecast {
        let (status, coding) = answer::outlook(&self.ctx, entry);
        let answer = Some((status.as_u16(), Some(coding)));
        Forecast { answer, ..Forecast::new(ForecastAction::Answer, decision) }
    }

    /// Changes the forecast of a request that the origin's permits turn away at once.
    fn bar(&self, forecast: &mut Forecast, reason: Reason) {
        let (shared, ctx) = (self.shared, &self.ctx);
        let stand_in =
            decide::usable_stand_in(shared, ctx, forecast.stand_in.as_ref(), OriginFailure::Unreachable, self.now);
        *forecast = match stand_in {
            Some(entry) => self.forecast_answer(decide::stale_decision(shared, ctx, entry), entry),
            None => Forecast {
                answer: Some((rescue::status_of(reason).as_u16(), None)),
                ..Forecast::new(ForecastAction::Fail, ctx.decision(Outcome::Failed, reason))
            },
        };
    }

    /// Forecasts the answer if the origin fails.
    fn forecast_failure(&self, forecast: &Forecast) -> Option<FailureReport> {
        if !forecast.asks_origin() {
            return None;
        }
        let stands_in = |failure| {
            let stand_in = forecast.stand_in.as_ref();
            decide::usable_stand_in(self.shared, &self.ctx, stand_in, failure, self.now).is_some()
        };
        let word = |stands_in, otherwise: &str| if stands_in { "stale" } else { otherwise }.to_owned();
        Some(FailureReport {
            unreachable: word(stands_in(OriginFailure::Unreachable), "failed"),
            server_error: word(stands_in(OriginFailure::ServerError), "passed"),
        })
    }

    /// Lists the rules behind the forecast, after those of URL and route.
    fn rules(&self, forecast: &Forecast) -> Vec<RuleStep> {
        let reason = forecast.decision.reason;
        if self.action != Action::LookUp {
            return vec![wording::explanation("request", reason)];
        }
        let mut rules = vec![wording::method_step(&self.ctx.method)];
        let stored = self.shared.store.get(&self.ctx.key);
        let entries = stored.as_ref().map_or(&[][..], |stored| &stored.entries);
        let Some(entry) = vary::select(entries, &self.ctx.headers) else {
            let missing = if stored.is_some() { Reason::VaryMiss } else { Reason::UriMiss };
            rules.push(wording::explanation("store", missing));
            if reason != missing {
                rules.push(wording::explanation("flight", reason));
            }
            return rules;
        };
        rules.push(wording::selection_step(entry, entries.len()));
        rules.push(wording::lifetime_step(&entry.facts, self.now));
        let purge_state = self.shared.store.purge_state(&self.ctx.key, entry, self.now);
        rules.extend(wording::purge_step(purge_state));
        rules.extend(wording::guard_step(probation::admission(self.shared, &self.ctx, entry)));
        rules.push(wording::explanation("answer", reason));
        rules
    }

    /// Describes the entries stored under the key.
    fn variants(&self) -> Vec<VariantReport> {
        let (shared, ctx) = (self.shared, &self.ctx);
        let Some(stored) = shared.store.get(&ctx.key) else { return Vec::new() };
        let selected = vary::select(&stored.entries, &ctx.headers);
        let variant = |entry: &Arc<StoredEntry>| VariantReport {
            selected: selected.is_some_and(|selected| Arc::ptr_eq(selected, entry)),
            guard: entry.guard.as_deref().map(|guard| {
                let admission = probation::admission(shared, ctx, entry);
                wording::guard(guard, admission)
            }),
            purge: wording::purge_state(shared.store.purge_state(&ctx.key, entry, self.now)).to_owned(),
            ..wording::variant(entry, self.now)
        };
        stored.entries.iter().map(variant).collect()
    }

    /// Judges a response to the request, as a fetch or the answer to a POST does.
    fn judge(&self, head: &ResponseHead, notes: &mut Vec<String>) -> JudgementReport {
        let (shared, ctx) = (self.shared, &self.ctx);
        let received_at = match head.received {
            AgeBase::Now => self.now,
            AgeBase::AtDate => freshness::date_value(&head.headers).unwrap_or(self.now),
        };
        if received_at != self.now {
            notes.push("The response's age counts from its Date, not from now.".to_owned());
        }
        notes.push("A body that turns out too large, or breaks off, is not stored, whatever its head says.".into());
        let as_get = ctx.facts.is_head.then(|| ctx.as_get(shared));
        let ctx = as_get.as_ref().unwrap_or(ctx);
        let exchange = ctx.exchange(received_at, received_at);
        let received = head.as_received_at(received_at);
        let answer = self.may_be_stored(ctx, &exchange, &received, notes).and_then(|facts| {
            let kept_as = if ctx.method == Method::POST { ctx.as_get(shared).rule } else { Arc::clone(&ctx.rule) };
            decide::plan_storage(shared, &kept_as, &received).map(|keeping| (facts, keeping))
        });
        let (facts, keeping) = match answer {
            Ok((facts, keeping)) => (facts, Ok(keeping)),
            Err(reason) => (storable::judge(&exchange, head.status, &head.headers).0, Err(reason)),
        };
        let is_guarded = keeping
            .as_ref()
            .is_ok_and(|keeping| probation::is_guarded(ctx, &facts, &vary::selecting(&keeping.names, &ctx.headers)));
        wording::judgement(&facts, received_at, keeping, is_guarded)
    }

    /// Asks policy whether a response may be stored, after the checks of the origin's client.
    fn may_be_stored(
        &self,
        ctx: &RequestContext,
        exchange: &storable::Exchange<'_>,
        head: &ReceivedHead,
        notes: &mut Vec<String>,
    ) -> Result<crate::stored::Facts, Reason> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = ctx.method.clone();
        parts.headers = ctx.headers.clone();
        // Whether a 304 is expected depends on its request's precondition, which a saved head does
        // not show.
        parts.headers.entry(header::IF_NONE_MATCH).or_insert(http::HeaderValue::from_static("*"));
        let checked = origin::check_head(&Request::from_parts(parts, ()), head.version, head.status, &head.headers);
        let is_unsized = checked.map_err(|what| {
            notes.push(format!("Larder would reject the response: {what}."));
            Reason::ProtocolError
        })?;
        // From HTTP/2 on, framing shows the end of a body; Larder itself speaks HTTP/1.1 with the
        // origin.
        let is_unsized = is_unsized && head.version <= http::Version::HTTP_11;
        let answer = match self.action {
            Action::Pass(_) if ctx.method == Method::POST => {
                storable_post(exchange, &ctx.key.to_url(), head.status, &head.headers, is_unsized)
            }
            Action::Pass(reason) => Storable::No(reason),
            Action::Purge => Storable::No(Reason::Method),
            Action::LookUp => storable(exchange, head.status, &head.headers, is_unsized),
        };
        match answer {
            Storable::Yes(facts) => match decide::storage_refusal(self.shared, ctx, &facts, head) {
                None => Ok(facts),
                Some(reason) => Err(reason),
            },
            Storable::No(reason) => Err(reason),
        }
    }
}
