//! Outcome of a command: what it prints, and its exit code.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use crate::{
    config::{Loaded, Problems, problem::Style},
    runtime::hint::{Hinted, after_comma},
};

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
        // Many errors have their cause in their own text already.
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
///
/// # Errors
/// The outcome of a command without a configuration.
pub fn usable(loaded: Result<Loaded, Problems>) -> Result<Loaded, Outcome> {
    loaded.map_err(|problems| {
        print_problems(&problems);
        Outcome::Invalid
    })
}

/// Prints problems on standard error, in colour on a terminal, with their count below.
pub fn print_problems(problems: &Problems) {
    if problems.is_empty() {
        return;
    }
    // An empty NO_COLOR counts as not set (no-color.org).
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
#[must_use]
pub fn some(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

fn write_all(mut to: impl Write, text: &str) -> io::Result<()> {
    // Flushed here, so that a failed write is an error of this command.
    to.write_all(text.as_bytes())?;
    to.flush()
}
