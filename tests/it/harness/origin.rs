//! A scripted origin over raw TCP. The origin records the exact bytes of each request; its script
//! decides which bytes it sends back, what they wait for, and where the connection is cut.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;

use super::wire::{self, Wire};
use super::{BOUND, Gate};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The bytes of the head, with the empty line.
    pub(crate) head: Vec<u8>,
    /// The content, with chunked coding undone. Empty where the script is called at the head.
    pub(crate) body: Vec<u8>,
}

impl Request {
    fn word(&self, at: usize) -> String {
        let text = String::from_utf8_lossy(&self.head);
        let line = text.split("\r\n").next().unwrap_or_default();
        line.split(' ').nth(at).unwrap_or_default().to_owned()
    }

    /// Returns the method.
    pub(crate) fn method(&self) -> String {
        self.word(0)
    }

    /// Returns the target, as it was written.
    pub(crate) fn target(&self) -> String {
        self.word(1)
    }

    /// Returns the first value of a field.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        wire::values(&self.head, name).into_iter().next()
    }
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// An orderly close: TCP's FIN.
    Fin,
    /// A crash: TCP's RST.
    Rst,
}

/// The action of a step on a connection.
type Act = Arc<dyn Fn(&mut Peer<'_>) -> io::Result<()> + Send + Sync>;

/// A step of a script. Steps run one after the other.
#[derive(Clone)]
enum Step {
    Send(Vec<u8>),
    Wait(Gate),
    Cut(Cut),
    /// Any other action on the connection.
    Do(Act),
}

/// The connection, as a step of a script sees it.
pub(crate) struct Peer<'a> {
    wire: &'a mut Wire<Stream>,
    stream: &'a TcpStream,
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
    fn steps(self, is_head: bool) -> Vec<Step> {
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

/// The script: answers requests.
type Script = Box<dyn Fn(&Request) -> Reply + Send + Sync>;

/// The origin. Dropping it stops it.
pub(crate) struct Origin {
    addr: SocketAddr,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

struct State {
    script: Script,
    /// True: the script is called once the content has arrived. False: at the head.
    whole: bool,
    records: bool,
    requests: Mutex<Vec<Request>>,
    arrived: Condvar,
    stopping: AtomicBool,
    streams: Mutex<Vec<Weak<TcpStream>>>,
}

impl Origin {
    /// Starts an origin that answers each request by `script` once the request's content has
    /// arrived.
    pub(crate) fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(any(), Box::new(script), true, true)
    }

    /// Starts an origin at the address of another one that has stopped.
    pub(crate) fn start_at(addr: SocketAddr, script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(addr, Box::new(script), true, true)
    }

    /// Starts an origin that answers the first request with the first reply, and so on; then with
    /// 500.
    pub(crate) fn replies(replies: impl IntoIterator<Item = Reply>) -> Self {
        let replies = Mutex::new(replies.into_iter().collect::<VecDeque<_>>());
        Self::start(move |_| {
            let next = replies.lock().unwrap().pop_front();
            next.unwrap_or_else(|| Reply::status("500 The Script Is Over"))
        })
    }

    /// Starts an origin whose script is called at a request's head. The script's steps read the
    /// content.
    pub(crate) fn at_heads(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(any(), Box::new(script), false, true)
    }

    /// Starts an origin that records nothing, for tests with very many requests.
    pub(crate) fn unrecorded(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::with(any(), Box::new(script), true, false)
    }

    fn with(addr: SocketAddr, script: Script, whole: bool, records: bool) -> Self {
        let listener = TcpListener::bind(addr).unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(State {
            script,
            whole,
            records,
            requests: Mutex::default(),
            arrived: Condvar::new(),
            stopping: AtomicBool::new(false),
            streams: Mutex::default(),
        });
        let accepting = {
            let state = Arc::clone(&state);
            std::thread::spawn(move || accept(&listener, &state))
        };
        Self { addr, state, accepting: Some(accepting) }
    }

    /// Returns the address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Returns the targets of the requests so far.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().iter().map(Request::target).collect()
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        self.state.requests.lock().unwrap().clear();
    }

    /// Returns the number of requests so far.
    pub(crate) fn count(&self) -> usize {
        self.state.requests.lock().unwrap().len()
    }

    /// Returns the last request.
    #[track_caller]
    pub(crate) fn last(&self) -> Request {
        self.state.requests.lock().unwrap().last().expect("the origin received a request").clone()
    }

    /// Waits until `count` requests have arrived.
    #[track_caller]
    pub(crate) fn wait_for(&self, count: usize) {
        let requests = self.state.requests.lock().unwrap();
        let (requests, _) =
            self.state.arrived.wait_timeout_while(requests, BOUND, |requests| requests.len() < count).unwrap();
        assert!(requests.len() >= count, "the origin saw {} of {count} requests", requests.len());
    }

    /// Stops the origin: connections are closed, new ones refused.
    pub(crate) fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.state.stopping.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then drops the listener.
        let _ = TcpStream::connect(self.addr);
        let _ = accepting.join();
        for stream in self.state.streams.lock().unwrap().drain(..) {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Any free port.
fn any() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while let Ok((stream, _)) = listener.accept() {
        if state.stopping.load(Ordering::SeqCst) {
            return;
        }
        let stream = Arc::new(stream);
        state.streams.lock().unwrap().push(Arc::downgrade(&stream));
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            // The other end of the connection notices every error.
            let _ = serve(&state, stream);
        });
    }
}

/// The reading end of a connection.
struct Stream(Arc<TcpStream>);

impl io::Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

fn serve(state: &State, stream: Arc<TcpStream>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = Wire::new(Stream(Arc::clone(&stream)));
    while let Some(head) = wire.head()? {
        let mut request = Request { head, body: Vec::new() };
        if state.whole {
            request.body = read_body(&mut wire, &request.head)?;
        }
        if state.records {
            state.requests.lock().unwrap().push(request.clone());
            state.arrived.notify_all();
        }
        let steps = (state.script)(&request).steps(request.method() == "HEAD");
        for step in steps {
            match step {
                Step::Send(bytes) => (&*stream).write_all(&bytes)?,
                Step::Wait(gate) => gate.wait(),
                Step::Do(act) => act(&mut Peer { wire: &mut wire, stream: &stream })?,
                Step::Cut(Cut::Fin) => return stream.shutdown(Shutdown::Both),
                // The kernel sends the reset when the last handle is dropped.
                Step::Cut(Cut::Rst) => {
                    return socket2::SockRef::from(&*stream).set_linger(Some(std::time::Duration::ZERO));
                }
            }
        }
    }
    Ok(())
}

fn read_body(wire: &mut Wire<Stream>, head: &[u8]) -> io::Result<Vec<u8>> {
    if !wire::is_chunked(head) {
        return wire.exactly(wire::content_length(head).unwrap_or(0));
    }
    let mut body = Vec::new();
    loop {
        match wire.chunk_size()? {
            0 => {
                wire.trailers()?;
                return Ok(body);
            }
            size => {
                body.extend(wire.exactly(size)?);
                wire.line()?;
            }
        }
    }
}
