//! The purge of a million small entries that share a tag. The purge is answered in under 50 ms; no
//! purged entry is served to a request sent after the answer; hits of others continue; and the
//! memory is released within ten seconds.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::process::{Dice, Larder};

const CONFIG: &str = r#"
server.workers = 2
memory.capacity = "4GiB"
"#;

/// The promises.
const ANSWER_MAX: Duration = Duration::from_millis(50);
const FREED_MAX: Duration = Duration::from_secs(10);
/// The share of the filled bytes that may be alive by then, in hundredths: responses that were
/// requested again.
const LEFT_MAX: u64 = 2;

/// Connections that fill, and the requests that each has under way.
const FILLERS: u64 = 16;
const PIPELINED: u64 = 16;

/// The hot URLs, which are not tagged; the probes that request them, and at which pace.
const HOT: u64 = 100;
const PROBES: u64 = 8;
const PACE: Duration = Duration::from_millis(2);

/// How long the probes measure before the purge, and how many purged entries each checker requests
/// after it.
const QUIET: Duration = Duration::from_secs(5);
const CHECKS: u64 = 500;

/// Starts an origin that answers with the number of the generation; `/b…` is tagged, `/h…` is not.
fn origin(generation: &Arc<AtomicU64>) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.set_nonblocking(true).expect("a socket can be");
    let (addr, generation) = (listener.local_addr().expect("it is bound"), Arc::clone(generation));
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = TcpListener::from_std(listener).expect("on its runtime");
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&generation)));
            }
        });
    });
    addr
}

