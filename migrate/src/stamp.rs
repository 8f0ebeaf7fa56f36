//! The table by hand: `stamp` says where the database is, `resolve` says what became of a half-done
//! revision. No revision runs.

use sqlx::Connection;

use crate::{
    directory::Revisions,
    error::Error,
    ledger::{self, Applied, Mark},
    session::Session,
    standing::Standing,
    target,
};

/// Writes the table as if exactly the revisions up to `wanted`, as their files are now, had run.
/// Returns what changed.
///
/// # Errors
/// `wanted` means nothing, or a revision is half done.
pub async fn stamp(
    session: &mut Session<'_>,
    revisions: &Revisions,
    wanted: &str,
) -> Result<Vec<String>, Error> {
    let version = target::stamp(wanted, revisions)?;
    session.locked(async |session| write(session, revisions, version).await).await
}

async fn write(
    session: &mut Session<'_>,
    revisions: &Revisions,
    version: i64,
) -> Result<Vec<String>, Error> {
    ledger::create(&mut session.connection, revisions.roles).await?;
    let rows = ledger::read(&mut session.connection).await?;
    // A half-done revision has no known state, and a stamp would hide that.
    Standing::of(revisions, &rows).clean()?;
    let refused = || Error::database("write `migrations.applied`");
    let mut transaction = session.connection.begin().await.map_err(refused())?;
    let mut changed = Vec::new();
    // Rows that these files do not have go too: the table then says exactly what was asked for.
    for row in
        rows.iter().filter(|row| row.version > version || revisions.get(row.version).is_none())
    {
        ledger::delete(&mut transaction, row.version).await.map_err(refused())?;
        changed.push(format!("removed {}", row.name()));
    }
    for revision in revisions.iter().filter(|revision| revision.version <= version) {
        match rows.iter().find(|row| row.version == revision.version) {
            None => {
                ledger::insert(&mut transaction, revision, Mark::Stamped)
                    .await
                    .map_err(refused())?;
            }
            // An unchanged row keeps when it ran and how long it took.
            Some(row) if row.checksum == revision.checksum() => continue,
            Some(_) => {
                ledger::update(&mut transaction, revision, Mark::Stamped)
                    .await
                    .map_err(refused())?;
            }
        }
        changed.push(format!("stamped {}", revision.name()));
    }
    transaction.commit().await.map_err(refused())?;
    Ok(changed)
}

/// End of a half-done revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is there.
    Applied,
    /// Nothing of it is there.
    RolledBack,
}

/// Clears the mark of a half-done revision and returns its name.
///
/// # Errors
/// The revision is not marked.
pub async fn resolve(
    session: &mut Session<'_>,
    revisions: &Revisions,
    wanted: &str,
    verdict: Verdict,
) -> Result<String, Error> {
    session.locked(async |session| clear(session, revisions, wanted, verdict).await).await
}

async fn clear(
    session: &mut Session<'_>,
    revisions: &Revisions,
    wanted: &str,
    verdict: Verdict,
) -> Result<String, Error> {
    let rows = ledger::read(&mut session.connection).await?;
    let row = marked(&rows, revisions, wanted)?;
    let written = match (verdict, revisions.get(row.version)) {
        (Verdict::RolledBack, _) => ledger::delete(&mut session.connection, row.version).await,
        (Verdict::Applied, Some(revision)) => {
            ledger::update(&mut session.connection, revision, Mark::Stamped).await
        }
        (Verdict::Applied, None) => {
            ledger::set_success(&mut session.connection, row.version, true).await
        }
    };
    written.map_err(Error::database("write `migrations.applied`"))?;
    Ok(row.name())
}

/// By its full number even when its file is gone, else by its name.
fn marked<'r>(
    rows: &'r [Applied],
    revisions: &Revisions,
    wanted: &str,
) -> Result<&'r Applied, Error> {
    // A full number finds its row without a file, which may be lost.
    let version = match wanted.parse::<i64>() {
        Ok(version) if rows.iter().any(|row| row.version == version) => version,
        _ => revisions.named(wanted)?.version,
    };
    let row = rows.iter().find(|row| row.version == version && !row.success);
    row.ok_or_else(|| {
        Error::name(
            format!("`{wanted}` is not marked as half done"),
            "`migrate current` tells what is",
        )
    })
}
