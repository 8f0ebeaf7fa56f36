//! Output of the asking commands: one row a revision, for a person or as JSON.

use serde::Serialize;

use crate::{directory::Revisions, ledger::Applied, revision::Revision};

/// A revision as `history`, `current`, `heads` and `show` have it.
#[derive(Debug, Serialize)]
pub struct View {
    /// The number.
    pub revision: String,
    /// The one before it, or `base`.
    pub follows: String,
    /// The message.
    pub message: String,
    /// It is the newest.
    pub head: bool,
    /// It can be undone.
    pub reversible: bool,
    /// It runs outside a transaction.
    pub no_transaction: bool,
    /// The files.
    pub files: Vec<String>,
    /// When it was applied, if a database was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// Milliseconds that it took, -1 when it was stamped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub took_ms: Option<i64>,
}

impl View {
    /// Every revision, newest first, with what the database says of it.
    #[must_use]
    pub fn all(revisions: &Revisions, rows: &[Applied]) -> Vec<Self> {
        let mut views: Vec<Self> = Vec::new();
        let mut follows = "base".to_owned();
        for revision in revisions {
            let row = rows.iter().find(|row| row.version == revision.version);
            let view = Self::of(
                revision,
                std::mem::replace(&mut follows, revision.version.to_string()),
                row,
            );
            views.push(view);
        }
        if let Some(newest) = views.last_mut() {
            newest.head = true;
        }
        views.reverse();
        views
    }

    fn of(revision: &Revision, follows: String, row: Option<&Applied>) -> Self {
        let down = revision.down.iter().map(|down| down.file.clone());
        Self {
            revision: revision.version.to_string(),
            follows,
            message: revision.message(),
            head: false,
            reversible: revision.reversible(),
            no_transaction: revision.up.no_transaction(),
            files: std::iter::once(revision.up.file.clone()).chain(down).collect(),
            applied: row.map(|row| row.installed_on.clone()),
            took_ms: row.map(|row| row.took_ms),
        }
    }

    /// One line: `follows -> revision (head), message`.
    #[must_use]
    pub fn line(&self) -> String {
        let head = if self.head { " (head)" } else { "" };
        let applied =
            self.applied.as_ref().map(|when| format!(", applied {when}")).unwrap_or_default();
        format!("{} -> {}{head}, {}{applied}", self.follows, self.revision, self.message)
    }

    /// Everything, several lines.
    #[must_use]
    pub fn paragraph(&self) -> String {
        let mut lines =
            vec![format!("revision {}{}", self.revision, if self.head { " (head)" } else { "" })];
        lines.push(format!("  message:  {}", self.message));
        lines.push(format!("  follows:  {}", self.follows));
        lines.extend(self.files.iter().map(|file| format!("  file:     {file}")));
        if self.no_transaction {
            lines.push("  runs:     statement by statement, without a transaction".into());
        }
        if !self.reversible {
            lines.push("  undo:     cannot be undone".into());
        }
        lines.extend(self.applied.as_ref().map(|when| match self.took_ms {
            Some(took @ 0..) => format!("  applied:  {when}, {took} ms"),
            _ => format!("  applied:  {when}, without running"),
        }));
        lines.join("\n")
    }
}
