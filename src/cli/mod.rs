//! Command line: one file per subcommand.

use std::{
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use clap::{Parser, Subcommand};

use crate::{
    config::{Loaded, Problems, problem::Style},
    runtime::hint::{Hinted, after_comma, one_line},
};

pub mod bench;
pub mod check;
pub mod config;
pub mod demo;
pub mod diagnostics;
pub mod healthcheck;
pub mod manual;
pub mod proxy;
pub mod reload;
pub mod run;

/// A reverse proxy with a rate limiter built in.
#[derive(Debug, Parser)]
#[command(name = "weir", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve in the foreground
    Run(run::RunCommand),
    /// Serve a sample upstream behind two limits, with a page that fires bursts
    Demo(demo::Demo),
    /// Serve one upstream without a configuration file
    Proxy(proxy::ProxyCommand),
    /// Find everything that is wrong with a configuration.
    Check(check::Check),
    /// Show the configuration as used, or its schema.
    Config(config::ConfigCommand),
    /// Measure a server from outside
    Bench(bench::BenchArgs),
    /// Make the running proxy load its configuration again
    Reload(reload::Reload),
    /// Ask the running proxy whether it serves
    Healthcheck(healthcheck::Healthcheck),
    /// Print the completions of a shell
    Completions(manual::Completions),
    /// Print the manual page, in roff, or write one for each command
    Man(manual::Man),
    /// Print the version
    Version,
}

/// Outcome of a command: the exit code of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The command succeeded.
    Fine = 0,
    /// The command failed.
    Failed = 1,
    /// The command line is invalid.
    Usage = 2,
    /// The configuration cannot be used.
    Invalid = 3,
    /// An address cannot be listened on.
    CannotBind = 4,
    /// No process responds at the control socket or the admin address.
    Unreachable = 5,
    /// An expectation was not met.
    Unexpected = 10,
    /// A second signal stopped the process before the drain was complete.
    Interrupted = 130,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(outcome as u8)
    }
}

impl Cli {
    /// Runs the command.
    #[must_use]
    pub fn run(self) -> Outcome {
        match self.command {
            Command::Run(run) => run.run(),
            Command::Demo(demo) => demo.run(),
            Command::Proxy(proxy) => proxy.run(),
            Command::Check(check) => check.run(),
            Command::Config(config) => config.run(),
            Command::Bench(bench) => bench.run(),
            Command::Reload(reload) => reload.run(),
            Command::Healthcheck(healthcheck) => healthcheck.run(),
            Command::Completions(completions) => completions.run(),
            Command::Man(man) => man.run(),
            Command::Version => manual::version(),
        }
    }
}

/// Configuration to read.
#[derive(Clone, Debug, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file [default: ./weir.yaml, then /etc/weir/weir.yaml]
    #[arg(short, long = "config", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Override a value of the file, like zones.per_ip.rate=5r/s
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub sets: Vec<String>,
}

impl ConfigArgs {
    /// Returns the named file, or the first usual place that has one.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        let usual = ["weir.yaml", "/etc/weir/weir.yaml"].map(Path::new);
        let found = || usual.into_iter().find(|path| path.exists()).unwrap_or(usual[0]).to_owned();
        self.config.clone().unwrap_or_else(found)
    }
}

/// Writes to standard output. A reader that has closed its pipe is not a failure.
#[must_use]
pub fn print(text: &str) -> Outcome {
    match write_all(io::stdout().lock(), text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let message = format!("cannot write to standard output: {error}");
            report_error(&io::Error::other(message), Outcome::Failed)
        }
        _ => Outcome::Fine,
    }
}

/// Prints on standard error why a command failed, with every cause.
#[must_use]
pub fn report_error(error: &dyn std::error::Error, outcome: Outcome) -> Outcome {
    print_error(error, None, outcome)
}

/// Prints on standard error why a command failed, with every cause, and what to do about it.
#[must_use]
pub fn report_hinted(error: &(impl std::error::Error + Hinted), outcome: Outcome) -> Outcome {
    print_error(error, error.hint(), outcome)
}

fn print_error(error: &dyn std::error::Error, hint: Option<String>, outcome: Outcome) -> Outcome {
    let mut text = format!("error: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let told = error.to_string();
        if !text.contains(&told) {
            text = format!("{text}: {told}");
        }
        cause = error.source();
    }
    // A failure to write to standard error cannot be reported anywhere.
    let _ = write_all(io::stderr().lock(), &format!("{text}{}\n", after_comma(hint)));
    outcome
}

/// Returns a configuration that can be used, or prints why there is none.
fn usable(loaded: Result<Loaded, Problems>) -> Result<Loaded, Outcome> {
    loaded.map_err(|problems| {
        print_problems(&problems);
        Outcome::Invalid
    })
}

/// Parses an argument; the hint stands behind the message, since clap prints one line.
fn argument<T, E: Hinted>(text: &str) -> Result<T, String>
where
    T: FromStr<Err = E>,
{
    text.parse().map_err(|error: E| one_line(&error))
}

/// Prints problems on standard error, in colour on a terminal, with their count below.
pub fn print_problems(problems: &Problems) {
    if problems.is_empty() {
        return;
    }
    let colour = io::stderr().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let style = if colour { Style::Colour } else { Style::Plain };
    let (errors, warnings) = (problems.errors(), problems.warnings());
    let text = format!(
        "{}\n\n{}, {}\n",
        problems.render(style),
        some(errors, "error"),
        some(warnings, "warning")
    );
    // A failure to write to standard error cannot be reported anywhere.
    let _ = write_all(io::stderr().lock(), &text);
}

/// Formats a count: `1 error`, `2 errors`.
fn some(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn write_all(mut to: impl Write, text: &str) -> io::Result<()> {
    to.write_all(text.as_bytes())?;
    to.flush()
}
