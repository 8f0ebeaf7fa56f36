//! Log writer threads: the data path passes lines to them and never waits.
//!
//! Guarantees: when a log takes no lines (a full disk, a pipe without a reader) they are dropped
//! and counted, and the count is reported once writing works again. A line that was written in part
//! is ended before the next one begins. A blocked log holds up no other. Lines of a log that shares
//! its pipe with the diagnostics never mix with theirs (tests/serve/log.rs).

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::FileTypeExt,
    },
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::{
    sample::Sampler,
    settings::{AccessLogSettings, LogTarget},
};
use crate::runtime::hint::Hinted;

/// Limit on bytes that wait to be written to a log: about 64 thousand lines.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Time limit for opening a file.
const OPENING: Duration = Duration::from_secs(5);
/// Pause after a full non-blocking pipe.
const FULL: Duration = Duration::from_millis(5);
/// Time limit for the last lines when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Sending side of the logs, shared by all workers.
#[derive(Clone, Debug)]
pub struct Lines {
    /// Queue of the access log.
    pub access: Option<WriteQueue>,
    /// Queue of the log of rejects in nginx's form.
    pub errors: Option<WriteQueue>,
    /// Counts of rejects by key.
    pub sampler: Arc<Sampler>,
}

/// Queue of lines for one log.
#[derive(Clone, Debug)]
pub struct WriteQueue {
    batches: Sender<Vec<u8>>,
    backlog: Arc<Backlog>,
}

/// State of a queue that both ends share.
#[derive(Debug, Default)]
struct Backlog {
    /// Bytes in the queue.
    bytes: AtomicUsize,
    /// Lines dropped so far.
    dropped: AtomicU64,
}

/// Writer threads.
#[derive(Debug)]
pub struct Writer {
    threads: Vec<JoinHandle<()>>,
}

impl WriteQueue {
    /// Queues a batch of whole lines, or drops and counts it when too many bytes wait already.
    pub fn push(&self, batch: Vec<u8>) {
        let (size, lines) = (batch.len(), count_lines(&batch));
        // Added before the check, so several workers cannot pass the limit together.
        let waiting = self.backlog.bytes.fetch_add(size, Ordering::Relaxed);
        if waiting + size > MOST_BYTES || self.batches.send(batch).is_err() {
            self.backlog.bytes.fetch_sub(size, Ordering::Relaxed);
            self.backlog.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Returns the number of dropped lines.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.backlog.dropped.load(Ordering::Relaxed)
    }
}

/// Error of a log that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log{}: {source}", named(to))]
pub struct LogError {
    /// Destination of the log.
    pub to: LogTarget,
    /// Cause of the error.
    pub source: io::Error,
}

/// Path of a log, if it has one.
fn named(to: &LogTarget) -> String {
    match to {
        LogTarget::File(path) => format!(" `{}`", path.display()),
        LogTarget::Stdout | LogTarget::Stderr | LogTarget::None => String::new(),
    }
}

impl Hinted for LogError {
    /// An inherited descriptor is open already, while opening its path again may need the rights of
    /// another user.
    fn hint(&self) -> Option<String> {
        let LogTarget::File(path) = &self.to else { return None };
        let word = match path.to_str() {
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => "stdout",
            Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => "stderr",
            _ => return None,
        };
        Some(format!("write `{word}`, which is open already"))
    }
}

/// Starts a thread for each log with a destination; none when nothing is to be written.
///
/// # Errors
/// When a file cannot be opened or a thread not started.
pub fn start(settings: &AccessLogSettings) -> Result<Option<(Lines, Writer)>, LogError> {
    let failed = |to: &LogTarget| {
        let to = to.clone();
        move |source| LogError { to, source }
    };
    let access = open(&settings.to).map_err(failed(&settings.to))?;
    let errors = open(&settings.errors_to).map_err(failed(&settings.errors_to))?;
    if access.is_none() && errors.is_none() {
        return Ok(None);
    }
    start_on(access, errors).map(Some).map_err(failed(&settings.to))
}

/// Output of one log.
pub struct Output {
    to: Box<dyn Write + Send>,
    /// True if standard error goes to the same file, pipe or terminal.
    is_with_diagnostics: bool,
}

impl Output {
    /// Creates an output that no diagnostics go to.
    #[must_use]
    pub fn own(to: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(to), is_with_diagnostics: false }
    }
}

fn open(target: &LogTarget) -> io::Result<Option<Output>> {
    // The buffer of the standard library is bypassed, so the number of bytes written is known
    // exactly.
    let file = match target {
        LogTarget::Stdout => File::from(io::stdout().as_fd().try_clone_to_owned()?),
        LogTarget::Stderr => File::from(io::stderr().as_fd().try_clone_to_owned()?),
        LogTarget::File(path) => open_file(path)?,
        LogTarget::None => return Ok(None),
    };
    let is_with_diagnostics = is_same_file(&file, &io::stderr());
    Ok(Some(Output { to: Box::new(file), is_with_diagnostics }))
}

