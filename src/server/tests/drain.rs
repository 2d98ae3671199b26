//! The bound on connections, and the end of the cores.

use super::*;

#[test]
fn connections_are_bounded_and_the_next_one_waits() {
    let server = TestServer::sized(PATIENT, 2, 2, echo_path);
    let open = || server.shared.connections();
    let (mut first, mut second) = (server.client(), server.client());
    first.send(&get("/1")).until("/1");
    second.send(&get("/2")).until("/2");
    assert_eq!(open(), 2);
    let mut third = server.client();
    third.send(&get("/3"));
    third.0.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(third.0.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    third.0.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    drop(first);
    third.until("/3");
}

#[test]
fn a_drain_finishes_requests_in_flight_and_refuses_the_rest() {
    let (go, began) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (released, begins) = (Arc::clone(&go), Arc::clone(&began));
    // One core, so that what one connection sees of the drain all have seen.
    let mut server = TestServer::sized(PATIENT, 1, 10, move |peer, request| {
        if request.uri().path() != "/slow" {
            return echo_path(peer, request);
        }
        begins.notify_one();
        when(&released, "done")
    });
    let addr = server.addr;
    let (mut idle, mut fresh, mut slow) = (server.client(), server.client(), server.client());
    idle.send(&get("/idle")).until("/idle");
    slow.send(&get("/slow"));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(began.notified());
    let draining = std::thread::spawn(move || server.cores.stop(Successor::Nobody, Duration::from_secs(20)));
    // Their ends show that the drain has begun; the slow request is still running.
    assert_eq!((idle.text(), fresh.text()), (String::new(), String::new()));
    assert!(!draining.is_finished());
    go.notify_one();
    let answer = slow.text();
    assert!(answer.ends_with("done") && answer.contains("connection: close"), "{answer}");
    draining.join().unwrap();
    assert!(TcpStream::connect(addr).is_err(), "nobody listens any more");
}

#[test]
fn a_drain_ends_at_its_deadline_and_a_half_sent_body_is_reset() {
    let mut server = TestServer::start(PATIENT, |_, _| {
        let (sender, body) = channel_body(None);
        sender.send(Ok(Bytes::from_static(b"part"))).unwrap();
        std::mem::forget(sender);
        Answer::Now(Response::new(body))
    });
    let mut old = server.client();
    old.send("GET / HTTP/1.0\r\n\r\n").until("part");
    let began = Instant::now();
    server.cores.stop(Successor::Nobody, SHORT);
    assert!(began.elapsed() >= SHORT);
    assert_eq!(old.rest().1.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_runtime_stays_while_it_is_busy() {
    let (addr, listeners) = listener::bind("127.0.0.1:0".parse().unwrap(), 1).unwrap();
    let counters = Arc::<ServerCounters>::default();
    let flights = Arc::new(());
    let (twin, was_asked) = (Arc::downgrade(&flights), Arc::new(Notify::new()));
    let asks = Arc::clone(&was_asked);
    let protocols = Protocols::new(16 << 10, 100, Arc::clone(&counters));
    let live = Arc::new(ArcSwap::from_pointee(LiveConfig { protocols, limits: PATIENT }));
    let is_busy = move || {
        asks.notify_one();
        twin.strong_count() > 0
    };
    let shared = CoresShared::new("core", live, 10, counters, Arc::new(is_busy));
    let mut cores = Cores::start(vec![listeners], Arc::new(shared), |_| Arc::new(echo_path)).unwrap();
    drop(TcpStream::connect(addr).unwrap());
    let draining = std::thread::spawn(move || cores.stop(Successor::Nobody, Duration::from_secs(20)));
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(was_asked.notified());
    assert!(!draining.is_finished());
    drop(flights);
    draining.join().unwrap();
}
