//! What would happen to a request now, and why: told without asking the origin.
//!
//! The request goes the way of every other as far as that can be gone without effects: the very functions that `serve` and
//! `fill` decide with are called here, in the same order. What they return is told in words; nothing is decided here.
//! Known beforehand is everything up to the origin's answer. What that answer would come to is told where its head is given.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, Method, Request, header};

use super::asked::{self, Asked, Errand, Refusal};
use super::client::Client;
use super::decide::{self, Fetching, Found, Missing};
use super::{Shared, answer, probation, purge, rescue};
use crate::clock::Timestamp;
use crate::key::CanonicalUrl;
use crate::origin;
use crate::outcome::{Decision, Outcome, Reason, Would};
use crate::policy::reuse::Failure;
use crate::policy::storable::{self, Storable, storable, storable_post};
use crate::policy::{Admission, freshness, vary};
use crate::route::Mode;
use crate::stored::{Coding, Entry};

mod question;
mod report;
mod tell;

pub use question::{Fault, Head, Question, RESPONSE_BYTES_MAX, Received, heads};
pub use report::{
    Because, Failing, Freshness, Guarded, Held, Judged, Now, Report, Route, StaleUse, Step, Subject, Variant, WouldBe,
};

/// A request that was read as the way reads it.
struct Read<'a> {
    shared: &'a Shared,
    asked: Asked,
    errand: Errand,
    now: Timestamp,
}

/// What a request comes to.
struct Course {
    action: Action,
    decision: Decision,
    /// What may stand in for the origin.
    stand_in: Option<Arc<Entry>>,
    is_conditional: bool,
    waits: bool,
    refreshes: bool,
    /// Status and coding, where the origin's answer does not decide them.
    answer: Option<(u16, Option<Coding>)>,
}

/// What is done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Answer,
    Fetch,
    Compare,
    Pass,
    Purge,
    Refuse,
    Fail,
}

impl Course {
    fn new(action: Action, decision: Decision) -> Self {
        Self { action, decision, stand_in: None, is_conditional: false, waits: false, refreshes: false, answer: None }
    }
}

/// Tells what would happen to a request now. `barred` says how the origin's side would turn it away at once, where it
/// would ([`origin::Permits::outlook`]).
///
/// # Errors
/// A URL that no request can carry.
pub fn explain(shared: &Shared, barred: Option<Reason>, question: &Question) -> Result<Report, Fault> {
    let mut parts = question.parts()?;
    let scheme = question.url.scheme();
    let client = Client::untrusted(IpAddr::V4(Ipv4Addr::LOCALHOST), &parts);
    let url = asked::canonical(scheme, &parts);
    let notes = notes(shared, question, url.as_ref());
    let mut report = match Asked::of_head(shared, client, scheme, &mut parts, question.content()) {
        Err(refusal) => refused(shared, &refusal, &question.method, url.as_ref()),
        Ok((asked, errand)) => {
            let read = Read { shared, asked, errand, now: shared.clock.now() };
            read.report(barred, question, url.as_ref())
        }
    };
    report.notes.splice(0..0, notes);
    Ok(report)
}

/// Says what the question itself leaves open.
fn notes(shared: &Shared, question: &Question, url: Option<&CanonicalUrl>) -> Vec<String> {
    let mut notes = Vec::new();
    let scheme = question.url.scheme();
    if url.is_some() && scheme != shared.config.scheme {
        let own = shared.config.scheme.as_str();
        let whose = if shared.config.trusted_proxies.is_empty() {
            "no request comes with it: `trusted_proxies` under [server] is empty".to_owned()
        } else {
            "only requests from `trusted_proxies` that say so in X-Forwarded-Proto come with it".to_owned()
        };
        notes.push(format!("The URL's scheme is {}, `scheme` under [server] is {own}: {whose}.", scheme.as_str()));
    }
    notes
}

