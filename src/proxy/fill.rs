//! Fetching what is not stored, or no longer fresh: one flight per key, led by a task of its own.
//!
//! A client that hangs up does not end the flight. What the origin answers lands as a [`Landed`]: a body that all may read
//! while it fills, a stored entry that was confirmed or stands in, or the news that everybody has to ask alone.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use tokio::sync::oneshot;

use super::asked::Asked;
use super::confirm::{self, Confirmed};
use super::decide::{self, Keeping};
use super::filling::Filling;
use super::flight::{Begun, Fill, Handed, Landed};
use super::forward::{self, AskFor};
use super::{Way, pour, probation, remember, shared_cookies, trace};
use crate::clock::Timestamp;
use crate::origin::coalesce::Lead;
use crate::origin::{self, Permit, RequestBody, ResponseBody};
use crate::outcome::Reason;
use crate::policy::reuse::Failure;
use crate::policy::storable::{Storable, storable};
use crate::policy::validate::{self, Candidates};
use crate::policy::{fields, vary};
use crate::respond::head;
use crate::respond::range::Piece;
use crate::route::SetCookie;
use crate::stored::{Entry, Facts, FlatHead, Variants};

/// What is to be fetched, and what was found stored.
pub(super) struct Errand {
    /// The request.
    pub(super) asked: Arc<Asked>,
    /// Everything under its key.
    pub(super) stored: Option<Arc<Variants>>,
    /// The one that the request selects, which is not fresh.
    pub(super) selected: Option<Arc<Entry>>,
    /// The permit that a refresh in the background begins with; whoever has none waits for one.
    pub(super) permit: Option<Permit>,
}

/// Starts a task that leads a flight which nobody waits for.
pub(super) fn start(way: &Arc<Way>, lead: Lead<Landed>, errand: Errand) {
    spawn(run(Arc::clone(way), lead, errand, oneshot::channel().0));
}

/// Leads a flight for a client that waits for it; `None` where that failed on our side.
///
/// A task of its own, not only so that the flight outlives its client: each of its turns polls the fill alone, where a
/// turn of the client's would go through its whole connection.
pub(super) async fn led(way: &Arc<Way>, lead: Lead<Landed>, errand: Errand) -> Option<Handed> {
    let (hand, handed) = oneshot::channel();
    spawn(run(Arc::clone(way), lead, errand, hand));
    handed.await.ok()
}

/// Starts a task. Its future is boxed first: it is large, and would be copied half a dozen times on its way into the task.
fn spawn(flight: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(Box::pin(flight));
}

async fn run(way: Arc<Way>, lead: Lead<Landed>, mut errand: Errand, hand: oneshot::Sender<Handed>) {
    let shared = &way.shared;
    let sequence = shared.store.sequence();
    let land = |landed: Landed| {
        lead.land(landed.clone());
        landed
    };
    let permit = errand.permit.take();
    let (landed, flight) = match fetch(&way, &errand, sequence, permit).await {
        Fetched::Confirmed(Confirmed::ForAll(entry)) => (land(Landed::Confirmed(entry)), None),
        Fetched::Confirmed(Confirmed::Once(entry, reason)) => {
            lead.land(Landed::Unshared(reason));
            (Landed::Confirmed(entry), None)
        }
        Fetched::StoodIn(entry) => (land(Landed::StoodIn(entry)), None),
        Fetched::Failed(error) => (land(Landed::Failed(error)), None),
        Fetched::Response { response, requested_at, received_at } => {
            let (mut parts, body) = response.into_parts();
            match judge(&way, &errand.asked, (&mut parts, &body), (requested_at, received_at), sequence) {
                Ok(mut fill) => {
                    fill.replaces = errand.selected.clone();
                    let fill = Arc::new(fill);
                    (land(Landed::Filling(Arc::clone(&fill))), Some((fill, parts.headers, body)))
                }
                Err(reason) => {
                    drop_superseded(&way, &errand.asked, errand.selected.as_ref(), parts.status, reason);
                    // It says of this client's copy, not of the key, that there is nothing to store.
                    if parts.status == StatusCode::NOT_MODIFIED {
                        lead.land(Landed::Unchanged);
                    } else {
                        remember::not_stored(&way, &errand.asked, reason);
                        lead.land(Landed::Unshared(reason));
                    }
                    // Where the client has gone, dropping the response cancels the origin's work.
                    let _ = hand.send(Handed::Response(Box::new(Response::from_parts(parts, body)), reason));
                    return;
                }
            }
        }
    };
    let Some((fill, fields, body)) = flight else {
        let _ = hand.send(Handed::Landed(landed, None));
        return;
    };
    let _ = hand.send(Handed::Landed(landed, begin(&fill, fields)));
    pour::pour(&way, lead, &errand.asked, &fill, body).await;
}

