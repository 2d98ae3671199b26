//! The access log: a line a request, in common, combined or JSON form, with outcome and reason.
//!
//! Lines go through a bounded queue to a thread of their own, so that writing never holds up a request; what does not fit
//! is dropped and counted. The thread changes to another file between two lines, and opens the same one anew when it is
//! told to, since whoever rotates logs has renamed it. The same lines go to those who follow live. Deliberately absent:
//! what is logged about Larder itself (that is `tracing`'s).

mod civil;
mod filter;
mod follow;
mod form;
mod line;

use std::cell::RefCell;
use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

pub use filter::Filter;
pub use follow::{FOLLOWERS_MAX, FollowerHandle, Followers};
pub use line::{AccessFormat, LogLine};

/// The most lines that wait for the thread: a tenth of a second at 80,000 requests/s. Values in a line are cut, so that
/// even hostile lines cannot make the queue larger than some tens of megabytes.
const QUEUE_LINES_MAX: usize = 8_192;

/// How many bytes are gathered for one write. The thread also writes whenever its queue is empty.
const WRITE_BYTES: usize = 64 << 10;

/// Where lines go, and in which form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The form.
    pub format: AccessFormat,
    /// A file that is appended to; `None`: standard output.
    pub file: Option<PathBuf>,
}

/// All who want a request's line.
#[derive(Clone, Default)]
pub struct LogReaders {
    /// The access log; `None`: none is written.
    pub log: Option<AccessLogWriter>,
    /// Those who follow live.
    pub followers: Arc<Followers>,
}

impl LogReaders {
    /// Tells whether anybody wants lines. On the way of every hit: a relaxed load.
    pub fn is_any(&self) -> bool {
        self.log.is_some() || self.followers.is_any()
    }

    /// Shows a line to all of them. Never waits.
    pub fn line(&self, line: &LogLine<'_>) {
        if let Some(log) = &self.log {
            log.line(line);
        }
        if self.followers.is_any() {
            self.followers.line(line);
        }
    }
}

/// A handle to write lines with; cheap to clone.
#[derive(Clone)]
pub struct AccessLogWriter {
    format: AccessFormat,
    shared: Arc<LogShared>,
}

/// What all handles share.
struct LogShared {
    writer: NonBlocking,
    /// Lines that found the queue full.
    overflowed: ErrorCounter,
    /// Lines that the thread could not write: a full disk, a closed pipe.
    unwritten: Arc<AtomicU64>,
    /// What the thread is to write to from the next line on.
    next: Arc<NextSink>,
    /// Dropped with the last handle: the thread writes what is queued (for at most a second), then ends.
    _guard: WorkerGuard,
}

/// What lines are written to.
type LogTarget = Box<dyn Write + Send>;

/// What the thread is to write to next, left there by whoever changes it.
#[derive(Default)]
struct NextSink {
    is_there: AtomicBool,
    /// Guards the target itself, which is taken once. Nothing awaits under it.
    target: Mutex<Option<LogTarget>>,
}

/// What the thread writes to: counts what fails, since its caller only forgets it.
struct Sink {
    writer: BufWriter<LogTarget>,
    unwritten: Arc<AtomicU64>,
    next: Arc<NextSink>,
}

thread_local! {
    /// A line is put together here, so that a request allocates only what the queue keeps.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLogWriter {
    /// Opens the log and starts its thread, which ends after the last handle is dropped.
    ///
    /// # Errors
    /// A file that cannot be opened for appending.
    pub fn open(config: &Config) -> std::io::Result<Self> {
        Ok(Self::start(config.format, target(config)?, QUEUE_LINES_MAX))
    }

    /// Makes the log of a configuration that takes this one's place: the same thread and queue, its file opened anew even
    /// where it has the same name. Lines of both go there.
    ///
    /// # Errors
    /// A file that cannot be opened for appending: then nothing has changed.
    pub fn reconfigured(&self, config: &Config) -> std::io::Result<Self> {
        *self.shared.next.target.lock() = Some(target(config)?);
        self.shared.next.is_there.store(true, Ordering::Release);
        // An empty line has the thread look at once: the space of a deleted file is freed when its last user lets go. Where
        // the queue is full it looks anyway.
        let _ = self.shared.writer.clone().write(b"");
        Ok(Self { format: config.format, shared: Arc::clone(&self.shared) })
    }

    fn start(format: AccessFormat, target: LogTarget, queue_lines_max: usize) -> Self {
        let (unwritten, next) = (Arc::new(AtomicU64::new(0)), Arc::<NextSink>::default());
        let sink = Sink {
            writer: BufWriter::with_capacity(WRITE_BYTES, target),
            unwritten: Arc::clone(&unwritten),
            next: Arc::clone(&next),
        };
        let (writer, guard) = NonBlockingBuilder::default()
            .lossy(true)
            .buffered_lines_limit(queue_lines_max)
            .thread_name("larder-access")
            .finish(sink);
        let overflowed = writer.error_counter();
        Self { format, shared: Arc::new(LogShared { writer, overflowed, unwritten, next, _guard: guard }) }
    }

    /// Queues a line. Never waits.
    pub fn line(&self, line: &LogLine<'_>) {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            form::write(self.format, line, scratch);
            // The queue's end counts what does not fit, and never fails. Its handle is cloned as it writes by `&mut`.
            let _ = self.shared.writer.clone().write_all(scratch);
        });
    }

    /// Returns how many lines were dropped.
    pub fn dropped(&self) -> u64 {
        let overflowed = u64::try_from(self.shared.overflowed.dropped_lines()).unwrap_or(u64::MAX);
        overflowed.saturating_add(self.shared.unwritten.load(Ordering::Relaxed))
    }
}

