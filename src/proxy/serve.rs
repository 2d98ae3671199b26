//! **The way of a request**, as one chain of decisions to read first.
//!
//! ```text
//! Asked::read   canonical target ► route ► classify ► key           or refused, or passed (why?), or a purge
//! decide        store ► ledger ► policy::reuse ► policy::admission  Usable | Doubted | Missing | Alone | OnlyIfCached
//! shadow        in shadow mode: passed, while what would have become of it is counted
//! fetch         one flight per key ► origin ► policy::storable ► store
//! compare       one flight per doubted body ► origin ► shared, or dropped
//! answer        preconditions ► range ► coding ► head
//! Way::finish   Decision at the head, End at the body's end
//! ```

use std::sync::Arc;

use http::{HeaderName, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::time::timeout;

use super::asked::{Asked, Errand};
use super::decide::{self, Alone, Fetching, Found, Missing, Usable};
use super::fill;
use super::flight::{Fill, Handed, Landed};
use super::{
    Answer, Body, Peer, Turn, Way, answer, compare, pass, probation, purge, recode, remember, rescue, shadow, trace,
};
use crate::clock::Timestamp;
use crate::origin::coalesce::Joined;
use crate::outcome::{Decision, Outcome, Reason, Stored};
use crate::policy::reuse::{self, Collapse, Failure};
use crate::policy::storable::{Exchange, Storable, storable};
use crate::policy::{Standing, freshness, vary};
use crate::route::Mode;
use crate::stored::Entry;

/// How often a request looks again after a flight that was not for it, before it asks the origin on its own.
const ROUNDS_MAX: usize = 4;

/// Answers a request: at once where the store can, else later.
pub(super) fn serve(way: &Arc<Way>, peer: &Peer, request: Request<Incoming>) -> Answer {
    let (asked, errand, request) = match Asked::read(&way.shared, peer, request) {
        Ok(read) => read,
        Err(refusal) => return Answer::Now(rescue::unread(way, peer.addr.ip().to_canonical(), &refusal)),
    };
    match errand {
        Errand::LookUp if asked.rule.mode == Mode::Shadow => {
            return later(way, asked, |way, asked| shadow::pass(way, asked, request));
        }
        Errand::LookUp => {}
        Errand::Pass(reason) => return later(way, asked, |way, asked| passed(way, asked, request, reason)),
        Errand::Purge => return Answer::Now(purge::answer(way, &asked)),
    }
    match look_up(way, &asked, asked.at) {
        Found::Usable(usable) => match answer::stored(way, &asked, &usable.entry, usable.decision) {
            Ok(response) => {
                aside(way, asked, usable);
                Answer::Now(response)
            }
            Err(coding) => later(way, asked, |way, asked| async move {
                let response = recode::answer(&way, &asked, &usable.entry, usable.decision, coding).await;
                aside(&way, asked, usable);
                response
            }),
        },
        Found::OnlyIfCached => Answer::Now(only_if_cached(way, &asked)),
        found => {
            let request = Box::new(request);
            later(way, asked, |way, asked| ask(way, asked, request, found))
        }
    }
}

/// Makes an answer to wait for. Where the request is traced and its client does not wait, that is told.
fn later<F>(way: &Arc<Way>, asked: Arc<Asked>, answer: impl FnOnce(Arc<Way>, Arc<Asked>) -> F) -> Answer
where
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let unanswered = trace::Unanswered::new(&way.shared, &asked);
    let answer = answer(Arc::clone(way), asked);
    if unanswered.is_nothing() {
        return Answer::Later(Box::pin(answer));
    }
    Answer::Later(Box::pin(async move {
        let response = answer.await;
        unanswered.answered();
        response
    }))
}

/// Looks into the store, as a step of the way that traces show.
fn look_up(way: &Way, asked: &Asked, now: Timestamp) -> Found {
    let looking = trace::look_up(&way.shared, asked);
    let found = decide::look_up(&way.shared, asked, now);
    looking.found(match &found {
        Found::Usable(usable) => usable.decision.reason.token(),
        Found::Doubted(_) => Reason::Probation.token(),
        Found::Missing(missing) => missing.reason.token(),
        Found::Alone(reason, _) => reason.token(),
        Found::OnlyIfCached => Reason::OnlyIfCached.token(),
    });
    found
}