fn is_same_file(one: &impl AsFd, other: &impl AsFd) -> bool {
    // By device and inode: a path may be a link, and an inherited descriptor has no path.
    let identity =
        |file: BorrowedFd<'_>| rustix::fs::fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino));
    identity(one.as_fd()).is_some_and(|one| Some(one) == identity(other.as_fd()))
}

/// Opens a file on a thread of its own: a hung disk is an error, not an endless wait.
fn open_file(path: &Path) -> io::Result<File> {
    let (tell, told) = channel();
    let path = path.to_owned();
    // After the time limit there is no receiver any more.
    let open = move || drop(tell.send(open_now(&path)));
    // The thread is not joined: if the open never returns, it stays, and the caller gets its error.
    thread::Builder::new().name("open-log".to_owned()).spawn(open)?;
    told.recv_timeout(OPENING).unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "it did not open within 5 s"))
    })
}

/// Opening a FIFO for writing waits for a reader. Opened for reading and writing it does not
/// (pipe(7)), and lines wait in it.
fn open_now(path: &Path) -> io::Result<File> {
    // Asked before the open, which would already wait.
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut options = OpenOptions::new();
    if is_pipe { options.read(true).write(true) } else { options.create(true).append(true) }
        .open(path)
}

/// Starts a thread for each output.
///
/// # Errors
/// When a thread cannot be started.
pub fn start_on(access: Option<Output>, errors: Option<Output>) -> io::Result<(Lines, Writer)> {
    let mut writer = Writer { threads: Vec::new() };
    let mut queue =
        |output: Option<_>, name| output.map(|output| writer.add(output, name)).transpose();
    let (access, errors) = (queue(access, "the access log")?, queue(errors, "the error log")?);
    Ok((Lines { access, errors, sampler: Arc::default() }, writer))
}

impl Writer {
    fn add(&mut self, output: Output, name: &'static str) -> io::Result<WriteQueue> {
        let (batches, coming) = channel();
        let backlog = Arc::<Backlog>::default();
        let mut log = Log {
            output,
            name,
            is_torn: false,
            is_failing: false,
            reported: 0,
            backlog: Arc::clone(&backlog),
        };
        // A thread for each log, because a blocked write of one must not hold up another.
        self.threads.push(
            thread::Builder::new().name("log".to_owned()).spawn(move || log.write_all(&coming))?,
        );
        Ok(WriteQueue { batches, backlog })
    }

    /// Returns true when the last lines are written and every sender is gone.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits, after every [`Lines`] is dropped, until the last line of each log is written, or the
    /// time limit passes.
    pub fn finish_all(writers: &[Self]) {
        let step = Duration::from_millis(5);
        // Bounded, because a thread may hang in a write to a full pipe for ever.
        for _ in 0..LAST_WORDS.as_millis() / step.as_millis() {
            if writers.iter().all(Self::has_finished) {
                return;
            }
            thread::sleep(step);
        }
    }
}

/// Log and the state of writing to it.
struct Log {
    output: Output,
    name: &'static str,
    /// True if the last line was written in part.
    is_torn: bool,
    is_failing: bool,
    /// Dropped lines that were reported.
    reported: u64,
    backlog: Arc<Backlog>,
}

impl Log {
    fn write_all(&mut self, batches: &Receiver<Vec<u8>>) {
        // Ends when every sender is gone, behind the last batch.
        for batch in batches {
            match self.write(&batch) {
                Ok(()) => self.is_failing = false,
                Err(error) => self.fail(&error),
            }
            // After the write: bytes of a batch that is being written still take memory.
            self.backlog.bytes.fetch_sub(batch.len(), Ordering::Relaxed);
            let dropped = self.backlog.dropped.load(Ordering::Relaxed);
            // A failing log would report with each batch, and to a destination that may be just
            // as full.
            if !self.is_failing && dropped > self.reported {
                tracing::warn!(lines = dropped - self.reported, "lines of {} dropped", self.name);
                self.reported = dropped;
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if !self.is_failing {
            tracing::warn!(%error, "cannot write {}; dropping its lines until it can be written", self.name);
        }
        self.is_failing = true;
    }

    /// Writes a batch, after ending a torn line. Lines that were not written whole count as
    /// dropped.
    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let mut left = batch;
        // A pipe takes long batches in pieces (pipe(7), PIPE_BUF): the lock keeps diagnostics from
        // coming between them.
        let _turn = self.output.is_with_diagnostics.then(|| io::stderr().lock());
        let written = self.end_torn_line().and_then(|()| self.write_rest(&mut left));
        if written.is_err() {
            let done = &batch[..batch.len() - left.len()];
            // `|=`, because a line that could not be ended stays torn.
            self.is_torn |= done.last().is_some_and(|byte| *byte != b'\n');
            self.backlog.dropped.fetch_add(count_lines(left), Ordering::Relaxed);
        }
        written
    }

    fn end_torn_line(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.write_rest(&mut &b"\n"[..])?;
            self.is_torn = false;
        }
        Ok(())
    }

