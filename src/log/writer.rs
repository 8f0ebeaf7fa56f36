//! The threads that write log lines: the data path hands them over and never waits.
//!
//! Guarantees: when a log takes no lines (a full disk, a pipe nobody reads) they are dropped and
//! counted, and the count is reported once writing works again. A line that was written in part is
//! ended before the next one begins. One log that is not taken holds no other up. A log that shares
//! its pipe with the diagnostics does not run into their lines (tests/serve/log.rs).

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

/// The most bytes that wait to be written to a log: some 64 thousand lines.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// How long a file may take to be opened.
const OPENING: Duration = Duration::from_secs(5);
/// How long a pipe that is full, and does not block, is left alone.
const FULL: Duration = Duration::from_millis(5);
/// How long the last lines may take when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where a worker leaves its lines. All workers share what is behind it.
#[derive(Clone, Debug)]
pub struct Lines {
    /// The access log.
    pub access: Option<WriteQueue>,
    /// The log of rejects in nginx's form.
    pub errors: Option<WriteQueue>,
    /// Counts of rejects by key.
    pub sampler: Arc<Sampler>,
}

/// Lines on their way to one log.
#[derive(Clone, Debug)]
pub struct WriteQueue {
    batches: Sender<Vec<u8>>,
    backlog: Arc<Backlog>,
}

/// State of a queue that both ends see.
#[derive(Debug, Default)]
struct Backlog {
    /// Bytes that wait.
    bytes: AtomicUsize,
    /// Lines that were dropped.
    dropped: AtomicU64,
}

/// The writing threads.
#[derive(Debug)]
pub struct Writer {
    threads: Vec<JoinHandle<()>>,
}

impl WriteQueue {
    /// Hands over a batch of whole lines; drops and counts it when too many bytes wait already.
    pub fn push(&self, batch: Vec<u8>) {
        let (size, lines) = (batch.len(), count_lines(&batch));
        let waiting = self.backlog.bytes.fetch_add(size, Ordering::Relaxed);
        if waiting + size > MOST_BYTES || self.batches.send(batch).is_err() {
            self.backlog.bytes.fetch_sub(size, Ordering::Relaxed);
            self.backlog.dropped.fetch_add(lines, Ordering::Relaxed);
        }
    }

    /// Number of lines dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.backlog.dropped.load(Ordering::Relaxed)
    }
}

/// Reason why a log cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot open the log{}: {source}{}", named(to), hint(to))]
pub struct LogError {
    /// Where its lines go.
    pub to: LogTarget,
    /// The cause.
    pub source: io::Error,
}

/// The path of a log, where it has one.
fn named(to: &LogTarget) -> String {
    match to {
        LogTarget::File(path) => format!(" `{}`", path.display()),
        LogTarget::Stdout | LogTarget::Stderr | LogTarget::None => String::new(),
    }
}

/// What a process was given by its parent is open already; opening it again by its path may be
/// another user's right.
fn hint(to: &LogTarget) -> &'static str {
    let LogTarget::File(path) = to else { return "" };
    match path.to_str() {
        Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => {
            ", hint: write `stdout`, which is open already"
        }
        Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => {
            ", hint: write `stderr`, which is open already"
        }
        _ => "",
    }
}

/// Starts a thread for each log that goes anywhere; none when nothing is to be written.
///
/// # Errors
/// When a file cannot be opened, or a thread not started.
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

/// Where the lines of a log are written.
pub struct Output {
    to: Box<dyn Write + Send>,
    /// Standard error goes to the same file, pipe or terminal.
    is_with_diagnostics: bool,
}

impl Output {
    /// An output that no diagnostics go to.
    #[must_use]
    pub fn own(to: impl Write + Send + 'static) -> Self {
        Self { to: Box::new(to), is_with_diagnostics: false }
    }
}

fn open(target: &LogTarget) -> io::Result<Option<Output>> {
    // Without the buffer of the standard library, so that what was written is known to the byte.
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
    let identity =
        |file: BorrowedFd<'_>| rustix::fs::fstat(file).ok().map(|stat| (stat.st_dev, stat.st_ino));
    identity(one.as_fd()).is_some_and(|one| Some(one) == identity(other.as_fd()))
}

