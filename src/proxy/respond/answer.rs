//! Makes a response from a stored entry, a body that is filling, or the origin's own response.
//!
//! The crate's `respond` module chooses (preconditions, ranges, coding); this module puts the
//! choice together with the bytes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::body::Body;
use super::record;
use crate::origin::ResponseBody;
use crate::outcome::Decision;
use crate::policy::{fields, freshness};
use crate::proxy::fetch::flight::{Fill, LeaderBody};
use crate::proxy::fetch::received::{OriginResponse, ReceivedHead};
use crate::proxy::request::context::RequestContext;
use crate::proxy::state::Worker;
use crate::random;
use crate::respond::conditional::{self, Precondition, Validators};
use crate::respond::encoding::{AcceptedCodings, Codings};
use crate::respond::head::{self, Negotiation, OwnFields, ResponseForm};
use crate::respond::range::{self, BodyPiece, Multipart, Ranges};
use crate::stored::{Coding, Facts, FlatHead, Rendition, StoredEntry};

/// Answers with a stored entry.
///
/// # Errors
/// The coding that has to be made first.
pub(crate) fn from_store(
    worker: &Worker,
    ctx: &RequestContext,
    entry: &Arc<StoredEntry>,
    decision: Decision,
) -> Result<Response<Body>, Coding> {
    let coding = negotiate(ctx, entry);
    match choose(ctx, &entry.facts, &entry.head, Some(entry.body.identity_bytes)) {
        Selection::Nothing(form) => Ok(from_entry(worker, ctx, entry, decision, form, Body::empty())),
        Selection::NotModified => {
            Ok(from_entry(worker, ctx, entry, decision, ResponseForm::NotModified(coding), Body::empty()))
        }
        Selection::Whole => {
            let bytes = entry.body.get(coding).ok_or(coding)?.clone();
            Ok(from_entry(worker, ctx, entry, decision, ResponseForm::Whole(coding), Body::whole(bytes)))
        }
        Selection::Parts(parts) => {
            let bytes = entry.body.get(Coding::Identity).ok_or(Coding::Identity)?;
            let body = Body::pieces(parts.pieces.into_iter().map(|piece| cut(piece, bytes)).collect());
            Ok(from_entry(worker, ctx, entry, decision, parts.form, body))
        }
    }
}

/// Answers with a stored entry of which the rendition `made` has just been made.
pub(crate) fn from_rendition(
    worker: &Worker,
    ctx: &RequestContext,
    entry: &Arc<StoredEntry>,
    decision: Decision,
    made: &Rendition,
) -> Response<Body> {
    match choose(ctx, &entry.facts, &entry.head, Some(entry.body.identity_bytes)) {
        Selection::Nothing(form) => from_entry(worker, ctx, entry, decision, form, Body::empty()),
        Selection::NotModified => {
            from_entry(worker, ctx, entry, decision, ResponseForm::NotModified(made.coding), Body::empty())
        }
        Selection::Parts(parts) if made.coding == Coding::Identity => {
            let body = Body::pieces(parts.pieces.into_iter().map(|piece| cut(piece, &made.bytes)).collect());
            from_entry(worker, ctx, entry, decision, parts.form, body)
        }
        Selection::Whole | Selection::Parts(_) => {
            from_entry(worker, ctx, entry, decision, ResponseForm::Whole(made.coding), Body::whole(made.bytes.clone()))
        }
    }
}

