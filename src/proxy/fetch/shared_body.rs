//! A body that is fetched and read at the same time.
//!
//! The fetch appends chunks, every reader follows by offset, and all see the same end. While the
//! body is *kept*, all chunks stay, for late readers and for the store. Once it is no longer kept
//! (too large, or the budget is spent), a chunk is dropped when the slowest reader has passed it,
//! and the fetch waits for that reader.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Frame;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::sync::Notify;

use crate::outcome::Reason;
use crate::respond::range::BodyPiece;

/// How far the fetch may be ahead of the slowest reader of a body that is not kept, in bytes: a few
/// chunks, so that one reader's pause does not stop the others.
const WINDOW: u64 = 256 << 10;

/// The longest piece that is copied, in bytes, so that it does not keep a larger run alive: as much
/// as the server hands to HTTP/2 last.
pub(crate) const COPIED_BYTES_MAX: usize = 16 << 10;

/// A body that failed before its end; the connection must not end it cleanly.
#[derive(Debug, thiserror::Error)]
#[error("the body failed before its end: {0}")]
pub struct Aborted(pub Reason);

/// A body that one task fills and many readers follow.
#[derive(Debug, Default)]
pub(crate) struct SharedBody {
    /// Guards the chunks and the readers' offsets; nothing awaits under it.
    state: Mutex<SharedBodyState>,
    /// Signalled when a reader moves on or leaves.
    progress: Notify,
    /// Signalled when the body has ended, or is no longer kept.
    settled: Notify,
}

#[derive(Debug, Default)]
struct SharedBodyState {
    chunks: VecDeque<Bytes>,
    /// The offset of the first chunk.
    start: u64,
    /// The offset after the last chunk.
    end: u64,
    /// Why the body is no longer kept.
    unkept_reason: Option<Reason>,
    ended: Option<BodyEnd>,
    readers: SmallVec<[ReaderSlot; 1]>,
}

/// How the body ended.
#[derive(Clone, Debug)]
enum BodyEnd {
    Complete(Option<HeaderMap>),
    Failed(Reason),
}

/// The place of a reader.
#[derive(Debug)]
enum ReaderSlot {
    Free,
    At {
        offset: u64,
        waker: Option<Waker>,
    },
    /// Cut off because it blocked the other readers.
    Stalled,
}

impl SharedBody {
    /// Makes an empty body.
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Appends a chunk and wakes the readers.
    pub(crate) fn push(&self, chunk: Bytes) {
        let mut state = self.state.lock();
        state.end += chunk.len() as u64;
        state.chunks.push_back(chunk);
        state.release();
        state.wake_all();
    }

    /// Ends the body as complete.
    pub(crate) fn complete(&self, trailers: Option<HeaderMap>) {
        self.finish(BodyEnd::Complete(trailers));
    }

    /// Ends the body as failed: every reader sees it fail.
    pub(crate) fn fail(&self, reason: Reason) {
        self.finish(BodyEnd::Failed(reason));
    }

    /// Returns a guard for the task that fills the body: dropped before the body has ended, it
    /// fails the body. So a task that panics or is stopped leaves no reader waiting.
    pub(crate) fn abort_guard(self: &Arc<Self>) -> AbortGuard {
        AbortGuard(Arc::clone(self))
    }

    fn finish(&self, ended: BodyEnd) {
        let mut state = self.state.lock();
        state.ended.get_or_insert(ended);
        state.wake_all();
        self.settled.notify_waiters();
    }

    /// Stops keeping the body, for this reason: chunks are dropped once all readers have passed
    /// them.
    pub(crate) fn stop_keeping(&self, reason: Reason) {
        let mut state = self.state.lock();
        state.unkept_reason.get_or_insert(reason);
        state.release();
        self.settled.notify_waiters();
    }

    /// Waits until it is settled whether the body can be stored: it has ended, or is no longer
    /// kept.
    pub(crate) async fn wait_settled(&self) {
        loop {
            let settled = self.settled.notified();
            {
                let state = self.state.lock();
                if state.ended.is_some() || state.unkept_reason.is_some() {
                    return;
                }
            }
            settled.await;
        }
    }

    /// Returns the chunks of a body that was kept.
    pub(crate) fn chunks(&self) -> SmallVec<[Bytes; 1]> {
        self.state.lock().chunks.iter().cloned().collect()
    }