/// What a hit leaves to be done off its way: a refresh, a check, or compressing what has now been asked for twice.
fn aside(way: &Arc<Way>, asked: Arc<Asked>, usable: Usable) {
    recode::compress_on_first_use(way, &asked, &usable.entry);
    if usable.is_watched {
        compare::check(way, &asked, &usable.entry);
    }
    if usable.refresh {
        let stored = way.shared.store.get(&asked.key);
        let name = decide::flight_name(&asked, &decide::vary_of(stored.as_deref()));
        // Nobody waits for a refresh: it takes what permits are left over, or is left to a later request.
        let Some(permit) = way.origin.permits().spare() else { return };
        if let Joined::Leader(lead) = way.shared.flights.join(name) {
            // Nobody is to be told of what goes on meanwhile, and a HEAD refreshes what a GET gets.
            let asked = Arc::new(asked.as_get(&way.shared));
            let errand = fill::Errand { asked, stored, selected: Some(usable.entry), permit: Some(permit) };
            way.metrics.record_refresh();
            fill::start(way, lead, errand);
        }
    }
}

/// Passes a request that is not looked up.
async fn passed(way: Arc<Way>, asked: Arc<Asked>, request: Request<Incoming>, reason: Reason) -> Response<Body> {
    let response = alone(&way, &asked, request, asked.decision(Outcome::Pass, reason), None).await;
    if asked.rule.mode == Mode::Shadow {
        shadow::passed_anyway(&way, &asked, reason, response.body().length());
    }
    response
}

/// What a request has learnt from a flight that was not for it.
#[derive(Default)]
struct Learnt {
    /// The selecting fields that its response was seen to have, which the store may not know yet.
    names: Option<Vec<HeaderName>>,
    /// Whether the origin confirmed only what the leader's client holds itself. Whoever leads next asks for the whole, so
    /// that it can answer everybody.
    asks_whole: bool,
    /// Whether the origin broke off on the leader's request, or answered how that was made. Where it does so again, it is not for
    /// what the one request said.
    was_odd: bool,
}

/// Asks the origin for what the store does not have, or is in doubt about, together with whoever asks for the same.
///
/// What few requests come to is boxed, so that the future of a plain miss stays small: it is copied on its way.
async fn ask(way: Arc<Way>, asked: Arc<Asked>, request: Box<Request<Incoming>>, mut found: Found) -> Response<Body> {
    let mut round = 1;
    let mut learnt = Learnt::default();
    loop {
        let turn = match found {
            Found::Usable(usable) => return Box::pin(again(&way, &asked, usable)).await,
            Found::OnlyIfCached => return only_if_cached(&way, &asked),
            Found::Alone(reason, stand_in) => {
                Turn::Alone(Alone { decision: asked.decision(Outcome::Pass, reason), stand_in })
            }
            Found::Doubted(entry) => Box::pin(compare::compare(&way, &asked, entry)).await,
            Found::Missing(missing) => fetch(&way, &asked, missing, &mut learnt).await,
        };
        match turn {
            Turn::Response(response) => return *response,
            Turn::Again(_) if round < ROUNDS_MAX => {
                round += 1;
                found = look_up(&way, &asked, way.shared.clock.now());
            }
            Turn::Again(how) | Turn::Alone(how) => {
                return Box::pin(alone(&way, &asked, *request, how.decision, how.stand_in.as_ref())).await;
            }
        }
    }
}