/// Tells of a request that is answered without being read further.
fn refused(shared: &Shared, refusal: &Refusal, method: &Method, url: Option<&CanonicalUrl>) -> Report {
    let decision = refusal.decision();
    let action = if decision.outcome == Outcome::Own { Action::Answer } else { Action::Refuse };
    let mut course = Course::new(action, decision);
    course.answer = Some((refusal.status.as_u16(), None));
    let rule = url.map(|url| shared.routes.choose(method, url));
    let mut rules = tell::located(url);
    rules.push(tell::because("request", refusal.reason));
    Report {
        request: tell::subject(method, url, None),
        route: rule.map(|rule| tell::route(&shared.routes, rule)),
        stored: Vec::new(),
        now: tell::now(&course, None),
        rules,
        response: None,
        notes: Vec::new(),
    }
}

impl Read<'_> {
    fn report(&self, barred: Option<Reason>, question: &Question, url: Option<&CanonicalUrl>) -> Report {
        let (shared, asked) = (self.shared, &self.asked);
        let mut rules = tell::located(url);
        rules.push(tell::routed(&shared.routes, &asked.rule));
        let mut course = self.course();
        rules.extend(self.rules(&course));
        let mut notes = Vec::new();
        if asked.rule.mode == Mode::Shadow && self.errand == Errand::LookUp {
            rules.push(tell::because("answer", Reason::Shadow));
            notes.push(tell::unserved(&course));
            course = self.shadowed(&course);
        }
        if let Some(reason) = barred.filter(|_| course.asks_origin() && !course.waits) {
            rules.push(tell::because("origin", reason));
            self.bar(&mut course, reason);
        }
        let response = question.response.as_ref().map(|head| self.judged(head, &mut notes));
        let unasked = match course.action {
            Action::Pass => Some("pass"),
            Action::Refuse => Some("be refused"),
            _ => None,
        };
        if let Some(what) = unasked.filter(|_| response.as_ref().is_some_and(|judged| judged.stored))
            && self.errand == Errand::LookUp
        {
            let reason = course.decision.reason;
            notes
                .push(format!("Asked now, the request would {what} ({reason}), and its response would not be stored."));
        }
        Report {
            request: tell::subject(&asked.method, url, Some(&asked.key)),
            route: Some(tell::route(&shared.routes, &asked.rule)),
            stored: self.stored(),
            now: tell::now(&course, self.failing(&course)),
            rules,
            response,
            notes,
        }
    }

    /// What becomes of a PURGE.
    fn purged(&self) -> Course {
        let asked = &self.asked;
        let (action, outcome, reason, status) = match purge::decide(&self.shared.config, asked) {
            Ok(_kind) => (Action::Purge, Outcome::Own, Reason::Purge, 200),
            Err((status, reason)) => (Action::Refuse, Outcome::Refused, reason, status.as_u16()),
        };
        Course { answer: Some((status, None)), ..Course::new(action, asked.decision(outcome, reason)) }
    }

    /// Goes the way of the request up to where it would have effects.
    fn course(&self) -> Course {
        let (shared, asked) = (self.shared, &self.asked);
        match self.errand {
            Errand::LookUp => {}
            Errand::Pass(reason) => return Course::new(Action::Pass, asked.decision(Outcome::Pass, reason)),
            Errand::Purge => return self.purged(),
        }
        match decide::look_up(shared, asked, asked.at) {
            Found::Usable(usable) => {
                Course { refreshes: usable.refresh, ..self.answered(usable.decision, &usable.entry) }
            }
            Found::OnlyIfCached => {
                let decision = asked.decision(Outcome::Refused, Reason::OnlyIfCached);
                Course { answer: Some((504, None)), ..Course::new(Action::Refuse, decision) }
            }
            Found::Alone(reason, stand_in) => {
                let decision = asked.decision(Outcome::Pass, reason);
                Course { stand_in, ..Course::new(Action::Pass, decision) }
            }
            Found::Doubted(entry) => {
                let alone = decide::unsettled(shared, asked, &entry);
                let waits = entry.guard.as_ref().is_some_and(|guard| probation::is_being_compared(shared, guard));
                Course { stand_in: alone.stand_in, waits, ..Course::new(Action::Compare, alone.decision) }
            }
            Found::Missing(missing) => match decide::fetching(shared, asked, &missing, None) {
                Fetching::Alone(decision) => {
                    Course { stand_in: missing.selected, ..Course::new(Action::Pass, decision) }
                }
                Fetching::Together(name) => self.fetched(missing, shared.flights.find(&name).is_some()),
                Fetching::Apart => self.fetched(missing, false),
            },
        }
    }

    /// What becomes of a request in shadow mode that would take this course.
    fn shadowed(&self, course: &Course) -> Course {
        let Decision { outcome, reason, .. } = course.decision;
        let would = Would { collapsed: course.waits, ..Would::new(outcome, reason) };
        let decision = Decision { would: Some(would), ..self.asked.decision(Outcome::Pass, Reason::Shadow) };
        Course::new(Action::Pass, decision)
    }

    fn fetched(&self, missing: Missing, waits: bool) -> Course {
        let (shared, asked) = (self.shared, &self.asked);
        let (stored, selected) = (missing.stored.as_deref(), missing.selected.as_ref());
        let is_conditional = !decide::candidates(shared, asked, stored, selected).is_empty();
        let decision = asked.decision(Outcome::Miss, missing.reason);
        let stand_in = missing.selected;
        Course { stand_in, is_conditional, waits, ..Course::new(Action::Fetch, decision) }
    }

    fn answered(&self, decision: Decision, entry: &Entry) -> Course {
        let (status, coding) = answer::outlook(&self.asked, entry);
        let answer = Some((status.as_u16(), Some(coding)));
        Course { answer, ..Course::new(Action::Answer, decision) }
    }

    /// Changes the course where the origin's side turns the request away at once.
    fn bar(&self, course: &mut Course, reason: Reason) {
        let (shared, asked) = (self.shared, &self.asked);
        let stand_in = decide::standing_in(shared, asked, course.stand_in.as_ref(), Failure::Unreachable, self.now);
        *course = match stand_in {
            Some(entry) => self.answered(decide::stood_in(shared, asked, entry), entry),
            None => Course {
                answer: Some((rescue::status_of(reason).as_u16(), None)),
                ..Course::new(Action::Fail, asked.decision(Outcome::Failed, reason))
            },
        };
    }

    /// Says what answers where the origin fails.
    fn failing(&self, course: &Course) -> Option<Failing> {
        if !course.asks_origin() {
            return None;
        }
        let stands_in = |failure| {
            let stand_in = course.stand_in.as_ref();
            decide::standing_in(self.shared, &self.asked, stand_in, failure, self.now).is_some()
        };
        let word = |stands_in, otherwise: &str| if stands_in { "stale" } else { otherwise }.to_owned();
        Some(Failing {
            unreachable: word(stands_in(Failure::Unreachable), "failed"),
            server_error: word(stands_in(Failure::ServerError), "passed"),
        })
    }

    /// Tells the rules that the course came of, behind URL and route.
    fn rules(&self, course: &Course) -> Vec<Step> {
        let reason = course.decision.reason;
        if self.errand != Errand::LookUp {
            return vec![tell::because("request", reason)];
        }
        let mut rules = vec![tell::looked_up(&self.asked.method)];
        let found = self.shared.store.get(&self.asked.key);
        let entries = found.as_ref().map_or(&[][..], |found| &found.entries);
        let Some(entry) = vary::select(entries, &self.asked.headers) else {
            let missing = if found.is_some() { Reason::VaryMiss } else { Reason::UriMiss };
            rules.push(tell::because("store", missing));
            if reason != missing {
                rules.push(tell::because("flight", reason));
            }
            return rules;
        };
        rules.push(tell::selected(entry, entries.len()));
        rules.push(tell::lifetime(&entry.facts, self.now));
        let standing = self.shared.store.standing(&self.asked.key, entry, self.now);
        rules.extend(tell::purged(standing));
        rules.extend(tell::guarded(probation::admission(self.shared, &self.asked, entry)));
        rules.push(tell::because("answer", reason));
        rules
    }

    /// Tells what is stored under the key.
    fn stored(&self) -> Vec<Variant> {
        let (shared, asked) = (self.shared, &self.asked);
        let Some(found) = shared.store.get(&asked.key) else { return Vec::new() };
        let selected = vary::select(&found.entries, &asked.headers);
        let variant = |entry: &Arc<Entry>| Variant {
            selected: selected.is_some_and(|selected| Arc::ptr_eq(selected, entry)),
            guard: entry.guard.as_deref().map(|guard| {
                let admission = probation::admission(shared, asked, entry);
                tell::guard(guard, admission)
            }),
            purge: tell::standing(shared.store.standing(&asked.key, entry, self.now)).to_owned(),
            ..tell::variant(entry, self.now)
        };
        found.entries.iter().map(variant).collect()
    }

    /// Judges a response to the request, as the fill or the answer to a POST does.
    fn judged(&self, head: &Head, notes: &mut Vec<String>) -> Judged {
        let (shared, asked) = (self.shared, &self.asked);
        let received_at = match head.received {
            Received::Now => self.now,
            Received::AtDate => freshness::date_value(&head.headers).unwrap_or(self.now),
        };
        if received_at != self.now {
            notes.push("The response is taken as received at its Date, not now.".to_owned());
        }
        notes.push(
            "A body that grows too large on its way, or breaks off, is not stored whatever its head says.".into(),
        );
        let as_get = asked.facts.is_head.then(|| asked.as_get(shared));
        let asked = as_get.as_ref().unwrap_or(asked);
        let exchange = asked.exchange(received_at, received_at);
        let answer = self.may_be_stored(asked, &exchange, head, notes).and_then(|facts| {
            let kept_as =
                if asked.method == Method::POST { asked.as_get(shared).rule } else { Arc::clone(&asked.rule) };
            decide::keeping(shared, &kept_as, &head.headers, length(&head.headers)).map(|keeping| (facts, keeping))
        });
        let (facts, keeping) = match answer {
            Ok((facts, keeping)) => (facts, Ok(keeping)),
            Err(reason) => (storable::judge(&exchange, head.status, &head.headers).0, Err(reason)),
        };
        let is_guarded = keeping.as_ref().is_ok_and(|keeping| {
            probation::is_guarded(asked, &facts, &vary::selecting(&keeping.names, &asked.headers))
        });
        tell::judged(&facts, received_at, keeping, is_guarded)
    }

    /// Asks policy whether a response may be stored, once the origin's client would have let it through.
    fn may_be_stored(
        &self,
        asked: &Asked,
        exchange: &storable::Exchange<'_>,
        head: &Head,
        notes: &mut Vec<String>,
    ) -> Result<crate::stored::Facts, Reason> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = asked.method.clone();
        parts.headers = asked.headers.clone();
        // A 304 is judged by what it answers, which a saved head does not tell.
        parts.headers.entry(header::IF_NONE_MATCH).or_insert(http::HeaderValue::from_static("*"));
        let checked = origin::check_head(&Request::from_parts(parts, ()), head.version, head.status, &head.headers);
        let is_unsized = checked.map_err(|what| {
            notes.push(format!("The response would not be taken from the origin: {what}."));
            Reason::ProtocolError
        })?;
        // From HTTP/2 on the end is told apart from the head; Larder itself speaks HTTP/1.1 with the origin.
        let is_unsized = is_unsized && head.version <= http::Version::HTTP_11;
        let answer = match self.errand {
            Errand::Pass(_) if asked.method == Method::POST => {
                storable_post(exchange, &asked.key.to_url(), head.status, &head.headers, is_unsized)
            }
            Errand::Pass(reason) => Storable::No(reason),
            Errand::Purge => Storable::No(Reason::Method),
            Errand::LookUp => storable(exchange, head.status, &head.headers, is_unsized),
        };
        match answer {
            Storable::Yes(facts) => match decide::kept_out(self.shared, asked, &facts, (head.status, &head.headers)) {
                None => Ok(facts),
                Some(reason) => Err(reason),
            },
            Storable::No(reason) => Err(reason),
        }
    }
}

impl Course {
    fn asks_origin(&self) -> bool {
        matches!(self.action, Action::Fetch | Action::Compare | Action::Pass)
    }
}

/// Returns what a response's body comes to, where its head tells.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Names what a guarded body is to a request.
const fn admission_token(admission: Admission) -> &'static str {
    match admission {
        Admission::Open => "open",
        Admission::Watched => "watched",
        Admission::Probation => "probation",
    }
}