    /// Waits until the slowest reader is near enough for the fetch to go on. Returns false if no
    /// reader is left.
    pub(crate) async fn wait_for_room(&self) -> bool {
        loop {
            let moved = self.progress.notified();
            {
                let state = self.state.lock();
                match state.slowest() {
                    None => return false,
                    Some(offset) if state.end - offset <= WINDOW => return true,
                    Some(_) => {}
                }
            }
            moved.await;
        }
    }

    /// Tells whether the slowest reader blocks another one that has read everything so far.
    pub(crate) fn has_blocking_reader(&self) -> bool {
        let state = self.state.lock();
        let waits = |slot: &ReaderSlot| matches!(slot, ReaderSlot::At { offset, .. } if *offset >= state.end);
        state.slowest().is_some_and(|slowest| slowest < state.end) && state.readers.iter().any(waits)
    }

    /// Cuts off the slowest reader; it sees the body fail.
    pub(crate) fn drop_slowest(&self) {
        let mut state = self.state.lock();
        let Some(slowest) = state.slowest() else { return };
        for slot in &mut state.readers {
            if let ReaderSlot::At { offset, waker } = slot
                && *offset == slowest
            {
                let waker = waker.take();
                *slot = ReaderSlot::Stalled;
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
        }
        state.release();
    }

    /// Attaches a reader that sends `pieces` in order. `None` if the bytes they need have been
    /// dropped already.
    pub(crate) fn reader(self: &Arc<Self>, pieces: impl IntoIterator<Item = BodyPiece>) -> Option<BodyReader> {
        let mut pieces: Pieces = pieces.into_iter().collect();
        pieces.reverse();
        let offset = first_cut(&pieces);
        let mut state = self.state.lock();
        if offset < state.start {
            return None;
        }
        let slot = ReaderSlot::At { offset, waker: None };
        let id = match state.readers.iter().position(|slot| matches!(slot, ReaderSlot::Free)) {
            Some(free) => {
                state.readers[free] = slot;
                free
            }
            None => {
                state.readers.push(slot);
                state.readers.len() - 1
            }
        };
        Some(BodyReader { body: Arc::clone(self), id, offset, pieces })
    }
}

/// Fails the body on drop, unless it has ended.
#[derive(Debug)]
pub(crate) struct AbortGuard(Arc<SharedBody>);

impl Drop for AbortGuard {
    fn drop(&mut self) {
        self.0.fail(Reason::Panic);
    }
}

impl SharedBodyState {
    fn slowest(&self) -> Option<u64> {
        let offsets = self.readers.iter().filter_map(|slot| match slot {
            ReaderSlot::At { offset, .. } => Some(*offset),
            ReaderSlot::Free | ReaderSlot::Stalled => None,
        });
        offsets.min()
    }

    /// Drops the chunks that every reader has passed, if the body is not kept.
    fn release(&mut self) {
        if self.unkept_reason.is_none() {
            return;
        }
        let needed = self.slowest().unwrap_or(self.end);
        while let Some(chunk) = self.chunks.front()
            && self.start + chunk.len() as u64 <= needed
        {
            self.start += chunk.len() as u64;
            self.chunks.pop_front();
        }
    }

    fn wake_all(&mut self) {
        for slot in &mut self.readers {
            if let ReaderSlot::At { waker, .. } = slot
                && let Some(waker) = waker.take()
            {
                waker.wake();
            }
        }
    }

    /// Returns the chunk at `offset`, and the position of `offset` in that chunk.
    fn chunk_at(&self, offset: u64) -> Option<(&Bytes, usize)> {
        let mut start = self.start;
        // Readers are near the end most of the time, so the search goes backward from it.
        if offset < self.start || offset >= self.end {
            return None;
        }
        let mut end = self.end;
        for chunk in self.chunks.iter().rev() {
            start = end - chunk.len() as u64;
            if offset >= start {
                return Some((chunk, (offset - start) as usize));
            }
            end = start;
        }
        debug_assert!(offset < start, "chunks are contiguous");
        None
    }
}

/// Returns where the first piece of the representation starts.
fn first_cut(pieces: &[BodyPiece]) -> u64 {
    let cuts = pieces.iter().filter_map(|piece| match piece {
        BodyPiece::Cut(range) => Some(range.start),
        BodyPiece::Own(_) => None,
    });
    cuts.min().unwrap_or(0)
}

/// One reader of a [`SharedBody`]. A piece with an open end (`u64::MAX`) reads until the body ends.
#[derive(Debug)]
pub(crate) struct BodyReader {
    body: Arc<SharedBody>,
    id: usize,
    offset: u64,
    pieces: Pieces,
}

/// The pieces that a reader still has to send, the next one last.
type Pieces = SmallVec<[BodyPiece; 1]>;

impl BodyReader {
    /// Returns why the body is no longer kept, if it is not.
    pub(crate) fn unkept_reason(&self) -> Option<Reason> {
        self.body.state.lock().unkept_reason
    }

