//! The body of a response as hyper is given it, with the request that ends with it.
//!
//! On HTTP/1 frames pass unchanged. On HTTP/2 they pass in pieces: hyper asks for the next piece
//! once the client's window had room for the last, so that each piece is a sign of progress, and
//! the piece that h2 still has when the body has ended is small, whether or not the body knew which
//! frame was its last.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::in_progress::RequestInProgress;
use super::serve::ServedBody;

/// The largest piece of a body on HTTP/2. A client has to make room for one piece within
/// `body_idle_timeout`, by default 2,200 bytes a second; streams that wait in line have longer.
/// Each piece costs some 6,000 instructions, so smaller ones would be felt in large bodies.
const PIECE_BYTES: usize = 64 << 10;

/// The largest last piece of a frame: one frame of the size that all clients accept (RFC 9113
/// §4.2). Frames up to this size pass unchanged.
const LAST_BYTES: usize = 16 << 10;

/// The body of a response, with the request that ends with it.
pub(crate) struct TrackedBody<B> {
    body: B,
    /// The rest of a frame of which a piece was passed on.
    rest: Bytes,
    in_progress: RequestInProgress,
}

impl<B: ServedBody> TrackedBody<B> {
    /// Creates the body that ends `in_progress`.
    pub(super) fn new(body: B, in_progress: RequestInProgress) -> Self {
        Self { body, rest: Bytes::new(), in_progress }
    }

    /// Returns the next piece of the rest. The last piece of a frame is small and copied: if it
    /// ends the body, h2 keeps it for as long as the client likes, and would keep alive all that it
    /// is a part of. Most bodies do not know that yet: a body that is still arriving, is of unknown
    /// length, or has trailers has ended only when the next frame was asked for.
    fn piece(&mut self) -> Bytes {
        let remaining = self.rest.len();
        if remaining > LAST_BYTES {
            return self.rest.split_to(PIECE_BYTES.min(remaining - LAST_BYTES));
        }
        Bytes::copy_from_slice(&std::mem::take(&mut self.rest))
    }

    /// Takes the first piece of a frame.
    fn first_piece(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        match frame.into_data() {
            Ok(data) if data.len() > LAST_BYTES => {
                self.rest = data;
                Frame::data(self.piece())
            }
            Ok(data) => Frame::data(data),
            Err(frame) => frame,
        }
    }
}

impl<B: ServedBody> Body for TrackedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if !this.in_progress.is_http2() {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        if !this.rest.is_empty() {
            this.in_progress.record_piece_sent();
            return Poll::Ready(Some(Ok(Frame::data(this.piece()))));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.in_progress.record_piece_sent();
                Poll::Ready(Some(Ok(this.first_piece(frame))))
            }
            Poll::Pending => {
                this.in_progress.record_piece_requested();
                Poll::Pending
            }
            ended => ended,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = self.body.size_hint();
        let rest = self.rest.len() as u64;
        if rest > 0 {
            if let Some(upper) = hint.upper() {
                hint.set_upper(upper + rest);
            }
            hint.set_lower(hint.lower() + rest);
        }
        hint
    }
}
