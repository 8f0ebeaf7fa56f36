//! Backward: undoes applied revisions down to a target, newest first, under the lock; or touches
//! nothing at all when one of them cannot be undone.

use crate::{
    apply, directory::Revisions, error::Error, event::Event, event::Way, ledger, plan,
    session::Session, standing::Standing,
};

/// Undoes what is above `wanted` and returns the names of what was undone.
///
/// # Errors
/// Nothing has changed, or the error names the revision whose undoing did not work; what was undone
/// before it stays undone.
pub async fn downgrade(
    session: &mut Session<'_>,
    revisions: &Revisions,
    wanted: &str,
) -> Result<Vec<String>, Error> {
    session.locked(async |session| under_lock(session, revisions, wanted).await).await
}

async fn under_lock(
    session: &mut Session<'_>,
    revisions: &Revisions,
    wanted: &str,
) -> Result<Vec<String>, Error> {
    let rows = ledger::read(&mut session.connection).await?;
    let plan = plan::downgrade(revisions, &rows, wanted)?;
    // Only up files have a checksum. An edited up file is the one sign that the down file may be
    // edited.
    for edited in Standing::of(revisions, &rows).drifted {
        (session.tell)(&Event::Warning(format!(
            "`{edited}` was edited after it was applied: is its down file still right?"
        )));
    }
    let mut ran = Vec::new();
    for revision in plan {
        match rows.iter().any(|row| row.version == revision.version && row.ran_nothing) {
            true => apply::forget(session, revision).await?,
            false => drop(apply::run(session, revision, Way::Down).await?),
        }
        ran.push(revision.name());
    }
    Ok(ran)
}
