//! From something that was chosen to a response: a stored entry, a body that is filling, or the origin's own.
//!
//! The choices (preconditions, ranges, coding) are `respond`'s; this puts them together with the bytes.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header, response};

use super::asked::Asked;
use super::flight::{Begun, Fill};
use super::{Body, Way};
use crate::origin::ResponseBody;
use crate::outcome::Decision;
use crate::policy::{fields, freshness};
use crate::respond::conditional::{self, Precondition, Validators};
use crate::respond::encoding::{Accepted, Codings};
use crate::respond::head::{self, Form, Negotiation, Own};
use crate::respond::range::{self, Multipart, Piece, Ranges};
use crate::stored::{Coding, Entry, Facts, FlatHead, Rendition};

/// Answers with a stored entry.
///
/// # Errors
/// The coding that has to be made first.
pub(super) fn stored(
    way: &Way,
    asked: &Asked,
    entry: &Arc<Entry>,
    decision: Decision,
) -> Result<Response<Body>, Coding> {
    let coding = negotiate(asked, entry);
    match choose(asked, &entry.facts, &entry.head, Some(entry.body.identity_bytes)) {
        Chosen::Nothing(form) => Ok(from_entry(way, asked, entry, decision, form, Body::empty())),
        Chosen::NotModified => Ok(from_entry(way, asked, entry, decision, Form::NotModified(coding), Body::empty())),
        Chosen::Whole => {
            let bytes = entry.body.get(coding).ok_or(coding)?.clone();
            Ok(from_entry(way, asked, entry, decision, Form::Whole(coding), Body::whole(bytes)))
        }
        Chosen::Parts(parts) => {
            let bytes = entry.body.get(Coding::Identity).ok_or(Coding::Identity)?;
            let body = Body::pieces(parts.pieces.into_iter().map(|piece| cut(piece, bytes)).collect());
            Ok(from_entry(way, asked, entry, decision, parts.form, body))
        }
    }
}

/// Answers with a stored entry of which `made` has just been made.
pub(super) fn with(
    way: &Way,
    asked: &Asked,
    entry: &Arc<Entry>,
    decision: Decision,
    made: &Rendition,
) -> Response<Body> {
    match choose(asked, &entry.facts, &entry.head, Some(entry.body.identity_bytes)) {
        Chosen::Nothing(form) => from_entry(way, asked, entry, decision, form, Body::empty()),
        Chosen::NotModified => from_entry(way, asked, entry, decision, Form::NotModified(made.coding), Body::empty()),
        Chosen::Parts(parts) if made.coding == Coding::Identity => {
            let body = Body::pieces(parts.pieces.into_iter().map(|piece| cut(piece, &made.bytes)).collect());
            from_entry(way, asked, entry, decision, parts.form, body)
        }
        Chosen::Whole | Chosen::Parts(_) => {
            from_entry(way, asked, entry, decision, Form::Whole(made.coding), Body::whole(made.bytes.clone()))
        }
    }
}

