//! A client over raw TCP. The client sends bytes as given, reads exactly one response at a time,
//! and tells whether a body ended cleanly, was cut, or was reset.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};

use super::BOUND;
use super::wire::{self, Wire};

/// How a response's content ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// As the framing announced.
    Clean,
    /// By TCP's FIN, before the framing was complete.
    Cut,
    /// By TCP's RST.
    Reset,
}

/// The head of a response.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// The status code.
    pub(crate) status: u16,
    /// The bytes of the head, with the empty line.
    pub(crate) bytes: Vec<u8>,
}

impl Head {
    /// Returns the first value of a field.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        wire::values(&self.bytes, name).into_iter().next()
    }

    /// Returns all values of a field.
    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        wire::values(&self.bytes, name)
    }
}

/// A response.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    /// The head.
    pub(crate) head: Head,
    /// The content, with chunked coding undone.
    pub(crate) body: Vec<u8>,
    /// The trailer section.
    pub(crate) trailers: Vec<String>,
    /// How the content ended.
    pub(crate) end: End,
}

impl Response {
    /// Returns the status code.
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    /// Returns the first value of a field.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.head.header(name)
    }

    /// Returns the content as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns Larder's member of Cache-Status.
    #[track_caller]
    pub(crate) fn cache_status(&self) -> String {
        self.head.headers("cache-status").pop().expect("every response has Cache-Status")
    }

    /// Tells whether the response was a fresh hit.
    #[track_caller]
    pub(crate) fn is_hit(&self) -> bool {
        self.has("hit") && self.ttl().is_some_and(|ttl| ttl > 0)
    }

    /// Tells whether Cache-Status has this parameter, such as `stored` or `fwd=uri-miss`.
    #[track_caller]
    pub(crate) fn has(&self, parameter: &str) -> bool {
        self.cache_status().split("; ").skip(1).any(|own| own == parameter)
    }

    /// Returns the `ttl` parameter of Cache-Status.
    #[track_caller]
    pub(crate) fn ttl(&self) -> Option<i64> {
        self.cache_status().split("; ").find_map(|own| own.strip_prefix("ttl=")?.parse().ok())
    }

    /// Checks the status, the content and a parameter of Cache-Status, and that the content ended
    /// cleanly.
    #[track_caller]
    pub(crate) fn check(&self, status: u16, body: impl AsRef<[u8]>, parameter: &str) -> &Self {
        let expected = String::from_utf8_lossy(body.as_ref()).into_owned();
        assert_eq!((self.status(), self.text(), self.end), (status, expected, End::Clean), "{}", self.cache_status());
        assert!(self.has(parameter), "no `{parameter}` in `{}`", self.cache_status());
        self
    }
}

/// How the content being read is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    Length(usize),
    /// The bytes left of the current chunk; zero before a size line.
    Chunked(usize),
    UntilClose,
    Ended(End),
}

/// A connection.
pub(crate) struct Client {
    stream: TcpStream,
    wire: Wire<TcpStream>,
    host: String,
    method: String,
    framing: Framing,
    trailers: Vec<String>,
}

