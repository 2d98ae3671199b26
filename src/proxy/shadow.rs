//! Shadow mode: a request is passed as if there were no cache, while it is decided what would have become of it.
//!
//! ```text
//! Course::of     decide::look_up, decide::fetching: what would be done before the origin is asked
//! pass::send     the client's own request
//! Course::judge  what the origin's head makes of that: the would-be outcome, and what is heard of the body
//! Ear            the body as it passes: kept, or held against what is kept
//! ```
//!
//! What is kept stands in the same store, under keys that no request in earnest has (`Rule::key_of`). So it is bounded,
//! evicted, purged and invalidated as in earnest, and a reload that turns the mode serves nothing of it. Deliberately
//! absent: rules. What is decided is decided by the functions that `serve` and `fill` ask.

mod advice;
mod course;
pub(super) mod ear;
mod report;

use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;

pub use self::advice::Advice;
use self::course::{Asking, Course};
use self::ear::{Ear, Heard};
pub use self::report::{Compared, Differing, Lost, Parameter, Report, Route, Suspect, Total, report};
use super::asked::Asked;
use super::{Body, Way, answer, pass as passing, rescue};
use crate::analytics::shadow::Passed;
use crate::outcome::{Decision, Outcome, Reason, Stored, Would};

/// Passes a request that would have been looked up.
pub(super) async fn pass(way: Arc<Way>, asked: Arc<Asked>, request: Request<Incoming>) -> Response<Body> {
    let course = Course::of(&way.shared, &asked);
    let asking = Asking { at: way.shared.clock.now(), sequence: way.shared.store.sequence() };
    let response = match passing::send(&way, &asked, request, &asked.decision(Outcome::Pass, Reason::Shadow)).await {
        Ok(response) => response,
        Err(error) => {
            let would = course.without_origin(&way.shared, &asked, &error);
            count(&way, &asked, would, None);
            return rescue::failed(&way, &asked, &error);
        }
    };
    passing::note_size(&way, &asked, &response);
    let (parts, body) = response.into_parts();
    let judged = course.judge(&way, &asked, (&parts, &body), asking);
    let decision = Decision {
        stored: Stored::No(Reason::Shadow),
        fwd_status: Some(parts.status.as_u16()),
        would: Some(judged.would),
        ..asked.decision(Outcome::Pass, Reason::Shadow)
    };
    let ear = Ear::new(&way, &asked, passed(&way, &asked, judged.would), judged.aim);
    let body = Body::heard(Heard { body, ear });
    // Who answers a HEAD has nothing to send.
    let body = if asked.facts.is_head { Body::empty() } else { body };
    answer::passed_with(&way, &asked, parts, body, decision)
}

/// Counts a request that passes in earnest too.
pub(super) fn passed_anyway(way: &Way, asked: &Asked, reason: Reason, length: Option<u64>) {
    count(way, asked, Would::new(Outcome::Pass, reason), length);
}

fn count(way: &Way, asked: &Asked, would: Would, length: Option<u64>) {
    let passed = Passed { body_bytes: length.unwrap_or_default(), ..passed(way, asked, would) };
    way.metrics.shadow(|tables| tables.passed(asked.key.url(), &passed));
}

/// Makes what is counted of a request whose answer's head is there.
fn passed(way: &Way, asked: &Asked, would: Would) -> Passed {
    let origin_micros = u64::try_from(asked.started.elapsed().as_micros()).unwrap_or(u64::MAX);
    Passed { would, row: way.metrics.row(asked.rule.index), body_bytes: 0, origin_micros }
}
