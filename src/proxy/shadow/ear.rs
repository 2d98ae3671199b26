//! The body as it passes: it is hashed, and kept where it would have been stored, within the budget and the largest size of
//! an object. Nothing holds it up, and a client that goes away ends it, as it would without a cache.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode, header};
use http_body::Frame;
use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use crate::analytics::shadow::{self, Against, FIELDS_MAX, Name, Passed, Query};
use crate::key::ExtraSource;
use crate::origin::ResponseBody;
use crate::origin::coalesce::Lead;
use crate::proxy::asked::Asked;
use crate::proxy::filling::Aborted;
use crate::proxy::flight::{Fill, Landed};
use crate::proxy::trial::Trial;
use crate::proxy::{Way, pour};
use crate::route;
use crate::stored::{Coding, Compared, Entry, FieldValue, Guard, Selecting, StoredBody, Witness};

/// What is done with a body.
#[derive(Default)]
pub(super) struct Aim {
    /// It is kept.
    pub(super) keep: Option<Kept>,
    /// It is held against that of a would-be hit.
    pub(super) against: Option<Held>,
    /// It is held against one that another user's request brought in, which would not have been served unseen.
    pub(super) doubted: Option<Held>,
    /// What the personalisation guard makes of it.
    pub(super) trial: Option<(Trial, Verdict)>,
}

/// What a head makes of a comparison for the guard.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The requester gets something else.
    Differs,
    /// The body will tell.
    ByBody,
}

/// A response that is to be kept.
pub(super) struct Kept {
    pub(super) fill: Box<Fill>,
    /// The length of the whole, where the response is a part of it only, or its head.
    pub(super) stands_for: Option<u64>,
    pub(super) coding: Option<Coding>,
    /// Held until it is kept: who asks for the same meanwhile would have waited.
    pub(super) lead: Option<Lead<Landed>>,
}

/// An entry that a body is held against.
pub(super) struct Held {
    pub(super) entry: Arc<Entry>,
    /// What the head tells already.
    pub(super) at_head: Option<Compared>,
    pub(super) is_same_tag: bool,
    pub(super) coding: Option<Coding>,
    /// Which of the telling response fields differ.
    pub(super) response: u16,
}

/// The origin's body, and who overhears it.
pub(in crate::proxy) struct Heard {
    pub(in crate::proxy) body: ResponseBody,
    pub(in crate::proxy) ear: Ear,
}

impl Heard {
    /// Passes the next frame on.
    pub(in crate::proxy) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx));
        match &frame {
            // Trailers are the last.
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => {
                    self.ear.hear(data);
                    if http_body::Body::is_end_stream(&self.body) {
                        self.ear.end();
                    }
                }
                None => self.ear.end(),
            },
            None => self.ear.end(),
            Some(Err(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Aborted(error.reason))))
    }
}

/// Who overhears a body. Dropped before the body's end, it counts the request and keeps nothing.
pub(in crate::proxy) struct Ear {
    way: Arc<Way>,
    asked: Arc<Asked>,
    passed: Passed,
    aim: Aim,
    /// Seven hundred bytes of state, where somebody asks for it.
    hash: Option<Box<Xxh3>>,
    chunks: SmallVec<[Bytes; 1]>,
    bytes_max: u64,
    is_done: bool,
}

impl Ear {
    pub(super) fn new(way: &Arc<Way>, asked: &Arc<Asked>, passed: Passed, aim: Aim) -> Self {
        let is_asked = aim.keep.is_some() || aim.against.is_some() || aim.doubted.is_some() || aim.trial.is_some();
        Self {
            way: Arc::clone(way),
            asked: Arc::clone(asked),
            passed,
            aim,
            hash: is_asked.then(|| way.shared.hasher.pieces()),
            chunks: SmallVec::new(),
            bytes_max: asked.rule.object_bytes_max.min(way.shared.store.budget().object_max()),
            is_done: false,
        }
    }

