//! A request in progress, as the sweep and the drain see it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::proxy::upload::UploadProgress;
use crate::server::ServerCounters;
use crate::server::connection::{ConnectionState, Protocol, Shutdown};

/// A request whose response has not ended. Dropping the value ends the request, whatever the cause.
pub(crate) struct RequestInProgress {
    connection: Arc<ConnectionState>,
    counters: Arc<ServerCounters>,
    had_content: bool,
    /// The request's stream on HTTP/2.
    stream: Option<RequestStream>,
}

/// The stream of a request on HTTP/2.
struct RequestStream {
    number: usize,
    /// True while a piece of the response waits for the client's window.
    has_waiting_piece: bool,
}

impl RequestInProgress {
    pub(super) fn begin(
        connection: &Arc<ConnectionState>,
        counters: &Arc<ServerCounters>,
        request: &mut Request<Incoming>,
    ) -> Self {
        let had_content = !request.body().is_end_stream();
        connection.activity.begin(request.version() == Version::HTTP_10);
        if let Some(upgrade) = request.extensions().get::<OnUpgrade>() {
            connection.offer_upgrade(upgrade.clone());
        }
        let stream = (connection.activity.protocol() == Protocol::Http2).then(|| {
            let content = had_content.then(UploadProgress::default);
            if let Some(content) = &content {
                request.extensions_mut().insert(content.clone());
            }
            RequestStream { number: connection.streams.open(content), has_waiting_piece: false }
        });
        Self { connection: Arc::clone(connection), counters: Arc::clone(counters), had_content, stream }
    }

    /// Adds `Connection: close` if the core has requested that the connection ends with this
    /// response, and records a switch of protocols.
    pub(super) fn prepare_head<B>(&self, response: &mut Response<B>) {
        let is_last = !self.is_http2() && self.connection.requested_shutdown() == Shutdown::AfterNext;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.connection.activity.switch();
        } else if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Inserts the heads of interim responses before the next bytes of hyper's.
    pub(super) fn splice_interim(&self, heads: &[u8]) {
        self.connection.splice(heads);
    }

    /// Tells whether the request has a stream of its own.
    pub(super) fn is_http2(&self) -> bool {
        self.stream.is_some()
    }

    /// Records that a piece of the response was passed to hyper. hyper asks for the next piece once
    /// this one has found room in the client's window, so until then hyper waits for the client.
    pub(super) fn record_piece_sent(&mut self) {
        if let Some(stream) = &mut self.stream {
            stream.has_waiting_piece = true;
            self.connection.streams.record_piece_sent(stream.number);
        }
    }

    /// Records that hyper has asked for the next piece, and that it is not available yet.
    pub(super) fn record_piece_requested(&mut self) {
        if let Some(stream) = &mut self.stream
            && std::mem::take(&mut stream.has_waiting_piece)
        {
            self.connection.streams.record_piece_requested(stream.number);
        }
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        if let Some(stream) = &self.stream {
            self.connection.streams.close(stream.number);
        }
        self.connection.activity.end(self.had_content);
        if std::thread::panicking() {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(client = %self.connection.addr, "request handler panicked; response aborted");
        }
    }
}
