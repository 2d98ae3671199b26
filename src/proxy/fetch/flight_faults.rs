//! Ten thousand faults in the flight table and in the bodies of its flights: leaders that panic,
//! are stopped, fail or cut the body; followers that come, leave and stall at any point. All faults
//! come from seeds, on one thread, so each can be repeated.
//!
//! The leader here takes the steps of `leader` and `receive` in their order, with the same table
//! and the same shared body.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::task::{JoinHandle, yield_now};

use super::coalesce::{FlightLeader, FlightRole, Flights};
use super::shared_body::SharedBody;
use crate::outcome::Reason;
use crate::respond::range::BodyPiece;

/// The least number of faults.
const FAULTS: usize = 10_000;

/// Nothing here waits for time, so a task that is not done by then is stuck.
const STUCK: Duration = Duration::from_secs(5);

/// The result of a flight: a body and its flight's id, or nothing for any follower.
type TestResult = Option<(Arc<SharedBody>, u64)>;

/// A source of choices (xorshift64*).
struct FaultDice(u64);

impl FaultDice {
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

/// A fault of a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum InjectedFault {
    None,
    /// The leader's task panics after so many steps.
    Panic(u64),
    /// The leader's task is stopped after the others have run so many times.
    Stopped(u64),
    /// The origin fails before there is a head.
    NoHead,
    /// The origin cuts the body after so many chunks.
    Cut(u64),
    /// The response turns out to be for one client alone.
    Unshared,
}

/// The state that all tasks share.
struct FaultWorld {
    flights: Arc<Flights<TestResult>>,
    stored: Mutex<HashMap<Vec<u8>, Vec<u8>>>,
    /// Faults so far, and how the followers ended.
    counts: Mutex<FaultCounts>,
}

#[derive(Debug, Default)]
struct FaultCounts {
    faults: usize,
    whole: usize,
    failed: usize,
    abandoned: usize,
    hung_up: usize,
}

/// Returns the complete body of this flight.
fn whole(id: u64) -> Vec<u8> {
    (0..10 + id % 90).map(|at| (id.wrapping_mul(31).wrapping_add(at * 7) % 251) as u8).collect()
}

/// Leads a flight as `leader` and `receive` do.
async fn lead(world: Arc<FaultWorld>, lead: FlightLeader<TestResult>, name: Vec<u8>, id: u64, fault: InjectedFault) {
    let mut dice = FaultDice::new(id);
    let mut steps = 0;
    let mut step = || {
        if fault == InjectedFault::Panic(steps) {
            // A panic without its report.
            std::panic::resume_unwind(Box::new("injected"));
        }
        steps += 1;
    };
    yield_now().await;
    step();
    if matches!(fault, InjectedFault::NoHead | InjectedFault::Unshared) {
        return lead.land(None);
    }
    let shared_body = SharedBody::new();
    // The reader of the leader's own client, which may have left.
    let own = (dice.below(2) == 0).then(|| shared_body.reader(vec![BodyPiece::Cut(0..u64::MAX)]));
    lead.land(Some((Arc::clone(&shared_body), id)));
    let _abort_guard = shared_body.abort_guard();
    step();
    let body = whole(id);
    for (at, chunk) in body.chunks(1 + dice.below(20) as usize).enumerate() {
        if fault == InjectedFault::Cut(at as u64) {
            return shared_body.fail(Reason::Incomplete);
        }
        shared_body.push(Bytes::copy_from_slice(chunk));
        if dice.below(3) == 0 {
            yield_now().await;
        }
        step();
    }
    let bytes = shared_body.chunks().concat();
    world.stored.lock().insert(name, bytes);
    step();
    shared_body.complete(None);
    step();
    drop(own);
}

