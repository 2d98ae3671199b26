//! Hands the listening sockets from a running Larder to the one that takes its place, over a Unix socket.
//!
//! The sockets themselves are passed (SCM_RIGHTS), so that connections which wait to be accepted lose nothing: with
//! `SO_REUSEPORT` alone they would wait at a socket that nobody accepts from any more. The one that gives says how many
//! there are, then sends each with a byte that tells what it is for; the one that takes answers a byte once it serves. Until
//! then nothing has changed, and a newcomer that fails leaves the running one as it was.

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

/// How long the other side may take: the newcomer's start is part of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the giver begins with: a name, and the version of what follows.
const GREETING: [u8; 8] = *b"larder/1";

/// What the taker answers once it serves.
const READY: u8 = b'R';

/// What a socket is for.
const PROXY: u8 = b'p';
const ADMIN: u8 = b'a';

/// The most sockets that are taken: more than there can be workers.
const SOCKETS_MAX: u16 = 1024;

/// Listening sockets that are there already.
#[derive(Debug, Default)]
pub struct Sockets {
    /// The proxy's.
    pub proxy: Vec<TcpListener>,
    /// The admin side's.
    pub admin: Option<TcpListener>,
}

impl Sockets {
    /// Makes a second set of descriptors of the same sockets.
    ///
    /// # Errors
    /// Where the system gives no more descriptors.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let proxy = self.proxy.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?;
        Ok(Self { proxy, admin: self.admin.as_ref().map(TcpListener::try_clone).transpose()? })
    }

    /// Lets go of those that `config` does not listen on.
    #[must_use]
    pub fn fitting(mut self, config: &Config) -> Self {
        self.proxy.retain(|listener| listener.local_addr().is_ok_and(|addr| fits(config.listen, addr)));
        let wanted = config.admin.listen;
        let is_wanted = |addr: SocketAddr| wanted.is_some_and(|wanted| fits(wanted, addr));
        self.admin = self.admin.filter(|listener| listener.local_addr().is_ok_and(is_wanted));
        self
    }
}

/// Tells whether a socket is what was asked for; any port is what port 0 asks for.
fn fits(wanted: SocketAddr, addr: SocketAddr) -> bool {
    wanted == addr || (wanted.port() == 0 && wanted.ip() == addr.ip())
}

/// Sockets that are there to be given away.
#[derive(Debug)]
pub struct Offer(pub(crate) Sockets);

impl Offer {
    /// Gives them to who is at the other end of `stream`, and returns once that one serves. Blocks.
    ///
    /// # Errors
    /// The other side's end before that, or its silence: it does not serve, and nothing has changed.
    pub fn give(self, stream: UnixStream) -> io::Result<()> {
        give(stream, &self.0)
    }
}

fn give(mut stream: UnixStream, sockets: &Sockets) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let all =
        sockets.proxy.iter().map(|socket| (PROXY, socket)).chain(sockets.admin.iter().map(|socket| (ADMIN, socket)));
    let count = u16::try_from(sockets.proxy.len() + sockets.admin.iter().len()).map_err(io::Error::other)?;
    stream.write_all(&[&GREETING[..], &count.to_be_bytes()].concat())?;
    for (kind, socket) in all {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let descriptors = [socket.as_fd()];
        if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("one descriptor has no room in a message for one"));
        }
        sendmsg(&stream, &[IoSlice::new(&[kind])], &mut control, SendFlags::empty())?;
    }
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    if answer == [READY] { Ok(()) } else { Err(invalid("the answer is none of ours")) }
}

/// What was taken from the running Larder, which waits to be told.
#[derive(Debug)]
pub struct Takeover {
    stream: UnixStream,
}

/// Takes the sockets of the Larder that listens at `path`; `None` where none does.
///
/// # Errors
/// A socket that cannot be reached, or whose other side is no Larder of this kind.
pub fn take(path: &Path) -> io::Result<Option<(Takeover, Sockets)>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut greeting = [0; GREETING.len() + 2];
    stream.read_exact(&mut greeting)?;
    let [name @ .., high, low] = greeting;
    let count = u16::from_be_bytes([high, low]);
    if name != GREETING || count > SOCKETS_MAX {
        return Err(invalid("what answers there is no Larder, or of another version"));
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

/// Receives one socket, with what it is for.
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
    let socket = TcpListener::from(socket.ok_or_else(|| invalid("a socket is missing"))?);
    socket.local_addr()?;
    Ok((kind[0], socket))
}

impl Takeover {
    /// Tells the other side that this one serves, so that it may go.
    ///
    /// # Errors
    /// Where it has gone already.
    pub fn ready(mut self) -> io::Result<()> {
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
    fn sockets_arrive_with_what_they_are_for_and_the_giver_waits_until_they_serve() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("upgrade");
        assert!(take(&path).unwrap().is_none(), "nobody is there");
        let unix = UnixListener::bind(&path).unwrap();
        let sockets = Sockets { proxy: (0..3).map(|_| listener()).collect(), admin: Some(listener()) };
        let addrs: Vec<_> = sockets.proxy.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let admin = sockets.admin.as_ref().unwrap().local_addr().unwrap();
        let giver = std::thread::spawn(move || {
            let give_result = give(unix.accept().unwrap().0, &sockets);
            let failed = give(unix.accept().unwrap().0, &sockets);
            (give_result, failed)
        });
        let (takeover, sockets) = take(&path).unwrap().unwrap();
        assert_eq!(sockets.proxy.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), addrs);
        assert_eq!(sockets.admin.unwrap().local_addr().unwrap(), admin);
        assert!(!giver.is_finished());
        takeover.ready().unwrap();
        drop(take(&path).unwrap());
        let (give_result, failed) = giver.join().unwrap();
        assert!(give_result.is_ok() && failed.is_err(), "who ends before it serves has taken nothing");
        assert!(take(&path).unwrap().is_none(), "a socket that was left behind is nobody");
    }

    #[test]
    fn what_is_no_larder_is_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other");
        let unix = UnixListener::bind(&path).unwrap();
        let other = std::thread::spawn(move || {
            unix.accept().unwrap().0.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        });
        let error = take(&path).unwrap_err();
        assert!(error.to_string().contains("no Larder"), "{error}");
        other.join().unwrap();
    }
}
