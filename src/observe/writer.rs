//! The thread that writes log lines: the data path hands them over and never waits.
//!
//! Guarantee: when nobody takes the lines (a full disk, a pipe nobody reads) they are dropped and counted, and the count is
//! reported once writing works again.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::settings::LogTarget;

/// Batches that may wait to be written; a batch is at most some 32 KiB.
const QUEUE: usize = 256;
/// How long the last lines may take when the process stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Where a worker leaves its lines.
#[derive(Clone, Debug)]
pub struct Lines {
    queue: SyncSender<Vec<u8>>,
    dropped: Arc<AtomicU64>,
}

/// The writing thread.
#[derive(Debug)]
pub struct Writer {
    thread: JoinHandle<()>,
}

impl Lines {
    /// Hands over a batch of whole lines; drops and counts it when the writer is too far behind.
    pub fn push(&self, batch: Vec<u8>) {
        if let Err(error) = self.queue.try_send(batch) {
            let (std::sync::mpsc::TrySendError::Full(batch) | std::sync::mpsc::TrySendError::Disconnected(batch)) = error;
            self.dropped.fetch_add(count_lines(&batch), Ordering::Relaxed);
        }
    }

    /// How many lines were dropped so far.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Starts a thread that writes to `target`; none when there is nothing to write.
///
/// # Errors
/// When the file cannot be opened, or the thread not started.
pub fn start(target: &LogTarget) -> io::Result<Option<(Lines, Writer)>> {
    let output: Box<dyn Write + Send> = match target {
        LogTarget::Stdout => Box::new(io::stdout()),
        LogTarget::Stderr => Box::new(io::stderr()),
        LogTarget::File(path) => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        LogTarget::None => return Ok(None),
    };
    start_on(output).map(Some)
}

/// Starts a thread that writes to `output`.
///
/// # Errors
/// When the thread cannot be started.
pub fn start_on(output: Box<dyn Write + Send>) -> io::Result<(Lines, Writer)> {
    let (queue, batches) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines { queue, dropped: Arc::clone(&dropped) };
    let thread = thread::Builder::new().name("log".to_owned()).spawn(move || write_all(output, &batches, &dropped))?;
    Ok((lines, Writer { thread }))
}

impl Writer {
    /// Whether its last line is written: nobody has lines for it any more.
    #[must_use]
    pub fn has_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits, once every [`Lines`] is gone, until the last line of each is written; not for ever when nobody takes it.
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

fn write_all(mut output: Box<dyn Write + Send>, batches: &Receiver<Vec<u8>>, dropped: &AtomicU64) {
    let (mut failing, mut reported) = (false, 0);
    for batch in batches {
        match output.write_all(&batch).and_then(|()| output.flush()) {
            Ok(()) => failing = false,
            Err(error) => {
                dropped.fetch_add(count_lines(&batch), Ordering::Relaxed);
                if !failing {
                    tracing::warn!(%error, "the access log cannot be written: its lines are dropped until it can");
                }
                failing = true;
            }
        }
        let now = dropped.load(Ordering::Relaxed);
        if !failing && now > reported {
            tracing::warn!(lines = now - reported, "access log lines were dropped");
            reported = now;
        }
    }
}

fn count_lines(batch: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', batch).count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};

    use super::*;

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

    #[test]
    fn a_log_nobody_reads_costs_lines_not_time() {
        let (allow, allowed) = channel();
        let (sent, written) = channel();
        let (lines, writer) = start_on(Box::new(Stuck(allowed, sent))).expect("a thread");
        let pushed = QUEUE as u64 + 100;
        for _ in 0..pushed {
            lines.push(b"one\ntwo\n".to_vec());
        }
        let dropped = lines.dropped();
        assert!((198..=200).contains(&dropped), "{dropped}");
        for _ in 0..pushed - dropped / 2 {
            allow.send(()).expect("a writer");
        }
        drop((lines, allow));
        Writer::finish_all(&[writer]);
        assert_eq!(written.iter().count() as u64, pushed - dropped / 2);
    }
}