impl Client {
    /// Connects.
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        Self::over(TcpStream::connect(addr).unwrap())
    }

    /// Connects with a small receive buffer, so that unread bytes stay with the sender.
    pub(crate) fn slow(addr: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::for_address(addr), socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        socket.connect(&addr.into()).unwrap();
        Self::over(socket.into())
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(BOUND)).unwrap();
        stream.set_write_timeout(Some(BOUND)).unwrap();
        let wire = Wire::new(stream.try_clone().unwrap());
        let framing = Framing::Ended(End::Clean);
        Self { stream, wire, host: "example.org".to_owned(), method: String::new(), framing, trailers: Vec::new() }
    }

    /// Sets the Host of the requests that follow.
    pub(crate) fn host(mut self, host: &str) -> Self {
        self.host = host.to_owned();
        self
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends bytes as they are; fails where the other side has closed the connection.
    pub(crate) fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    /// Sends a request: the head, and the content with its length where there is any.
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) {
        self.method = method.to_owned();
        let mut message = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in fields {
            message.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            message.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        message.push_str("\r\n");
        let mut message = message.into_bytes();
        message.extend_from_slice(body);
        self.send(message);
    }

    /// Reads the next head, final or interim.
    #[track_caller]
    pub(crate) fn head(&mut self) -> Head {
        self.try_head().unwrap_or_else(|error| panic!("no head arrived: {error}"))
    }

    /// Reads the next head; fails where the other side sends none.
    pub(crate) fn try_head(&mut self) -> io::Result<Head> {
        let bytes = self.wire.head()?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let text = String::from_utf8_lossy(&bytes);
        let status = text.split(' ').nth(1).and_then(|word| word.trim().parse().ok());
        let status = status.unwrap_or_else(|| panic!("{text:?} is not a head"));
        let head = Head { status, bytes };
        self.framing = match () {
            () if self.method == "HEAD" || matches!(status, 100..=199 | 204 | 304) => Framing::Ended(End::Clean),
            () if wire::is_chunked(&head.bytes) => Framing::Chunked(0),
            () => wire::content_length(&head.bytes).map_or(Framing::UntilClose, Framing::Length),
        };
        self.trailers.clear();
        Ok(head)
    }

    /// Reads the head of the final response.
    #[track_caller]
    pub(crate) fn final_head(&mut self) -> Head {
        loop {
            let head = self.head();
            if head.status >= 200 {
                return head;
            }
        }
    }

    /// Reads a piece of the content; `None` once the content has ended.
    fn piece(&mut self) -> Option<Vec<u8>> {
        match self.try_piece() {
            Ok(piece) => piece,
            Err(error) => {
                self.framing = Framing::Ended(match error.kind() {
                    io::ErrorKind::ConnectionReset => End::Reset,
                    io::ErrorKind::UnexpectedEof => End::Cut,
                    _ => panic!("the content did not continue: {error}"),
                });
                None
            }
        }
    }

    fn try_piece(&mut self) -> io::Result<Option<Vec<u8>>> {
        let (most, next): (usize, fn(usize) -> Framing) = match self.framing {
            Framing::Ended(_) => return Ok(None),
            Framing::Length(0) => {
                self.framing = Framing::Ended(End::Clean);
                return Ok(None);
            }
            Framing::Length(left) => (left, Framing::Length),
            Framing::Chunked(0) => match self.wire.chunk_size()? {
                0 => {
                    self.trailers = self.wire.trailers()?;
                    self.framing = Framing::Ended(End::Clean);
                    return Ok(None);
                }
                size => (size, Framing::Chunked),
            },
            Framing::Chunked(left) => (left, Framing::Chunked),
            Framing::UntilClose => (usize::MAX, |_| Framing::UntilClose),
        };
        self.framing = next(most);
        let piece = self.wire.some(most)?;
        match self.framing {
            Framing::UntilClose if piece.is_empty() => {
                self.framing = Framing::Ended(End::Clean);
                return Ok(None);
            }
            _ if piece.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ => {}
        }
        self.framing = next(most - piece.len());
        if self.framing == Framing::Chunked(0) {
            self.wire.line()?;
        }
        Ok(Some(piece))
    }

    /// Reads at least `length` bytes of the content.
    #[track_caller]
    pub(crate) fn at_least(&mut self, length: usize) -> Vec<u8> {
        let mut content = Vec::new();
        while content.len() < length {
            let piece = self.piece();
            content.extend(piece.unwrap_or_else(|| panic!("the content ended: {:?}", self.framing)));
        }
        content
    }

    /// Reads the rest of the content.
    pub(crate) fn rest(&mut self, head: Head) -> Response {
        let mut body = Vec::new();
        while let Some(piece) = self.piece() {
            body.extend(piece);
        }
        let Framing::Ended(end) = self.framing else { unreachable!("there are no more pieces") };
        Response { head, body, trailers: std::mem::take(&mut self.trailers), end }
    }

    /// Reads the rest of the content and drops it. Returns its length and how it ended.
    pub(crate) fn drain(&mut self) -> (u64, End) {
        let mut length = 0;
        while let Some(piece) = self.piece() {
            length += piece.len() as u64;
        }
        let Framing::Ended(end) = self.framing else { unreachable!("there are no more pieces") };
        (length, end)
    }

    /// Reads a whole response.
    #[track_caller]
    pub(crate) fn response(&mut self) -> Response {
        let head = self.final_head();
        self.rest(head)
    }

    /// Sends a request and reads its response.
    #[track_caller]
    pub(crate) fn exchange(&mut self, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Response {
        self.ask(method, target, fields, body);
        self.response()
    }

    /// Sends a GET and reads its response.
    #[track_caller]
    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.exchange("GET", target, &[], b"")
    }

    /// Reads exactly `length` bytes off the connection, after an upgrade.
    pub(crate) fn exactly(&mut self, length: usize) -> Vec<u8> {
        self.wire.exactly(length).unwrap()
    }

    /// Waits until the other side closes, and tells how. Panics on bytes that arrive before.
    #[track_caller]
    pub(crate) fn closed(&mut self) -> End {
        match self.wire.some(usize::MAX) {
            Ok(bytes) if bytes.is_empty() => End::Clean,
            Ok(bytes) => panic!("{:?} arrived instead of the close", String::from_utf8_lossy(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => End::Reset,
            Err(error) => panic!("the connection was not closed: {error}"),
        }
    }
}
