//! The flight table under many interleavings. The source file itself is compiled against shuttle's
//! locks, whose schedules decide which thread runs whenever a lock is taken or a waiter is
//! notified.
//!
//! Two kinds of schedule: random ones, and ones with few switches (PCT), which find faults that
//! need just two or three switches in the wrong places. A schedule that fails is printed, and can
//! be replayed.

// Tests and their helpers fail by panicking.
#![allow(clippy::unwrap_used)]

/// The file under test, which finds its locks in `super::sync`.
#[allow(dead_code, unreachable_pub)] // All of the file is here, and the models use a part.
#[path = "../src/proxy/fetch/coalesce.rs"]
mod coalesce;

/// The program's synchronisation types, with the same interface but scheduled by shuttle.
mod sync {
    use shuttle::sync::MutexGuard;
    pub(super) use shuttle::sync::atomic::AtomicU64;
    use shuttle::thread::yield_now;
    use tokio::sync::futures::Notified;

    #[derive(Default)]
    pub(super) struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(shuttle::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            // A panic under this lock fails the test anyway.
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    /// tokio's `Notify`, each of whose calls is one step; before each step another thread may run.
    pub(super) struct Notify(tokio::sync::Notify);

    impl Notify {
        pub(super) fn new() -> Self {
            Self(tokio::sync::Notify::new())
        }

        pub(super) fn notified(&self) -> Notified<'_> {
            yield_now();
            self.0.notified()
        }

        pub(super) fn notify_waiters(&self) {
            yield_now();
            self.0.notify_waiters();
        }
    }
}

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use coalesce::{FlightRole, Flights};
use shuttle::future::block_on;
use shuttle::thread::yield_now;
use shuttle::{check_pct, check_random, thread};

/// The number of schedules of each kind.
const SCHEDULES: usize = 2_000;

fn check(model: fn()) {
    check_random(model, SCHEDULES);
    check_pct(model, SCHEDULES, 3);
}

/// Joins, and then leads and lands, or waits, as a request does.
fn ask(flights: &Arc<Flights<usize>>, fetched: &AtomicUsize) -> Option<usize> {
    match flights.join(*b"/") {
        FlightRole::Leader(lead) => {
            let number = fetched.fetch_add(1, Ordering::SeqCst) + 1;
            lead.land(number);
            Some(number)
        }
        FlightRole::Follower(follow) => block_on(follow.result()),
    }
}

#[test]
fn followers_learn_the_flights_result() {
    check(|| {
        let (flights, fetched) = (Flights::new(1), Arc::new(AtomicUsize::new(0)));
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let (flights, fetched) = (Arc::clone(&flights), Arc::clone(&fetched));
                thread::spawn(move || ask(&flights, &fetched))
            })
            .collect();
        for client in clients {
            let number = client.join().unwrap().expect("no leader vanished");
            assert!(number <= fetched.load(Ordering::SeqCst), "{number} is no flight's result");
        }
        assert!(flights.is_empty());
    });
}

#[test]
fn a_leader_that_vanishes_strands_nobody() {
    check(|| {
        let flights = Flights::<usize>::new(1);
        let FlightRole::Leader(lead) = flights.join(*b"/") else { panic!("nobody leads yet") };
        let followers: Vec<_> = (0..2)
            .map(|_| {
                let flights = Arc::clone(&flights);
                thread::spawn(move || match flights.join(*b"/") {
                    // The leader was gone already, so this one leads, and vanishes too.
                    FlightRole::Leader(_lead) => None,
                    FlightRole::Follower(follow) => block_on(follow.result()),
                })
            })
            .collect();
        let vanishing = thread::spawn(move || drop(lead));
        for follower in followers {
            assert_eq!(follower.join().unwrap(), None);
        }
        vanishing.join().unwrap();
        assert!(flights.is_empty());
    });
}

#[test]
fn landing_and_vanishing_at_once_has_one_of_the_two_results() {
    check(|| {
        let flights = Flights::new(1);
        let FlightRole::Leader(mut lead) = flights.join(*b"/") else { panic!("nobody leads yet") };
        let early = lead.follow();
        let waiting = thread::spawn(move || block_on(early.result()));
        let later = {
            let flights = Arc::clone(&flights);
            thread::spawn(move || match flights.find(b"/") {
                Some(follow) => block_on(follow.result()),
                None => Some(7),
            })
        };
        // A fill that becomes too large closes its flight: nobody joins any more, and those who had
        // joined still learn the head.
        lead.close();
        lead.land(7);
        drop(lead);
        assert_eq!(waiting.join().unwrap(), Some(7));
        assert_eq!(later.join().unwrap(), Some(7));
        assert!(flights.is_empty());
    });
}

#[test]
fn two_flights_of_one_name_do_not_take_each_other_out() {
    check(|| {
        let flights = Flights::<usize>::new(1);
        let FlightRole::Leader(mut first) = flights.join(*b"/") else { panic!("nobody leads yet") };
        let old = first.follow();
        first.close();
        let closing = thread::spawn(move || {
            first.land(1);
            drop(first);
        });
        let second = match flights.join(*b"/") {
            FlightRole::Leader(lead) => lead,
            FlightRole::Follower(_) => panic!("the first was closed"),
        };
        closing.join().unwrap();
        let follow = flights.find(b"/").expect("the second flight can be found");
        second.land(2);
        assert_eq!((block_on(old.result()), block_on(follow.result())), (Some(1), Some(2)));
        drop(second);
        assert!(flights.is_empty());
    });
}

/// Looks in the store, and requests only what is not there, as a request does. Tells whether it led
/// a flight.
fn look_up(flights: &Arc<Flights<usize>>, stored: &AtomicBool) -> bool {
    let departures = flights.departures();
    yield_now();
    if stored.load(Ordering::SeqCst) {
        return false;
    }
    let FlightRole::Leader(mut lead) = flights.join(*b"/") else { return false };
    if flights.departures() != departures {
        return false;
    }
    lead.land(1);
    assert!(!stored.swap(true, Ordering::SeqCst), "the response that a flight had stored was not seen");
    lead.close();
    true
}

#[test]
fn a_response_stored_by_a_flight_is_not_fetched_again() {
    check(|| {
        let (flights, stored) = (Flights::new(1), Arc::new(AtomicBool::new(false)));
        let clients: Vec<_> = (0..3)
            .map(|_| {
                let (flights, stored) = (Arc::clone(&flights), Arc::clone(&stored));
                thread::spawn(move || look_up(&flights, &stored))
            })
            .collect();
        let led = clients.into_iter().map(|client| client.join().unwrap()).filter(|led| *led).count();
        assert_eq!(led, 1);
    });
}
