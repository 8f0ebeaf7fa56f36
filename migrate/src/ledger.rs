//! The table of what was applied: `migrations.applied`, in the form of sqlx's migrator, outside the
//! schemas that revisions make and drop.

use std::time::Duration;

use sqlx::{
    AssertSqlSafe, FromRow, PgConnection, Row,
    migrate::{Migrate, MigrateError},
    postgres::PgRow,
};

use crate::{built_in::Roles, error::Error, revision::Revision};

/// The table's name.
pub const TABLE: &str = "migrations.applied";

/// A row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The revision's number.
    pub version: i64,
    /// Its message.
    pub description: String,
    /// False while it runs outside a transaction, and after it stopped half-way.
    pub success: bool,
    /// SHA-384 of the up file as it ran.
    pub checksum: Vec<u8>,
    /// When, in UTC.
    pub installed_on: String,
    /// Milliseconds that it took; -1 when it was stamped.
    pub took_ms: i64,
    /// Its file had no statement when it was applied: what is written into it since has yet to run.
    pub ran_nothing: bool,
}

impl FromRow<'_, PgRow> for Applied {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        Ok(Self {
            version: row.try_get("version")?,
            description: row.try_get("description")?,
            success: row.try_get("success")?,
            checksum: row.try_get("checksum")?,
            installed_on: row.try_get("installed_on")?,
            took_ms: row.try_get("took_ms")?,
            ran_nothing: row.try_get("ran_nothing")?,
        })
    }
}

impl Applied {
    /// The row of a revision that was applied as its files are now.
    #[must_use]
    pub fn as_written(revision: &Revision) -> Self {
        Self {
            version: revision.version,
            description: revision.message(),
            success: true,
            checksum: revision.checksum(),
            installed_on: String::new(),
            took_ms: -1,
            ran_nothing: false,
        }
    }

    /// Number and message, as the file was named.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}_{}", self.version, self.description.replace(' ', "_"))
    }
}

/// Returns whether the table is there. Asks the catalogue, which everybody may read.
pub(crate) async fn exists(connection: &mut PgConnection) -> Result<bool, Error> {
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = 'migrations' \
               AND tablename = 'applied')";
    // Without a name, here and below: a service behind a pooler asks this too.
    let query = sqlx::query_scalar(sql).persistent(false);
    query.fetch_one(connection).await.map_err(Error::database("tell its tables"))
}

/// Everything that was applied, oldest first; nothing when there is no table yet.
pub(crate) async fn read(connection: &mut PgConnection) -> Result<Vec<Applied>, Error> {
    if !exists(connection).await? {
        return Ok(Vec::new());
    }
    // `execution_time` is in nanoseconds, and -1 for a stamped row: a division would make that 0,
    // which means a run of nothing.
    let sql = "SELECT version, description, success, checksum, \
               to_char(installed_on AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') AS \
               installed_on, \
               CASE WHEN execution_time < 0 THEN -1 ELSE execution_time / 1000000 END AS took_ms, \
               success AND execution_time = 0 AS ran_nothing \
               FROM migrations.applied ORDER BY version";
    sqlx::query_as(sql)
        .persistent(false)
        .fetch_all(connection)
        .await
        .map_err(Error::database("read `migrations.applied`"))
}

/// Makes the table if it is not there. Only under the lock: two sessions would collide in the
/// catalogue.
pub(crate) async fn create(connection: &mut PgConnection, roles: Roles) -> Result<(), Error> {
    if exists(connection).await? {
        return Ok(());
    }
    // sqlx wraps the driver's error, which holds the words of the database. They are the ones to
    // show.
    let refused = |error| {
        let source = match error {
            MigrateError::Execute(source) => source,
            other => sqlx::Error::Migrate(Box::new(other)),
        };
        Error::Database { verb: "create `migrations.applied`", source }
    };
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'migrations')";
    // `CREATE SCHEMA IF NOT EXISTS` needs a right on the database also when the schema is there.
    let schema: bool = sqlx::query_scalar(sql)
        .fetch_one(&mut *connection)
        .await
        .map_err(Error::database("tell its schemas"))?;
    if !schema {
        connection.create_schema_if_not_exists("migrations").await.map_err(refused)?;
    }
    connection.ensure_migrations_table(TABLE).await.map_err(refused)?;
    sqlx::raw_sql(AssertSqlSafe(roles.grants()))
        .execute(connection)
        .await
        .map_err(Error::database("grant `migrations.applied`"))?;
    Ok(())
}

/// End of an `INSERT` for a revision that has its row: it replaces a run of nothing, and no other.
pub(crate) const OVER_NOTHING: &str = "ON CONFLICT (version) DO UPDATE SET installed_on = now(), \
                                       success = excluded.success, \
    checksum = excluded.checksum, execution_time = excluded.execution_time WHERE \
    applied.execution_time = 0";

/// Writes that a revision was applied, or that it is being applied.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    revision: &Revision,
    mark: Mark,
) -> sqlx::Result<()> {
    let sql = format!(
        "INSERT INTO migrations.applied (version, description, success, checksum, execution_time) \
         VALUES ($1, $2, $3, $4, $5) {OVER_NOTHING}"
    );
    let query = sqlx::query(AssertSqlSafe(sql))
        .bind(revision.version)
        .bind(revision.message())
        .bind(mark != Mark::Dirty);
    let done =
        query.bind(revision.checksum()).bind(mark.execution_time()).execute(connection).await?;
    // No row means that the conflict was with a revision that did run. It must not run twice.
    if done.rows_affected() == 1 { Ok(()) } else { Err(sqlx::Error::RowNotFound) }
}

/// Writes the state of a revision that has its row.
pub(crate) async fn update(
    connection: &mut PgConnection,
    revision: &Revision,
    mark: Mark,
) -> sqlx::Result<()> {
    let sql = "UPDATE migrations.applied SET success = $2, checksum = $3, execution_time = $4 \
               WHERE version = $1";
    let query =
        sqlx::query(sql).bind(revision.version).bind(mark != Mark::Dirty).bind(revision.checksum());
    query.bind(mark.execution_time()).execute(connection).await.map(drop)
}

/// Marks a row as half done, or clears the mark.
pub(crate) async fn set_success(
    connection: &mut PgConnection,
    version: i64,
    success: bool,
) -> sqlx::Result<()> {
    let sql = "UPDATE migrations.applied SET success = $2 WHERE version = $1";
    sqlx::query(sql).bind(version).bind(success).execute(connection).await.map(drop)
}

/// Removes a row.
pub(crate) async fn delete(connection: &mut PgConnection, version: i64) -> sqlx::Result<()> {
    sqlx::query("DELETE FROM migrations.applied WHERE version = $1")
        .bind(version)
        .execute(connection)
        .await
        .map(drop)
}

/// State of a revision according to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It has begun and may be half done.
    Dirty,
    /// It was said to be there without running.
    Stamped,
    /// It ran and took so long.
    Done(Duration),
    /// There was nothing to run.
    Nothing,
}

impl Mark {
    /// In nanoseconds, as sqlx keeps it.
    fn execution_time(self) -> i64 {
        match self {
            // At least 1, because 0 means that there was nothing to run.
            Self::Done(took) => i64::try_from(took.as_nanos()).unwrap_or(i64::MAX).max(1),
            Self::Nothing => 0,
            Self::Dirty | Self::Stamped => -1,
        }
    }
}
