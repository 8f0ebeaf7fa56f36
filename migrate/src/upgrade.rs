//! Forward: every pending revision up to a target, one after the other, under the lock.

use crate::{
    apply,
    directory::Revisions,
    error::Error,
    event::{Event, Way},
    ledger::{self, Applied},
    plan,
    revision::Revision,
    session::Session,
};

/// Runs what is missing up to `wanted` and returns the names of what ran. What is planned is
/// decided after the lock is there, so of several at the same time each revision runs in one.
///
/// # Errors
/// Nothing has changed, or the error names the revision that did not work; those before it stay.
pub async fn upgrade(
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
    let plan = plan::upgrade(revisions, &rows, wanted)?;
    for warning in warnings(&plan, &rows) {
        (session.tell)(&Event::Warning(warning));
    }
    // After the plan: a database that does not fit the files is left untouched.
    ledger::create(&mut session.connection, revisions.roles).await?;
    let mut ran = Vec::new();
    for revision in plan {
        apply::run(session, revision, Way::Up).await?;
        ran.push(revision.name());
    }
    Ok(ran)
}

fn warnings(plan: &[&Revision], rows: &[Applied]) -> Vec<String> {
    let newest = rows.last().map_or(0, |row| row.version);
    let empty = plan.iter().filter(|revision| revision.up.is_empty());
    // An older number that arrives late still runs. Its author must check the order.
    let late = plan.iter().filter(|revision| revision.version < newest);
    let empty = empty.map(|revision| {
        format!(
            "`{}` has no statements yet: what is written into it runs with the next upgrade",
            revision.up.file
        )
    });
    let late =
        late.map(|revision| format!("`{}` is older than what was applied last", revision.name()));
    empty.chain(late).collect()
}
