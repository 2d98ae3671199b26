//! Six thousand faults in flights, over real sockets: the leader's client leaves, followers leave,
//! the origin hangs up, cuts the body or sends nonsense, the clock jumps. In every case no client
//! sees a clean end of a partial body, nothing partial is stored, and nobody waits for ever.
//!
//! Faults that no origin and no client can cause, such as a fill's task that panics or is aborted,
//! are tested in `proxy/fetch/flight_faults.rs`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{BOUND, Cache, Origin, eventually};

/// The least number of faults.
const FAULTS: usize = 6_000;

/// The number of flights under way at once.
const BATCH: u64 = 40;

/// A source of random choices (xorshift64*).
#[derive(Clone)]
struct FlightDice(u64);

impl FlightDice {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

/// Returns the body of `/id`. Length and bytes depend on the number, so that no other body, shifted
/// or cut, looks like it.
fn whole(id: u64) -> Vec<u8> {
    let length = 500 + id * 97 % 9_000;
    (0..length).map(|at| b'!' + ((id.wrapping_mul(31) + at * 7 + at / 90) % 90) as u8).collect()
}

/// How the origin answers.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Whole,
    HangUp,
    Nonsense,
    Cut,
    Reset,
    Broken,
}

fn answer(dice: &mut FlightDice) -> Answer {
    match dice.below(8) {
        0 => Answer::HangUp,
        1 => Answer::Nonsense,
        2 | 3 => Answer::Cut,
        4 => Answer::Reset,
        5 => Answer::Broken,
        _ => Answer::Whole,
    }
}

/// The state that the test and its origin share.
#[derive(Default)]
struct FlightWorld {
    /// The number of requests for each target. Only the first requests meet faults.
    asked: Mutex<HashMap<u64, u64>>,
    counts: Mutex<FlightCounts>,
}

#[derive(Debug, Default)]
struct FlightCounts {
    faults: usize,
    whole: usize,
    cut: usize,
    failed: usize,
    left: usize,
}

/// Answers requests on one connection until a fault ends it.
async fn serve(world: Arc<FlightWorld>, mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut held = Vec::new();
    loop {
        let Some(head) = read_head(&mut stream, &mut held).await? else { return Ok(()) };
        let id = head.split(' ').nth(1).and_then(|target| target[1..].parse().ok()).unwrap_or(0);
        let times = {
            let mut asked = world.asked.lock().unwrap();
            let times = asked.entry(id).or_default();
            *times += 1;
            *times
        };
        let mut dice = FlightDice::new(id * 100 + times);
        let how = if times > 2 { Answer::Whole } else { answer(&mut dice) };
        if !matches!(how, Answer::Whole) {
            world.counts.lock().unwrap().faults += 1;
        }
        let body = whole(id);
        let is_chunked = dice.below(2) == 0;
        let framing =
            if is_chunked { "Transfer-Encoding: chunked".into() } else { format!("Content-Length: {}", body.len()) };
        let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n{framing}\r\n\r\n");
        tokio::task::yield_now().await;
        match how {
            Answer::HangUp => return Ok(()),
            Answer::Nonsense => return stream.write_all(b"HTTP/1.1 2OO OK\r\n\r\n").await,
            _ => stream.write_all(head.as_bytes()).await?,
        }
        let cut_at = dice.below(body.len() as u64) as usize;
        let mut sent = 0;
        for piece in body.chunks(1_000 + dice.below(2_000) as usize) {
            if !matches!(how, Answer::Whole) && sent + piece.len() > cut_at {
                match how {
                    Answer::Broken if is_chunked => stream.write_all(b"not a size\r\n").await?,
                    Answer::Reset => socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
                    _ => {}
                }
                return Ok(());
            }
            if is_chunked {
                stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).await?;
            }
            stream.write_all(piece).await?;
            if is_chunked {
                stream.write_all(b"\r\n").await?;
            }
            sent += piece.len();
            tokio::task::yield_now().await;
        }
        if is_chunked {
            stream.write_all(b"0\r\n\r\n").await?;
        }
    }
}

/// Reads a head, including its empty line; `None` at the end of the stream.
async fn read_head(stream: &mut TcpStream, held: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = held.split_off(at + 4);
            return Ok(Some(String::from_utf8_lossy(&std::mem::replace(held, rest)).into_owned()));
        }
        if stream.read_buf(held).await? == 0 {
            return Ok(None);
        }
    }
}

/// How an exchange ended.
#[derive(Debug, PartialEq, Eq)]
enum ClientEnd {
    /// Cleanly, with this status and content.
    Clean(u16, Vec<u8>),
    /// Before a head arrived or its content was whole.
    Cut,
    /// By the client itself.
    Left,
}

