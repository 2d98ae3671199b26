//! The open streams of an HTTP/2 connection: who is being waited for on each, and the end of those that stall.
//!
//! What a connection reads and writes tells nothing of one stream: a client that answers every ping can keep its window
//! shut for ever (RFC 9113 §5.2.2), or send no content, and with each such stream it keeps a permit of the origin and the
//! bytes that the stream would send. So each stream has its own marks here, which the sweep compares.
//!
//! A body cannot tell hyper to end a stream whose window is shut, since hyper does not ask it for anything until there is
//! room. Therefore a stream is ended from outside: its task is aborted. With the task go the body (the permit, the stored
//! bytes, the place among a fill's readers) and every handle on the stream, upon which h2 (since 0.4.15) drops what it has
//! gathered for it, sends RST_STREAM (CANCEL), and leaves the connection's other streams alone.
//!
//! hyper is done with a response once it has handed the last piece to h2, which then waits for the window without a task.
//! [`super::tracked`] sees to it that such a piece is small and keeps nothing large alive; there is one at most for each
//! of the `http2_streams_max` streams.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::activity::Stage;
use super::protocol::UPLOADS_THAT_FILL;
use crate::proxy::upload::{Content, State};

/// The streams of a connection. Empty where it does not speak HTTP/2.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Guards the streams. Nothing awaits under it, and all who take it run on the connection's core.
    list: Mutex<List>,
}

#[derive(Debug, Default)]
struct List {
    /// By number; `None` where one has ended and the next has not come.
    streams: Vec<Option<Stream>>,
    vacant: Vec<usize>,
    /// The one whose task hyper is about to spawn.
    unspawned: Option<usize>,
    looked_at: Option<Instant>,
}

/// A request whose response hyper has not sent.
#[derive(Debug)]
struct Stream {
    task: Option<AbortHandle>,
    /// Whether a piece of the response waits for the client's window, and how many have waited.
    is_windowless: bool,
    pieces: u32,
    /// The request's content, where it has any.
    content: Option<Content>,
    /// The wait for the client, where the sweep has seen it.
    wait: Option<Wait>,
}

/// A stream's wait for its client.
#[derive(Clone, Copy, Debug)]
struct Wait {
    stage: Stage,
    mark: u32,
    /// For how long, without the times that were excused.
    waited: Duration,
}

impl Streams {
    /// Adds a stream, and returns its number.
    pub(super) fn open(&self, content: Option<Content>) -> usize {
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
    pub(super) fn spawned(&self, task: AbortHandle) {
        let mut list = self.list.lock();
        if let Some(number) = list.unspawned.take()
            && let Some(stream) = &mut list.streams[number]
        {
            stream.task = Some(task);
        }
    }

    /// Notes that a piece of the response was handed over, and waits for the client's window until the next is asked for.
    pub(super) fn hand_over(&self, number: usize) {
        if let Some(stream) = &mut self.list.lock().streams[number] {
            stream.is_windowless = true;
            stream.pieces = stream.pieces.wrapping_add(1);
        }
    }

    /// Notes that the next piece was asked for, and is not there yet.
    pub(super) fn await_piece(&self, number: usize) {
        if let Some(stream) = &mut self.list.lock().streams[number] {
            stream.is_windowless = false;
        }
    }

    /// Forgets a stream.
    pub(super) fn close(&self, number: usize) {
        let mut list = self.list.lock();
        list.streams[number] = None;
        list.vacant.push(number);
        list.unspawned.take_if(|unspawned| *unspawned == number);
    }

    /// Ends the streams whose client has kept them waiting for `limit`. Returns how many.
    pub(super) fn cut_stalled(&self, now: Instant, limit: Duration) -> u64 {
        let mut list = self.list.lock();
        let held_up = list.streams.iter().flatten().filter(|stream| stream.is_held_up()).count();
        // Content that is read by nobody may fill the connection's window, and then the others have no room to send.
        let excused = if held_up >= UPLOADS_THAT_FILL { Some(Stage::Sending) } else { None };
        let passed = list.passed(now);
        list.look(passed, excused);
        let stalled = list.streams.iter_mut().flatten().filter_map(|stream| stream.stalled(limit));
        stalled.map(|task| task.abort()).count() as u64
    }

    /// Does not count the time since the last look: while the socket is full, nothing is known of a stream, and the connection
    /// is judged as one. What was waited before still counts, or a client that fills its socket now and then would keep all.
    pub(super) fn excuse(&self, now: Instant) {
        let mut list = self.list.lock();
        list.passed(now);
        list.look(Duration::ZERO, None);
    }
}

impl List {
    /// Returns how long ago the last look was, and notes that this one is `now`.
    fn passed(&mut self, now: Instant) -> Duration {
        self.looked_at.replace(now).map_or(Duration::ZERO, |looked_at| now.duration_since(looked_at))
    }

    /// Looks at every stream, and counts what `passed` since the last look for those that wait still, in another stage than
    /// the excused one.
    fn look(&mut self, passed: Duration, excused: Option<Stage>) {
        self.streams.iter_mut().flatten().for_each(|stream| stream.look(passed, excused));
    }
}

impl Stream {
    /// Tells whether content came that the origin does not take.
    fn is_held_up(&self) -> bool {
        self.content.as_ref().is_some_and(|content| content.state() == State::HeldUp)
    }

