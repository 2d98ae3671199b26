//! Watches a body as it passes: hashes it, and keeps it if live mode would have stored it, within
//! the budget and the largest size of an object. The tap never delays the body, and a client that
//! leaves ends it, as without a cache.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, Method, StatusCode};
use smallvec::SmallVec;
use xxhash_rust::xxh3::Xxh3;

use crate::analytics::shadow::{self, Comparison, FIELDS_MAX, ObservedRequest, QueryResponse, ShadowName};
use crate::key::ExtraSource;
use crate::policy::credentials;
use crate::proxy::fetch::coalesce::FlightLeader;
use crate::proxy::fetch::flight::{Fill, FlightResult};
use crate::proxy::fetch::receive;
use crate::proxy::request::context::RequestContext;
use crate::proxy::respond::body::Tap;
use crate::proxy::sharing::cross_user_check::CrossUserCheck;
use crate::proxy::state::Worker;
use crate::stored::{
    BodyComparison, Coding, FieldValue, Selecting, ShadowFingerprint, SharingGuard, StoredBody, StoredEntry,
};
use crate::syntax::cookie;

/// The uses that the tap has for a body.
#[derive(Default)]
pub(super) struct TapPlan {
    /// The body is kept.
    pub(super) keep: Option<KeptResponse>,
    /// The body is compared with that of a would-be hit.
    pub(super) against: Option<ComparedEntry>,
    /// The body is compared with one that another user's request brought in, and that would not
    /// have been served without a check.
    pub(super) on_probation: Option<ComparedEntry>,
    /// The body is judged for the personalisation guard.
    pub(super) check: Option<(CrossUserCheck, HeadComparison)>,
}

/// The result of the head for the guard's comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeadComparison {
    /// The requester gets something else.
    Differs,
    /// The head does not differ, so the body decides.
    ByBody,
}

/// A response that is to be kept.
pub(super) struct KeptResponse {
    pub(super) fill: Box<Fill>,
    /// The length of the whole body, if the response is only a part or the head of it.
    pub(super) stands_for: Option<u64>,
    pub(super) coding: Option<Coding>,
    /// Held until the response is kept: requests for the same meanwhile would have waited.
    pub(super) lead: Option<FlightLeader<FlightResult>>,
}

/// An entry that a body is compared with.
pub(super) struct ComparedEntry {
    pub(super) entry: Arc<StoredEntry>,
    /// The result of the comparison, if the head shows it already.
    pub(super) at_head: Option<BodyComparison>,
    pub(super) is_same_tag: bool,
    pub(super) coding: Option<Coding>,
    /// The response fields that differ, one bit each.
    pub(super) response: u16,
}

/// A tap in a body. Dropped before the body's end, it counts the request and keeps nothing.
pub(super) struct BodyTap {
    worker: Arc<Worker>,
    ctx: Arc<RequestContext>,
    observed: ObservedRequest,
    plan: TapPlan,
    /// Seven hundred bytes of state, only if the plan needs a fingerprint.
    hash: Option<Box<Xxh3>>,
    chunks: SmallVec<[Bytes; 1]>,
    bytes_max: u64,
    is_done: bool,
}

impl BodyTap {
    pub(super) fn new(
        worker: &Arc<Worker>,
        ctx: &Arc<RequestContext>,
        observed: ObservedRequest,
        plan: TapPlan,
    ) -> Self {
        let needs_hash =
            plan.keep.is_some() || plan.against.is_some() || plan.on_probation.is_some() || plan.check.is_some();
        Self {
            worker: Arc::clone(worker),
            ctx: Arc::clone(ctx),
            observed,
            plan,
            hash: needs_hash.then(|| worker.shared.hasher.pieces()),
            chunks: SmallVec::new(),
            bytes_max: ctx.rule.object_bytes_max.min(worker.shared.store.budget().object_max()),
            is_done: false,
        }
    }

    fn is_compared(&self) -> bool {
        self.plan.against.is_some() || self.plan.on_probation.is_some()
    }

