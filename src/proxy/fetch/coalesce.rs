//! The flight table: requests for the same thing, made while it is being fetched, wait for that one
//! fetch.
//!
//! The table knows neither what flights are named after nor what their results are. Names are
//! compared whole, so two names never share a flight. A leader that is dropped without a result
//! abandons its flight, and its followers learn that: no request is stranded.
//!
//! `tests/model.rs` compiles this very file against a `super::sync` of its own and tries the orders
//! in which its steps can happen; so the file uses nothing else of the crate.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::sync::{AtomicU64, Mutex, Notify};

/// Shards of the table: enough that cores rarely contend for one lock.
const SHARDS: usize = 64;

/// The flights under way, each of which finishes with an `H`.
pub(crate) struct Flights<H> {
    /// The seed for hashing names, so that no client knows which names share a hash. xxh3 does not
    /// resist an attacker who finds out; all there is to gain is a row of names to compare, at most
    /// one for each flight.
    seed: u64,
    /// Each lock guards its share of the names; nothing awaits under it.
    shards: Box<[Mutex<FlightShard<H>>]>,
    /// How many flights have left the table.
    departures: AtomicU64,
    /// How many flights have a leader.
    under_way: AtomicU64,
}

/// One shard of the flight table. Flights are found by the hash of their name; each flight stores
/// its hash, so that growing the shard hashes nothing again.
type FlightShard<H> = HashTable<Arc<Flight<H>>>;

/// One fetch under way, with its name and its result.
struct Flight<H> {
    hash: u64,
    name: Box<[u8]>,
    /// Guards the flight's progress; nothing awaits under it.
    state: Mutex<FlightState<H>>,
    changed: Notify,
}

enum FlightState<H> {
    InFlight,
    Finished(H),
    Abandoned,
}

/// The caller's part in a flight.
pub(crate) enum FlightRole<H> {
    /// No flight of that name is under way: the caller leads one.
    Leader(FlightLeader<H>),
    /// A flight is under way: the caller waits for it.
    Follower(FlightFollower<H>),
}

/// The leader's end of a flight. Dropping it takes the flight out of the table.
pub(crate) struct FlightLeader<H> {
    flights: Arc<Flights<H>>,
    flight: Arc<Flight<H>>,
    /// True while the flight may be in the table: not if it was started unlisted, and no longer
    /// once it is closed.
    is_listed: bool,
}

/// A follower's end of a flight.
pub(crate) struct FlightFollower<H>(Arc<Flight<H>>);

impl<H> Flights<H> {
    /// Makes an empty table; `seed` is random, for hashing names.
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self { seed, shards, departures: AtomicU64::new(0), under_way: AtomicU64::new(0) })
    }

    /// Joins the flight called `name`, or starts it.
    pub(crate) fn join(self: &Arc<Self>, name: impl Into<Box<[u8]>>) -> FlightRole<H> {
        let name = name.into();
        let hash = self.hash(&name);
        let mut shard = self.shard(hash).lock();
        if let Some(flight) = shard.find(hash, |flight| flight.name == name) {
            return FlightRole::Follower(FlightFollower(Arc::clone(flight)));
        }
        let flight = Flight::new(hash, name);
        shard.insert_unique(hash, Arc::clone(&flight), |flight| flight.hash);
        FlightRole::Leader(self.lead(flight, true))
    }

    /// Starts a flight that nobody can join.
    pub(crate) fn unlisted(self: &Arc<Self>) -> FlightLeader<H> {
        self.lead(Flight::new(0, Box::default()), false)
    }

    fn lead(self: &Arc<Self>, flight: Arc<Flight<H>>, is_listed: bool) -> FlightLeader<H> {
        self.under_way.fetch_add(1, Ordering::AcqRel);
        FlightLeader { flights: Arc::clone(self), flight, is_listed }
    }

    /// Returns the flight called `name`, if there is one.
    pub(crate) fn find(&self, name: &[u8]) -> Option<FlightFollower<H>> {
        let hash = self.hash(name);
        let shard = self.shard(hash).lock();
        shard.find(hash, |flight| *flight.name == *name).map(|flight| FlightFollower(Arc::clone(flight)))
    }

    /// Takes a flight out of the table whose result is of no use to new requests: the next request
    /// starts another.
    pub(crate) fn withdraw(&self, follow: &FlightFollower<H>) {
        self.unlist(&follow.0);
    }

    fn unlist(&self, flight: &Arc<Flight<H>>) {
        let mut shard = self.shard(flight.hash).lock();
        if let Ok(listed) = shard.find_entry(flight.hash, |listed| Arc::ptr_eq(listed, flight)) {
            listed.remove();
            self.departures.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns how many flights have left the table. A caller that reads the same number before it
    /// looks into the store and after it has become a leader has missed no flight of that name in
    /// between.
    pub(crate) fn departures(&self) -> u64 {
        self.departures.load(Ordering::Acquire)
    }

    /// Returns how many flights are under way, in the table or not.
    pub(crate) fn len(&self) -> usize {
        self.under_way.load(Ordering::Acquire) as usize
    }

    /// Tells whether no flight is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, name: &[u8]) -> u64 {
        xxh3_64_with_seed(name, self.seed)
    }

    fn shard(&self, hash: u64) -> &Mutex<FlightShard<H>> {
        // The shard's own table uses the other bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl<H> Flight<H> {
    fn new(hash: u64, name: Box<[u8]>) -> Arc<Self> {
        Arc::new(Self { hash, name, state: Mutex::new(FlightState::InFlight), changed: Notify::new() })
    }
}

impl<H> FlightLeader<H> {
    /// Finishes the flight with a result for all followers, including later ones. Only the first
    /// call counts.
    pub(crate) fn land(&self, head: H) {
        let mut state = self.flight.state.lock();
        if matches!(*state, FlightState::InFlight) {
            *state = FlightState::Finished(head);
            drop(state);
            self.flight.changed.notify_waiters();
        }
    }

    /// Takes the flight out of the table: the next request starts another.
    pub(crate) fn close(&mut self) {
        if std::mem::take(&mut self.is_listed) {
            self.flights.unlist(&self.flight);
        }
    }

    /// Returns a follower's end.
    #[cfg(test)]
    pub(crate) fn follow(&self) -> FlightFollower<H> {
        FlightFollower(Arc::clone(&self.flight))
    }
}

impl<H> Drop for FlightLeader<H> {
    fn drop(&mut self) {
        self.close();
        let mut state = self.flight.state.lock();
        if matches!(*state, FlightState::InFlight) {
            *state = FlightState::Abandoned;
            drop(state);
            self.flight.changed.notify_waiters();
        }
        self.flights.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<H: Clone> FlightFollower<H> {
    /// Waits for the flight's result; `None` if its leader abandoned it.
    pub(crate) async fn result(&self) -> Option<H> {
        loop {
            let changed = self.0.changed.notified();
            match &*self.0.state.lock() {
                FlightState::Finished(head) => return Some(head.clone()),
                FlightState::Abandoned => return None,
                FlightState::InFlight => {}
            }
            changed.await;
        }
    }
}
