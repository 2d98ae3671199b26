//! `POST /purge`: a purge as JSON, read and checked as a whole before anything is purged.
//!
//! ```json
//! {"url": "http://example.org/page"}
//! {"urls": ["http://example.org/a", "http://example.org/b?x=1"], "tag": "news", "kind": "soft"}
//! {"prefix": "example.org/shop/"}
//! {"all": true, "kind": "validate"}
//! ```
//! `kind` is `hard` (the default: discarded, including its validator), `validate` (revalidated
//! before its next use) or `soft` (served stale while one request refreshes it). [`selectors`]
//! describes the selectors.
//!
//! The answer has `purged` (the number of selectors), `sequence` (the ledger's number after them)
//! and `entries` (the number of stored responses of the URLs). Entries that only a background sweep
//! can find are reported as `"swept": "pending"`. None of them is served from the moment of the
//! answer on; their memory is freed when `store.sweep.through` of `/stats` has reached `sequence`.

mod selectors;

use axum::extract::Request;
use serde::Serialize;
use serde_json::json;

use super::answer::AdminProblem;
use super::content::ExpectedContent;
use crate::proxy::purge::{PurgeResult, PurgeTarget};
use crate::store::PurgeKind;
use selectors::PurgeRequest;

/// The expected content, with room for the maximum number of selectors.
const CONTENT: ExpectedContent = ExpectedContent { what: "a purge", bytes_max: 256 << 10, example };

/// The hint in the answer to a purge that needs a sweep.
const WATCH: &str =
    "GET /stats: `store.sweep.through` reaches the sequence; `store.evicted.purge` counts what is freed";

/// A purge that can be carried out.
#[derive(Debug, PartialEq)]
pub(super) struct PurgeCommand {
    /// The targets, at least one.
    targets: Vec<PurgeTarget>,
    kind: PurgeKind,
}

/// The result of a purge.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct PurgeAnswer {
    /// The number of selectors that were recorded.
    purged: usize,
    /// The ledger's number of the last of them: responses requested from the origin before it count
    /// as purged.
    sequence: u64,
    /// The number of stored responses of the URLs among them; null if nothing could be counted.
    entries: Option<u64>,
    /// `pending` if the sweep finds the rest. None of it is served meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    swept: Option<&'static str>,
    /// A hint on how to see when the sweep is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    watch: Option<&'static str>,
}

impl PurgeCommand {
    /// Carries out the whole purge with `purge`.
    pub(super) fn apply(self, purge: impl Fn(PurgeTarget, PurgeKind) -> PurgeResult) -> PurgeAnswer {
        let done: Vec<PurgeResult> = self.targets.into_iter().map(|target| purge(target, self.kind)).collect();
        let is_pending = done.iter().any(|purged| purged.entries.is_none());
        PurgeAnswer {
            purged: done.len(),
            sequence: done.iter().map(|purged| purged.sequence).max().unwrap_or_default(),
            entries: done.iter().filter_map(|purged| purged.entries).reduce(|sum, more| sum + more),
            swept: is_pending.then_some("pending"),
            watch: is_pending.then_some(WATCH),
        }
    }
}

/// Reads a purge.
///
/// # Errors
/// 415 if the type is not JSON, 413 if the content is too long, 408 if it does not arrive in time,
/// 400 if it cannot be understood.
pub(super) async fn read(request: Request) -> Result<PurgeCommand, AdminProblem> {
    parse(&CONTENT.read(request).await?)
}

fn parse(content: &[u8]) -> Result<PurgeCommand, AdminProblem> {
    let request: PurgeRequest = serde_json::from_slice(content).map_err(|error| CONTENT.bad(error.to_string()))?;
    let (targets, kind) = request.read().map_err(|error| CONTENT.bad(error))?;
    Ok(PurgeCommand { targets, kind })
}

fn example() -> serde_json::Value {
    json!({ "urls": ["http://example.org/page"], "prefixes": ["example.org/shop/"], "tags": ["news"], "kind": "hard" })
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use axum::response::IntoResponse;

    use super::*;

    async fn error(problem: AdminProblem) -> (u16, serde_json::Value) {
        let response = problem.into_response();
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn faulty_purges_are_refused_with_an_example() {
        for (content, part) in [
            ("", "EOF"),
            ("[]", "expected"),
            ("{}", "nothing to purge"),
            (r#"{"url": "http://a/", "url": "http://a/"}"#, "duplicate field"),
            (r#"{"url": 5}"#, "expected a string"),
            (r#"{"url": "http://a/", "kind": "gentle"}"#, "unknown variant `gentle`"),
            (r#"{"url": "http://a/", "pattern": "/"}"#, "unknown field `pattern`"),
            (r#"{"url": "http://a/"} trailing"#, "trailing"),
        ] {
            let (status, answer) = error(parse(content.as_bytes()).unwrap_err()).await;
            assert_eq!(status, 400, "{content}");
            assert!(answer["error"].as_str().unwrap().contains(part), "{content}: {answer}");
            assert_eq!(answer["example"], example());
        }
        assert!(parse(example().to_string().as_bytes()).is_ok(), "the example is valid");
    }

    #[test]
    fn every_target_is_purged_and_known_counts_are_reported() {
        let check = |counts: &[Option<u64>], entries: Option<u64>, swept: Option<&str>| {
            let targets = vec![PurgeTarget::Wide(crate::store::Selector::All); counts.len()];
            let done = std::cell::Cell::new(0);
            let answer = PurgeCommand { targets, kind: PurgeKind::Soft }.apply(|_, kind| {
                assert_eq!(kind, PurgeKind::Soft);
                done.set(done.get() + 1);
                PurgeResult { sequence: 40 + done.get() as u64, entries: counts[done.get() - 1] }
            });
            assert_eq!((answer.purged, answer.sequence), (counts.len(), 40 + counts.len() as u64));
            assert_eq!((answer.entries, answer.swept, answer.watch.is_some()), (entries, swept, swept.is_some()));
        };
        check(&[Some(0)], Some(0), None);
        check(&[Some(2), Some(3)], Some(5), None);
        check(&[Some(2), None], Some(2), Some("pending"));
        check(&[None], None, Some("pending"));
    }
}
