//! One revision: a number, a name, the script that makes it and the one that undoes it.

use std::path::Path;

use sqlx::{
    AssertSqlSafe, SqlSafeStr,
    migrate::{Migration, MigrationType},
};

use crate::{
    error::Error,
    statements::{Statement, split},
};

/// The first line of a file whose statements run one by one, each on its own.
pub const NO_TRANSACTION: &str = "-- no-transaction";

/// One file of a revision.
#[derive(Clone, Debug)]
pub struct Script {
    /// The file, as messages name it.
    pub file: String,
    /// Its text.
    pub sql: String,
}

impl Script {
    /// The statements run one by one, outside a transaction.
    #[must_use]
    pub fn no_transaction(&self) -> bool {
        self.sql.starts_with(NO_TRANSACTION)
    }

    /// The statements, in order.
    #[must_use]
    pub fn statements(&self) -> Vec<Statement<'_>> {
        split(&self.sql)
    }

    /// Returns whether there is nothing to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.statements().is_empty()
    }

    /// A file that begins or ends a transaction itself would commit half of a revision; one that
    /// runs CONCURRENTLY needs to say that it runs outside.
    fn check(&self) -> Result<(), Error> {
        if self.no_transaction() {
            return Ok(());
        }
        // Further down, or behind a byte-order mark, the line would be an ordinary comment. The
        // revision would run in a transaction against its intent.
        if let Some(line) = self
            .sql
            .lines()
            .position(|line| line.trim_start_matches('\u{feff}').trim() == NO_TRANSACTION)
        {
            let cause = format!(
                "{}:{}: `{NO_TRANSACTION}` counts as the very first line only",
                self.file,
                line + 1
            );
            return Err(Error::revisions(cause, "move it to the top, without anything before it"));
        }
        for statement in self.statements() {
            let place = format!("{}:{}", self.file, statement.line);
            let first_line = statement.text.lines().next().unwrap_or_default();
            if statement.steers_transaction {
                let cause = format!(
                    "{place}: `{first_line}` inside a revision, which is one transaction already"
                );
                return Err(Error::revisions(
                    cause,
                    format!("remove it, or begin the file with `{NO_TRANSACTION}`"),
                ));
            }
            if statement.concurrent {
                let cause = format!("{place}: `{first_line}` cannot run inside a transaction");
                return Err(Error::revisions(
                    cause,
                    format!("begin the file with the line `{NO_TRANSACTION}`"),
                ));
            }
        }
        Ok(())
    }
}

/// One revision.
#[derive(Clone, Debug)]
pub struct Revision {
    /// The UTC time it was made, as the number YYYYMMDDhhmmss.
    pub version: i64,
    /// The message it was made with, in file-name form.
    pub slug: String,
    /// Text of the up file.
    pub up: Script,
    /// Text of the down file, if there is one.
    pub down: Option<Script>,
}

impl Revision {
    /// The name as the files have it.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}_{}", self.version, self.slug)
    }

    /// The message, with spaces.
    #[must_use]
    pub fn message(&self) -> String {
        self.slug.replace('_', " ")
    }

    /// Returns whether it can be undone: there is something to run, or there was nothing to do.
    #[must_use]
    pub fn reversible(&self) -> bool {
        // An up file without statements has nothing to undo, so an empty down file is right then.
        self.down.as_ref().is_some_and(|down| !down.is_empty() || self.up.is_empty())
    }

    /// The revision as sqlx's migrator has it: same number, description and checksum, so that
    /// sqlx's own tools read our table.
    #[must_use]
    pub fn migration(&self) -> Migration {
        let kind =
            if self.down.is_some() { MigrationType::ReversibleUp } else { MigrationType::Simple };
        let sql = AssertSqlSafe(self.up.sql.clone()).into_sql_str();
        Migration::new(self.version, self.message().into(), kind, sql, self.up.no_transaction())
    }

    /// Returns the checksum that shows an edited file: SHA-384 of the up file, as sqlx has it.
    #[must_use]
    pub fn checksum(&self) -> Vec<u8> {
        self.migration().checksum.into_owned()
    }

    /// Returns whether that is the checksum it would have if its lines ended in the other way: with
    /// CR LF in place of LF, or without.
    #[must_use]
    pub fn has_checksum_with_other_line_endings(&self, checksum: &[u8]) -> bool {
        // Mixed endings are made equal first, so that two candidates are enough.
        let unix = self.up.sql.replace("\r\n", "\n");
        let windows = unix.replace('\n', "\r\n");
        [unix, windows].into_iter().any(|sql| {
            let up = Script { sql, ..self.up.clone() };
            Self { up, ..self.clone() }.checksum() == checksum
        })
    }

    /// Finds what can be known to be wrong without a database.
    ///
    /// # Errors
    /// A statement that cannot work where it stands, with file and line.
    pub fn check(&self) -> Result<(), Error> {
        self.up.check()?;
        self.down.as_ref().map_or(Ok(()), Script::check)
    }
}

/// Part of a revision that a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `.up.sql`, or plain `.sql`.
    Up,
    /// `.down.sql`
    Down,
}

/// Reads `20261101090000_create_initial_tables.up.sql`.
#[must_use]
pub fn parse_file_name(name: &str) -> Option<(i64, &str, Part)> {
    let (version, rest) = Path::new(name).file_name()?.to_str()?.split_once('_')?;
    if !version.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (slug, part) = match (rest.strip_suffix(".down.sql"), rest.strip_suffix(".up.sql")) {
        (Some(slug), _) => (slug, Part::Down),
        (_, Some(slug)) => (slug, Part::Up),
        _ => (rest.strip_suffix(".sql")?, Part::Up),
    };
    // 0 stands for the base, so no revision has that number.
    let version = version.parse().ok().filter(|version| *version > 0)?;
    (!slug.is_empty()).then_some((version, slug, part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_are_read_or_refused() {
        assert_eq!(parse_file_name("7_a_b.up.sql"), Some((7, "a_b", Part::Up)));
        assert_eq!(parse_file_name("7_a_b.down.sql"), Some((7, "a_b", Part::Down)));
        assert_eq!(parse_file_name("7_a.sql"), Some((7, "a", Part::Up)));
        for wrong in [
            "a.sql",
            "x_a.sql",
            "0_a.sql",
            "-1_a.sql",
            "7_.sql",
            "7_a.sqlx",
            "99999999999999999999_a.sql",
        ] {
            assert_eq!(parse_file_name(wrong), None, "{wrong}");
        }
    }
}
