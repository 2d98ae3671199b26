//! Slow clients: hundreds that read a large object drop by drop, thousands that are silent, heads
//! and contents that never end. Hits of others keep their latency, memory stays within its bounds,
//! and slow connections are closed when their time is over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::process::Larder;

const CONFIG: &str = r#"
server.workers = 2
server.head_timeout = "5s"
server.idle_timeout = "5s"
server.body_idle_timeout = "5s"
memory.capacity = "128MiB"
memory.object_bytes_max = "16MiB"
"#;

/// The latest time at which a silent connection must be closed: the timeout, a round of the sweep,
/// and an allowance for a busy machine.
const TIMEOUT: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(3);

/// 1.3 times the capacity and 40 MiB, the bound that `memory.capacity` promises. The kernel's
/// buffers are not part of it.
const RESIDENT_MAX: u64 = (128 << 20) * 13 / 10 + (40 << 20);

const READERS: usize = 500;
const SILENT: usize = 2_000;
const SLOW_HEADS: usize = 200;
const SLOW_CONTENTS: usize = 200;
const LARGE: usize = 10 << 20;

/// The interval between a probe's requests, and the number of probes.
const PACE: Duration = Duration::from_millis(10);
const PROBES: usize = 8;

/// Starts an origin with a small object and a large one, which waits for the contents of requests.
fn origin() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.set_nonblocking(true).expect("a socket can be");
    let addr = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        runtime().block_on(async move {
            let listener = TcpListener::from_std(listener).expect("on its runtime");
            let large = Arc::new(vec![b'x'; LARGE]);
            while let Ok((mut stream, _)) = listener.accept().await {
                let large = Arc::clone(&large);
                tokio::spawn(async move {
                    let mut held = vec![0; 64 << 10];
                    while let Ok(length @ 1..) = stream.read(&mut held).await {
                        if held.starts_with(b"POST") {
                            // The rest of the content has not arrived yet.
                            continue;
                        }
                        let body = if held[..length].starts_with(b"GET /large") { &large[..] } else { &large[..1024] };
                        let head = format!(
                            "HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n",
                            body.len()
                        );
                        if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(body).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
    });
    addr
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be made")
}

/// The ends of the slow clients of one kind.
#[derive(Default)]
struct Closed {
    on_time: AtomicUsize,
    late: AtomicUsize,
}

impl Closed {
    fn count(&self, waited: Duration) {
        let counter = if waited <= TIMEOUT + SLACK { &self.on_time } else { &self.late };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// Reads 1 KiB a second for as long as the server allows it.
async fn reader(addr: SocketAddr, delay: Duration, ends: Arc<AtomicBool>) {
    tokio::time::sleep(delay).await;
    while !ends.load(Ordering::Relaxed) {
        // The server closes a reader whose window stood still for too long. The reader then
        // connects again.
        let _ = read_slowly(addr, &ends).await;
    }
}

async fn read_slowly(addr: SocketAddr, ends: &AtomicBool) -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    // A small window, so that the server waits instead of the kernel holding everything.
    socket.set_recv_buffer_size(4 << 10)?;
    let mut stream = socket.connect(addr).await?;
    stream.write_all(b"GET /large HTTP/1.1\r\nHost: example.org\r\n\r\n").await?;
    let mut drop_by_drop = [0; 1024];
    while !ends.load(Ordering::Relaxed) && stream.read(&mut drop_by_drop).await? > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// The bytes of a slow client: the first part at once, the rest at one byte a second.
#[derive(Clone, Copy)]
struct Words(&'static [u8], &'static [u8]);

/// Connects again and again until the end, and measures when each connection is closed, counted
/// from its first byte.
async fn slow(addr: SocketAddr, words: Words, delay: Duration, closed: Arc<Closed>, ends: Arc<AtomicBool>) {
    tokio::time::sleep(delay).await;
    while !ends.load(Ordering::Relaxed) {
        let started = Instant::now();
        if until_closed(addr, words).await.is_ok() {
            closed.count(started.elapsed());
        }
    }
}

async fn until_closed(addr: SocketAddr, Words(first, rest): Words) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(addr).await?;
    stream.write_all(first).await?;
    let (mut read, mut write) = stream.split();
    let drip = async {
        for byte in rest {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut scrap = [0; 1024];
    let watch = async { while matches!(read.read(&mut scrap).await, Ok(1..)) {} };
    tokio::select! {
        () = watch => {}
        () = drip => {}
        () = tokio::time::sleep(2 * (TIMEOUT + SLACK)) => {}
    }
    Ok(())
}

/// Requests the small object at a steady pace; returns how long each response took.
pub(crate) async fn probe(addr: SocketAddr, until: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut held = [0; 4096];
    let mut stream: Option<TcpStream> = None;
    while Instant::now() < until {
        tokio::time::sleep(PACE).await;
        let started = Instant::now();
        let exchange = async {
            let stream = match &mut stream {
                Some(stream) => stream,
                none => none.insert(TcpStream::connect(addr).await?),
            };
            stream.set_nodelay(true)?;
            stream.write_all(b"GET /small HTTP/1.1\r\nHost: example.org\r\n\r\n").await?;
            let (mut length, mut whole) = (0, usize::MAX);
            while length < whole {
                match stream.read(&mut held[length..]).await? {
                    0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                    more => length += more,
                }
                if let Some(at) = held[..length].windows(4).position(|four| four == b"\r\n\r\n") {
                    whole = at + 4 + 1024;
                }
            }
            Ok::<_, std::io::Error>(())
        };
        match exchange.await {
            Ok(()) => took.push(started.elapsed()),
            // A failure counts as a very late hit, so that it shows.
            Err(_) => {
                took.push(Duration::from_secs(10));
                stream = None;
            }
        }
    }
    took
}

/// Probes for so long; returns the number of hits and their 99th percentile.
async fn probes(addr: SocketAddr, span: Duration) -> (usize, Duration) {
    let until = Instant::now() + span;
    let mut tasks = JoinSet::new();
    for _ in 0..PROBES {
        tasks.spawn(probe(addr, until));
    }
    let mut took = tasks.join_all().await.concat();
    took.sort_unstable();
    (took.len(), took.get(took.len() * 99 / 100).copied().unwrap_or_default())
}

/// Runs both halves; returns the broken promises.
pub(crate) fn run(seconds: u64) -> Vec<String> {
    let larder = Larder::start(origin(), CONFIG);
    let addr = larder.addr;
    let span = Duration::from_secs(seconds);
    // The slow clients have a thread of their own, with the lowest priority on the machine that
    // they share with the server, so that the figures show their cost to the server and not the
    // cost of simulating them.
    let (ends, closed) = (Arc::new(AtomicBool::new(false)), [(); 3].map(|()| Arc::<Closed>::default()));
    let load = {
        let (ends, closed) = (Arc::clone(&ends), closed.clone());
        move || {
            let _ = rustix::process::setpriority_process(None, 19);
            runtime().block_on(async move {
                let mut slow_ones = JoinSet::new();
                // Spread over the timeout, so that connections arrive and are closed one by one.
                let spread = |at: usize, number: usize| TIMEOUT * at as u32 / number as u32;
                for at in 0..READERS {
                    slow_ones.spawn(reader(addr, spread(at, READERS), Arc::clone(&ends)));
                }
                let head = Words(b"G", b"ET / HTTP/1.1\r\nHost: example.org\r\nX-Slow: aaaaaaaaaaaaaaaaaaaa");
                let content =
                    Words(b"POST /form HTTP/1.1\r\nHost: example.org\r\nContent-Length: 1000\r\n\r\nstart", b"");
                for (kind, (words, number)) in
                    [(Words(b"", b""), SILENT), (head, SLOW_HEADS), (content, SLOW_CONTENTS)].into_iter().enumerate()
                {
                    for at in 0..number {
                        let (closed, ends) = (Arc::clone(&closed[kind]), Arc::clone(&ends));
                        slow_ones.spawn(slow(addr, words, spread(at, number), closed, ends));
                    }
                }
                while slow_ones.join_next().await.is_some() {}
            });
        }
    };
    let runtime = runtime();
    let idle = runtime.block_on(async {
        probes(addr, Duration::from_secs(1)).await;
        probes(addr, span / 2).await
    });
    let before = larder.resident();
    let loading = std::thread::spawn(load);
    let (loaded, resident) = runtime.block_on(async {
        let most = async {
            let mut most = 0;
            loop {
                most = most.max(larder.resident());
                tokio::time::sleep(Duration::from_millis(500)).await;
                if ends.load(Ordering::Relaxed) {
                    return most;
                }
            }
        };
        let probing = async {
            // All slow clients are connected after one timeout.
            tokio::time::sleep(TIMEOUT).await;
            let probed = probes(addr, span.max(TIMEOUT + SLACK)).await;
            ends.store(true, Ordering::Relaxed);
            probed
        };
        tokio::join!(probing, most)
    });
    let _ = loading.join();
    judge(&larder, idle, loaded, (before, resident), &closed)
}

fn judge(
    larder: &Larder,
    idle: (usize, Duration),
    loaded: (usize, Duration),
    (before, resident): (u64, u64),
    closed: &[Arc<Closed>; 3],
) -> Vec<String> {
    let micros = |span: Duration| span.as_micros().to_string();
    let mut rows = vec![
        ("hits measured, idle".to_owned(), idle.0.to_string()),
        ("  p99, µs".to_owned(), micros(idle.1)),
        ("hits measured, under slow clients".to_owned(), loaded.0.to_string()),
        ("  p99, µs".to_owned(), micros(loaded.1)),
        ("resident before, MiB".to_owned(), (before >> 20).to_string()),
        ("resident at most, MiB".to_owned(), (resident >> 20).to_string()),
    ];
    let mut broken = Vec::new();
    let kinds = [("silent", SILENT), ("slow heads", SLOW_HEADS), ("stalled contents", SLOW_CONTENTS)];
    for ((kind, number), closed) in kinds.into_iter().zip(closed) {
        let (on_time, late) = (closed.on_time.load(Ordering::Relaxed), closed.late.load(Ordering::Relaxed));
        rows.push((format!("{kind}, {number} at a time: closed on time"), on_time.to_string()));
        if late > 0 || on_time < number {
            broken.push(format!("{kind}: every connection is closed within {:?}; {late} were not", TIMEOUT + SLACK));
        }
    }
    let stats = larder.stats();
    for stage in ["closed_in_head", "closed_idle", "closed_in_body"] {
        rows.push((format!("/stats server.{stage}"), stats["server"][stage].to_string()));
    }
    for (what, figure) in rows {
        println!("{what:<44}{figure:>12}");
    }
    // Below a millisecond, the figure depends on other load of the machine.
    if loaded.1 > (idle.1 * 2).max(Duration::from_millis(1)) {
        broken.push("the p99 of hits stays within twice the idle figure".into());
    }
    if resident > RESIDENT_MAX {
        broken.push(format!("resident memory stays below {} MiB", RESIDENT_MAX >> 20));
    }
    broken
}
