//! The driver of a connection: polls hyper, drains the write buffer after each poll, follows the
//! requested shutdown, and tells how the connection ended.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hyper::server::conn::{http1, http2};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::protocols::StreamTasks;
use crate::server::connection::{ConnectionIo, ConnectionState, Protocol, Shutdown, deferred_writes};
use crate::server::screen::ScreenRefusal;
use crate::server::service::{ConnectionService, Serve};

/// How hyper's part of a connection ended.
pub(super) enum DriverEnd {
    /// All is sent, and Larder's side of the socket is shut down.
    Complete(Box<ConnectionIo>),
    /// The screen has refused the next head; the requests before it are answered.
    Refused(Box<ConnectionIo>, ScreenRefusal),
    /// All is sent; hyper has left the socket for an upgrade, and not shut down Larder's side.
    NotShutDown(Option<OnUpgrade>),
    /// A message was aborted; the close tells the client so, after the buffered bytes are written.
    Failed,
    /// hyper has sent all and closed, or a tunnel owns the socket now.
    HandedOver,
    /// Nothing more may be written.
    Aborted,
}

/// The operations that the driver needs of hyper's two kinds of connection.
pub(super) trait HyperConnection {
    /// Polls hyper.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>>;
    /// Makes hyper answer the requests in flight, and none after them.
    fn finish(&mut self);
    /// Takes the socket back after the last poll; `None` if hyper has handed it over, or keeps it.
    fn take_io(&mut self) -> Option<Box<ConnectionIo>>;
}

pub(super) struct Http1Connection<F: Serve>(
    pub(super) Option<http1::UpgradeableConnection<TokioIo<ConnectionIo>, ConnectionService<F>>>,
);

impl<F: Serve> HyperConnection for Http1Connection<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.as_mut().map_or(Poll::Ready(Ok(())), |hyper| Pin::new(hyper).poll(cx))
    }

    fn finish(&mut self) {
        if let Some(hyper) = &mut self.0 {
            Pin::new(hyper).graceful_shutdown();
        }
    }

    fn take_io(&mut self) -> Option<Box<ConnectionIo>> {
        let parts = self.0.take().and_then(http1::UpgradeableConnection::into_parts)?;
        Some(Box::new(parts.io.into_inner()))
    }
}

pub(super) struct Http2Connection<F: Serve>(
    pub(super) http2::Connection<TokioIo<ConnectionIo>, ConnectionService<F>, StreamTasks>,
);

impl<F: Serve> HyperConnection for Http2Connection<F> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        Pin::new(&mut self.0).poll(cx)
    }

    fn finish(&mut self) {
        Pin::new(&mut self.0).graceful_shutdown();
    }

    fn take_io(&mut self) -> Option<Box<ConnectionIo>> {
        None
    }
}

/// Polls hyper, and manages the socket around it.
pub(super) struct Driver<H> {
    connection: Arc<ConnectionState>,
    hyper: H,
    /// The waker that a requested shutdown wakes.
    waker: Option<Waker>,
    is_finishing: bool,
    has_ended: bool,
}

impl<H: HyperConnection> Driver<H> {
    pub(super) fn new(connection: Arc<ConnectionState>, hyper: H) -> Self {
        Self { connection, hyper, waker: None, is_finishing: false, has_ended: false }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<DriverEnd> {
        if self.waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            self.connection.set_driver_waker(cx.waker());
            self.waker = Some(cx.waker().clone());
        }
        if self.connection.requested_shutdown() == Shutdown::Abort {
            return Poll::Ready(self.abort());
        }
        self.connection.activity.begin_poll();
        if self.connection.activity.running() > 0 {
            // Before the poll, so that the response says `Connection: close`.
            self.finish_if_requested();
        }
        loop {
            self.connection.begin_hyper_poll();
            if let Poll::Ready(result) = self.hyper.poll(cx) {
                return Poll::Ready(self.end(result, cx));
            }
            match self.poll_drain(cx) {
                Poll::Ready(Err(_)) => return Poll::Ready(self.abort()),
                // A write of hyper's returned `Pending`, and nothing will wake hyper, since the
                // socket has taken all the rest.
                Poll::Ready(Ok(true)) => continue,
                Poll::Ready(Ok(false)) | Poll::Pending => (),
            }
            // After the poll if nothing was running: a request that has arrived meanwhile is still
            // answered.
            if !self.finish_if_requested() {
                break;
            }
        }
        if self.connection.is_refusal_due()
            && let Some(io) = self.hyper.take_io()
            && let Some(refusal) = io.refusal()
        {
            self.has_ended = true;
            return Poll::Ready(DriverEnd::Refused(io, refusal));
        }
        // On HTTP/1 hyper reads only while it needs bytes; at other times a client that gives up is
        // noticed here.
        let activity = &self.connection.activity;
        let is_unwatched = activity.protocol() == Protocol::Http1 && activity.running() > 0 && !activity.is_starved();
        if is_unwatched && self.connection.poll_client_gone(cx) {
            return Poll::Ready(self.abort());
        }
        Poll::Pending
    }

