//! Listening sockets: one per core on the same address, and a clear error where the address is
//! taken. Inherited sockets (systemd's, or those of the Larder that ran before) are distributed
//! among the cores.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// The number of connections per listening socket that may wait to be accepted. The kernel's own
/// bound (`net.core.somaxconn`) may be lower.
const BACKLOG: i32 = 1024;

/// The number of bytes that the kernel accepts beyond what it can send, per connection. Without
/// this bound a slow client's socket takes megabytes at once and then nothing for minutes, so that
/// slow could not be told from stalled.
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// Keepalive settings of client connections: after this silence the kernel probes whether the
/// client is still there. They matter only for tunnels, which the sweep leaves alone.
const KEEPALIVE: TcpKeepalive =
    TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15)).with_retries(4);

/// Binds `count` listening sockets to `addr` (port 0: one free port for all) and returns them with
/// the bound address.
///
/// The first socket is bound before any may share the address, so that another process there is an
/// error and not a silent neighbour. That socket then joins the sharing without being closed, so
/// that no other process can slip in between.
///
/// # Errors
/// The system's error, with the address named.
pub(crate) fn bind(addr: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}"));
    let first = socket(addr).map_err(named)?;
    first.bind(&addr.into()).map_err(named)?;
    first.set_reuse_port(true).map_err(named)?;
    let bound = first.local_addr().map_err(named)?.as_socket().unwrap_or(addr);
    let mut listeners = vec![listen(first).map_err(named)?];
    for _ in 1..count {
        let another = socket(bound).map_err(named)?;
        another.set_reuse_port(true).map_err(named)?;
        another.bind(&bound.into()).map_err(named)?;
        listeners.push(listen(another).map_err(named)?);
    }
    Ok((bound, listeners))
}

/// Distributes inherited sockets among `count` cores: each socket is accepted from, however many
/// there are.
///
/// If there are fewer sockets than cores, each remaining core gets a socket of its own on the same
/// address if the address may be shared, else a duplicate that accepts from the same queue.
///
/// # Errors
/// The system's error about a socket.
pub(crate) fn distribute(sockets: Vec<TcpListener>, count: usize) -> io::Result<(SocketAddr, Vec<Vec<TcpListener>>)> {
    let mut cores: Vec<Vec<TcpListener>> = (0..count).map(|_| Vec::new()).collect();
    let mut addr = None;
    let count_given = sockets.len();
    for (nth, socket) in sockets.into_iter().enumerate() {
        addr = addr.or(socket.local_addr().ok());
        let socket = Socket::from(socket);
        set_options(&socket)?;
        cores[nth % count].push(socket.into());
    }
    for nth in count_given..count {
        let like = cores[nth % count_given].first().ok_or(io::ErrorKind::InvalidInput)?;
        let socket = sibling_listener(like).or_else(|_| like.try_clone())?;
        cores[nth].push(socket);
    }
    Ok((addr.ok_or(io::ErrorKind::InvalidInput)?, cores))
}

/// Binds another socket to the address of `like`, if that address may be shared.
fn sibling_listener(like: &TcpListener) -> io::Result<TcpListener> {
    if !socket2::SockRef::from(like).reuse_port()? {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let addr = like.local_addr()?;
    let another = socket(addr)?;
    another.set_reuse_port(true)?;
    another.bind(&addr.into())?;
    listen(another)
}

/// Creates a socket whose options its accepted connections inherit.
fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    set_options(&socket)?;
    Ok(socket)
}

/// Sets the options that a listening socket needs and its connections inherit.
fn set_options(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&KEEPALIVE)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES_MAX)?;
    Ok(())
}

fn listen(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Raises the number of files (and so sockets) that the process may open to the system's maximum.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(?current, ?maximum, %error, "cannot raise the limit on open files");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    const ANY: &str = "127.0.0.1:0";

    #[test]
    fn all_cores_share_one_free_port() {
        let (addr, listeners) = bind(ANY.parse().unwrap(), 3).unwrap();
        assert_ne!(addr.port(), 0);
        assert_eq!(listeners.len(), 3);
        for listener in &listeners {
            assert_eq!(listener.local_addr().unwrap(), addr);
        }
        for _ in 0..10 {
            TcpStream::connect(addr).unwrap();
        }
    }

    #[test]
    fn inherited_sockets_are_distributed_among_all_cores() {
        let check = |count_given: usize, cores: usize, wanted: &[usize]| {
            let (addr, listeners) = bind(ANY.parse().unwrap(), count_given).unwrap();
            let (distributed_addr, distributed) = distribute(listeners, cores).unwrap();
            assert_eq!(distributed_addr, addr);
            assert_eq!(distributed.iter().map(Vec::len).collect::<Vec<_>>(), wanted);
            assert!(distributed.iter().flatten().all(|listener| listener.local_addr().unwrap() == addr));
        };
        check(2, 2, &[1, 1]);
        check(3, 2, &[2, 1]);
        check(1, 3, &[1, 1, 1]);
        let alone = TcpListener::bind(ANY).unwrap();
        let addr = alone.local_addr().unwrap();
        let (_, distributed) = distribute(vec![alone], 2).unwrap();
        assert_eq!(distributed[1][0].local_addr().unwrap(), addr, "a port that is not shared has one queue");
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_the_address() {
        let (addr, _listeners) = bind(ANY.parse().unwrap(), 2).unwrap();
        for used_addr in [addr, TcpListener::bind(ANY).map(|l| Box::leak(Box::new(l)).local_addr().unwrap()).unwrap()] {
            let error = bind(used_addr, 2).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&used_addr.to_string()), "{error}");
        }
    }

    #[test]
    fn connections_inherit_the_options() {
        let (addr, listeners) = bind(ANY.parse().unwrap(), 1).unwrap();
        let _client = TcpStream::connect(addr).unwrap();
        let socket = loop {
            match listeners[0].accept() {
                Ok((socket, _)) => break Socket::from(socket),
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
        };
        assert!(socket.tcp_nodelay().unwrap() && socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES_MAX);
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_what_is_allowed() {
        raise_open_files();
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
