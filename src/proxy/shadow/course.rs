//! What would have become of a request: decided as far as it can be before the origin is asked, then by its answer's head.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode, response};

use super::ear::{Aim, Held, Kept, Verdict};
use crate::analytics::shadow::RESPONSE_FIELDS;
use crate::clock::Timestamp;
use crate::origin::coalesce::{Joined, Lead};
use crate::origin::{self, ResponseBody};
use crate::outcome::{Decision, Outcome, Reason, Would};
use crate::policy::credentials;
use crate::policy::reuse::{self, Failure};
use crate::policy::storable::{self, Exchange, Storable, storable};
use crate::policy::validate::{self, Candidates};
use crate::proxy::asked::Asked;
use crate::proxy::decide::{self, Fetching, Found, Missing, Usable};
use crate::proxy::fill::{self, Arrived};
use crate::proxy::flight::{Fill, Landed};
use crate::proxy::trial::{self, Trial};
use crate::proxy::{Shared, Way, confirm, pass, recode, remember};
use crate::route::SetCookie;
use crate::stored::{Coding, Compared, Entry, FlatHead};

/// When the origin is asked.
#[derive(Clone, Copy)]
pub(super) struct Asking {
    pub(super) at: Timestamp,
    /// The ledger's number then.
    pub(super) sequence: u64,
}

/// What would be done before the origin's answer is known.
pub(super) enum Course {
    /// What is kept would answer.
    Answer(Usable),
    /// What is kept would be compared with the origin's answer, for the personalisation guard.
    Compare(Arc<Entry>),
    /// It would be fetched, alone or together with who asks for the same.
    Fetch(Missing, Role),
    /// The origin would be asked for this request alone; something may stand in where it fails.
    Alone(Decision, Option<Arc<Entry>>),
    /// 504: the client wants nothing but a stored response.
    Refuse,
}

/// What a request would be to a flight.
pub(super) enum Role {
    /// The one whose response is kept. The flight ends when that is settled.
    Leads(Lead<Landed>),
    /// One that would have waited.
    Follows,
}

/// What the origin's head makes of a course.
pub(super) struct Judged {
    pub(super) would: Would,
    pub(super) aim: Aim,
}

/// What a response does to what is kept.
enum Effect {
    /// It is kept once it is whole.
    Keeps(Box<Fill>),
    /// It is a part of what a request in earnest would have fetched whole, or tells of it: something of that size is kept.
    StandsFor(Box<Fill>, u64),
    /// It confirms what is kept.
    Confirms,
    /// What is kept would have stood in for it.
    Yields,
    /// It may not be kept.
    Refused(Reason),
    /// It says nothing of what is kept.
    Nothing,
}

impl Course {
    /// Decides what would be done with a request.
    pub(super) fn of(shared: &Shared, asked: &Asked) -> Self {
        match decide::look_up(shared, asked, asked.at) {
            Found::Usable(usable) => Self::Answer(usable),
            Found::OnlyIfCached => Self::Refuse,
            Found::Doubted(entry) => Self::Compare(entry),
            Found::Alone(reason, stand_in) => Self::Alone(asked.decision(Outcome::Pass, reason), stand_in),
            Found::Missing(missing) => match decide::fetching(shared, asked, &missing, None) {
                Fetching::Alone(decision) => Self::Alone(decision, missing.selected),
                Fetching::Apart => Self::Fetch(missing, Role::Leads(shared.flights.alone())),
                Fetching::Together(name) => match shared.flights.join(name) {
                    Joined::Leader(lead) => Self::Fetch(missing, Role::Leads(lead)),
                    Joined::Follower(_) => Self::Fetch(missing, Role::Follows),
                },
            },
        }
    }

    /// Says what would have become of it where the origin failed without an answer.
    pub(super) fn without_origin(&self, shared: &Shared, asked: &Asked, error: &origin::Error) -> Would {
        let stand_in = match self {
            Self::Answer(usable) => return Would::new(usable.decision.outcome, usable.decision.reason),
            Self::Refuse => return Would::new(Outcome::Refused, Reason::OnlyIfCached),
            Self::Compare(entry) => Some(entry),
            Self::Fetch(missing, _) => missing.selected.as_ref(),
            Self::Alone(_, stand_in) => stand_in.as_ref(),
        };
        let now = shared.clock.now();
        match decide::standing_in(shared, asked, stand_in, Failure::Unreachable, now) {
            Some(_) => Would::new(Outcome::Stale, Reason::IfError),
            None => Would::new(Outcome::Failed, error.reason),
        }
    }

