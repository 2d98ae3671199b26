//! A response's body, as it arrives from the origin.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::error::Error;
use super::framing::ResponseFraming;
use super::permits::Permit;
use super::pool::Checkout;
use super::timer::Timer;
use super::upload::ResponseTimer;
use crate::outcome::Reason;
use crate::policy::fields::trailers;

/// A response's body that drives its own connection. Fails with an [`Error`] when cut off or silent
/// for too long.
pub struct ResponseBody {
    /// `None` after a failure; dropping it closes the connection.
    incoming: Option<Incoming>,
    silence: Silence,
    is_unsized: bool,
    /// Permit and connection are returned as soon as the body has ended, which may be long before
    /// the drop.
    permit: Option<Permit>,
    connection: Option<Checkout>,
}

impl ResponseBody {
    /// Makes the body of a response whose head arrived over `connection`.
    pub(super) fn new(
        incoming: Incoming,
        framing: ResponseFraming,
        silence: Silence,
        permit: Permit,
        connection: Checkout,
    ) -> Self {
        let mut body = Self {
            incoming: Some(incoming),
            silence,
            is_unsized: framing == ResponseFraming::Unsized,
            permit: Some(permit),
            connection: Some(connection),
        };
        if body.is_end_stream() {
            body.end();
        }
        body
    }

    /// Makes the empty body of a 101. The permit stays with the body until it is taken or dropped.
    pub(super) fn of_upgrade(silence: Silence, permit: Permit, connection: Checkout) -> Self {
        connection.release();
        Self { incoming: None, silence, is_unsized: false, permit: Some(permit), connection: None }
    }

    /// Returns whether only the closing connection ends the body (RFC 9112 §6.3, item 8).
    pub fn is_unsized(&self) -> bool {
        self.is_unsized
    }

    /// Takes the permit for a protocol that outlives the body after a 101. `None` once the body has
    /// ended.
    pub fn take_permit(&mut self) -> Option<Permit> {
        self.permit.take()
    }

    fn end(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            connection.end();
        }
        self.permit = None;
    }

    /// Takes a frame that has arrived; if there is none, drives the connection.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        match (Pin::new(&mut *incoming).poll_frame(cx), &mut self.connection) {
            (Poll::Pending, Some(connection)) => {
                connection.drive(cx);
                Pin::new(incoming).poll_frame(cx)
            }
            (polled, _) => polled,
        }
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.incoming = None;
        self.connection = None;
        self.permit = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.poll_incoming(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                self.silence.end();
                if let Some(trailers) = frame.trailers_mut() {
                    trailers::strip_forbidden(trailers);
                }
                if self.is_end_stream() {
                    self.end();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => self.fail(Error::in_body(&error)),
            Poll::Ready(None) => {
                self.end();
                Poll::Ready(None)
            }
            Poll::Pending => {
                let Self { silence, connection, .. } = &mut *self;
                let Some(timer) = connection.as_mut().and_then(Checkout::timer) else { return Poll::Pending };
                let error = ready!(silence.poll(cx, timer));
                self.fail(error)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

/// The origin's silence inside a body.
///
/// Silence counts only while a reader waits for a frame, and not while the client is slow to send
/// the rest of its request, which may continue after the response's head. So a slow client never
/// looks like a slow origin.
pub(super) struct Silence {
    timeout: Duration,
    timer: Arc<ResponseTimer>,
    is_waiting: bool,
}

impl Silence {
    /// Allows `timeout` of the origin's own silence; `response_timer` says whose silence it is.
    pub(super) fn new(timeout: Duration, response_timer: Arc<ResponseTimer>) -> Self {
        Self { timeout, timer: response_timer, is_waiting: false }
    }

    /// Notes a frame. The next silence begins when a reader waits again.
    fn end(&mut self) {
        self.is_waiting = false;
    }

    /// Waits until the origin has been silent for too long. Only the first poll of each wait sets
    /// the connection's timer, so frames that are already there cost none.
    fn poll(&mut self, cx: &mut Context<'_>, timer: &mut Timer) -> Poll<Error> {
        let timeout = self.timeout;
        if !std::mem::replace(&mut self.is_waiting, true) {
            timer.set(Instant::now() + timeout);
        }
        timer.poll(cx, &self.timer, timeout).map(|()| {
            Error::sent(Reason::ResponseTimeout, format!("the body was silent for {timeout:?} (`body_idle_timeout`)"))
        })
    }
}
