//! Fetches what is not stored, or no longer fresh: one flight per key, led by a task of its own.
//!
//! A client that hangs up does not end the flight. The origin's answer becomes a [`FlightResult`]:
//! a body that many read while it fills, a stored entry that was confirmed or is served stale, or
//! the news that each request has to go to the origin alone.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use tokio::sync::oneshot;

use super::coalesce::FlightLeader;
use super::confirm::{self, Confirmation};
use super::flight::{Fill, FlightResult, LeaderBody, LeaderResponse};
use super::received::{AskedAt, OriginResponse, ReceivedHead};
use super::shared_body::SharedBody;
use super::{receive, uncacheable};
use crate::clock::Timestamp;
use crate::origin::{self, Permit, RequestBody};
use crate::outcome::Reason;
use crate::policy::reuse::OriginFailure;
use crate::policy::storable::{Storable, storable};
use crate::policy::validate::{self, Candidates};
use crate::policy::{fields, vary};
use crate::proxy::decide::{self, StoragePlan};
use crate::proxy::request::context::RequestContext;
use crate::proxy::request::forward::{self, AskFor};
use crate::proxy::sharing::{probation, stored_cookies};
use crate::proxy::state::Worker;
use crate::proxy::trace;
use crate::respond::head;
use crate::respond::range::BodyPiece;
use crate::route::SetCookie;
use crate::stored::{Facts, FlatHead, StoredEntry, Variants};

/// One fetch with its context.
pub(crate) struct FetchJob {
    /// The request that the origin is asked for.
    pub(crate) ctx: Arc<RequestContext>,
    /// All variants under the request's key.
    pub(crate) stored: Option<Arc<Variants>>,
    /// The variant that the request selects, which is not fresh.
    pub(crate) selected: Option<Arc<StoredEntry>>,
    /// The permit of a background refresh; other jobs wait for one.
    pub(crate) permit: Option<Permit>,
}

/// Starts a task that leads a flight for which no client waits.
pub(crate) fn start(worker: &Arc<Worker>, lead: FlightLeader<FlightResult>, job: FetchJob) {
    spawn(run_flight(Arc::clone(worker), lead, job, oneshot::channel().0));
}

/// Leads a flight for a waiting client; `None` if the flight's task failed.
///
/// A task of its own outlives the client, and is cheaper to poll: a poll of the client's task would
/// go through its whole connection.
pub(crate) async fn lead(
    worker: &Arc<Worker>,
    lead: FlightLeader<FlightResult>,
    job: FetchJob,
) -> Option<LeaderResponse> {
    let (reply, response) = oneshot::channel();
    spawn(run_flight(Arc::clone(worker), lead, job, reply));
    response.await.ok()
}

/// Starts a task. The future is boxed first: it is large, and would be copied half a dozen times on
/// its way into the task.
fn spawn(flight: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(Box::pin(flight));
}

