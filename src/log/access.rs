//! Logs of one worker: lines are formed here and passed to the writer in batches.

use std::{
    cell::{Cell, RefCell},
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use serde::Serialize;
use tokio::sync::Notify;

use super::{
    entry::{AccessEntry, LoggedFields},
    json,
    sample::{RejectEvent, Sampling, Summary, Told},
    settings::{AccessLogSettings, LogFormat},
    writer::{Lines, WriteQueue},
};
use crate::{
    http::header_list::HeaderList,
    limit::{Decision, Reason},
    runtime::clock::Clock,
};

/// Size at which a batch is passed on; a smaller one is passed on after [`LINGER`].
const BATCH: usize = 32 * 1024;
/// Longest time that a line waits for further lines.
const LINGER: Duration = Duration::from_millis(50);
/// Longest sleep of an idle logger.
const FAR: Duration = Duration::from_secs(3600);

/// Logs of one worker.
pub struct AccessLogger {
    clock: Clock,
    format: RefCell<LogFormat>,
    sampling: Cell<Sampling>,
    lines: RefCell<Option<Lines>>,
    /// Logs that are written at all.
    writes: Cell<Writes>,
    access: RefCell<Vec<u8>>,
    errors: RefCell<Vec<u8>>,
    news: Notify,
    cutting: Cell<bool>,
}

#[derive(Clone, Copy)]
struct Writes {
    access: bool,
    errors: bool,
}

impl Writes {
    fn of(lines: Option<&Lines>) -> Self {
        let has = |queue: fn(&Lines) -> &Option<WriteQueue>| {
            lines.is_some_and(|lines| queue(lines).is_some())
        };
        Self { access: has(|lines| &lines.access), errors: has(|lines| &lines.errors) }
    }
}

#[derive(Serialize)]
struct SummaryLine {
    ts: String,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    rejects: u64,
}

impl AccessLogger {
    /// Creates a logger that passes its lines to `lines`, or forms none.
    #[must_use]
    pub fn new(clock: Clock, settings: &AccessLogSettings, lines: Option<Lines>) -> Rc<Self> {
        Rc::new(Self {
            clock,
            format: RefCell::new(settings.chosen_format()),
            sampling: Cell::new(sampling(settings)),
            writes: Cell::new(Writes::of(lines.as_ref())),
            lines: RefCell::new(lines),
            access: RefCell::default(),
            errors: RefCell::default(),
            news: Notify::new(),
            cutting: Cell::new(false),
        })
    }

    /// Changes format and destination from now on; lines written before go to the old destination.
    pub fn adopt(&self, settings: &AccessLogSettings, lines: Option<Lines>) {
        // Batches that are left go to the old destination before it changes.
        self.finish();
        self.format.replace(settings.chosen_format());
        self.sampling.set(sampling(settings));
        self.writes.set(Writes::of(lines.as_ref()));
        self.lines.replace(lines);
        // The task may sleep until a time of the old sampler.
        self.news.notify_one();
    }

    /// From now on a request that is dropped counts as cut by the end of the process, not as
    /// abandoned by its client.
    pub fn cut(&self) {
        self.cutting.set(true);
    }

    /// Returns true after [`Self::cut`].
    #[must_use]
    pub fn is_cutting(&self) -> bool {
        self.cutting.get()
    }

    /// Clock that times requests.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Returns true if lines are written at all.
    #[must_use]
    pub fn writes(&self) -> bool {
        let writes = self.writes.get();
        writes.access || writes.errors
    }

    /// Header fields of a request that the format shows.
    #[must_use]
    pub fn fields_of(
        &self,
        headers: &HeaderList,
        scheme: &'static str,
    ) -> Option<Box<LoggedFields>> {
        if !self.writes.get().access {
            return None;
        }
        match &*self.format.borrow() {
            LogFormat::Json => LoggedFields::of_json(headers),
            LogFormat::Combined => Some(Box::new(LoggedFields::of_combined(headers))),
            LogFormat::Own(format) => {
                let mut fields = Box::new(LoggedFields::of_user(headers));
                fields.scheme = Some(scheme);
                format.keep_request(headers, &mut fields);
                Some(fields)
            }
            // A short line shows none of them.
            LogFormat::Short | LogFormat::Auto => None,
        }
    }

    /// Adds the header fields of a response that the format shows.
    pub fn add_response(&self, headers: &HeaderList, fields: &mut LoggedFields) {
        if let LogFormat::Own(format) = &*self.format.borrow() {
            format.keep_response(headers, fields);
        }
    }

    /// Writes an entry, unless it is a reject that is only counted. A `silent` one has a line in the
    /// error log only.
    pub fn write(&self, entry: &AccessEntry, silent: bool) {
        let writes = self.writes.get();
        // Not sampled: programs that ban addresses count these lines.
        if writes.errors && is_over_the_limit(entry) {
            self.append(&self.errors, |batch| entry.write_limiting(batch));
        }
        if writes.access && !silent && self.wants(entry) {
            self.append(&self.access, |batch| match &*self.format.borrow() {
                LogFormat::Json | LogFormat::Auto => entry.write_json(batch),
                LogFormat::Combined => entry.write_combined(batch),
                LogFormat::Short => entry.write_short(batch),
                LogFormat::Own(format) => format.write(entry, batch),
            });
        }
    }

    /// Passes on batches and summaries of rejects, for as long as it is polled.
    pub async fn run(&self) {
        loop {
            let due =
                self.lines.borrow().as_ref().map_or(Duration::MAX, |lines| lines.sampler.due());
            // `due` may lie beyond every instant, as `NEVER` does.
            let summary = tokio::time::sleep_until(self.clock.at(due.min(self.clock.now() + FAR)));
            tokio::select! {
                () = self.news.notified() => {
                    // From the first line on, so a line waits at most this long, and many lines are
                    // one batch.
                    tokio::time::sleep(LINGER).await;
                    self.hand_over();
                }
                () = summary => self.sum_up(|lines| lines.sampler.sum_up_due(self.sampling.get().every, self.clock.now())),
            }
        }
    }

    /// Passes on everything that is left, summaries first.
    pub fn finish(&self) {
        self.sum_up(|lines| lines.sampler.sum_up());
        self.hand_over();
    }

    fn wants(&self, entry: &AccessEntry) -> bool {
        let sampling = self.sampling.get();
        let Some(limit) =
            entry.limit.as_ref().filter(|limit| limit.verdict.decision == Decision::Reject)
        else {
            return true;
        };
        let lines = self.lines.borrow();
        // Every reject has a line, so counting them would only take memory.
        let Some(lines) = lines.as_ref().filter(|_| sampling.first < u32::MAX) else { return true };
        let reason = limit.verdict.reason;
        if reason == Some(Reason::Draining) {
            // The end of a request in progress, once in the life of a process.
            return true;
        }
        // A reject for a bad key has no key to count under.
        let has_key = !reason.is_some_and(Reason::is_for_good);
        let fingerprint = has_key.then_some(limit.key);
        let reject = RejectEvent { zone: &limit.zone, fingerprint, reason, client: entry.client };
        let (told, begins) = lines.sampler.take(reject, sampling, self.clock.now());
        if begins {
            // The sleeping task has to compute its next wake-up again.
            self.news.notify_one();
        }
        told == Told::Line
    }

    fn append(&self, batch: &RefCell<Vec<u8>>, write: impl FnOnce(&mut Vec<u8>)) {
        let mut lines = batch.borrow_mut();
        // Only the first line of a batch wakes the task. The others leave with it.
        if lines.is_empty() {
            self.news.notify_one();
        }
        write(&mut lines);
        let full = lines.len() >= BATCH;
        // `hand_over` borrows the batch again.
        drop(lines);
        if full {
            self.hand_over();
        }
    }

    fn hand_over(&self) {
        // The batch moves to the writer as it is, so a line is copied only once.
        let (access, errors, lines) = (self.access.take(), self.errors.take(), self.lines.borrow());
        let push = |queue: Option<&WriteQueue>, batch: Vec<u8>| {
            if let Some(queue) = queue.filter(|_| !batch.is_empty()) {
                queue.push(batch);
            }
        };
        push(lines.as_ref().and_then(|lines| lines.access.as_ref()), access);
        push(lines.as_ref().and_then(|lines| lines.errors.as_ref()), errors);
    }

    fn sum_up(&self, sums: impl FnOnce(&Lines) -> Vec<Summary>) {
        let summaries = self.lines.borrow().as_ref().map(sums).unwrap_or_default();
        for Summary { rejects, zone, reason, client } in summaries {
            let reason = reason.map(Reason::as_str);
            if *self.format.borrow() != LogFormat::Json {
                // Only JSON has a line for summaries.
                let (zone, client) = (zone.as_deref(), client.map(tracing::field::display));
                tracing::info!(
                    zone,
                    reason,
                    client,
                    rejects,
                    "summary of rejects without access lines"
                );
                continue;
            }
            let zone = zone.map(|zone| zone.to_string());
            let line = SummaryLine {
                ts: json::timestamp(Clock::wall()),
                event: "rejects",
                zone,
                reason,
                client,
                rejects,
            };
            self.append(&self.access, |batch| match serde_json::to_writer(&mut *batch, &line) {
                Ok(()) => batch.push(b'\n'),
                Err(error) => tracing::error!(%error, "a summary cannot be written as JSON"),
            });
        }
    }
}

fn sampling(settings: &AccessLogSettings) -> Sampling {
    Sampling { first: settings.rejects_first, every: settings.rejects_every }
}

/// Returns true if the client exceeded its rate. A missing or repeated key, a full queue and a
/// drain do not count.
fn is_over_the_limit(entry: &AccessEntry) -> bool {
    let reason = entry.limit.as_ref().and_then(|limit| limit.verdict.reason);
    matches!(reason, Some(Reason::Burst | Reason::MaxWait))
}