    /// Says who is being waited for, and a mark that changes whenever there is progress.
    fn stage(&self) -> (Stage, u32) {
        match &self.content {
            _ if self.is_windowless => (Stage::Reading, self.pieces),
            Some(content) if content.state() == State::Awaited => (Stage::Sending, content.frames()),
            _ => (Stage::Ours, 0),
        }
    }

    /// Looks at the stream, and counts what `passed` where it waits still, in another stage than the excused one.
    fn look(&mut self, passed: Duration, excused: Option<Stage>) {
        let (stage, mark) = self.stage();
        if let Some(wait) = &mut self.wait
            && (wait.stage, wait.mark) == (stage, mark)
        {
            if Some(stage) != excused {
                wait.waited += passed;
            }
            return;
        }
        self.wait = (stage != Stage::Ours).then_some(Wait { stage, mark, waited: Duration::ZERO });
    }

    /// Returns its task where the client has kept it waiting for too long.
    fn stalled(&mut self, limit: Duration) -> Option<AbortHandle> {
        if self.wait?.waited < limit { None } else { self.task.take() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::{JoinHandle, spawn};

    const LIMIT: Duration = Duration::from_secs(30);

    /// Opens a stream with a task that never ends by itself.
    fn opened(streams: &Streams, content: Option<&Content>) -> (usize, JoinHandle<()>) {
        let number = streams.open(content.cloned());
        let task = spawn(std::future::pending());
        streams.spawned(task.abort_handle());
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
            list.looked_at = None;
        }
        let start = Instant::now();
        assert_eq!(streams.cut_stalled(start, LIMIT), 0);
        let cut = seconds.into_iter().find(|&seconds| {
            let now = start + Duration::from_secs(seconds);
            between(seconds, now);
            streams.cut_stalled(now, LIMIT) > 0
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
        check_at(&streams, |_, now| streams.excuse(now), [60, 120], None);
    }

    #[tokio::test]
    async fn what_is_excused_now_and_then_has_its_time_without_these_moments() {
        let (streams, content) = (Streams::default(), Content::default());
        let (number, task) = opened(&streams, None);
        streams.hand_over(number);
        // The socket is full for one second of five: 30 seconds are left of 38.
        let full_now_and_then = |seconds: u64, now| {
            if seconds % 5 == 1 {
                streams.excuse(now);
            }
        };
        check_at(&streams, full_now_and_then, 1..120, Some(38));
        assert!(task.await.unwrap_err().is_cancelled());
        streams.close(number);
        let (_, _task) = opened(&streams, Some(&content));
        content.awaits();
        let held_up: Vec<_> = (0..UPLOADS_THAT_FILL).map(|_| Content::default()).collect();
        let _tasks: Vec<_> = held_up.iter().map(|content| opened(&streams, Some(content))).collect();
        let filled_now_and_then = |seconds: u64, _| match seconds % 5 {
            1 => held_up.iter().for_each(Content::came),
            _ => held_up.iter().for_each(Content::ended),
        };
        check_at(&streams, filled_now_and_then, 1..120, Some(38));
    }

    #[tokio::test]
    async fn content_that_is_awaited_has_its_time() {
        let (streams, content) = (Streams::default(), Content::default());
        let (_, _task) = opened(&streams, Some(&content));
        check(&streams, || (), &[60, 120], None);
        content.awaits();
        check(&streams, || (content.came(), content.awaits()).1, &[60, 120], None);
        check(&streams, || (), &[29, 30], Some(30));
    }

    #[tokio::test]
    async fn content_that_the_origin_does_not_take_excuses_the_others() {
        let (streams, awaited) = (Streams::default(), Content::default());
        let (_, _task) = opened(&streams, Some(&awaited));
        awaited.awaits();
        let held_up: Vec<_> = (0..UPLOADS_THAT_FILL).map(|_| Content::default()).collect();
        let _tasks: Vec<_> = held_up.iter().map(|content| opened(&streams, Some(content))).collect();
        // Whoever has not been read yet waits for a permit, as long as that may take.
        check(&streams, || (), &[29, 30], Some(30));
        let (_, _task) = opened(&streams, Some(&awaited));
        held_up.iter().for_each(Content::came);
        check(&streams, || (), &[60, 120], None);
        held_up[0].ended();
        check(&streams, || (), &[29, 30], Some(30));
    }

    #[tokio::test]
    async fn numbers_are_used_again_and_bring_nothing_with_them() {
        let streams = Streams::default();
        let (first, _task) = opened(&streams, None);
        streams.hand_over(first);
        let start = Instant::now();
        streams.cut_stalled(start, LIMIT);
        streams.close(first);
        let (second, _task) = opened(&streams, None);
        assert_eq!(first, second);
        streams.hand_over(second);
        assert_eq!(streams.cut_stalled(start + LIMIT, LIMIT), 0);
        assert_eq!(streams.cut_stalled(start + 2 * LIMIT, LIMIT), 1);
    }
}
