//! A request whose response has not ended, as the sweep and the drain see it.

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

/// A request whose response has not ended. Dropping it ends it, however that comes about.
pub(crate) struct RequestInProgress {
    connection: Arc<ConnectionState>,
    counters: Arc<ServerCounters>,
    had_content: bool,
    /// The number of its stream, and whether a piece of the response waits there, on HTTP/2.
    stream: Option<(usize, bool)>,
}

impl RequestInProgress {
    pub(super) fn begin(
        connection: &Arc<ConnectionState>,
        counters: &Arc<ServerCounters>,
        request: &mut Request<Incoming>,
    ) -> Self {
        let had_content = !request.body().is_end_stream();
        connection.activity.begin(request.version() == Version::HTTP_10);
        if let Some(left) = request.extensions().get::<OnUpgrade>() {
            connection.offer_upgrade(left.clone());
        }
        let stream = (connection.activity.protocol() == Protocol::Http2).then(|| {
            let content = had_content.then(UploadProgress::default);
            if let Some(content) = &content {
                request.extensions_mut().insert(content.clone());
            }
            (connection.streams.open(content), false)
        });
        Self { connection: Arc::clone(connection), counters: Arc::clone(counters), had_content, stream }
    }

    /// Has the client go after this response, where that is the order.
    pub(super) fn part<B>(&self, response: &mut Response<B>) {
        let is_last = !self.is_http2() && self.connection.requested_shutdown() == Shutdown::AfterNext;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.connection.activity.switch();
        } else if is_last {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Puts the heads of interim responses before whatever hyper writes next.
    pub(super) fn splice_interim(&self, heads: &[u8]) {
        self.connection.splice(heads);
    }

    /// Tells whether it has a stream of its own.
    pub(super) fn is_http2(&self) -> bool {
        self.stream.is_some()
    }

    /// Notes that a piece of the response was handed over. hyper asks for the next one once this has found room in the
    /// client's window, so that it waits for the client until then.
    pub(super) fn hand_over(&mut self) {
        if let Some((number, waits)) = &mut self.stream {
            *waits = true;
            self.connection.streams.hand_over(*number);
        }
    }

    /// Notes that hyper has asked for the next piece, and that it is not there yet.
    pub(super) fn await_piece(&mut self) {
        if let Some((number, waits)) = &mut self.stream
            && std::mem::take(waits)
        {
            self.connection.streams.await_piece(*number);
        }
    }
}

impl Drop for RequestInProgress {
    fn drop(&mut self) {
        if let Some((number, _)) = self.stream {
            self.connection.streams.close(number);
        }
        self.connection.activity.end(self.had_content);
        if std::thread::panicking() {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(client = %self.connection.addr, "a request's handler panicked; its response is cut off");
        }
    }
}
