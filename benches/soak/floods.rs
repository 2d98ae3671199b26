//! HTTP/2 floods. Clients open and reset streams, never end a head, send settings and pings without
//! end, open and close streams by the ten thousand, or request much and read nothing. Meanwhile
//! other clients take hits over both protocols; their latency and Larder's memory stay within
//! bounds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::process::Larder;

const CONFIG: &str = r#"
server.workers = 2
server.body_idle_timeout = "5s"
memory.capacity = "128MiB"
"#;

/// `body_idle_timeout` above.
const TIMEOUT: Duration = Duration::from_secs(5);

/// 1.3 times the capacity and 40 MiB, the bound that `memory.capacity` promises.
const RESIDENT_MAX: u64 = (128 << 20) * 13 / 10 + (40 << 20);

/// The average memory that a waiting stream may add: its task, its request, its response's head,
/// and its place in the queue to the origin or 8 KiB of the origin's response. `connections_max`
/// and `http2_streams_max` limit the number of such streams.
const STREAM_BYTES_MAX: u64 = 8 << 10;

/// The resident memory that a flood may add if Larder buffers and stores nothing for it.
const GROWTH_MAX: u64 = 32 << 20;

/// The time that half of the hits may take beside a flood. The flood's own client, the probes and
/// two cores of Larder share the machine, so that each waits for the others: a scheduler's slice is
/// 3 to 4 ms, and a hit may wait for a few of them.
const P50_MAX: Duration = Duration::from_millis(5);
const P99_MAX: Duration = Duration::from_millis(25);

/// Connections that flood at once. A flood that reads nothing has more of them.
const FLOODERS: usize = 4;
const STALLED: usize = 200;

/// Streams of each connection that reads nothing: the maximum.
const STREAMS: u32 = 100;

/// The number of streams that are opened and closed, one connection after the other.
const OPEN_CLOSE: u32 = 10_000;

/// The number of frames in one write, for floods that write in waves.
const WAVE: usize = 200;

/// The interval between a probe's requests, and the number of probes for each protocol.
const PACE: Duration = Duration::from_millis(10);
const PROBES: usize = 4;

/// An object that is requested again and again, and one that nobody reads.
const SMALL: usize = 1 << 10;
const LARGE: usize = 1 << 20;

/// The floods, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    /// Streams that are reset in the write that opens them, before the server accepts them.
    RapidReset,
    /// Streams of stored objects that are reset in a later write, after the server has accepted
    /// them.
    AcceptedReset,
    /// The same, each for a new URL.
    ResetMisses,
    /// A head that never ends, in small pieces.
    Continuation,
    /// A head that never ends, in empty pieces.
    EmptyContinuation,
    Settings,
    Ping,
    /// Empty DATA frames on an open stream.
    EmptyData,
    OpenClose,
    /// Streams whose responses, stored and streamed, wait for a window that stays shut.
    WindowStall,
    /// The same with a window of one byte, so that each response has begun; pings keep the
    /// connection busy.
    WindowOfOne,
}

const FLOODS: [Flood; 11] = [
    Flood::RapidReset,
    Flood::AcceptedReset,
    Flood::ResetMisses,
    Flood::Continuation,
    Flood::EmptyContinuation,
    Flood::Settings,
    Flood::Ping,
    Flood::EmptyData,
    Flood::OpenClose,
    Flood::WindowStall,
    Flood::WindowOfOne,
];

impl Flood {
    /// Tells whether the server must end such a connection.
    fn is_to_end(self) -> bool {
        matches!(self, Self::RapidReset | Self::Continuation | Self::EmptyContinuation | Self::EmptyData)
    }

    /// Tells whether the flood sends requests and reads nothing.
    fn is_stall(self) -> bool {
        matches!(self, Self::WindowStall | Self::WindowOfOne)
    }

    /// Tells whether Larder buffers or stores the flood's responses.
    fn is_filling(self) -> bool {
        self.is_stall() || self == Self::ResetMisses
    }

