//! The sweep: one coarse timer per core that closes connections, and resets HTTP/2 streams, whose
//! client keeps them waiting for too long.
//!
//! The sweep checks each connection a few times per timeout, and compares stage and progress mark
//! with those of the last check, so that connections need no timers and read no clock. A timeout is
//! exact to within one round. A round goes in steps, since closing hundreds of connections in one
//! go would delay other connections' requests.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::activity::{Protocol, Stage, StageLimits};
use super::state::{ConnectionState, Shutdown};
use crate::server::ServerCounters;

/// The longest time between two rounds.
const ROUND_MAX: Duration = Duration::from_millis(500);

/// The shortest time between two steps, and so between two rounds: a core with a hundred thousand
/// connections still spends most of its time serving.
const PAUSE_MIN: Duration = Duration::from_millis(10);

/// The minimum number of connections per step.
const STEP_MIN: usize = 32;

/// The connections of a core.
#[derive(Debug, Default)]
pub(crate) struct ConnectionRoster {
    /// Guards the connections. Nothing awaits under it.
    rounds: Mutex<SweepRounds>,
}

/// The connections, and the progress of the current round.
#[derive(Debug, Default)]
struct SweepRounds {
    /// Weak, so that a socket closes when its driver ends.
    watched: Vec<WatchedConnection>,
    next: usize,
}

/// A connection, with its stage and mark at the last check.
#[derive(Debug)]
struct WatchedConnection {
    connection: Weak<ConnectionState>,
    stage: Stage,
    mark: u32,
    since: Instant,
}

impl ConnectionRoster {
    /// Adds a connection that was accepted at `now`.
    pub(crate) fn add(&self, connection: &Arc<ConnectionState>, now: Instant) {
        let (stage, mark) = connection.activity.stage();
        self.rounds.lock().watched.push(WatchedConnection {
            connection: Arc::downgrade(connection),
            stage,
            mark,
            since: now,
        });
    }

    /// Requests a shutdown of every connection.
    pub(crate) fn shut_down_all(&self, shutdown: Shutdown) {
        for watched in &self.rounds.lock().watched {
            if let Some(connection) = watched.connection.upgrade() {
                connection.request_shutdown(shutdown);
            }
        }
    }

    /// Tells whether no connection is open, tunnels included.
    pub(crate) fn is_empty(&self) -> bool {
        self.rounds.lock().watched.iter().all(|watched| watched.connection.strong_count() == 0)
    }

    /// Takes the next step of a round: checks some connections, removes those that have closed, and
    /// closes those that were waited for too long. Returns how long to pause until the next step.
    pub(crate) fn step(&self, now: Instant, limits: &StageLimits, counters: &ServerCounters) -> Duration {
        let mut rounds = self.rounds.lock();
        let SweepRounds { watched, next } = &mut *rounds;
        let (steps, pause) = steps(watched.len(), round_length(limits));
        for _ in 0..watched.len().div_ceil(steps) {
            if watched.get_mut(*next).is_some_and(|watched| !watched.check(now, limits, counters)) {
                // The last connection takes its place, and is checked next.
                watched.swap_remove(*next);
            } else {
                *next += 1;
            }
        }
        if *next >= watched.len() {
            *next = 0;
        }
        pause
    }
}

impl WatchedConnection {
    /// Checks the connection, and closes it if it was waited for too long; returns whether it is
    /// still open.
    fn check(&mut self, now: Instant, limits: &StageLimits, counters: &ServerCounters) -> bool {
        let Some(connection) = self.connection.upgrade() else { return false };
        check_streams(&connection, now, limits, counters);
        let (stage, mark) = connection.activity.stage();
        if (stage, mark) != (self.stage, self.mark) {
            (self.stage, self.mark, self.since) = (stage, mark, now);
            return true;
        }
        let Some(limit) = limits.of(stage) else { return true };
        if now.duration_since(self.since) < limit {
            return true;
        }
        if let Some(counter) = counters.closed_counter(stage) {
            counter.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(client = %connection.addr, ?stage, ?limit, "connection closed: client too slow");
        }
        connection.request_shutdown(Shutdown::Abort);
        // The connection is closing, but still counts as open; the shutdown need not be requested
        // at every check.
        self.since = now;
        true
    }
}

/// Resets the streams of a connection whose client has kept them waiting for too long; the
/// connection stays open.
fn check_streams(connection: &ConnectionState, now: Instant, limits: &StageLimits, counters: &ServerCounters) {
    if connection.activity.protocol() != Protocol::Http2 {
        return;
    }
    let cut = connection.streams.abort_stalled(now, limits.body, connection.activity.is_blocked());
    if cut > 0 {
        counters.closed_in_body.fetch_add(cut, Ordering::Relaxed);
        tracing::debug!(client = %connection.addr, cut, limit = ?limits.body, "streams reset: client too slow");
    }
}

/// Sweeps until the core ends, by the limits in force.
pub(crate) async fn sweep(
    roster: Arc<ConnectionRoster>,
    limits: impl Fn() -> StageLimits,
    counters: Arc<ServerCounters>,
) {
    loop {
        let pause = roster.step(Instant::now(), &limits(), &counters);
        sleep(pause).await;
    }
}

/// Returns a quarter of the shortest timeout, within bounds.
fn round_length(limits: &StageLimits) -> Duration {
    (limits.head.min(limits.idle).min(limits.body) / 4).clamp(PAUSE_MIN, ROUND_MAX)
}

