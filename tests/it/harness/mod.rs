//! The parts of a behaviour test: an [`Origin`] scripted byte by byte, a [`Cache`] whose clock
//! stands still, and a [`Client`] that tells a clean end from a cut one.
//!
//! Tests meet at a [`Gate`] and never sleep. Every wait is limited to [`BOUND`], so that a broken
//! cache fails a test instead of hanging it.

pub(crate) mod black_hole;
pub(crate) mod browser;
pub(crate) mod cache;
pub(crate) mod client;
pub(crate) mod exposition;
pub(crate) mod http2;
pub(crate) mod origin;
pub(crate) mod process;
pub(crate) mod wire;

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

pub(crate) use black_hole::BlackHole;
pub(crate) use browser::Browser;
pub(crate) use cache::{Cache, Setup};
pub(crate) use client::{Client, End, Response};
pub(crate) use http2::Http2;
pub(crate) use origin::{Cut, Origin, Reply};
pub(crate) use process::Process;

/// The longest wait for anything: far more than a loaded machine needs, short enough to notice a
/// hang.
pub(crate) const BOUND: Duration = Duration::from_secs(20);

/// The fields of a WebSocket handshake (RFC 6455 §1.3).
pub(crate) const WEBSOCKET: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("Sec-WebSocket-Version", "13"),
];

/// A barrier that one side opens while others wait at it. The gate also counts how many have
/// arrived.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

/// The state of a gate, guarded by its lock.
#[derive(Default)]
struct State {
    open: bool,
    arrived: usize,
}

impl Gate {
    /// Makes a closed gate.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Lets everybody through, now and later.
    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().open = true;
        self.0.1.notify_all();
    }

    /// Counts as arrived, then waits until the gate is open.
    pub(crate) fn wait(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.arrived += 1;
        self.0.1.notify_all();
        let (state, _) = self.0.1.wait_timeout_while(state, BOUND, |state| !state.open).unwrap();
        assert!(state.open, "nobody opened the gate");
    }

    /// Waits until `count` have arrived.
    pub(crate) fn arrived(&self, count: usize) {
        let state = self.0.0.lock().unwrap();
        let (state, _) = self.0.1.wait_timeout_while(state, BOUND, |state| state.arrived < count).unwrap();
        assert!(state.arrived >= count, "{} of {count} arrived at the gate", state.arrived);
    }
}

/// Waits until `condition` holds. Meant for background work that notifies nobody.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < BOUND, "timed out waiting for this: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Returns `length` bytes that differ from place to place, so that a shifted or repeated piece
/// shows.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| b'a' + ((at / 7 + at) % 26) as u8).collect()
}
