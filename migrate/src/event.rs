//! Events while revisions run: one line each for a person.

use std::{fmt, time::Duration};

/// Something worth a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The database cannot be reached yet; trying again until the time is up.
    Unreachable {
        /// The address, without a password.
        target: String,
        /// Error of the attempt.
        cause: String,
    },
    /// Another migration has the lock; asking again until the time is up.
    Waiting {
        /// Its holder.
        holder: String,
    },
    /// A revision is about to run.
    Begins {
        /// Up or down.
        way: Way,
        /// Its name.
        revision: String,
    },
    /// A revision ran.
    Ends {
        /// Up or down.
        way: Way,
        /// Its name.
        revision: String,
        /// Time that it took.
        took: Duration,
    },
    /// A lock on a table did not come in time; trying again.
    Retries {
        /// File and line.
        place: String,
        /// The transaction most likely in the way.
        suspect: String,
    },
    /// Something odd that stops nothing.
    Warning(String),
}

/// Up or down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Applying.
    Up,
    /// Undoing.
    Down,
}

impl Way {
    fn verb(self) -> &'static str {
        match self {
            Self::Up => "upgrade",
            Self::Down => "downgrade",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable { target, cause } => {
                write!(f, "waiting: cannot reach the database {target}: {cause}")
            }
            Self::Waiting { holder } => write!(f, "waiting: another migration runs: {holder}"),
            Self::Begins { way, revision } => write!(f, "running {} {revision}", way.verb()),
            Self::Ends { way, revision, took } => {
                write!(f, "done    {} {revision} ({} ms)", way.verb(), took.as_millis())
            }
            Self::Retries { place, suspect } => {
                write!(f, "trying again: no lock in time at {place}: {suspect}")
            }
            Self::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}
