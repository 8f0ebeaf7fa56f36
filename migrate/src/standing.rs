//! Files against database: what is missing, what was edited, what the files do not know, what
//! stopped half-way.

use crate::{
    directory::{Revisions, Source},
    error::Error,
    ledger::Applied,
    revision::Revision,
};

/// State of a database compared with a set of revisions. All lists are oldest first and hold names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The newest applied revision.
    pub current: Option<String>,
    /// In the files, not in the database.
    pub pending: Vec<String>,
    /// In the database, not in the files: the database is ahead.
    pub unknown: Vec<String>,
    /// Applied and edited since.
    pub drifted: Vec<String>,
    /// Every edited one would be what was applied, were its lines ended in the other way.
    pub only_line_endings: bool,
    /// Stopped half-way.
    pub dirty: Vec<String>,
}

/// Returns whether a revision has yet to run. One that had no statement when it was applied has,
/// once it has some: nothing of it was done.
#[must_use]
pub fn is_pending(revision: &Revision, applied: &[Applied]) -> bool {
    match applied.iter().find(|row| row.version == revision.version) {
        None => true,
        Some(row) => row.ran_nothing && !revision.up.is_empty(),
    }
}

impl Standing {
    /// Compares the two.
    #[must_use]
    pub fn of(revisions: &Revisions, applied: &[Applied]) -> Self {
        let mut standing = Self {
            current: applied.last().map(Applied::name),
            only_line_endings: true,
            ..Self::default()
        };
        standing.pending =
            revisions.iter().filter(|r| is_pending(r, applied)).map(Revision::name).collect();
        for row in applied {
            match revisions.get(row.version) {
                None => standing.unknown.push(row.name()),
                // A revision that ran nothing may be edited: that is how it gets its statements.
                Some(revision) if revision.checksum() != row.checksum && !row.ran_nothing => {
                    standing.drifted.push(revision.name());
                    standing.only_line_endings &=
                        revision.has_checksum_with_other_line_endings(&row.checksum);
                }
                Some(_) => {}
            }
            if !row.success {
                standing.dirty.push(row.name());
            }
        }
        standing
    }

    /// Returns whether revisions are missing or half done: a program that needs them must not
    /// serve.
    #[must_use]
    pub fn behind(&self) -> bool {
        !self.pending.is_empty() || !self.dirty.is_empty()
    }

    /// Returns whether the database has more than the files: a newer release has been here. Worth a
    /// warning, no more.
    #[must_use]
    pub fn ahead(&self) -> bool {
        !self.unknown.is_empty()
    }

    /// Refuses what no change may begin with: a half-done revision.
    ///
    /// # Errors
    /// Names it.
    pub fn clean(&self) -> Result<(), Error> {
        self.dirty.first().map_or(Ok(()), |name| Err(Error::Dirty(name.clone())))
    }

    /// Refuses half-done, unknown and edited revisions, in this order.
    ///
    /// # Errors
    /// Names them.
    pub fn fit(&self, source: &Source) -> Result<(), Error> {
        // Half-done first: its remedy comes before every other.
        self.clean()?;
        if self.ahead() {
            return Err(Error::Ahead {
                revisions: self.unknown.clone(),
                source_name: source.to_string(),
            });
        }
        if !self.drifted.is_empty() {
            return Err(Error::Drift {
                revisions: self.drifted.clone(),
                only_line_endings: self.only_line_endings,
            });
        }
        Ok(())
    }

    /// Refuses a database that has not everything.
    ///
    /// # Errors
    /// Names what is missing.
    pub fn at_head(&self) -> Result<(), Error> {
        if self.pending.is_empty() { Ok(()) } else { Err(Error::NotAtHead(self.pending.clone())) }
    }
}