    fn connections(self) -> usize {
        if self.is_stall() { STALLED } else { FLOODERS }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// SETTINGS with an initial window of zero.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
const WINDOW_OF_ONE: [u8; 6] = [0, 4, 0, 0, 0, 1];

/// Returns the bytes of a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Returns a request's field block: indexed where the static table has the field, else a literal
/// (RFC 7541 §6).
fn block(method: &str, path: &str) -> Vec<u8> {
    // `:scheme: http`, then `:method`, `:authority` and `:path` by name.
    let mut block = vec![0x86];
    for (name, value) in [(2, method), (1, "example.org"), (4, path)] {
        block.extend_from_slice(&[name, value.len() as u8]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

fn open(at: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, 2 * at + 1, &block("GET", path))
}

fn cancel(at: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, 2 * at + 1, &[0, 0, 0, 8])
}

/// The counts of a flood.
#[derive(Default)]
struct Done {
    frames: AtomicU64,
    answers: AtomicU64,
    /// Connections that Larder ended.
    ended: AtomicU64,
    /// Streams that Larder reset.
    resets: AtomicU64,
    /// The number of new URLs so far.
    fresh: AtomicU64,
}

/// Floods until the end, on connection after connection.
async fn flood(addr: SocketAddr, flood: Flood, delay: Duration, done: Arc<Done>, ends: Arc<AtomicBool>) {
    tokio::time::sleep(delay).await;
    while !ends.load(Ordering::Relaxed) {
        let Ok(stream) = TcpStream::connect(addr).await else { continue };
        let _ = stream.set_nodelay(true);
        let (read, mut write) = stream.into_split();
        let answers = AtomicU64::new(0);
        // A client that does not read its responses is not read from any more.
        tokio::select! {
            () = read_frames(read, &done, &answers) => {
                done.ended.fetch_add(1, Ordering::Relaxed);
            }
            () = async {
                if write_flood(&mut write, flood, &done, &answers, &ends).await.is_err() {
                    // Larder has ended the connection; the reader sees how.
                    std::future::pending::<()>().await;
                }
            } => {}
            () = ended(&ends) => return,
        }
    }
}

/// Waits for the end of the flood.
async fn ended(ends: &AtomicBool) {
    while !ends.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads frames and counts ended streams, until the connection ends.
async fn read_frames(mut read: OwnedReadHalf, done: &Done, answers: &AtomicU64) {
    let mut held = Vec::new();
    while let Ok(1..) = read.read_buf(&mut held).await {
        let mut at = 0;
        while let Some(head) = held.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let (kind, flags) = (head[3], head[4]);
            if held.len() < at + 9 + length {
                break;
            }
            if kind <= HEADERS && flags & END_STREAM != 0 {
                done.answers.fetch_add(1, Ordering::Relaxed);
                answers.fetch_add(1, Ordering::Relaxed);
            }
            if kind == RST_STREAM {
                done.resets.fetch_add(1, Ordering::Relaxed);
            }
            if kind == GOAWAY {
                return;
            }
            at += 9 + length;
        }
        held.drain(..at);
    }
}

/// Writes one connection's flood.
async fn write_flood(
    out: &mut OwnedWriteHalf,
    flood: Flood,
    done: &Done,
    answers: &AtomicU64,
    ends: &AtomicBool,
) -> std::io::Result<()> {
    out.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
    let window = match flood {
        Flood::WindowStall => &NO_WINDOW[..],
        Flood::WindowOfOne => &WINDOW_OF_ONE[..],
        _ => &[],
    };
    out.write_all(&frame(SETTINGS, 0, 0, window)).await?;
    // The connection's window is as large as the protocol allows, so that only streams stall.
    out.write_all(&frame(WINDOW_UPDATE, 0, 0, &(0x7fff_0000_u32).to_be_bytes())).await?;
    match flood {
        Flood::Continuation | Flood::EmptyContinuation => {
            out.write_all(&frame(HEADERS, END_STREAM, 1, &block("GET", "/small"))).await?;
        }
        Flood::EmptyData => out.write_all(&frame(HEADERS, END_HEADERS, 1, &block("POST", "/sink"))).await?,
        Flood::WindowStall | Flood::WindowOfOne => {
            for at in 0..STREAMS {
                let path = match at % 2 {
                    0 => "/large".to_owned(),
                    _ => format!("/stream/{}", done.fresh.fetch_add(1, Ordering::Relaxed)),
                };
                out.write_all(&open(at, &path)).await?;
                done.frames.fetch_add(1, Ordering::Relaxed);
            }
        }
        _ => {}
    }
    let mut at = 0;
    while !ends.load(Ordering::Relaxed) {
        match flood {
            Flood::OpenClose if at == OPEN_CLOSE => {
                answered(u64::from(at), answers).await;
                return Ok(());
            }
            // No more streams at once than the limit allows.
            Flood::OpenClose if at % STREAMS == 0 => answered(u64::from(at), answers).await,
            Flood::WindowStall => std::future::pending().await,
            Flood::WindowOfOne => tokio::time::sleep(Duration::from_secs(1)).await,
            _ => {}
        }
        let is_waved = !matches!(flood, Flood::AcceptedReset | Flood::ResetMisses | Flood::OpenClose);
        let mut bytes = Vec::new();
        for _ in 0..if is_waved && !flood.is_stall() { WAVE } else { 1 } {
            bytes.extend_from_slice(&next(flood, at, done));
            at += 1;
            done.frames.fetch_add(1, Ordering::Relaxed);
        }
        out.write_all(&bytes).await?;
        if matches!(flood, Flood::AcceptedReset | Flood::ResetMisses) {
            tokio::task::yield_now().await;
            out.write_all(&cancel(at - 1)).await?;
        }
        if at > 1 << 29 {
            return Ok(());
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

/// Returns the next frames of a flood.
fn next(flood: Flood, at: u32, done: &Done) -> Vec<u8> {
    match flood {
        Flood::RapidReset => [open(at, "/small"), cancel(at)].concat(),
        Flood::AcceptedReset => open(at, "/small"),
        Flood::ResetMisses => open(at, &format!("/fresh/{}", done.fresh.fetch_add(1, Ordering::Relaxed))),
        Flood::Continuation => frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y']),
        Flood::EmptyContinuation => frame(CONTINUATION, 0, 1, &[]),
        Flood::Settings => frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0x80, 0]),
        Flood::Ping | Flood::WindowOfOne => frame(PING, 0, 0, &[0; 8]),
        Flood::EmptyData => frame(DATA, 0, 1, &[]),
        Flood::OpenClose => open(at, "/small"),
        // The client stays silent.
        Flood::WindowStall => Vec::new(),
    }
}

/// Waits until so many streams of the connection have their responses.
async fn answered(wanted: u64, answers: &AtomicU64) {
    while answers.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// Starts an origin with a small object and a large one. Every other response forbids storing.
fn origin() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.set_nonblocking(true).expect("a socket can be");
    let addr = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = TcpListener::from_std(listener).expect("on its runtime");
            while let Ok((stream, _)) = listener.accept().await {
                // The other end of the connection notices every error.
                tokio::spawn(async move { drop(answer(stream).await) });
            }
        });
    });
    addr
}

