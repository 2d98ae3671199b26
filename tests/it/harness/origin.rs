//! A scripted origin over raw TCP. The origin records the exact bytes of each request; its script
//! decides which bytes it sends back, what they wait for, and where the connection is cut.

mod reply;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::thread::JoinHandle;

use super::wire::Wire;
use super::{BOUND, wire};
pub(crate) use reply::{Cut, Reply, chunk};
use reply::{Peer, Step};

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