    /// Stores a complete response.
    fn keep(&mut self, response: KeptResponse, fingerprint: u128, fields: Vec<FieldValue>) {
        let KeptResponse { fill, stands_for, coding, lead } = response;
        let store = &self.worker.shared.store;
        let shadow_fingerprint = ShadowFingerprint::new(fields);
        let bytes = match stands_for {
            None => {
                coding.map(|coding| shadow_fingerprint.compare(coding, fingerprint as u64));
                receive::join_chunks(&self.worker, std::mem::take(&mut self.chunks))
            }
            // The entry takes as much room as the whole body would.
            Some(length) => usize::try_from(length).ok().and_then(|bytes| {
                let room = store.reserve(length)?;
                Some(room.into_body(vec![0; bytes].into_boxed_slice()))
            }),
        };
        let Some(bytes) = bytes else { return };
        if fill.is_other_variant() {
            receive::drop_replaced(&self.worker, &self.ctx, &fill);
        }
        let Fill { head, facts, selecting, tags, asked_at, leader, .. } = *fill;
        let mut entry = StoredEntry::new(head, facts, StoredBody::identity(bytes), selecting, tags, asked_at.sequence);
        let values = || self.ctx.values(&self.worker.shared);
        entry.guard = leader.map(|leader| Arc::new(SharingGuard::new(leader, values(), fingerprint)));
        entry.shadow_fingerprint = Some(Arc::new(shadow_fingerprint));
        if let Err(reason) = store.put(&self.ctx.key, entry) {
            tracing::debug!(url = self.ctx.key.url(), %reason, "a complete response was not kept");
        }
        drop(lead);
    }

    /// Compares the body and counts the result.
    fn settle(&mut self, fingerprint: u128, fields: Vec<FieldValue>, query: Option<(u64, u64)>) {
        let against = self.plan.against.take();
        let is_hit = against.is_some();
        let compared_entry = against.or(self.plan.on_probation.take());
        let comparison = compared_entry.as_ref().map(|compared| compared.compare(fingerprint as u64));
        self.judge(comparison);
        let differing = compared_entry
            .as_ref()
            .and_then(|compared| compared.entry.shadow_fingerprint.as_ref())
            .map(|kept| kept.differing(fields));
        let differing = differing.unwrap_or_default();
        let url = self.ctx.key.url();
        let target = self.ctx.key.path_and_query();
        let (path, text) = target.split_once('?').unwrap_or((target, ""));
        self.worker.metrics.shadow(|tables| {
            tables.record(url, &self.observed);
            if let (Some(compared), Some(comparison)) = (&compared_entry, comparison) {
                let ComparedEntry { is_same_tag, response, .. } = *compared;
                let against = Comparison { url, compared: comparison, is_same_tag, request: &differing, response };
                if is_hit { tables.record_comparison(&against) } else { tables.record_on_probation(&against) }
            }
            if let Some((context, body)) = query {
                tables.record_query(&QueryResponse {
                    host: self.ctx.key.authority(),
                    path,
                    query: text,
                    context,
                    body,
                });
            }
        });
    }

    /// Updates the personalisation guard as live mode would after this comparison.
    fn judge(&mut self, comparison: Option<BodyComparison>) {
        let Some((check, at_head)) = self.plan.check.take() else { return };
        match (at_head, comparison) {
            (HeadComparison::Differs, _) | (_, Some(BodyComparison::Different)) => {
                check.drop_personalised(&self.worker)
            }
            (_, Some(BodyComparison::Same)) => check.guard.share(&check.ctx.values(&self.worker.shared)),
            _ => {}
        }
    }