/// Fetches what the store does not have: as the leader of a flight, or as a follower.
async fn fetch(way: &Arc<Way>, asked: &Arc<Asked>, missing: Missing, learnt: &mut Learnt) -> Turn {
    let decision = asked.decision(Outcome::Miss, missing.reason);
    let alone = |decision| Turn::Alone(Alone { decision, stand_in: missing.selected.clone() });
    let joined = match decide::fetching(&way.shared, asked, &missing, learnt.names.take()) {
        Fetching::Alone(decision) => return alone(decision),
        Fetching::Together(name) => way.shared.flights.join(name),
        Fetching::Apart => Joined::Leader(way.shared.flights.alone()),
    };
    let again = || Turn::Again(Alone { decision, stand_in: missing.selected.clone() });
    let follow = match joined {
        Joined::Follower(follow) => follow,
        Joined::Leader(lead) => {
            // A flight may have landed between the look-up and here: then there is nothing to lead.
            let missing = if way.shared.flights.left() == missing.flights_left {
                missing
            } else {
                match look_up(way, asked, way.shared.clock.now()) {
                    Found::Missing(missing) => missing,
                    _ => return again(),
                }
            };
            let leading = match (asked.facts.is_head, learnt.asks_whole) {
                (true, _) => Arc::new(asked.as_get(&way.shared)),
                (false, true) => Arc::new(asked.unconditional()),
                (false, false) => Arc::clone(asked),
            };
            let errand =
                fill::Errand { asked: leading, stored: missing.stored, selected: missing.selected, permit: None };
            let handed = fill::led(way, lead, errand).await;
            return Turn::Response(received(way, asked, handed, missing.reason).await);
        }
    };
    let waiting = trace::wait_for_flight(&way.shared, asked);
    let landed = timeout(way.shared.config.flight_timeout, follow.landed()).await;
    drop(waiting);
    let Ok(landed) = landed else { return alone(decision) };
    let Some(landed) = landed else { return again() };
    // One odd request that an app cannot bear is not to fail all who ask for the same, nor to have each of them ask alone:
    // another leads, once.
    let is_odd = match &landed {
        Landed::Failed(error) => error.broke_off(),
        Landed::Unshared(reason) => *reason == Reason::StatusNotUnderstood,
        _ => false,
    };
    if is_odd && !learnt.was_odd {
        learnt.was_odd = true;
        way.shared.flights.withdraw(&follow);
        return again();
    }
    match Box::pin(shared(way, asked, landed, missing.reason)).await {
        Share::Response(response) => Turn::Response(response),
        Share::Again(lesson) => {
            *learnt = Learnt { was_odd: learnt.was_odd, ..lesson };
            again()
        }
        Share::Spent(lesson) => {
            way.shared.flights.withdraw(&follow);
            *learnt = Learnt { was_odd: learnt.was_odd, ..lesson };
            again()
        }
        Share::Outdated => {
            way.shared.flights.withdraw(&follow);
            let decision = Decision { stored: Stored::No(Reason::InvalidatedMeanwhile), ..decision };
            Turn::Again(Alone { decision, stand_in: missing.selected.clone() })
        }
        Share::Alone(reason) => alone(Decision { stored: Stored::No(reason), ..decision }),
    }
}

/// Asks the origin for this request alone.
async fn alone(
    way: &Arc<Way>,
    asked: &Arc<Asked>,
    request: Request<Incoming>,
    decision: Decision,
    stand_in: Option<&Arc<Entry>>,
) -> Response<Body> {
    match pass::pass(way, asked, request, decision, stand_in).await {
        Ok(response) => response,
        Err(error) => match rescue::stale(way, asked, Failure::Unreachable, stand_in).await {
            Some(response) => response,
            None => rescue::failed(way, asked, &error),
        },
    }
}

/// Answers who wants nothing but a stored response, where none suits.
fn only_if_cached(way: &Way, asked: &Asked) -> Response<Body> {
    rescue::refused(way, asked, StatusCode::GATEWAY_TIMEOUT, Reason::OnlyIfCached)
}

/// Answers from the store after all.
async fn again(way: &Arc<Way>, asked: &Asked, usable: Usable) -> Response<Body> {
    if usable.is_watched {
        compare::check(way, asked, &usable.entry);
    }
    let decision = Decision { collapsed: true, ..usable.decision };
    recode::stored(way, asked, &usable.entry, decision).await
}