/// Acts as a client, which leaves after `patience` steps; a client that finds no leader leads a
/// flight of its own.
async fn follow(world: Arc<FaultWorld>, name: Vec<u8>, mut patience: Option<u64>, id: u64) {
    let mut dice = FaultDice::new(id);
    let mut leaves = move || match &mut patience {
        Some(0) => true,
        Some(hung_up) => {
            *hung_up -= 1;
            false
        }
        None => false,
    };
    for _ in 0..dice.below(4) {
        yield_now().await;
    }
    let follow = match world.flights.join(name.as_slice()) {
        FlightRole::Follower(follow) => follow,
        FlightRole::Leader(lead_of) => {
            let follow = lead_of.follow();
            tokio::spawn(lead(Arc::clone(&world), lead_of, name.clone(), id, InjectedFault::None));
            follow
        }
    };
    if leaves() {
        world.counts.lock().hung_up += 1;
        return;
    }
    let Some(result) = follow.result().await else {
        world.counts.lock().abandoned += 1;
        return;
    };
    let Some((shared_body, of)) = result else {
        world.counts.lock().failed += 1;
        return;
    };
    let mut reader = shared_body.reader(vec![BodyPiece::Cut(0..u64::MAX)]).expect("the body is kept");
    let mut read = Vec::new();
    loop {
        if leaves() {
            world.counts.lock().hung_up += 1;
            return;
        }
        match reader.frame().await {
            None => break,
            Some(Ok(frame)) => read.extend_from_slice(&frame.into_data().unwrap()),
            Some(Err(_)) => {
                world.counts.lock().failed += 1;
                return;
            }
        }
        if dice.below(3) == 0 {
            yield_now().await;
        }
    }
    assert_eq!(read, whole(of), "a clean end of what is not whole");
    world.counts.lock().whole += 1;
}

/// Runs one flight, and the flights that its followers start.
async fn scenario(world: &Arc<FaultWorld>, seed: u64) {
    let mut dice = FaultDice::new(seed);
    let name = format!("/{seed}").into_bytes();
    let fault = match dice.below(7) {
        0 => InjectedFault::Panic(dice.below(8)),
        1 => InjectedFault::Stopped(dice.below(12)),
        2 => InjectedFault::NoHead,
        3 | 4 => InjectedFault::Cut(dice.below(6)),
        5 => InjectedFault::Unshared,
        _ => InjectedFault::None,
    };
    let leading = match world.flights.join(name.as_slice()) {
        FlightRole::Leader(own) => tokio::spawn(lead(Arc::clone(world), own, name.clone(), seed, fault)),
        FlightRole::Follower(_) => panic!("a flight was left behind"),
    };
    let mut faults = usize::from(fault != InjectedFault::None);
    let mut followers: Vec<JoinHandle<()>> = Vec::new();
    for at in 0..2 + dice.below(4) {
        let patience = (dice.below(3) == 0).then(|| dice.below(6));
        faults += usize::from(patience.is_some());
        let id = seed.wrapping_mul(1_000).wrapping_add(at);
        followers.push(tokio::spawn(follow(Arc::clone(world), name.clone(), patience, id)));
    }
    // Some followers are stopped where they are, like the task of a connection that was reset.
    for _ in 0..dice.below(3) {
        yield_now().await;
        let victim = dice.below(followers.len() as u64) as usize;
        followers[victim].abort();
        faults += 1;
    }
    if let InjectedFault::Stopped(turns) = fault {
        for _ in 0..turns {
            yield_now().await;
        }
        leading.abort();
    }
    for follower in followers {
        match tokio::time::timeout(STUCK, follower).await.unwrap_or_else(|_| panic!("seed {seed}: a follower is stuck"))
        {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => {}
        }
    }
    let under_way =
        tokio::time::timeout(STUCK, leading).await.unwrap_or_else(|_| panic!("seed {seed}: the leader is stuck"));
    assert!(
        under_way.is_ok() || matches!(fault, InjectedFault::Panic(_) | InjectedFault::Stopped(_)),
        "seed {seed}: {under_way:?}"
    );
    world.counts.lock().faults += faults;
}

#[test]
fn ten_thousand_faults_leave_nothing_partial_and_nobody_waiting() {
    let world = Arc::new(FaultWorld { flights: Flights::new(1), stored: Mutex::default(), counts: Mutex::default() });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let mut seed = 0;
    while world.counts.lock().faults < FAULTS {
        seed += 1;
        runtime.block_on(scenario(&world, seed));
        // A follower that finds no leader starts a flight of its own, which may outlive it a
        // little.
        runtime.block_on(async {
            for _ in 0..1_000 {
                if world.flights.is_empty() {
                    return;
                }
                yield_now().await;
            }
            panic!("seed {seed}: a flight was left behind");
        });
        for (name, bytes) in world.stored.lock().drain() {
            let ids = [seed].into_iter().chain((0..6).map(|at| seed.wrapping_mul(1_000).wrapping_add(at)));
            assert!(ids.map(whole).any(|whole| whole == bytes), "{} is stored in part", String::from_utf8_lossy(&name));
        }
    }
    let counts = world.counts.lock();
    for (what, number) in
        [("whole", counts.whole), ("failed", counts.failed), ("lost", counts.abandoned), ("left", counts.hung_up)]
    {
        assert!(number > 100, "too few ends of this kind to tell: {what} {number}");
    }
}
