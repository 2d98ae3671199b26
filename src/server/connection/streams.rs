//! The open streams of an HTTP/2 connection: who is being waited for on each, and the end of
//! stalled ones.
//!
//! The reads and writes of a connection say nothing about one stream: a client that answers every
//! ping can keep its window shut for ever (RFC 9113 §5.2.2), or send no content, and with each such
//! stream it holds an origin permit and the bytes that the stream would send. So each stream has
//! its own progress marks here, which the sweep compares.
//!
//! A stream that waits in line is not stalled: all streams share the connection's window, which h2
//! hands out first in, first out, and a client may send one content after another. So where many
//! streams wait and some progress, each has more time, within bounds.
//!
//! A body cannot tell hyper to end a stream whose window is shut, since hyper does not poll the
//! body until there is room. Therefore a stream is ended from outside: its task is aborted.
//! Dropping the task drops the body (the origin permit, the stored bytes, the place among a fetch's
//! readers) and every handle on the stream, upon which h2 (since 0.4.15) drops its buffered data,
//! sends RST_STREAM (CANCEL), and leaves the connection's other streams alone.
//!
//! hyper is done with a response once the last piece was passed to h2, which then waits for the
//! window without a task. `server/service/tracked_body.rs` keeps that piece small and copied, so
//! that it keeps nothing large alive; there is at most one for each of the `http2_streams_max`
//! streams.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::activity::Stage;
use crate::proxy::upload::{UploadProgress, UploadState};

/// The window of an HTTP/2 stream, in bytes: a quarter of the connection's.
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 256 << 10;

/// The window of an HTTP/2 connection, in bytes: the most that one client can make Larder hold.
pub(crate) const HTTP2_CONNECTION_WINDOW: u32 = 1 << 20;

/// The number of unread uploads that fill a connection's window, so that no bytes of the other
/// streams can arrive.
const UPLOADS_THAT_FILL: usize = (HTTP2_CONNECTION_WINDOW / HTTP2_STREAM_WINDOW) as usize;

/// The number of waiting streams for which each of them has one more limit for its next step. So
/// the client of a connection with up to 32 waiting streams has to make room for four pieces of
/// `server/service/tracked_body.rs` within `body_idle_timeout`: 8,700 bytes a second by default.
const STREAMS_PER_LIMIT: usize = 4;

/// The maximum number of limits that a stream has for one step. A client that lets one of many
/// streams progress, so as to keep the others open, keeps them no longer than that.
const LIMITS_MAX: usize = 8;

/// The streams of a connection; empty unless it speaks HTTP/2.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// Guards the streams. Nothing awaits under it, and every task that takes it runs on the
    /// connection's core.
    list: Mutex<StreamList>,
}

#[derive(Debug, Default)]
struct StreamList {
    /// The streams by number; `None` for numbers that are free.
    streams: Vec<Option<Stream>>,
    vacant: Vec<usize>,
    /// The stream whose task hyper is about to spawn.
    unspawned: Option<usize>,
    last_check: Option<Instant>,
    /// How long no waiting stream has progressed.
    stalled_for: Duration,
}

/// A request whose response hyper has not finished.
#[derive(Debug)]
struct Stream {
    task: Option<AbortHandle>,
    /// True while a piece of the response waits for the client's window, and the number of pieces
    /// so far.
    awaits_window: bool,
    pieces: u32,
    /// The progress of the request's content, if it has any.
    content: Option<UploadProgress>,
    /// The wait for the client, once the sweep has seen it.
    wait: Option<StreamWait>,
}

/// A stream's wait for its client.
#[derive(Clone, Copy, Debug)]
struct StreamWait {
    stage: Stage,
    mark: u32,
    /// The duration of the wait, without excused times.
    duration: Duration,
    /// How long the socket was full meanwhile.
    blocked: Duration,
    /// How many limits the stream has while other streams progress.
    limits: u32,
}

