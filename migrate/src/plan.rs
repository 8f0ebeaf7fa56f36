//! Revisions that a command would run, in order, decided from the files and the table alone.

use crate::{
    directory::{Revisions, Source},
    error::Error,
    ledger::Applied,
    revision::Revision,
    standing::{Standing, is_pending},
    target::{self, Down, Up},
};

/// The pending revisions up to `wanted`, oldest first.
///
/// # Errors
/// The database does not fit the files, or `wanted` means nothing.
pub(crate) fn upgrade<'r>(
    revisions: &'r Revisions,
    rows: &[Applied],
    wanted: &str,
) -> Result<Vec<&'r Revision>, Error> {
    let up = target::up(wanted, revisions)?;
    // After the target was read, so that a typing error is not reported as drift.
    Standing::of(revisions, rows).fit(&revisions.source)?;
    let pending = revisions.iter().filter(|revision| is_pending(revision, rows));
    match up {
        Up::To(version) => Ok(pending.filter(|revision| revision.version <= version).collect()),
        Up::Steps(steps) => {
            let found: Vec<_> = pending.take(steps).collect();
            if found.len() == steps {
                Ok(found)
            } else {
                Err(too_far("pending", found.len(), wanted))
            }
        }
    }
}

/// The applied revisions down to `wanted`, newest first.
///
/// # Errors
/// One of them cannot be undone, or `wanted` means nothing.
pub(crate) fn downgrade<'r>(
    revisions: &'r Revisions,
    rows: &[Applied],
    wanted: &str,
) -> Result<Vec<&'r Revision>, Error> {
    let down = target::down(wanted, revisions)?;
    // Only a half-done revision stops the way down. Drift may be the reason to go down.
    Standing::of(revisions, rows).clean()?;
    let newest_first = rows.iter().rev().map(|row| row.version);
    let versions: Vec<i64> = match down {
        Down::Steps(steps) if steps > rows.len() => {
            return Err(too_far("applied", rows.len(), wanted));
        }
        Down::Steps(steps) => newest_first.take(steps).collect(),
        Down::To(version) if version > 0 && !rows.iter().any(|row| row.version == version) => {
            return Err(Error::name(
                format!("`{wanted}` is not applied"),
                "`migrate current -v` lists what is",
            ));
        }
        Down::To(version) => newest_first.take_while(|found| *found > version).collect(),
    };
    // All of it is checked before anything runs: no undo stops at a revision without a file.
    known(revisions, rows, &versions)?;
    let found: Vec<&Revision> =
        versions.iter().filter_map(|version| revisions.get(*version)).collect();
    let ran_nothing = |revision: &Revision| {
        rows.iter().any(|row| row.version == revision.version && row.ran_nothing)
    };
    // A revision that ran nothing has nothing to undo, whatever its down file says.
    let stuck = found.iter().filter(|revision| !revision.reversible() && !ran_nothing(revision));
    let stuck: Vec<String> = stuck.map(|revision| revision.name()).collect();
    if stuck.is_empty() { Ok(found) } else { Err(Error::Irreversible(stuck)) }
}

fn known(revisions: &Revisions, rows: &[Applied], versions: &[i64]) -> Result<(), Error> {
    let unknown =
        |row: &&Applied| versions.contains(&row.version) && revisions.get(row.version).is_none();
    let names: Vec<String> = rows.iter().filter(unknown).map(Applied::name).collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(Error::Ahead { revisions: names, source_name: Source::to_string(&revisions.source) })
}

fn too_far(what: &str, there_are: usize, wanted: &str) -> Error {
    Error::Name(format!("`{wanted}` is too far: {there_are} {what}").into())
}
