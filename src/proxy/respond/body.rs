//! The body of every response that Larder sends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::observer::Observer;
use crate::origin;
use crate::outcome::Reason;
use crate::proxy::fetch::shared_body::{Aborted, BodyReader, COPIED_BYTES_MAX};

/// The body of a response. Dropping it records the end of the request.
pub struct Body {
    content: BodySource,
    /// The bytes still to come, if known.
    length: Option<u64>,
    observer: Option<Observer>,
}

/// The source of the bytes.
enum BodySource {
    /// No bytes, or none left.
    Empty,
    /// One run of stored bytes.
    Whole(Bytes),
    /// Several runs: the parts of a multipart answer.
    Pieces(VecDeque<Bytes>),
    /// A body that is fetched and shared.
    Shared(Box<BodyReader>),
    /// The origin's body, passed through.
    Origin(Box<origin::ResponseBody>),
    /// The origin's body, passed through while a tap watches it.
    Tapped(Box<TappedBody>),
    /// A failure, which the next poll returns.
    Failed(Reason),
}

/// Watches a body as it passes. Dropped before [`Tap::end`], it learns that the body broke off.
pub(crate) trait Tap: Send {
    /// Takes the next bytes.
    fn feed(&mut self, data: &Bytes);

    /// Marks the body as complete. May be called more than once.
    fn end(&mut self);
}

/// The origin's body, and the tap that watches it.
struct TappedBody {
    body: origin::ResponseBody,
    tap: Box<dyn Tap>,
}

impl TappedBody {
    /// Passes the next frame on.
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let frame = ready!(http_body::Body::poll_frame(Pin::new(&mut self.body), cx));
        match &frame {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) => {
                    self.tap.feed(data);
                    if http_body::Body::is_end_stream(&self.body) {
                        self.tap.end();
                    }
                }
                // Trailers are the last frame.
                None => self.tap.end(),
            },
            None => self.tap.end(),
            Some(Err(_)) => {}
        }
        Poll::Ready(frame.map(|frame| frame.map_err(|error| Aborted(error.reason))))
    }
}

impl Body {
    fn new(content: BodySource, length: Option<u64>) -> Self {
        Self { content, length, observer: None }
    }

    /// Makes a body without bytes.
    pub fn empty() -> Self {
        Self::new(BodySource::Empty, Some(0))
    }

    /// Makes a body of one run of bytes.
    pub fn whole(bytes: Bytes) -> Self {
        if bytes.is_empty() {
            return Self::empty();
        }
        let length = bytes.len() as u64;
        Self::new(BodySource::Whole(bytes), Some(length))
    }

    /// Makes a body of several runs of bytes, sent in order.
    ///
    /// The runs are cut from something larger. The last one may stay with an HTTP/2 connection
    /// after this body is dropped, for as long as the client likes: a small one is copied, so that
    /// it does not keep the larger run alive. A large one is sent in pieces by the server.
    pub fn pieces(mut pieces: VecDeque<Bytes>) -> Self {
        if let Some(last) = pieces.back_mut().filter(|last| last.len() <= COPIED_BYTES_MAX) {
            *last = Bytes::copy_from_slice(last);
        }
        let length = pieces.iter().map(|piece| piece.len() as u64).sum();
        Self::new(BodySource::Pieces(pieces), Some(length))
    }

    /// Makes a body that follows a shared one; `length` is its length, if known.
    pub(crate) fn from_shared(reader: BodyReader, length: Option<u64>) -> Self {
        Self::new(BodySource::Shared(Box::new(reader)), length)
    }

    /// Makes a body that passes the origin's body on.
    pub(crate) fn from_origin(body: origin::ResponseBody) -> Self {
        let length = http_body::Body::size_hint(&body).exact();
        if http_body::Body::is_end_stream(&body) {
            return Self::empty();
        }
        Self::new(BodySource::Origin(Box::new(body)), length)
    }

