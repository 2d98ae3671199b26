//! Which protocol a connection speaks, and hyper as it is set up for each.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use hyper::server::conn::{http1, http2};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::activity::Protocol;
use super::connection_state::{ConnectionState, Shutdown};
use super::{ServerCounters, screen};

/// What an HTTP/2 client sends first (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How much is read before the protocol is known: a whole request as browsers send it.
const FIRST_READ_BYTES: usize = 4 << 10;

/// An HTTP/2 stream's window, in bytes: an upload is acknowledged four times before it fills the connection's.
const HTTP2_STREAM_WINDOW: u32 = 256 << 10;

/// An HTTP/2 connection's window, in bytes: what one client can have us hold.
const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;

/// How many uploads that are read by nobody fill a connection's window, so that nothing of the others can come.
pub(super) const UPLOADS_THAT_FILL: usize = (HTTP2_CONNECTION_WINDOW / HTTP2_STREAM_WINDOW) as usize;

/// How much of a streamed response is taken ahead of an HTTP/2 client's window, in bytes per stream.
const HTTP2_SEND_BUFFER: usize = 128 << 10;

/// How many HTTP/2 streams a client may have opened and reset before they were even accepted. Reset streams do not count
/// towards `http2_streams_max`, so this is what bounds rapid resets (CVE-2023-44487); a browser that leaves a page resets
/// the handful that it has just opened.
const HTTP2_RESET_UNACCEPTED_MAX: usize = 20;

/// How many HTTP/2 streams are reset by us for their client's faults until the connection ends (GOAWAY, ENHANCE_YOUR_CALM).
/// A client that is only broken meets it seldom; one that has us send resets for a living meets it soon.
const HTTP2_RESET_BY_US_MAX: usize = 256;

/// The largest HTTP/2 frame that is taken, in bytes: the least that RFC 9113 §4.2 allows. A head of `head_bytes_max` comes in
/// so many of them; h2 refuses a CONTINUATION flood beyond that.
const HTTP2_FRAME_BYTES_MAX: u32 = 16 << 10;

/// Runs the streams of an HTTP/2 connection, each as a task that can be ended.
#[derive(Clone)]
pub(super) struct StreamTasks(Arc<ConnectionState>);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for StreamTasks {
    fn execute(&self, future: F) {
        self.0.streams.set_task(tokio::spawn(future).abort_handle());
    }
}

/// What a configuration says of HTTP/2.
#[derive(Clone, Copy)]
struct Http2Limits {
    head_bytes_max: u32,
    streams_max: u32,
}

/// What all connections of a process are served by.
#[derive(Clone)]
pub(super) struct Protocols {
    pub(super) http1: http1::Builder,
    http2: Http2Limits,
    pub(super) screen: screen::ScreenLimits,
    pub(super) counters: Arc<ServerCounters>,
}

impl Protocols {
    /// Prepares hyper for heads of at most `head_bytes_max` bytes and `http2_streams_max` streams of a connection.
    pub(super) fn new(head_bytes_max: usize, http2_streams_max: u32, counters: Arc<ServerCounters>) -> Self {
        let mut http1 = http1::Builder::new();
        // Timeouts are the sweep's, Date is the response's own. Its limit of 100 fields is left alone: naming it would
        // cost an allocation a request. Half-closing is on so that hyper reads only what it needs: a client that sends
        // its request together with its FIN gets a hit, and a read that waits is one that waits for content. The owner
        // looks for clients that go away.
        http1.auto_date_header(false).header_read_timeout(None).half_close(true);
        // hyper's own floor for its buffer is 8 KiB.
        http1.max_header_size(head_bytes_max).max_buf_size(head_bytes_max.max(8 << 10));
        let head_bytes = u32::try_from(head_bytes_max).unwrap_or(u32::MAX);
        let http2 = Http2Limits { head_bytes_max: head_bytes, streams_max: http2_streams_max };
        Self { http1, http2, screen: screen::ScreenLimits { head_bytes_max }, counters }
    }

    /// Prepares hyper for the HTTP/2 of one connection, whose streams the sweep can end.
    pub(super) fn http2(&self, connection: &Arc<ConnectionState>) -> http2::Builder<StreamTasks> {
        let Http2Limits { head_bytes_max, streams_max } = self.http2;
        let mut http2 = http2::Builder::new(StreamTasks(Arc::clone(connection)));
        http2
            .auto_date_header(false)
            .max_concurrent_streams(streams_max)
            .max_header_list_size(head_bytes_max)
            .max_frame_size(HTTP2_FRAME_BYTES_MAX)
            .max_pending_accept_reset_streams(HTTP2_RESET_UNACCEPTED_MAX)
            .max_local_error_reset_streams(HTTP2_RESET_BY_US_MAX)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            .max_send_buf_size(HTTP2_SEND_BUFFER);
        http2
    }
}

/// Reads until the protocol is known. `None`: the client went away, or the core says so.
pub(super) async fn sniff(connection: &ConnectionState, read: &mut OwnedReadHalf) -> Option<(Protocol, Vec<u8>)> {
    let mut first = vec![0; FIRST_READ_BYTES];
    let mut len = 0;
    loop {
        let mut buf = ReadBuf::new(&mut first[len..]);
        let has_bytes = poll_fn(|cx| {
            connection.set_driver_waker(cx.waker());
            match Pin::new(&mut *read).poll_read(cx, &mut buf) {
                Poll::Ready(result) => Poll::Ready(result.is_ok()),
                // Only a connection that has sent nothing may be closed under its client's hands.
                Poll::Pending if connection.requested_shutdown() > Shutdown::AfterNext => Poll::Ready(false),
                Poll::Pending => Poll::Pending,
            }
        });
        let has_bytes = has_bytes.await && !buf.filled().is_empty();
        len += buf.filled().len();
        let prefix = len.min(PREFACE.len());
        let is_preface = first[..prefix] == PREFACE[..prefix];
        if !has_bytes && (len == 0 || is_preface) {
            return None;
        }
        if !is_preface || prefix == PREFACE.len() {
            first.truncate(len);
            return Some((if is_preface { Protocol::Http2 } else { Protocol::Http1 }, first));
        }
    }
}
