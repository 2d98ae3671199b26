//! The flight table: requests for the same thing that come while it is being fetched wait for that one fetch.
//!
//! Knows neither what a flight is named after nor what it lands with. Names are compared whole, so two names never share
//! a flight. A leader that vanishes in whatever way loses its flight, and its followers learn so: nobody is stranded.
//!
//! `tests/model.rs` compiles this very file against a `super::sync` of its own and tries the orders in which its steps can
//! happen; so it takes nothing else from the crate.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::sync::{AtomicU64, Mutex, Notify};

/// Shards of the table: enough that cores seldom meet on one lock.
const SHARDS: usize = 64;

/// The flights under way, each of which lands with an `H`.
pub struct Flights<H> {
    /// What names are hashed with, so that nobody knows which share a hash. xxh3 promises nothing against who would find out;
    /// all that can be gained is a row of names to compare, of no more than there are flights.
    seed: u64,
    /// Each lock guards its share of the names; nothing awaits under it.
    shards: Box<[Mutex<Shard<H>>]>,
    /// How many flights have left the table.
    left: AtomicU64,
    /// How many have a leader.
    led: AtomicU64,
}

/// Found by the hashes of their names, each of which is computed once.
type Shard<H> = HashTable<Arc<Flight<H>>>;

/// One flight.
struct Flight<H> {
    hash: u64,
    name: Box<[u8]>,
    /// Guards how far the flight is; nothing awaits under it.
    state: Mutex<State<H>>,
    changed: Notify,
}

enum State<H> {
    Flying,
    Landed(H),
    Lost,
}

/// What joining a flight comes to.
pub enum Joined<H> {
    /// Nobody is fetching this: the caller does.
    Leader(Lead<H>),
    /// Somebody is: the caller waits.
    Follower(Follow<H>),
}

/// The leader's end of a flight. Dropping it takes the flight out of the table.
pub struct Lead<H> {
    flights: Arc<Flights<H>>,
    flight: Arc<Flight<H>>,
    /// Whether the flight may be in the table: it never is where it was started alone, and no longer once it is closed.
    is_listed: bool,
}

/// A follower's end of a flight.
pub struct Follow<H>(Arc<Flight<H>>);

impl<H> Flights<H> {
    /// Makes an empty table.
    pub fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Arc::new(Self {
            seed: RandomState::new().hash_one(()),
            shards,
            left: AtomicU64::new(0),
            led: AtomicU64::new(0),
        })
    }

    /// Joins the flight called `name`, or starts it.
    pub fn join(self: &Arc<Self>, name: impl Into<Box<[u8]>>) -> Joined<H> {
        let name = name.into();
        let hash = self.hash(&name);
        let mut shard = self.shard(hash).lock();
        if let Some(flight) = shard.find(hash, |flight| flight.name == name) {
            return Joined::Follower(Follow(Arc::clone(flight)));
        }
        let flight = Flight::new(hash, name);
        shard.insert_unique(hash, Arc::clone(&flight), |flight| flight.hash);
        Joined::Leader(self.lead(flight, true))
    }

    /// Starts a flight that nobody can join.
    pub fn alone(self: &Arc<Self>) -> Lead<H> {
        self.lead(Flight::new(0, Box::default()), false)
    }

    fn lead(self: &Arc<Self>, flight: Arc<Flight<H>>, is_listed: bool) -> Lead<H> {
        self.led.fetch_add(1, Ordering::AcqRel);
        Lead { flights: Arc::clone(self), flight, is_listed }
    }

    /// Returns the flight called `name`, where there is one.
    pub fn find(&self, name: &[u8]) -> Option<Follow<H>> {
        let hash = self.hash(name);
        let shard = self.shard(hash).lock();
        shard.find(hash, |flight| *flight.name == *name).map(|flight| Follow(Arc::clone(flight)))
    }

    /// Has nobody join a flight any more whose landing is of no use to those who come now: the next one who asks starts
    /// another.
    pub fn withdraw(&self, follow: &Follow<H>) {
        self.unlist(&follow.0);
    }

    fn unlist(&self, flight: &Arc<Flight<H>>) {
        let mut shard = self.shard(flight.hash).lock();
        if let Ok(listed) = shard.find_entry(flight.hash, |listed| Arc::ptr_eq(listed, flight)) {
            listed.remove();
            self.left.fetch_add(1, Ordering::Release);
        }
    }

    /// Returns how many flights have left the table. Who reads the same before it looks for what a flight leaves behind and
    /// after it has become a leader has missed no flight of that name in between.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Acquire)
    }

    /// Returns how many flights are under way, be they in the table or not.
    pub fn len(&self) -> usize {
        self.led.load(Ordering::Acquire) as usize
    }

    /// Tells whether no flight is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, name: &[u8]) -> u64 {
        xxh3_64_with_seed(name, self.seed)
    }

    fn shard(&self, hash: u64) -> &Mutex<Shard<H>> {
        // A shard's own table goes by the other bits.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }
}

impl<H> Flight<H> {
    fn new(hash: u64, name: Box<[u8]>) -> Arc<Self> {
        Arc::new(Self { hash, name, state: Mutex::new(State::Flying), changed: Notify::new() })
    }
}

impl<H> Lead<H> {
    /// Tells every follower what the flight landed with; who joins later learns it at once. The first call counts.
    pub fn land(&self, head: H) {
        let mut state = self.flight.state.lock();
        if matches!(*state, State::Flying) {
            *state = State::Landed(head);
            drop(state);
            self.flight.changed.notify_waiters();
        }
    }

    /// Takes the flight out of the table: the next one who asks starts another.
    pub fn close(&mut self) {
        if std::mem::take(&mut self.is_listed) {
            self.flights.unlist(&self.flight);
        }
    }

    /// Returns a follower's end.
    pub fn follow(&self) -> Follow<H> {
        Follow(Arc::clone(&self.flight))
    }
}

impl<H> Drop for Lead<H> {
    fn drop(&mut self) {
        self.close();
        let mut state = self.flight.state.lock();
        if matches!(*state, State::Flying) {
            *state = State::Lost;
            drop(state);
            self.flight.changed.notify_waiters();
        }
        self.flights.led.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<H: Clone> Follow<H> {
    /// Waits until the flight has landed; `None` when its leader vanished.
    pub async fn landed(&self) -> Option<H> {
        loop {
            let changed = self.0.changed.notified();
            match &*self.0.state.lock() {
                State::Landed(head) => return Some(head.clone()),
                State::Lost => return None,
                State::Flying => {}
            }
            changed.await;
        }
    }
}
