//! The access log: one line per request, in common, combined or JSON form, with outcome and reason.
//!
//! Lines go through a bounded queue to a thread of their own, so that writing never delays a
//! request; lines that do not fit are dropped and counted. Between two lines the thread can switch
//! to another file, or reopen the same one, which a log rotation has renamed. The same lines go to
//! clients that follow live. Deliberately absent: Larder's log about itself (that is `tracing`'s).

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

/// The most lines that wait for the thread: a tenth of a second at 80,000 requests/s.
///
/// Values in a line are cut, so that even hostile lines cannot make the queue larger than some tens
/// of megabytes.
const QUEUE_LINES_MAX: usize = 8_192;

/// The bytes that are gathered for one write. The thread also writes whenever its queue is empty.
const WRITE_BYTES: usize = 64 << 10;

/// The destination and the form of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The printed form of a line.
    pub format: AccessFormat,
    /// The file to append to; `None` is standard output.
    pub file: Option<PathBuf>,
}

/// All readers of the lines.
#[derive(Clone, Default)]
pub struct LogReaders {
    /// The access log; `None` if none is written.
    pub log: Option<AccessLogWriter>,
    /// The clients that follow live.
    pub followers: Arc<Followers>,
}

impl LogReaders {
    /// Tells whether there is any reader. On the path of every hit: a relaxed load.
    pub fn is_any(&self) -> bool {
        self.log.is_some() || self.followers.is_any()
    }

    /// Hands a line to all readers. Never waits.
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

/// The state that all handles share.
struct LogShared {
    writer: NonBlocking,
    /// Lines that found the queue full.
    overflowed: ErrorCounter,
    /// Lines that the thread could not write: a full disk, a closed pipe.
    unwritten: Arc<AtomicU64>,
    /// The sink to use from the next line on.
    next: Arc<NextSink>,
    /// Dropped with the last handle: the thread then writes the queued lines (for at most a second)
    /// and ends.
    _guard: WorkerGuard,
}

/// A destination of lines.
type LogTarget = Box<dyn Write + Send>;

/// The destination that the thread switches to next, set by a reload.
#[derive(Default)]
struct NextSink {
    is_there: AtomicBool,
    /// Guards the destination itself, which is taken once. Nothing awaits under it.
    target: Mutex<Option<LogTarget>>,
}

/// The thread's writer. Counts failures, which its caller ignores.
struct Sink {
    writer: BufWriter<LogTarget>,
    unwritten: Arc<AtomicU64>,
    next: Arc<NextSink>,
}

thread_local! {
    /// The buffer in which a line is built, so that a request allocates only the queued copy.
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

    /// Makes the log of a configuration that replaces this one.
    ///
    /// The thread and the queue stay; the file is reopened even if its name is the same. Lines of
    /// both handles go to the new file.
    ///
    /// # Errors
    /// A file that cannot be opened for appending: then nothing has changed.
    pub fn reconfigured(&self, config: &Config) -> std::io::Result<Self> {
        *self.shared.next.target.lock() = Some(target(config)?);
        self.shared.next.is_there.store(true, Ordering::Release);
        // An empty line makes the thread switch at once: a deleted file's space is freed when its
        // last user closes it. If the queue is full the thread is about to switch anyway.
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
            // The queue counts lines that do not fit, and never fails. The handle is cloned since
            // writing takes `&mut`.
            let _ = self.shared.writer.clone().write_all(scratch);
        });
    }

    /// Returns the number of lines that were dropped.
    pub fn dropped(&self) -> u64 {
        let overflowed = u64::try_from(self.shared.overflowed.dropped_lines()).unwrap_or(u64::MAX);
        overflowed.saturating_add(self.shared.unwritten.load(Ordering::Relaxed))
    }
}

/// Opens the destination.
fn target(config: &Config) -> std::io::Result<LogTarget> {
    Ok(match &config.file {
        Some(path) => {
            let named = |error: std::io::Error| {
                std::io::Error::new(error.kind(), format!("cannot append to {}: {error}", path.display()))
            };
            Box::new(OpenOptions::new().append(true).create(true).open(path).map_err(named)?)
        }
        None => Box::new(std::io::stdout()),
    })
}

impl Sink {
    /// Switches to the next destination, if there is one.
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
    /// Takes a whole line, or counts it as lost without a retry.
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

    /// Signals when the thread begins to write, then waits until it may continue.
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
    fn lines_that_do_not_fit_are_dropped_and_counted_without_waiting() {
        let (started, has_begun) = mpsc::channel();
        let (release, open) = mpsc::channel();
        let log = AccessLogWriter::start(AccessFormat::Common, Box::new(GatedSink { started, open }), 2);
        log.line(&line("/taken"));
        has_begun.recv().unwrap();
        // The thread is blocked inside a write: two lines fit into the queue, three do not.
        (0..5).for_each(|_| log.line(&line("/more")));
        assert_eq!(log.dropped(), 3);
        drop(release);
    }

    /// A full disk.
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
    fn lines_that_cannot_be_written_are_counted_too() {
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