    /// Drains the buffer after other connections have been polled, unless hyper waits for room in
    /// it.
    fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.connection.may_wait() && deferred_writes::defer(&self.connection) {
            return Poll::Ready(Ok(false));
        }
        deferred_writes::count_poll();
        self.connection.poll_drain(cx)
    }

    /// Passes a requested shutdown on to hyper, once; tells whether it did.
    fn finish_if_requested(&mut self) -> bool {
        let is_due = !self.is_finishing
            && match self.connection.requested_shutdown() {
                Shutdown::Graceful => true,
                // HTTP/2 can tell the client to go away while its requests are answered; on HTTP/1
                // the next response says so.
                Shutdown::AfterNext => self.connection.activity.protocol() == Protocol::Http2,
                Shutdown::None | Shutdown::Abort => false,
            };
        if is_due {
            self.is_finishing = true;
            self.hyper.finish();
        }
        is_due
    }

    /// Ends after hyper's last poll.
    fn end(&mut self, result: hyper::Result<()>, cx: &mut Context<'_>) -> DriverEnd {
        self.has_ended = true;
        let io = self.hyper.take_io();
        // Taken in any case: an `OnUpgrade` that stays here would keep the socket open.
        let upgrade = self.connection.take_upgrade();
        match result {
            // After a head that hyper could not read, hyper has sent its 400 and shut down.
            Err(error) if !error.is_parse() => {
                tracing::debug!(client = %self.connection.addr, %error, "connection aborted");
                let is_ours = error.is_user() || error.is_body_write_aborted();
                if is_ours && self.connection.activity.is_http10() {
                    // Closing may be the only end of an HTTP/1.0 body (RFC 9112 §6.3).
                    self.connection.reset_on_close();
                    return DriverEnd::Aborted;
                }
                DriverEnd::Failed
            }
            Ok(()) | Err(_) => match io {
                Some(io) => DriverEnd::Complete(io),
                // A request asked for another protocol and did not get it: hyper ends such a
                // connection as if it had.
                None if self.connection.activity.protocol() == Protocol::Http1
                    && !self.connection.activity.is_switched() =>
                {
                    DriverEnd::NotShutDown(upgrade)
                }
                None => {
                    if self.connection.activity.protocol() == Protocol::Http1 {
                        self.connection.set_protocol(Protocol::Tunnel);
                        // The 101 is buffered. Bytes that the socket does not take now go before
                        // the tunnel's first bytes.
                        let _ = self.connection.poll_drain(cx);
                    }
                    DriverEnd::HandedOver
                }
            },
        }
    }

    /// Ends at once.
    fn abort(&mut self) -> DriverEnd {
        self.has_ended = true;
        let activity = &self.connection.activity;
        if activity.running() > 0 || activity.is_blocked() || activity.is_http10() {
            self.connection.reset_on_close();
        }
        DriverEnd::Aborted
    }
}

impl<H> Drop for Driver<H> {
    /// Resets a connection that a stopping core or a panic drops in the middle of an HTTP/1.0
    /// response.
    fn drop(&mut self) {
        if !self.has_ended && self.connection.activity.is_http10() {
            self.connection.reset_on_close();
        }
    }
}
