//! Postgres, the truth: one file for each table. An error says whether the database is away,
//! somebody was first, or it is our fault.

pub mod audit;
pub mod clients;
pub mod one_time;
pub mod pool;
pub mod sessions;
pub mod users;

use std::sync::Arc;

/// Reason why a query failed. Cheap to copy: several readers may share one failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database is away, full or too slow.
    #[error("the database cannot be reached")]
    Unavailable(#[source] Arc<sqlx::Error>),
    /// A unique index refused a row; names the field.
    #[error("`{0}` is taken")]
    Taken(&'static str),
    /// Anything else: our query or their data is wrong.
    #[error("the database refused a query")]
    Broken(#[source] Arc<sqlx::Error>),
}

/// SQLSTATE classes and codes that pass without a change of this program: connection, resources,
/// shutdown, time-outs, serialisation; a password or a database that is being replaced.
const PASSING: &[&str] = &["08", "53", "57", "40", "55P03", "25006", "28", "3D"];

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        let Some(refusal) = error.as_database_error() else {
            // These say that the connection failed, not the query: another try may succeed.
            return match error {
                sqlx::Error::Io(_)
                | sqlx::Error::PoolTimedOut
                | sqlx::Error::PoolClosed
                | sqlx::Error::WorkerCrashed
                | sqlx::Error::Tls(_)
                | sqlx::Error::Protocol(_) => Self::Unavailable(Arc::new(error)),
                other => Self::Broken(Arc::new(other)),
            };
        };
        let code = refusal.code().unwrap_or_default();
        // SQLSTATE says that something is not unique, and only the index says which field.
        match refusal.constraint() {
            Some("users_username_canonical_key") => return Self::Taken("username"),
            Some("users_email_canonical_key") => return Self::Taken("email"),
            _ => {}
        }
        if PASSING.iter().any(|class| code.starts_with(class)) {
            return Self::Unavailable(Arc::new(error));
        }
        Self::Broken(Arc::new(error))
    }
}