/// Answers the leader's own client: at once, but where a stored body has to be recoded first. It was handed nothing where its
/// flight was lost.
async fn received(way: &Arc<Way>, asked: &Asked, handed: Option<Handed>, reason: Reason) -> Box<Response<Body>> {
    let (entry, decision) = match handed {
        Some(Handed::Response(response, not_stored)) => {
            let decision = Decision {
                stored: Stored::No(not_stored),
                fwd_status: Some(response.status().as_u16()),
                ..asked.decision(Outcome::Miss, reason)
            };
            return Box::new(answer::passed(way, asked, *response, decision));
        }
        Some(Handed::Landed(Landed::Filling(fill), begun)) => {
            return match answer::filling(way, asked, &fill, filling(asked, &fill, reason), begun) {
                Some(response) => Box::new(response),
                None => Box::new(rescue::panicked(way, asked)),
            };
        }
        Some(Handed::Landed(Landed::Failed(error), _)) => return Box::new(rescue::failed(way, asked, &error)),
        Some(Handed::Landed(Landed::Confirmed(entry), _)) => {
            let decision = confirmed(way, asked, &entry, reason);
            (entry, decision)
        }
        Some(Handed::Landed(Landed::StoodIn(entry), _)) => {
            let decision = decide::stood_in(&way.shared, asked, &entry);
            (entry, decision)
        }
        Some(Handed::Landed(Landed::Unchanged | Landed::Unshared(_), _)) | None => {
            return Box::new(rescue::panicked(way, asked));
        }
    };
    Box::new(Box::pin(recode::stored(way, asked, &entry, decision)).await)
}

/// What a follower makes of what a flight landed with.
enum Share {
    Response(Box<Response<Body>>),
    /// It is for others: look again, knowing this.
    Again(Learnt),
    /// Look again, knowing this; it is of no more use to anybody who comes now. It may still be in the table, where who looks
    /// again must not find it.
    Spent(Learnt),
    /// It was asked for before a purge that covers it, and this request comes after that. It may fly on for long.
    Outdated,
    /// It is not for this request, for this reason.
    Alone(Reason),
}

/// Decides whether what a flight landed with answers a follower too.
async fn shared(way: &Arc<Way>, asked: &Asked, landed: Landed, reason: Reason) -> Share {
    let collapsed = |decision| Decision { collapsed: true, ..decision };
    if let Some(share) = barred(way, asked, &landed) {
        return share;
    }
    let response = match landed {
        Landed::Filling(fill) => {
            // What another user brings in is compared once it is whole, not handed on.
            if fill.leader.is_some_and(|leader| !probation::admits_from(&way.shared, asked, leader)) {
                let _waiting = trace::wait_for_flight(&way.shared, asked);
                return match timeout(way.shared.config.flight_timeout, fill.body.settled()).await {
                    Ok(()) => Share::Again(Learnt::default()),
                    Err(_) => Share::Alone(Reason::Probation),
                };
            }
            if is_outdated(way, asked, &fill) {
                return Share::Outdated;
            }
            if let Some(reason) = unshareable(asked, &fill) {
                return Share::Alone(reason);
            }
            match answer::filling(way, asked, &fill, collapsed(filling(asked, &fill, reason)), None) {
                Some(response) => response,
                None => return Share::Alone(Reason::TooLarge),
            }
        }
        // It was confirmed before what this request comes after (RFC 9111 §4.4).
        Landed::Confirmed(entry) if reuse::is_barred(&entry.facts, standing(way, asked, &entry)) => {
            return Share::Outdated;
        }
        Landed::StoodIn(entry) if standing(way, asked, &entry) == Standing::Gone => return Share::Outdated,
        Landed::Confirmed(entry) if !probation::admits(&way.shared, asked, &entry) => {
            return Share::Again(Learnt::default());
        }
        Landed::Confirmed(entry) => {
            recode::stored(way, asked, &entry, collapsed(confirmed(way, asked, &entry, reason))).await
        }
        Landed::StoodIn(entry) if !probation::may_stand_in(&way.shared, asked, &entry) => {
            return Share::Again(Learnt::default());
        }
        Landed::StoodIn(entry) => {
            recode::stored(way, asked, &entry, collapsed(decide::stood_in(&way.shared, asked, &entry))).await
        }
        Landed::Failed(error) => rescue::failed(way, asked, &error),
        Landed::Unchanged => return Share::Spent(Learnt { asks_whole: true, ..Learnt::default() }),
        // It says nothing of the others: one of them leads anew.
        Landed::Unshared(reason) if remember::lies_in_request(reason) => return Share::Spent(Learnt::default()),
        Landed::Unshared(reason) => return Share::Alone(reason),
    };
    Share::Response(Box::new(response))
}

