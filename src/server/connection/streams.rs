//! The open streams of an HTTP/2 connection: who is being waited for on each, and the end of those that stall.
//!
//! What a connection reads and writes tells nothing of one stream: a client that answers every ping can keep its window
//! shut for ever (RFC 9113 §5.2.2), or send no content, and with each such stream it keeps a permit of the origin and the
//! bytes that the stream would send. So each stream has its own marks here, which the sweep compares.
//!
//! A stream that waits in line is not stalled: all share the connection's window, which h2 deals out first in, first out, and
//! a client may send one content after another. So where many wait and some get on, each has more time, within bounds.
//!
//! A body cannot tell hyper to end a stream whose window is shut, since hyper does not ask it for anything until there is
//! room. Therefore a stream is ended from outside: its task is aborted. With the task go the body (the permit, the stored
//! bytes, the place among a fill's readers) and every handle on the stream, upon which h2 (since 0.4.15) drops what it has
//! gathered for it, sends RST_STREAM (CANCEL), and leaves the connection's other streams alone.
//!
//! hyper is done with a response once it has handed the last piece to h2, which then waits for the window without a task.
//! [`crate::server::service::tracked_body`] sees to it that such a piece is small and keeps nothing large alive; there is one at most for each
//! of the `http2_streams_max` streams.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::activity::Stage;
use crate::proxy::upload::{UploadProgress, UploadState};

/// An HTTP/2 stream's window, in bytes: an upload is acknowledged four times before it fills the connection's.
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 256 << 10;

/// An HTTP/2 connection's window, in bytes: what one client can have us hold.
pub(crate) const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;

/// How many uploads that are read by nobody fill a connection's window, so that nothing of the others can come.
const UPLOADS_THAT_FILL: usize = (HTTP2_CONNECTION_WINDOW / HTTP2_STREAM_WINDOW) as usize;

/// How many streams in line there are to each limit that they have for one step. So a connection with up to 32 of them has to
/// make room for four pieces of [`crate::server::service::tracked_body`] within `body_idle_timeout`: by default for 8,700 bytes a second.
const STREAMS_PER_LIMIT: usize = 4;

/// The most limits that a stream has for one step. A client that lets one of many get on, so as to keep
/// the others, keeps them no longer.
const LIMITS_MAX: usize = 8;

/// The streams of a connection. Empty where it does not speak HTTP/2.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Guards the streams. Nothing awaits under it, and all who take it run on the connection's core.
    list: Mutex<StreamList>,
}

#[derive(Debug, Default)]
struct StreamList {
    /// By number; `None` where one has ended and the next has not come.
    streams: Vec<Option<Stream>>,
    vacant: Vec<usize>,
    /// The one whose task hyper is about to spawn.
    unspawned: Option<usize>,
    last_check: Option<Instant>,
    /// For how long no stream got on that had waited.
    still: Duration,
}

/// A request whose response hyper has not sent.
#[derive(Debug)]
struct Stream {
    task: Option<AbortHandle>,
    /// Whether a piece of the response waits for the client's window, and how many have waited.
    is_windowless: bool,
    pieces: u32,
    /// The request's content, where it has any.
    content: Option<UploadProgress>,
    /// The wait for the client, where the sweep has seen it.
    wait: Option<StreamWait>,
}

/// A stream's wait for its client.
#[derive(Clone, Copy, Debug)]
struct StreamWait {
    stage: Stage,
    mark: u32,
    /// For how long, without the times that were excused.
    duration: Duration,
    /// For how long the socket was full meanwhile.
    blocked: Duration,
    /// How many limits it has while others get on.
    limits: u32,
}

impl Streams {
    /// Adds a stream, and returns its number.
    pub(crate) fn open(&self, content: Option<UploadProgress>) -> usize {
        let stream = Stream { task: None, is_windowless: false, pieces: 0, content, wait: None };
        let mut list = self.list.lock();
        let number = match list.vacant.pop() {
            Some(number) => {
                list.streams[number] = Some(stream);
                number
            }
            None => {
                list.streams.push(Some(stream));
                list.streams.len() - 1
            }
        };
        list.unspawned = Some(number);
        number
    }

    /// Notes the task of the stream that was opened last: hyper spawns it as soon as its service was called.
    pub(crate) fn set_task(&self, task: AbortHandle) {
        let mut list = self.list.lock();
        if let Some(number) = list.unspawned.take()
            && let Some(stream) = &mut list.streams[number]
        {
            stream.task = Some(task);
        }
    }