impl Streams {
    /// Adds a stream and returns its number.
    pub(crate) fn open(&self, content: Option<UploadProgress>) -> usize {
        let stream = Stream { task: None, awaits_window: false, pieces: 0, content, wait: None };
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

    /// Records the task of the stream that was opened last: hyper spawns the task right after
    /// calling the service.
    pub(crate) fn set_task(&self, task: AbortHandle) {
        let mut list = self.list.lock();
        if let Some(number) = list.unspawned.take()
            && let Some(stream) = &mut list.streams[number]
        {
            stream.task = Some(task);
        }
    }

    /// Records that a piece of the response was passed to hyper, and waits for the client's window
    /// until hyper asks for the next.
    pub(crate) fn record_piece_sent(&self, number: usize) {
        if let Some(stream) = &mut self.list.lock().streams[number] {
            stream.awaits_window = true;
            stream.pieces = stream.pieces.wrapping_add(1);
        }
    }

    /// Records that hyper asked for the next piece of the response's body on stream `number`, and
    /// has to wait for it: the stream does not wait for the client.
    pub(crate) fn record_piece_requested(&self, number: usize) {
        if let Some(stream) = &mut self.list.lock().streams[number] {
            stream.awaits_window = false;
        }
    }

    /// Removes a stream.
    pub(crate) fn close(&self, number: usize) {
        let mut list = self.list.lock();
        let stream = list.streams[number].take();
        // The stream got what it waited for, or its client cancelled it; a stream that was aborted
        // here is no sign of progress.
        if stream.is_some_and(|stream| stream.wait.is_some() && stream.task.is_some()) {
            list.stalled_for = Duration::ZERO;
        }
        list.vacant.push(number);
        list.unspawned.take_if(|unspawned| *unspawned == number);
    }

    /// Aborts the streams whose client has kept them waiting for `limit`, or for several limits if
    /// they wait in line. Returns how many were aborted.
    ///
    /// While the socket is full (`is_blocked`) little is known of a single stream, and the
    /// connection is judged as a whole. That time counts only towards the longest wait of all: a
    /// client that keeps its socket full must not keep its streams for ever.
    pub(super) fn abort_stalled(&self, now: Instant, limit: Duration, is_blocked: bool) -> u64 {
        let mut list = self.list.lock();
        let held_up = list.streams.iter().flatten().filter(|stream| stream.is_held_up()).count();
        // Content that nobody reads may fill the connection's window, and then the other streams
        // have no room to send.
        let excused = if held_up >= UPLOADS_THAT_FILL { Some(Stage::Sending) } else { None };
        let elapsed = list.last_check.replace(now).map_or(Duration::ZERO, |checked_at| now.duration_since(checked_at));
        match is_blocked {
            true => list.check(Duration::ZERO, elapsed, excused),
            false => list.check(elapsed, Duration::ZERO, excused),
        }
        let is_progressing = list.stalled_for < limit;
        let stalled = list.streams.iter_mut().flatten().filter_map(|stream| stream.stalled_task(limit, is_progressing));
        stalled.map(|task| task.abort()).count() as u64
    }
}

impl StreamList {
    /// Checks every stream, and adds the time since the last check (`elapsed`), or the time that
    /// the socket was full (`blocked`), to the streams that still wait in a stage other than the
    /// excused one.
    fn check(&mut self, elapsed: Duration, blocked: Duration, excused: Option<Stage>) {
        let waiting = self.streams.iter().flatten().filter(|stream| stream.stage().0 != Stage::Ours).count();
        let limits = waiting.div_ceil(STREAMS_PER_LIMIT).clamp(1, LIMITS_MAX) as u32;
        let mut nobody_progressed = true;
        for stream in self.streams.iter_mut().flatten() {
            nobody_progressed &= !stream.check(elapsed, blocked, excused, limits);
        }
        self.stalled_for = if nobody_progressed { self.stalled_for + elapsed } else { Duration::ZERO };
    }
}

impl Stream {
    /// Tells whether content has arrived that the origin does not take.
    fn is_held_up(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.state() == UploadState::HeldUp)
    }

    /// Returns who is being waited for, and a mark that changes whenever there is progress.
    fn stage(&self) -> (Stage, u32) {
        match &self.content {
            _ if self.awaits_window => (Stage::Reading, self.pieces),
            Some(content) if content.state() == UploadState::Awaited => (Stage::Sending, content.frames()),
            _ => (Stage::Ours, 0),
        }
    }

    /// Checks the stream, which has `limits` limits at present; tells whether it has progressed
    /// since it was seen waiting.
    fn check(&mut self, elapsed: Duration, blocked: Duration, excused: Option<Stage>, limits: u32) -> bool {
        let (stage, mark) = self.stage();
        if let Some(wait) = &mut self.wait
            && (wait.stage, wait.mark) == (stage, mark)
        {
            if Some(stage) != excused {
                wait.duration += elapsed;
                wait.blocked += blocked;
            }
            // The stream may have moved up since the line was longer, but has waited for those
            // before it all the same.
            wait.limits = wait.limits.max(limits);
            return false;
        }
        let wait = StreamWait { stage, mark, duration: Duration::ZERO, blocked: Duration::ZERO, limits };
        std::mem::replace(&mut self.wait, (stage != Stage::Ours).then_some(wait)).is_some()
    }