/// Returns the number of steps of a round over this many connections, and the pause after each.
fn steps(connections: usize, round: Duration) -> (usize, Duration) {
    let most = usize::try_from(round.as_millis() / PAUSE_MIN.as_millis()).unwrap_or(usize::MAX);
    let steps = (connections / STEP_MIN).min(most).max(1);
    (steps, round / u32::try_from(steps).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::socket::split;
    use super::*;

    const LIMITS: StageLimits =
        StageLimits { head: Duration::from_secs(10), idle: Duration::from_secs(60), body: Duration::from_secs(30) };

    /// A connection that is swept, on a real socket.
    async fn roster_with_connection() -> (ConnectionRoster, Arc<ConnectionState>, Instant, tokio::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, addr) = listener.accept().await.unwrap();
        let (_, half) = split(socket);
        let (roster, connection, now) =
            (ConnectionRoster::default(), ConnectionState::new(addr, half, None), Instant::now());
        roster.add(&connection, now);
        (roster, connection, now, client)
    }

    /// Checks after each of the seconds in `rounds`, calling `between` before each, and compares
    /// the second at which the connection was closed.
    async fn check(
        prepare: impl Fn(&ConnectionState),
        between: impl Fn(&ConnectionState),
        rounds: &[u64],
        expected: Option<u64>,
    ) {
        let (roster, connection, start, _client) = roster_with_connection().await;
        prepare(&connection);
        roster.step(start, &LIMITS, &ServerCounters::default());
        let closed = rounds.iter().copied().find(|&secs| {
            between(&connection);
            roster.step(start + Duration::from_secs(secs), &LIMITS, &ServerCounters::default());
            connection.requested_shutdown() == Shutdown::Abort
        });
        assert_eq!(closed, expected);
    }

    #[tokio::test]
    async fn a_head_has_its_limit_and_bytes_do_not_extend_it() {
        check(|_| (), |_| (), &[9, 10], Some(10)).await;
        check(|_| (), |connection| connection.activity.record_read(), &[5, 9, 10], Some(10)).await;
        let partial = |connection: &ConnectionState| {
            connection.set_protocol(Protocol::Http1);
            connection.activity.record_read();
        };
        check(partial, |connection| connection.activity.record_read(), &[5, 9, 10], Some(10)).await;
    }

    #[tokio::test]
    async fn silence_between_requests_has_its_limit() {
        check(|connection| connection.set_protocol(Protocol::Http1), |_| (), &[10, 59, 60], Some(60)).await;
        check(
            |connection| connection.set_protocol(Protocol::Http2),
            |connection| connection.activity.record_read(),
            &[59, 60, 120],
            None,
        )
        .await;
    }

    #[tokio::test]
    async fn a_body_must_progress_and_waiting_for_the_origin_is_excused() {
        let running = |connection: &ConnectionState| {
            connection.set_protocol(Protocol::Http1);
            connection.activity.begin(false);
        };
        check(running, |_| (), &[30, 60, 3600], None).await;
        let unread = |connection: &ConnectionState| (running(connection), connection.activity.record_blocked()).1;
        check(unread, |_| (), &[29, 30], Some(30)).await;
        check(
            unread,
            |connection| (connection.activity.record_write(), connection.activity.record_blocked()).1,
            &[29, 30, 60],
            None,
        )
        .await;
        let unsent = |connection: &ConnectionState| (running(connection), connection.activity.record_starved()).1;
        check(unsent, |_| (), &[29, 30], Some(30)).await;
        check(unsent, |connection| connection.activity.record_read(), &[29, 30, 60], None).await;
    }

    #[tokio::test]
    async fn closed_connections_are_removed() {
        let (roster, connection, start, _client) = roster_with_connection().await;
        assert!(!roster.is_empty());
        drop(connection);
        assert!(roster.is_empty());
        roster.step(start, &LIMITS, &ServerCounters::default());
        assert!(roster.rounds.lock().watched.is_empty());
    }

    #[test]
    fn rounds_are_a_quarter_of_the_shortest_timeout_within_bounds() {
        assert_eq!(round_length(&LIMITS), ROUND_MAX);
        let head = |head| StageLimits { head, ..LIMITS };
        assert_eq!(round_length(&head(Duration::from_millis(400))), Duration::from_millis(100));
        assert_eq!(round_length(&head(Duration::ZERO)), PAUSE_MIN);
    }

    #[test]
    fn a_round_over_many_connections_goes_in_steps() {
        let check = |connections, round, expected| {
            let (steps, pause) = steps(connections, Duration::from_millis(round));
            assert_eq!((steps, pause.as_millis()), expected, "{connections} connections, {round} ms");
        };
        check(0, 500, (1, 500));
        check(STEP_MIN, 500, (1, 500));
        check(10 * STEP_MIN, 500, (10, 50));
        check(1_000_000, 500, (50, 10));
        check(1_000_000, 10, (1, 10));
    }

    #[tokio::test]
    async fn the_steps_of_a_round_skip_no_connection() {
        let (roster, connection, start, _client) = roster_with_connection().await;
        let others: Vec<_> = (1..10 * STEP_MIN).map(|_| Arc::clone(&connection)).collect();
        let closed = Arc::downgrade(&connection);
        {
            let mut rounds = roster.rounds.lock();
            let watched = |connection| WatchedConnection { connection, stage: Stage::Head, mark: 0, since: start };
            // Every second connection has closed.
            rounds.watched.extend(
                others.iter().flat_map(|connection| [watched(Arc::downgrade(connection)), watched(Weak::new())]),
            );
        }
        let seen_at = start + Duration::from_secs(1);
        connection.set_protocol(Protocol::Http1);
        for _ in 0..20 {
            roster.step(seen_at, &LIMITS, &ServerCounters::default());
        }
        let rounds = roster.rounds.lock();
        assert_eq!(rounds.watched.len(), 10 * STEP_MIN);
        assert!(rounds.watched.iter().all(|watched| watched.since == seen_at && watched.connection.ptr_eq(&closed)));
    }
}
