//! Runs one comparison for the personalisation guard: sends the client's request to the origin, and
//! compares the answer with the stored entry while the client reads it.

use std::sync::Arc;

use http::{HeaderName, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use tokio::sync::oneshot;

use super::memory::CompareResult;
use super::probation::{says_same_of_users, sets_same_cookies};
use crate::origin::{self, Permit, ResponseBody};
use crate::outcome::Reason;
use crate::policy::storable;
use crate::proxy::fetch::coalesce::FlightLeader;
use crate::proxy::fetch::flight::{Fill, LeaderBody};
use crate::proxy::fetch::received::{AskedAt, OriginResponse};
use crate::proxy::fetch::{confirm, leader, receive};
use crate::proxy::request::context::RequestContext;
use crate::proxy::request::forward::{self, AskFor};
use crate::proxy::state::Worker;
use crate::proxy::trace;
use crate::stored::{Selecting, SharingGuard, StoredEntry};

/// Request fields that would make the origin answer with less than the whole representation.
static PARTIAL: [HeaderName; 6] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
];

/// The answer to the request that is compared.
pub(crate) enum CheckResponse {
    /// The origin's response, which is being compared.
    InProgress(Arc<Fill>, Option<Box<LeaderBody>>),
    /// The origin's response, which cannot be compared.
    Response(OriginResponse),
    /// The origin failed.
    Failed(origin::Error),
}

/// A stored body, and the request that it is judged by.
pub(crate) struct CrossUserCheck {
    /// A GET with other credentials.
    pub(crate) ctx: Arc<RequestContext>,
    /// The stored entry that is checked.
    pub(crate) entry: Arc<StoredEntry>,
    /// The personalisation guard of the entry.
    pub(crate) guard: Arc<SharingGuard>,
}

/// Asks the origin, passes its answer to the client, and compares it with the stored entry.
pub(crate) async fn run(
    worker: Arc<Worker>,
    lead: FlightLeader<CompareResult>,
    check: CrossUserCheck,
    reply: oneshot::Sender<CheckResponse>,
) {
    let shared = &worker.shared;
    let permitted = trace::permit(&worker, &check.ctx).await;
    let asked_at = AskedAt { time: shared.clock.now(), sequence: shared.store.sequence() };
    let answer = match permitted {
        Ok(permit) => send(&worker, &check.ctx, permit).await,
        Err(error) => Err(error),
    };
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            drop(lead);
            let _ = reply.send(CheckResponse::Failed(error));
            return;
        }
    };
    let OriginResponse { mut head, body } = OriginResponse::new(response, shared.clock.now());
    let exchange = check.ctx.exchange(asked_at.time, head.received_at);
    let (facts, refusal) = storable::judge(&exchange, head.status, &head.headers);
    let is_cut_safe = !head.is_unsized || check.ctx.rule.store_unsized;
    let prepared = match tells_requesters_apart(&check.ctx, head.status) && is_cut_safe {
        true => leader::prepare(&worker, &check.ctx, &mut head, facts, asked_at),
        false => Err(Reason::StatusNotUnderstood),
    };
    let mut fill = match prepared {
        Ok(fill) => fill,
        Err(reason) => {
            // A response that could not have been stored is not the same as the stored one.
            if matches!(reason, Reason::TooLarge | Reason::VaryStar) {
                check.drop_personalised(&worker);
                lead.land(CompareResult::Different);
            }
            drop(lead);
            let _ = reply.send(CheckResponse::Response(OriginResponse { head, body }));
            return;
        }
    };
    fill.leader = Some(check.ctx.credentials(shared));
    let fill = Arc::new(fill);
    let _ = reply.send(CheckResponse::InProgress(Arc::clone(&fill), leader::leader_body(&fill, head.headers)));
    check.compare(&worker, lead, &fill, refusal, body).await;
}

/// Sends the request as it would be sent on its own, but for the whole representation, and in the
/// coding that is stored.
async fn send(worker: &Worker, ctx: &RequestContext, permit: Permit) -> Result<Response<ResponseBody>, origin::Error> {
    let mut headers = forward::head(&worker.shared.config, ctx, AskFor::Identity);
    for name in &PARTIAL {
        headers.remove(name);
    }
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let asking = trace::OriginSpan::new(worker, ctx, &mut headers);
    let response = worker.origin.send(forward::request(ctx, headers, body), permit, forward::on_interim(ctx)).await;
    asking.finish(&response);
    response
}