/// Says what becomes of a follower that the response's own fields keep from what its flight landed with: Vary (RFC 9111 §4.1),
/// or that it may not be reused without asking the origin (§4).
fn barred(way: &Way, asked: &Asked, landed: &Landed) -> Option<Share> {
    let (selecting, facts) = match landed {
        Landed::Filling(fill) => (&fill.selecting, Some(&fill.facts)),
        Landed::Confirmed(entry) => (&entry.selecting, Some(&entry.facts)),
        // It may stand in for whoever the origin fails.
        Landed::StoodIn(entry) => (&entry.selecting, None),
        Landed::Unchanged | Landed::Unshared(_) | Landed::Failed(_) => return None,
    };
    let names = || Some(selecting.iter().map(|(name, _)| name.clone()).collect());
    if !vary::matches(selecting, &asked.headers) {
        return Some(Share::Again(Learnt { names: names(), ..Learnt::default() }));
    }
    let facts = facts?;
    match (landed, reuse::collapse(&asked.facts, asked.at, facts, way.shared.clock.now(), &asked.rule)) {
        (_, Collapse::Shared) => None,
        // Its own validation is another request, to which what is stored by now may be put.
        (Landed::Confirmed(_), _) => Some(Share::Again(Learnt::default())),
        (_, Collapse::Outlived) => Some(Share::Spent(Learnt { names: names(), ..Learnt::default() })),
        (_, Collapse::Unshared(reason)) => Some(Share::Alone(reason)),
    }
}

/// Tells whether a purge that came after the fetch began forbids a follower what it brought. A soft one does where the
/// response may not be used stale.
fn is_outdated(way: &Way, asked: &Asked, fill: &Fill) -> bool {
    let standing = way.shared.store.standing_of(&asked.key, &fill.tags, fill.sequence, asked.at);
    reuse::is_barred(&fill.facts, standing)
}

fn standing(way: &Way, asked: &Asked, entry: &Entry) -> Standing {
    way.shared.store.standing(&asked.key, entry, asked.at)
}

/// Runs policy again for a follower, whose request may forbid what the leader's allowed. Returns why the response is not
/// the follower's.
fn unshareable(asked: &Asked, fill: &Fill) -> Option<Reason> {
    // A HEAD follows a GET: it gets that one's head.
    let exchange = Exchange { method: &Method::GET, ..asked.exchange(fill.requested_at, fill.facts.received_at) };
    match storable(&exchange, fill.status, &fill.came().to_map(), false) {
        Storable::Yes(_) => None,
        Storable::No(reason) => Some(reason),
    }
}

fn filling(asked: &Asked, fill: &Fill, reason: Reason) -> Decision {
    Decision {
        stored: Stored::Begun,
        fwd_status: Some(fill.status.as_u16()),
        ttl: Some(freshness::ttl(&fill.facts, fill.facts.received_at)),
        ..asked.decision(Outcome::Miss, reason)
    }
}

fn confirmed(way: &Way, asked: &Asked, entry: &Entry, reason: Reason) -> Decision {
    Decision {
        fwd_status: Some(StatusCode::NOT_MODIFIED.as_u16()),
        ttl: Some(freshness::ttl(&entry.facts, way.shared.clock.now())),
        ..asked.decision(Outcome::Revalidated, reason)
    }
}
