//! `weir bench`: measures any HTTP server from outside. Exit code 10 means that an expectation or
//! the envelope was broken.

use std::{
    convert::Infallible,
    fs,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use clap::{Args, Subcommand, ValueEnum};
use http::Method;

use super::{
    arguments::with_hint,
    outcome::{Outcome, report_hinted},
};
use crate::{
    limit::Rate,
    process::fd_limit,
    runtime::hint::{Hinted, HintedError, hinted},
    tools::burst::{
        BurstPlan, BurstTarget, Expectation, FireError, Limit, Report, RequestTemplate, Schedule,
        Tally, View, data,
        draw::{DrawStyle, draw},
        fire,
        schedule::parse_time,
        svg::svg,
    },
};

/// Runs shorter than this have no progress bar.
const SHORT: Duration = Duration::from_secs(2);

/// Default width of a timeline.
const USUAL_WIDTH: usize = 100;

/// Open files that are not connections, with a margin.
const SPARE_FILES: usize = 64;

/// Measure a server from outside.
#[derive(Debug, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Fire a described burst, draw it on one time axis and judge the server's limit
    ///
    /// `pass` is a response without a wait, `wait` one after a wait, `reject` one with the reject
    /// status. With --rate the limit says which requests had to wait, and its envelope is judged:
    /// none too many, none before its slot, none rejected while a place was free. Without --rate a
    /// response slower than 20 ms counts as a wait. A server that cuts its clock to the millisecond
    /// may seem up to 1 ms early; that is allowed, and no more.
    ///
    /// Exit codes: 0 fine, 1 failed, 2 usage, 10 an expectation or the envelope was broken.
    Burst(Box<BurstArgs>),
}

/// Options of `weir bench burst`.
#[derive(Debug, Args)]
struct BurstArgs {
    /// URL to send to: http://HOST[:PORT][/PATH]
    #[arg(value_parser = with_hint(str::parse::<BurstTarget>))]
    url: BurstTarget,
    /// Schedule: `30`, `30 at once`, `40 every 20ms, pause 2s, 8 every 20ms`
    #[arg(long, default_value = "30 at once", value_name = "SCHEDULE",
          value_parser = with_hint(str::parse::<Schedule>))]
    send: Schedule,
    /// Rate that the server is said to keep for each client, like 10r/s: judges the envelope
    #[arg(long, value_parser = with_hint(str::parse::<Rate>))]
    rate: Option<Rate>,
    /// Requests that may be ahead of the rate
    #[arg(long, value_name = "N", default_value_t = 0, requires = "rate")]
    burst: u32,
    /// Requests of the burst that are not held back
    #[arg(long, value_name = "N", default_value_t = 0, requires = "rate")]
    delay: u32,
    /// Forward the whole burst without delay
    #[arg(long, requires = "rate", conflicts_with = "delay")]
    nodelay: bool,
    /// Clients, each from a loopback address of its own (127.0.0.1, 127.0.0.2, ...); each sends the
    /// whole schedule
    #[arg(long, value_name = "N", default_value_t = 1)]
    clients: u32,
    /// Counts to expect, like "pass=1 wait=20 reject=9"
    #[arg(long, value_name = "COUNTS", value_parser = with_hint(str::parse::<Expectation>))]
    expect: Option<Expectation>,
    /// Status that every refusal (400 and above) must have; there must be one
    #[arg(long, value_name = "STATUS")]
    expect_status: Option<u16>,
    /// Status that means reject; 444 means closed without a response [default: that of
    /// --expect-status, or 503]
    #[arg(long, value_name = "STATUS")]
    reject_status: Option<u16>,
    /// Method; no body is sent
    #[arg(long, default_value = "GET")]
    method: Method,
    /// Header field, `Name: value`; may be repeated
    #[arg(long = "header", short = 'H', value_name = "FIELD")]
    headers: Vec<String>,
    /// Open connections [default: one for each request, as far as the limit of open files allows]
    #[arg(long, value_name = "N")]
    connections: Option<usize>,
    /// Time-out for a response
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = with_hint(parse_time))]
    timeout: Duration,
    /// Longest time that a request may take to reach the server: leaves its order among others in
    /// doubt
    #[arg(long, default_value = "5ms", value_name = "TIME", value_parser = with_hint(parse_time))]
    tolerance: Duration,
    /// Wait first until the limit has recovered from a full burst
    #[arg(long, requires = "rate")]
    settle: bool,
    /// Output format
    #[arg(long, short, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Write the output to a file, and the text to stdout
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
    Csv,
    Svg,
}

