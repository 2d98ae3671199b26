//! The mixed soak: many connections of both protocols, clients that hang up, and an origin with one
//! faulty response in a hundred. Every body that ends cleanly is whole and belongs to its key and
//! variant; nobody waits past the deadline; memory is flat in the second half; and the number of
//! descriptors returns to its start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::process::{Dice, Larder};

/// Short timeouts, so that a short run meets them too.
const CONFIG: &str = r#"
server.workers = 2
server.head_timeout = "5s"
origin.connect_timeout = "1s"
origin.response_timeout = "2s"
origin.body_idle_timeout = "2s"
origin.pool_idle_timeout = "500ms"
origin.permit_timeout = "2s"
cache.flight_timeout = "4s"
cache.stale_if_error = "2s"
memory.capacity = "64MiB"
memory.object_bytes_max = "1MiB"
"#;

/// Longer than any sequence of timeouts, with room for a busy machine: a client that waits longer
/// is stuck.
const DEADLINE: Duration = Duration::from_secs(30);

/// Faulty responses in a thousand.
const FAULTS_PER_MILLE: u64 = 10;

/// Exchanges in a thousand that a client leaves before their end.
const HANG_UPS_PER_MILLE: u64 = 30;

/// The number of objects. Half of them have three variants.
const OBJECTS: u64 = 2_000;

/// The counters.
#[derive(Default)]
struct LoadCounts {
    clean: AtomicU64,
    errors: AtomicU64,
    cut: AtomicU64,
    left: AtomicU64,
    wrong: AtomicU64,
    stuck: AtomicU64,
    answers: AtomicU64,
    faults: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Returns the body of `/id` for a variant. Length and bytes depend on both, so that no other body
/// looks like it.
fn whole(id: u64, variant: u64) -> Vec<u8> {
    let mut dice = Dice::new(id * 8 + variant);
    let length = match dice.below(10) {
        0 => 100_000 + dice.below(200_000),
        1..=3 => 10_000 + dice.below(30_000),
        _ => 100 + dice.below(4_000),
    };
    let word = dice.below(u64::MAX).to_le_bytes();
    (0..length).map(|at| word[at as usize % 8] ^ (at / 8) as u8 ^ (at >> 11) as u8).collect()
}

/// Returns the fingerprint of a body.
fn fingerprint(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

fn varies(id: u64) -> bool {
    id.is_multiple_of(2)
}

/// A fault of the origin.
#[derive(Clone, Copy)]
enum LoadFault {
    HangUp,
    Reset,
    Nonsense,
    ServerError,
    Slow,
    Silent,
    Cut,
    CutByReset,
    BrokenChunk,
    Stall,
    Excess,
}

const FAULTS: [LoadFault; 11] = [
    LoadFault::HangUp,
    LoadFault::Reset,
    LoadFault::Nonsense,
    LoadFault::ServerError,
    LoadFault::Slow,
    LoadFault::Silent,
    LoadFault::Cut,
    LoadFault::CutByReset,
    LoadFault::BrokenChunk,
    LoadFault::Stall,
    LoadFault::Excess,
];

/// Answers the requests of one connection until a fault ends it.
async fn serve(stream: &mut TcpStream, counts: &LoadCounts, mut dice: Dice) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut held = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = held.windows(4).position(|four: &[u8]| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut held).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&held[..end]).to_ascii_lowercase();
        held.drain(..end);
        count(&counts.answers);
        let fault = dice.chance(FAULTS_PER_MILLE).then(|| FAULTS[dice.below(FAULTS.len() as u64) as usize]);
        if fault.is_some() {
            count(&counts.faults);
        }
        if !answer(stream, &head, fault, &mut dice).await? {
            return Ok(());
        }
    }
}

