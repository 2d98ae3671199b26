//! The activity of a connection, in a form that the sweep can read at any time.
//!
//! The connection records what happens (a read, a write, a request that begins or ends) in plain
//! atomics; the sweep asks [`Activity::stage`] who is being waited for, and for a progress mark.
//! Nothing here reads a clock, so a request costs a few loads and stores. All writes come from the
//! connection's own core, so no read-modify-write is needed.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::time::Duration;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Protocol {
    /// Not known yet: the first bytes have not arrived.
    Unknown,
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 by prior knowledge.
    Http2,
    /// Any bytes, after an upgrade.
    Tunnel,
    /// None any more: Larder's side is shut down, and the client's close is awaited.
    Lingering,
}

/// The party that is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The client has to finish a request head (or an HTTP/2 preface).
    Head,
    /// Nobody: the connection is idle between requests.
    Idle,
    /// The client has to read a response.
    Reading,
    /// The client has to send the content of its request.
    Sending,
    /// Larder or the origin has to act: the client is not at fault.
    Ours,
    /// The client has to close a connection that is finished.
    Lingering,
}

/// How long each stage may last without progress.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StageLimits {
    /// The limit for a complete head, from its first byte; for a new connection, from its
    /// acceptance.
    pub(crate) head: Duration,
    /// The limit for silence between requests.
    pub(crate) idle: Duration,
    /// The limit for silence inside a body, in either direction.
    pub(crate) body: Duration,
}

/// How long a client may take to close a connection that is finished. The wait only keeps the last
/// response from being lost to a reset, and two seconds are many round trips.
pub(crate) const LINGER: Duration = Duration::from_secs(2);

impl StageLimits {
    /// Returns how long `stage` may last without progress; `None` means without limit.
    pub(crate) fn of(&self, stage: Stage) -> Option<Duration> {
        match stage {
            Stage::Head => Some(self.head),
            Stage::Idle => Some(self.idle),
            Stage::Reading | Stage::Sending => Some(self.body),
            Stage::Ours => None,
            Stage::Lingering => Some(LINGER),
        }
    }
}

/// The recorded activity of one connection.
#[derive(Debug)]
pub(crate) struct Activity {
    protocol: AtomicU8,
    /// The number of reads and writes of the socket that moved bytes.
    reads: AtomicU32,
    writes: AtomicU32,
    /// The number of requests handed to the service, and of those whose response has not ended.
    requests_begun: AtomicU32,
    running: AtomicU32,
    /// True if bytes have arrived that no request has claimed: on HTTP/1 with no request running, a
    /// partial head.
    has_unclaimed: AtomicBool,
    /// True if hyper wanted bytes in its last poll and there were none.
    is_starved: AtomicBool,
    /// The number of bytes that hyper has read since the driver was last polled, where they are
    /// counted.
    poll_bytes: AtomicU32,
    /// True if the socket took no more bytes at the last attempt.
    is_blocked: AtomicBool,
    /// True if the last request was an HTTP/1.0 request.
    is_http10: AtomicBool,
    /// True once a response has switched protocols.
    is_switched: AtomicBool,
}

/// Adds to a counter that only one core writes.
fn add(counter: &AtomicU32, n: u32) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

impl Activity {
    /// Creates the record of a connection that was just accepted.
    pub(crate) fn new() -> Self {
        Self {
            protocol: AtomicU8::new(Protocol::Unknown as u8),
            reads: AtomicU32::new(0),
            writes: AtomicU32::new(0),
            requests_begun: AtomicU32::new(0),
            running: AtomicU32::new(0),
            has_unclaimed: AtomicBool::new(false),
            is_starved: AtomicBool::new(false),
            poll_bytes: AtomicU32::new(0),
            is_blocked: AtomicBool::new(false),
            is_http10: AtomicBool::new(false),
            is_switched: AtomicBool::new(false),
        }
    }

