//! Tests of the flight table: what leaders and followers learn, step by step.

use std::sync::Arc;

use super::coalesce::*;

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn lead<H>(flights: &Arc<Flights<H>>, name: &[u8]) -> FlightLeader<H> {
    match flights.join(name) {
        FlightRole::Leader(lead) => lead,
        FlightRole::Follower(_) => panic!("somebody leads already"),
    }
}

fn follow<H>(flights: &Arc<Flights<H>>, name: &[u8]) -> FlightFollower<H> {
    match flights.join(name) {
        FlightRole::Follower(follow) => follow,
        FlightRole::Leader(_) => panic!("nobody leads"),
    }
}

#[test]
fn followers_learn_what_the_leader_landed_with() {
    run(async {
        let flights = Flights::new(1);
        let leader = lead(&flights, b"a");
        let early = follow(&flights, b"a");
        let waiting = tokio::spawn(async move { early.result().await });
        tokio::task::yield_now().await;
        leader.land(7);
        leader.land(8);
        assert_eq!(waiting.await.unwrap(), Some(7));
        assert_eq!(follow(&flights, b"a").result().await, Some(7));
        drop(leader);
        assert!(flights.is_empty());
        drop(lead(&flights, b"a"));
    });
}

#[test]
fn a_leader_that_vanishes_strands_nobody() {
    run(async {
        let flights: Arc<Flights<u8>> = Flights::new(1);
        let leader = lead(&flights, b"a");
        let waiting = follow(&flights, b"a");
        let waiting = tokio::spawn(async move { waiting.result().await });
        tokio::task::yield_now().await;
        drop(leader);
        assert_eq!(waiting.await.unwrap(), None);
    });
}

#[test]
fn each_flight_that_leaves_the_table_counts_once() {
    let flights: Arc<Flights<u8>> = Flights::new(1);
    let mut closed = lead(&flights, b"a");
    assert_eq!(flights.departures(), 0);
    closed.close();
    assert_eq!(flights.departures(), 1);
    drop(closed);
    let withdrawn = lead(&flights, b"a");
    flights.withdraw(&withdrawn.follow());
    flights.withdraw(&withdrawn.follow());
    drop(withdrawn);
    assert_eq!(flights.departures(), 2);
    drop(flights.unlisted());
    assert_eq!(flights.departures(), 2, "it never was in the table");
}

#[test]
fn a_closed_flight_still_lands_but_is_not_joined() {
    run(async {
        let flights = Flights::new(1);
        let mut first = lead(&flights, b"a");
        let follower = first.follow();
        first.close();
        let second = lead(&flights, b"a");
        first.land(1);
        assert_eq!(follower.result().await, Some(1));
        drop(first);
        assert_eq!(flights.len(), 1, "dropping the first must not take out the second");
        drop(second);
    });
}
