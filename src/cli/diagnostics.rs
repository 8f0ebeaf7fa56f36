//! Diagnostics on standard error: lines for people on a terminal, JSON elsewhere.
//!
//! A thread of its own writes them: a pipe without a reader blocks neither a worker nor a stop.
//! Lines that find no room are counted, and the count is the first line once writing works again
//! (tests/serve/hanging_files.rs).

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, OnceLock},
};

use jiff::Timestamp;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    reload,
    util::SubscriberInitExt,
};

/// Changes the level of diagnostics.
pub type SetLevel = Box<dyn Fn(&str)>;

/// Limit on lines that wait while standard error takes none; further ones are dropped.
const QUEUED_LINES: usize = 1_024;

/// Starts diagnostics. The first result changes their level; dropping the second writes the rest,
/// for about a second.
pub fn start(level: &str) -> (SetLevel, WorkerGuard) {
    let is_terminal = io::stderr().is_terminal();
    let counter = Arc::<OnceLock<ErrorCounter>>::default();
    let output = Output { counter: Arc::clone(&counter), reported: 0, is_terminal };
    let (writer, rest) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES)
        .lossy(true)
        .thread_name("diagnostics")
        .finish(output);
    // The counter belongs to the writer, which is made after the output that reports it.
    counter.get_or_init(|| writer.error_counter());
    let (filtered, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let registry = tracing_subscriber::registry().with(filtered);
    let started = if is_terminal {
        registry.with(lines.with_target(false)).try_init()
    } else {
        registry.with(lines.json()).try_init()
    };
    // A process has one subscriber, and a program around this library may have its own.
    if let Err(error) = started {
        tracing::debug!(%error, "a log subscriber is installed already; keeping it");
    }
    let set_level = Box::new(move |level: &str| {
        if let Err(error) = handle.reload(filter(level)) {
            tracing::error!(%error, "cannot change the log level; keeping the current level");
        }
    });
    (set_level, rest)
}

/// Filter of these levels. The configuration checks the levels only: a filter can still be wrong in
/// the name of a module.
fn filter(level: &str) -> Targets {
    level.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO))
}

/// Standard error, with a line about dropped lines.
struct Output {
    counter: Arc<OnceLock<ErrorCounter>>,
    /// Dropped lines that were reported.
    reported: usize,
    is_terminal: bool,
}

impl Output {
    fn report_dropped(&mut self) -> io::Result<()> {
        // Before the next line, because only then is it known that writing works again.
        let dropped = self.counter.get().map_or(0, ErrorCounter::dropped_lines);
        let lines = dropped - self.reported;
        if lines == 0 {
            return Ok(());
        }
        let now = Timestamp::now();
        let message = "log lines dropped: standard error did not accept them in time";
        let line = if self.is_terminal {
            format!("{now:.6}  WARN {message} lines={lines}\n")
        } else {
            format!(
                "{{\"timestamp\":\"{now:.6}\",\"level\":\"WARN\",\"fields\":{{\"message\":\"{message}\",\"lines\":{lines}}},\"target\":\"{}\"}}\n",
                module_path!()
            )
        };
        io::stderr().write_all(line.as_bytes())?;
        // Only after the line is written: otherwise the number would be lost with it.
        self.reported = dropped;
        Ok(())
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.report_dropped()?;
        // The lock is held for the whole line.
        io::stderr().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
