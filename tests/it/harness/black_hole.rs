//! An address that swallows connections: the listener never accepts and its queue is full, so the
//! kernel drops every further attempt.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Swallows connections until dropped.
pub(crate) struct BlackHole {
    listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// Opens a listener and fills its queue.
    pub(crate) fn open() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let addr = listener.local_addr().unwrap();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(100)) {
            queued.push(stream);
            assert!(queued.len() < 100, "the queue never fills");
        }
        Self { listener, _queued: queued }
    }

    /// Returns the listener's address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.listener.local_addr().unwrap()
    }
}