/// Answers with a body that is filling. `begun` is the leader's; others attach a reader of their own. `None` where the body's
/// beginning has gone already.
pub(super) fn filling(
    way: &Way,
    asked: &Asked,
    fill: &Fill,
    decision: Decision,
    begun: Option<Box<Begun>>,
) -> Option<Response<Body>> {
    let flat = if begun.is_some() { fill.came() } else { &fill.head };
    // Who asked when it had come already is answered with what the origin made before (RFC 9111 §5.1).
    let is_first_hand = fill.is_first_hand && (begun.is_some() || asked.at <= fill.facts.received_at);
    let (fields, held) = begun.map(|begun| (begun.fields, begun.reader)).unzip();
    let (form, pieces, length) = match choose(asked, &fill.facts, flat, fill.length) {
        Chosen::Nothing(form) => (form, None, Some(0)),
        Chosen::NotModified => (Form::NotModified(Coding::Identity), None, Some(0)),
        Chosen::Whole => (Form::Whole(Coding::Identity), Some(vec![Piece::Cut(0..u64::MAX)]), fill.length),
        Chosen::Parts(parts) => {
            let length = parts.pieces.iter().map(Piece::len).sum();
            (parts.form, Some(parts.pieces), Some(length))
        }
    };
    let body = match pieces {
        None => Body::empty(),
        Some(pieces) => {
            let whole = matches!(form, Form::Whole(_));
            // The leader's reader holds the beginning, until its client's own is attached where that reads only parts.
            let reader = match held {
                Some(held) if whole => held,
                held => {
                    let reader = fill.body.reader(pieces)?;
                    drop(held);
                    reader
                }
            };
            Body::filling(reader, length)
        }
    };
    let status = form.status(fill.status);
    let age = (!is_first_hand).then(|| freshness::current_age(&fill.facts, way.shared.clock.now()));
    let own = own(way, asked, &fill.facts, age, &decision, &body);
    let headers = match fields {
        Some(fields) if matches!(form, Form::Whole(_)) => head::first_head(fields, own),
        _ => head::stored_head(flat, &form, own),
    };
    let body = if asked.facts.is_head { Body::empty() } else { body };
    let mut response = assemble(status, headers, body);
    way.observe(asked, decision, &mut response);
    Some(response)
}

/// Answers with the origin's own response.
pub(super) fn passed(way: &Way, asked: &Asked, response: Response<ResponseBody>, decision: Decision) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let body = if asked.facts.is_head { Body::empty() } else { Body::origin(body) };
    passed_with(way, asked, parts, body, decision)
}

/// Answers with the head of the origin's own response, and this body.
pub(super) fn passed_with(
    way: &Way,
    asked: &Asked,
    parts: response::Parts,
    body: Body,
    decision: Decision,
) -> Response<Body> {
    let mut headers = parts.headers;
    let version = parts.version;
    fields::strip_hop_by_hop(&mut headers);
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, head::date(way.shared.clock.now()));
    }
    head::append_via(&mut headers, version);
    way.finish(asked, decision, assemble(parts.status, headers, body))
}

/// Answers a request to switch protocols with the origin's 101.
pub(super) fn switched(
    way: &Way,
    asked: &Asked,
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
    way.finish(asked, decision, assemble(parts.status, headers, Body::empty()))
}

/// Returns the coding that has to be made before [`stored`] can answer, where one has to.
pub(super) fn lacking(asked: &Asked, entry: &Entry) -> Option<Coding> {
    let coding = match choose(asked, &entry.facts, &entry.head, Some(entry.body.identity_bytes)) {
        Chosen::Nothing(_) | Chosen::NotModified => return None,
        Chosen::Whole => negotiate(asked, entry),
        Chosen::Parts(_) => Coding::Identity,
    };
    entry.body.get(coding).is_none().then_some(coding)
}

/// Returns the status and coding that [`stored`] answers with.
pub(super) fn outlook(asked: &Asked, entry: &Entry) -> (StatusCode, Coding) {
    let coding = negotiate(asked, entry);
    let form = match choose(asked, &entry.facts, &entry.head, Some(entry.body.identity_bytes)) {
        Chosen::Nothing(form) => form,
        Chosen::NotModified => Form::NotModified(coding),
        Chosen::Whole => Form::Whole(coding),
        Chosen::Parts(parts) => return (parts.form.status(entry.facts.status), Coding::Identity),
    };
    (form.status(entry.facts.status), coding)
}

/// What a request gets of a representation.
enum Chosen {
    /// No content of it: 412 or 416.
    Nothing(Form),
    NotModified,
    Whole,
    Parts(Parts),
}

struct Parts {
    form: Form,
    pieces: Vec<Piece>,
}

