//! An origin that dies in the middle of a body: no client sees a clean end, no partial body is
//! stored, and the next request succeeds.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::harness::origin::chunk;
use crate::harness::{Cache, Client, Cut, End, Gate, Http2, Origin, Reply, pattern};

/// The number of places where the body is cut.
const CUTS: usize = 20;

/// Size of the body: several reads, and several frames of HTTP/2.
const BODY: usize = 100_000;

/// Returns head and body of a response as they are on the wire.
fn laid_out(chunked: bool) -> (Vec<u8>, Vec<u8>) {
    let body = pattern(BODY);
    if !chunked {
        return (
            format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {BODY}\r\n\r\n").into(),
            body,
        );
    }
    let mut framed: Vec<u8> = body.chunks(7_000).flat_map(chunk).collect();
    framed.extend_from_slice(b"0\r\n\r\n");
    (b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(), framed)
}

/// Returns the offsets to cut at, spread evenly from the first byte to just before the last.
fn offsets(framed: usize) -> impl Iterator<Item = usize> {
    (0..CUTS).map(move |at| at * (framed - 1) / (CUTS - 1))
}

/// Starts an origin that sends the head of its first response, waits at `gate`, sends `offset`
/// bytes of the body and cuts. Later responses are whole.
fn dying(chunked: bool, offset: usize, cut: Cut, gate: &Gate) -> Origin {
    let (head, framed) = laid_out(chunked);
    let whole = Reply::raw([head.as_slice(), &framed].concat());
    let cut = Reply::raw(head).wait(gate).body(&framed[..offset]).cut(cut);
    let asked = AtomicUsize::new(0);
    Origin::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => cut.clone(),
        _ => whole.clone(),
    })
}

#[track_caller]
fn check_cut(chunked: bool, offset: usize, cut: Cut) {
    let gate = Gate::new();
    let origin = dying(chunked, offset, cut, &gate);
    let cache = Cache::start(&origin);
    let mut clients: Vec<Client> = (0..3).map(|_| cache.client()).collect();
    for client in &mut clients {
        client.ask("GET", "/", &[], b"");
    }
    let heads: Vec<_> = clients.iter_mut().map(Client::final_head).collect();
    gate.open();
    for (client, head) in clients.iter_mut().zip(heads) {
        let response = client.rest(head);
        assert_ne!(response.end, End::Clean, "chunked: {chunked}, cut at {offset} by {cut:?}");
        assert!(pattern(BODY).starts_with(&response.body), "the received bytes are the beginning of the body");
    }
    cache.settle();
    assert_eq!(cache.stats()["store"]["entries"], 0, "nothing partial is stored");
    assert_eq!(origin.count(), 1, "the cache has not asked again");

    cache.get("/").check(200, pattern(BODY), "fwd=uri-miss");
    cache.get("/").check(200, pattern(BODY), "hit");
}

#[test]
fn a_sized_body_cut_at_any_offset_ends_cleanly_for_nobody() {
    for (at, offset) in offsets(laid_out(false).1.len()).enumerate() {
        check_cut(false, offset, [Cut::Fin, Cut::Rst][at % 2]);
    }
}

#[test]
fn a_chunked_body_cut_at_any_offset_ends_cleanly_for_nobody() {
    for (at, offset) in offsets(laid_out(true).1.len()).enumerate() {
        check_cut(true, offset, [Cut::Fin, Cut::Rst][at % 2]);
    }
}

#[test]
fn a_passed_body_that_is_cut_does_not_end_cleanly() {
    let origin =
        Origin::start(|_| Reply::ok().header("Cache-Control", "no-store").length(100).body("half").cut(Cut::Fin));
    let cache = Cache::start(&origin);
    for _ in 0..4 {
        let response = cache.get("/");
        assert_eq!((response.text().as_str(), response.status()), ("half", 200));
        assert_ne!(response.end, End::Clean);
    }
}

#[test]
fn an_http2_client_sees_its_stream_reset_and_the_connection_goes_on() {
    for chunked in [false, true] {
        let gate = Gate::new();
        gate.open();
        let origin = dying(chunked, 50_000, Cut::Fin, &gate);
        let cache = Cache::start(&origin);
        let mut client = Http2::connect(cache.addr());
        let cut = client.get("/");
        assert!(cut.failed.is_some(), "{} bytes and a clean end", cut.body.len());
        assert!(pattern(BODY).starts_with(&cut.body));
        let whole = client.get("/");
        assert!(whole.failed.is_none() && whole.body == pattern(BODY));
    }
}

#[test]
fn an_http10_client_sees_a_reset_since_a_close_would_look_like_the_end() {
    let gate = Gate::new();
    let origin = dying(true, 50_000, Cut::Fin, &gate);
    let cache = Cache::start(&origin);
    let mut client = cache.client();
    client.send("GET / HTTP/1.0\r\nHost: example.org\r\n\r\n");
    let head = client.final_head();
    assert!(head.header("transfer-encoding").is_none(), "HTTP/1.0 has no chunks");
    gate.open();
    assert_eq!(client.rest(head).end, End::Reset);
}

#[test]
fn malformed_chunks_do_not_end_cleanly() {
    for broken in ["zz\r\nhello\r\n", "5\r\nhelloXX", "5\r\nhello\r\n-1\r\n", "ffffffffffffffffff\r\n"] {
        let origin = Origin::start(move |_| {
            let head = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n";
            Reply::raw(format!("{head}3\r\nabc\r\n{broken}"))
        });
        let cache = Cache::start(&origin);
        let mut client = cache.client();
        client.ask("GET", "/", &[], b"");
        let head = client.final_head();
        if head.status == 200 {
            assert_ne!(client.rest(head).end, End::Clean, "{broken:?}");
        } else {
            assert_eq!(head.status, 502, "{broken:?}");
        }
        cache.settle();
        assert_eq!(cache.stats()["store"]["entries"], 0, "{broken:?}");
    }
}

#[test]
fn bytes_beyond_content_length_are_not_taken_for_the_next_response() {
    let origin = Origin::start(|request| {
        let extra = "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 6\r\n\r\npoison";
        let body = request.target();
        let length = body.len();
        Reply::raw(format!(
            "HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: {length}\r\n\r\n{body}{extra}"
        ))
    });
    let cache = Cache::start(&origin);
    for target in ["/one", "/two", "/three"] {
        cache.get(target).check(200, target, "fwd=uri-miss");
    }
}