/// Answers one request; false where the connection ends with it.
async fn answer(
    stream: &mut TcpStream,
    head: &str,
    fault: Option<LoadFault>,
    dice: &mut Dice,
) -> std::io::Result<bool> {
    let id = head.split(' ').nth(1).and_then(|target| target.get(1..)?.parse().ok()).unwrap_or(0);
    let variant =
        if varies(id) { field(head, "x-variant").and_then(|value| value.parse().ok()).unwrap_or(0) } else { 0 };
    let reset = |stream: &TcpStream| socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
    match fault {
        Some(LoadFault::HangUp) => return Ok(false),
        Some(LoadFault::Reset) => return reset(stream).map(|()| false),
        Some(LoadFault::Nonsense) => return stream.write_all(b"HTTP/1.1 2OO Nonsense\r\n\r\n").await.map(|()| false),
        Some(LoadFault::ServerError) => {
            let busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";
            return stream.write_all(busy).await.map(|()| true);
        }
        Some(LoadFault::Slow) => tokio::time::sleep(Duration::from_millis(dice.below(1_500))).await,
        Some(LoadFault::Silent) => {
            tokio::time::sleep(Duration::from_secs(4)).await;
            return Ok(false);
        }
        _ => {}
    }
    let etag = format!("\"{id}-{variant}\"");
    let mut fields = format!("Cache-Control: max-age={}\r\nETag: {etag}\r\n", 1 + id % 5);
    if id.is_multiple_of(7) {
        fields = format!("Cache-Control: max-age=1, stale-while-revalidate=5\r\nETag: {etag}\r\n");
    } else if id.is_multiple_of(11) {
        fields = "Cache-Control: no-store\r\n".to_owned();
    }
    if varies(id) {
        fields.push_str("Vary: X-Variant\r\n");
    }
    if field(head, "if-none-match").is_some_and(|known| known.contains(&etag)) && !id.is_multiple_of(11) {
        let confirmed = format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n");
        return stream.write_all(confirmed.as_bytes()).await.map(|()| true);
    }
    let body = whole(id, variant);
    let is_chunked = id.is_multiple_of(3);
    let framing =
        if is_chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {}", body.len()) };
    let mut bytes = format!("HTTP/1.1 200 OK\r\n{fields}{framing}\r\n\r\n").into_bytes();
    let start = bytes.len();
    for piece in body.chunks(16 << 10) {
        if is_chunked {
            bytes.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        bytes.extend_from_slice(piece);
        if is_chunked {
            bytes.extend_from_slice(b"\r\n");
        }
    }
    if is_chunked {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    let at = start + dice.below((bytes.len() - start) as u64) as usize;
    match fault {
        Some(LoadFault::Cut) => stream.write_all(&bytes[..at]).await.map(|()| false),
        Some(LoadFault::CutByReset) => {
            stream.write_all(&bytes[..at]).await?;
            reset(stream).map(|()| false)
        }
        Some(LoadFault::BrokenChunk) if is_chunked => {
            stream.write_all(&bytes[..start]).await?;
            stream.write_all(b"no size\r\n").await.map(|()| false)
        }
        Some(LoadFault::Stall) => {
            stream.write_all(&bytes[..at]).await?;
            tokio::time::sleep(Duration::from_secs(4)).await;
            Ok(false)
        }
        Some(LoadFault::Excess) => {
            bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled");
            stream.write_all(&bytes).await.map(|()| true)
        }
        _ => stream.write_all(&bytes).await.map(|()| true),
    }
}

/// Returns a field of a head in lower case.
fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// Starts the origin on a thread of its own.
fn origin(counts: &Arc<LoadCounts>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.set_nonblocking(true).expect("a socket can be");
    let (addr, counts) = (listener.local_addr().expect("it is bound"), Arc::clone(counts));
    std::thread::spawn(move || {
        let runtime = runtime();
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("on its runtime");
            for seed in 0.. {
                let Ok((mut stream, _)) = listener.accept().await else { continue };
                let counts = Arc::clone(&counts);
                // The other end of the connection notices every error.
                tokio::spawn(async move { drop(serve(&mut stream, &counts, Dice::new(seed)).await) });
            }
        });
    });
    addr
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// A connection of either protocol.
enum Sender {
    One(http1::SendRequest<Empty<Bytes>>),
    Two(http2::SendRequest<Empty<Bytes>>),
}

async fn connect(addr: SocketAddr, is_http2: bool) -> Option<Sender> {
    let stream = TcpStream::connect(addr).await.ok()?;
    stream.set_nodelay(true).ok()?;
    let io = TokioIo::new(stream);
    if is_http2 {
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.ok()?;
        tokio::spawn(connection);
        return Some(Sender::Two(sender));
    }
    let (sender, connection) = http1::handshake(io).await.ok()?;
    tokio::spawn(connection);
    Some(Sender::One(sender))
}

impl Sender {
    async fn send(&mut self, id: u64, variant: u64) -> hyper::Result<http::Response<hyper::body::Incoming>> {
        let request = |uri: String| {
            let request = Request::get(uri).header("host", "example.org").header("x-variant", variant.to_string());
            request.body(Empty::new()).expect("the request is well-formed")
        };
        match self {
            Self::One(sender) => {
                sender.ready().await?;
                sender.send_request(request(format!("/{id}"))).await
            }
            Self::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request(format!("http://example.org/{id}"))).await
            }
        }
    }
}