    /// Returns a hash of everything besides the URL that selected the response; `None` if the body
    /// is not a whole page.
    fn context(&self) -> Option<u64> {
        let (selecting, coding): (&Selecting, _) = match (&self.plan.keep, &self.plan.against) {
            (Some(kept), _) if kept.stands_for.is_none() && kept.fill.status == StatusCode::OK => {
                (&kept.fill.selecting, kept.coding?)
            }
            (None, Some(compared)) if compared.at_head.is_none() && compared.entry.facts.status == StatusCode::OK => {
                (&compared.entry.selecting, compared.coding?)
            }
            _ => return None,
        };
        if self.ctx.method != Method::GET {
            return None;
        }
        let key = &self.ctx.key;
        let mut text = key.text().as_bytes()[key.url().len()..].to_vec();
        text.push(coding as u8);
        for (name, value) in selecting {
            text.extend_from_slice(name.as_str().as_bytes());
            text.push(b'\n');
            text.extend(value.iter().flat_map(|value| value.iter()));
            text.push(b'\n');
        }
        Some(self.worker.shared.hasher.fingerprint(&text) as u64)
    }

    /// Returns the request fields and cookies that a page may depend on, as numbers.
    fn fields(&self) -> Vec<FieldValue> {
        let (rule, hasher) = (&self.ctx.rule, &self.worker.shared.hasher);
        let is_keyed = |name: &HeaderName| rule.key_headers.contains(name);
        let headers = self.ctx.headers.iter().filter(|(name, _)| !shadow::is_noise(name.as_str()) && !is_keyed(name));
        let headers = headers.map(|(name, value)| (ExtraSource::Header, name.as_str(), value.as_bytes()));
        let cookies = cookie::cookies(&self.ctx.headers);
        let cookies = cookies.filter(|cookie| !credentials::is_ignored(rule, cookie.name)).filter_map(|cookie| {
            let name = std::str::from_utf8(cookie.name).ok()?;
            Some((ExtraSource::Cookie, name, cookie.value?))
        });
        let fields = headers.chain(cookies).take(FIELDS_MAX);
        self.worker.metrics.shadow(|tables| {
            let number = |(source, name, value): (ExtraSource, &str, &[u8])| {
                let number = tables.name(ShadowName { source, name })?;
                Some(FieldValue { name: number, value: hasher.fingerprint(value) as u32 })
            };
            fields.filter_map(number).collect()
        })
    }
}

impl Tap for BodyTap {
    fn feed(&mut self, data: &Bytes) {
        self.observed.body_bytes += data.len() as u64;
        if let Some(hash) = &mut self.hash {
            hash.update(data);
        }
        if self.plan.keep.as_ref().is_some_and(|kept| kept.stands_for.is_none()) {
            match receive::counted_copy(&self.worker, data, self.observed.body_bytes, self.bytes_max) {
                Ok(copy) => self.chunks.push(copy),
                Err(_) => {
                    self.plan.keep = None;
                    self.chunks = SmallVec::new();
                }
            }
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        let fingerprint = self.hash.take().map_or(0, |hash| hash.digest128());
        let fields = if self.plan.keep.is_some() || self.is_compared() { self.fields() } else { Vec::new() };
        let query = self.context().map(|context| (context, fingerprint as u64));
        if let Some(response) = self.plan.keep.take() {
            self.keep(response, fingerprint, fields.clone());
        }
        self.settle(fingerprint, fields, query);
    }
}

impl Drop for BodyTap {
    fn drop(&mut self) {
        if std::mem::replace(&mut self.is_done, true) {
            return;
        }
        // A body that broke off is compared with nothing.
        for compared in [&mut self.plan.against, &mut self.plan.on_probation].into_iter().flatten() {
            compared.at_head.get_or_insert(BodyComparison::Unknown);
        }
        self.plan.keep = None;
        self.settle(0, Vec::new(), None);
    }
}

impl ComparedEntry {
    fn compare(&self, fingerprint: u64) -> BodyComparison {
        match (self.at_head, self.coding, &self.entry.shadow_fingerprint) {
            (Some(known), ..) => known,
            (None, Some(coding), Some(shadow_fingerprint)) => shadow_fingerprint.compare(coding, fingerprint),
            _ => BodyComparison::Unknown,
        }
    }
}
