//! hyper's settings for HTTP/1 and HTTP/2.

use std::sync::Arc;

use hyper::server::conn::{http1, http2};

use crate::server::ServerCounters;
use crate::server::connection::{ConnectionState, HTTP2_CONNECTION_WINDOW, HTTP2_STREAM_WINDOW};
use crate::server::screen::ScreenLimits;

/// The number of bytes per stream of a streamed response that are buffered ahead of an HTTP/2
/// client's window.
const HTTP2_SEND_BUFFER: usize = 128 << 10;

/// The number of HTTP/2 streams that a client may have opened and reset before they were accepted.
/// Reset streams do not count towards `http2_streams_max`, so this bounds rapid resets
/// (CVE-2023-44487); a browser that leaves a page resets the handful that it has just opened.
const HTTP2_RESET_UNACCEPTED_MAX: usize = 20;

/// The number of HTTP/2 streams that Larder resets for their client's faults before it ends the
/// connection (GOAWAY, ENHANCE_YOUR_CALM). A merely buggy client rarely gets there; an attacker who
/// provokes resets gets there quickly.
const HTTP2_RESET_BY_US_MAX: usize = 256;

/// The largest HTTP/2 frame that is accepted, in bytes: the smallest limit that RFC 9113 §4.2
/// allows. A head of `head_bytes_max` takes several such frames; h2 refuses a CONTINUATION flood
/// beyond that.
const HTTP2_FRAME_BYTES_MAX: u32 = 16 << 10;

/// Runs the streams of an HTTP/2 connection, each as a task that can be aborted.
#[derive(Clone)]
pub(super) struct StreamTasks(Arc<ConnectionState>);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for StreamTasks {
    fn execute(&self, future: F) {
        self.0.streams.set_task(tokio::spawn(future).abort_handle());
    }
}

/// The HTTP/2 limits of the configuration.
#[derive(Clone, Copy)]
struct Http2Limits {
    head_bytes_max: u32,
    streams_max: u32,
}

/// hyper's settings and the limits that all connections of a process share.
#[derive(Clone)]
pub(crate) struct Protocols {
    pub(super) http1: http1::Builder,
    http2: Http2Limits,
    pub(super) screen: ScreenLimits,
    pub(super) counters: Arc<ServerCounters>,
}

impl Protocols {
    /// Prepares hyper for heads of at most `head_bytes_max` bytes and for `http2_streams_max`
    /// streams per connection.
    pub(crate) fn new(head_bytes_max: usize, http2_streams_max: u32, counters: Arc<ServerCounters>) -> Self {
        let mut http1 = http1::Builder::new();
        // The sweep does the timeouts, and Date is the response's own. hyper's limit of 100 fields
        // is left alone: setting it would cost an allocation per request. Half-closing is on so
        // that hyper reads only what it needs: a client that sends its request together with its
        // FIN gets a hit, and a pending read means that content is awaited. The driver notices
        // clients that go away.
        http1.auto_date_header(false).header_read_timeout(None).half_close(true);
        // hyper's minimum for its buffer is 8 KiB.
        http1.max_header_size(head_bytes_max).max_buf_size(head_bytes_max.max(8 << 10));
        let head_bytes = u32::try_from(head_bytes_max).unwrap_or(u32::MAX);
        let http2 = Http2Limits { head_bytes_max: head_bytes, streams_max: http2_streams_max };
        Self { http1, http2, screen: ScreenLimits { head_bytes_max }, counters }
    }

    /// Prepares hyper for one HTTP/2 connection, whose streams the sweep can reset.
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
