//! Decides what would have become of a request: first what is known before the origin is asked,
//! then by the head of the origin's response.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};

use super::tap::{ComparedEntry, HeadComparison, KeptResponse, TapPlan};
use crate::analytics::shadow::RESPONSE_FIELDS;
use crate::origin;
use crate::outcome::{Decision, Outcome, Reason, WouldBeOutcome};
use crate::policy::credentials;
use crate::policy::reuse::{self, OriginFailure};
use crate::policy::storable::{self, Exchange, Storable, storable};
use crate::policy::validate::{self, Candidates};
use crate::proxy::decide::{self, CacheMiss, FetchPlan, LookupResult, UsableEntry};
use crate::proxy::fetch::coalesce::{FlightLeader, FlightRole};
use crate::proxy::fetch::confirm;
use crate::proxy::fetch::flight::{Fill, FlightResult};
use crate::proxy::fetch::leader;
use crate::proxy::fetch::received::{AskedAt, ReceivedHead};
use crate::proxy::pass;
use crate::proxy::request::context::RequestContext;
use crate::proxy::respond::encode;
use crate::proxy::sharing::cross_user_check::{self, CrossUserCheck};
use crate::proxy::state::{Shared, Worker};
use crate::route::SetCookie;
use crate::stored::{BodyComparison, Coding, FlatHead, StoredEntry};
use crate::syntax::list::FieldLines;

/// The decision before the origin's answer is known.
pub(super) enum Plan {
    /// The kept entry would answer.
    Answer(UsableEntry),
    /// The kept entry would be compared with the origin's answer, for the personalisation guard.
    Compare(Arc<StoredEntry>),
    /// The response would be fetched, alone or together with other requests for the same.
    Fetch(CacheMiss, Role),
    /// The origin would be asked for this request alone; the entry may be served if it fails.
    PassThrough(Decision, Option<Arc<StoredEntry>>),
    /// 504: the client accepts nothing but a stored response.
    Refuse,
}

/// The request's part in a flight.
pub(super) enum Role {
    /// The request whose response is kept. The flight ends when that is settled.
    Leads(FlightLeader<FlightResult>),
    /// A request that would have waited.
    Follows,
}

/// The plan's result, by the origin's head.
pub(super) struct PlanResult {
    pub(super) would: WouldBeOutcome,
    pub(super) tap: TapPlan,
}

/// The effect of a response on the kept entries.
enum Effect {
    /// The response is kept once it is complete.
    Keeps(Box<Fill>),
    /// The response is a part, or the head, of a body that live mode would have fetched whole: an
    /// entry of that size is kept.
    StandsFor(Box<Fill>, u64),
    /// The response confirms the kept entry.
    Confirms,
    /// The kept entry would have been served instead of this response.
    Yields,
    /// The response may not be kept.
    Refused(Reason),
    /// The response says nothing of the kept entries.
    Nothing,
}

impl Plan {
    /// Decides what would be done with a request.
    pub(super) fn of(shared: &Shared, ctx: &RequestContext) -> Self {
        match decide::look_up(shared, ctx, ctx.at) {
            LookupResult::Usable(usable) => Self::Answer(usable),
            LookupResult::OnlyIfCached => Self::Refuse,
            LookupResult::OnProbation(entry) => Self::Compare(entry),
            LookupResult::PassThrough(reason, stand_in) => {
                Self::PassThrough(ctx.decision(Outcome::Pass, reason), stand_in)
            }
            LookupResult::Missing(missing) => match decide::plan_fetch(shared, ctx, &missing, None) {
                FetchPlan::PassThrough(decision) => Self::PassThrough(decision, missing.selected),
                FetchPlan::Unshared => Self::Fetch(missing, Role::Leads(shared.flights.unlisted())),
                FetchPlan::Join(name) => match shared.flights.join(name) {
                    FlightRole::Leader(lead) => Self::Fetch(missing, Role::Leads(lead)),
                    FlightRole::Follower(_) => Self::Fetch(missing, Role::Follows),
                },
            },
        }
    }

    /// Decides what would have become of the request if the origin failed without an answer.
    pub(super) fn without_origin(
        &self,
        shared: &Shared,
        ctx: &RequestContext,
        error: &origin::Error,
    ) -> WouldBeOutcome {
        let stand_in = match self {
            Self::Answer(usable) => return WouldBeOutcome::new(usable.decision.outcome, usable.decision.reason),
            Self::Refuse => return WouldBeOutcome::new(Outcome::Refused, Reason::OnlyIfCached),
            Self::Compare(entry) => Some(entry),
            Self::Fetch(missing, _) => missing.selected.as_ref(),
            Self::PassThrough(_, stand_in) => stand_in.as_ref(),
        };
        let now = shared.clock.now();
        match decide::usable_stand_in(shared, ctx, stand_in, OriginFailure::Unreachable, now) {
            Some(_) => WouldBeOutcome::new(Outcome::Stale, Reason::IfError),
            None => WouldBeOutcome::new(Outcome::Failed, error.reason),
        }
    }