    /// Notes that a piece of the response was handed over, and waits for the client's window until the next is asked for.
    pub(crate) fn hand_over(&self, number: usize) {
        if let Some(stream) = &mut self.list.lock().streams[number] {
            stream.is_windowless = true;
            stream.pieces = stream.pieces.wrapping_add(1);
        }
    }

    /// Notes that the next piece was asked for, and is not there yet.
    pub(crate) fn await_piece(&self, number: usize) {
        if let Some(stream) = &mut self.list.lock().streams[number] {
            stream.is_windowless = false;
        }
    }

    /// Forgets a stream.
    pub(crate) fn close(&self, number: usize) {
        let mut list = self.list.lock();
        let stream = list.streams[number].take();
        // It got what it waited for, or its client gave it up; that it was ended here tells nothing.
        if stream.is_some_and(|stream| stream.wait.is_some() && stream.task.is_some()) {
            list.still = Duration::ZERO;
        }
        list.vacant.push(number);
        list.unspawned.take_if(|unspawned| *unspawned == number);
    }

    /// Ends the streams whose client has kept them waiting for `limit`, or for some limits where they wait in line. Returns
    /// how many.
    ///
    /// While the socket is full (`is_blocked`) little is known of a stream, and the connection is judged as one. That time counts
    /// only towards the most that a stream has: a client that keeps its socket full must not keep all for ever.
    pub(crate) fn abort_stalled(&self, now: Instant, limit: Duration, is_blocked: bool) -> u64 {
        let mut list = self.list.lock();
        let held_up = list.streams.iter().flatten().filter(|stream| stream.is_held_up()).count();
        // Content that is read by nobody may fill the connection's window, and then the others have no room to send.
        let excused = if held_up >= UPLOADS_THAT_FILL { Some(Stage::Sending) } else { None };
        let elapsed = list.last_check.replace(now).map_or(Duration::ZERO, |checked_at| now.duration_since(checked_at));
        match is_blocked {
            true => list.check(Duration::ZERO, elapsed, excused),
            false => list.check(elapsed, Duration::ZERO, excused),
        }
        let gets_on = list.still < limit;
        let stalled = list.streams.iter_mut().flatten().filter_map(|stream| stream.stalled_task(limit, gets_on));
        stalled.map(|task| task.abort()).count() as u64
    }
}

impl StreamList {
    /// Looks at every stream, and counts what `elapsed` since the last look, or for how long the socket was `blocked`, for those
    /// that wait still, in another stage than the excused one.
    fn check(&mut self, elapsed: Duration, blocked: Duration, excused: Option<Stage>) {
        let waiting = self.streams.iter().flatten().filter(|stream| stream.stage().0 != Stage::Ours).count();
        let limits = waiting.div_ceil(STREAMS_PER_LIMIT).clamp(1, LIMITS_MAX) as u32;
        let mut is_still = true;
        for stream in self.streams.iter_mut().flatten() {
            is_still &= !stream.check(elapsed, blocked, excused, limits);
        }
        self.still = if is_still { self.still + elapsed } else { Duration::ZERO };
    }
}