    /// Writes `left` and advances it past what was written, also on failure.
    fn write_rest(&mut self, left: &mut &[u8]) -> io::Result<()> {
        while !left.is_empty() {
            match self.output.to.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The parent may have made the pipe non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
                Err(error) => return Err(error),
            }
        }
        // No buffer lies between here and a file, but an `Output` may have one.
        self.output.to.flush()
    }
}

fn count_lines(batch: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', batch).count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc};

    use crate::log::writer::*;

    /// Output that takes one batch each time it is allowed to.
    struct Stuck(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0.recv().is_err() {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.1.send(bytes.to_vec()).map_err(io::Error::other)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Disk with this much room.
    #[derive(Clone)]
    struct Disk(Arc<Mutex<(usize, Vec<u8>)>>);

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.lock().expect("no panic");
            let count = bytes.len().min(disk.0);
            if count == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            disk.0 -= count;
            disk.1.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn only_access(output: impl Write + Send + 'static) -> (WriteQueue, Writer) {
        let (lines, writer) = start_on(Some(Output::own(output)), None).expect("a thread");
        (lines.access.expect("an access log"), writer)
    }

    #[test]
    fn queue_takes_as_many_bytes_as_there_may_be_and_counts_the_other_lines() {
        let (allow, allowed) = mpsc::channel();
        let (sent, written) = mpsc::channel();
        let (queue, writer) = only_access(Stuck(allowed, sent));
        let batch = [vec![b'x'; (1 << 20) - 5], b"\ntwo\n".to_vec()].concat();
        let pushed = MOST_BYTES / batch.len() + 10;
        for _ in 0..pushed {
            queue.push(batch.clone());
        }
        assert_eq!(queue.dropped(), 20);
        for _ in 0..pushed {
            allow.send(()).expect("a writer");
        }
        drop((queue, allow));
        Writer::finish_all(&[writer]);
        assert_eq!(written.iter().count(), pushed - 10);
    }

    /// 35 requests a second without a reader for half an hour; each line is queued by itself.
    #[test]
    fn queue_of_small_batches_drops_nothing() {
        let (allow, allowed) = mpsc::channel();
        let (sent, _written) = mpsc::channel();
        let (queue, _writer) = only_access(Stuck(allowed, sent));
        for _ in 0..35 * 30 * 60 {
            queue.push(vec![b'\n'; 220]);
        }
        assert_eq!(queue.dropped(), 0);
        drop(allow);
    }

    /// Non-blocking pipe that is full every other time.
    struct Nonblocking(Vec<u8>, bool);

    impl Write for Nonblocking {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let count = bytes.len().min(4);
            self.0.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            assert!(self.0.ends_with(b"\n"), "half a line");
            Ok(())
        }
    }

    #[test]
    fn pipe_that_does_not_block_loses_nothing() {
        let output = Output::own(Nonblocking(Vec::new(), false));
        let backlog = Arc::<Backlog>::default();
        let mut log = Log {
            output,
            name: "the log",
            is_torn: false,
            is_failing: false,
            reported: 0,
            backlog: Arc::clone(&backlog),
        };
        log.write(b"first\nsecond\n").expect("a pipe that is emptied");
        assert_eq!((log.is_torn, backlog.dropped.load(Ordering::Relaxed)), (false, 0));
    }

    #[test]
    fn torn_line_is_ended_before_the_next_begins() {
        let disk = Disk(Arc::new(Mutex::new((12, Vec::new()))));
        let mut log = Log {
            output: Output::own(disk.clone()),
            name: "the log",
            is_torn: false,
            is_failing: false,
            reported: 0,
            backlog: Arc::default(),
        };
        assert!(log.write(b"first\nsecond\nthird\n").is_err());
        assert!(log.write(b"fourth\n").is_err());
        disk.0.lock().expect("no panic").0 = 1;
        assert!(log.write(b"fifth\n").is_err());
        disk.0.lock().expect("no panic").0 = 100;
        log.write(b"sixth\n").expect("room");
        let text = String::from_utf8(disk.0.lock().expect("no panic").1.clone()).expect("text");
        assert_eq!(text, "first\nsecond\nsixth\n");
        assert_eq!(log.backlog.dropped.load(Ordering::Relaxed), 4);
    }
}