    /// Decides what would have become of the request with this head, and what the tap does with the
    /// body.
    pub(super) fn judge(
        self,
        worker: &Arc<Worker>,
        ctx: &Arc<RequestContext>,
        head: &ReceivedHead,
        asked_at: AskedAt,
    ) -> PlanResult {
        let head = OriginHead { worker, ctx, head, asked_at };
        match self {
            Self::Answer(usable) => head.judge_answer(&usable),
            Self::Compare(entry) => head.judge_compare(&entry),
            Self::Fetch(missing, role) => head.judge_fetch(&missing, role),
            Self::PassThrough(decision, stand_in) => head.judge_pass(decision, stand_in.as_ref()),
            Self::Refuse => PlanResult::new(Outcome::Refused, Reason::OnlyIfCached),
        }
    }
}

impl PlanResult {
    fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { would: WouldBeOutcome::new(outcome, reason), tap: TapPlan::default() }
    }
}

/// The origin's head, as it is judged.
struct OriginHead<'a> {
    worker: &'a Arc<Worker>,
    ctx: &'a Arc<RequestContext>,
    head: &'a ReceivedHead,
    asked_at: AskedAt,
}

impl OriginHead<'_> {
    fn judge_answer(&self, usable: &UsableEntry) -> PlanResult {
        let (worker, ctx) = (self.worker, self.ctx);
        let Decision { outcome, reason, .. } = usable.decision;
        let mut result = PlanResult::new(outcome, reason);
        encode::prebuild(worker, ctx, &usable.entry);
        if usable.refresh {
            let stored = worker.shared.store.get(&ctx.key);
            let candidates = decide::candidates(&worker.shared, ctx, stored.as_deref(), Some(&usable.entry));
            result.tap.keep = self.kept_response(self.effect(Some(&usable.entry), candidates), None);
        }
        if outcome == Outcome::Hit {
            result.tap.against = Some(self.compared_entry(&usable.entry));
        }
        let is_due = |guard: &&_| {
            credentials::is_due(guard, worker.shared.config.guard_sample, || ctx.credentials(&worker.shared))
        };
        if usable.is_watched && usable.entry.guard.as_deref().filter(is_due).is_some() {
            result.tap.check = self.cross_user_check(&usable.entry);
        }
        result
    }

    fn judge_compare(&self, entry: &Arc<StoredEntry>) -> PlanResult {
        let mut result = PlanResult::new(Outcome::Miss, Reason::Probation);
        result.tap.on_probation = Some(self.compared_entry(entry));
        result.tap.check = self.cross_user_check(entry);
        result
    }

    fn judge_fetch(&self, missing: &CacheMiss, role: Role) -> PlanResult {
        let (worker, ctx) = (self.worker, self.ctx);
        let (stored, selected) = (missing.stored.as_deref(), missing.selected.as_ref());
        let candidates = decide::candidates(&worker.shared, ctx, stored, selected);
        let mut result = PlanResult::new(Outcome::Miss, missing.reason);
        let effect = self.effect(selected, candidates);
        let is_shared = match &effect {
            Effect::Keeps(fill) | Effect::StandsFor(fill, _) => reuse::why_unshareable(&fill.facts).is_none(),
            Effect::Confirms => true,
            Effect::Yields | Effect::Refused(_) | Effect::Nothing => false,
        };
        result.would.collapsed = is_shared && matches!(role, Role::Follows);
        match &effect {
            Effect::Confirms => result.would.outcome = Outcome::Revalidated,
            Effect::Yields => result.would = WouldBeOutcome::new(Outcome::Stale, Reason::IfError),
            Effect::Refused(reason) => result.would.reason = *reason,
            Effect::Keeps(_) | Effect::StandsFor(..) | Effect::Nothing => {}
        }
        // A follower keeps nothing: its leader does.
        if let Role::Leads(lead) = role {
            result.tap.keep = self.kept_response(effect, Some(lead));
        }
        result
    }

    fn judge_pass(&self, decision: Decision, stand_in: Option<&Arc<StoredEntry>>) -> PlanResult {
        let mut result = PlanResult::new(decision.outcome, decision.reason);
        // Live mode shows the reason of the response that was not stored; here it is this one's.
        if decision.reason == Reason::HitForMiss {
            match storable(&self.exchange(), self.head.status, &self.head.headers, self.head.is_unsized) {
                Storable::Yes(facts) => {
                    pass::forget_if_stored_again(self.worker, self.ctx, &facts, self.head);
                }
                Storable::No(reason) => result.would.reason = reason,
            }
        }
        if let Some(selected) = stand_in.filter(|_| self.ctx.facts.is_head) {
            self.tell_by_head(selected);
        }
        if self.is_replaced(stand_in) {
            result.would = WouldBeOutcome::new(Outcome::Stale, Reason::IfError);
        }
        result
    }

    fn exchange(&self) -> Exchange<'_> {
        self.ctx.exchange(self.asked_at.time, self.head.received_at)
    }

    /// Tells whether a kept entry would have been served instead of this response.
    fn is_replaced(&self, stand_in: Option<&Arc<StoredEntry>>) -> bool {
        self.head.status.is_server_error()
            && decide::usable_stand_in(
                &self.worker.shared,
                self.ctx,
                stand_in,
                OriginFailure::ServerError,
                self.head.received_at,
            )
            .is_some()
    }

    /// Applies a HEAD's response to the kept entry (RFC 9111 §4.3.5). Live mode would have asked
    /// for the coding that is stored: a response in another coding says nothing.
    fn tell_by_head(&self, selected: &Arc<StoredEntry>) {
        if self.head.headers.contains_key(header::CONTENT_ENCODING) {
            return;
        }
        confirm::by_head(self.worker, self.ctx, selected, self.head, self.asked_at);
    }

    /// Applies the response's head to the kept entries, and returns what its body does. `selected`
    /// is the entry that the response replaces, `candidates` those that the origin would have been
    /// asked to validate.
    fn effect(&self, selected: Option<&Arc<StoredEntry>>, candidates: Candidates) -> Effect {
        let (worker, ctx, head) = (self.worker, self.ctx, self.head);
        if self.is_replaced(selected) {
            return Effect::Yields;
        }
        // The request did not carry the kept entries' validators. Its response still shows that one
        // would have been confirmed: a 304 to the client's own precondition that names it, or the
        // same validators on a whole response.
        let is_told = matches!(head.status, StatusCode::NOT_MODIFIED | StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if is_told && !ctx.facts.is_head && self.is_confirmed(candidates) {
            return Effect::Confirms;
        }
        if head.status == StatusCode::NOT_MODIFIED {
            return Effect::Nothing;
        }
        if ctx.facts.is_head {
            if let Some(selected) = selected {
                self.tell_by_head(selected);
                return Effect::Nothing;
            }
            return self.stands_for(content_length(&head.headers));
        }
        if head.status == StatusCode::PARTIAL_CONTENT {
            let range = head.headers.get(header::CONTENT_RANGE);
            return self.stands_for(range.and_then(pass::complete_length));
        }
        let result = match storable(&self.exchange(), head.status, &head.headers, head.is_unsized) {
            Storable::Yes(facts) => match decide::storage_refusal(&worker.shared, ctx, &facts, head) {
                None => leader::prepare(worker, ctx, &mut head.clone(), facts, self.asked_at),
                Some(reason) => Err(reason),
            },
            Storable::No(reason) => Err(reason),
        };
        match result {
            Ok(mut fill) => {
                worker.shared.uncacheable.forget(ctx.key.hash());
                fill.replaces = selected.cloned();
                Effect::Keeps(Box::new(fill))
            }
            Err(reason) => {
                leader::drop_superseded(worker, ctx, selected, head.status, reason);
                self.record_not_stored(reason);
                Effect::Refused(reason)
            }
        }
    }

    /// Updates the kept entries as the origin's would-be 304 would have. Returns false if the
    /// origin would not have sent one.
    fn is_confirmed(&self, mut candidates: Candidates) -> bool {
        let mut head = self.head.clone();
        candidates.retain(|entry| validate::would_confirm(&entry.head, &head.headers));
        if candidates.is_empty() {
            return false;
        }
        // A 304 has no fields that describe the content of this message.
        for name in [header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::CONTENT_RANGE] {
            head.headers.remove(name);
        }
        confirm::by_304(self.worker, self.ctx, &candidates, &head, self.asked_at).is_some()
    }

    /// Live mode would have fetched the whole body, which has this length.
    fn stands_for(&self, length: Option<u64>) -> Effect {
        let Some(length) = length else { return Effect::Nothing };
        let status = if self.ctx.facts.is_head { self.head.status } else { StatusCode::OK };
        let mut head = ReceivedHead { status, length: Some(length), ..self.head.clone() };
        head.headers.remove(header::CONTENT_RANGE);
        let exchange = Exchange { method: &Method::GET, ..self.exchange() };
        let prepared = match storable(&exchange, status, &head.headers, false) {
            Storable::No(reason) => Err(reason),
            Storable::Yes(mut facts) => {
                facts.no_transform = true;
                leader::prepare(self.worker, self.ctx, &mut head, facts, self.asked_at)
            }
        };
        match prepared {
            Ok(fill) => {
                self.worker.shared.uncacheable.forget(self.ctx.key.hash());
                Effect::StandsFor(Box::new(fill), length)
            }
            Err(reason) => {
                self.record_not_stored(reason);
                Effect::Refused(reason)
            }
        }
    }

    fn record_not_stored(&self, reason: Reason) {
        let (shared, ctx) = (&self.worker.shared, self.ctx);
        shared.uncacheable.record_not_stored(ctx.key.hash(), ctx.at, shared.config.hit_for_miss, reason);
    }

    fn kept_response(&self, effect: Effect, lead: Option<FlightLeader<FlightResult>>) -> Option<KeptResponse> {
        let (fill, stands_for) = match effect {
            Effect::Keeps(fill) => (fill, None),
            Effect::StandsFor(fill, length) => (fill, Some(length)),
            Effect::Confirms | Effect::Yields | Effect::Refused(_) | Effect::Nothing => return None,
        };
        Some(KeptResponse { fill, stands_for, coding: coding_of(&self.head.headers), lead })
    }

    /// Prepares the comparison of the body with the entry's.
    fn compared_entry(&self, entry: &Arc<StoredEntry>) -> ComparedEntry {
        let (head, ctx) = (self.head, self.ctx);
        let is_same_tag = validate::would_confirm(&entry.head, &head.headers);
        let is_whole = ctx.method == Method::GET && cross_user_check::tells_requesters_apart(ctx, head.status);
        let at_head = match head.status {
            // The app says that the client's copy is still valid, and names it.
            StatusCode::NOT_MODIFIED if is_same_tag => Some(BodyComparison::Same),
            _ if !is_whole => Some(BodyComparison::Unknown),
            status if status != entry.facts.status => Some(BodyComparison::Different),
            _ => None,
        };
        let is_stripped = ctx.rule.set_cookie == SetCookie::Strip;
        ComparedEntry {
            entry: Arc::clone(entry),
            at_head,
            is_same_tag,
            coding: coding_of(&head.headers),
            response: differing(&entry.head, &head.headers, is_stripped),
        }
    }

    /// Prepares a comparison for the personalisation guard, if the response shows what the
    /// requester gets.
    fn cross_user_check(&self, entry: &Arc<StoredEntry>) -> Option<(CrossUserCheck, HeadComparison)> {
        let guard = Arc::clone(entry.guard.as_ref()?);
        let head = self.head;
        let (_, refusal) = storable::judge(&self.exchange(), head.status, &head.headers);
        let is_told = self.ctx.method == Method::GET && cross_user_check::tells_requesters_apart(self.ctx, head.status);
        let set = |name: &HeaderName| head.headers.get_all(name).iter().map(|line| line.as_bytes());
        let differs = head.status != entry.facts.status
            || !entry.head.get_all(&header::SET_COOKIE).eq(set(&header::SET_COOKIE))
            || !entry.head.get_all(&header::LOCATION).eq(set(&header::LOCATION))
            || matches!(refusal, Some(Reason::Private | Reason::NoStore));
        let check = CrossUserCheck { ctx: Arc::clone(self.ctx), entry: Arc::clone(entry), guard };
        let comparison = if differs { HeadComparison::Differs } else { HeadComparison::ByBody };
        is_told.then_some((check, comparison))
    }
}

