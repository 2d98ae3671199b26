//! Bodies too large to store: their readers share one response, and a slow reader is cut off.

use crate::harness::{Cache, Client, End, Gate, Origin, Reply, pattern};

#[test]
fn a_body_too_large_to_store_releases_followers_at_its_head() {
    let gate = Gate::new();
    let origin = {
        let gate = gate.clone();
        Origin::start(move |_| Reply::fresh(pattern(2_000)).hold(&gate))
    };
    let cache = Cache::with(&origin, |setup| setup.rule.object_bytes_max = 1_999);
    let mut clients: Vec<Client> = (0..5).map(|_| cache.client()).collect();
    for client in &mut clients {
        client.ask("GET", "/", &[], b"");
    }
    gate.arrived(1);
    gate.open();
    for client in &mut clients {
        client.response().check(200, pattern(2_000), "detail=too-large");
    }
    assert_eq!(origin.count(), 5);
}

#[test]
fn the_only_reader_of_a_body_too_large_to_store_may_be_slow() {
    let gate = Gate::new();
    let (_origin, cache) = too_large_to_store(&gate);
    let mut alone = Client::slow(cache.addr());
    alone.ask("GET", "/alone", &[], b"");
    alone.final_head();
    // A reader that delays another one is cut off in the meantime. This reader is silent for at
    // least as long.
    let (mut quick, _slow) = two_readers(&cache);
    gate.open();
    assert_eq!(quick.drain().1, End::Clean);
    assert_eq!(alone.drain(), (LARGE as u64, End::Clean));
}

/// The length of a body that is too large to store, and larger than a socket's buffers.
const LARGE: usize = 32 << 20;

/// An app whose every page has [`LARGE`] bytes, and a cache in front of it. Pages arrive at once,
/// except that `/` pauses at the gate after its beginning.
fn too_large_to_store(gate: &Gate) -> (Origin, Cache) {
    let gate = gate.clone();
    let origin = Origin::start(move |request| {
        let begun = Reply::ok().header("Cache-Control", "max-age=60").chunked().body([b'x'; 1_000]);
        let begun = if request.target() == "/" { begun.wait(&gate) } else { begun };
        begun.body(vec![b'x'; LARGE - 1_000])
    });
    let cache = Cache::with(&origin, |setup| {
        setup.rule.object_bytes_max = 1 << 20;
        setup.config.proxy.reader_stall = std::time::Duration::from_millis(100);
    });
    (origin, cache)
}

/// Connects two clients that have read the beginning of the one shared body of `/`.
fn two_readers(cache: &Cache) -> (Client, Client) {
    let mut both = [cache.client(), cache.client()];
    for client in &mut both {
        client.ask("GET", "/", &[], b"");
        client.final_head();
        client.at_least(1_000);
    }
    both.into()
}

#[test]
fn a_slow_reader_delays_others_of_a_body_too_large_to_store_for_a_bounded_time() {
    let gate = Gate::new();
    let (origin, cache) = too_large_to_store(&gate);
    let (mut quick, mut slow) = two_readers(&cache);
    gate.open();
    let (length, end) = quick.drain();
    assert_eq!((length as usize, end), (LARGE - 1_000, End::Clean));
    let (length, end) = slow.drain();
    assert!(end != End::Clean && (length as usize) < LARGE - 1_000, "{length} bytes, {end:?}");
    assert_eq!(origin.count(), 1);
    cache.settle();
    assert_eq!(cache.stats()["store"]["entries"], 0);
}
