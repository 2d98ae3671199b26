//! A scripted reply: a head, and content in parts with waits, cuts and actions between them.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use super::Stream;
use crate::harness::Gate;
use crate::harness::wire::Wire;

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// An orderly close: TCP's FIN.
    Fin,
    /// A crash: TCP's RST.
    Rst,
}

/// The action of a step on a connection.
pub(super) type Act = Arc<dyn Fn(&mut Peer<'_>) -> io::Result<()> + Send + Sync>;

/// A step of a script. Steps run one after the other.
#[derive(Clone)]
pub(super) enum Step {
    Send(Vec<u8>),
    Wait(Gate),
    Cut(Cut),
    /// Any other action on the connection.
    Do(Act),
}

/// The connection, as a step of a script sees it.
pub(crate) struct Peer<'a> {
    pub(super) wire: &'a mut Wire<Stream>,
    pub(super) stream: &'a TcpStream,
}

impl Peer<'_> {
    /// Returns the port of the other side, which tells connections apart.
    pub(crate) fn port(&self) -> u16 {
        self.stream.peer_addr().map_or(0, |addr| addr.port())
    }

    /// Sends bytes.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads exactly `length` bytes.
    pub(crate) fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        self.wire.exactly(length)
    }

    /// Closes the sending side, and returns once the other side has closed too.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)?;
        while !self.wire.some(usize::MAX)?.is_empty() {}
        Ok(())
    }

    /// Reads one chunk of the request's content; empty after the last.
    pub(crate) fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let size = self.wire.chunk_size()?;
        let chunk = self.wire.exactly(size)?;
        self.wire.line()?;
        Ok(chunk)
    }
}

/// How a response announces its end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Content-Length: the sum of all parts, or this number.
    Length(Option<usize>),
    Chunked,
    UntilClose,
}

/// A response of the origin: a head, and content in parts with waits and cuts between them.
#[derive(Clone)]
pub(crate) struct Reply {
    before: Vec<Step>,
    status: String,
    fields: Vec<(String, String)>,
    framing: Framing,
    parts: Vec<Step>,
    trailers: Vec<String>,
    raw: bool,
}

impl Reply {
    /// Makes a reply with a status line such as `404 Not Found`, and no content.
    pub(crate) fn status(status: &str) -> Self {
        Self {
            before: Vec::new(),
            status: status.to_owned(),
            fields: Vec::new(),
            framing: Framing::Length(None),
            parts: Vec::new(),
            trailers: Vec::new(),
            raw: false,
        }
    }

    /// Makes a 200.
    pub(crate) fn ok() -> Self {
        Self::status("200 OK")
    }

    /// Makes a 200 that is fresh for 60 seconds, with this content.
    pub(crate) fn fresh(body: impl AsRef<[u8]>) -> Self {
        Self::ok().header("Cache-Control", "max-age=60").body(body)
    }

    /// Makes a 304.
    pub(crate) fn not_modified() -> Self {
        Self::status("304 Not Modified")
    }

    /// Sends exactly these bytes and nothing else.
    pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self { raw: true, parts: vec![Step::Send(bytes.as_ref().to_vec())], ..Self::status("") }
    }

    /// Cuts the connection instead of answering.
    pub(crate) fn hang_up(cut: Cut) -> Self {
        Self { raw: true, parts: vec![Step::Cut(cut)], ..Self::status("") }
    }

    /// Adds a field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Changes the status line, and adds this Cache-Control.
    pub(crate) fn status_line(mut self, status: &str, cache_control: &str) -> Self {
        self.status = status.to_owned();
        self.header("Cache-Control", cache_control)
    }

    /// Adds content.
    pub(crate) fn body(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.parts.push(Step::Send(bytes.as_ref().to_vec()));
        self
    }

    /// Announces chunked coding: each part is a chunk.
    pub(crate) fn chunked(mut self) -> Self {
        self.framing = Framing::Chunked;
        self
    }

    /// Ends the content by closing the connection.
    pub(crate) fn until_close(mut self) -> Self {
        self.framing = Framing::UntilClose;
        self
    }

    /// Announces this Content-Length, whatever is sent.
    pub(crate) fn length(mut self, length: usize) -> Self {
        self.framing = Framing::Length(Some(length));
        self
    }

    /// Adds a trailer field to chunked content.
    pub(crate) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push(format!("{name}: {value}\r\n"));
        self
    }

    /// Waits at `gate` before anything is sent.
    pub(crate) fn hold(mut self, gate: &Gate) -> Self {
        self.before.push(Step::Wait(gate.clone()));
        self
    }

    /// Sends raw bytes before the head: interim responses.
    pub(crate) fn interim(mut self, bytes: &str) -> Self {
        self.before.push(Step::Send(bytes.as_bytes().to_vec()));
        self
    }

    /// Runs an action on the connection before the head is sent.
    pub(crate) fn first(mut self, act: impl Fn(&mut Peer<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.before.push(Step::Do(Arc::new(act)));
        self
    }

    /// Runs an action on the connection between the parts of the content.
    pub(crate) fn then(mut self, act: impl Fn(&mut Peer<'_>) -> io::Result<()> + Send + Sync + 'static) -> Self {
        self.parts.push(Step::Do(Arc::new(act)));
        self
    }

    /// Waits at `gate` before the next part.
    pub(crate) fn wait(mut self, gate: &Gate) -> Self {
        self.parts.push(Step::Wait(gate.clone()));
        self
    }

    /// Cuts the connection at this point.
    pub(crate) fn cut(mut self, cut: Cut) -> Self {
        self.parts.push(Step::Cut(cut));
        self
    }

    fn head(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        let has_no_content = self.status.starts_with("304") || self.status.starts_with("204");
        match self.framing {
            Framing::Length(Some(length)) => head.push_str(&format!("Content-Length: {length}\r\n")),
            Framing::Length(None) if !has_no_content => {
                let sent = |step: &Step| if let Step::Send(bytes) = step { bytes.len() } else { 0 };
                let length: usize = self.parts.iter().map(sent).sum();
                head.push_str(&format!("Content-Length: {length}\r\n"));
            }
            Framing::Length(None) | Framing::UntilClose => {}
            Framing::Chunked => head.push_str("Transfer-Encoding: chunked\r\n"),
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Lays the reply out as steps; `is_head` leaves the content out.
    pub(super) fn steps(self, is_head: bool) -> Vec<Step> {
        if self.raw {
            return self.before.into_iter().chain(self.parts).collect();
        }
        let mut steps = self.before.clone();
        steps.push(Step::Send(self.head()));
        if is_head {
            return steps;
        }
        for part in self.parts {
            match part {
                Step::Send(bytes) if self.framing == Framing::Chunked => steps.push(Step::Send(chunk(&bytes))),
                other => steps.push(other),
            }
        }
        match self.framing {
            Framing::Chunked => steps.push(Step::Send(format!("0\r\n{}\r\n", self.trailers.concat()).into_bytes())),
            Framing::UntilClose => steps.push(Step::Cut(Cut::Fin)),
            Framing::Length(_) => {}
        }
        steps
    }
}

/// Returns `bytes` as one chunk.
pub(crate) fn chunk(bytes: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    chunk
}