/// Opens a file on a thread of its own: a disk that hangs is an error, not a wait without end.
fn open_file(path: &Path) -> io::Result<File> {
    let (tell, told) = channel();
    let path = path.to_owned();
    // When it is too late nobody listens any more.
    let open = move || drop(tell.send(open_now(&path)));
    thread::Builder::new().name("open-log".to_owned()).spawn(open)?;
    told.recv_timeout(OPENING).unwrap_or_else(|_| {
        Err(io::Error::new(io::ErrorKind::TimedOut, "it cannot be opened within 5 s"))
    })
}

/// A pipe without a reader would be waited for; opened both ways it is not (pipe(7)), and lines
/// wait in it.
fn open_now(path: &Path) -> io::Result<File> {
    let is_pipe = fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo());
    let mut options = OpenOptions::new();
    if is_pipe { options.read(true).write(true) } else { options.create(true).append(true) }
        .open(path)
}

/// Starts a thread for each output that is there.
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
        self.threads.push(
            thread::Builder::new().name("log".to_owned()).spawn(move || log.write_all(&coming))?,
        );
        Ok(WriteQueue { batches, backlog })
    }

    /// Whether the last lines are written: nobody has lines for it any more.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        self.threads.iter().all(JoinHandle::is_finished)
    }

    /// Waits, once every [`Lines`] is gone, until the last line of each is written; not for ever
    /// when nobody takes it.
    pub fn finish_all(writers: &[Self]) {
        let step = Duration::from_millis(5);
        for _ in 0..LAST_WORDS.as_millis() / step.as_millis() {
            if writers.iter().all(Self::has_finished) {
                return;
            }
            thread::sleep(step);
        }
    }
}

/// A log and how writing to it went.
struct Log {
    output: Output,
    name: &'static str,
    /// The last line was written in part.
    is_torn: bool,
    is_failing: bool,
    /// Dropped lines that were reported.
    reported: u64,
    backlog: Arc<Backlog>,
}

impl Log {
    fn write_all(&mut self, batches: &Receiver<Vec<u8>>) {
        for batch in batches {
            match self.write(&batch) {
                Ok(()) => self.is_failing = false,
                Err(error) => self.fail(&error),
            }
            self.backlog.bytes.fetch_sub(batch.len(), Ordering::Relaxed);
            let dropped = self.backlog.dropped.load(Ordering::Relaxed);
            if !self.is_failing && dropped > self.reported {
                tracing::warn!(
                    lines = dropped - self.reported,
                    "lines of {} were dropped",
                    self.name
                );
                self.reported = dropped;
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if !self.is_failing {
            tracing::warn!(%error, "{} cannot be written; its lines are dropped until it can", self.name);
        }
        self.is_failing = true;
    }

    /// Writes a batch, behind the end of a line that is torn. Lines that were not written whole
    /// count as dropped.
    fn write(&mut self, batch: &[u8]) -> io::Result<()> {
        let mut left = batch;
        // A pipe takes long batches in pieces (pipe(7), PIPE_BUF): no diagnostic may come between
        // them.
        let _turn = self.output.is_with_diagnostics.then(|| io::stderr().lock());
        let written = self.end_torn_line().and_then(|()| self.write_rest(&mut left));
        if written.is_err() {
            let done = &batch[..batch.len() - left.len()];
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

    /// Writes `left` and moves it behind what was written, also where that fails.
    fn write_rest(&mut self, left: &mut &[u8]) -> io::Result<()> {
        while !left.is_empty() {
            match self.output.to.write(left) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => *left = &left[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A parent may have made the pipe one that does not block.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(FULL),
                Err(error) => return Err(error),
            }
        }
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

    /// Takes one batch each time it is allowed to.
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

    /// A disk with so much room.
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

    /// 35 requests a second, nobody reads for half an hour: each is handed over by itself.
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

    /// A pipe that does not block and is full every other time.
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
