//! A client for HTTP/2 without TLS, by prior knowledge.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;

use super::BOUND;

/// A connection, with a runtime of its own.
pub(crate) struct Http2 {
    runtime: Runtime,
    sender: SendRequest<Empty<Bytes>>,
}

/// A response over HTTP/2.
#[derive(Debug)]
pub(crate) struct Response {
    /// Its status and fields.
    pub(crate) head: http::response::Parts,
    /// Its content, as far as it came.
    pub(crate) body: Vec<u8>,
    /// How the stream failed, where it did.
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

    /// Sends GETs, all at once on streams of their own, and reads their responses.
    #[track_caller]
    pub(crate) fn all(&mut self, targets: &[&str]) -> Vec<Response> {
        let exchanges: Vec<_> = targets.iter().map(|target| exchange(self.sender.clone(), target)).collect();
        self.runtime.block_on(async {
            let tasks: Vec<_> = exchanges.into_iter().map(tokio::spawn).collect();
            let mut responses = Vec::new();
            for task in tasks {
                let response = tokio::time::timeout(BOUND, task).await;
                responses.push(response.expect("a response comes in time").unwrap());
            }
            responses
        })
    }
}

fn exchange(mut sender: SendRequest<Empty<Bytes>>, target: &str) -> impl Future<Output = Response> + use<> {
    let request = http::Request::get(format!("http://example.org{target}")).body(Empty::new()).unwrap();
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