async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let large = vec![b'x'; LARGE];
    let mut held = vec![0; 64 << 10];
    loop {
        let length = stream.read(&mut held).await?;
        let (body, control) = match &held[..length] {
            [] => return Ok(()),
            head if head.starts_with(b"GET /large") => (&large[..], "max-age=3600"),
            head if head.starts_with(b"GET /stream") => (&large[..], "no-store"),
            head if head.starts_with(b"GET /small") => (&large[..SMALL], "max-age=3600"),
            head if head.starts_with(b"GET ") => (&large[..SMALL], "max-age=60"),
            // The content has not arrived yet.
            _ => continue,
        };
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: {control}\r\nContent-Type: image/png\r\nContent-Length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body).await?;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// A well-behaved client over HTTP/2.
async fn probe(addr: SocketAddr, until: Instant) -> Vec<Duration> {
    let (mut took, mut sender) = (Vec::new(), None);
    while Instant::now() < until {
        tokio::time::sleep(PACE).await;
        let started = Instant::now();
        let exchange = tokio::time::timeout(Duration::from_secs(10), hit(addr, &mut sender));
        match exchange.await {
            Ok(Some(SMALL)) => took.push(started.elapsed()),
            // A failure counts as a very late hit, so that it shows.
            _ => {
                took.push(Duration::from_secs(10));
                sender = None;
            }
        }
    }
    took
}