/// How an exchange ended.
enum ExchangeEnd {
    Clean(u16, Vec<u8>),
    Cut,
    Left,
}

/// Sends one request. Leaves before the end of the response where the dice say so.
async fn exchange(sender: &mut Sender, id: u64, variant: u64, dice: &mut Dice) -> ExchangeEnd {
    let leaves = dice.chance(HANG_UPS_PER_MILLE);
    if leaves && dice.below(2) == 0 {
        let patience = Duration::from_micros(dice.below(3_000));
        let _ = tokio::time::timeout(patience, sender.send(id, variant)).await;
        return ExchangeEnd::Left;
    }
    let Ok(response) = sender.send(id, variant).await else { return ExchangeEnd::Cut };
    let (status, mut body, mut bytes) = (response.status().as_u16(), response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| &data[..])),
            Err(_) => return ExchangeEnd::Cut,
        }
        if leaves {
            return ExchangeEnd::Left;
        }
    }
    ExchangeEnd::Clean(status, bytes)
}

/// One client, connection after connection, until the end.
async fn client(addr: SocketAddr, counts: Arc<LoadCounts>, ends: Arc<AtomicBool>, seed: u64) {
    let mut dice = Dice::new(seed);
    while !ends.load(Ordering::Relaxed) {
        let Some(mut sender) = connect(addr, seed.is_multiple_of(2)).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while !ends.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(dice.below(1_000))).await;
            // The product favours small numbers: some objects are requested often and most rarely.
            let share = dice.below(1_000) * dice.below(1_000);
            let (id, variant) = (share * OBJECTS / 1_000_000, dice.below(3));
            let ended = tokio::time::timeout(DEADLINE, exchange(&mut sender, id, variant, &mut dice)).await;
            match ended {
                Ok(ExchangeEnd::Clean(200, bytes)) => {
                    let expected = fingerprint(&whole(id, if varies(id) { variant } else { 0 }));
                    count(if fingerprint(&bytes) == expected { &counts.clean } else { &counts.wrong });
                }
                Ok(ExchangeEnd::Clean(502..=504, _)) => count(&counts.errors),
                Ok(ExchangeEnd::Clean(..)) => count(&counts.wrong),
                Ok(ExchangeEnd::Cut) => {
                    count(&counts.cut);
                    break;
                }
                Ok(ExchangeEnd::Left) => {
                    count(&counts.left);
                    break;
                }
                Err(_) => {
                    count(&counts.stuck);
                    break;
                }
            }
        }
    }
}