impl Stream {
    /// Tells whether content came that the origin does not take.
    fn is_held_up(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.state() == UploadState::HeldUp)
    }

    /// Says who is being waited for, and a mark that changes whenever there is progress.
    fn stage(&self) -> (Stage, u32) {
        match &self.content {
            _ if self.is_windowless => (Stage::Reading, self.pieces),
            Some(content) if content.state() == UploadState::Awaited => (Stage::Sending, content.frames()),
            _ => (Stage::Ours, 0),
        }
    }

    /// Looks at the stream, which has so many limits as things are; tells whether it got on since it was seen waiting.
    fn check(&mut self, elapsed: Duration, blocked: Duration, excused: Option<Stage>, limits: u32) -> bool {
        let (stage, mark) = self.stage();
        if let Some(wait) = &mut self.wait
            && (wait.stage, wait.mark) == (stage, mark)
        {
            if Some(stage) != excused {
                wait.duration += elapsed;
                wait.blocked += blocked;
            }
            // It may have moved up since the line was longer, but has waited for those before it all the same.
            wait.limits = wait.limits.max(limits);
            return false;
        }
        let wait = StreamWait { stage, mark, duration: Duration::ZERO, blocked: Duration::ZERO, limits };
        std::mem::replace(&mut self.wait, (stage != Stage::Ours).then_some(wait)).is_some()
    }

    /// Returns its task where the client has kept it waiting for too long.
    fn stalled_task(&mut self, limit: Duration, others_get_on: bool) -> Option<AbortHandle> {
        let wait = self.wait?;
        let limits = if others_get_on { wait.limits } else { 1 };
        let has_time = wait.duration < limit * limits && wait.duration + wait.blocked < limit * LIMITS_MAX as u32;
        if has_time { None } else { self.task.take() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::{JoinHandle, spawn};

    const LIMIT: Duration = Duration::from_secs(30);

    /// Opens a stream with a task that never ends by itself.
    fn opened(streams: &Streams, content: Option<&UploadProgress>) -> (usize, JoinHandle<()>) {
        let number = streams.open(content.cloned());
        let task = spawn(std::future::pending());
        streams.set_task(task.abort_handle());
        (number, task)
    }

    /// Begins anew, looks after these seconds, doing `between` before each, and says after which the first stream was cut.
    #[track_caller]
    fn check_at(
        streams: &Streams,
        between: impl Fn(u64, Instant),
        seconds: impl IntoIterator<Item = u64>,
        expected: Option<u64>,
    ) {
        {
            let mut list = streams.list.lock();
            list.streams.iter_mut().flatten().for_each(|stream| stream.wait = None);
            (list.last_check, list.still) = (None, Duration::ZERO);
        }
        let start = Instant::now();
        assert_eq!(streams.abort_stalled(start, LIMIT, false), 0);
        let cut = seconds.into_iter().find(|&seconds| {
            let now = start + Duration::from_secs(seconds);
            between(seconds, now);
            streams.abort_stalled(now, LIMIT, false) > 0
        });
        assert_eq!(cut, expected);
    }

    /// The same, where it does not matter when `between` is done.
    #[track_caller]
    fn check(streams: &Streams, between: impl Fn(), seconds: &[u64], expected: Option<u64>) {
        check_at(streams, |_, _| between(), seconds.iter().copied(), expected);
    }

    #[tokio::test]
    async fn s5_2_2_a_stream_has_its_time_whatever_the_others_do() {
        let streams = Streams::default();
        let ((stalled, task), (moving, other)) = (opened(&streams, None), opened(&streams, None));
        check(&streams, || streams.hand_over(moving), &[60, 120], None);
        streams.hand_over(stalled);
        check(&streams, || streams.hand_over(moving), &[29, 30], Some(30));
        assert!(task.await.unwrap_err().is_cancelled());
        streams.close(stalled);
        check(&streams, || streams.hand_over(moving), &[60, 120], None);
        assert!(!other.is_finished());
    }

    #[tokio::test]
    async fn the_origin_and_a_full_socket_are_no_fault_of_a_stream() {
        let streams = Streams::default();
        let (number, _task) = opened(&streams, None);
        streams.hand_over(number);
        streams.await_piece(number);
        check(&streams, || (), &[60, 120], None);
        streams.hand_over(number);
        check_at(&streams, |_, now| assert_eq!(streams.abort_stalled(now, LIMIT, true), 0), [60, 120, 239], None);
    }

    #[tokio::test]
    async fn what_is_excused_now_and_then_has_its_time_without_these_moments() {
        let (streams, content) = (Streams::default(), UploadProgress::default());
        let (number, task) = opened(&streams, None);
        streams.hand_over(number);
        // The socket is full for one second of five: 30 seconds are left of 38.
        let full_now_and_then = |seconds: u64, now| {
            if seconds % 5 == 1 {
                streams.abort_stalled(now, LIMIT, true);
            }
        };
        check_at(&streams, full_now_and_then, 1..120, Some(38));
        assert!(task.await.unwrap_err().is_cancelled());
        streams.close(number);
        let (_, _task) = opened(&streams, Some(&content));
        content.record_wait();
        let held_up: Vec<_> = (0..UPLOADS_THAT_FILL).map(|_| UploadProgress::default()).collect();
        let _tasks: Vec<_> = held_up.iter().map(|content| opened(&streams, Some(content))).collect();
        let filled_now_and_then = |seconds: u64, _| match seconds % 5 {
            1 => held_up.iter().for_each(UploadProgress::record_frame),
            _ => held_up.iter().for_each(UploadProgress::record_end),
        };
        check_at(&streams, filled_now_and_then, 1..120, Some(38));
    }

    #[tokio::test]
    async fn a_full_socket_keeps_no_stream_for_ever() {
        let streams = Streams::default();
        let ((stalled, task), (moving, other)) = (opened(&streams, None), opened(&streams, None));
        streams.hand_over(stalled);
        let start = Instant::now();
        let cut = (0..600).find(|&seconds| {
            streams.hand_over(moving);
            streams.abort_stalled(start + Duration::from_secs(seconds), LIMIT, true) > 0
        });
        assert_eq!(cut, Some(240));
        assert!(task.await.unwrap_err().is_cancelled() && !other.is_finished());
    }

    /// Opens so many streams, each of which waits for its client's window.
    fn line(streams: &Streams, length: usize) -> Vec<usize> {
        let numbers: Vec<_> = (0..length).map(|_| opened(streams, None).0).collect();
        numbers.iter().for_each(|&number| streams.hand_over(number));
        numbers
    }

    #[tokio::test]
    async fn s5_2_2_streams_that_wait_in_line_have_more_time_while_others_get_on() {
        let streams = Streams::default();
        let line = line(&streams, 20);
        // Each gets on once in 100 seconds; five limits are 150.
        let in_turn = |seconds: u64, _| {
            if seconds.is_multiple_of(5) {
                streams.hand_over(line[seconds as usize / 5 % 20]);
            }
        };
        check_at(&streams, in_turn, 1..600, None);
        let all_but_one = |seconds: u64, _| streams.hand_over(line[1 + seconds as usize % 19]);
        check_at(&streams, all_but_one, 1..600, Some(150));
        let all_until_then = |seconds: u64, now| {
            if seconds <= 50 {
                in_turn(seconds, now)
            }
        };
        check_at(&streams, all_until_then, 1..600, Some(80));
    }

    #[tokio::test]
    async fn a_line_that_gets_shorter_takes_no_time_back() {
        let streams = Streams::default();
        let line = line(&streams, 20);
        let one_by_one = |seconds: u64, _| {
            if seconds.is_multiple_of(5) {
                streams.close(line[seconds as usize / 5 - 1]);
            }
        };
        check_at(&streams, one_by_one, 1..=100, None);
    }

    #[tokio::test]
    async fn the_time_in_line_is_bounded() {
        let streams = Streams::default();
        let line = line(&streams, 100);
        check_at(&streams, |_, _| streams.hand_over(line[0]), 1..600, Some(240));
    }

    #[tokio::test]
    async fn whom_the_sweep_ends_has_not_got_on() {
        let streams = Streams::default();
        let start = Instant::now();
        let cut_after = |seconds| streams.abort_stalled(start + Duration::from_secs(seconds), LIMIT, false);
        let first = line(&streams, 8);
        assert_eq!(cut_after(0), 0);
        line(&streams, 4);
        assert_eq!((cut_after(20), cut_after(30)), (0, 8));
        first.iter().for_each(|&number| streams.close(number));
        assert_eq!((cut_after(49), cut_after(50)), (0, 4));
    }

    #[tokio::test]
    async fn content_that_is_awaited_has_its_time() {
        let (streams, content) = (Streams::default(), UploadProgress::default());
        let (_, _task) = opened(&streams, Some(&content));
        check(&streams, || (), &[60, 120], None);
        content.record_wait();
        check(&streams, || (content.record_frame(), content.record_wait()).1, &[60, 120], None);
        check(&streams, || (), &[29, 30], Some(30));
    }

    #[tokio::test]
    async fn content_that_the_origin_does_not_take_excuses_the_others() {
        let (streams, progress) = (Streams::default(), UploadProgress::default());
        let (_, _task) = opened(&streams, Some(&progress));
        progress.record_wait();
        let held_up: Vec<_> = (0..UPLOADS_THAT_FILL).map(|_| UploadProgress::default()).collect();
        let _tasks: Vec<_> = held_up.iter().map(|content| opened(&streams, Some(content))).collect();
        // Whoever has not been read yet waits for a permit, as long as that may take.
        check(&streams, || (), &[29, 30], Some(30));
        let (_, _task) = opened(&streams, Some(&progress));
        held_up.iter().for_each(UploadProgress::record_frame);
        check(&streams, || (), &[60, 120], None);
        held_up[0].record_end();
        check(&streams, || (), &[29, 30], Some(30));
    }

    #[tokio::test]
    async fn numbers_are_used_again_and_bring_nothing_with_them() {
        let streams = Streams::default();
        let (first, _task) = opened(&streams, None);
        streams.hand_over(first);
        let start = Instant::now();
        streams.abort_stalled(start, LIMIT, false);
        streams.close(first);
        let (second, _task) = opened(&streams, None);
        assert_eq!(first, second);
        streams.hand_over(second);
        assert_eq!(streams.abort_stalled(start + LIMIT, LIMIT, false), 0);
        assert_eq!(streams.abort_stalled(start + 2 * LIMIT, LIMIT, false), 1);
    }
}