/// Reason why a burst failed.
#[derive(Debug, thiserror::Error)]
enum BenchError {
    #[error(transparent)]
    Fire(#[from] FireError),
    #[error("cannot write `{path}`: {cause}")]
    Write { path: String, cause: io::Error },
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error("{0}")]
    Usage(HintedError),
}

impl Hinted for BenchError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Fire(error) => error.hint(),
            Self::Usage(error) => error.hint(),
            Self::Write { .. } | Self::Runtime(_) => None,
        }
    }
}

fn usage(error: impl Hinted) -> BenchError {
    let hint = error.hint().unwrap_or_default();
    BenchError::Usage(hinted(error, hint))
}

impl BenchArgs {
    /// Runs the subcommand and returns its exit code.
    #[must_use]
    pub fn run(self) -> Outcome {
        let Kind::Burst(args) = self.kind;
        args.run().unwrap_or_else(|error| {
            let outcome = if error.is_usage() { Outcome::Usage } else { Outcome::Failed };
            report_hinted(&error, outcome)
        })
    }
}

impl BenchError {
    fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Usage(_)
                | Self::Fire(
                    FireError::Clients(_) | FireError::NoConnections | FireError::NotLoopback(_)
                )
        )
    }
}

impl BurstArgs {
    fn run(&self) -> Result<Outcome, BenchError> {
        let (plan, view) = (self.plan()?, self.view()?);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(BenchError::Runtime)?;
        if let Some(wait) = self.settling() {
            say(&format!("waiting {wait:?} until the limit has recovered"));
            runtime.block_on(async { tokio::time::sleep(wait).await });
        }
        let trace = runtime.block_on(watched(&plan))?;
        let url = format!("http://{}{}", self.url.authority, self.url.path);
        let report = Report::new(&url, self.send.text(), self.clients, view, trace);
        self.show(&report)?;
        Ok(self.verdict(&report))
    }

    /// Time after which no debt of the limit is left, whatever was sent before.
    fn settling(&self) -> Option<Duration> {
        let rate = self.rate.filter(|_| self.settle)?;
        let ticks = (u64::from(self.burst) + 1).saturating_mul(rate.interval_ticks());
        // A millisecond more, as the server may cut its clock to the millisecond.
        Some(Duration::from_millis(ticks.div_ceil(rate.ticks_per_ms()).saturating_add(1)))
    }

    fn plan(&self) -> Result<BurstPlan, BenchError> {
        let order = RequestTemplate::new(&self.url, &self.method, &self.headers);
        Ok(BurstPlan {
            target: self.url.clone(),
            order: order.map_err(usage)?,
            schedule: self.send.clone(),
            clients: self.clients,
            // Each connection is an open file, so the limit of the process bounds them.
            connections: self.connections.or_else(|| {
                fd_limit::raised().map(|files| files.saturating_sub(SPARE_FILES).max(1))
            }),
            timeout: self.timeout,
        })
    }

    fn view(&self) -> Result<View, BenchError> {
        let delay = if self.nodelay { self.burst } else { self.delay };
        let limit = self.rate.map(|rate| Limit::new(rate, self.burst, delay)).transpose();
        Ok(View {
            // 503 is what weir and nginx send unless another status is set.
            reject_status: self.reject_status.or(self.expect_status).unwrap_or(503),
            limit: limit.map_err(usage)?,
            tolerance_us: u64::try_from(self.tolerance.as_micros()).unwrap_or(u64::MAX),
        })
    }

