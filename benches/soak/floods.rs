//! HTTP/2 floods: clients that open and reset, that never end a head, that send settings and pings without end, that open
//! and close streams by the ten thousand, that ask for much and read nothing. Beside them others take hits, over both
//! protocols; their pace and Larder's memory stay within bounds.

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

/// What a stream that waits may cost beyond, on an average: its task, its request, the head of its answer, its place in the
/// queue to the origin or 8 KiB of what the origin has sent. `connections_max` and `http2_streams_max` bound their number.
const STREAM_BYTES_MAX: u64 = 8 << 10;

/// How much a flood may add to what is resident where it asks for nothing that is held.
const GROWTH_MAX: u64 = 32 << 20;

/// What a hit may take at the most beside a flood. The flood's own client, the probes and two cores of Larder share the
/// machine, so that each waits for its turn: a scheduler's slice is 3 to 4 ms, and a few of them may stand in the way.
const P50_MAX: Duration = Duration::from_millis(5);
const P99_MAX: Duration = Duration::from_millis(25);

/// Connections that flood at once; those that read nothing are many.
const FLOODERS: usize = 4;
const STALLED: usize = 200;

/// Streams of each connection that reads nothing: as many as it may have.
const STREAMS: u32 = 100;

/// How many streams are opened and closed, one connection after the other.
const OPEN_CLOSE: u32 = 10_000;

/// How many frames are written at once, where they are.
const WAVE: usize = 200;

/// How often a probe asks, and how many probes of each protocol there are.
const PACE: Duration = Duration::from_millis(10);
const PROBES: usize = 4;

/// Object that is asked for again and again, and one that nobody reads.
const SMALL: usize = 1 << 10;
const LARGE: usize = 1 << 20;

/// The floods, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flood {
    /// Streams that are reset in the write that opens them, so that they are gone before they are accepted.
    RapidReset,
    /// Streams that are reset in a write of their own, after they were accepted: of stored objects.
    AcceptedReset,
    /// The same, each for a URL that nobody has asked for yet.
    ResetMisses,
    /// A head that never ends, in small pieces.
    Continuation,
    /// The same in pieces of nothing.
    EmptyContinuation,
    Settings,
    Ping,
    /// DATA of no bytes on an open stream.
    EmptyData,
    OpenClose,
    /// Streams whose answers wait for a window that stays shut, stored ones and streamed ones.
    WindowStall,
    /// The same with a window of one byte, so that each answer has begun; pings keep the connection busy.
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
    /// Tells whether a connection that does so has to be ended.
    fn is_to_end(self) -> bool {
        matches!(self, Self::RapidReset | Self::Continuation | Self::EmptyContinuation | Self::EmptyData)
    }

    /// Tells whether it asks, and does not read.
    fn is_stall(self) -> bool {
        matches!(self, Self::WindowStall | Self::WindowOfOne)
    }

    /// Tells whether what it asks for is held for it, or stored.
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

/// What asks for no more windows than the protocol gives.
const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];
const WINDOW_OF_ONE: [u8; 6] = [0, 4, 0, 0, 0, 1];

/// Writes a frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// Writes a request's field block: indexed where the static table has the field, else a literal (RFC 7541 §6).
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

/// What a flood did.
#[derive(Default)]
struct Done {
    frames: AtomicU64,
    answers: AtomicU64,
    /// Connections that Larder ended.
    ended: AtomicU64,
    /// Streams that Larder reset.
    resets: AtomicU64,
    /// URLs that were made up.
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
        // Whoever is answered has to read, or nothing more is taken from it.
        tokio::select! {
            () = read_frames(read, &done, &answers) => {
                done.ended.fetch_add(1, Ordering::Relaxed);
            }
            () = async {
                if write_flood(&mut write, flood, &done, &answers, &ends).await.is_err() {
                    // Larder has ended it, and the reader sees how.
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

/// Reads frames and counts ends of streams, until the connection ends.
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
    // As much as the protocol allows for all streams together: what is stalled is stalled stream by stream.
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
            // As the limit on streams asks: no more at once than may be.
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
        // Nothing more is said.
        Flood::WindowStall => Vec::new(),
    }
}

/// Waits until so many streams of the connection are answered.
async fn answered(wanted: u64, answers: &AtomicU64) {
    while answers.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_micros(200)).await;
    }
}

/// Starts an origin that knows a small object, a large one, and answers everything else with something that is not stored.
fn origin() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.set_nonblocking(true).expect("a socket can be");
    let addr = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = TcpListener::from_std(listener).expect("on its runtime");
            while let Ok((stream, _)) = listener.accept().await {
                // Whatever goes wrong with a connection shows at the other end of it.
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
            // It waits for the content.
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
            // Counted as very late, so that it shows.
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

/// What well-behaved clients saw for a while.
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

/// Takes hits, and looks at the memory meanwhile. Returns the most that was resident.
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

/// Runs every flood for so long; returns the promises that were broken.
pub(crate) fn run(seconds: u64) -> Vec<String> {
    let larder = Larder::start(origin(), CONFIG);
    let span = Duration::from_secs(seconds);
    // Whatever is made once is made before anything is measured.
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
            // A thread of their own, so that they do not get between the probes and their clock.
            std::thread::spawn(move || {
                runtime().block_on(async move {
                    let mut flooders = JoinSet::new();
                    for at in 0..kind.connections() {
                        // What reads nothing comes as a stream and is no wave: 20,000 requests at once are another matter.
                        let delay = if kind.is_stall() { TIMEOUT * at as u32 / STALLED as u32 } else { Duration::ZERO };
                        flooders.spawn(flood(addr, kind, delay, Arc::clone(&done), Arc::clone(&ends)));
                    }
                    while flooders.join_next().await.is_some() {}
                });
            })
        };
        // What waits for a timeout has to have the time for it.
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
    // What else the machine has to do shows in the idle figure.
    let p99_max = P99_MAX.max(2 * idle.p99);
    let streams = if kind.is_stall() { STALLED as u64 * u64::from(STREAMS) } else { 0 };
    let resident_max = RESIDENT_MAX + streams * STREAM_BYTES_MAX;
    promise(paced.late == 0, format!("every hit of others is answered; {} were not", paced.late));
    promise(paced.p50 <= P50_MAX.max(2 * idle.p50), format!("half of the hits take at most {P50_MAX:?}"));
    promise(paced.p99 <= p99_max, format!("99 in 100 hits take at most {p99_max:?}"));
    promise(most <= resident_max, format!("resident memory stays below {} MiB", resident_max >> 20));
    promise(
        most <= before + GROWTH_MAX || kind.is_filling(),
        format!("resident memory grows by at most {} MiB", GROWTH_MAX >> 20),
    );
    let (ended, answers) = (done.ended.load(Ordering::Relaxed), done.answers.load(Ordering::Relaxed));
    promise(ended > 0 || !kind.is_to_end(), "whoever does so is sent away".into());
    promise(
        done.resets.load(Ordering::Relaxed) > 0 || !kind.is_stall(),
        "streams that wait for a shut window are reset, pings or not".into(),
    );
    if kind == Flood::OpenClose {
        promise(ended == 0, "whoever opens and closes in order is let".into());
        promise(answers >= u64::from(OPEN_CLOSE), format!("{OPEN_CLOSE} streams are answered; {answers} were"));
    }
}