/// Answers with a body that is filling. `leader_body` is given for the leader's client; others
/// attach a reader of their own. `None` if the body's beginning has been dropped already.
pub(crate) fn from_fill(
    worker: &Worker,
    ctx: &RequestContext,
    fill: &Fill,
    decision: Decision,
    leader_body: Option<Box<LeaderBody>>,
) -> Option<Response<Body>> {
    let flat = if leader_body.is_some() { fill.leader_head() } else { &fill.head };
    // A request that came after the response had arrived gets what the origin made before (RFC 9111
    // §5.1).
    let is_first_hand = fill.is_first_hand && (leader_body.is_some() || ctx.at <= fill.facts.received_at);
    let (fields, leader_reader) = leader_body.map(|leader_body| (leader_body.fields, leader_body.reader)).unzip();
    let (form, pieces, length) = match choose(ctx, &fill.facts, flat, fill.length) {
        Selection::Nothing(form) => (form, None, Some(0)),
        Selection::NotModified => (ResponseForm::NotModified(Coding::Identity), None, Some(0)),
        Selection::Whole => {
            (ResponseForm::Whole(Coding::Identity), Some(vec![BodyPiece::Cut(0..u64::MAX)]), fill.length)
        }
        Selection::Parts(parts) => {
            let length = parts.pieces.iter().map(BodyPiece::len).sum();
            (parts.form, Some(parts.pieces), Some(length))
        }
    };
    let body = match pieces {
        None => Body::empty(),
        Some(pieces) => {
            let whole = matches!(form, ResponseForm::Whole(_));
            // The leader's reader keeps the body's beginning until its client's own reader is
            // attached, if that one reads only parts.
            let reader = match leader_reader {
                Some(leader_reader) if whole => leader_reader,
                leader_reader => {
                    let reader = fill.body.reader(pieces)?;
                    drop(leader_reader);
                    reader
                }
            };
            Body::from_shared(reader, length)
        }
    };
    let status = form.status(fill.status);
    let age = (!is_first_hand).then(|| freshness::current_age(&fill.facts, worker.shared.clock.now()));
    let own = own_fields(worker, ctx, &fill.facts, age, &decision, &body);
    let headers = match fields {
        Some(fields) if matches!(form, ResponseForm::Whole(_)) => head::first_head(fields, own),
        _ => head::stored_head(flat, &form, own),
    };
    let body = if ctx.facts.is_head { Body::empty() } else { body };
    let mut response = assemble(status, headers, body);
    record::observe(worker, ctx, decision, &mut response);
    Some(response)
}

/// Answers with the origin's own response.
pub(crate) fn from_origin(
    worker: &Worker,
    ctx: &RequestContext,
    OriginResponse { head, body }: OriginResponse,
    decision: Decision,
) -> Response<Body> {
    let body = if ctx.facts.is_head { Body::empty() } else { Body::from_origin(body) };
    from_origin_with(worker, ctx, head, body, decision)
}

/// Answers with the head of the origin's own response, and with `body`.
pub(crate) fn from_origin_with(
    worker: &Worker,
    ctx: &RequestContext,
    received: ReceivedHead,
    body: Body,
    decision: Decision,
) -> Response<Body> {
    let ReceivedHead { status, version, mut headers, .. } = received;
    fields::strip_hop_by_hop(&mut headers);
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, head::date(worker.shared.clock.now()));
    }
    head::append_via(&mut headers, version);
    record::finish(worker, ctx, decision, assemble(status, headers, body))
}

/// Answers a request to switch protocols with the origin's 101.
pub(crate) fn from_switch(
    worker: &Worker,
    ctx: &RequestContext,
    response: Response<ResponseBody>,
    decision: Decision,
) -> Response<Body> {
    let (parts, _) = response.into_parts();
    let protocol = parts.headers.get(header::UPGRADE).cloned();
    let mut headers = parts.headers;
    fields::strip_hop_by_hop(&mut headers);
    if let Some(protocol) = protocol {
        headers.insert(header::UPGRADE, protocol);
    }
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    record::finish(worker, ctx, decision, assemble(parts.status, headers, Body::empty()))
}

/// Returns the coding that has to be made before [`from_store`] can answer, if any.
pub(crate) fn missing_coding(ctx: &RequestContext, entry: &StoredEntry) -> Option<Coding> {
    let coding = match choose(ctx, &entry.facts, &entry.head, Some(entry.body.identity_bytes)) {
        Selection::Nothing(_) | Selection::NotModified => return None,
        Selection::Whole => negotiate(ctx, entry),
        Selection::Parts(_) => Coding::Identity,
    };
    entry.body.get(coding).is_none().then_some(coding)
}

/// Returns the status and coding that [`from_store`] answers with.
pub(crate) fn outlook(ctx: &RequestContext, entry: &StoredEntry) -> (StatusCode, Coding) {
    let coding = negotiate(ctx, entry);
    let form = match choose(ctx, &entry.facts, &entry.head, Some(entry.body.identity_bytes)) {
        Selection::Nothing(form) => form,
        Selection::NotModified => ResponseForm::NotModified(coding),
        Selection::Whole => ResponseForm::Whole(coding),
        Selection::Parts(parts) => return (parts.form.status(entry.facts.status), Coding::Identity),
    };
    (form.status(entry.facts.status), coding)
}

/// The part of a representation that a request gets.
enum Selection {
    /// Nothing of it: 412 or 416.
    Nothing(ResponseForm),
    NotModified,
    Whole,
    Parts(SelectedParts),
}