/// Requests `/id`; leaves after `leaves_after` bytes, where that is given.
async fn ask(addr: SocketAddr, id: u64, leaves_after: Option<usize>) -> ClientEnd {
    let exchange = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream
            .write_all(format!("GET /{id} HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut bytes = Vec::new();
        loop {
            if leaves_after.is_some_and(|most| bytes.len() >= most) {
                return Ok(None);
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Ok::<_, std::io::Error>(Some(bytes));
            }
        }
    };
    match tokio::time::timeout(BOUND, exchange).await.unwrap_or_else(|_| panic!("a client of /{id} is stuck")) {
        Ok(Some(bytes)) => parse(&bytes).map_or(ClientEnd::Cut, |(status, content)| ClientEnd::Clean(status, content)),
        Ok(None) => ClientEnd::Left,
        Err(_) => ClientEnd::Cut,
    }
}

/// Parses a whole response after an orderly close; `None` where its framing is not complete.
fn parse(bytes: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let (head, mut content) = bytes.split_at(end);
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    if let Some(length) = head.split("content-length: ").nth(1) {
        let length: usize = length.split('\r').next()?.parse().ok()?;
        return (content.len() == length).then(|| (status, content.to_vec()));
    }
    assert!(head.contains("transfer-encoding: chunked"), "a response whose end is the close: {head}");
    let mut whole = Vec::new();
    loop {
        let line = content.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&content[..line]).ok()?, 16).ok()?;
        content = &content[line + 2..];
        if size == 0 {
            return (content == b"\r\n").then_some((status, whole));
        }
        whole.extend_from_slice(content.get(..size)?);
        content = content.get(size + 2..)?;
    }
}

/// Sends three to five clients after one cold object.
async fn flight(world: Arc<FlightWorld>, addr: SocketAddr, id: u64) {
    let mut dice = FlightDice::new(id);
    let mut clients = Vec::new();
    for _ in 0..3 + dice.below(3) {
        // The first client leads, and leaves as often as the others.
        let leaves_after = (dice.below(3) == 0).then(|| dice.below(5) as usize * 300);
        world.counts.lock().unwrap().faults += usize::from(leaves_after.is_some());
        clients.push(tokio::spawn(ask(addr, id, leaves_after)));
        if dice.below(2) == 0 {
            tokio::task::yield_now().await;
        }
    }
    for client in clients {
        let ended = client.await.unwrap();
        let mut counts = world.counts.lock().unwrap();
        match ended {
            ClientEnd::Clean(200, content) => {
                assert!(content == whole(id), "/{id}: a clean end after {} bytes of a partial body", content.len());
                counts.whole += 1;
            }
            ClientEnd::Clean(status, _) => {
                assert!(matches!(status, 502 | 504), "/{id}: {status}");
                counts.failed += 1;
            }
            ClientEnd::Cut => counts.cut += 1,
            ClientEnd::Left => counts.left += 1,
        }
    }
}

/// Requests an object after the origin's faults are over: from then on the response is whole,
/// stored or not.
async fn settled(addr: SocketAddr, id: u64) {
    for _ in 0..4 {
        match ask(addr, id, None).await {
            ClientEnd::Clean(200, content) => {
                return assert!(content == whole(id), "/{id}: a partial body was stored");
            }
            ClientEnd::Clean(502, _) | ClientEnd::Cut => {}
            other => panic!("/{id}: {other:?}"),
        }
    }
    panic!("/{id}: the object never arrived whole");
}

#[test]
fn six_thousand_faults_leave_nothing_partial_and_nobody_waiting() {
    let placeholder = Origin::start(|_| unreachable!("no request reaches this origin"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let cache = Cache::with(&placeholder, |setup| setup.config.origin.authority = authority);
    let (world, addr) = (Arc::<FlightWorld>::default(), cache.addr());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    {
        let world = Arc::clone(&world);
        let _on = runtime.enter();
        let listener = TcpListener::from_std(listener).unwrap();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let world = Arc::clone(&world);
                // The other end of the connection notices every error.
                tokio::spawn(async move { drop(serve(world, stream).await) });
            }
        });
    }
    let mut next = 1;
    while world.counts.lock().unwrap().faults < FAULTS {
        let flights: Vec<_> =
            (next..next + BATCH).map(|id| runtime.spawn(flight(Arc::clone(&world), addr, id))).collect();
        // The clock jumps during the flights: to the end of freshness, and beyond.
        cache.step(next % 3 * 45);
        world.counts.lock().unwrap().faults += 1;
        runtime.block_on(async {
            for flight in flights {
                flight.await.unwrap();
            }
            for id in next..next + BATCH {
                settled(addr, id).await;
            }
        });
        next += BATCH;
    }
    let counts = world.counts.lock().unwrap();
    for (what, number) in
        [("whole", counts.whole), ("cut", counts.cut), ("failed", counts.failed), ("left", counts.left)]
    {
        assert!(number > 100, "too few exchanges ended this way: {what} {number}");
    }
    eventually("no flight is left", || cache.stats()["fills_in_flight"] == 0);
    let stats = cache.stats();
    assert_eq!((&stats["origin"]["permits_in_use"], &stats["origin"]["permits_waiting"]), (&0.into(), &0.into()));
}
