//! The content of a request on its way to the origin, as its connection sees it.
//!
//! On HTTP/2 the socket does not show whether a silent client still owes content or has sent all of
//! it and waits for the origin. The reader of the content knows: [`Upload`] records whether it
//! waits, and the connection resets the stream if the client stays silent too long meanwhile. On
//! HTTP/1 the connection sees that itself, and nothing is recorded.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};

use http::Extensions;
use http_body::{Body, Frame, SizeHint};

use crate::origin::ContentFailed;
use crate::outcome::Reason;
use crate::policy::fields::trailers;

/// Which side a request's content waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum UploadState {
    /// Neither: the content is not read yet, or no longer.
    Unread,
    /// The client has to send more.
    Awaited,
    /// The origin has to take what has arrived.
    HeldUp,
}

/// The progress of a request's content. An extension of HTTP/2 requests with content, shared with
/// the connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct UploadProgress(Arc<ProgressCells>);

#[derive(Debug, Default)]
struct ProgressCells {
    state: AtomicU8,
    frames: AtomicU32,
}

impl UploadProgress {
    /// Returns which side the content waits for.
    pub(crate) fn state(&self) -> UploadState {
        match self.0.state.load(Ordering::Relaxed) {
            0 => UploadState::Unread,
            1 => UploadState::Awaited,
            _ => UploadState::HeldUp,
        }
    }

    /// Returns how many frames have arrived.
    pub(crate) fn frames(&self) -> u32 {
        self.0.frames.load(Ordering::Relaxed)
    }

    /// Records that the client has to send more.
    pub(crate) fn record_wait(&self) {
        self.0.state.store(UploadState::Awaited as u8, Ordering::Relaxed);
    }

    /// Records a frame that arrived.
    pub(crate) fn record_frame(&self) {
        self.0.frames.fetch_add(1, Ordering::Relaxed);
        self.0.state.store(UploadState::HeldUp as u8, Ordering::Relaxed);
    }

    /// Records that the content is no longer read.
    pub(crate) fn record_end(&self) {
        self.0.state.store(UploadState::Unread as u8, Ordering::Relaxed);
    }
}

/// Why a request's content fails: [`ContentFailed`], or its connection's error.
type UploadError = Box<dyn std::error::Error + Send + Sync>;

/// A request's content that records its progress for its connection, and removes trailers that are
/// forbidden after content.
#[derive(Debug)]
pub(crate) struct Upload<B> {
    body: B,
    content: Option<UploadProgress>,
}

impl<B> Upload<B> {
    /// Wraps a request's content; takes the progress record out of its `extensions`.
    pub(crate) fn new(body: B, extensions: &mut Extensions) -> Self {
        Self { body, content: extensions.remove::<UploadProgress>() }
    }
}

/// Passes data frames on unchanged, and removes trailer fields that may not be sent as trailers
/// (RFC 9110 §6.5.1). HTTP/1 requests with such fields were refused by `server::screen` before.
///
/// # Errors
/// Trailer fields that HTTP/1 cannot carry, or too many of them.
fn check_frame<D>(mut frame: Frame<D>) -> Result<Frame<D>, UploadError> {
    if let Some(trailers) = frame.trailers_mut() {
        if !trailers::are_sound(trailers) {
            return Err(ContentFailed(Reason::BadRequest).into());
        }
        trailers::strip_forbidden(trailers);
    }
    Ok(frame)
}

impl<B: Body<Error: Into<UploadError>> + Unpin> Body for Upload<B> {
    type Data = B::Data;
    type Error = UploadError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, UploadError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(content) = &self.content {
            match &polled {
                Poll::Pending => content.record_wait(),
                Poll::Ready(Some(Ok(_))) => content.record_frame(),
                Poll::Ready(None | Some(Err(_))) => content.record_end(),
            }
            // hyper takes a reset without an error for the end, although the content is incomplete
            // (RFC 9113 §8.1).
            if matches!(polled, Poll::Ready(None)) && !self.body.is_end_stream() {
                return Poll::Ready(Some(Err(ContentFailed(Reason::BadRequest).into())));
            }
        }
        polled.map(|frame| frame.map(|frame| check_frame(frame.map_err(Into::into)?)))
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
        if let Some(content) = &self.content {
            content.record_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::task::Waker;

    /// Content that is pending on every other poll.
    struct HaltingContent(bool);

    impl Body for HaltingContent {
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
    fn progress_says_which_side_is_waited_for() {
        let content = UploadProgress::default();
        let mut extensions = Extensions::new();
        extensions.insert(content.clone());
        let mut upload = Upload::new(HaltingContent(false), &mut extensions);
        assert_eq!((content.state(), content.frames()), (UploadState::Unread, 0));
        let cx = &mut Context::from_waker(Waker::noop());
        for expected in [(UploadState::Awaited, 0), (UploadState::HeldUp, 1), (UploadState::Awaited, 1)] {
            let _ = Pin::new(&mut upload).poll_frame(cx);
            assert_eq!((content.state(), content.frames()), expected);
        }
        drop(upload);
        assert_eq!(content.state(), UploadState::Unread);
        assert!(extensions.get::<UploadProgress>().is_none());
    }

    #[test]
    fn content_without_a_progress_record_passes() {
        let mut upload = Upload::new(HaltingContent(true), &mut Extensions::new());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut upload).poll_frame(cx).is_ready());
        assert!(Pin::new(&mut upload).poll_frame(cx).is_pending());
    }
}