    /// Tells whether everything has been read.
    pub(crate) fn is_done(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Polls for the next frame.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        loop {
            match self.pieces.last_mut() {
                None => return Poll::Ready(None),
                Some(BodyPiece::Own(bytes)) => {
                    let bytes = Bytes::from(std::mem::take(bytes));
                    self.pieces.pop();
                    return Poll::Ready(Some(Ok(Frame::data(bytes))));
                }
                Some(BodyPiece::Cut(range)) if range.is_empty() => {
                    self.pieces.pop();
                }
                Some(BodyPiece::Cut(_)) => return self.poll_cut(cx),
            }
        }
    }

    fn poll_cut(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        let Some(BodyPiece::Cut(range)) = self.pieces.last_mut() else { return Poll::Ready(None) };
        let mut state = self.body.state.lock();
        if matches!(state.readers[self.id], ReaderSlot::Stalled) || range.start < state.start {
            return Poll::Ready(Some(Err(Aborted(Reason::Overloaded))));
        }
        if let Some((chunk, at)) = state.chunk_at(range.start) {
            let bytes = take_from(chunk, at, range);
            if range.is_empty() {
                self.pieces.pop();
            }
            self.offset = first_cut_or(&self.pieces, state.end);
            state.readers[self.id] = ReaderSlot::At { offset: self.offset, waker: None };
            state.release();
            drop(state);
            self.body.progress.notify_one();
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match &state.ended {
            None => {
                state.readers[self.id] = ReaderSlot::At { offset: self.offset, waker: Some(cx.waker().clone()) };
                Poll::Pending
            }
            Some(BodyEnd::Complete(trailers)) if range.end == u64::MAX => {
                let trailers = trailers.clone();
                self.pieces.clear();
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Some(BodyEnd::Complete(_)) => Poll::Ready(Some(Err(Aborted(Reason::Incomplete)))),
            Some(BodyEnd::Failed(reason)) => Poll::Ready(Some(Err(Aborted(*reason)))),
        }
    }
}

fn first_cut_or(pieces: &[BodyPiece], end: u64) -> u64 {
    if pieces.iter().any(|piece| matches!(piece, BodyPiece::Cut(_))) { first_cut(pieces) } else { end }
}

/// Takes the bytes that `range` wants from `chunk`, which has the range's start at `at`, and
/// advances the range. A small part is copied: it may stay with an HTTP/2 connection for as long as
/// the client likes, and would keep the chunk alive.
fn take_from(chunk: &Bytes, at: usize, range: &mut Range<u64>) -> Bytes {
    let wanted = usize::try_from(range.end - range.start).unwrap_or(usize::MAX).min(chunk.len() - at);
    range.start += wanted as u64;
    let part = at..at + wanted;
    if wanted <= COPIED_BYTES_MAX && wanted < chunk.len() {
        Bytes::copy_from_slice(&chunk[part])
    } else {
        chunk.slice(part)
    }
}

impl Drop for BodyReader {
    fn drop(&mut self) {
        let mut state = self.body.state.lock();
        state.readers[self.id] = ReaderSlot::Free;
        state.release();
        drop(state);
        self.body.progress.notify_one();
    }
}

/// Lets tests read a body as a stream of frames.
impl http_body::Body for BodyReader {
    type Data = Bytes;
    type Error = Aborted;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Aborted>>> {
        BodyReader::poll_frame(&mut self, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn run<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
    }

    fn whole() -> Vec<BodyPiece> {
        vec![BodyPiece::Cut(0..u64::MAX)]
    }

    async fn text(reader: BodyReader) -> Result<String, Aborted> {
        let bytes = reader.collect().await?.to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[test]
    fn early_and_late_readers_get_the_same() {
        run(async {
            let body = SharedBody::new();
            let early = tokio::spawn(text(body.reader(whole()).unwrap()));
            tokio::task::yield_now().await;
            body.push(Bytes::from_static(b"one "));
            tokio::task::yield_now().await;
            body.push(Bytes::from_static(b"two"));
            let late = tokio::spawn(text(body.reader(whole()).unwrap()));
            body.complete(None);
            assert_eq!(early.await.unwrap().unwrap(), "one two");
            assert_eq!(late.await.unwrap().unwrap(), "one two");
            assert_eq!(text(body.reader(whole()).unwrap()).await.unwrap(), "one two");
        });
    }

    #[test]
    fn a_failed_body_never_ends_well() {
        run(async {
            let body = SharedBody::new();
            body.push(Bytes::from_static(b"half"));
            let reader = tokio::spawn(text(body.reader(whole()).unwrap()));
            tokio::task::yield_now().await;
            body.fail(Reason::Incomplete);
            body.complete(None);
            assert_eq!(reader.await.unwrap().unwrap_err().0, Reason::Incomplete);
        });
    }

    #[test]
    fn ranges_are_cut_while_it_fills() {
        run(async {
            let body = SharedBody::new();
            let pieces = vec![
                BodyPiece::Own(Box::from(*b"[")),
                BodyPiece::Cut(6..8),
                BodyPiece::Cut(1..3),
                BodyPiece::Own(Box::from(*b"]")),
            ];
            let reader = tokio::spawn(text(body.reader(pieces).unwrap()));
            for chunk in ["0123", "4567", "89"] {
                tokio::task::yield_now().await;
                body.push(Bytes::from_static(chunk.as_bytes()));
            }
            assert_eq!(reader.await.unwrap().unwrap(), "[6712]");
        });
    }

    #[test]
    fn a_small_part_of_a_chunk_does_not_keep_it_alive() {
        let check = |range: Range<u64>, length: usize, is_copied: bool| {
            let chunk = Bytes::from(vec![b'x'; 2 * COPIED_BYTES_MAX]);
            let body = SharedBody::new();
            body.push(chunk.clone());
            let at = range.start as usize;
            let mut reader = body.reader(vec![BodyPiece::Cut(range)]).unwrap();
            let part = run(reader.frame()).unwrap().unwrap().into_data().unwrap();
            assert_eq!(part.len(), length);
            assert_eq!(part.as_ptr() != chunk[at..].as_ptr(), is_copied, "{length} bytes at {at}");
        };
        let (most, end) = (COPIED_BYTES_MAX, 2 * COPIED_BYTES_MAX as u64);
        check(0..1, 1, true);
        check(end - 1..end, 1, true);
        check(end - 1..u64::MAX, 1, true);
        check(7..7 + most as u64, most, true);
        check(7..8 + most as u64, most + 1, false);
        check(0..u64::MAX, 2 * most, false);
        let whole = Bytes::from_static(b"small");
        assert_eq!(take_from(&whole, 0, &mut (0..u64::MAX)).as_ptr(), whole.as_ptr());
    }

    #[test]
    fn an_unkept_body_holds_only_what_the_slowest_reader_needs() {
        run(async {
            let body = SharedBody::new();
            let mut fast = body.reader(whole()).unwrap();
            let mut slow = body.reader(whole()).unwrap();
            body.stop_keeping(Reason::TooLarge);
            let chunk = Bytes::from(vec![0; WINDOW as usize]);
            body.push(chunk.clone());
            body.push(chunk.clone());
            fast.frame().await.unwrap().unwrap();
            fast.frame().await.unwrap().unwrap();
            assert_eq!(body.state.lock().chunks.len(), 2);
            assert!(body.reader(whole()).is_some(), "nothing is dropped yet");
            slow.frame().await.unwrap().unwrap();
            assert_eq!(body.state.lock().chunks.len(), 1);
            assert!(body.reader(whole()).is_none(), "the first chunk is dropped");
            assert!(body.wait_for_room().await);
            body.push(chunk);
            body.drop_slowest();
            assert!(slow.frame().await.unwrap().is_err());
            assert!(body.wait_for_room().await);
            drop(fast);
            assert!(!body.wait_for_room().await);
        });
    }
}