/// Makes what the client begins with that brings a response in; `fields` are those that [`prepare`] has left.
pub(super) fn begin(fill: &Fill, fields: HeaderMap) -> Option<Box<Begun>> {
    fill.body.reader([Piece::Cut(0..u64::MAX)]).map(|reader| Box::new(Begun { fields, reader }))
}

/// What asking the origin came to.
enum Fetched {
    Response { response: Box<Response<ResponseBody>>, requested_at: Timestamp, received_at: Timestamp },
    Confirmed(Confirmed),
    StoodIn(Arc<Entry>),
    Failed(origin::Error),
}

/// Asks the origin: conditionally where something stored can be confirmed, and once more unconditionally where the answer
/// contradicts what is stored.
async fn fetch(way: &Way, errand: &Errand, sequence: u64, mut permit: Option<Permit>) -> Fetched {
    let stands_in = |failure, now| {
        decide::standing_in(&way.shared, &errand.asked, errand.selected.as_ref(), failure, now).map(Arc::clone)
    };
    let mut candidates =
        decide::candidates(&way.shared, &errand.asked, errand.stored.as_deref(), errand.selected.as_ref());
    loop {
        let permitted = match permit.take() {
            Some(permit) => Ok(permit),
            None => trace::permit(way, &errand.asked).await,
        };
        // What waiting for a turn takes is no part of the response's age.
        let requested_at = way.shared.clock.now();
        let answer = match permitted {
            Ok(permit) => {
                let (request, asking) = outgoing(way, errand, &candidates);
                let response = way.origin.send(request, permit, forward::on_interim(&errand.asked)).await;
                asking.came_to(&response);
                response.map(Box::new)
            }
            Err(error) => Err(error),
        };
        let now = way.shared.clock.now();
        let response = match answer {
            Ok(response) => response,
            Err(error) => {
                return match stands_in(Failure::Unreachable, now) {
                    Some(entry) => Fetched::StoodIn(entry),
                    None => Fetched::Failed(error),
                };
            }
        };
        if response.status().is_server_error()
            && let Some(entry) = stands_in(Failure::ServerError, now)
        {
            return Fetched::StoodIn(entry);
        }
        if response.status() != StatusCode::NOT_MODIFIED || candidates.is_empty() {
            return Fetched::Response { response, requested_at, received_at: now };
        }
        let exchange = errand.asked.exchange(requested_at, now);
        match confirm::by_304(way, &errand.asked, &candidates, &exchange, response.headers(), sequence) {
            Some(confirmed) => return Fetched::Confirmed(confirmed),
            None => candidates = Candidates::default(),
        }
    }
}

/// Makes the origin's request: with the client's own preconditions where nothing stored can be confirmed, never with its
/// Range.
fn outgoing(way: &Way, errand: &Errand, candidates: &Candidates) -> (Request<RequestBody>, trace::Asking) {
    let asked = &errand.asked;
    let mut headers = forward::head(&way.shared.config, asked, AskFor::Identity);
    if asked.headers.keys().any(|name| name == header::RANGE || name == header::IF_RANGE) {
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
    }
    validate::make_conditional(&mut headers, candidates);
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let asking = trace::Asking::new(way, asked, &mut headers);
    (forward::request(asked, headers, body), asking)
}

