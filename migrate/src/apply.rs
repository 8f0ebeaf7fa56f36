//! One revision, up or down: in one transaction with its row, or statement by statement around a
//! mark.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{
    broken::Broken,
    error::Error,
    event::{Event, Way},
    ledger::{self, Mark},
    revision::{Revision, Script},
    session::Session,
    statements::Statement,
};

/// A pause before a revision tries again to lock a table, so that those who queued behind it get
/// through.
const BREATH: Duration = Duration::from_millis(500);

/// Runs a revision one way and returns how long it took.
pub(crate) async fn run(
    session: &mut Session<'_>,
    revision: &Revision,
    way: Way,
) -> Result<Duration, Error> {
    let script = match (way, &revision.down) {
        (Way::Up, _) => &revision.up,
        (Way::Down, Some(down)) => down,
        (Way::Down, None) => return Err(Error::Irreversible(vec![revision.name()])),
    };
    (session.tell)(&Event::Begins { way, revision: revision.name() });
    let begin = Instant::now();
    if script.no_transaction() {
        stepwise(session, &Job { revision, script, way, begin }).await?;
    } else {
        whole(session, &Job { revision, script, way, begin }).await?;
    }
    let took = begin.elapsed();
    (session.tell)(&Event::Ends { way, revision: revision.name(), took });
    Ok(took)
}

/// One revision on its way.
struct Job<'r> {
    revision: &'r Revision,
    script: &'r Script,
    way: Way,
    begin: Instant,
}

impl Job<'_> {
    /// State of its row once it has run.
    fn done(&self) -> Mark {
        // A revision that ran nothing must run once it has statements, so it is not simply done.
        if self.script.is_empty() { Mark::Nothing } else { Mark::Done(self.begin.elapsed()) }
    }
}

/// Takes a revision back that ran nothing: whatever is in its files by now was never done.
pub(crate) async fn forget(session: &mut Session<'_>, revision: &Revision) -> Result<(), Error> {
    let gone = ledger::delete(&mut session.connection, revision.version).await;
    gone.map_err(Error::database("write `migrations.applied`"))
}

/// All statements and the row in one transaction; from the start again when a lock on a table does
/// not come in time.
async fn whole(session: &mut Session<'_>, job: &Job<'_>) -> Result<(), Error> {
    loop {
        // Before each attempt: an earlier one may have changed settings, such as `search_path`.
        session.reset(session.patience.lock_timeout).await?;
        match transaction(&mut session.connection, job).await {
            Ok(()) => return Ok(()),
            Err(broken) => give_way(session, job, broken).await?,
        }
    }
}

async fn transaction<'r>(connection: &mut PgConnection, job: &Job<'r>) -> Result<(), Broken<'r>> {
    let at_end = |source| Broken::at_end(job.script, source);
    let mut transaction = connection.begin().await.map_err(at_end)?;
    for statement in job.script.statements() {
        execute(&mut transaction, statement)
            .await
            .map_err(|source| Broken::at(job.script, statement, source))?;
    }
    // The row is part of the transaction: revision and row are there together, or neither is.
    match job.way {
        Way::Up => {
            ledger::insert(&mut transaction, job.revision, job.done()).await.map_err(at_end)?;
        }
        Way::Down => {
            ledger::delete(&mut transaction, job.revision.version).await.map_err(at_end)?;
        }
    }
    transaction.commit().await.map_err(at_end)
}

async fn execute(connection: &mut PgConnection, statement: Statement<'_>) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement.text)).execute(connection).await.map(drop)
}

