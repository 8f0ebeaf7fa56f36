//! The one connection a migration works on: it holds the lock and runs the revisions, so that both
//! end together.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::database::Database;
use crate::{error::Error, event::Event, lock};

/// The pause between two attempts to connect.
const AGAIN: Duration = Duration::from_millis(250);

/// Time limits of waiting.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Time to ask for the lock, and to retry a revision that cannot lock a table.
    pub wait: Duration,
    /// Time for which a statement may queue for a table before it makes way for others.
    pub lock_timeout: Duration,
}

/// A connection, its time limits, and the receiver of its events.
pub struct Session<'t> {
    pub(crate) connection: PgConnection,
    pub(crate) patience: Patience,
    pub(crate) tell: &'t mut dyn FnMut(&Event),
}

impl<'t> Session<'t> {
    /// Connects, for as long as `patience` waits: a database may be starting. Other sessions see it
    /// as `migrate COMMAND on HOST`.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn open(
        database: &Database,
        command: &str,
        patience: Patience,
        tell: &'t mut dyn FnMut(&Event),
    ) -> Result<Self, Error> {
        let name = format!("migrate {command} on {}", host_name());
        let begin = Instant::now();
        let mut told = false;
        loop {
            let cause = match database.connect(&name).await {
                Ok(connection) => return Ok(Self { connection, patience, tell }),
                // A wrong password stays wrong: only errors that can pass are waited for.
                Err(refused) if refused.passes && begin.elapsed() + AGAIN <= patience.wait => {
                    refused.cause
                }
                Err(refused) => {
                    return Err(Error::Unreachable {
                        target: database.to_string(),
                        cause: refused.cause,
                    });
                }
            };
            // Once: the line would repeat four times a second.
            if !told {
                told = true;
                tell(&Event::Unreachable { target: database.to_string(), cause });
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Waits for the lock, runs, gives the lock back.
    ///
    /// # Errors
    /// The lock was not free in time, or the error of `work`. The lock is then freed with the
    /// connection.
    pub(crate) async fn locked<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.reset(self.patience.lock_timeout).await?;
        // Nothing is read before the lock is there, or another migration could change it meanwhile.
        lock::acquire(&mut self.connection, self.patience.wait, self.tell).await?;
        // An error returns without a release: the connection is closed, and the lock ends with it.
        let done = work(self).await?;
        lock::release(&mut self.connection).await?;
        Ok(done)
    }

    /// Takes back whatever an earlier revision set, and sets how long a statement queues for a
    /// table; zero is for ever.
    pub(crate) async fn reset(&mut self, lock_timeout: Duration) -> Result<(), Error> {
        // One string for both: the simple protocol takes several statements.
        let sql = format!("RESET ALL; SET lock_timeout = {}", lock_timeout.as_millis());
        let reset = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
        reset.map_err(Error::database("set `lock_timeout`"))?;
        // A server that cannot notice a vanished client immediately still does so after the
        // statement: worth no error.
        let notice = sqlx::raw_sql("SET client_connection_check_interval = '500ms'");
        drop(notice.execute(&mut self.connection).await);
        Ok(())
    }

    /// Says goodbye, so that the server does not log a lost connection.
    pub async fn close(self) {
        // What matters has been committed; the server frees the rest by itself.
        drop(self.connection.close().await);
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} ({})", name.trim(), std::process::id())
}