struct SelectedParts {
    form: ResponseForm,
    pieces: Vec<BodyPiece>,
}

/// Evaluates preconditions, then ranges (RFC 9110 §13.2.2). A body of unknown length is not cut.
fn choose(ctx: &RequestContext, facts: &Facts, head: &FlatHead, length: Option<u64>) -> Selection {
    let validators = || Validators::of(head);
    if ctx.facts.is_conditional {
        match conditional::evaluate(&ctx.headers, facts.status, validators()) {
            Precondition::Proceed => {}
            Precondition::NotModified => return Selection::NotModified,
            Precondition::Failed => return Selection::Nothing(ResponseForm::PreconditionFailed),
        }
    }
    let Some(length) = length.filter(|_| ctx.facts.has_range && facts.status == StatusCode::OK) else {
        return Selection::Whole;
    };
    // All codings of a body share one date, which does not say of which coding the client has a
    // part.
    let validators =
        Validators { last_modified: validators().last_modified.filter(|_| facts.no_transform), ..validators() };
    if !conditional::if_range_holds(&ctx.headers, validators) {
        return Selection::Whole;
    }
    match range::select(&ctx.headers, length) {
        Ranges::Whole => Selection::Whole,
        Ranges::Unsatisfiable => Selection::Nothing(ResponseForm::Unsatisfiable(length)),
        Ranges::Single(range) => Selection::Parts(single(range, length)),
        Ranges::Several(ranges) => {
            let Multipart { content_type, pieces, .. } =
                range::multipart(&ranges, length, head.get(&header::CONTENT_TYPE), &boundary());
            Selection::Parts(SelectedParts { form: ResponseForm::Parts(content_type), pieces })
        }
    }
}

fn single(range: Range<u64>, length: u64) -> SelectedParts {
    SelectedParts {
        form: ResponseForm::Part(range::content_range(&range, length)),
        pieces: vec![BodyPiece::Cut(range)],
    }
}

/// Returns a multipart boundary: 32 random hexadecimal digits, so that nobody can craft a body that
/// contains it.
fn boundary() -> String {
    format!("{:016x}{:016x}", random::bits(), random::bits())
}

/// Picks the coding for a client. An entry that is not compressed yet is sent as it is; so is every
/// entry for a client that asks for no transformation (RFC 9111 §5.2.1.6).
fn negotiate(ctx: &RequestContext, entry: &StoredEntry) -> Coding {
    let available = Codings::of_body(&entry.body);
    if entry.facts.no_transform || ctx.facts.cc.no_transform || !available.contains(Coding::Zstd) {
        return Coding::Identity;
    }
    AcceptedCodings::parse(&ctx.headers).best(available, Codings::ALL)
}

fn from_entry(
    worker: &Worker,
    ctx: &RequestContext,
    entry: &StoredEntry,
    decision: Decision,
    form: ResponseForm,
    body: Body,
) -> Response<Body> {
    let status = form.status(entry.facts.status);
    let age = Some(freshness::current_age(&entry.facts, worker.shared.clock.now()));
    let mut headers =
        head::stored_head(&entry.head, &form, own_fields(worker, ctx, &entry.facts, age, &decision, &body));
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, head::date(worker.shared.clock.now()));
    }
    let body = if ctx.facts.is_head { Body::empty() } else { body };
    let mut response = assemble(status, headers, body);
    record::observe(worker, ctx, decision, &mut response);
    response
}

fn own_fields(
    worker: &Worker,
    ctx: &RequestContext,
    facts: &Facts,
    age: Option<Duration>,
    decision: &Decision,
    body: &Body,
) -> OwnFields {
    let key = ctx.may_debug(&worker.shared.config).then(|| ctx.key.text());
    OwnFields {
        age,
        cache_status: head::cache_status(decision, key),
        negotiation: if facts.no_transform { Negotiation::None } else { Negotiation::AcceptEncoding },
        // hyper writes the length of a body that it sends; only a HEAD needs the field.
        content_length: if ctx.facts.is_head { body.length() } else { None },
    }
}

fn assemble(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn cut(piece: BodyPiece, bytes: &Bytes) -> Bytes {
    match piece {
        BodyPiece::Own(own) => Bytes::from(own),
        BodyPiece::Cut(range) => bytes.slice(range.start as usize..range.end as usize),
    }
}