/// Opens what lines are written to.
fn target(config: &Config) -> std::io::Result<LogTarget> {
    Ok(match &config.file {
        Some(path) => {
            let named = |error: std::io::Error| {
                std::io::Error::new(error.kind(), format!("{} cannot be appended to: {error}", path.display()))
            };
            Box::new(OpenOptions::new().append(true).create(true).open(path).map_err(named)?)
        }
        None => Box::new(std::io::stdout()),
    })
}

impl Sink {
    /// Changes over, where there is something to change to.
    fn change_over(&mut self) {
        if !self.next.is_there.swap(false, Ordering::Acquire) {
            return;
        }
        if let Some(target) = self.next.target.lock().take() {
            if self.writer.flush().is_err() {
                self.unwritten.fetch_add(1, Ordering::Relaxed);
            }
            self.writer = BufWriter::with_capacity(WRITE_BYTES, target);
        }
    }
}

impl Write for Sink {
    /// Takes a whole line, or counts it as lost: it is not tried again.
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.change_over();
        if self.writer.write_all(line).is_err() {
            self.unwritten.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.change_over();
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::clock::Timestamp;
    use crate::outcome::{Decision, Ending, Outcome, Reason, ResponseEnd};

    const HIT: Decision = Decision::new(Outcome::Hit, Reason::Fresh);
    const END: ResponseEnd =
        ResponseEnd { ending: Ending::Complete, body_bytes: 5, elapsed: Duration::from_micros(41) };

    fn line(target: &str) -> LogLine<'_> {
        LogLine {
            client: "127.0.0.1".parse().unwrap(),
            at: Timestamp::from_secs(0),
            method: "GET",
            target,
            host: "example.org",
            version: http::Version::HTTP_11,
            status: 200,
            referer: None,
            user_agent: None,
            decision: &HIT,
            end: &END,
        }
    }

    #[test]
    fn lines_of_many_threads_are_appended_whole() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("access.log");
        std::fs::write(&file, "kept\n").unwrap();
        let log = AccessLogWriter::open(&Config { format: AccessFormat::Common, file: Some(file.clone()) }).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                let log = log.clone();
                scope.spawn(move || (0..500).for_each(|nth| log.line(&line(&format!("/{nth}")))));
            }
        });
        assert_eq!(log.dropped(), 0);
        drop(log);
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.lines().count(), 2001);
        assert_eq!(text.lines().next(), Some("kept"));
        assert!(text.lines().skip(1).all(|line| line.starts_with("127.0.0.1 ") && line.ends_with(" reason=fresh")));
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = Some(folder.path().join("missing").join("access.log"));
        assert!(AccessLogWriter::open(&Config { format: AccessFormat::Json, file }).is_err());
    }

    #[test]
    fn a_renamed_file_keeps_its_lines_and_the_next_go_to_a_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, rotated) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let config = Config { format: AccessFormat::Common, file: Some(file.clone()) };
        let first = AccessLogWriter::open(&config).unwrap();
        first.line(&line("/before"));
        std::fs::rename(&file, &rotated).unwrap();
        let second = first.reconfigured(&Config { format: AccessFormat::Json, ..config.clone() }).unwrap();
        second.line(&line("/after"));
        let missing = Some(folder.path().join("missing").join("access.log"));
        assert!(second.reconfigured(&Config { file: missing, ..config }).is_err());
        second.line(&line("/still"));
        assert_eq!(second.dropped(), 0);
        drop((first, second));
        let text = [&rotated, &file].map(|file| std::fs::read_to_string(file).unwrap());
        assert_eq!(text.each_ref().map(|text| text.lines().count()).iter().sum::<usize>(), 3);
        assert!(text[1].contains("/after") && text[1].contains("/still"), "{text:?}");
        assert!(text.concat().contains("/before"), "{text:?}");
    }

    /// Tells when the thread begins to write, and then waits until it may.
    struct GatedSink {
        started: mpsc::Sender<()>,
        open: mpsc::Receiver<()>,
    }

    impl Write for GatedSink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.started.send(());
            let _ = self.open.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_and_counted_without_waiting() {
        let (started, has_begun) = mpsc::channel();
        let (let_go, open) = mpsc::channel();
        let log = AccessLogWriter::start(AccessFormat::Common, Box::new(GatedSink { started, open }), 2);
        log.line(&line("/taken"));
        has_begun.recv().unwrap();
        // The thread is held inside a write: two lines fit into the queue, three do not.
        (0..5).for_each(|_| log.line(&line("/more")));
        assert_eq!(log.dropped(), 3);
        drop(let_go);
    }

    /// A disk that is full.
    struct FullSink;

    impl Write for FullSink {
        fn write(&mut self, _bytes: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted_too() {
        let unwritten = Arc::new(AtomicU64::new(0));
        let mut sink = Sink {
            writer: BufWriter::with_capacity(8, Box::new(FullSink)),
            unwritten: Arc::clone(&unwritten),
            next: Arc::default(),
        };
        sink.write_all(b"longer than the buffer\n").unwrap();
        sink.write_all(b"another of that kind\n").unwrap();
        assert_eq!(unwritten.load(Ordering::Relaxed), 2);
    }
}
