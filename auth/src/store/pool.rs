//! The connections: bounded, each statement with a deadline, and only half of them for reads the
//! cache could have served.
//!
//! Behind a pooler that gives a server connection to each transaction (PgBouncer's `pool_mode =
//! transaction`) a session keeps nothing between two transactions: no setting and no prepared
//! statement. There every piece of work is a transaction that sets its own limits, and statements
//! have no name.

use std::sync::Arc;
use std::time::Duration;

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::query::{Query, QueryScalar};
use sqlx::{FromRow, PgConnection, PgPool, PgTransaction, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::database::Database;
use crate::settings::Pooler;
use crate::store::StoreError;

/// Longest wait of a request for a connection.
const ACQUIRE: Duration = Duration::from_secs(2);

/// Limits of a session, in milliseconds. A statement ends well before a tombstone of the cache
/// does, which relies on it.
const LIMITS: [(&str, &str); 3] = [
    ("statement_timeout", "4000"),
    ("lock_timeout", "2000"),
    ("idle_in_transaction_session_timeout", "5000"),
];

/// The same limits for one transaction.
const BEGIN_LIMITED: &str = "BEGIN; SET LOCAL statement_timeout = 4000; SET LOCAL lock_timeout = \
                             2000; \
                             SET LOCAL idle_in_transaction_session_timeout = 5000";

/// Returns how a connection is opened: with limits for the session where a session is a thing of
/// its own.
#[must_use]
pub fn options(database: &Database, pooler: Pooler) -> PgConnectOptions {
    let options = database.options().clone().application_name("auth");
    match pooler {
        Pooler::None => options.options(LIMITS),
        // PgBouncer refuses startup parameters that it does not track.
        // The next transaction may have another server connection, which knows no statement by
        // name.
        Pooler::Transaction => options.extra_float_digits(None).statement_cache_capacity(0),
    }
}

/// The pool and its bulkhead.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
    pooler: Pooler,
    reads: Arc<Semaphore>,
}

impl Store {
    /// Opens nothing yet: connections come with the first queries, so a start does not need the
    /// database.
    #[must_use]
    pub fn lazy(database: &Database, pooler: Pooler, connections: u32) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(ACQUIRE)
            .idle_timeout(Duration::from_secs(300))
            .max_lifetime(Duration::from_secs(1800))
            .connect_lazy_with(options(database, pooler));
        // At least one, so that a pool of few connections can read at all.
        let half = usize::try_from(connections / 2).unwrap_or(1).max(1);
        Self { pool, pooler, reads: Arc::new(Semaphore::new(half)) }
    }

    /// Opens a transaction.
    ///
    /// # Errors
    /// The database's, or no connection was free in time.
    pub async fn begin(&self) -> Result<Connection, StoreError> {
        let held = Held::Transaction(match self.pooler {
            Pooler::None => self.pool.begin().await?,
            // One round trip for all of it. `SET LOCAL` ends with the transaction, so the next
            // client of the server connection inherits nothing.
            Pooler::Transaction => self.pool.begin_with(BEGIN_LIMITED).await?,
        });
        Ok(Connection { held, pooler: self.pooler, _permit: None })
    }

    /// Takes a connection for reads that must be true this moment. What is written through it may
    /// be lost: see [`Store::begin`].
    ///
    /// # Errors
    /// The database's, or no connection was free in time.
    pub async fn connection(&self) -> Result<Connection, StoreError> {
        match self.pooler {
            Pooler::None => {
                let held = Held::Session(self.pool.acquire().await?);
                Ok(Connection { held, pooler: self.pooler, _permit: None })
            }
            // Outside of a transaction no limit would hold: each statement may run on another
            // connection.
            Pooler::Transaction => self.begin().await,
        }
    }

    /// Closes every connection once it is idle.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Takes a place among the reads that stand in for the cache: however many there are, half the
    /// pool is left for the others.
    async fn read_permit(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let timed_out = || StoreError::Unavailable(Arc::new(sqlx::Error::PoolTimedOut));
        match tokio::time::timeout(ACQUIRE, Arc::clone(&self.reads).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) | Err(_) => Err(timed_out()),
        }
    }

    /// Takes a connection for a read that stands in for the cache: it holds its place among those.
    ///
    /// # Errors
    /// The database's, or no place or connection was free in time.
    pub async fn reader(&self) -> Result<Connection, StoreError> {
        // The place first: a read that waits for it holds no connection meanwhile.
        let permit = self.read_permit().await?;
        let connection = self.connection().await?;
        Ok(Connection { _permit: Some(permit), ..connection })
    }

    /// Checks that the database can do what the service needs: it has the tables, and takes writes.
    ///
    /// # Errors
    /// It does not respond, has no tables, or is read-only.
    pub async fn ping(&self) -> Result<(), StoreError> {
        // A table is named, so that a database without the migrations fails this query.
        let sql = "SELECT current_setting('transaction_read_only') = 'on', EXISTS (SELECT FROM \
                   auth.sessions)";
        let mut connection = self.connection().await?;
        let is_read_only: bool = connection.scalar(sql).fetch_one(connection.raw()).await?;
        if is_read_only {
            return Err(StoreError::Unavailable(Arc::new(sqlx::Error::Protocol(
                "the database is read-only".to_owned(),
            ))));
        }
        Ok(())
    }

    /// Connections in use and at most, for tests and the doctor.
    #[must_use]
    pub fn size(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle())
    }
}

/// One connection for one piece of work: a transaction, or a session where that is enough.
#[derive(Debug)]
pub struct Connection {
    held: Held,
    pooler: Pooler,
    /// Dropped after what it stands for.
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum Held {
    Session(PoolConnection<Postgres>),
    Transaction(PgTransaction<'static>),
}

impl Connection {
    /// Returns a query, to be run on [`Connection::raw`].
    pub fn query(&self, sql: &'static str) -> Query<'static, Postgres, PgArguments> {
        sqlx::query(sql).persistent(self.pooler == Pooler::None)
    }

    /// Returns a query for one column.
    pub fn scalar<T>(&self, sql: &'static str) -> QueryScalar<'static, Postgres, T, PgArguments>
    where
        (T,): for<'r> FromRow<'r, PgRow>,
    {
        sqlx::query_scalar(sql).persistent(self.pooler == Pooler::None)
    }

    /// The connection itself.
    pub fn raw(&mut self) -> &mut PgConnection {
        match &mut self.held {
            Held::Session(session) => session,
            Held::Transaction(transaction) => transaction,
        }
    }

    /// Makes what was written visible. Without it a transaction is rolled back.
    ///
    /// # Errors
    /// The database's; the writes may or may not have happened.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self.held {
            // Outside of a transaction each statement has committed by itself.
            Held::Session(_) => Ok(()),
            Held::Transaction(transaction) => Ok(transaction.commit().await?),
        }
    }
}
