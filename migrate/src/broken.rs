//! A statement that failed: where it stands, what the database said, and what is left of its
//! revision.

use sqlx::postgres::{PgDatabaseError, PgErrorPosition};

use crate::{
    error::Error,
    revision::{NO_TRANSACTION, Revision, Script},
    statements::Statement,
};

/// The failure of a script; without a statement it came at the commit.
pub(crate) struct Broken<'r> {
    script: &'r Script,
    statement: Option<Statement<'r>>,
    source: sqlx::Error,
}

impl<'r> Broken<'r> {
    pub(crate) fn at(script: &'r Script, statement: Statement<'r>, source: sqlx::Error) -> Self {
        Self { script, statement: Some(statement), source }
    }

    pub(crate) fn at_end(script: &'r Script, source: sqlx::Error) -> Self {
        Self { script, statement: None, source }
    }

    fn refusal(&self) -> Option<&PgDatabaseError> {
        self.source
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<PgDatabaseError>())
    }

    /// Returns whether the same statement may work a moment later: `lock_not_available` or
    /// `deadlock_detected`.
    pub(crate) fn contended(&self) -> bool {
        let again =
            self.refusal().is_some_and(|refusal| matches!(refusal.code(), "55P03" | "40P01"));
        // CONCURRENTLY can leave an invalid index, so a second attempt would fail at its name.
        again && self.statement.is_none_or(|statement| !statement.concurrent)
    }

    fn line(&self) -> usize {
        let Some(statement) = self.statement else { return self.script.sql.lines().count() };
        match self.refusal().and_then(PgDatabaseError::position) {
            // The position counts characters of the statement that was sent, not of the file.
            Some(PgErrorPosition::Original(position)) => statement.line_at(position),
            _ => statement.line,
        }
    }

    /// File and line.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.script.file, self.line())
    }

    fn message(&self) -> String {
        let Some(refusal) = self.refusal() else { return self.source.to_string() };
        let mut message = format!("{} ({})", refusal.message(), refusal.code());
        let more = [
            ("detail", refusal.detail()),
            ("hint of the database", refusal.hint()),
            ("context", refusal.r#where()),
        ];
        for (name, text) in more.iter().filter_map(|(name, text)| text.map(|text| (name, text))) {
            message.push_str(&format!("\n{name}: {text}"));
        }
        message
    }

    fn hint(&self, revision: &Revision) -> String {
        if self.script.no_transaction() {
            let version = revision.version;
            return format!(
                "what ran before this line stays; `migrate current` tells whether the revision is \
                 marked as half done, and \
                 `migrate resolve {version} --rolled-back` or `--applied` clears the mark once \
                 the database is as you say"
            );
        }
        // active_sql_transaction: something that PostgreSQL only does on its own.
        if self.refusal().is_some_and(|refusal| refusal.code() == "25001") {
            return format!(
                "make `{NO_TRANSACTION}` the first line of the file; nothing of this revision was \
                 kept"
            );
        }
        "nothing of this revision was kept: edit the file and run it again".into()
    }

    /// Returns whether the connection ended, which no revision is at fault for: the server stops,
    /// or a network or a process is gone.
    fn is_lost(&self) -> bool {
        match self.refusal() {
            Some(refusal) => refusal.code().starts_with("57P") || refusal.code().starts_with("08"),
            None => matches!(self.source, sqlx::Error::Io(_) | sqlx::Error::WorkerCrashed),
        }
    }

    /// For the person who wrote the revision.
    pub(crate) fn explain(&self, revision: &Revision) -> Error {
        if self.is_lost() {
            let hint = match self.script.no_transaction() {
                true => self.hint(revision),
                false => {
                    "run it again once the database is there: nothing of this revision was kept, \
                     unless it was committing"
                        .into()
                }
            };
            return Error::Lost {
                revision: revision.name(),
                place: self.place(),
                cause: self.message(),
                hint,
            };
        }
        let line = self.line();
        let text = self.script.sql.lines().nth(line.saturating_sub(1)).unwrap_or_default();
        Error::Failed {
            revision: revision.name(),
            place: self.place(),
            message: self.message(),
            excerpt: format!("{line:>5} | {text}"),
            hint: self.hint(revision),
        }
    }
}
