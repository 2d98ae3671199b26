//! A response's body as hyper is given it, with the exchange that it ends.
//!
//! On HTTP/1 frames pass as they are. On HTTP/2 they pass in pieces: hyper asks for the next once the client's window had
//! room for the last, so that each piece is a sign of life, and what h2 is left with when the body has ended is small,
//! whether or not the body knew which frame was its last.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::in_progress::RequestInProgress;
use super::serve::ServedBody;

/// The largest piece of a body on HTTP/2. A client has to make room for as much within `body_idle_timeout`, by default for
/// 2,200 bytes a second; streams that wait in line have longer. Each piece takes some 6,000 instructions: smaller ones would
/// be felt in large bodies.
const PIECE_BYTES: usize = 64 << 10;

/// The most that is handed over last: what goes into one frame of the size that all clients take (RFC 9113 §4.2). Frames up
/// to this size pass as they are.
const LAST_BYTES: usize = 16 << 10;

/// A response's body, with the exchange that it ends.
pub(crate) struct TrackedBody<B> {
    body: B,
    /// What is left of a frame of which a piece was handed over.
    rest: Bytes,
    exchange: RequestInProgress,
}

impl<B: ServedBody> TrackedBody<B> {
    /// Makes the body that ends `exchange`.
    pub(super) fn new(body: B, exchange: RequestInProgress) -> Self {
        Self { body, rest: Bytes::new(), exchange }
    }

    /// Returns the next piece of the rest. The last one of a frame is small and copied: where it ends the body, h2 keeps it for
    /// as long as the client likes, and would keep all that it is a piece of. Most bodies do not know that yet: one that is
    /// being filled, or of unknown length, or with trailers, has ended when the next frame was asked for.
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
        if !this.exchange.is_http2() {
            return Pin::new(&mut this.body).poll_frame(cx);
        }
        if !this.rest.is_empty() {
            this.exchange.hand_over();
            return Poll::Ready(Some(Ok(Frame::data(this.piece()))));
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                this.exchange.hand_over();
                Poll::Ready(Some(Ok(this.first_piece(frame))))
            }
            Poll::Pending => {
                this.exchange.await_piece();
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