/// Returns which of [`RESPONSE_FIELDS`] differ, one bit each.
fn differing(stored: &FlatHead, headers: &HeaderMap, is_stripped: bool) -> u16 {
    let names = RESPONSE_FIELDS.iter().enumerate();
    let differs = |name: &str| {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let is_left_out = is_stripped && name == header::SET_COOKIE;
        let same = stored.get_all(&name).eq(headers.get_all(&name).iter().map(|line| line.as_bytes()));
        (!same && !is_left_out).then_some(())
    };
    names.filter(|(_, name)| differs(name).is_some()).fold(0, |bits, (at, _)| bits | 1 << at)
}

/// Returns the coding of a body; `None` for one that cannot be compared.
fn coding_of(headers: &HeaderMap) -> Option<Coding> {
    let token = match FieldLines::of(headers, header::CONTENT_ENCODING) {
        FieldLines::None => return Some(Coding::Identity),
        FieldLines::One(line) => line.as_bytes().trim_ascii().to_ascii_lowercase(),
        FieldLines::Several => return None,
    };
    match &token[..] {
        b"identity" | b"" => Some(Coding::Identity),
        b"gzip" | b"x-gzip" => Some(Coding::Gzip),
        b"br" => Some(Coding::Brotli),
        b"zstd" => Some(Coding::Zstd),
        _ => None,
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}
