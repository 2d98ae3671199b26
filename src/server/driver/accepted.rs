//! One connection, from its acceptance to its close.
//!
//! Detects the protocol, lets hyper speak it, and decides how the socket ends: cleanly, after a
//! wait for a client that still sends, or with a reset where a clean end would be taken for the end
//! of a body.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::ending::{drain, linger, reclaim_socket, send_last_response};
use super::hyper_driver::{Driver, DriverEnd, Http1Connection, Http2Connection};
use super::protocols::Protocols;
use super::sniff::sniff;
use crate::server::connection::{ConnectionIo, ConnectionState, Protocol, ReadHalf, split};
use crate::server::screen::RequestScreen;
use crate::server::service::{ConnectionService, Serve};

/// An accepted socket that is not served yet.
pub(crate) struct AcceptedSocket {
    /// The state that the core's sweep watches.
    pub(crate) connection: Arc<ConnectionState>,
    read: ReadHalf,
}

impl AcceptedSocket {
    /// Takes over a socket; `permit` is released when the socket closes.
    pub(crate) fn new(socket: TcpStream, addr: SocketAddr, permit: Option<OwnedSemaphorePermit>) -> Self {
        let (read, write) = split(socket);
        Self { connection: ConnectionState::new(addr, write, permit), read }
    }

    /// Sends a rejection and closes the connection, once the client has begun its request: a
    /// response before that would puzzle the client. An HTTP/2 client only sees the close.
    pub(crate) async fn turn_away(self, response: Vec<u8>) {
        let Self { connection, mut read } = self;
        if let Some((Protocol::Http1, first)) = sniff(&connection, &mut read).await {
            send_last_response(&connection, &response).await;
            let io = ConnectionIo::new(Arc::clone(&connection), read, first, None);
            linger(&connection, Box::new(io)).await;
        }
    }

    /// Serves the connection until it closes or is upgraded.
    pub(crate) async fn serve<F: Serve>(self, mut protocols: Protocols, serve: Arc<F>) {
        let Self { connection, mut read } = self;
        let Some((protocol, first)) = sniff(&connection, &mut read).await else { return };
        connection.set_protocol(protocol);
        connection.activity.record_read();
        let screen = (protocol == Protocol::Http1).then(|| RequestScreen::new(protocols.screen));
        let io = TokioIo::new(ConnectionIo::new(Arc::clone(&connection), read, first, screen));
        let service =
            ConnectionService::new(Arc::clone(&connection), Arc::clone(&protocols.counters), Arc::clone(&serve));
        let end = if protocol == Protocol::Http2 {
            let hyper = protocols.http2(&connection).auto_date_header(F::DATED).serve_connection(io, service);
            // Boxed, so that the many HTTP/1 connections are not as large as the few HTTP/2 ones.
            let mut driver = Box::new(Driver::new(Arc::clone(&connection), Http2Connection(hyper)));
            poll_fn(move |cx| driver.poll(cx)).await
        } else {
            let hyper = protocols.http1.auto_date_header(F::DATED).serve_connection(io, service).with_upgrades();
            let mut driver = Driver::new(Arc::clone(&connection), Http1Connection(Some(hyper)));
            poll_fn(move |cx| driver.poll(cx)).await
        };
        match end {
            DriverEnd::Complete(io) => linger(&connection, io).await,
            DriverEnd::Refused(io, refusal) => {
                send_last_response(&connection, &serve.refuse(connection.addr, &refusal)).await;
                linger(&connection, io).await;
            }
            DriverEnd::NotShutDown(upgrade) => {
                send_last_response(&connection, b"").await;
                if let Some(io) = reclaim_socket(upgrade).await {
                    linger(&connection, io).await;
                }
            }
            DriverEnd::Failed => drain(&connection).await,
            DriverEnd::HandedOver | DriverEnd::Aborted => (),
        }
    }
}
