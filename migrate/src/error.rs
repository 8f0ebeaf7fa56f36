//! Everything that can stop a migration, in words, with a hint and an exit code.

use std::{fmt, io, path::PathBuf, time::Duration};

/// A text, and what to do about it where that can be said.
#[derive(Debug)]
pub struct Message {
    text: String,
    hint: Option<String>,
}

impl Message {
    /// A text with what to do about it.
    pub(crate) fn new(text: impl Into<String>, hint: Option<impl Into<String>>) -> Self {
        Self { text: text.into(), hint: hint.map(Into::into) }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Self { text, hint: None }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reason why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The call makes no sense.
    #[error("{0}")]
    Usage(Message),
    /// A file or folder could not be read or written.
    #[error("cannot {verb} `{}`: {source}", path.display())]
    File {
        /// Operation that failed.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The revision files themselves are wrong.
    #[error("{0}")]
    Revisions(Message),
    /// A name fits no revision, or several.
    #[error("{0}")]
    Name(Message),
    /// No connection.
    #[error("cannot reach the database {target}: {cause}")]
    Unreachable {
        /// The address, without a password.
        target: String,
        /// Error of the attempt.
        cause: String,
    },
    /// The database refused something that is not a revision's statement.
    #[error("the database refused to {verb}: {}", said(source))]
    Database {
        /// Operation that failed.
        verb: &'static str,
        /// Error of the database.
        source: sqlx::Error,
    },
    /// Another migration runs.
    #[error("another migration runs: {holder}; gave up after {} s", waited.as_secs_f32())]
    Locked {
        /// Holder of the lock.
        holder: String,
        /// Time spent waiting.
        waited: Duration,
    },
    /// A revision could not get a lock on a table.
    #[error("revision `{revision}` waited too often for a lock at {place}: {suspect}")]
    Blocked {
        /// The revision.
        revision: String,
        /// File and line.
        place: String,
        /// The transaction most likely in the way.
        suspect: String,
    },
    /// An applied revision was edited.
    #[error("changed after it was applied: {}", backticked(revisions))]
    Drift {
        /// Their names.
        revisions: Vec<String>,
        /// They differ in how their lines end and in nothing else.
        only_line_endings: bool,
    },
    /// The database has revisions that the files do not have.
    #[error(
        "the database is ahead: it has {}, which {source_name} does not have",
        backticked(revisions)
    )]
    Ahead {
        /// Their numbers.
        revisions: Vec<String>,
        /// Place that lacks them.
        source_name: String,
    },
    /// A revision outside a transaction stopped half-way.
    #[error("revision `{0}` stopped half-way in an earlier run")]
    Dirty(String),
    /// A revision cannot be undone.
    #[error("cannot undo {}: no statements in a down file", backticked(.0))]
    Irreversible(Vec<String>),
    /// A statement of a revision failed.
    #[error("revision `{revision}` failed at {place}: {message}\n{excerpt}")]
    Failed {
        /// The revision.
        revision: String,
        /// File and line.
        place: String,
        /// Error of the database.
        message: String,
        /// The line itself.
        excerpt: String,
        /// State of the statements before it, and what to do.
        hint: String,
    },
    /// The connection ended while a revision ran.
    #[error("the connection was lost at {place} of revision `{revision}`: {cause}")]
    Lost {
        /// The revision.
        revision: String,
        /// File and line.
        place: String,
        /// Last error of the connection.
        cause: String,
        /// State of the statements before it.
        hint: String,
    },
    /// A signal stopped it.
    #[error("stopped by a signal")]
    Interrupted,
    /// The database is not at the newest revision.
    #[error("not at head: {} to apply", backticked(.0))]
    NotAtHead(Vec<String>),
}

/// `a`, `b`, `c`.
fn backticked(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// The database's own words; the driver adds a line number of PostgreSQL's source code to them.
fn said(error: &sqlx::Error) -> String {
    error
        .as_database_error()
        .map_or_else(|| error.to_string(), |refusal| refusal.message().to_owned())
}

impl Error {
    /// A call that makes no sense, and what to write instead.
    pub(crate) fn usage(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(Message::new(text, Some(hint)))
    }

    /// Files that are wrong, and what to do about it.
    pub(crate) fn revisions(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Revisions(Message::new(text, Some(hint)))
    }

    /// A name that fits no revision, or several, and what to do about it.
    pub(crate) fn name(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Name(Message::new(text, Some(hint)))
    }

    /// Turns a driver's error into ours, naming what was tried.
    pub(crate) fn database(verb: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { verb, source }
    }

    /// The process's exit code.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable { .. } | Self::Lost { .. } => 3,
            Self::Locked { .. } | Self::Blocked { .. } => 4,
            Self::Drift { .. } | Self::Ahead { .. } => 5,
            Self::NotAtHead(_) => 6,
            _ => 1,
        }
    }

    /// Advice.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        Some(match self {
            Self::Usage(said) | Self::Revisions(said) | Self::Name(said) => {
                return said.hint.as_deref();
            }
            Self::Unreachable { .. } => {
                "is it up, and do DATABASE_URL or PGHOST, PGUSER, PGDATABASE name it?"
            }
            Self::Locked { .. } => "wait longer with `--wait`, or end that session",
            Self::Blocked { .. } => {
                "end that transaction, or wait longer with `--wait`; nothing of this statement \
                 was kept"
            }
            Self::Drift { only_line_endings: true, .. } => {
                "only line endings differ: give the files those they had, with `*.sql text \
                 eol=lf` in .gitattributes, for one"
            }
            Self::Drift { .. } => {
                "restore the file and write a new revision; or `downgrade` past it; or `stamp` to \
                 accept it"
            }
            Self::Ahead { .. } => {
                "use the files or the image of the newer release, or `downgrade` with them first"
            }
            Self::Dirty(_) => {
                "look at the database, then `migrate resolve REV --applied` or `--rolled-back`"
            }
            Self::Irreversible(_) => "write the down file; nothing was touched",
            Self::NotAtHead(_) => "run `migrate upgrade head`",
            Self::Interrupted => {
                "a revision in a transaction is taken back; `migrate current` tells if one is \
                 half done"
            }
            Self::Failed { hint, .. } | Self::Lost { hint, .. } => hint,
            _ => return None,
        })
    }
}
