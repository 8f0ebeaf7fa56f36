//! At most one migration a database: an advisory lock that is asked for again and again, never
//! queued for.
//!
//! A session that queues for it holds a snapshot, and `CREATE INDEX CONCURRENTLY` in the session
//! that has the lock waits for all older snapshots: each would wait for the other. Between two
//! polls there is no snapshot. The lock belongs to the session, so it is free as soon as the server
//! notices that the session is gone.

use std::time::Duration;

use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use crate::{error::Error, event::Event};

/// The lock's number: "migrate" in ASCII.
pub const KEY: i64 = 0x006d_6967_7261_7465;

/// The pause between two polls.
const POLL: Duration = Duration::from_millis(100);

/// Asks until the lock is there or `wait` is over; reports once who has it.
pub(crate) async fn acquire(
    connection: &mut PgConnection,
    wait: Duration,
    tell: &mut dyn FnMut(&Event),
) -> Result<(), Error> {
    let begin = Instant::now();
    let mut told = false;
    while !attempt(connection).await? {
        // The holder is asked for before the time is compared, so that an error can name it.
        let holder = holder(connection).await?;
        if begin.elapsed() >= wait {
            return Err(Error::Locked {
                holder: holder.unwrap_or_else(|| "it ended this moment".into()),
                waited: wait,
            });
        }
        if let Some(holder) = holder.filter(|_| !told) {
            tell(&Event::Waiting { holder });
            told = true;
        }
        sleep(POLL).await;
    }
    Ok(())
}

async fn attempt(connection: &mut PgConnection) -> Result<bool, Error> {
    let query = sqlx::query_scalar("SELECT pg_catalog.pg_try_advisory_lock($1)").bind(KEY);
    query.fetch_one(connection).await.map_err(Error::database("lock"))
}

/// Gives it back. Not to have it any more is an error: somebody else may have worked at the same
/// time.
pub(crate) async fn release(connection: &mut PgConnection) -> Result<(), Error> {
    let query = sqlx::query_scalar("SELECT pg_catalog.pg_advisory_unlock($1)").bind(KEY);
    let had: bool = query.fetch_one(connection).await.map_err(Error::database("unlock"))?;
    if had {
        Ok(())
    } else {
        Err(Error::Revisions("a revision gave the migration lock away".into()))
    }
}

/// Returns the session that has it, if one still does.
async fn holder(connection: &mut PgConnection) -> Result<Option<String>, Error> {
    // Since when somebody else is connected only some roles may see.
    // A 64-bit key is shown in two halves, `classid` and `objid`, and `objsubid` 1 marks that form.
    let sql = "SELECT format('pid %s, `%s`, user `%s`', a.pid, a.application_name, a.usename) || \
               coalesce(', connected for ' || floor(extract(epoch FROM clock_timestamp() - \
               a.backend_start)) || ' s', '') \
               FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid) \
               WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND a.datname = \
               current_database() \
               AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = \
               current_database()) \
               AND (l.classid::bigint << 32) | l.objid::bigint = $1";
    let query = sqlx::query_scalar(sql).bind(KEY);
    query.fetch_optional(connection).await.map_err(Error::database("tell who has the lock"))
}
