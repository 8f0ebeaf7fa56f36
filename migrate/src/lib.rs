//! Database migrations for PostgreSQL with Alembic's commands, on the table and the checksums of
//! sqlx's migrator.
//!
//! A program that carries revisions passes them as [`BuiltIn`] and offers [`cli::Migrate`] as its
//! command line. A service checks with [`state`] at its start whether the database is at head.
//!
//! Guarantees: at most one migration of a database runs at a time. A revision runs once. A revision
//! in a transaction is there with its row or not at all. One without a transaction that stopped
//! half-way is marked as such. Nothing begins when the files and the database disagree. sqlx's own
//! advisory lock is never taken: see [`lock`].

use sqlx::PgConnection;

mod apply;
mod broken;
pub mod built_in;
pub mod cli;
pub mod create;
pub mod database;
pub mod directory;
mod downgrade;
pub mod error;
pub mod event;
pub mod ledger;
pub mod lock;
mod plan;
pub mod revision;
pub mod script;
pub mod session;
pub mod stamp;
pub mod standing;
pub mod statements;
pub mod target;
mod upgrade;
pub mod view;

pub use built_in::BuiltIn;
pub use directory::Revisions;
pub use downgrade::downgrade;
pub use error::Error;
pub use ledger::Applied;
pub use revision::Revision;
pub use session::{Patience, Session};
pub use standing::Standing;
pub use upgrade::upgrade;

/// Compares the database with these revisions. Changes nothing and takes no lock; for a service
/// that starts.
///
/// # Errors
/// The database does not respond, or does not let this role read the table.
pub async fn state(
    connection: &mut PgConnection,
    revisions: &Revisions,
) -> Result<Standing, Error> {
    Ok(Standing::of(revisions, &applied(connection).await?))
}

/// Everything that was applied, oldest first.
///
/// # Errors
/// As [`state`].
pub async fn applied(connection: &mut PgConnection) -> Result<Vec<Applied>, Error> {
    ledger::read(connection).await
}

/// The names of what an upgrade would run now.
///
/// # Errors
/// As [`upgrade`] before it begins.
pub fn planned_upgrade(
    revisions: &Revisions,
    rows: &[Applied],
    wanted: &str,
) -> Result<Vec<String>, Error> {
    Ok(plan::upgrade(revisions, rows, wanted)?.into_iter().map(Revision::name).collect())
}

/// The names of what a downgrade would undo now.
///
/// # Errors
/// As [`downgrade`] before it begins.
pub fn planned_downgrade(
    revisions: &Revisions,
    rows: &[Applied],
    wanted: &str,
) -> Result<Vec<String>, Error> {
    Ok(plan::downgrade(revisions, rows, wanted)?.into_iter().map(Revision::name).collect())
}

impl Session<'_> {
    /// Everything that was applied, oldest first, without waiting for the lock.
    ///
    /// # Errors
    /// As [`state`].
    pub async fn applied(&mut self) -> Result<Vec<Applied>, Error> {
        applied(&mut self.connection).await
    }
}