    fn hear(&mut self, data: &Bytes) {
        self.passed.body_bytes += data.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(data);
        }
        if self.aim.keep.as_ref().is_some_and(|kept| kept.stands_for.is_none()) {
            match pour::held_copy(&self.way, data, self.passed.body_bytes, self.bytes_max) {
                Ok(copy) => self.chunks.push(copy),
                Err(_) => {
                    self.aim.keep = None;
                    self.chunks = SmallVec::new();
                }
            }
        }
    }

    /// The body has come whole.
    pub(in crate::proxy) fn end(&mut self) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        let fingerprint = self.hash.take().map_or(0, |hash| hash.digest128());
        let fields = if self.aim.keep.is_some() || self.is_compared() { self.fields() } else { Vec::new() };
        let query = self.context().map(|context| (context, fingerprint as u64));
        if let Some(kept) = self.aim.keep.take() {
            self.keep(kept, fingerprint, fields.clone());
        }
        self.settle(fingerprint, fields, query);
    }

    fn is_compared(&self) -> bool {
        self.aim.against.is_some() || self.aim.doubted.is_some()
    }

    /// Stores a complete response.
    fn keep(&mut self, kept: Kept, fingerprint: u128, fields: Vec<FieldValue>) {
        let Kept { fill, stands_for, coding, lead } = kept;
        let store = &self.way.shared.store;
        let witness = Witness::new(fields);
        let bytes = match stands_for {
            None => {
                coding.map(|coding| witness.compare(coding, fingerprint as u64));
                pour::one_run(&self.way, std::mem::take(&mut self.chunks))
            }
            // Room is taken as the whole would take it.
            Some(length) => usize::try_from(length).ok().and_then(|bytes| {
                let room = store.reserve(length)?;
                Some(room.into_body(vec![0; bytes].into_boxed_slice()))
            }),
        };
        let Some(bytes) = bytes else { return };
        if fill.is_beside() {
            pour::drop_replaced(&self.way, &self.asked, &fill);
        }
        let Fill { head, facts, selecting, tags, sequence, leader, .. } = *fill;
        let mut entry = Entry::new(head, facts, StoredBody::identity(bytes), selecting, tags, sequence);
        let values = || self.asked.values(&self.way.shared);
        entry.guard = leader.map(|leader| Arc::new(Guard::new(leader, values(), fingerprint)));
        entry.witness = Some(Arc::new(witness));
        if let Err(reason) = store.put(&self.asked.key, entry) {
            tracing::debug!(url = self.asked.key.url(), %reason, "a complete response was not kept");
        }
        drop(lead);
    }

    /// Compares, and counts.
    fn settle(&mut self, fingerprint: u128, fields: Vec<FieldValue>, query: Option<(u64, u64)>) {
        let held = self.aim.against.take();
        let is_hit = held.is_some();
        let held = held.or(self.aim.doubted.take());
        let compared = held.as_ref().map(|held| held.compare(fingerprint as u64));
        self.judge(compared);
        let differing = held.as_ref().and_then(|held| held.entry.witness.as_ref()).map(|kept| kept.differing(fields));
        let differing = differing.unwrap_or_default();
        let url = self.asked.key.url();
        let target = self.asked.key.path_and_query();
        let (path, text) = target.split_once('?').unwrap_or((target, ""));
        self.way.metrics.shadow(|tables| {
            tables.passed(url, &self.passed);
            if let (Some(held), Some(compared)) = (&held, compared) {
                let Held { is_same_tag, response, .. } = *held;
                let against = Against { url, compared, is_same_tag, request: &differing, response };
                if is_hit { tables.compared(&against) } else { tables.doubted(&against) }
            }
            if let Some((context, body)) = query {
                tables.queried(&Query { host: self.asked.key.authority(), path, query: text, context, body });
            }
        });
    }

    /// Has the personalisation guard learn from a comparison what it would learn in earnest.
    fn judge(&mut self, compared: Option<Compared>) {
        let Some((trial, verdict)) = self.aim.trial.take() else { return };
        match (verdict, compared) {
            (Verdict::Differs, _) | (_, Some(Compared::Different)) => trial.condemn(&self.way),
            (_, Some(Compared::Same)) => trial.guard.share(&trial.asked.values(&self.way.shared)),
            _ => {}
        }
    }

    /// Returns a hash of what selected the response beside its URL; `None` where the body is no whole page.
    fn context(&self) -> Option<u64> {
        let (selecting, coding): (&Selecting, _) = match (&self.aim.keep, &self.aim.against) {
            (Some(kept), _) if kept.stands_for.is_none() && kept.fill.status == StatusCode::OK => {
                (&kept.fill.selecting, kept.coding?)
            }
            (None, Some(held)) if held.at_head.is_none() && held.entry.facts.status == StatusCode::OK => {
                (&held.entry.selecting, held.coding?)
            }
            _ => return None,
        };
        if self.asked.method != Method::GET {
            return None;
        }
        let key = &self.asked.key;
        let mut text = key.text().as_bytes()[key.url().len()..].to_vec();
        text.push(coding as u8);
        for (name, value) in selecting {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b'\n');
            text.extend(value.iter().flat_map(|value| value.iter()));
            text.push(b'\n');
        }
        Some(self.way.shared.hasher.fingerprint(&text) as u64)
    }

    /// Returns the fields and cookies that a page may be written from, as numbers.
    fn fields(&self) -> Vec<FieldValue> {
        let (rule, hasher) = (&self.asked.rule, &self.way.shared.hasher);
        let is_keyed = |name: &HeaderName| rule.key_headers.contains(name);
        let headers = self.asked.headers.iter().filter(|(name, _)| !shadow::is_noise(name.as_str()) && !is_keyed(name));
        let headers = headers.map(|(name, value)| (ExtraSource::Header, name.as_str(), value.as_bytes()));
        let lines = self.asked.headers.get_all(header::COOKIE).iter();
        let cookies = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b';')).filter_map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?.trim();
            let (name, value) = pair.split_once('=')?;
            let is_ignored = rule.key_cookies.iter().any(|keyed| **keyed == *name)
                || rule.ignore_cookies.iter().any(|pattern| route::wildcard(pattern, name));
            (!is_ignored).then_some((ExtraSource::Cookie, name, value.as_bytes()))
        });
        let fields = headers.chain(cookies).take(FIELDS_MAX);
        self.way.metrics.shadow(|tables| {
            let number = |(source, name, value): (ExtraSource, &str, &[u8])| {
                let number = tables.name(Name { source, name })?;
                Some(FieldValue { name: number, value: hasher.fingerprint(value) as u32 })
            };
            fields.filter_map(number).collect()
        })
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        // What was cut off is compared with nothing.
        for held in [&mut self.aim.against, &mut self.aim.doubted].into_iter().flatten() {
            held.at_head.get_or_insert(Compared::Unknown);
        }
        self.aim.keep = None;
        self.settle(0, Vec::new(), None);
    }
}

impl Held {
    fn compare(&self, fingerprint: u64) -> Compared {
        match (self.at_head, self.coding, &self.entry.witness) {
            (Some(known), ..) => known,
            (None, Some(coding), Some(witness)) => witness.compare(coding, fingerprint),
            _ => Compared::Unknown,
        }
    }
}
