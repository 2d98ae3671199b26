//! An origin that records the exact bytes of its sockets, and accepts only what the reference
//! reader accepts.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::reference::{self, Fault, Message};
use crate::harness::cache::Setup;
use crate::harness::{Cache, Origin, Reply, eventually};

/// The script: returns the bytes of a response.
type Script = Box<dyn Fn(&Message) -> Vec<u8> + Send + Sync>;

/// The origin.
pub(crate) struct Tap {
    addr: SocketAddr,
    /// The origin that the harness needs for a cache. No request reaches it.
    unasked: Origin,
    state: Arc<TapState>,
}

struct TapState {
    script: Script,
    received: Mutex<Vec<ReceivedBytes>>,
    stopping: AtomicBool,
}

/// The bytes that a connection has received since the last look.
#[derive(Default)]
struct ReceivedBytes {
    whole: Vec<(usize, Message)>,
    raw: Vec<u8>,
    rest: Vec<u8>,
    malformed: Option<String>,
    is_closed: bool,
}

/// The bytes and requests that the origin has received.
#[derive(Debug, Default)]
pub(crate) struct TapRecord {
    /// Whole requests, in the order in which they were completed.
    pub(crate) whole: Vec<Message>,
    /// The exact bytes, of all connections.
    pub(crate) raw: Vec<u8>,
    /// The beginning of a request that was not completed.
    pub(crate) rest: Vec<u8>,
}

impl Tap {
    /// Starts an origin that answers every request with a short response that no cache may store.
    pub(crate) fn start() -> Self {
        Self::with(|_| b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok".to_vec())
    }

    /// Starts an origin that answers by `script`; the content of a HEAD's response is left out.
    pub(crate) fn with(script: impl Fn(&Message) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(TapState {
            script: Box::new(script),
            received: Mutex::default(),
            stopping: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            let order = Arc::new(AtomicUsize::new(0));
            while let Ok((stream, _)) = listener.accept() {
                if accepting.stopping.load(Ordering::SeqCst) {
                    return;
                }
                let (state, order) = (Arc::clone(&accepting), Arc::clone(&order));
                std::thread::spawn(move || serve(&state, &order, stream));
            }
        });
        Self { addr, unasked: Origin::start(|_| Reply::ok()), state }
    }

    /// Starts a cache in front of the origin.
    pub(crate) fn cache(&self) -> Cache {
        self.cache_with(|_| {})
    }

    /// Starts a cache in front of the origin, with the settings that `change` makes.
    pub(crate) fn cache_with(&self, change: impl FnOnce(&mut Setup)) -> Cache {
        Cache::with(&self.unasked, |setup| {
            setup.config.origin.authority = self.addr.to_string();
            change(setup);
        })
    }

    /// Tells whether these bytes were received since the last call of [`Tap::take`].
    pub(crate) fn holds(&self, part: &[u8]) -> bool {
        let received = self.state.received.lock().unwrap();
        received.iter().any(|one| one.raw.windows(part.len()).any(|found| found == part))
    }

    /// Returns everything that was received since the last call. With `until_closed`, first waits
    /// until no open connection holds the beginning of a request.
    pub(crate) fn take(&self, until_closed: bool) -> Result<TapRecord, String> {
        if until_closed {
            eventually("connections with a partial request are closed", || {
                self.state.received.lock().unwrap().iter().all(|one| one.is_closed || one.rest.is_empty())
            });
        }
        let mut seen = TapRecord::default();
        let mut whole = Vec::new();
        let mut malformed = None;
        for one in self.state.received.lock().unwrap().iter_mut() {
            whole.append(&mut one.whole);
            seen.raw.append(&mut one.raw);
            seen.rest.append(&mut one.rest);
            malformed = malformed.or(one.malformed.take());
        }
        whole.sort_by_key(|(at, _)| *at);
        seen.whole = whole.into_iter().map(|(_, message)| message).collect();
        malformed.map_or(Ok(seen), Err)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
    }
}

fn serve(state: &TapState, order: &AtomicUsize, mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let at = {
        let mut received = state.received.lock().unwrap();
        received.push(ReceivedBytes::default());
        received.len() - 1
    };
    let with = |change: &mut dyn FnMut(&mut ReceivedBytes)| change(&mut state.received.lock().unwrap()[at]);
    let mut buffer = [0; 16 << 10];
    loop {
        let length = stream.read(&mut buffer).unwrap_or(0);
        if length == 0 {
            with(&mut |own| own.is_closed = true);
            return;
        }
        let mut answers = Vec::new();
        with(&mut |own| {
            own.raw.extend_from_slice(&buffer[..length]);
            own.rest.extend_from_slice(&buffer[..length]);
            loop {
                match reference::read(&own.rest) {
                    Ok((message, rest)) => {
                        let rest = rest.to_vec();
                        answers.push(message.clone());
                        own.whole.push((order.fetch_add(1, Ordering::SeqCst), message));
                        own.rest = rest;
                    }
                    Err(Fault::Unfinished) => return,
                    Err(fault) => {
                        own.malformed = Some(format!("{fault:?} {:?}", String::from_utf8_lossy(&own.rest)));
                        return;
                    }
                }
            }
        });
        for message in answers {
            let mut answer = (state.script)(&message);
            if message.method == "HEAD"
                && let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n")
            {
                answer.truncate(end + 4);
            }
            let _ = stream.write_all(&answer);
            if answer.windows(17).any(|part| part.eq_ignore_ascii_case(b"connection: close")) {
                with(&mut |own| own.is_closed = true);
                return;
            }
        }
    }
}