/// Evaluates preconditions, then ranges (RFC 9110 §13.2.2). Ranges of a body whose length is not known yet are not cut.
fn choose(asked: &Asked, facts: &Facts, head: &FlatHead, length: Option<u64>) -> Chosen {
    let validators = || Validators::of(head);
    if asked.facts.is_conditional {
        match conditional::evaluate(&asked.headers, facts.status, validators()) {
            Precondition::Proceed => {}
            Precondition::NotModified => return Chosen::NotModified,
            Precondition::Failed => return Chosen::Nothing(Form::PreconditionFailed),
        }
    }
    let Some(length) = length.filter(|_| asked.facts.has_range && facts.status == StatusCode::OK) else {
        return Chosen::Whole;
    };
    // One date stands for all the codings of a body: it does not say of which of them the client holds a part.
    let validators =
        Validators { last_modified: validators().last_modified.filter(|_| facts.no_transform), ..validators() };
    if !conditional::if_range_holds(&asked.headers, validators) {
        return Chosen::Whole;
    }
    match range::select(&asked.headers, length) {
        Ranges::Whole => Chosen::Whole,
        Ranges::Unsatisfiable => Chosen::Nothing(Form::Unsatisfiable(length)),
        Ranges::Single(range) => Chosen::Parts(single(range, length)),
        Ranges::Several(ranges) => {
            let Multipart { content_type, pieces, .. } =
                range::multipart(&ranges, length, head.get(&header::CONTENT_TYPE), &boundary());
            Chosen::Parts(Parts { form: Form::Parts(content_type), pieces })
        }
    }
}

fn single(range: Range<u64>, length: u64) -> Parts {
    Parts { form: Form::Part(range::content_range(&range, length)), pieces: vec![Piece::Cut(range)] }
}

/// Returns 32 random hexadecimal digits, which no body can be made to contain.
fn boundary() -> String {
    format!("{:016x}{:016x}", RandomState::new().hash_one(0), RandomState::new().hash_one(1))
}

/// Picks the coding for a client. An entry that was not compressed yet goes out as it is: that is for later. So does every
/// one where the client asks for what is not transformed (RFC 9111 §5.2.1.6).
fn negotiate(asked: &Asked, entry: &Entry) -> Coding {
    let held = Codings::held(&entry.body);
    if entry.facts.no_transform || asked.facts.cc.no_transform || !held.contains(Coding::Zstd) {
        return Coding::Identity;
    }
    Accepted::parse(&asked.headers).best(held, Codings::ALL)
}

fn from_entry(way: &Way, asked: &Asked, entry: &Entry, decision: Decision, form: Form, body: Body) -> Response<Body> {
    let status = form.status(entry.facts.status);
    let age = Some(freshness::current_age(&entry.facts, way.shared.clock.now()));
    let mut headers = head::stored_head(&entry.head, &form, own(way, asked, &entry.facts, age, &decision, &body));
    if !headers.contains_key(header::DATE) {
        headers.insert(header::DATE, head::date(way.shared.clock.now()));
    }
    let body = if asked.facts.is_head { Body::empty() } else { body };
    let mut response = assemble(status, headers, body);
    way.observe(asked, decision, &mut response);
    response
}

fn own(way: &Way, asked: &Asked, facts: &Facts, age: Option<Duration>, decision: &Decision, body: &Body) -> Own {
    let key = asked.may_debug(&way.shared.config).then(|| asked.key.text());
    Own {
        age,
        cache_status: head::cache_status(decision, key),
        negotiation: if facts.no_transform { Negotiation::None } else { Negotiation::AcceptEncoding },
        // hyper writes the length of a body that it sends; only a HEAD's has to be told.
        content_length: if asked.facts.is_head { body.length() } else { None },
    }
}

fn assemble(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

fn cut(piece: Piece, bytes: &Bytes) -> Bytes {
    match piece {
        Piece::Own(own) => Bytes::from(own),
        Piece::Cut(range) => bytes.slice(range.start as usize..range.end as usize),
    }
}