/// Runs the soak; returns the broken promises.
pub(crate) fn run(seconds: u64, connections: usize) -> Vec<String> {
    let counts = Arc::<LoadCounts>::default();
    let larder = Larder::start(origin(&counts), CONFIG);
    let runtime = runtime();
    // One exchange of each protocol, so that one-time work is done.
    runtime.block_on(async {
        for is_http2 in [false, true] {
            if let Some(mut sender) = connect(larder.addr, is_http2).await {
                let _ = sender.send(1, 0).await;
            }
        }
    });
    // Longer than a connection to the origin is kept.
    std::thread::sleep(Duration::from_secs(1));
    let at_rest = settled_descriptors(&larder, usize::MAX);
    let ends = Arc::new(AtomicBool::new(false));
    let resident = runtime.block_on(async {
        let mut clients = JoinSet::new();
        for seed in 0..connections as u64 {
            clients.spawn(client(larder.addr, Arc::clone(&counts), Arc::clone(&ends), seed));
        }
        let started = Instant::now();
        let mut resident = Vec::new();
        while started.elapsed() < Duration::from_secs(seconds) {
            tokio::time::sleep(Duration::from_secs(1)).await;
            resident.push(larder.resident());
        }
        ends.store(true, Ordering::Relaxed);
        while clients.join_next().await.is_some() {}
        resident
    });
    drop(runtime);
    let descriptors = settled_descriptors(&larder, at_rest);
    judge(&larder, &counts, &resident, (at_rest, descriptors))
}

/// Waits until idle connections are closed and no more than `wanted` descriptors are open, for at
/// most ten seconds. Returns the number of open descriptors.
fn settled_descriptors(larder: &Larder, wanted: usize) -> usize {
    let mut last = larder.descriptors();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(500));
        let now = larder.descriptors();
        if now <= wanted && now == last && larder.stats()["connections"] == 0 {
            return now;
        }
        last = now;
    }
    last
}

fn judge(
    larder: &Larder,
    counts: &LoadCounts,
    resident: &[u64],
    (at_rest, descriptors): (usize, usize),
) -> Vec<String> {
    let mib = |bytes: u64| bytes >> 20;
    let most = |part: &[u64]| part.iter().copied().max().unwrap_or(0);
    let (first, second) = resident.split_at(resident.len() / 2);
    let stats = larder.stats();
    let figures = [
        ("bodies that ended cleanly", read(&counts.clean)),
        ("  of them wrong", read(&counts.wrong)),
        ("errors (502, 503, 504)", read(&counts.errors)),
        ("bodies that were cut", read(&counts.cut)),
        ("exchanges that the client aborted", read(&counts.left)),
        ("waiters past their deadline", read(&counts.stuck)),
        ("responses of the origin", read(&counts.answers)),
        ("  of them faulty", read(&counts.faults)),
        ("resident in the first half, MiB at most", mib(most(first))),
        ("resident in the second half, MiB at most", mib(most(second))),
        ("descriptors before", at_rest as u64),
        ("descriptors after", descriptors as u64),
    ];
    for (what, figure) in figures {
        println!("{what:<44}{figure:>12}");
    }
    let mut broken = Vec::new();
    let mut promise = |holds: bool, what: String| {
        if !holds {
            broken.push(what);
        }
    };
    promise(read(&counts.wrong) == 0, "a body that ends cleanly is whole and belongs to its key and variant".into());
    promise(read(&counts.stuck) == 0, format!("nobody waits longer than {DEADLINE:?}"));
    promise(read(&counts.clean) > read(&counts.errors) + read(&counts.cut), "most requests succeed".into());
    promise(descriptors <= at_rest, "the number of descriptors returns to its start".into());
    // A short run has not filled the memory by its middle.
    let allowed =
        if resident.len() < 60 { most(first) * 2 + (64 << 20) } else { most(first) + most(first) / 20 + (8 << 20) };
    promise(most(second) <= allowed, "memory is flat in the second half".into());
    for (what, figure) in [
        ("panics", &stats["server"]["panics"]),
        ("fills under way", &stats["fills_in_flight"]),
        ("permits in use", &stats["origin"]["permits_in_use"]),
        ("requests that wait for a permit", &stats["origin"]["permits_waiting"]),
    ] {
        promise(*figure == 0, format!("at the end there are no {what}; there are {figure}"));
    }
    broken
}
