//! The content of a request on its way to the origin, as seen by the connection that it comes from.
//!
//! On HTTP/2 the socket does not tell whether a silent client still owes content or has sent everything and waits for the
//! origin. Whoever reads the content knows: [`Upload`] counts the reads that wait, and the connection closes where the
//! client stays silent through them for too long. On HTTP/1 the connection sees it itself, and nothing is counted.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::Extensions;
use http_body::{Body, Frame, SizeHint};

use crate::origin::ContentFailed;
use crate::outcome::Reason;
use crate::policy::trailers;

/// A connection's count of requests whose content is awaited. An extension of HTTP/2 requests with content.
#[derive(Clone, Debug)]
pub struct Awaited(Arc<AtomicU32>);

impl Awaited {
    /// Makes a handle on a connection's count.
    pub fn new(count: Arc<AtomicU32>) -> Self {
        Self(count)
    }
}

/// What a request's content fails with: [`ContentFailed`], or whatever its connection says.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A request's content that tells its connection when it waits for the client, and leaves out of its trailers what must
/// not come behind content.
#[derive(Debug)]
pub struct Upload<B> {
    body: B,
    awaited: Option<Awaited>,
    waits: bool,
}

impl<B> Upload<B> {
    /// Wraps a request's content; takes the connection's count out of its `extensions`, where there is one.
    pub fn new(body: B, extensions: &mut Extensions) -> Self {
        Self { body, awaited: extensions.remove::<Awaited>(), waits: false }
    }

    fn waits(&mut self, waits: bool) {
        if let Some(Awaited(count)) = &self.awaited
            && self.waits != waits
        {
            self.waits = waits;
            match waits {
                true => count.fetch_add(1, Ordering::Relaxed),
                false => count.fetch_sub(1, Ordering::Relaxed),
            };
        }
    }
}

/// Lets data pass, and of trailers what may come behind content. On HTTP/1 the screen has refused all others.
///
/// # Errors
/// Trailers that HTTP/1 cannot carry, or too many of them.
fn allowed<D>(mut frame: Frame<D>) -> Result<Frame<D>, Failure> {
    if let Some(trailers) = frame.trailers_mut() {
        if !trailers::are_sound(trailers) {
            return Err(ContentFailed(Reason::BadRequest).into());
        }
        trailers::strip_forbidden(trailers);
    }
    Ok(frame)
}

impl<B: Body<Error: Into<Failure>> + Unpin> Body for Upload<B> {
    type Data = B::Data;
    type Error = Failure;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Failure>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.waits(polled.is_pending());
        polled.map(|frame| frame.map(|frame| allowed(frame.map_err(Into::into)?)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Upload<B> {
    fn drop(&mut self) {
        self.waits(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::task::Waker;

    /// Content that is pending on every other poll.
    struct Halting(bool);

    impl Body for Halting {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            self.0 = !self.0;
            if self.0 { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))) }
        }
    }

    #[test]
    fn reads_that_wait_are_counted_until_content_comes_or_nobody_reads() {
        let count = Arc::new(AtomicU32::new(0));
        let mut extensions = Extensions::new();
        extensions.insert(Awaited::new(Arc::clone(&count)));
        let mut upload = Upload::new(Halting(false), &mut extensions);
        let cx = &mut Context::from_waker(Waker::noop());
        for expected in [1, 0, 1] {
            let _ = Pin::new(&mut upload).poll_frame(cx);
            assert_eq!(count.load(Ordering::Relaxed), expected);
        }
        drop(upload);
        assert_eq!(count.load(Ordering::Relaxed), 0);
        assert!(extensions.get::<Awaited>().is_none());
    }

    #[test]
    fn content_without_a_count_passes() {
        let mut upload = Upload::new(Halting(true), &mut Extensions::new());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut upload).poll_frame(cx).is_ready());
        assert!(Pin::new(&mut upload).poll_frame(cx).is_pending());
    }
}
