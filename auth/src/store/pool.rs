//! The connections: bounded, each query with a deadline, and only half of them for reads the cache could have answered.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::database::Database;
use crate::store::Error;

/// How long a request waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(2);

/// The pool and its bulkhead.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    reads: Arc<Semaphore>,
}

impl Store {
    /// Opens nothing yet: connections come with the first queries, so a start does not need the database.
    #[must_use]
    pub fn lazy(database: &Database, connections: u32) -> Self {
        // A statement ends well before a tombstone of the cache does; the cache relies on it.
        let limits =
            [("statement_timeout", "4000"), ("lock_timeout", "2000"), ("idle_in_transaction_session_timeout", "5000")];
        let options = database.options().clone().application_name("auth").options(limits);
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(Duration::from_secs(300))
            .max_lifetime(Duration::from_secs(1800))
            .connect_lazy_with(options);
        let half = usize::try_from(connections / 2).unwrap_or(1).max(1);
        Self { pool, reads: Arc::new(Semaphore::new(half)) }
    }

    /// For writes and for reads that must be true this moment.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// A place among the reads that stand in for the cache: however many there are, half the pool is left for the others.
    ///
    /// # Errors
    /// None was free in time.
    pub async fn read_permit(&self) -> Result<SemaphorePermit<'_>, Error> {
        let timed_out = || Error::Unavailable(Arc::new(sqlx::Error::PoolTimedOut));
        match tokio::time::timeout(ACQUIRE, self.reads.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(timed_out()),
        }
    }

    /// Whether the database can do what the service needs: it has the tables, and takes writes.
    ///
    /// # Errors
    /// It does not answer, has no tables, or is read-only.
    pub async fn ping(&self) -> Result<(), Error> {
        let sql = "SELECT current_setting('transaction_read_only') = 'on', EXISTS (SELECT FROM auth.sessions)";
        let is_read_only: bool = sqlx::query_scalar(sql).fetch_one(&self.pool).await?;
        if is_read_only {
            return Err(Error::Unavailable(Arc::new(sqlx::Error::Protocol("the database is read-only".to_owned()))));
        }
        Ok(())
    }

    /// Connections in use and at most, for tests and the doctor.
    #[must_use]
    pub fn size(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle())
    }
}
