//! Hands the listening sockets of a running Larder to the process that takes its place, over a Unix
//! socket.
//!
//! The sockets themselves are passed (SCM_RIGHTS), so that queued connections are not lost: with
//! `SO_REUSEPORT` alone they would stay in the queue of a socket that nobody accepts from any more.
//!
//! The running process sends a greeting and the number of sockets, then each socket with a byte
//! that tells what it is for; the new process answers with one byte once it serves. Until then
//! nothing has changed, and a new process that fails leaves the running one as it was.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use crate::server::Config;

/// How long either side waits for the other: the start of the new process is part of this time.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The greeting of the running process: a name, and the version of the protocol.
const GREETING: [u8; 8] = *b"larder/1";

/// The answer of the new process once it serves.
const READY: u8 = b'R';

/// The purpose of a socket.
const PROXY: u8 = b'p';
const ADMIN: u8 = b'a';

/// The maximum number of sockets that are accepted: more than there can be workers.
const SOCKETS_MAX: u16 = 1024;

/// Inherited or duplicated listening sockets.
#[derive(Debug, Default)]
pub struct Sockets {
    /// The proxy's sockets.
    pub proxy: Vec<TcpListener>,
    /// The admin interface's socket, if there is one.
    pub admin: Option<TcpListener>,
}

impl Sockets {
    /// Duplicates the descriptors of all sockets.
    ///
    /// # Errors
    /// When no more descriptors can be opened.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let proxy = self.proxy.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { proxy, admin: self.admin.as_ref().map(TcpListener::try_clone).transpose()? })
    }

    /// Drops the sockets whose address `config` does not listen on.
    #[must_use]
    pub fn fitting(mut self, config: &Config) -> Self {
        self.proxy.retain(|listener| listener.local_addr().is_ok_and(|addr| fits(config.listen, addr)));
        let wanted = config.admin.listen;
        let is_wanted = |addr: SocketAddr| wanted.is_some_and(|wanted| fits(wanted, addr));
        self.admin = self.admin.filter(|listener| listener.local_addr().is_ok_and(is_wanted));
        self
    }
}

/// Tells whether a socket's address matches the wanted one; port 0 matches any port.
fn fits(wanted: SocketAddr, addr: SocketAddr) -> bool {
    wanted == addr || (wanted.port() == 0 && wanted.ip() == addr.ip())
}

/// Listening sockets to be handed to the process that takes over.
#[derive(Debug)]
pub struct Offer(pub(crate) Sockets);

impl Offer {
    /// Sends the sockets to the process at the other end of `stream`, and returns once that process
    /// serves. Blocks.
    ///
    /// # Errors
    /// The end or the silence of the other side before it serves; nothing has changed then.
    pub fn give(self, stream: UnixStream) -> io::Result<()> {
        give(stream, &self.0)
    }
}

fn give(mut stream: UnixStream, sockets: &Sockets) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let all =
        sockets.proxy.iter().map(|socket| (PROXY, socket)).chain(sockets.admin.iter().map(|socket| (ADMIN, socket)));
    let count = u16::try_from(sockets.proxy.len() + sockets.admin.iter().len()).map_err(io::Error::other)?;
    stream.write_all(&[&GREETING[..], &count.to_be_bytes()].concat())?;
    for (kind, socket) in all {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket.as_fd()];
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("a descriptor does not fit into its control message"));
        }
        sendmsg(&stream, &[IoSlice::new(&[kind])], &mut control, SendFlags::empty())?;
    }
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [READY] { Ok(()) } else { Err(invalid("the new process sent an unexpected answer")) }
}

/// A takeover in progress: the running Larder waits to hear that this process serves.
#[derive(Debug)]
pub(crate) struct Takeover {
    stream: UnixStream,
}

/// Receives the sockets of the Larder that listens at `path`; `None` if no process listens there.
///
/// # Errors
/// A path that cannot be connected to, or whose other side is not a Larder of a compatible version.
pub(crate) fn take(path: &Path) -> io::Result<Option<(Takeover, Sockets)>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut greeting = [0; GREETING.len() + 2];
    stream.read_exact(&mut greeting)?;
    let [name @ .., high, low] = greeting;
    let count = u16::from_be_bytes([high, low]);
    if name != GREETING || count > SOCKETS_MAX {
        return Err(invalid("the other side is not a Larder, or one of an incompatible version"));
    }
    let mut sockets = Sockets::default();
    for _ in 0..count {
        match receive(&stream)? {
            (PROXY, socket) => sockets.proxy.push(socket),
            (_, socket) => sockets.admin = Some(socket),
        }
    }
    Ok(Some((Takeover { stream }, sockets)))
}

/// Receives one socket and its purpose.
fn receive(stream: &UnixStream) -> io::Result<(u8, TcpListener)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut kind = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut kind)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let socket = descriptors.flatten().next().filter(|_| received.bytes == 1);
    let socket = TcpListener::from(socket.ok_or_else(|| invalid("a message came without its socket"))?);
    socket.local_addr()?;
    Ok((kind[0], socket))
}

impl Takeover {
    /// Tells the running process that this one serves, so that it stops accepting.
    ///
    /// # Errors
    /// If the running process has ended already.
    pub(crate) fn ready(mut self) -> io::Result<()> {
        self.stream.write_all(&[READY])
    }
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn sockets_arrive_with_their_purpose_and_the_sender_waits_until_the_receiver_serves() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade");
        assert!(take(&path).unwrap().is_none(), "nobody listens there");
        let unix = UnixListener::bind(&path).unwrap();
        let sockets = Sockets { proxy: (0..3).map(|_| listener()).collect(), admin: Some(listener()) };
        let addrs: Vec<_> = sockets.proxy.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let admin = sockets.admin.as_ref().unwrap().local_addr().unwrap();
        let sender = std::thread::spawn(move || {
            let give_result = give(unix.accept().unwrap().0, &sockets);
            let failed = give(unix.accept().unwrap().0, &sockets);
            (give_result, failed)
        });
        let (takeover, sockets) = take(&path).unwrap().unwrap();
        assert_eq!(sockets.proxy.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), addrs);
        assert_eq!(sockets.admin.unwrap().local_addr().unwrap(), admin);
        assert!(!sender.is_finished());
        takeover.ready().unwrap();
        drop(take(&path).unwrap());
        let (give_result, failed) = sender.join().unwrap();
        assert!(give_result.is_ok() && failed.is_err(), "a process that ends before it serves has taken nothing over");
        assert!(take(&path).unwrap().is_none(), "nobody listens on a socket file that was left behind");
    }

    #[test]
    fn a_peer_that_is_not_a_larder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other");
        let unix = UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || {
            unix.accept().unwrap().0.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        });
        let error = take(&path).unwrap_err();
        assert!(error.to_string().contains("not a Larder"), "{error}");
        other.join().unwrap();
    }
}
