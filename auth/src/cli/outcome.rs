//! How a subcommand ends: data on stdout, a failure on stderr with its causes, one exit code.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use crate::app::{StartError, check_revision};
use crate::problem::Problem;
use crate::secret::SettingError;
use crate::service::Auth;
use crate::settings::Settings;

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A setting, a key or a secret.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The service did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The service said no.
    #[error("{}", in_a_terminal(.0))]
    Refused(Problem),
    /// A file, a socket, the runtime.
    #[error("{what}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Said already; only the exit code is left.
    #[error("not well")]
    NotWell,
}

/// What a problem says where nobody has a request's id; the cause of our own fault stands in the lines before.
fn in_a_terminal(problem: &Problem) -> &str {
    if problem.status == 500 { "it failed; the cause is above" } else { &problem.detail }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl Failure {
    /// The system refused `what`.
    pub fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    fn code(&self) -> u8 {
        if matches!(self, Self::Start(StartError::Unreachable { .. })) { 3 } else { 1 }
    }
}

/// Prints what came of it.
#[must_use]
pub fn tell(done: Result<(), Failure>) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    if !matches!(failure, Failure::NotWell) {
        let cause = failure.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        say(&mut std::io::stderr(), &format!("error: {failure}{cause}"));
    }
    ExitCode::from(failure.code())
}

/// A line of data.
pub fn line(text: &str) {
    say(&mut std::io::stdout(), text);
}

fn say(to: &mut impl std::io::Write, text: &str) {
    let _ = writeln!(to, "{text}"); // nobody listens: nothing to tell them
}

/// Runs work that needs a runtime, and waits for nothing else: a thread may be asking for the name of a Redis that is gone, which takes
/// ten seconds where there is no way to the outside.
///
/// # Errors
/// The work's, or there is no runtime.
pub fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::system("cannot start threads"))?;
    let done = runtime.block_on(work);
    runtime.shutdown_background();
    done
}

/// The service without its listener, for a command that changes something. What goes wrong within is told on standard error.
///
/// # Errors
/// A setting cannot be used, or the database cannot: it is away, refuses us, or is behind.
pub async fn service() -> Result<Auth, Failure> {
    let lines = tracing_subscriber::fmt().without_time().with_target(false).with_max_level(tracing::Level::WARN);
    if lines.with_writer(std::io::stderr).try_init().is_err() {
        tracing::debug!("a log was started before");
    }
    // Somebody looks on: what does not answer now is told now.
    let settings = Settings { start_wait: Duration::ZERO, ..Settings::from_environment()? };
    check_revision(&settings).await?;
    Ok(Auth::new(settings)?)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::block_on;

    #[test]
    fn a_thread_that_is_still_busy_holds_no_end_up() {
        let (end, wait) = mpsc::channel::<()>();
        let (began, begun) = mpsc::channel::<()>();
        let work = async move {
            tokio::task::spawn_blocking(move || {
                began.send(()).ok(); // the test waits for it
                wait.recv_timeout(Duration::from_secs(60)).ok();
            });
            begun.recv().ok();
            Ok(())
        };
        assert!(block_on(work).is_ok());
        assert!(end.send(()).is_ok(), "it waited until the thread gave up");
    }
}
