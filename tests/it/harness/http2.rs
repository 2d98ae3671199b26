//! A client for HTTP/2 without TLS, by prior knowledge.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::BOUND;

/// A connection, with a runtime of its own.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Content>,
}

/// The content of requests.
type Content = UnsyncBoxBody<Bytes, Infallible>;

/// A response over HTTP/2.
#[derive(Debug)]
pub(crate) struct Response {
    /// The status and fields.
    pub(crate) head: http::response::Parts,
    /// The content, as far as it arrived.
    pub(crate) body: Vec<u8>,
    /// The error of the stream, where it failed.
    pub(crate) failed: Option<String>,
}

impl Http2 {
    /// Connects.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
            let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    /// Sends a GET and reads its response.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.all(&[target]).pop().expect("one answer for one target")
    }

    /// Sends a GET and reads only the head of its response. While the caller keeps the returned
    /// response, its content stays unread.
    #[track_caller]
    pub(crate) fn unread(&mut self, target: &str) -> http::Response<Incoming> {
        let request =
            http::Request::get(format!("http://example.org{target}")).body(Empty::new().boxed_unsync()).unwrap();
        let response = self.sender.send_request(request);
        let response = self.runtime.block_on(async { tokio::time::timeout(BOUND, response).await });
        response.expect("a response arrives in time").unwrap()
    }

    /// Sends the head of a POST whose content never arrives. The request stays open while other
    /// requests are made.
    pub(crate) fn unsent(&mut self, target: &str) -> JoinHandle<hyper::Result<http::Response<Incoming>>> {
        let request = http::Request::post(format!("http://example.org{target}")).header("Content-Length", "9");
        self.runtime.spawn(self.sender.send_request(request.body(Never.boxed_unsync()).unwrap()))
    }

    /// Returns the result of a request that was started earlier.
    #[track_caller]
    pub(crate) fn result_of<T>(&mut self, under_way: impl Future<Output = T>) -> T {
        let result = self.runtime.block_on(async { tokio::time::timeout(BOUND, under_way).await });
        result.expect("the request ends in time")
    }

    /// Sends GETs, all at once on streams of their own, and reads their responses.
    #[track_caller]
    pub(crate) fn all(&mut self, targets: &[&str]) -> Vec<Response> {
        let exchanges: Vec<_> = targets.iter().map(|target| exchange(self.sender.clone(), target)).collect();
        self.runtime.block_on(async {
            let tasks: Vec<_> = exchanges.into_iter().map(tokio::spawn).collect();
            let mut responses = Vec::new();
            for task in tasks {
                let response = tokio::time::timeout(BOUND, task).await;
                responses.push(response.expect("a response arrives in time").unwrap());
            }
            responses
        })
    }
}

/// Content that never arrives.
struct Never;

impl Body for Never {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

fn exchange(mut sender: SendRequest<Content>, target: &str) -> impl Future<Output = Response> + use<> {
    let request = http::Request::get(format!("http://example.org{target}")).body(Empty::new().boxed_unsync()).unwrap();
    async move {
        sender.ready().await.unwrap();
        let (head, mut content) = sender.send_request(request).await.unwrap().into_parts();
        let (mut body, mut failed) = (Vec::new(), None);
        while let Some(frame) = content.frame().await {
            match frame {
                Ok(frame) => body.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..])),
                Err(error) => {
                    failed = Some(format!("{error:?}"));
                    break;
                }
            }
        }
        Response { head, body, failed }
    }
}