async fn run_flight(
    worker: Arc<Worker>,
    lead: FlightLeader<FlightResult>,
    mut job: FetchJob,
    reply: oneshot::Sender<LeaderResponse>,
) {
    let shared = &worker.shared;
    let sequence = shared.store.sequence();
    let land = |result: FlightResult| {
        lead.land(result.clone());
        result
    };
    let permit = job.permit.take();
    let (result, flight) = match fetch(&worker, &job, sequence, permit).await {
        FetchResult::Confirmed(Confirmation::ForAll(entry)) => (land(FlightResult::Confirmed(entry)), None),
        FetchResult::Confirmed(Confirmation::Once(entry, reason)) => {
            lead.land(FlightResult::Unshared(reason));
            (FlightResult::Confirmed(entry), None)
        }
        FetchResult::ServedStale(entry) => (land(FlightResult::ServedStale(entry)), None),
        FetchResult::Failed(error) => (land(FlightResult::Failed(error)), None),
        FetchResult::Response(response, asked_at) => {
            let OriginResponse { mut head, body } = *response;
            match judge(&worker, &job, &mut head, asked_at) {
                Ok(fill) => {
                    let fill = Arc::new(fill);
                    (land(FlightResult::InProgress(Arc::clone(&fill))), Some((fill, head.headers, body)))
                }
                Err(reason) => {
                    drop_superseded(&worker, &job.ctx, job.selected.as_ref(), head.status, reason);
                    // A 304 says that nothing is to be stored of this client's copy. It says
                    // nothing of the key.
                    if head.status == StatusCode::NOT_MODIFIED {
                        lead.land(FlightResult::Unchanged);
                    } else {
                        let (hash, at) = (job.ctx.key.hash(), job.ctx.at);
                        shared.uncacheable.record_not_stored(hash, at, shared.config.hit_for_miss, reason);
                        lead.land(FlightResult::Unshared(reason));
                    }
                    // If the client has gone, dropping the response cancels the origin's work.
                    let _ = reply.send(LeaderResponse::Response(Box::new(OriginResponse { head, body }), reason));
                    return;
                }
            }
        }
    };
    let Some((fill, fields, body)) = flight else {
        let _ = reply.send(LeaderResponse::FromFlight(result, None));
        return;
    };
    let _ = reply.send(LeaderResponse::FromFlight(result, leader_body(&fill, fields)));
    receive::receive(&worker, lead, &job.ctx, &fill, body).await;
}

/// Makes the start of the response to the client that brings it in; `fields` are those that
/// [`prepare`] has left.
pub(crate) fn leader_body(fill: &Fill, fields: HeaderMap) -> Option<Box<LeaderBody>> {
    fill.body.reader([BodyPiece::Cut(0..u64::MAX)]).map(|reader| Box::new(LeaderBody { fields, reader }))
}

/// The result of asking the origin.
enum FetchResult {
    Response(Box<OriginResponse>, AskedAt),
    Confirmed(Confirmation),
    ServedStale(Arc<StoredEntry>),
    Failed(origin::Error),
}

/// Asks the origin: conditionally if a stored entry can be confirmed, and once more unconditionally
/// if the answer contradicts the stored entries.
async fn fetch(worker: &Worker, job: &FetchJob, sequence: u64, mut permit: Option<Permit>) -> FetchResult {
    let stands_in = |failure, now| {
        decide::usable_stand_in(&worker.shared, &job.ctx, job.selected.as_ref(), failure, now).map(Arc::clone)
    };
    let mut candidates = decide::candidates(&worker.shared, &job.ctx, job.stored.as_deref(), job.selected.as_ref());
    loop {
        let permitted = match permit.take() {
            Some(permit) => Ok(permit),
            None => trace::permit(worker, &job.ctx).await,
        };
        // The wait for a permit does not count as age of the response.
        let asked_at = AskedAt { time: worker.shared.clock.now(), sequence };
        let answer = match permitted {
            Ok(permit) => {
                let (request, asking) = origin_request(worker, job, &candidates);
                let response = worker.origin.send(request, permit, forward::on_interim(&job.ctx)).await;
                asking.finish(&response);
                response
            }
            Err(error) => Err(error),
        };
        let now = worker.shared.clock.now();
        let response = match answer {
            Ok(response) => Box::new(OriginResponse::new(response, now)),
            Err(error) => {
                return match stands_in(OriginFailure::Unreachable, now) {
                    Some(entry) => FetchResult::ServedStale(entry),
                    None => FetchResult::Failed(error),
                };
            }
        };
        if response.head.status.is_server_error()
            && let Some(entry) = stands_in(OriginFailure::ServerError, now)
        {
            return FetchResult::ServedStale(entry);
        }
        if response.head.status != StatusCode::NOT_MODIFIED || candidates.is_empty() {
            return FetchResult::Response(response, asked_at);
        }
        match confirm::by_304(worker, &job.ctx, &candidates, &response.head, asked_at) {
            Some(confirmed) => return FetchResult::Confirmed(confirmed),
            None => candidates = Candidates::default(),
        }
    }
}