    /// Records the protocol that is spoken from now on.
    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Relaxed);
    }

    /// Returns the protocol of the connection.
    pub(crate) fn protocol(&self) -> Protocol {
        const ALL: [Protocol; 5] =
            [Protocol::Unknown, Protocol::Http1, Protocol::Http2, Protocol::Tunnel, Protocol::Lingering];
        ALL[usize::from(self.protocol.load(Relaxed)).min(ALL.len() - 1)]
    }

    /// Records that a response switches protocols: the bytes that follow are not HTTP.
    pub(crate) fn switch(&self) {
        self.is_switched.store(true, Relaxed);
    }

    /// Tells whether a response has switched protocols.
    pub(crate) fn is_switched(&self) -> bool {
        self.is_switched.load(Relaxed)
    }

    /// Records that hyper is about to be polled.
    pub(crate) fn begin_hyper_poll(&self) {
        self.is_starved.store(false, Relaxed);
    }

    /// Records that the connection's driver is being polled.
    pub(crate) fn begin_poll(&self) {
        self.poll_bytes.store(0, Relaxed);
    }

    /// Records bytes that hyper has read.
    pub(crate) fn record_poll_bytes(&self, bytes: u32) {
        add(&self.poll_bytes, bytes);
    }

    /// Returns how many bytes hyper has read since the driver was last polled.
    pub(crate) fn poll_bytes(&self) -> u32 {
        self.poll_bytes.load(Relaxed)
    }

    /// Records bytes that arrived.
    pub(crate) fn record_read(&self) {
        add(&self.reads, 1);
        self.has_unclaimed.store(true, Relaxed);
    }

    /// Records that hyper wanted bytes and there were none.
    pub(crate) fn record_starved(&self) {
        self.is_starved.store(true, Relaxed);
    }

    /// Tells whether hyper itself waits for bytes, and so would notice the client's close.
    pub(crate) fn is_starved(&self) -> bool {
        self.is_starved.load(Relaxed)
    }

    /// Records bytes that the socket took.
    pub(crate) fn record_write(&self) {
        add(&self.writes, 1);
        self.is_blocked.store(false, Relaxed);
    }

    /// Records that the socket took no more bytes.
    pub(crate) fn record_blocked(&self) {
        self.is_blocked.store(true, Relaxed);
    }

    /// Tells whether the socket took no more bytes at the last attempt.
    pub(crate) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Relaxed)
    }

    /// Records a request whose head is complete.
    pub(crate) fn begin(&self, http10: bool) {
        add(&self.requests_begun, 1);
        add(&self.running, 1);
        self.has_unclaimed.store(false, Relaxed);
        self.is_http10.store(http10, Relaxed);
    }

    /// Records that a response has ended. Bytes that arrived meanwhile were the request's content
    /// if it had any, else they begin the next head.
    pub(crate) fn end(&self, had_content: bool) {
        add(&self.running, u32::MAX);
        if had_content {
            self.has_unclaimed.store(false, Relaxed);
        }
    }

    /// Returns how many requests still run: their response has not ended.
    pub(crate) fn running(&self) -> u32 {
        self.running.load(Relaxed)
    }

    /// Returns how many responses have ended since the connection began.
    pub(crate) fn ended_count(&self) -> u32 {
        self.requests_begun.load(Relaxed).wrapping_sub(self.running())
    }

    /// Tells whether the last request was an HTTP/1.0 request, whose response body may be delimited
    /// by closing alone.
    pub(crate) fn is_http10(&self) -> bool {
        self.is_http10.load(Relaxed)
    }

    /// Returns who is being waited for, and a mark that changes whenever there is progress.
    pub(crate) fn stage(&self) -> (Stage, u32) {
        let (reads, writes) = (self.reads.load(Relaxed), self.writes.load(Relaxed));
        let protocol = self.protocol();
        if self.is_blocked.load(Relaxed) && protocol != Protocol::Lingering {
            return (Stage::Reading, writes);
        }
        let silent = (Stage::Idle, reads.wrapping_add(writes));
        match protocol {
            // Bytes of a head are not progress: a client that sends one byte a second would
            // otherwise stay for ever.
            Protocol::Unknown => (Stage::Head, 0),
            Protocol::Http1 if self.running() == 0 => match self.has_unclaimed.load(Relaxed) {
                true => (Stage::Head, self.requests_begun.load(Relaxed)),
                false => silent,
            },
            Protocol::Http1 if self.is_starved() => (Stage::Sending, reads),
            Protocol::Http2 if self.running() == 0 => silent,
            // On HTTP/2 each stream has a stage of its own: `server/connection/streams.rs`.
            Protocol::Http1 | Protocol::Http2 | Protocol::Tunnel => (Stage::Ours, 0),
            Protocol::Lingering => (Stage::Lingering, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(record: impl Fn(&Activity), expected: Stage) {
        let activity = Activity::new();
        record(&activity);
        assert_eq!(activity.stage().0, expected);
    }

    #[test]
    fn http1_stages_distinguish_client_and_origin() {
        check(|_| (), Stage::Head);
        check(|a| a.set_protocol(Protocol::Http1), Stage::Idle);
        let http1 = |then: fn(&Activity)| {
            move |a: &Activity| {
                a.set_protocol(Protocol::Http1);
                a.record_read();
                then(a);
            }
        };
        check(http1(|_| ()), Stage::Head);
        check(http1(|a| a.begin(false)), Stage::Ours);
        check(http1(|a| (a.begin(false), a.record_starved()).1), Stage::Sending);
        check(http1(|a| (a.begin(false), a.record_starved(), a.begin_hyper_poll()).2), Stage::Ours);
        check(http1(|a| (a.begin(false), a.record_blocked()).1), Stage::Reading);
        check(http1(|a| (a.begin(false), a.record_blocked(), a.record_write()).2), Stage::Ours);
        check(http1(|a| (a.begin(false), a.end(false)).1), Stage::Idle);
        check(http1(|a| (a.begin(false), a.end(false), a.record_blocked()).2), Stage::Reading);
        // Bytes that arrived while the response ran begin the next head, unless the request had
        // content.
        check(http1(|a| (a.begin(false), a.record_read(), a.end(false)).2), Stage::Head);
        check(http1(|a| (a.begin(false), a.record_read(), a.end(true)).2), Stage::Idle);
        check(|a| a.set_protocol(Protocol::Tunnel), Stage::Ours);
        check(|a| a.set_protocol(Protocol::Lingering), Stage::Lingering);
    }

    #[test]
    fn http2_stages_distinguish_client_and_origin() {
        let http2 = |then: fn(&Activity)| {
            move |a: &Activity| {
                a.set_protocol(Protocol::Http2);
                a.record_read();
                then(a);
            }
        };
        check(http2(|_| ()), Stage::Idle);
        check(http2(|a| a.begin(false)), Stage::Ours);
        check(http2(|a| (a.begin(false), a.record_starved()).1), Stage::Ours);
        check(http2(|a| (a.begin(false), a.record_blocked()).1), Stage::Reading);
    }

    #[test]
    fn bytes_are_progress_in_a_body_and_between_requests_but_not_in_a_head() {
        let activity = Activity::new();
        let mark = |record: &dyn Fn(&Activity)| {
            let before = activity.stage();
            record(&activity);
            (before.0 == activity.stage().0, before.1 != activity.stage().1)
        };
        assert_eq!(mark(&|a| a.record_read()), (true, false), "a head's bytes");
        activity.set_protocol(Protocol::Http1);
        activity.begin(false);
        activity.record_starved();
        assert_eq!(mark(&|a| a.record_read()), (true, true), "content");
        activity.record_blocked();
        assert_eq!(mark(&|a| (a.record_write(), a.record_blocked()).1), (true, true), "a response's bytes");
        activity.set_protocol(Protocol::Http2);
        activity.record_write();
        activity.end(true);
        assert_eq!(mark(&|a| a.record_write()), (true, true), "a ping's answer");
    }
}
