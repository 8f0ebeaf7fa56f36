//! The end of a subcommand: data on stdout, a failure on stderr with its causes, one exit code.

use std::error::Error;
use std::fmt::Display;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use crate::app::{StartError, check_revision};
use crate::service::Auth;
use crate::service::error::ServiceError;
use crate::settings::{SettingError, Settings};
use crate::store::StoreError;

/// Reason why a subcommand failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A setting, a key or a secret.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// An argument breaks a rule.
    #[error("`{name}` {rule}")]
    Argument {
        /// The argument.
        name: &'static str,
        /// The rule.
        rule: String,
    },
    /// The service did not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The service did not do it.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A key would be overwritten.
    #[error("`{}` is there already", .0.display())]
    KeyExists(PathBuf),
    /// The system has no randomness.
    #[error("the system gives no randomness")]
    Randomness,
    /// A file, a socket, the runtime.
    #[error("{what}")]
    System {
        /// Operation that failed.
        what: String,
        /// Error of the system.
        source: io::Error,
    },
    /// Said already; only the exit code is left.
    #[error("not well")]
    NotWell,
}

impl Failure {
    /// The system refused `what`.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }

    /// The argument `name` breaks a rule.
    pub fn argument<E: Display>(name: &'static str) -> impl FnOnce(E) -> Self {
        move |rule| Self::Argument { name, rule: rule.to_string() }
    }

    /// The failure with its causes, and below it what to do.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let more = error.to_string();
            // Drivers repeat their cause.
            if !text.contains(&more) {
                text += &format!(": {more}");
            }
            cause = error.source();
        }
        self.hint().map_or(text.clone(), |hint| format!("{text}\nhint: {hint}"))
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Setting(error) => error.hint(),
            Self::Start(error) => error.hint(),
            Self::Service(ServiceError::ClientExists(id)) => {
                Some(format!("`auth client rotate {id}` gives it another secret"))
            }
            Self::KeyExists(_) => {
                Some("`--rotate` signs with the next key and keeps it".to_owned())
            }
            _ => None,
        }
    }

    fn code(&self) -> u8 {
        match self {
            Self::Setting(_) | Self::Argument { .. } | Self::Start(StartError::Setting(_)) => 2,
            Self::Start(StartError::Unreachable { .. })
            | Self::Service(ServiceError::Store(StoreError::Unavailable(_))) => 3,
            _ => 1,
        }
    }
}

/// Prints a failure, if it is one, and picks the exit code.
#[must_use]
pub fn tell(done: Result<(), Failure>) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    if !matches!(failure, Failure::NotWell) {
        say(&mut io::stderr(), &format!("error: {}", failure.text()));
    }
    ExitCode::from(failure.code())
}

/// A line of data.
pub fn line(text: &str) {
    say(&mut io::stdout(), text);
}

fn say(to: &mut impl io::Write, text: &str) {
    let _ = writeln!(to, "{text}"); // nobody listens: nothing to tell them
}

/// Runs work that needs a runtime, and waits for nothing else: a thread may be asking for the name
/// of a Redis that is gone, which takes ten seconds where there is no way to the outside.
///
/// # Errors
/// The work's, or there is no runtime.
pub fn block_on(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::system("cannot start threads"))?;
    let done = runtime.block_on(work);
    // Dropping the runtime would wait for such a thread.
    runtime.shutdown_background();
    done
}

/// Returns the service without its listener, for a command that changes something. Warnings go to
/// standard error.
///
/// # Errors
/// A setting cannot be used, or the database cannot: it is away, refuses us, or is behind.
pub async fn service() -> Result<Auth, Failure> {
    let lines = tracing_subscriber::fmt()
        .without_time()
        .with_target(false)
        .with_max_level(tracing::Level::WARN);
    if lines.with_writer(io::stderr).try_init().is_err() {
        tracing::debug!("a log was started before");
    }
    // An operator looks on: there is no sense in waiting.
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
    fn command_ends_beside_a_thread_that_is_still_busy() {
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
