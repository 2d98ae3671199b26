//! `GET /log`: completed requests as they happen, one JSON object per line, in the form of the
//! access log.
//!
//! The parameters `outcome`, `reason`, `path`, `status` and `route` narrow the stream, and may be
//! repeated. A line `{"lost":N}` says that this reader was too slow for N lines. While nothing
//! happens, an empty line is sent every ten seconds, so that a reader can tell a quiet server from
//! a dead one.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body::Frame;
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::answer::AdminProblem;
use crate::access::{FOLLOWERS_MAX, Filter, FollowerHandle, Followers};

/// The interval between empty lines: well within the timeouts of proxies and readers.
pub(crate) const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);

/// The query: pairs, in their order.
pub(super) type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// Responds to a reader.
pub(super) fn follow(followers: &Arc<Followers>, pairs: Pairs) -> Result<Response, AdminProblem> {
    let bad = |error: String| {
        AdminProblem::new(StatusCode::BAD_REQUEST, error)
            .with("example", json!("/log?outcome=miss&path=/shop/&status=5xx"))
    };
    let Query(pairs) = pairs.map_err(|error| bad(error.to_string()))?;
    let filter = Filter::read(pairs.iter().map(|(kind, value)| (kind.as_str(), value.as_str()))).map_err(bad)?;
    let Some(following) = followers.follow(filter) else {
        let error = format!("too many readers ({FOLLOWERS_MAX}); end one of them, or try again later");
        let problem = AdminProblem::new(StatusCode::SERVICE_UNAVAILABLE, error);
        return Ok(([(header::RETRY_AFTER, "10")], problem).into_response());
    };
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::new(LineStream::new(following, KEEPALIVE_INTERVAL)))
        .into_response())
}

/// The body of a response; it ends when the reader disconnects or the admin interface stops.
struct LineStream {
    following: FollowerHandle,
    keepalives: Interval,
}

impl LineStream {
    fn new(following: FollowerHandle, every: Duration) -> Self {
        let mut keepalives = interval_at(Instant::now() + every, every);
        keepalives.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { following, keepalives }
    }
}

impl http_body::Body for LineStream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Poll::Ready(lines) = self.following.poll_lines(cx) {
            return Poll::Ready(Some(Ok(Frame::data(lines))));
        }
        self.keepalives.poll_tick(cx).map(|_| Some(Ok(Frame::data(Bytes::from_static(b"\n")))))
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn an_idle_stream_sends_empty_lines() {
        let followers = Arc::<Followers>::default();
        let mut lines = LineStream::new(followers.follow(Filter::default()).unwrap(), Duration::from_millis(1));
        for _ in 0..2 {
            let frame = lines.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), "\n");
        }
        drop(lines);
        assert!(!followers.is_any());
    }

    #[tokio::test]
    async fn seats_are_bounded_and_filters_are_checked() {
        let followers = Arc::<Followers>::default();
        let ask = |kind: &str, value: &str| follow(&followers, Ok(Query(vec![(kind.to_owned(), value.to_owned())])));
        assert_eq!(ask("outcome", "good").unwrap_err().status, StatusCode::BAD_REQUEST);
        let mut seats: Vec<_> = (0..FOLLOWERS_MAX).map(|_| ask("status", "200").unwrap()).collect();
        let refused = ask("status", "200").unwrap();
        assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (503, &"10".parse().unwrap()));
        seats.pop();
        assert_eq!(ask("status", "200").unwrap().status(), 200);
    }
}