async fn answer(mut stream: TcpStream, generation: Arc<AtomicU64>) {
    let mut held = Vec::new();
    while let Some(end) = head(&mut stream, &mut held).await {
        let tag = if held.starts_with(b"GET /b") { "Cache-Tag: bulk\r\n" } else { "" };
        held.drain(..end);
        let generation = generation.load(Ordering::SeqCst);
        let text = format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Type: image/png\r\n{tag}Content-Length: 8\r\n\r\n{generation:08}"
        );
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads until `held` has a head; returns where the head ends.
async fn head(stream: &mut TcpStream, held: &mut Vec<u8>) -> Option<usize> {
    loop {
        if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            return Some(at + 4);
        }
        if stream.read_buf(held).await.ok()? == 0 {
            return None;
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// A connection that requests small objects.
struct Connection {
    stream: TcpStream,
    held: Vec<u8>,
}

impl Connection {
    async fn open(addr: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(addr).await.ok()?;
        stream.set_nodelay(true).ok()?;
        Some(Self { stream, held: Vec::with_capacity(16 << 10) })
    }

    /// Requests all of these at once; returns the generation of each.
    async fn ask(&mut self, targets: impl Iterator<Item = String>) -> Option<Vec<u64>> {
        let (mut requests, mut count) = (String::new(), 0);
        for target in targets {
            requests.push_str(&format!("GET {target} HTTP/1.1\r\nHost: example.org\r\n\r\n"));
            count += 1;
        }
        self.stream.write_all(requests.as_bytes()).await.ok()?;
        let mut found = Vec::with_capacity(count);
        while found.len() < count {
            let end = head(&mut self.stream, &mut self.held).await?;
            while self.held.len() < end + 8 {
                if self.stream.read_buf(&mut self.held).await.ok()? == 0 {
                    return None;
                }
            }
            found.push(std::str::from_utf8(&self.held[end..end + 8]).ok()?.parse().ok()?);
            self.held.drain(..end + 8);
        }
        Some(found)
    }
}

/// Fills the cache; returns the number of responses.
async fn fill(addr: SocketAddr, entries: u64) -> u64 {
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        fillers.spawn(async move {
            let Some(mut connection) = Connection::open(addr).await else { return 0 };
            let (mut at, end, mut filled) = (entries * filler / FILLERS, entries * (filler + 1) / FILLERS, 0);
            while at < end {
                let next = (at + PIPELINED).min(end);
                let Some(found) = connection.ask((at..next).map(|number| format!("/b{number}"))).await else { break };
                filled += found.len() as u64;
                at = next;
            }
            filled
        });
    }
    fillers.join_all().await.into_iter().sum()
}

/// Requests hot URLs until the end; returns when each response arrived and how long it took.
async fn probe(addr: SocketAddr, seed: u64, started: Instant, ends: Arc<AtomicBool>) -> Vec<(Duration, Duration)> {
    let (mut dice, mut seen) = (Dice::new(seed), Vec::new());
    let Some(mut connection) = Connection::open(addr).await else { return seen };
    while !ends.load(Ordering::Relaxed) {
        let asked = Instant::now();
        if connection.ask(std::iter::once(format!("/h{}", dice.below(HOT)))).await.is_none() {
            break;
        }
        seen.push((started.elapsed(), asked.elapsed()));
        tokio::time::sleep(PACE).await;
    }
    seen
}

/// Requests purged entries; returns the number of responses from before the purge.
async fn check(addr: SocketAddr, seed: u64, entries: u64) -> u64 {
    let (mut dice, mut old) = (Dice::new(seed), 0);
    let Some(mut connection) = Connection::open(addr).await else { return u64::MAX };
    for _ in 0..CHECKS {
        let Some(found) = connection.ask(std::iter::once(format!("/b{}", dice.below(entries)))).await else {
            return u64::MAX;
        };
        old += found.iter().filter(|generation| **generation < 2).count() as u64;
    }
    old
}

/// Purges the tag; returns how long the answer took.
fn purge(admin: SocketAddr) -> std::io::Result<Duration> {
    let content = r#"{"tag": "bulk"}"#;
    let mut stream = std::net::TcpStream::connect(admin)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!(
        "POST /purge HTTP/1.1\r\nHost: {admin}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{content}",
        content.len()
    );
    let asked = Instant::now();
    stream.write_all(request.as_bytes())?;
    let mut answer = [0; 1024];
    let length = stream.read(&mut answer)?;
    let took = asked.elapsed();
    let text = String::from_utf8_lossy(&answer[..length]);
    if text.starts_with("HTTP/1.1 200") { Ok(took) } else { Err(std::io::Error::other(text.into_owned())) }
}

/// Returns the 99th percentile of the hits in a span of time, and their number.
fn p99(seen: &[(Duration, Duration)], span: std::ops::Range<Duration>) -> (Duration, usize) {
    let mut took: Vec<Duration> = seen.iter().filter(|(at, _)| span.contains(at)).map(|(_, took)| *took).collect();
    took.sort_unstable();
    (took.get(took.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default(), took.len())
}

/// Runs the purge of so many entries; returns the broken promises.
pub(crate) fn run(entries: u64) -> Vec<String> {
    let generation = Arc::new(AtomicU64::new(1));
    let larder = Larder::start(origin(&generation), CONFIG);
    let (addr, admin) = (larder.addr, larder.admin);
    let alive = || larder.stats()["memory"]["alive_bytes"].as_u64().unwrap_or(u64::MAX);
    let clients = runtime();
    let empty = alive();

    let started = Instant::now();
    let filled = clients.block_on(fill(addr, entries));
    println!("stored           {filled} entries in {:.1} s", started.elapsed().as_secs_f64());
    let full = alive();
    println!("alive            {} MiB, resident {} MiB", full >> 20, larder.resident() >> 20);

    // The probes have a thread of their own, so that nothing else delays them.
    let (started, ends) = (Instant::now(), Arc::new(AtomicBool::new(false)));
    let probing = {
        let ends = Arc::clone(&ends);
        std::thread::spawn(move || {
            runtime().block_on(async move {
                let mut probes = JoinSet::new();
                (0..PROBES).for_each(|seed| _ = probes.spawn(probe(addr, seed, started, Arc::clone(&ends))));
                probes.join_all().await.concat()
            })
        })
    };
    std::thread::sleep(QUIET);
    generation.store(2, Ordering::SeqCst);
    let purged_at = started.elapsed();
    let answered = purge(admin);
    let old: u64 = clients.block_on(async {
        let mut checkers = JoinSet::new();
        (0..4).for_each(|seed| _ = checkers.spawn(check(addr, 100 + seed, entries)));
        checkers.join_all().await.into_iter().fold(0, u64::saturating_add)
    });
    let left_max = empty + (full - empty) * LEFT_MAX / 100;
    let mut left = alive();
    while left > left_max && started.elapsed() < purged_at + 3 * FREED_MAX {
        std::thread::sleep(Duration::from_millis(100));
        left = alive();
    }
    let freed_after = started.elapsed() - purged_at;
    std::thread::sleep(Duration::from_secs(1));
    ends.store(true, Ordering::Relaxed);
    let seen = probing.join().unwrap_or_default();

    let stats = larder.stats();
    println!("purge answered   in {:.2} ms", answered.as_ref().map_or(f64::NAN, |took| took.as_secs_f64() * 1e3));
    println!("served after it  {old} of {} purged entries", 4 * CHECKS);
    println!("memory released  after {:.1} s, {} MiB left", freed_after.as_secs_f64(), left >> 20);
    println!(
        "freed            {} entries, swept through {}",
        stats["store"]["evicted"]["purge"], stats["store"]["sweep"]["through"]
    );
    let (before, during) = (
        p99(&seen, Duration::ZERO..purged_at),
        p99(&seen, purged_at..purged_at + freed_after + Duration::from_secs(1)),
    );
    println!("hits before      {} with p99 {:.2} ms", before.1, before.0.as_secs_f64() * 1e3);
    println!("hits meanwhile   {} with p99 {:.2} ms", during.1, during.0.as_secs_f64() * 1e3);

    let promises = [
        (filled == entries, format!("all entries are stored; {filled} of {entries} were")),
        (
            answered.as_ref().is_ok_and(|took| *took < ANSWER_MAX),
            format!("the purge is answered within {ANSWER_MAX:?}; it took {answered:?}"),
        ),
        (old == 0, format!("no purged entry is served after the answer; {old} were")),
        (freed_after < FREED_MAX, format!("the memory is released within {FREED_MAX:?}; it took {freed_after:?}")),
        (during.1 > 0, "hits continue meanwhile; there were none".to_owned()),
    ];
    promises.into_iter().filter(|(is_kept, _)| !is_kept).map(|(_, broken)| broken).collect()
}