    fn show(&self, report: &Report) -> Result<(), BenchError> {
        let text = || draw(report, width(), style());
        let data = match self.output {
            Output::Text => text(),
            Output::Json => data::json(report) + "\n",
            Output::Csv => data::csv(report),
            Output::Svg => svg(report),
        };
        let failed = |path: String| move |cause| BenchError::Write { path, cause };
        let printed = match &self.out {
            None => data,
            Some(path) => {
                fs::write(path, data).map_err(failed(path.display().to_string()))?;
                text()
            }
        };
        match io::stdout().write_all(printed.as_bytes()) {
            // A reader that has closed its pipe is not a failure.
            Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => {
                Err(failed("standard output".to_owned())(cause))
            }
            _ => Ok(()),
        }
    }

    /// Prints on stderr which expectations were broken.
    fn verdict(&self, report: &Report) -> Outcome {
        let counts = self
            .expect
            .as_ref()
            .map(|expected| expected.broken_by(&report.counts()))
            .unwrap_or_default();
        // Only refusals have a status to expect, so this is apart from the counts.
        let status = self.expect_status.and_then(|status| report.unexpected_status(status));
        let broken: Vec<String> = counts.into_iter().chain(status).chain(report.broken()).collect();
        for sentence in &broken {
            say(&format!("broken: {sentence}"));
        }
        // A wrong `--reject-status` looks like a broken limit, so it is named where something
        // broke.
        if let Some(status) = report.other_reject_status()
            && !broken.is_empty()
        {
            say(&format!(
                "hint: `--reject-status {status}` counts responses of {status} as rejects"
            ));
        }
        // A limit that was in use before the burst allows less than the trace alone explains.
        if !report.broken().is_empty() && report.began_in_debt() {
            say("hint: the first request already waited; with `--settle` the limit recovers first");
        }
        for (cause, count) in report.failures() {
            say(&format!("failed: {count} of {} requests: {cause}", report.trace.len()));
        }
        // What was expected is the question, so a broken expectation wins over failed requests.
        match (broken.is_empty(), report.counts().failed) {
            (false, _) => Outcome::Unexpected,
            (true, 0) => Outcome::Fine,
            (true, _) => Outcome::Failed,
        }
    }
}

/// Sends the burst, with a progress bar on a terminal if that takes long.
async fn watched(plan: &BurstPlan) -> Result<Vec<crate::tools::burst::Shot>, FireError> {
    let tally = Rc::new(Tally::default());
    let (firing, begun) = (fire(plan, &tally), Instant::now());
    // In a log file the bar would be a line for every redraw.
    if !io::stderr().is_terminal() {
        return firing.await;
    }
    // One thread runs both: the sender yields between requests, and the bar is drawn then.
    tokio::select! {
        trace = firing => {
            if begun.elapsed() > SHORT {
                let _cosmetic = write!(io::stderr(), "\r\x1b[K");
            }
            trace
        }
        never = progress(plan, &tally) => match never {},
    }
}

/// Redraws the progress bar until dropped.
async fn progress(plan: &BurstPlan, tally: &Tally) -> Infallible {
    let begun = Instant::now();
    let total = plan.schedule.offsets_us().len() * plan.clients as usize;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        if begun.elapsed() > SHORT {
            let (sent, ended) = (tally.sent.get(), tally.ended.get());
            let done = ended * 30 / total.max(1);
            let bar = format!("{}{}", "#".repeat(done), "-".repeat(30_usize.saturating_sub(done)));
            let seconds = begun.elapsed().as_secs();
            let _cosmetic = write!(
                io::stderr(),
                "\r[{bar}] {sent} sent, {ended} of {total} completed, {seconds} s\x1b[K"
            );
        }
    }
}

/// If stderr is closed there is no other place to report to.
fn say(line: &str) {
    let _nobody_listens = writeln!(io::stderr(), "{line}");
}

fn style() -> DrawStyle {
    match (
        io::stdout().is_terminal(),
        std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
    ) {
        (false, _) => DrawStyle::Plain,
        (true, false) => DrawStyle::Unicode,
        (true, true) => DrawStyle::Colour,
    }
}

fn width() -> usize {
    // `COLUMNS` is set on purpose, so it wins over the size of the terminal.
    let asked = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let told =
        || rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col));
    asked.or_else(told).filter(|columns| *columns > 0).unwrap_or(USUAL_WIDTH)
}