    /// Makes a body that passes the origin's body on, and shows it to `tap`.
    pub(crate) fn from_origin_with_tap(body: origin::ResponseBody, mut tap: Box<dyn Tap>) -> Self {
        let length = http_body::Body::size_hint(&body).exact();
        if http_body::Body::is_end_stream(&body) {
            tap.end();
            return Self::empty();
        }
        Self::new(BodySource::Tapped(Box::new(TappedBody { body, tap })), length)
    }

    /// Returns the length of the rest, if known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Attaches the observer, which records the end.
    pub(crate) fn observe(&mut self, observer: Observer) {
        self.observer = Some(observer);
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        match &mut self.content {
            BodySource::Empty => Poll::Ready(None),
            BodySource::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.content = BodySource::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            BodySource::Pieces(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            BodySource::Shared(reader) => reader.poll_frame(cx),
            BodySource::Origin(body) => http_body::Body::poll_frame(Pin::new(body.as_mut()), cx)
                .map(|frame| frame.map(|frame| frame.map_err(|error| Aborted(error.reason)))),
            BodySource::Tapped(tapped) => tapped.poll_frame(cx),
            BodySource::Failed(reason) => Poll::Ready(Some(Err(Aborted(*reason)))),
        }
    }

    /// Corrects the decision if the head said that the response is being stored and it is not any
    /// more.
    fn correct_stored(&mut self) {
        if let BodySource::Shared(reader) = &self.content
            && let Some(reason) = reader.unkept_reason()
            && let Some(observer) = &mut self.observer
        {
            observer.not_stored(reason);
        }
    }

    /// Keeps a failure for the next poll, so that the bytes before it are written: as soon as a
    /// body fails, hyper drops everything it has buffered, the head included.
    fn defer_failure(&mut self, reason: Reason, cx: &Context<'_>) {
        self.content = BodySource::Failed(reason);
        cx.waker().wake_by_ref();
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let is_deferred = matches!(self.content, BodySource::Failed(_));
        let frame = ready!(self.poll_content(cx));
        let this = &mut *self;
        match &frame {
            None => {
                this.correct_stored();
                this.content = BodySource::Empty;
            }
            Some(Ok(frame)) => {
                let sent = frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(observer) = &mut this.observer {
                    observer.sent(sent);
                }
                if let Some(length) = &mut this.length {
                    *length = length.saturating_sub(sent);
                }
            }
            Some(Err(Aborted(reason))) if !is_deferred => {
                this.defer_failure(*reason, cx);
                return Poll::Pending;
            }
            Some(Err(Aborted(reason))) => {
                if let Some(observer) = &mut this.observer {
                    observer.aborted(*reason);
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            BodySource::Empty => true,
            BodySource::Whole(_) | BodySource::Failed(_) => false,
            BodySource::Pieces(pieces) => pieces.is_empty(),
            BodySource::Shared(reader) => reader.is_done(),
            BodySource::Origin(body) => http_body::Body::is_end_stream(body.as_ref()),
            BodySource::Tapped(tapped) => http_body::Body::is_end_stream(&tapped.body),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.correct_stored();
        let Some(observer) = self.observer.take() else { return };
        let whole = http_body::Body::is_end_stream(self) || self.length == Some(0);
        observer.record_end(whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_piece_keeps_nothing_alive_that_it_was_cut_from() {
        let check = |length: usize, is_copied: bool| {
            let stored = Bytes::from(vec![b'x'; 2 * COPIED_BYTES_MAX]);
            let mut body = Body::pieces(VecDeque::from([stored.slice(..1), stored.slice(1..1 + length)]));
            assert_eq!(body.length(), Some(1 + length as u64));
            let BodySource::Pieces(pieces) = &mut body.content else { panic!("pieces") };
            assert_eq!(pieces.pop_back().unwrap().as_ptr() != stored[1..].as_ptr(), is_copied, "{length} bytes");
            assert_eq!(pieces.pop_back().unwrap().as_ptr(), stored.as_ptr());
        };
        check(10, true);
        check(COPIED_BYTES_MAX, true);
        check(COPIED_BYTES_MAX + 1, false);
    }
}