/// Each statement on its own. The row is marked before the first and cleared after the last, so
/// that whatever happens in between is known to the next run.
async fn stepwise(session: &mut Session<'_>, job: &Job<'_>) -> Result<(), Error> {
    let statements = job.script.statements();
    // CONCURRENTLY blocks no session while it waits, and giving up half-way would leave an invalid
    // index.
    let concurrent = statements.iter().any(|statement| statement.concurrent);
    session.reset(if concurrent { Duration::ZERO } else { session.patience.lock_timeout }).await?;
    // Committed before the first statement: a process that is killed from here on leaves the mark.
    mark(&mut session.connection, job).await?;
    for (at, statement) in statements.iter().enumerate() {
        while let Err(source) = execute(&mut session.connection, *statement).await {
            let broken = Broken::at(job.script, *statement, source);
            if let Err(error) = give_way(session, job, broken).await {
                // A failed CONCURRENTLY can leave an invalid index behind, so its mark stays. Any
                // other first statement left nothing.
                if at == 0 && !statement.concurrent {
                    // If this fails too the mark stays, which the next run reports; the first failure
                    // is the one to show.
                    drop(unmark(&mut session.connection, job).await);
                }
                return Err(error);
            }
        }
    }
    let finished = match job.way {
        Way::Up => ledger::update(&mut session.connection, job.revision, job.done()).await,
        Way::Down => ledger::delete(&mut session.connection, job.revision.version).await,
    };
    finished.map_err(Error::database("write `migrations.applied`"))
}

async fn mark(connection: &mut PgConnection, job: &Job<'_>) -> Result<(), Error> {
    let marked = match job.way {
        Way::Up => ledger::insert(connection, job.revision, Mark::Dirty).await,
        Way::Down => ledger::set_success(connection, job.revision.version, false).await,
    };
    marked.map_err(Error::database("mark the revision as begun"))
}

/// The very first statement failed, so nothing has happened.
async fn unmark(connection: &mut PgConnection, job: &Job<'_>) -> sqlx::Result<()> {
    match job.way {
        Way::Up => ledger::delete(connection, job.revision.version).await,
        Way::Down => ledger::set_success(connection, job.revision.version, true).await,
    }
}

/// After a failure: waits a breath if another attempt makes sense, otherwise says what happened.
async fn give_way(
    session: &mut Session<'_>,
    job: &Job<'_>,
    broken: Broken<'_>,
) -> Result<(), Error> {
    if !broken.contended() {
        return Err(broken.explain(job.revision));
    }
    let place = broken.place();
    // Asked before the pause, while the transaction in the way probably still runs.
    let suspect = suspect(&mut session.connection).await?;
    // Counted from the begin of the revision: the time is for all its attempts together.
    if job.begin.elapsed() + BREATH > session.patience.wait {
        return Err(Error::Blocked { revision: job.revision.name(), place, suspect });
    }
    (session.tell)(&Event::Retries { place, suspect });
    tokio::time::sleep(BREATH).await;
    Ok(())
}

/// The oldest transaction besides ours that holds a lock on a table: the one in the way does. Every
/// role may see who holds locks; since when, and what for, only the role itself and
/// `pg_read_all_stats` may.
async fn suspect(connection: &mut PgConnection) -> Result<String, Error> {
    let sql = "SELECT CASE WHEN a.xact_start IS NULL \
               THEN format('pid %s, user `%s`, holds locks on %s; this role may not see more of \
               it, `GRANT pg_read_all_stats` \
               lets it', a.pid, a.usename, l.tables) \
               ELSE format('the oldest transaction is pid %s, `%s`, user `%s`, %s, open for %s s, \
               with locks on %s', a.pid, \
               a.application_name, a.usename, a.state, \
               floor(extract(epoch FROM clock_timestamp() - a.xact_start)), l.tables) END \
               FROM pg_catalog.pg_stat_activity a JOIN (SELECT pid, \
               string_agg(DISTINCT format('`%s`', relation::regclass), ', ') AS tables FROM \
               pg_catalog.pg_locks \
               WHERE locktype = 'relation' AND granted AND relation IN (SELECT oid FROM \
               pg_catalog.pg_class \
               WHERE relkind IN ('r', 'p', 'm') AND oid >= 16384) \
               AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = \
               current_database()) GROUP BY pid) l \
               USING (pid) WHERE a.pid <> pg_backend_pid() ORDER BY a.xact_start NULLS LAST, \
               a.pid LIMIT 1";
    let found = sqlx::query_scalar(sql)
        .fetch_optional(connection)
        .await
        .map_err(Error::database("tell its sessions"))?;
    Ok(found.unwrap_or_else(|| "no other transaction holds a lock on a table now".into()))
}