/// Takes a hit; returns the length of its body.
async fn hit(addr: SocketAddr, sender: &mut Option<http2::SendRequest<Empty<Bytes>>>) -> Option<usize> {
    let sender = match sender {
        Some(sender) => sender,
        none => {
            let stream = TcpStream::connect(addr).await.ok()?;
            stream.set_nodelay(true).ok()?;
            let (new, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            none.insert(new)
        }
    };
    let request = Request::get("http://example.org/small").body(Empty::new()).expect("the request is well-formed");
    let response = sender.send_request(request).await.ok()?;
    Some(response.into_body().collect().await.ok()?.to_bytes().len())
}

/// The hits of well-behaved clients over a while.
struct Pace {
    hits: usize,
    p50: Duration,
    p99: Duration,
    late: usize,
}

/// Takes hits for so long, over both protocols.
async fn pace(addr: SocketAddr, span: Duration) -> Pace {
    let until = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for _ in 0..PROBES {
        tasks.spawn(probe(addr, until));
        tasks.spawn(super::slow::probe(addr, until));
    }
    let mut took = tasks.join_all().await.concat();
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
    let late = took.iter().filter(|took| **took >= Duration::from_secs(10)).count();
    Pace { hits: took.len(), p50: at(50), p99: at(99), late }
}

/// Takes hits and watches the memory meanwhile. Returns the peak of the resident memory too.
fn observe(larder: &Larder, span: Duration) -> (Pace, u64) {
    runtime().block_on(async {
        let ends = AtomicBool::new(false);
        let most = async {
            let mut most = 0;
            while !ends.load(Ordering::Relaxed) {
                most = most.max(larder.resident());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            most
        };
        let paced = async {
            let paced = pace(larder.addr, span).await;
            ends.store(true, Ordering::Relaxed);
            paced
        };
        tokio::join!(paced, most)
    })
}

/// Runs every flood for so long; returns the broken promises.
pub(crate) fn run(seconds: u64) -> Vec<String> {
    let larder = Larder::start(origin(), CONFIG);
    let span = Duration::from_secs(seconds);
    // Warms up, so that one-time work is not measured.
    observe(&larder, Duration::from_secs(1));
    let mut broken = Vec::new();
    println!(
        "{:<20}{:>8}{:>9}{:>9}{:>12}{:>10}{:>8}{:>8}{:>12}{:>10}",
        "", "hits", "p50 µs", "p99 µs", "frames", "answers", "ended", "resets", "before MiB", "most MiB"
    );
    let (idle, most) = observe(&larder, span);
    row("idle", &idle, &Done::default(), (larder.resident(), most));
    for kind in FLOODS {
        let before = larder.resident();
        let (done, ends) = (Arc::<Done>::default(), Arc::new(AtomicBool::new(false)));
        let flooding = {
            let (addr, done, ends) = (larder.addr, Arc::clone(&done), Arc::clone(&ends));
            // A thread of its own, so that the flood does not delay the probes.
            std::thread::spawn(move || {
                runtime().block_on(async move {
                    let mut flooders = JoinSet::new();
                    for at in 0..kind.connections() {
                        // Clients that read nothing arrive one by one: 20,000 requests at once
                        // would measure something else.
                        let delay = if kind.is_stall() { TIMEOUT * at as u32 / STALLED as u32 } else { Duration::ZERO };
                        flooders.spawn(flood(addr, kind, delay, Arc::clone(&done), Arc::clone(&ends)));
                    }
                    while flooders.join_next().await.is_some() {}
                });
            })
        };
        // A timeout needs the time to pass.
        let (paced, most) = observe(&larder, if kind.is_stall() { span.max(Duration::from_secs(10)) } else { span });
        ends.store(true, Ordering::Relaxed);
        let _ = flooding.join();
        row(&format!("{kind:?}"), &paced, &done, (before, most));
        judge(kind, (&idle, &paced), &done, (before, most), &mut broken);
    }
    let panics = &larder.stats()["server"]["panics"];
    if *panics != 0 {
        broken.push(format!("nothing panics; {panics} did"));
    }
    broken
}

fn row(what: &str, pace: &Pace, done: &Done, (before, most): (u64, u64)) {
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "{what:<20}{:>8}{:>9}{:>9}{:>12}{:>10}{:>8}{:>8}{:>12}{:>10}",
        pace.hits,
        pace.p50.as_micros(),
        pace.p99.as_micros(),
        read(&done.frames),
        read(&done.answers),
        read(&done.ended),
        read(&done.resets),
        before >> 20,
        most >> 20
    );
}

fn judge(
    kind: Flood,
    (idle, paced): (&Pace, &Pace),
    done: &Done,
    (before, most): (u64, u64),
    broken: &mut Vec<String>,
) {
    let mut promise = |holds: bool, what: String| {
        if !holds {
            broken.push(format!("{kind:?}: {what}"));
        }
    };
    // Other load on the machine shows in the idle figure.
    let p99_max = P99_MAX.max(2 * idle.p99);
    let streams = if kind.is_stall() { STALLED as u64 * u64::from(STREAMS) } else { 0 };
    let resident_max = RESIDENT_MAX + streams * STREAM_BYTES_MAX;
    promise(paced.late == 0, format!("every hit of other clients is answered; {} were not", paced.late));
    promise(paced.p50 <= P50_MAX.max(2 * idle.p50), format!("half of the hits take at most {P50_MAX:?}"));
    promise(paced.p99 <= p99_max, format!("99 in 100 hits take at most {p99_max:?}"));
    promise(most <= resident_max, format!("resident memory stays below {} MiB", resident_max >> 20));
    promise(
        most <= before + GROWTH_MAX || kind.is_filling(),
        format!("resident memory grows by at most {} MiB", GROWTH_MAX >> 20),
    );
    let (ended, answers) = (done.ended.load(Ordering::Relaxed), done.answers.load(Ordering::Relaxed));
    promise(ended > 0 || !kind.is_to_end(), "connections that flood are ended".into());
    promise(
        done.resets.load(Ordering::Relaxed) > 0 || !kind.is_stall(),
        "streams that wait for a shut window are reset, in spite of pings".into(),
    );
    if kind == Flood::OpenClose {
        promise(ended == 0, "connections that open and close streams in order stay open".into());
        promise(answers >= u64::from(OPEN_CLOSE), format!("{OPEN_CLOSE} streams are answered; {answers} were"));
    }
}