/// Tells whether a response with this status shows what the requester gets. A failure, a limit, a
/// part, or an answer to how the request was made does not: one client's malformed request would
/// make a page that is the same for all pass for personal.
pub(crate) fn tells_requesters_apart(ctx: &RequestContext, status: StatusCode) -> bool {
    let is_odd = match status.as_u16() {
        // The response to invalid credentials.
        401 => ctx.facts.has_authorization,
        101 | 206 | 304 | 400 | 414 | 500.. => true,
        _ => storable::answers_the_request(status),
    };
    !is_odd
}

impl CrossUserCheck {
    /// Compares the response with the stored entry, the head at once and the body as it arrives.
    async fn compare(
        &self,
        worker: &Worker,
        lead: FlightLeader<CompareResult>,
        fill: &Fill,
        refusal: Option<Reason>,
        body: ResponseBody,
    ) {
        let mut lead = Some(lead);
        let mut settle = |result: Option<CompareResult>| {
            let Some(lead) = lead.take() else { return };
            match result {
                Some(CompareResult::Same) => self.guard.share(&self.ctx.values(&worker.shared)),
                Some(CompareResult::Different) => self.drop_personalised(worker),
                None => return,
            }
            result.into_iter().for_each(|result| lead.land(result));
        };
        let mut bytes_max = self.entry.body.identity_bytes;
        if self.differs_at_head(fill, refusal) {
            settle(Some(CompareResult::Different));
            // A body that is not compared need not be kept.
            bytes_max = 0;
        }
        // A body longer than the stored one is not the same.
        let on_unkept = |reason| settle((reason == Reason::TooLarge).then_some(CompareResult::Different));
        let received = receive::copy_body(worker, &self.ctx, fill, body, bytes_max, on_unkept).await;
        if let Some(whole) = received {
            let is_same = whole.fingerprint == self.guard.body();
            settle(Some(if is_same { CompareResult::Same } else { CompareResult::Different }));
            fill.body.complete(whole.trailers);
        }
    }

    /// Tells whether the head already shows that the requester gets something else: another status,
    /// length, cookie, user or location, or a response that says that it is not for all.
    fn differs_at_head(&self, fill: &Fill, refusal: Option<Reason>) -> bool {
        let names_credentials = |fields: &Selecting| {
            fields.iter().any(|(name, _)| *name == header::COOKIE || *name == header::AUTHORIZATION)
        };
        fill.status != self.entry.facts.status
            || fill.length.is_some_and(|length| length != self.entry.body.identity_bytes)
            || !sets_same_cookies(&fill.head, &self.entry.head)
            || !says_same_of_users(&fill.head, &self.entry.head)
            || fill.head.get(&header::LOCATION) != self.entry.head.get(&header::LOCATION)
            || matches!(refusal, Some(Reason::Private | Reason::NoStore))
            || (names_credentials(&fill.selecting) && !names_credentials(&self.entry.selecting))
    }

    /// Drops a body that was found to be one user's, and lets requests with credentials for the key
    /// pass for a while. An entry that answers how its own request was made says nothing of other
    /// users: it is only dropped.
    ///
    /// Other guarded variants under the key are dropped too. Entries that anonymous requests
    /// brought in stay for such requests: they are right for them, and on probation for all others.
    /// The exception is an entry that sets a cookie, which may well be one visitor's session.
    pub(crate) fn drop_personalised(&self, worker: &Worker) {
        if !tells_requesters_apart(&self.ctx, self.entry.facts.status) {
            confirm::replace(worker, &self.ctx, &self.entry, None);
            return;
        }
        let shared = &worker.shared;
        shared.sharing.mark_personalised(self.ctx.key.hash(), shared.clock.now(), shared.config.personalised_for);
        shared.store.change(&self.ctx.key, |variants| {
            let mut variants = variants.clone();
            variants.entries.retain(|entry| match &entry.guard {
                Some(guard) if guard.leader().is_none() && entry.head.get(&header::SET_COOKIE).is_none() => {
                    guard.put_on_probation();
                    true
                }
                Some(_) => false,
                None => true,
            });
            (!variants.entries.is_empty()).then_some(variants)
        });
        let differing = self.guard.leader().differing(self.ctx.credentials(shared));
        worker.metrics.record_personalised(self.ctx.key.url(), differing);
        tracing::debug!(url = self.ctx.key.url(), ?differing, "the response differs by user");
    }
}