    /// Says what would have become of it with this head of the origin's, and what is to be heard of the body.
    pub(super) fn judge(
        self,
        way: &Arc<Way>,
        asked: &Arc<Asked>,
        (parts, body): (&response::Parts, &ResponseBody),
        asking: Asking,
    ) -> Judged {
        let seen = Seen { way, asked, parts, body, asking, received_at: way.shared.clock.now() };
        match self {
            Self::Answer(usable) => seen.answered(&usable),
            Self::Compare(entry) => seen.compared(&entry),
            Self::Fetch(missing, role) => seen.fetched(&missing, role),
            Self::Alone(decision, stand_in) => seen.alone(decision, stand_in.as_ref()),
            Self::Refuse => Judged::new(Outcome::Refused, Reason::OnlyIfCached),
        }
    }
}

impl Judged {
    fn new(outcome: Outcome, reason: Reason) -> Self {
        Self { would: Would::new(outcome, reason), aim: Aim::default() }
    }
}

/// The origin's head, as it is judged.
struct Seen<'a> {
    way: &'a Arc<Way>,
    asked: &'a Arc<Asked>,
    parts: &'a response::Parts,
    body: &'a ResponseBody,
    asking: Asking,
    received_at: Timestamp,
}

impl Seen<'_> {
    fn answered(&self, usable: &Usable) -> Judged {
        let (way, asked) = (self.way, self.asked);
        let Decision { outcome, reason, .. } = usable.decision;
        let mut judged = Judged::new(outcome, reason);
        recode::rehearse(way, asked, &usable.entry);
        if usable.refresh {
            let stored = way.shared.store.get(&asked.key);
            let candidates = decide::candidates(&way.shared, asked, stored.as_deref(), Some(&usable.entry));
            judged.aim.keep = self.kept(self.effect(Some(&usable.entry), candidates), None);
        }
        if outcome == Outcome::Hit {
            judged.aim.against = Some(self.held(&usable.entry));
        }
        let is_due =
            |guard: &&_| credentials::is_due(guard, way.shared.config.guard_sample, || asked.credentials(&way.shared));
        if usable.is_watched && usable.entry.guard.as_deref().filter(is_due).is_some() {
            judged.aim.trial = self.trial(&usable.entry);
        }
        judged
    }

    fn compared(&self, entry: &Arc<Entry>) -> Judged {
        let mut judged = Judged::new(Outcome::Miss, Reason::Probation);
        judged.aim.doubted = Some(self.held(entry));
        judged.aim.trial = self.trial(entry);
        judged
    }

    fn fetched(&self, missing: &Missing, role: Role) -> Judged {
        let (way, asked) = (self.way, self.asked);
        let (stored, selected) = (missing.stored.as_deref(), missing.selected.as_ref());
        let candidates = decide::candidates(&way.shared, asked, stored, selected);
        let mut judged = Judged::new(Outcome::Miss, missing.reason);
        let effect = self.effect(selected, candidates);
        let is_shared = match &effect {
            Effect::Keeps(fill) | Effect::StandsFor(fill, _) => reuse::unshared(&fill.facts).is_none(),
            Effect::Confirms => true,
            Effect::Yields | Effect::Refused(_) | Effect::Nothing => false,
        };
        judged.would.collapsed = is_shared && matches!(role, Role::Follows);
        match &effect {
            Effect::Confirms => judged.would.outcome = Outcome::Revalidated,
            Effect::Yields => judged.would = Would::new(Outcome::Stale, Reason::IfError),
            Effect::Refused(reason) => judged.would.reason = *reason,
            Effect::Keeps(_) | Effect::StandsFor(..) | Effect::Nothing => {}
        }
        // Who follows keeps nothing: who leads does.
        if let Role::Leads(lead) = role {
            judged.aim.keep = self.kept(effect, Some(lead));
        }
        judged
    }

    fn alone(&self, decision: Decision, stand_in: Option<&Arc<Entry>>) -> Judged {
        let mut judged = Judged::new(decision.outcome, decision.reason);
        // In earnest the reason is told of the response that was not stored; here it is this one.
        if decision.reason == Reason::HitForMiss {
            match storable(&self.exchange(), self.parts.status, &self.parts.headers, self.body.is_unsized()) {
                Storable::Yes(facts) => {
                    let head = (self.parts.status, &self.parts.headers);
                    let length = http_body::Body::size_hint(self.body).exact();
                    pass::forget_if_stored_again(self.way, self.asked, &facts, head, length);
                }
                Storable::No(reason) => judged.would.reason = reason,
            }
        }
        if let Some(selected) = stand_in.filter(|_| self.asked.facts.is_head) {
            self.tell_by_head(selected);
        }
        if self.is_replaced(stand_in) {
            judged.would = Would::new(Outcome::Stale, Reason::IfError);
        }
        judged
    }

    fn exchange(&self) -> Exchange<'_> {
        self.asked.exchange(self.asking.at, self.received_at)
    }

    /// Tells whether something kept would have replaced this answer.
    fn is_replaced(&self, stand_in: Option<&Arc<Entry>>) -> bool {
        self.parts.status.is_server_error()
            && decide::standing_in(&self.way.shared, self.asked, stand_in, Failure::ServerError, self.received_at)
                .is_some()
    }

    /// A HEAD may update what is kept (RFC 9111 §4.3.5). In earnest it would have been asked for in the coding that is stored:
    /// what tells of another says nothing.
    fn tell_by_head(&self, selected: &Arc<Entry>) {
        if self.parts.headers.contains_key(header::CONTENT_ENCODING) {
            return;
        }
        let exchange = self.exchange();
        let head = (self.parts.status, &self.parts.headers);
        confirm::by_head(self.way, self.asked, selected, &exchange, head, self.asking.sequence);
    }

    /// Does to what is kept what the response's head does, and says what its body is to do. `selected` is what the response
    /// replaces, `candidates` what the origin would have been asked about.
    fn effect(&self, selected: Option<&Arc<Entry>>, candidates: Candidates) -> Effect {
        let (way, asked, parts) = (self.way, self.asked, self.parts);
        if self.is_replaced(selected) {
            return Effect::Yields;
        }
        // It was not asked about what is kept, yet tells whether it would have confirmed that: by a 304 to the client's own
        // precondition that names it, or by the same validators on a whole response.
        let is_told = matches!(parts.status, StatusCode::NOT_MODIFIED | StatusCode::OK | StatusCode::PARTIAL_CONTENT);
        if is_told && !asked.facts.is_head && self.is_confirmed(candidates) {
            return Effect::Confirms;
        }
        if parts.status == StatusCode::NOT_MODIFIED {
            return Effect::Nothing;
        }
        if asked.facts.is_head {
            if let Some(selected) = selected {
                self.tell_by_head(selected);
                return Effect::Nothing;
            }
            return self.stands_for(content_length(&parts.headers));
        }
        if parts.status == StatusCode::PARTIAL_CONTENT {
            let range = parts.headers.get(header::CONTENT_RANGE);
            return self.stands_for(range.and_then(pass::complete_length));
        }
        let judged = match storable(&self.exchange(), parts.status, &parts.headers, self.body.is_unsized()) {
            Storable::Yes(facts) => {
                match decide::kept_out(&way.shared, asked, &facts, (parts.status, &parts.headers)) {
                    None => {
                        let mut headers = parts.headers.clone();
                        let length = http_body::Body::size_hint(self.body).exact();
                        let arrived = Arrived { status: parts.status, headers: &mut headers, length };
                        fill::prepare_arrived(way, asked, arrived, facts, (self.asking.at, self.asking.sequence))
                    }
                    Some(reason) => Err(reason),
                }
            }
            Storable::No(reason) => Err(reason),
        };
        match judged {
            Ok(mut fill) => {
                way.shared.memories.forget(asked.key.hash());
                fill.replaces = selected.cloned();
                Effect::Keeps(Box::new(fill))
            }
            Err(reason) => {
                fill::drop_superseded(way, asked, selected, parts.status, reason);
                remember::not_stored(way, asked, reason);
                Effect::Refused(reason)
            }
        }
    }

    /// Updates what is kept as the 304 would have that the origin would have sent. False where it would have sent none.
    fn is_confirmed(&self, mut candidates: Candidates) -> bool {
        let mut headers = self.parts.headers.clone();
        candidates.retain(|entry| validate::would_confirm(&entry.head, &headers));
        if candidates.is_empty() {
            return false;
        }
        // What describes the content of this message is not on a 304.
        for name in [header::CONTENT_ENCODING, header::CONTENT_LENGTH, header::CONTENT_RANGE] {
            headers.remove(name);
        }
        let exchange = self.exchange();
        confirm::by_304(self.way, self.asked, &candidates, &exchange, &headers, self.asking.sequence).is_some()
    }

    /// In earnest the whole would have been fetched, which has this length.
    fn stands_for(&self, length: Option<u64>) -> Effect {
        let Some(length) = length else { return Effect::Nothing };
        let mut headers = self.parts.headers.clone();
        headers.remove(header::CONTENT_RANGE);
        let status = if self.asked.facts.is_head { self.parts.status } else { StatusCode::OK };
        let exchange = Exchange { method: &Method::GET, ..self.exchange() };
        let prepared = match storable(&exchange, status, &headers, false) {
            Storable::No(reason) => Err(reason),
            Storable::Yes(mut facts) => {
                facts.no_transform = true;
                let arrived = Arrived { status, headers: &mut headers, length: Some(length) };
                let asking = (self.asking.at, self.asking.sequence);
                fill::prepare_arrived(self.way, self.asked, arrived, facts, asking)
            }
        };
        match prepared {
            Ok(fill) => {
                self.way.shared.memories.forget(self.asked.key.hash());
                Effect::StandsFor(Box::new(fill), length)
            }
            Err(reason) => {
                remember::not_stored(self.way, self.asked, reason);
                Effect::Refused(reason)
            }
        }
    }

    fn kept(&self, effect: Effect, lead: Option<Lead<Landed>>) -> Option<Kept> {
        let (fill, stands_for) = match effect {
            Effect::Keeps(fill) => (fill, None),
            Effect::StandsFor(fill, length) => (fill, Some(length)),
            Effect::Confirms | Effect::Yields | Effect::Refused(_) | Effect::Nothing => return None,
        };
        Some(Kept { fill, stands_for, coding: coding_of(&self.parts.headers), lead })
    }

    /// Makes ready to hold the body against an entry's.
    fn held(&self, entry: &Arc<Entry>) -> Held {
        let (parts, asked) = (self.parts, self.asked);
        let is_same_tag = validate::would_confirm(&entry.head, &parts.headers);
        let is_whole = asked.method == Method::GET && trial::says_something(asked, parts.status);
        let at_head = match parts.status {
            // The app says that what the client holds is still right, and names it.
            StatusCode::NOT_MODIFIED if is_same_tag => Some(Compared::Same),
            _ if !is_whole => Some(Compared::Unknown),
            status if status != entry.facts.status => Some(Compared::Different),
            _ => None,
        };
        let is_stripped = asked.rule.set_cookie == SetCookie::Strip;
        Held {
            entry: Arc::clone(entry),
            at_head,
            is_same_tag,
            coding: coding_of(&parts.headers),
            response: differing(&entry.head, &parts.headers, is_stripped),
        }
    }

    /// Makes a comparison for the personalisation guard, where the response says what the requester gets.
    fn trial(&self, entry: &Arc<Entry>) -> Option<(Trial, Verdict)> {
        let guard = Arc::clone(entry.guard.as_ref()?);
        let parts = self.parts;
        let (_, refusal) = storable::judge(&self.exchange(), parts.status, &parts.headers);
        let is_told = self.asked.method == Method::GET && trial::says_something(self.asked, parts.status);
        let set = |name: &HeaderName| parts.headers.get_all(name).iter().map(|line| line.as_bytes());
        let differs = parts.status != entry.facts.status
            || !entry.head.get_all(&header::SET_COOKIE).eq(set(&header::SET_COOKIE))
            || !entry.head.get_all(&header::LOCATION).eq(set(&header::LOCATION))
            || matches!(refusal, Some(Reason::Private | Reason::NoStore));
        let trial = Trial { asked: Arc::clone(self.asked), entry: Arc::clone(entry), guard };
        let verdict = if differs { Verdict::Differs } else { Verdict::ByBody };
        is_told.then_some((trial, verdict))
    }
}

/// Returns which of [`RESPONSE_FIELDS`] differ, a bit each.
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

/// Returns the coding that a body came in; `None` for one that is not compared.
fn coding_of(headers: &HeaderMap) -> Option<Coding> {
    let mut lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let (line, None) = (lines.next(), lines.next()) else { return None };
    let token = line.map_or(&b"identity"[..], |line| line.as_bytes().trim_ascii()).to_ascii_lowercase();
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