/// Decides whether a response is stored and shared.
fn judge(
    way: &Way,
    asked: &Asked,
    (parts, body): (&mut http::response::Parts, &ResponseBody),
    (requested_at, received_at): (Timestamp, Timestamp),
    sequence: u64,
) -> Result<Fill, Reason> {
    let exchange = asked.exchange(requested_at, received_at);
    match storable(&exchange, parts.status, &parts.headers, body.is_unsized()) {
        Storable::Yes(facts) => match decide::kept_out(&way.shared, asked, &facts, (parts.status, &parts.headers)) {
            None => prepare(way, asked, (parts, body), facts, (requested_at, sequence)),
            Some(reason) => Err(reason),
        },
        Storable::No(reason) => Err(reason),
    }
}

/// Prepares a response that may be stored for filling, unless it is too large or has too many tags. Left in place are the
/// fields that go on to the client that brings it in; where it may not be stored, all of them.
pub(super) fn prepare(
    way: &Way,
    asked: &Asked,
    (parts, body): (&mut http::response::Parts, &ResponseBody),
    facts: Facts,
    asking: (Timestamp, u64),
) -> Result<Fill, Reason> {
    let length = http_body::Body::size_hint(body).exact();
    let arrived = Arrived { status: parts.status, headers: &mut parts.headers, length };
    prepare_arrived(way, asked, arrived, facts, asking)
}

/// A response's head, and what its body will come to, where that is known.
pub(super) struct Arrived<'a> {
    pub(super) status: StatusCode,
    pub(super) headers: &'a mut HeaderMap,
    pub(super) length: Option<u64>,
}

/// Prepares a response as [`prepare`] does, be its body under way or not.
pub(super) fn prepare_arrived(
    way: &Way,
    asked: &Asked,
    Arrived { status, headers, length }: Arrived<'_>,
    mut facts: Facts,
    (requested_at, sequence): (Timestamp, u64),
) -> Result<Fill, Reason> {
    let config = &way.shared.config;
    let Keeping { tags, names } = decide::keeping(&way.shared, &asked.rule, headers, length)?;
    let selecting = vary::selecting(&names, &asked.headers);
    facts.no_transform |= !decide::is_compressible(config, status, headers, length);
    pass_on(headers, asked.rule.set_cookie, facts.received_at);
    let (first, head) = flatten(headers, asked.rule.set_cookie);
    shared_cookies::note(way, asked, &head);
    Ok(Fill {
        status,
        first,
        head,
        is_first_hand: !headers.contains_key(header::AGE),
        leader: probation::is_guarded(asked, &facts, &selecting).then(|| asked.credentials(&way.shared)),
        facts,
        selecting,
        tags,
        requested_at,
        sequence,
        length,
        replaces: None,
        body: Filling::new(),
    })
}

/// Leaves the fields of a response that go on to the client that brings it in. The length is told by who sends the body.
fn pass_on(fields: &mut HeaderMap, set_cookie: SetCookie, received_at: Timestamp) {
    let mut ending = fields::hop_by_hop(fields);
    ending.push(header::CONTENT_LENGTH);
    ending.extend(fields::stripped_cookies(set_cookie));
    for name in ending {
        fields.remove(name);
    }
    if let header::Entry::Vacant(date) = fields.entry(header::DATE) {
        date.insert(head::date(received_at));
    }
}

/// Flattens a response's fields as they go on, where those are more than what is stored, and as they are stored.
fn flatten(fields: &HeaderMap, set_cookie: SetCookie) -> (Option<FlatHead>, FlatHead) {
    let unstored = fields::unstored(fields, set_cookie);
    let is_stored = |(name, _): &(&HeaderName, &HeaderValue)| !unstored.contains(*name);
    let is_more = fields.keys().any(|name| unstored.contains(name));
    let stored = fields.iter().filter(is_stored).map(|(name, value)| (name, value.as_bytes()));
    (is_more.then(|| FlatHead::from_map(fields)), FlatHead::from_fields(stored))
}

/// Drops what a response that may not be stored supersedes, unless it is the request that kept it from the store.
pub(super) fn drop_superseded(
    way: &Way,
    asked: &Asked,
    selected: Option<&Arc<Entry>>,
    status: StatusCode,
    reason: Reason,
) {
    if let Some(selected) = selected.filter(|_| validate::supersedes(status) && !remember::lies_in_request(reason)) {
        confirm::replace(way, asked, selected, None);
    }
}
