//! Following requests live: the access log's JSON lines, for a few who watch.
//!
//! While nobody follows, a request pays for one relaxed load. A line that passes somebody's filter is appended to their
//! buffer, which has a bound: who reads too slowly loses lines, is told how many, and holds up nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;

use super::filter::Filter;
use super::form;
use super::line::{AccessFormat, LogLine};

/// The most who follow at once. Each costs every request a look at their filter.
pub const FOLLOWERS_MAX: usize = 8;

/// How many bytes wait for a follower at the most, but for the last line: a tenth of a second at 10,000 requests/s.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// All who follow.
#[derive(Default)]
pub struct Followers {
    /// How many they are: what a request looks at.
    count: AtomicUsize,
    list: ArcSwap<Vec<Arc<LogFollower>>>,
    /// Held while somebody comes or goes. Nothing awaits under it.
    turn: Mutex<()>,
}

/// One who follows.
struct LogFollower {
    filter: Filter,
    /// Guards what waits to be read. Held for as long as a line takes to write; nothing awaits under it.
    waiting: Mutex<PendingLines>,
}

/// What waits to be read.
#[derive(Default)]
struct PendingLines {
    text: Vec<u8>,
    lost: u64,
    reader: Option<Waker>,
}

/// The reader's end; dropping it ends the following.
pub struct FollowerHandle {
    followers: Arc<Followers>,
    own: Arc<LogFollower>,
}

impl Followers {
    /// Tells whether anybody follows.
    pub fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Begins to follow the requests that pass `filter`; `None` where [`FOLLOWERS_MAX`] do already.
    pub fn follow(self: &Arc<Self>, filter: Filter) -> Option<FollowerHandle> {
        let _turn = self.turn.lock();
        let mut list = self.list.load().to_vec();
        if list.len() == FOLLOWERS_MAX {
            return None;
        }
        let own = Arc::new(LogFollower { filter, waiting: Mutex::default() });
        list.push(Arc::clone(&own));
        self.put(list);
        Some(FollowerHandle { followers: Arc::clone(self), own })
    }

    fn put(&self, list: Vec<Arc<LogFollower>>) {
        self.count.store(list.len(), Ordering::Relaxed);
        self.list.store(Arc::new(list));
    }

    /// Shows a line to those who follow. Never waits.
    pub fn line(&self, line: &LogLine<'_>) {
        for follower in self.list.load().iter() {
            if follower.filter.passes(line) {
                follower.waiting.lock().line(line);
            }
        }
    }
}

impl PendingLines {
    fn line(&mut self, line: &LogLine<'_>) {
        if self.text.len() >= BUFFER_BYTES_MAX {
            self.lost += 1;
            return;
        }
        form::write(AccessFormat::Json, line, &mut self.text);
        // The reader takes all there is, so that many lines cost one wake-up.
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl FollowerHandle {
    /// Returns the lines since the last time, and behind them `{"lost":…}` where some found no room.
    pub fn poll_lines(&self, cx: &Context<'_>) -> Poll<Bytes> {
        let mut waiting = self.own.waiting.lock();
        let mut text = std::mem::take(&mut waiting.text);
        let lost = std::mem::take(&mut waiting.lost);
        if lost > 0 {
            text.extend_from_slice(format!("{{\"lost\":{lost}}}\n").as_bytes());
        }
        if text.is_empty() {
            waiting.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(text.into())
    }
}

impl Drop for FollowerHandle {
    fn drop(&mut self) {
        let _turn = self.followers.turn.lock();
        let list = self.followers.list.load();
        self.followers.put(list.iter().filter(|other| !Arc::ptr_eq(other, &self.own)).cloned().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::super::filter::tests::line;
    use super::*;
    use crate::outcome::{Decision, Outcome, Reason};

    const HIT: Decision = Decision::new(Outcome::Hit, Reason::Fresh);

    fn read(following: &FollowerHandle) -> Option<String> {
        match following.poll_lines(&Context::from_waker(Waker::noop())) {
            Poll::Ready(text) => Some(String::from_utf8(text.into()).unwrap()),
            Poll::Pending => None,
        }
    }

    #[test]
    fn each_gets_what_passes_their_filter_and_seats_are_bounded() {
        let followers = Arc::<Followers>::default();
        assert!(!followers.is_any());
        let all = followers.follow(Filter::default()).unwrap();
        let errors = followers.follow(Filter::read([("status", "5xx")]).unwrap()).unwrap();
        assert!(followers.is_any());
        assert_eq!(read(&all), None);
        for status in [200, 502] {
            line("/", status, HIT, |line| followers.line(line));
        }
        assert_eq!(read(&all).unwrap().lines().count(), 2);
        let dropped = read(&errors).unwrap();
        assert!(
            dropped.starts_with('{') && dropped.contains("\"status\":502") && dropped.ends_with("}\n"),
            "{dropped}"
        );
        assert_eq!((read(&all), read(&errors)), (None, None));

        let mut more: Vec<_> = (2..FOLLOWERS_MAX).map(|_| followers.follow(Filter::default()).unwrap()).collect();
        assert!(followers.follow(Filter::default()).is_none());
        more.pop();
        assert!(followers.follow(Filter::default()).is_some());
        drop((all, errors, more));
        assert!(!followers.is_any());
    }

    #[test]
    fn who_does_not_read_loses_lines_and_is_told_how_many() {
        let followers = Arc::<Followers>::default();
        let following = followers.follow(Filter::default()).unwrap();
        let target = format!("/{}", "\u{1}".repeat(4_096));
        const LINES: usize = 1_000;
        for _ in 0..LINES {
            line(&target, 200, HIT, |line| followers.line(line));
        }
        let text = read(&following).unwrap();
        assert!(text.len() < BUFFER_BYTES_MAX + (32 << 10));
        let kept = text.lines().count() - 1;
        assert_eq!(text.lines().last(), Some(&*format!("{{\"lost\":{}}}", LINES - kept)));
        line("/", 200, HIT, |line| followers.line(line));
        assert_eq!(read(&following).unwrap().lines().count(), 1, "it goes on");
    }

    #[test]
    fn a_reader_that_waits_is_woken_once() {
        use std::sync::atomic::AtomicUsize;
        struct CountingWaker(AtomicUsize);
        impl std::task::Wake for CountingWaker {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let followers = Arc::<Followers>::default();
        let following = followers.follow(Filter::default()).unwrap();
        let count = Arc::new(CountingWaker(AtomicUsize::new(0)));
        let waker = Waker::from(Arc::clone(&count));
        assert!(following.poll_lines(&Context::from_waker(&waker)).is_pending());
        for _ in 0..3 {
            line("/", 200, HIT, |line| followers.line(line));
        }
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