/// Makes the origin's request: with the client's own preconditions if no stored entry can be
/// confirmed, never with its Range.
fn origin_request(
    worker: &Worker,
    job: &FetchJob,
    candidates: &Candidates,
) -> (Request<RequestBody>, trace::OriginSpan) {
    let ctx = &job.ctx;
    let mut headers = forward::head(&worker.shared.config, ctx, AskFor::Identity);
    if ctx.headers.keys().any(|name| name == header::RANGE || name == header::IF_RANGE) {
        headers.remove(header::RANGE);
        headers.remove(header::IF_RANGE);
    }
    validate::make_conditional(&mut headers, candidates);
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let asking = trace::OriginSpan::new(worker, ctx, &mut headers);
    (forward::request(ctx, headers, body), asking)
}

/// Decides whether the response to a job is stored and shared.
fn judge(worker: &Worker, job: &FetchJob, head: &mut ReceivedHead, asked_at: AskedAt) -> Result<Fill, Reason> {
    let ctx = &job.ctx;
    let exchange = ctx.exchange(asked_at.time, head.received_at);
    let facts = match storable(&exchange, head.status, &head.headers, head.is_unsized) {
        Storable::Yes(facts) => facts,
        Storable::No(reason) => return Err(reason),
    };
    match decide::storage_refusal(&worker.shared, ctx, &facts, head) {
        None => {
            let fill = prepare(worker, ctx, head, facts, asked_at)?;
            stored_cookies::note(worker, ctx, &fill.head);
            Ok(Fill { replaces: job.selected.clone(), ..fill })
        }
        Some(reason) => Err(reason),
    }
}

/// Prepares a storable response for filling, unless it is too large or has too many tags.
/// Afterwards `head` has the fields that go on to the client that brings it in; if the response may
/// not be stored, all of them.
pub(crate) fn prepare(
    worker: &Worker,
    ctx: &RequestContext,
    head: &mut ReceivedHead,
    mut facts: Facts,
    asked_at: AskedAt,
) -> Result<Fill, Reason> {
    let config = &worker.shared.config;
    let StoragePlan { tags, names } = decide::plan_storage(&worker.shared, &ctx.rule, head)?;
    let ReceivedHead { status, headers, length, .. } = head;
    let selecting = vary::selecting(&names, &ctx.headers);
    facts.no_transform |= !decide::is_compressible(config, *status, headers, *length);
    pass_on(headers, ctx.rule.set_cookie, facts.received_at);
    let (leader_head, stored_head) = flatten(headers, ctx.rule.set_cookie);
    Ok(Fill {
        status: *status,
        leader_head,
        head: stored_head,
        is_first_hand: !headers.contains_key(header::AGE),
        leader: probation::is_guarded(ctx, &facts, &selecting).then(|| ctx.credentials(&worker.shared)),
        facts,
        selecting,
        tags,
        asked_at,
        length: *length,
        replaces: None,
        body: SharedBody::new(),
    })
}

/// Leaves the fields of a response that go on to the client that brings it in. The sender of the
/// body writes its length.
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

/// Flattens the fields of a response: as they go on, if those are more than what is stored, and as
/// they are stored.
fn flatten(fields: &HeaderMap, set_cookie: SetCookie) -> (Option<FlatHead>, FlatHead) {
    let unstored = fields::unstored(fields, set_cookie);
    let is_stored = |(name, _): &(&HeaderName, &HeaderValue)| !unstored.contains(*name);
    let is_more = fields.keys().any(|name| unstored.contains(name));
    let stored = fields.iter().filter(is_stored).map(|(name, value)| (name, value.as_bytes()));
    (is_more.then(|| FlatHead::from_map(fields)), FlatHead::from_fields(stored))
}

/// Drops the entry that an unstorable response supersedes, unless the request itself kept the
/// response from the store.
pub(crate) fn drop_superseded(
    worker: &Worker,
    ctx: &RequestContext,
    selected: Option<&Arc<StoredEntry>>,
    status: StatusCode,
    reason: Reason,
) {
    if let Some(selected) =
        selected.filter(|_| validate::supersedes(status) && !uncacheable::is_request_specific(reason))
    {
        confirm::replace(worker, ctx, selected, None);
    }
}