    /// Takes the stream's task if the client has kept it waiting for too long.
    fn stalled_task(&mut self, limit: Duration, is_progressing: bool) -> Option<AbortHandle> {
        let wait = self.wait?;
        let limits = if is_progressing { wait.limits } else { 1 };
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

    /// Starts over, checks after each of these seconds, calling `between` before each, and compares
    /// the second at which the first stream was aborted.
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
            (list.last_check, list.stalled_for) = (None, Duration::ZERO);
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

    /// The same, where the time at which `between` is called does not matter.
    #[track_caller]
    fn check(streams: &Streams, between: impl Fn(), seconds: &[u64], expected: Option<u64>) {
        check_at(streams, |_, _| between(), seconds.iter().copied(), expected);
    }

    #[tokio::test]
    async fn s5_2_2_a_stream_has_its_limit_whatever_the_others_do() {
        let streams = Streams::default();
        let ((stalled, task), (moving, other)) = (opened(&streams, None), opened(&streams, None));
        check(&streams, || streams.record_piece_sent(moving), &[60, 120], None);
        streams.record_piece_sent(stalled);
        check(&streams, || streams.record_piece_sent(moving), &[29, 30], Some(30));
        assert!(task.await.unwrap_err().is_cancelled());
        streams.close(stalled);
        check(&streams, || streams.record_piece_sent(moving), &[60, 120], None);
        assert!(!other.is_finished());
    }

    #[tokio::test]
    async fn waiting_for_the_origin_or_a_full_socket_is_excused() {
        let streams = Streams::default();
        let (number, _task) = opened(&streams, None);
        streams.record_piece_sent(number);
        streams.record_piece_requested(number);
        check(&streams, || (), &[60, 120], None);
        streams.record_piece_sent(number);
        check_at(&streams, |_, now| assert_eq!(streams.abort_stalled(now, LIMIT, true), 0), [60, 120, 239], None);
    }

    #[tokio::test]
    async fn excused_moments_do_not_count_towards_the_limit() {
        let (streams, content) = (Streams::default(), UploadProgress::default());
        let (number, task) = opened(&streams, None);
        streams.record_piece_sent(number);
        // The socket is full for one second in five: 30 of 38 seconds count.
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
    async fn a_full_socket_does_not_keep_a_stream_for_ever() {
        let streams = Streams::default();
        let ((stalled, task), (moving, other)) = (opened(&streams, None), opened(&streams, None));
        streams.record_piece_sent(stalled);
        let start = Instant::now();
        let cut = (0..600).find(|&seconds| {
            streams.record_piece_sent(moving);
            streams.abort_stalled(start + Duration::from_secs(seconds), LIMIT, true) > 0
        });
        assert_eq!(cut, Some(240));
        assert!(task.await.unwrap_err().is_cancelled() && !other.is_finished());
    }

    /// Opens `length` streams, each of which waits for its client's window.
    fn line(streams: &Streams, length: usize) -> Vec<usize> {
        let numbers: Vec<_> = (0..length).map(|_| opened(streams, None).0).collect();
        numbers.iter().for_each(|&number| streams.record_piece_sent(number));
        numbers
    }

    #[tokio::test]
    async fn s5_2_2_streams_that_wait_in_line_have_more_time_while_others_progress() {
        let streams = Streams::default();
        let line = line(&streams, 20);
        // Each stream progresses once in 100 seconds; five limits are 150 seconds.
        let in_turn = |seconds: u64, _| {
            if seconds.is_multiple_of(5) {
                streams.record_piece_sent(line[seconds as usize / 5 % 20]);
            }
        };
        check_at(&streams, in_turn, 1..600, None);
        let all_but_one = |seconds: u64, _| streams.record_piece_sent(line[1 + seconds as usize % 19]);
        check_at(&streams, all_but_one, 1..600, Some(150));
        let all_until_then = |seconds: u64, now| {
            if seconds <= 50 {
                in_turn(seconds, now)
            }
        };
        check_at(&streams, all_until_then, 1..600, Some(80));
    }

    #[tokio::test]
    async fn a_line_that_gets_shorter_does_not_shorten_the_limit() {
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
        check_at(&streams, |_, _| streams.record_piece_sent(line[0]), 1..600, Some(240));
    }

    #[tokio::test]
    async fn an_aborted_stream_is_no_sign_of_progress() {
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
    async fn awaited_content_has_its_limit() {
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
        // A stream that nobody has read yet waits for a permit, as long as that may take.
        check(&streams, || (), &[29, 30], Some(30));
        let (_, _task) = opened(&streams, Some(&progress));
        held_up.iter().for_each(UploadProgress::record_frame);
        check(&streams, || (), &[60, 120], None);
        held_up[0].record_end();
        check(&streams, || (), &[29, 30], Some(30));
    }

    #[tokio::test]
    async fn numbers_are_reused_without_their_history() {
        let streams = Streams::default();
        let (first, _task) = opened(&streams, None);
        streams.record_piece_sent(first);
        let start = Instant::now();
        streams.abort_stalled(start, LIMIT, false);
        streams.close(first);
        let (second, _task) = opened(&streams, None);
        assert_eq!(first, second);
        streams.record_piece_sent(second);
        assert_eq!(streams.abort_stalled(start + LIMIT, LIMIT, false), 0);
        assert_eq!(streams.abort_stalled(start + 2 * LIMIT, LIMIT, false), 1);
    }
}
