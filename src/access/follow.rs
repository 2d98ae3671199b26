//! Following requests live: the access log's JSON lines, for a few clients that watch.
//!
//! While nobody follows, a request pays for one relaxed load. A line that passes a follower's
//! filter is appended to its buffer, which is bounded: a slow reader loses lines, gets the number
//! of lost lines, and blocks nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::json;

use super::filter::Filter;
use super::form;
use super::line::{AccessFormat, LogLine};

/// The most followers at a time. Each costs every request one look at its filter.
pub const FOLLOWERS_MAX: usize = 8;

/// The most bytes that wait for a follower, apart from the last line: a tenth of a second at 10,000
/// requests/s.
const BUFFER_BYTES_MAX: usize = 256 << 10;

/// All followers.
#[derive(Default)]
pub struct Followers {
    /// The number of followers, which every request reads.
    count: AtomicUsize,
    list: ArcSwap<Vec<Arc<LogFollower>>>,
    /// Serialises joining and leaving. Nothing awaits under it.
    membership: Mutex<()>,
}

/// One follower.
struct LogFollower {
    filter: Filter,
    /// Guards the pending lines. The lock is held while a line is written; nothing awaits under it.
    pending: Mutex<PendingLines>,
}

/// The lines that wait to be read.
#[derive(Default)]
struct PendingLines {
    text: Vec<u8>,
    lost: u64,
    reader: Option<Waker>,
}

/// The reader's end of a follower; dropping it removes the follower.
pub struct FollowerHandle {
    followers: Arc<Followers>,
    own: Arc<LogFollower>,
}

impl Followers {
    /// Tells whether anybody follows.
    pub fn is_any(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }

    /// Adds a follower of the requests that pass `filter`; `None` if there are [`FOLLOWERS_MAX`]
    /// already.
    pub fn follow(self: &Arc<Self>, filter: Filter) -> Option<FollowerHandle> {
        let _membership = self.membership.lock();
        let mut list = self.list.load().to_vec();
        if list.len() == FOLLOWERS_MAX {
            return None;
        }
        let own = Arc::new(LogFollower { filter, pending: Mutex::default() });
        list.push(Arc::clone(&own));
        self.put(list);
        Some(FollowerHandle { followers: Arc::clone(self), own })
    }

    fn put(&self, list: Vec<Arc<LogFollower>>) {
        self.count.store(list.len(), Ordering::Relaxed);
        self.list.store(Arc::new(list));
    }

    /// Hands a line to the followers. Never waits.
    pub fn line(&self, line: &LogLine<'_>) {
        for follower in self.list.load().iter() {
            if follower.filter.passes(line) {
                follower.pending.lock().line(line);
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
        // The reader takes all pending lines, so that many lines cost one wake-up.
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl FollowerHandle {
    /// Returns the lines since the last call, followed by `{"lost":…}` if some did not fit.
    pub fn poll_lines(&self, cx: &Context<'_>) -> Poll<Bytes> {
        let mut pending = self.own.pending.lock();
        let mut text = std::mem::take(&mut pending.text);
        let lost = std::mem::take(&mut pending.lost);
        if lost > 0 {
            text.extend_from_slice(json!({ "lost": lost }).to_string().as_bytes());
            text.push(b'\n');
        }
        if text.is_empty() {
            pending.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(text.into())
    }
}

impl Drop for FollowerHandle {
    fn drop(&mut self) {
        let _membership = self.followers.membership.lock();
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
    fn each_follower_gets_its_lines_and_followers_are_bounded() {
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
    fn a_slow_reader_loses_lines_and_gets_their_number() {
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
