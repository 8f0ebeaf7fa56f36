//! One worker's side of the access log: lines are formed here and handed over in batches.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use serde::Serialize;
use tokio::sync::Notify;

use super::{
    entry::{self, Entry},
    sample::{Sampler, Summary},
    settings::{AccessLogSettings, LogFormat},
    writer::Lines,
};
use crate::{clock::Clock, limit::Decision};

/// A batch is handed over when it is this large, and at the latest after [`LINGER`].
const BATCH: usize = 32 * 1024;
/// How long a line may wait for company.
const LINGER: Duration = Duration::from_millis(50);

/// The access log of one worker.
pub struct Journal {
    clock: Clock,
    format: Cell<LogFormat>,
    lines: RefCell<Option<Lines>>,
    writes: Cell<bool>,
    sampler: RefCell<Sampler>,
    batch: RefCell<Vec<u8>>,
    written: Notify,
    cutting: Cell<bool>,
}

#[derive(Serialize)]
struct SummaryLine {
    ts: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    rejects: u64,
}

impl Journal {
    /// A journal that hands its lines to `lines`, or forms none.
    #[must_use]
    pub fn new(clock: Clock, settings: &AccessLogSettings, lines: Option<Lines>) -> Rc<Self> {
        Rc::new(Self {
            clock,
            format: Cell::new(settings.format),
            writes: Cell::new(lines.is_some()),
            lines: RefCell::new(lines),
            sampler: RefCell::new(Sampler::new(settings.rejects_first, settings.rejects_every)),
            batch: RefCell::default(),
            written: Notify::new(),
            cutting: Cell::new(false),
        })
    }

    /// From now on writes like this and to there; what was written before goes where it was meant to.
    pub fn adopt(&self, settings: &AccessLogSettings, lines: Option<Lines>) {
        self.finish();
        self.format.set(settings.format);
        self.sampler.replace(Sampler::new(settings.rejects_first, settings.rejects_every));
        self.writes.set(lines.is_some());
        self.lines.replace(lines);
    }

    /// From now on a request that is dropped was cut by the end of the process, not left by its client.
    pub fn cut(&self) {
        self.cutting.set(true);
    }

    /// Whether that is so.
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        self.cutting.get()
    }

    /// The clock that requests are timed with.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Whether lines are written at all.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.writes.get()
    }

    /// Whether lines want to know what browsers say of themselves.
    #[must_use]
    pub fn wants_browser(&self) -> bool {
        self.writes() && self.format.get() == LogFormat::Combined
    }

    /// Writes an entry down, unless it is one reject of many.
    pub fn write(&self, entry: &Entry) {
        if !self.writes() || !self.wants(entry) {
            return;
        }
        self.append(|batch| match self.format.get() {
            LogFormat::Json => entry.write_json(batch),
            LogFormat::Combined => entry.write_combined(batch),
        });
    }

    /// Hands batches over and sums rejects up, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            let due = self.sampler.borrow().due();
            let summary = tokio::time::sleep_until(self.clock.at(due.min(self.clock.now() + Duration::from_secs(3600))));
            tokio::select! {
                () = self.written.notified() => {
                    tokio::time::sleep(LINGER).await;
                    self.hand_over();
                }
                () = summary => self.sum_up(),
            }
        }
    }

    /// Hands over whatever there is: sums first.
    pub fn finish(&self) {
        self.sum_up();
        self.hand_over();
    }

    fn wants(&self, entry: &Entry) -> bool {
        match &entry.limit {
            Some(limit) if limit.verdict.decision == Decision::Reject => {
                self.sampler.borrow_mut().wants(limit.key, &limit.zone, entry.client, self.clock.now())
            }
            _ => true,
        }
    }

    fn append(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut batch = self.batch.borrow_mut();
        if batch.is_empty() {
            self.written.notify_one();
        }
        write(&mut batch);
        let full = batch.len() >= BATCH;
        drop(batch);
        if full {
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        let batch = self.batch.take();
        if let Some(lines) = self.lines.borrow().as_ref().filter(|_| !batch.is_empty()) {
            lines.push(batch);
        }
    }

    fn sum_up(&self) {
        let summaries = self.sampler.borrow_mut().sum_up(self.clock.now());
        if self.format.get() == LogFormat::Combined {
            return;
        }
        for Summary { rejects, key } in summaries {
            let (zone, client) = key.map(|(zone, client)| (zone.to_string(), client)).unzip();
            let line = SummaryLine { ts: entry::timestamp(Clock::wall()), event: "rejects", zone, client, rejects };
            self.append(|batch| match serde_json::to_writer(&mut *batch, &line) {
                Ok(()) => batch.push(b'\n'),
                Err(error) => tracing::error!(%error, "a summary cannot be written as JSON"),
            });
        }
    }
}
