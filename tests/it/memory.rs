//! Memory stays under its cap, measured from outside: the real binary, and the kernel's figures for
//! it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{Client, End, Origin, Process, Reply, pattern};

const MIB: u64 = 1 << 20;

/// Keep-alive connections that send requests at once.
const CONNECTIONS: usize = 16;

/// The number of distinct objects, and the size of each.
const OBJECTS: usize = 100_000;
const OBJECT_BYTES: usize = 16 << 10;

/// The cache's capacity.
const CAPACITY: u64 = 64 * MIB;

#[test]
fn a_hundred_thousand_objects_through_a_small_cache() {
    let body = pattern(OBJECT_BYTES);
    let reply = Reply::fresh(&body).header("Content-Type", "image/png");
    let origin = Origin::unrecorded(move |_| reply.clone());
    let larder = Process::serve(&origin, "memory.capacity = \"64MiB\"\nmemory.object_bytes_max = \"1MiB\"");

    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (next, done, larder) = (&next, &done, &larder);
    let peak_alive = std::thread::scope(|scope| {
        let sampler = scope.spawn(move || {
            let mut peak = 0;
            while !done.load(Ordering::Relaxed) {
                peak = peak.max(larder.stats()["memory"]["alive_bytes"].as_u64().unwrap());
            }
            peak
        });
        let askers: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                scope.spawn(move || {
                    let mut client = larder.client();
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        if at >= OBJECTS {
                            return;
                        }
                        client.ask("GET", &format!("/object/{at}"), &[], b"");
                        let head = client.head();
                        assert_eq!((head.status, client.drain()), (200, (OBJECT_BYTES as u64, End::Clean)));
                    }
                })
            })
            .collect();
        let failed = askers.into_iter().map(|asker| asker.join()).filter(Result::is_err).count();
        done.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
        sampler.join().unwrap()
    });

    let stats = larder.stats();
    assert_eq!(stats["requests"]["total"], OBJECTS);
    assert!(peak_alive * 100 < CAPACITY * 105, "{peak_alive} bytes were alive");
    let held = stats["memory"]["stored_bytes"].as_u64().unwrap();
    assert!(held * 10 > CAPACITY * 6, "the cache is used: {held} bytes");
    let resident = larder.memory("VmHWM");
    println!("{} MiB resident, {} MiB alive at most, {} MiB held", resident / MIB, peak_alive / MIB, held / MIB);
    assert!(resident < CAPACITY * 13 / 10 + 40 * MIB, "{} MiB were resident", resident / MIB);
}

#[test]
fn bodies_that_slow_clients_pin_count_too() {
    const CLIENTS: usize = 40;
    const BODY: u64 = 7 * MIB;
    let reply = Reply::fresh(vec![b'x'; BODY as usize]);
    let origin = Origin::unrecorded(move |_| reply.clone());
    let larder = Process::serve(
        &origin,
        "memory.capacity = \"64MiB\"\nmemory.object_bytes_max = \"8MiB\"\ncache.reader_stall = \"100ms\"",
    );
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::slow(larder.addr())).collect();
    for (at, client) in clients.iter_mut().enumerate() {
        client.ask("GET", &format!("/{at}"), &[], b"");
        assert_eq!(client.head().status, 200);
    }
    let mut peak = 0;
    for client in &mut clients {
        peak = peak.max(larder.stats()["memory"]["alive_bytes"].as_u64().unwrap());
        assert_eq!(client.drain(), (BODY, End::Clean));
    }
    assert!(peak * 100 < CAPACITY * 105, "{} MiB were alive", peak / MIB);
    assert!(peak * 10 > CAPACITY * 5, "clients pin nothing: {} MiB", peak / MIB);
    let resident = larder.memory("VmHWM");
    assert!(resident < CAPACITY * 13 / 10 + 40 * MIB, "{} MiB were resident", resident / MIB);
}

#[test]
fn a_body_of_a_gibibyte_streams_through() {
    const PIECES: usize = 1024;
    let origin = Origin::unrecorded(|request| {
        if request.target() == "/small" {
            return Reply::fresh("x");
        }
        let head = Reply::ok().header("Cache-Control", "max-age=60");
        let head = if request.target() == "/sized" { head.length(PIECES * MIB as usize) } else { head.chunked() };
        let sized = request.target() == "/sized";
        head.then(move |peer| {
            let piece = vec![b'x'; MIB as usize];
            for _ in 0..PIECES {
                if sized {
                    peer.send(&piece)?;
                } else {
                    peer.send(format!("{MIB:x}\r\n").as_bytes())?;
                    peer.send(&piece)?;
                    peer.send(b"\r\n")?;
                }
            }
            Ok(())
        })
    });
    let larder = Process::serve(&origin, "memory.capacity = \"256MiB\"");
    larder.client().get("/small");
    let before = larder.memory("VmRSS");
    for target in ["/sized", "/chunked"] {
        let mut client = larder.client();
        client.ask("GET", target, &[], b"");
        assert_eq!(client.head().status, 200);
        assert_eq!(client.drain(), (PIECES as u64 * MIB, End::Clean), "{target}");
        let growth = larder.memory("VmHWM").saturating_sub(before);
        println!("{target}: {} MiB more than before", growth / MIB);
        assert!(growth < 64 * MIB, "{target}: {} MiB", growth / MIB);
    }
}

#[test]
fn an_upload_of_many_megabytes_streams_through() {
    const PIECES: usize = 96;
    let origin = Origin::at_heads(|_| {
        Reply::ok().first(|peer| {
            for _ in 0..PIECES {
                peer.exactly(MIB as usize)?;
            }
            Ok(())
        })
    });
    let larder = Process::serve(&origin, "");
    let before = larder.memory("VmRSS");
    let mut client = Client::connect(larder.addr());
    client.send(format!("PUT / HTTP/1.1\r\nHost: example.org\r\nContent-Length: {}\r\n\r\n", PIECES as u64 * MIB));
    let piece = vec![b'x'; MIB as usize];
    for _ in 0..PIECES {
        client.send(&piece);
    }
    assert_eq!(client.response().status(), 200);
    let growth = larder.memory("VmHWM").saturating_sub(before);
    assert!(growth < 32 * MIB, "{} MiB", growth / MIB);
}
