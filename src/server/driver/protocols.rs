//! hyper as it is set up for HTTP/1 and HTTP/2.

use std::sync::Arc;

use hyper::server::conn::{http1, http2};

use crate::server::ServerCounters;
use crate::server::connection::{ConnectionState, HTTP2_CONNECTION_WINDOW, HTTP2_STREAM_WINDOW};
use crate::server::screen::ScreenLimits;

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
pub(crate) struct StreamTasks(Arc<ConnectionState>);

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
pub(crate) struct Protocols {
    pub(crate) http1: http1::Builder,
    http2: Http2Limits,
    pub(crate) screen: ScreenLimits,
    pub(crate) counters: Arc<ServerCounters>,
}

impl Protocols {
    /// Prepares hyper for heads of at most `head_bytes_max` bytes and `http2_streams_max` streams of a connection.
    pub(crate) fn new(head_bytes_max: usize, http2_streams_max: u32, counters: Arc<ServerCounters>) -> Self {
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
        Self { http1, http2, screen: ScreenLimits { head_bytes_max }, counters }
    }

    /// Prepares hyper for the HTTP/2 of one connection, whose streams the sweep can end.
    pub(crate) fn http2(&self, connection: &Arc<ConnectionState>) -> http2::Builder<StreamTasks> {
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
